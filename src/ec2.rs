//! A small client of EC2's query API: signed requests in, plain JSON values out.
//!
//! EC2's generated SDK is larger than all the others together and we use two dozen of its operations, so this module
//! speaks the protocol itself. An answer becomes a [`Value`] with the XML's own names: an element with text is a string,
//! one that holds only `item`s is an array, an empty one is null. It depends on no other module of the crate.
//!
//! ```no_run
//! # async fn example(config: &aws_config::SdkConfig) -> Result<(), meshctl::ec2::Error> {
//! let ec2 = meshctl::ec2::Ec2::new(config);
//! let input = serde_json::json!({ "Filter": [{ "Name": "vpc-id", "Value": ["vpc-1"] }] });
//! for interface in ec2.list("DescribeNetworkInterfaces", input, "networkInterfaceSet").await? {
//!     assert!(interface["networkInterfaceId"].is_string());
//! }
//! # Ok(())
//! # }
//! ```

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

/// The API version whose names the answers carry.
const VERSION: &str = "2016-11-15";
/// Tries of one call, the first included.
const ATTEMPTS: u32 = 8;
/// How long before they expire credentials are asked for anew.
const EXPIRY_MARGIN: Duration = Duration::from_secs(300);

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// EC2 answered with an error.
    #[error("{code}: {message}")]
    Service {
        /// EC2's error code: `DependencyViolation`.
        code: String,
        /// EC2's message.
        message: String,
        /// The HTTP status.
        status: u16,
        /// The request's id, for AWS support.
        request_id: Option<String>,
    },
    /// There are no usable credentials.
    #[error("no credentials: {0}")]
    Credentials(String),
    /// No answer came.
    #[error("cannot reach EC2: {0}")]
    Connection(String),
    /// The answer is no answer of EC2's.
    #[error("unreadable answer: {0}")]
    Answer(String),
}

impl Error {
    /// EC2's error code, where EC2 answered.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Service { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the thing asked for does not exist: `InvalidVpcID.NotFound`, `InvalidGroup.NotFound`, ….
    pub fn is_not_found(&self) -> bool {
        self.code()
            .is_some_and(|code| code.ends_with(".NotFound") || code == "NatGatewayNotFound")
    }

    /// Whether something else still uses the thing to be deleted.
    pub fn is_dependency_violation(&self) -> bool {
        self.code() == Some("DependencyViolation")
    }

    fn is_transient(&self) -> bool {
        match self {
            Error::Service { code, status, .. } => {
                *status >= 500
                    || matches!(
                        code.as_str(),
                        "RequestLimitExceeded"
                            | "Throttling"
                            | "ThrottlingException"
                            | "EC2ThrottledException"
                    )
            }
            Error::Connection(_) => true,
            Error::Credentials(_) | Error::Answer(_) => false,
        }
    }
}

/// A client of one region's EC2. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ec2 {
    config: SdkConfig,
    http: reqwest::Client,
    endpoint: String,
    region: String,
    credentials: Arc<Mutex<Option<Credentials>>>,
}

impl Ec2 {
    /// A client with the configuration's credentials, region and endpoint.
    pub fn new(config: &SdkConfig) -> Self {
        let region = config
            .region()
            .map_or_else(|| "us-east-1".to_owned(), |region| region.to_string());
        let endpoint = match config.endpoint_url() {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None if region.starts_with("cn-") => format!("https://ec2.{region}.amazonaws.com.cn"),
            None => format!("https://ec2.{region}.amazonaws.com"),
        };
        Ec2 {
            config: config.clone(),
            http: http(is_loopback(&endpoint)),
            endpoint,
            region,
            credentials: Arc::default(),
        }
    }

