use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;

use super::*;
use crate::sandbox::aws::iam::{AccessKey, Role, Session, User};

const NOW: Millis = 1_795_231_200_000;
const WINDOW: Millis = 5 * MINUTE;

fn state() -> State {
    let mut state = State::default();
    state.iam.users.insert(
        "me".into(),
        User {
            id: "AIDAX".into(),
            ..User::default()
        },
    );
    state.iam.access_keys.insert(
        "AKIAX".into(),
        AccessKey {
            user: "me".into(),
            secret: "secret/+key".into(),
        },
    );
    state.iam.roles.insert("role".into(), Role::default());
    state.iam.sessions.insert(
        "ASIAX".into(),
        Session {
            role: "role".into(),
            name: "session".into(),
            secret: "other".into(),
            token: "tok/en+=".into(),
            expires: NOW + 1000,
            policy: None,
            is_internal: false,
        },
    );
    state
}

struct Sent {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: &'static [u8],
}

impl Sent {
    fn verify(&self, state: &State, now: Millis) -> Result<Caller, Rejection> {
        let (location, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let path = location.splitn(4, '/').nth(3).unwrap_or("");
        let request = Signed {
            method: self.method,
            path: &format!("/{path}"),
            query,
            headers: &self.headers,
            body: self.body,
        };
        match claim(&request)? {
            Some(claim) => claim.authenticate(&request, state, now, WINDOW),
            None => Err(Rejection::Unsigned),
        }
    }
}

/// Signs as the SDKs do.
fn signed(
    credentials: Credentials,
    method: &'static str,
    url: &str,
    headers: &[(&str, &str)],
    body: &'static [u8],
    presigned: Option<Duration>,
) -> Sent {
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    if presigned.is_some() {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = presigned;
    }
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-west-2")
        .name("sts")
        .time(SystemTime::UNIX_EPOCH + Duration::from_millis(NOW))
        .settings(settings)
        .build()
        .expect("parameters");
    let host = url.split('/').nth(2).expect("a host");
    let mut all: Vec<(&str, &str)> = vec![("host", host)];
    all.extend_from_slice(headers);
    let request = SignableRequest::new(method, url, all.iter().copied(), SignableBody::Bytes(body))
        .expect("a request");
    let (instructions, _) = sign(request, &params.into()).expect("signs").into_parts();
    let (added, query) = instructions.into_parts();
    let mut url = url.to_owned();
    for (name, value) in query {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&format!("{name}={}", uri_encode(&value, false)));
    }
    let mut headers: Vec<(String, String)> = all
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_string()))
        .collect();
    headers.extend(
        added
            .iter()
            .map(|header| (header.name().to_owned(), header.value().to_owned())),
    );
    Sent {
        method,
        url,
        headers,
        body,
    }
}

fn key() -> Credentials {
    Credentials::new("AKIAX", "secret/+key", None, None, "test")
}

fn session() -> Credentials {
    Credentials::new("ASIAX", "other", Some("tok/en+=".into()), None, "test")
}

#[test]
fn what_the_sdk_signs_is_verified() {
    let state = state();
    for url in [
        "http://127.0.0.1:4566/",
        "http://127.0.0.1:4566/tags/arn%3Aaws%3Aeks%3Aus-west-2%3A1%3Acluster%2Fdemo?tagKeys=b&tagKeys=a%20c%2Bd",
        "http://127.0.0.1:4566/a/b%20c/~x-_.?empty=&z=%E2%82%AC",
    ] {
        let sent = signed(
            key(),
            "POST",
            url,
            &[("x-amz-target", "a  b.C ")],
            b"{\"a\":1}",
            None,
        );
        let caller = sent
            .verify(&state, NOW)
            .unwrap_or_else(|refused| panic!("{url}: {refused:?}"));
        assert_eq!(caller.arn, "arn:aws:iam::123456789012:user/me");
    }
    let sent = signed(session(), "POST", "http://127.0.0.1:1/", &[], b"x", None);
    let caller = sent.verify(&state, NOW).expect("verifies");
    assert_eq!(
        caller.arn,
        "arn:aws:sts::123456789012:assumed-role/role/session"
    );
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let state = state();
    let fresh = || {
        signed(
            key(),
            "POST",
            "http://127.0.0.1:1/a?b=c",
            &[("x-amz-target", "t")],
            b"body",
            None,
        )
    };
    assert!(fresh().verify(&state, NOW).is_ok());
    let mut sent = fresh();
    sent.body = b"Body";
    assert_eq!(sent.verify(&state, NOW).unwrap_err(), Rejection::mismatch());
    let mut sent = fresh();
    sent.url = sent.url.replace("b=c", "b=d");
    assert_eq!(sent.verify(&state, NOW).unwrap_err(), Rejection::mismatch());
    let mut sent = fresh();
    sent.headers[1].1 = "u".into();
    assert_eq!(sent.verify(&state, NOW).unwrap_err(), Rejection::mismatch());
    let wrong = Credentials::new("AKIAX", "guess", None, None, "test");
    let sent = signed(wrong, "GET", "http://127.0.0.1:1/", &[], b"", None);
    assert_eq!(sent.verify(&state, NOW).unwrap_err(), Rejection::mismatch());
}

