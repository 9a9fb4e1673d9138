//! Requests as bytes: signed like the SDKs sign, or as broken as a test needs them, and the answer as it came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use meshctl::sandbox::kubernetes::AnyServer;
use rustls::pki_types::ServerName;
use serde_json::Value;

use crate::harness::World;

/// A running sandbox, as its profile describes it.
pub struct Sandbox {
    profile: Value,
}

impl Sandbox {
    /// The sandbox of a world.
    pub fn of(world: &World) -> Self {
        let profile =
            std::fs::read_to_string(world.sandbox_directory().join("profile.json")).unwrap();
        Sandbox {
            profile: serde_json::from_str(&profile).unwrap(),
        }
    }

    /// A member of the profile.
    pub fn text(&self, name: &str) -> String {
        self.profile[name].as_str().unwrap().to_owned()
    }

    /// A number of the profile.
    pub fn number(&self, name: &str) -> u64 {
        self.profile[name].as_u64().unwrap()
    }

    /// The AWS endpoint.
    pub fn aws(&self) -> SocketAddr {
        let endpoint = self.text("endpoint");
        endpoint.trim_start_matches("http://").parse().unwrap()
    }

    /// A port of 127.0.0.1 that the profile names.
    pub fn port(&self, name: &str) -> SocketAddr {
        let port = u16::try_from(self.number(name)).unwrap();
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// The administrator's keys.
    pub fn keys(&self) -> Credentials {
        keys(
            &self.text("accessKeyId"),
            &self.text("secretAccessKey"),
            None,
        )
    }

    /// Calls an operation of a query service as the administrator; the answer must be 200.
    pub fn query(&self, service: &str, parameters: &str) -> String {
        let request = Request::form(service, parameters);
        let answer = exchange(self.aws(), &request.signed(&self.keys()).bytes());
        assert_eq!(answer.status, 200, "{parameters}: {answer:?}");
        answer.body()
    }

    /// Calls an operation of a REST service as the administrator; the answer must be 200.
    pub fn get(&self, service: &str, path: &str) -> Value {
        let request = Request::new(service, "GET", path, b"").signed(&self.keys());
        let answer = exchange(self.aws(), &request.bytes());
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_str(&answer.body()).unwrap()
    }

    /// Asks the sandbox itself; the answer must be 200.
    pub fn control(&self, method: &str, what: &str, body: &Value) -> Value {
        let token = format!("Bearer {}", self.text("token"));
        let path = format!("/_sandbox/{what}");
        let request = Request::new("", method, &path, body.to_string().as_bytes());
        let answer = exchange(self.aws(), &request.header("authorization", &token).bytes());
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        serde_json::from_str(&answer.body()).unwrap()
    }

    /// Calls an operation of a JSON service as the administrator; the answer must be 200.
    pub fn json(&self, service: &str, target: &str, input: &Value) -> Value {
        let request = Request::json(service, target, &input.to_string());
        let answer = exchange(self.aws(), &request.signed(&self.keys()).bytes());
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        serde_json::from_str(&answer.body()).unwrap()
    }
}

/// Static or temporary keys.
pub fn keys(id: &str, secret: &str, token: Option<&str>) -> Credentials {
    Credentials::new(id, secret, token.map(str::to_owned), None, "test")
}

/// A request before it becomes bytes.
#[derive(Clone, Debug)]
pub struct Request {
    /// The service of the credential scope.
    pub service: String,
    /// The method.
    pub method: String,
    /// Path and query as they go over the wire.
    pub target: String,
    /// Headers beside host, length and connection.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it is signed, relative to now, in seconds.
    pub skew: i64,
    /// Signs in the query string, valid for that long.
    pub presigned: Option<Duration>,
}

impl Request {
    /// A request with a body.
    pub fn new(service: &str, method: &str, target: &str, body: &[u8]) -> Self {
        Request {
            service: service.into(),
            method: method.into(),
            target: target.into(),
            headers: Vec::new(),
            body: body.to_vec(),
            skew: 0,
            presigned: None,
        }
    }

    /// A form, as the query protocols send it.
    pub fn form(service: &str, parameters: &str) -> Self {
        Request::new(service, "POST", "/", parameters.as_bytes()).header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
    }