    /// Calls an operation. Arrays and objects of `input` become EC2's dotted parameters, counted from one:
    /// `{"Filter": [{"Name": "vpc-id", "Value": ["vpc-1"]}]}` is `Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1`.
    /// Throttled and unanswered calls are tried again.
    ///
    /// # Errors
    /// EC2's own error, missing credentials, or no answer.
    pub async fn call(&self, action: &str, input: Value) -> Result<Value, Error> {
        let mut parameters = vec![
            ("Action".to_owned(), action.to_owned()),
            ("Version".to_owned(), VERSION.to_owned()),
        ];
        flatten("", &input, &mut parameters);
        let body = form(&parameters);
        let mut attempt = 1;
        loop {
            match self.send(&body).await {
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                    // Full jitter under an exponential ceiling: 100 ms, 200 ms, … 6.4 s.
                    let ceiling = Duration::from_millis(100 << (attempt - 1));
                    tokio::time::sleep(ceiling.mul_f64(fastrand::f64())).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Calls a `Describe…` operation, follows its pages, and returns the members of the answer's `set`
    /// (`networkInterfaceSet`).
    ///
    /// # Errors
    /// As [`Ec2::call`].
    pub async fn list(
        &self,
        action: &str,
        mut input: Value,
        set: &str,
    ) -> Result<Vec<Value>, Error> {
        let mut members = Vec::new();
        loop {
            let mut answer = self.call(action, input.clone()).await?;
            if let Value::Array(page) = answer[set].take() {
                members.extend(page);
            }
            match answer["nextToken"].as_str() {
                Some(token) if !token.is_empty() => input["NextToken"] = token.into(),
                _ => return Ok(members),
            }
        }
    }

    async fn send(&self, body: &str) -> Result<Value, Error> {
        let url = format!("{}/", self.endpoint);
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        let mut request = self
            .http
            .post(&url)
            .header("content-type", content_type)
            .body(body.to_owned());
        for (name, value) in self.signature(&url, content_type, body).await? {
            request = request.header(name, value);
        }
        let connection = |error: reqwest::Error| {
            // reqwest's own words name the URL only; the reason is at the end of the chain.
            let mut reason: &dyn std::error::Error = &error;
            while let Some(source) = reason.source() {
                reason = source;
            }
            Error::Connection(reason.to_string())
        };
        let response = request.send().await.map_err(connection)?;
        let status = response.status().as_u16();
        let request_id = response
            .headers()
            .get("x-amzn-requestid")
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        let text = response.text().await.map_err(connection)?;
        let answer = parse(&text);
        if (200..300).contains(&status) {
            return answer;
        }
        let answer = answer.unwrap_or_default();
        // One `Error` in `Errors`, as EC2 and its emulators write it.
        let error = &answer["Errors"]["Error"];
        let own_id = answer["RequestID"]
            .as_str()
            .or(answer["RequestId"].as_str());
        Err(Error::Service {
            code: error["Code"]
                .as_str()
                .map_or_else(|| format!("Http{status}"), str::to_owned),
            message: error["Message"].as_str().unwrap_or(&text).to_owned(),
            status,
            request_id: own_id.map(str::to_owned).or(request_id),
        })
    }

    async fn signature(
        &self,
        url: &str,
        content_type: &str,
        body: &str,
    ) -> Result<Vec<(String, String)>, Error> {
        let unsignable = |error: &dyn std::fmt::Display| Error::Credentials(error.to_string());
        let identity = self.credentials().await?.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("ec2")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsignable(&error))?
            .into();
        let headers = [("content-type", content_type)];
        let body = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new("POST", url, headers.into_iter(), body)
            .map_err(|error| unsignable(&error))?;
        let (instructions, _) = sign(request, &parameters)
            .map_err(|error| unsignable(&error))?
            .into_parts();
        Ok(instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    /// The configuration's credentials, kept until shortly before they expire.
    async fn credentials(&self) -> Result<Credentials, Error> {
        let mut kept = self.credentials.lock().await;
        if let Some(credentials) = &*kept {
            let fresh = credentials
                .expiry()
                .is_none_or(|expiry| expiry > SystemTime::now() + EXPIRY_MARGIN);
            if fresh {
                return Ok(credentials.clone());
            }
        }
        let provider = self
            .config
            .credentials_provider()
            .ok_or_else(|| Error::Credentials("no provider is configured".into()))?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| Error::Credentials(error.to_string()))?;
        *kept = Some(credentials.clone());
        Ok(credentials)
    }
}

/// One connection pool for all clients of the process that go the same way.
fn http(direct: bool) -> reqwest::Client {
    static CLIENTS: [OnceLock<reqwest::Client>; 2] = [OnceLock::new(), OnceLock::new()];
    CLIENTS[usize::from(direct)]
        .get_or_init(|| {
            // Refused where a provider is installed already: then that one serves.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let builder = reqwest::Client::builder()
                .connect_timeout(Duration::from_secs(5))
                .timeout(Duration::from_secs(30));
            // What runs on this machine is never reached through a company's proxy.
            let builder = if direct { builder.no_proxy() } else { builder };
            builder.build().unwrap_or_default()
        })
        .clone()
}

/// Whether the URL is of this machine.
pub fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    ["127.", "localhost", "[::1]"]
        .iter()
        .any(|prefix| host.starts_with(prefix))
}

fn flatten(prefix: &str, value: &Value, parameters: &mut Vec<(String, String)>) {
    let join = |key: &str| {
        if prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{prefix}.{key}")
        }
    };
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (key, member) in members {
                flatten(&join(key), member, parameters);
            }
        }
        Value::Array(members) => {
            for (index, member) in members.iter().enumerate() {
                flatten(&join(&(index + 1).to_string()), member, parameters);
            }
        }
        Value::String(text) => parameters.push((prefix.to_owned(), text.clone())),
        other => parameters.push((prefix.to_owned(), other.to_string())),
    }
}

fn form(parameters: &[(String, String)]) -> String {
    let mut body = String::new();
    for (name, value) in parameters {
        if !body.is_empty() {
            body.push('&');
        }
        encode(name, &mut body);
        body.push('=');
        encode(value, &mut body);
    }
    body
}

fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                into.push(byte.into());
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// An element being read: its text so far, its members, and whether all of them are `item`s.
#[derive(Default)]
struct Element {
    name: String,
    text: String,
    members: Map<String, Value>,
    items: Vec<Value>,
}