#[test]
fn clocks_keys_and_tokens_are_checked() {
    let state = state();
    let sent = signed(key(), "GET", "http://127.0.0.1:1/", &[], b"", None);
    let late = sent.verify(&state, NOW + WINDOW + 1000).unwrap_err();
    assert_eq!(
        late,
        Rejection::Skewed(
            "Signature expired: 20261121T032000Z is now earlier than 20261121T032001Z (20261121T032501Z - 5 min.)".into()
        )
    );
    let early = sent.verify(&state, NOW - WINDOW - 1000).unwrap_err();
    assert!(
        matches!(early, Rejection::Skewed(message) if message.starts_with("Signature not yet current"))
    );

    let unknown = Credentials::new("AKIAY", "x", None, None, "test");
    let sent = signed(unknown, "GET", "http://127.0.0.1:1/", &[], b"", None);
    assert_eq!(sent.verify(&state, NOW).unwrap_err(), Rejection::UnknownKey);

    let no_token = Credentials::new("ASIAX", "other", None, None, "test");
    let sent = signed(no_token, "GET", "http://127.0.0.1:1/", &[], b"", None);
    assert_eq!(sent.verify(&state, NOW).unwrap_err(), Rejection::BadToken);

    let sent = signed(session(), "GET", "http://127.0.0.1:1/", &[], b"", None);
    assert_eq!(
        sent.verify(&state, NOW + 2000).unwrap_err(),
        Rejection::ExpiredToken
    );
}

#[test]
fn unreadable_signatures_say_what_is_missing() {
    let state = state();
    let mut sent = signed(key(), "GET", "http://127.0.0.1:1/", &[], b"", None);
    let authorization = sent
        .headers
        .iter()
        .position(|(name, _)| name == "authorization")
        .expect("signed");
    for (value, part) in [
        ("Basic abc", "Unsupported AWS 'algorithm'"),
        (
            "AWS4-HMAC-SHA256 Credential=a/b/c/d/e",
            "'Signature' parameter",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=00",
            "exactly 5 slash-delimited",
        ),
    ] {
        sent.headers[authorization].1 = value.into();
        match sent.verify(&state, NOW).unwrap_err() {
            Rejection::Incomplete(message) => assert!(message.contains(part), "{message}"),
            other => panic!("{value}: {other:?}"),
        }
    }
    sent.headers.remove(authorization);
    assert_eq!(sent.verify(&state, NOW).unwrap_err(), Rejection::Unsigned);
}

fn token(url: &str) -> String {
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(url);
    format!("k8s-aws-v1.{encoded}")
}

#[test]
fn eks_tokens_say_who_made_them_for_which_cluster() {
    let state = state();
    let url = "https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15";
    let minute = Some(Duration::from_secs(60));
    let made = |url: &str, headers: &[(&str, &str)]| {
        token(&signed(session(), "GET", url, headers, b"", minute).url)
    };
    let good = made(url, &[("x-k8s-aws-id", "demo")]);
    let check = |token: &str, cluster: &str, now| {
        verify_eks_token(&state, token, cluster, "127.0.0.1:1", now)
    };
    let caller = check(&good, "demo", NOW).expect("verifies");
    assert_eq!(
        caller.arn,
        "arn:aws:sts::123456789012:assumed-role/role/session"
    );
    assert_eq!(
        check(&good, "other", NOW).unwrap_err(),
        Rejection::mismatch()
    );
    assert!(matches!(
        check(&good, "demo", NOW + 16 * MINUTE).unwrap_err(),
        Rejection::Skewed(_)
    ));

    let sandbox = made(
        &url.replace("https://sts.us-west-2.amazonaws.com", "http://127.0.0.1:1"),
        &[("x-k8s-aws-id", "demo")],
    );
    assert!(check(&sandbox, "demo", NOW).is_ok());
    for (bad, why) in [
        ("abc".to_owned(), "prefix"),
        ("k8s-aws-v1.%%%".to_owned(), "base64"),
        (
            made(
                &url.replace("sts.us-west-2.amazonaws.com", "sts.evil.com"),
                &[("x-k8s-aws-id", "demo")],
            ),
            "hostname",
        ),
        (
            made(
                &url.replace("GetCallerIdentity", "AssumeRole"),
                &[("x-k8s-aws-id", "demo")],
            ),
            "action",
        ),
        (made(url, &[]), "x-k8s-aws-id"),
    ] {
        match check(&bad, "demo", NOW).unwrap_err() {
            Rejection::Incomplete(message) => assert!(message.contains(why), "{message}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}