    /// A JSON call with a target header.
    pub fn json(service: &str, target: &str, body: &str) -> Self {
        Request::new(service, "POST", "/", body.as_bytes())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Signs it; whatever is changed afterwards is not covered.
    pub fn signed(self, keys: &Credentials) -> Self {
        self.signed_for(keys, "127.0.0.1")
    }

    fn signed_for(mut self, keys: &Credentials, host: &str) -> Self {
        let identity = keys.clone().into();
        let mut settings = SigningSettings::default();
        if self.presigned.is_some() {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = self.presigned;
        }
        let now = SystemTime::now();
        let time = match u64::try_from(self.skew) {
            Ok(ahead) => now + Duration::from_secs(ahead),
            Err(_) => now - Duration::from_secs(self.skew.unsigned_abs()),
        };
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-west-2")
            .name(&self.service)
            .time(time)
            .settings(settings)
            .build()
            .unwrap();
        let url = format!("http://{host}{}", self.target);
        let mut all: Vec<(&str, &str)> = vec![("host", host)];
        all.extend(self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let body = SignableBody::Bytes(&self.body);
        let signable = SignableRequest::new(&self.method, url, all.iter().copied(), body).unwrap();
        let (instructions, _) = sign(signable, &params.into()).unwrap().into_parts();
        let (added, query) = instructions.into_parts();
        for (name, value) in query {
            let mark = if self.target.contains('?') { '&' } else { '?' };
            self.target
                .push_str(&format!("{mark}{name}={}", encode(&value)));
        }
        for header in added {
            self.headers
                .push((header.name().to_owned(), header.value().to_owned()));
        }
        self
    }

    /// The bytes, for a host without a port, which a signature covers.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.method,
            self.target,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// Percent-encodes everything but what RFC 3986 leaves alone.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                (byte as char).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// An answer; all zero and empty when the connection was closed without one.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Answer::default();
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Answer {
            status: status.unwrap_or(0),
            head,
            bytes: bytes[end + 4..].to_vec(),
        }
    }

    /// The body as text.
    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The value of a header; empty without it.
    pub fn header(&self, name: &str) -> String {
        let mut lines = self.head.lines();
        lines
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("")
            .trim()
            .to_owned()
    }

    /// The error code, in whichever of AWS's forms it comes.
    pub fn code(&self) -> String {
        let body = self.body();
        if let Some((_, rest)) = body.split_once("<Code>") {
            return rest.split('<').next().unwrap_or("").to_owned();
        }
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        // The header is in lower case here; the body has it as it is, where the protocol puts it there.
        match json["__type"].as_str() {
            Some(code) => code.to_owned(),
            None => self.header("x-amzn-errortype"),
        }
    }

    /// The message, in whichever form it comes.
    pub fn message(&self) -> String {
        let body = self.body();
        if let Some((_, rest)) = body.split_once("<Message>") {
            return rest.split('<').next().unwrap_or("").to_owned();
        }
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        json["message"].as_str().unwrap_or("").to_owned()
    }
}

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(50);

/// Sends bytes and reads the answer until the other side closes.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    let stream = connect(address);
    talk(stream, bytes)
}

/// The same over TLS, whoever the server is.
pub fn exchange_tls(address: SocketAddr, bytes: &[u8]) -> Answer {
    talk(secure(address), bytes)
}

/// A connection with limits of time.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A TLS connection to whoever is there.
pub fn secure(address: SocketAddr) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .dangerous()
    .with_custom_certificate_verifier(Arc::new(AnyServer))
    .with_no_client_auth();
    let name = ServerName::IpAddress(address.ip().into());
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(client, connect(address))
}

/// Sends bytes over a connection and reads until the other side closes, which it may do before it has read everything.
pub fn talk(mut stream: impl Read + Write, bytes: &[u8]) -> Answer {
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    listen(stream)
}

/// Reads until the other side closes.
pub fn listen(mut stream: impl Read) -> Answer {
    let mut answer = Vec::new();
    // A reset after the answer is how a server says that it did not want the rest.
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..count]);
    }
    Answer::parse(&answer)
}