impl Element {
    fn add(&mut self, name: String, value: Value) {
        if name == "item" {
            self.items.push(value);
        } else {
            self.members.insert(name, value);
        }
    }

    fn into_value(self) -> Value {
        if !self.items.is_empty() {
            Value::Array(self.items)
        } else if !self.members.is_empty() {
            Value::Object(self.members)
        } else if self.text.is_empty() {
            Value::Null
        } else {
            Value::String(self.text)
        }
    }
}

/// The root element's content.
fn parse(text: &str) -> Result<Value, Error> {
    let unreadable = |error: &dyn std::fmt::Display| Error::Answer(error.to_string());
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = vec![Element::default()];
    loop {
        let closed = match reader.read_event().map_err(|error| unreadable(&error))? {
            Event::Start(start) => {
                open.push(Element {
                    name: local_name(start.name().0),
                    ..Element::default()
                });
                continue;
            }
            Event::Empty(start) => Element {
                name: local_name(start.name().0),
                ..Element::default()
            },
            Event::End(_) => match open.pop() {
                Some(element) if !open.is_empty() => element,
                _ => return Err(Error::Answer("an end without a start".into())),
            },
            Event::Text(chars) => {
                if let Some(element) = open.last_mut() {
                    let chars = chars.xml10_content();
                    // White space between elements is layout; within a text it is kept.
                    if !element.text.is_empty() || !chars.trim().is_empty() {
                        element.text.push_str(&chars);
                    }
                }
                continue;
            }
            Event::CData(chars) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&chars);
                }
                continue;
            }
            Event::GeneralRef(reference) => {
                let char = reference
                    .resolve_char_ref()
                    .map_err(|error| unreadable(&error))?;
                if let Some(element) = open.last_mut() {
                    match char {
                        Some(char) => element.text.push(char),
                        None => element.text.push_str(
                            quick_xml::escape::resolve_predefined_entity(&reference)
                                .ok_or_else(|| Error::Answer("an unknown entity".into()))?,
                        ),
                    }
                }
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        if let Some(parent) = open.last_mut() {
            let name = closed.name.clone();
            parent.add(name, closed.into_value());
        }
    }
    let mut roots = open.pop().unwrap_or_default().members;
    let root = roots.keys().next().cloned();
    root.and_then(|name| roots.remove(&name))
        .ok_or_else(|| Error::Answer(if text.is_empty() { "empty" } else { "not XML" }.into()))
}

fn local_name(name: &str) -> String {
    name.rsplit(':').next().unwrap_or(name).to_owned()
}

/// The value of a tag of a described resource, whose tags are in `tagSet`.
pub fn tag<'a>(resource: &'a Value, key: &str) -> Option<&'a str> {
    resource["tagSet"]
        .as_array()?
        .iter()
        .find(|tag| tag["key"] == key)
        .map(|tag| tag["value"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_reads_as_json() {
        let answer = parse(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <DescribeSecurityGroupsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
              <requestId>59dbff89</requestId>
              <securityGroupInfo>
                <item>
                  <groupId>sg-1</groupId>
                  <groupDescription>a &amp; b &#x3c;c&gt;</groupDescription>
                  <ipPermissions/>
                  <tagSet><item><key>meshctl:environment</key><value>demo</value></item></tagSet>
                </item>
              </securityGroupInfo>
            </DescribeSecurityGroupsResponse>"#,
        )
        .unwrap();
        let group = &answer["securityGroupInfo"][0];
        assert_eq!(group["groupId"], "sg-1");
        assert_eq!(group["groupDescription"], "a & b <c>");
        assert!(group["ipPermissions"].is_null());
        assert_eq!(tag(group, "meshctl:environment"), Some("demo"));
        assert_eq!(tag(group, "other"), None);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in ["", "<html>", "busy", "<a></b>", "<a>&nope;</a>"] {
            assert!(matches!(parse(text), Err(Error::Answer(_))), "{text}");
        }
    }

    #[test]
    fn nested_input_becomes_numbered_parameters() {
        let mut parameters = Vec::new();
        let input = json!({
            "DryRun": false,
            "Filter": [{ "Name": "tag:a b", "Value": ["x", "y/z"] }],
            "NextToken": null,
        });
        flatten("", &input, &mut parameters);
        assert_eq!(
            form(&parameters),
            "DryRun=false&Filter.1.Name=tag%3Aa%20b&Filter.1.Value.1=x&Filter.1.Value.2=y%2Fz"
        );
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let service = |code: &str, status| Error::Service {
            code: code.into(),
            message: String::new(),
            status,
            request_id: None,
        };
        assert!(service("RequestLimitExceeded", 400).is_transient());
        assert!(service("InternalError", 500).is_transient());
        assert!(!service("DependencyViolation", 400).is_transient());
        assert!(service("InvalidGroup.NotFound", 400).is_not_found());
        assert!(service("DependencyViolation", 400).is_dependency_violation());
    }
}
