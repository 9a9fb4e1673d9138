//! STS: who a caller is, and temporary credentials of roles, for principals of the account, for services, and for the
//! holders of tokens of EKS clusters.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use super::iam::policy::{Context, Decision, Document, Kind, Principal, Request, session_role};
use super::iam::{self, Role, Session};
use super::protocol::operation;
use super::{Call, Check, Fault, Operation, Protocol, Service, rejection, text_of};
use crate::sandbox::clock::{Millis, iso8601};
use crate::sandbox::state::{State, World};

/// The service.
pub struct Sts;

impl Service for Sts {
    fn signing_name(&self) -> &'static str {
        "sts"
    }
    fn protocol(&self) -> Protocol {
        Protocol::Query
    }
    fn version(&self) -> &'static str {
        "2011-06-15"
    }
    fn namespace(&self) -> &'static str {
        "https://sts.amazonaws.com/doc/2011-06-15/"
    }
    fn operations(&self) -> &'static [Operation] {
        const OPERATIONS: &[Operation] = &[
            operation("GetCallerIdentity"),
            operation("AssumeRole"),
            operation("AssumeRoleWithWebIdentity"),
            operation("GetAccessKeyInfo"),
        ];
        OPERATIONS
    }
    fn resource(&self, call: &Call<'_>) -> String {
        call.text("RoleArn").unwrap_or_else(|| "*".into())
    }
    fn checks(&self, _state: &State, _call: &Call<'_>) -> Vec<Check> {
        // Nobody needs permission to ask who they are; the role's trust policy takes part in the rest.
        Vec::new()
    }
    fn handle(&self, state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
        match call.operation {
            "GetCallerIdentity" => Ok(json!({
                "Arn": call.caller.arn,
                "UserId": call.caller.user_id,
                "Account": &*call.world.account,
            })),
            "AssumeRole" => assume_role(state, call),
            "AssumeRoleWithWebIdentity" => assume_role_with_web_identity(state, call),
            "GetAccessKeyInfo" => Ok(json!({"Account": &*call.world.account})),
            _ => Err(rejection::unknown_operation(self, call.operation)),
        }
    }
}

/// Temporary credentials.
#[derive(Clone, Debug)]
pub struct Temporary {
    /// `ASIA…`.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The session token.
    pub session_token: String,
    /// When they expire.
    pub expires: Millis,
    /// The session's ARN.
    pub arn: String,
    /// `AROA…:SESSION`.
    pub id: String,
}

/// Credentials of a role for a service that its trust policy names: `ec2.amazonaws.com` for a node's instance profile.
pub fn service_session(
    world: &World,
    state: &mut State,
    service: &str,
    role: &str,
    session: &str,
) -> Result<Temporary, Fault> {
    let denied = || {
        Fault::new(
            403,
            "AccessDenied",
            format!("{service} is not authorized to perform: sts:AssumeRole on role {role}"),
        )
    };
    let found = state.iam.roles.get(role).ok_or_else(denied)?;
    match trusts(
        found,
        "sts:AssumeRole",
        &Context::default(),
        Principal::Service(service),
    ) {
        Decision::Allowed => Ok(begin(world, state, role, session, 6 * 3600, None, true)),
        _ => Err(denied()),
    }
}

fn trusts(role: &Role, action: &str, context: &Context, principal: Principal<'_>) -> Decision {
    let Ok(document) = Document::parse(&role.trust, Kind::Trust) else {
        return Decision::NotAllowed;
    };
    document.evaluate(&Request {
        action,
        resource: "*",
        context,
        principal: Some(principal),
    })
}

fn begin(
    world: &World,
    state: &mut State,
    role: &str,
    session: &str,
    seconds: u64,
    policy: Option<String>,
    is_internal: bool,
) -> Temporary {
    let access_key_id = iam::access_key_id(state, "ASIA");
    let expires = world.clock.now() + seconds * 1000;
    let new = Session {
        role: role.into(),
        name: session.into(),
        secret: iam::secret(40),
        // As long as AWS's, about, so that nobody cuts them off.
        token: format!("IQoJb3JpZ2luX2Vj{}==", iam::secret(400)),
        expires,
        policy,
        is_internal,
    };
    let id = state
        .iam
        .roles
        .get_mut(role)
        .map_or_else(String::new, |found| {
            found.last_used = Some((world.clock.now(), world.region.to_string()));
            format!("{}:{session}", found.id)
        });
    let temporary = Temporary {
        access_key_id: access_key_id.clone(),
        secret_access_key: new.secret.clone(),
        session_token: new.token.clone(),
        expires,
        arn: format!(
            "arn:aws:sts::{}:assumed-role/{role}/{session}",
            world.account
        ),
        id,
    };
    state.iam.sessions.insert(access_key_id, new);
    temporary
}

fn show(temporary: &Temporary) -> (Value, Value) {
    let credentials = json!({
        "AccessKeyId": temporary.access_key_id,
        "SecretAccessKey": temporary.secret_access_key,
        "SessionToken": temporary.session_token,
        "Expiration": iso8601(temporary.expires),
    });
    (
        credentials,
        json!({"AssumedRoleId": temporary.id, "Arn": temporary.arn}),
    )
}

fn invalid(message: String) -> Fault {
    Fault::new(400, "ValidationError", message)
}

/// What both ways of assuming a role ask for.
struct Wanted {
    arn: String,
    role: String,
    session: String,
    seconds: u64,
    policy: Option<String>,
}

fn wanted(call: &Call<'_>) -> Result<Wanted, Fault> {
    let required = |member: &str, name: &str| {
        call.text(member).ok_or_else(|| {
            invalid(format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
            ))
        })
    };
    let arn = required("RoleArn", "roleArn")?;
    let session = required("RoleSessionName", "roleSessionName")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=64).contains(&session.len()) || !session.chars().all(plain) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{session}' at 'roleSessionName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w+=,.@-]*"
        )));
    }
    let seconds = match call.integer("DurationSeconds") {
        None => 3600,
        Some(seconds @ 900..=43_200) => seconds as u64,
        Some(seconds) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member \
                 must have value between 900 and 43200"
            )));
        }
    };
    let policy = call.text("Policy");
    if let Some(text) = &policy {
        Document::parse(text, Kind::Identity)
            .map_err(|message| Fault::new(400, "MalformedPolicyDocument", message))?;
    }
    let (_, name) = arn
        .split_once(":role/")
        .filter(|_| arn.starts_with("arn:aws:iam::"))
        .ok_or_else(|| invalid(format!("{arn} is invalid")))?;
    Ok(Wanted {
        role: name.rsplit('/').next().unwrap_or(name).to_owned(),
        arn,
        session,
        seconds,
        policy,
    })
}

fn check_duration(role: &Role, seconds: u64) -> Result<(), Fault> {
    if seconds > u64::from(role.max_session) {
        return Err(invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
                .into(),
        ));
    }
    Ok(())
}

fn assume_role(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let wanted = wanted(call)?;
    let denied = || {
        Fault::new(
            403,
            "AccessDenied",
            format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                call.caller.arn, wanted.arn
            ),
        )
    };
    let role = state
        .iam
        .roles
        .get(&wanted.role)
        .filter(|role| role.arn(&wanted.role) == wanted.arn)
        .ok_or_else(denied)?;
    let mut context = Context::default();
    context.add("sts:RoleSessionName", wanted.session.clone());
    if let Some(id) = call.text("ExternalId") {
        context.add("sts:ExternalId", id);
    }
    let own = Check::new("sts:AssumeRole", wanted.arn.clone());
    let identity = iam::identity_decision(state, call, &own);
    let account = &*call.world.account;
    let named = |account| {
        let arn = &call.caller.arn;
        trusts(
            role,
            "sts:AssumeRole",
            &context,
            Principal::Aws { arn, account },
        )
    };
    // A trust policy that names the caller itself suffices; one that names the account leaves it to the caller's policies.
    let allowed = match (named(account), identity) {
        (_, Decision::Denied) => false,
        (Decision::Allowed, Decision::Allowed) => true,
        (Decision::Allowed, _) => named("") == Decision::Allowed,
        _ => false,
    };
    if !allowed {
        return Err(denied());
    }
    check_duration(role, wanted.seconds)?;
    if session_role(&call.caller.arn).is_some() && wanted.seconds > 3600 {
        return Err(invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining".into(),
        ));
    }
    let temporary = begin(
        call.world,
        state,
        &wanted.role,
        &wanted.session,
        wanted.seconds,
        wanted.policy,
        false,
    );
    let (credentials, user) = show(&temporary);
    Ok(json!({"Credentials": credentials, "AssumedRoleUser": user}))
}

fn invalid_token(message: impl Into<String>) -> Fault {
    Fault::new(400, "InvalidIdentityToken", message)
}

fn assume_role_with_web_identity(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let wanted = wanted(call)?;
    let token = call.text("WebIdentityToken").unwrap_or_default();
    let unreadable = || {
        invalid_token(
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
        )
    };
    let claims = claims(&token).ok_or_else(unreadable)?;
    let text = |claim: &str| claims.get(claim).and_then(text_of);
    let issuer = text("iss").ok_or_else(unreadable)?;
    let subject = text("sub").ok_or_else(unreadable)?;
    let issuer_name = issuer
        .trim_start_matches("https://")
        .trim_end_matches('/')
        .to_owned();
    let provider_arn = format!(
        "arn:aws:iam::{}:oidc-provider/{issuer_name}",
        call.world.account
    );
    let provider = state.iam.oidc_providers.get(&provider_arn).ok_or_else(|| {
        invalid_token(format!(
            "No OpenIDConnect provider found in your account for {issuer}"
        ))
    })?;
    let keys = state.eks.issuers.get(&issuer).ok_or_else(|| {
        // The cluster is gone, and its issuer's documents with it.
        invalid_token(
            "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity \
             documentation for requirements",
        )
    })?;
    if !verified(&token, keys) {
        return Err(invalid_token(
            "The web identity token's signature is not valid.",
        ));
    }
    let now = call.world.clock.now() / 1000;
    let seconds = |claim: &str| {
        claims
            .get(claim)
            .and_then(Value::as_f64)
            .map(|seconds| seconds as u64)
    };
    match seconds("exp") {
        Some(expires) if expires > now => {}
        Some(expires) => {
            return Err(Fault::new(
                400,
                "ExpiredTokenException",
                format!(
                    "Token expired: current date/time {now} must be before the expiration date/time {expires}"
                ),
            ));
        }
        None => return Err(invalid_token("Missing a required claim: exp")),
    }
    if seconds("nbf").is_some_and(|from| from > now + 300) {
        return Err(invalid_token("The ID Token provided is not valid yet."));
    }
    let audiences: Vec<String> = match claims.get("aud") {
        Some(Value::Array(values)) => values.iter().filter_map(text_of).collect(),
        Some(value) => text_of(value).into_iter().collect(),
        None => Vec::new(),
    };
    let audience = audiences
        .iter()
        .find(|audience| provider.client_ids.contains(audience))
        .ok_or_else(|| invalid_token("Incorrect token audience"))?
        .clone();
    let mut context = Context::default();
    context.add(&format!("{issuer_name}:sub"), subject.clone());
    context.add(&format!("{issuer_name}:aud"), audience.clone());
    context.add("sts:RoleSessionName", wanted.session.clone());
    let denied = || {
        Fault::new(
            403,
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        )
    };
    let role = state
        .iam
        .roles
        .get(&wanted.role)
        .filter(|role| role.arn(&wanted.role) == wanted.arn)
        .ok_or_else(denied)?;
    let federated = Principal::Federated(&provider_arn);
    if trusts(role, "sts:AssumeRoleWithWebIdentity", &context, federated) != Decision::Allowed {
        return Err(denied());
    }
    check_duration(role, wanted.seconds)?;
    let temporary = begin(
        call.world,
        state,
        &wanted.role,
        &wanted.session,
        wanted.seconds,
        wanted.policy,
        // Of those who have web identities here, all run in a cluster.
        true,
    );
    let (credentials, user) = show(&temporary);
    Ok(json!({
        "Credentials": credentials,
        "SubjectFromWebIdentityToken": subject,
        "AssumedRoleUser": user,
        "Provider": provider_arn,
        "Audience": audience,
    }))
}

/// The claims of a token that nobody has verified.
fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    claims.is_object().then_some(claims)
}

/// Whether one of a key set's keys signed a token.
fn verified(token: &str, keys: &Value) -> bool {
    let check = || {
        let (message, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(message.split('.').next()?).ok()?)
                .ok()?;
        if header["alg"] != "ES256" {
            return None;
        }
        let named = |key: &&Value| {
            header
                .get("kid")
                .is_none_or(|id| key.get("kid") == Some(id))
        };
        keys.get("keys")?
            .as_array()?
            .iter()
            .filter(named)
            .find(|key| {
                let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok();
                let (Some(x), Some(y)) = (coordinate("x"), coordinate("y")) else {
                    return false;
                };
                // An uncompressed point.
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(message.as_bytes(), &signature)
                    .is_ok()
            })
    };
    check().is_some()
}

#[cfg(test)]
#[path = "sts_tests.rs"]
mod tests;
