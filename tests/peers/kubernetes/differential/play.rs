//! Plays a sequence against both servers and compares, request by request.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use regex::{Captures, Regex};
use serde_json::{Value, json};

use super::compare::{Normal, differences};
use super::definitions;
use super::peers::Side;

/// One request of a sequence.
///
/// Strings may hold `@run` (a prefix of its own for each time that a sequence is played), `@rv(KIND/NAMESPACE/NAME)`,
/// `@oldrv(…)` and `@uid(…)` (what this server last, or first, answered for that object) and `@continue` (the last token).
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `GET`; `WATCH` for one that is answered with events; `GONE` for one that is repeated until the answer is 410, `REFUSED` for a POST
    /// that is repeated until it is 403, `LATER` for a GET in the second after.
    pub method: &'static str,
    /// The path.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The content type; empty for none.
    pub content: &'static str,
    /// The Accept header.
    pub accept: &'static str,
    /// The body.
    pub body: Option<Value>,
    /// Whether only the answer's code is compared.
    pub quiet: bool,
}

impl Request {
    /// A request for JSON without a body.
    pub fn new(method: &'static str, path: impl Into<String>) -> Request {
        Request {
            method,
            path: path.into(),
            query: Vec::new(),
            content: "",
            accept: "application/json",
            body: None,
            quiet: false,
        }
    }

    /// With a body of JSON, or of another kind of JSON.
    pub fn body(mut self, content: &'static str, body: Value) -> Request {
        self.content = content;
        self.body = Some(body);
        self
    }

    /// Of whose answer only the code counts.
    pub fn quiet(mut self) -> Request {
        self.quiet = true;
        self
    }

    /// With a query parameter.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Request {
        self.query.push((key.to_owned(), value.into()));
        self
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (index, (key, value)) in self.query.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { '?' } else { '&' })?;
        }
        if !self.content.is_empty() {
            write!(f, " [{}]", self.content)?;
        }
        if self.accept != "application/json" {
            write!(f, " [Accept: {}]", self.accept)?;
        }
        if let Some(body) = &self.body {
            write!(f, " {body}")?;
        }
        Ok(())
    }
}

/// The first difference of a sequence.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The request that was answered differently.
    pub request: Request,
    /// Where, ours, theirs.
    pub parts: Vec<(String, String, String)>,
}

/// How long both servers may take to answer a change.
const ROOM: Duration = Duration::from_millis(150);

/// Managers of fields have times in whole seconds, and whether a change that changes nothing else falls into the second of
/// the one before decides whether there is a new version: both servers are asked within one second.
async fn within_a_second(request: &Request) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let left = Duration::from_secs(1).saturating_sub(Duration::from_nanos(
        now.map_or(0, |now| now.subsec_nanos().into()),
    ));
    if left < ROOM || request.method == "LATER" {
        tokio::time::sleep(left).await;
    }
}

/// What is said of a request that makes a server panic.
const PANIC: &str = "This request caused apiserver to panic.";

/// How long a server may take to forget, or to hear of a webhook.
const PATIENCE: Duration = Duration::from_secs(60);

static INDEX: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\[\d+\]").expect("a regex"));

impl Difference {
    /// What differences of the same cause have in common.
    pub fn class(&self) -> String {
        let kind = self
            .request
            .path
            .split('/')
            .filter(|part| {
                !part.contains('@')
                    && !matches!(*part, "a" | "b" | "c" | "api" | "apis" | "namespaces")
            })
            .collect::<Vec<_>>()
            .join("/");
        let (path, ours, theirs) = self.telling();
        let path = INDEX.replace_all(path, "[]");
        let short = |text: &str| text.chars().take(260).collect::<String>();
        format!(
            "{} {kind} {} {path}\n    embedded: {}\n    real:     {}",
            self.request.method,
            self.request.content.trim_start_matches("application/"),
            short(ours),
            short(theirs)
        )
    }

    /// The part that says most: the message, when there is one.
    fn telling(&self) -> &(String, String, String) {
        self.parts
            .iter()
            .find(|(path, ..)| path == ".body.message")
            .or_else(|| {
                self.parts
                    .iter()
                    .find(|(path, ..)| path.starts_with(".body.details.causes"))
            })
            .unwrap_or(&self.parts[0])
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, ours, theirs) in self.parts.iter().take(12) {
            writeln!(
                f,
                "  at {path}\n    embedded: {ours}\n    real:     {theirs}"
            )?;
        }
        if self.parts.len() > 12 {
            writeln!(f, "  and {} more", self.parts.len() - 12)?;
        }
        Ok(())
    }
}

static NAMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"@(rv|oldrv|uid)\(([^)]*)\)").expect("a regex"));

/// One server's side of a sequence.
struct Player<'a> {
    side: &'a Side,
    run: String,
    normal: Normal,
    /// First revision, last revision, uid by `KIND/NAMESPACE/NAME`.
    known: HashMap<String, (String, String, String)>,
    token: String,
    /// The revision at which the sequence began.
    began: String,
}

impl<'a> Player<'a> {
    fn new(side: &'a Side, run: &str) -> Player<'a> {
        Player {
            side,
            run: run.to_owned(),
            normal: Normal::default(),
            known: HashMap::new(),
            token: String::new(),
            began: String::new(),
        }
    }

    fn fill(&self, text: &str) -> String {
        let text = text
            .replace("@run", &self.run)
            .replace("@continue", &self.token)
            .replace("@began", &self.began);
        NAMED
            .replace_all(&text, |found: &Captures<'_>| {
                match (self.known.get(&found[2]), &found[1]) {
                    (Some((_, last, _)), "rv") => last.clone(),
                    (Some((first, _, _)), "oldrv") => first.clone(),
                    (Some((_, _, uid)), _) => uid.clone(),
                    (None, "uid") => "00000000-0000-0000-0000-000000000000".into(),
                    (None, _) => "1".into(),
                }
            })
            .into_owned()
    }

    async fn send(&self, request: &Request) -> (u16, Vec<String>, String) {
        let url = format!("{}{}", self.side.url, self.fill(&request.path));
        let query: Vec<(String, String)> = request
            .query
            .iter()
            .map(|(key, value)| (key.clone(), self.fill(value)))
            .collect();
        let method = match request.method {
            "WATCH" | "GONE" | "LATER" => "GET",
            "REFUSED" => "POST",
            method => method,
        };
        let method: reqwest::Method = method.parse().expect("a method");
        let mut url: reqwest::Url = url.parse().expect("a URL");
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(&query);
        }
        let mut builder = self
            .side
            .http
            .request(method, url)
            .bearer_auth(&self.side.token)
            .header("user-agent", "differential/1")
            .header("accept", request.accept);
        if !request.content.is_empty() {
            builder = builder.header("content-type", request.content);
        }
        if let Some(body) = &request.body {
            // A string is a body that is not JSON.
            let text = match body {
                Value::String(text) => text.clone(),
                body => body.to_string(),
            };
            builder = builder.body(self.fill(&text));
        }
        let answer = match builder.send().await {
            Ok(answer) => answer,
            // A request that makes the real server panic ends its connection; the embedded one says so.
            Err(error) if format!("{error:?}").contains("IncompleteMessage") => {
                let answer = json!({"kind": "Status", "code": 500, "message": PANIC});
                return (500, Vec::new(), answer.to_string());
            }
            Err(error) => return (0, Vec::new(), format!("{error:?}")),
        };
        let code = answer.status().as_u16();
        let mut warnings: Vec<String> = answer
            .headers()
            .get_all("warning")
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        warnings.sort();
        let text = match answer.text().await {
            Ok(text) if code == 500 && text.contains(PANIC) => {
                json!({"kind": "Status", "code": 500, "message": PANIC}).to_string()
            }
            Ok(text) => text,
            Err(error) => format!("{error:?}"),
        };
        (code, warnings, text)
    }

    fn learn(&mut self, value: &Value) {
        let meta = &value["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        if let Some(revision) = meta["resourceVersion"].as_str()
            && meta["uid"].is_string()
        {
            let key = format!(
                "{}/{}/{}",
                text(&value["kind"]),
                text(&meta["namespace"]).replace(&self.run, "@run"),
                text(&meta["name"]).replace(&self.run, "@run")
            );
            let entry = self
                .known
                .entry(key)
                .or_insert_with(|| (revision.to_owned(), String::new(), String::new()));
            entry.1 = revision.to_owned();
            entry.2 = text(&meta["uid"]);
        }
        if let Some(token) = meta["continue"].as_str() {
            self.token = token.to_owned();
        }
    }

    /// Sends a request, again and again if it waits for an answer: until what it asks for is no longer remembered, or
    /// until it is refused.
    async fn sent(&self, request: &Request) -> (u16, Vec<String>, String) {
        let began = Instant::now();
        loop {
            let answer = self.send(request).await;
            let wanted = match request.method {
                "GONE" => 410,
                "REFUSED" => 403,
                _ => answer.0,
            };
            if answer.0 == wanted || began.elapsed() > PATIENCE {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sends a request and gives its answer in comparable form.
    async fn answer(&mut self, request: &Request) -> Value {
        let (code, warnings, text) = self.sent(request).await;
        if request.quiet {
            return json!({"code": code});
        }
        let body = if request.method == "WATCH" && code == 200 {
            let (mut events, mut body) = (Vec::new(), json!({}));
            for line in text.lines() {
                let event: Value = serde_json::from_str(line).unwrap_or(Value::Null);
                if event["type"] != "BOOKMARK" {
                    events.push(self.normal.value(&event));
                } else if event["object"]["metadata"]["annotations"].is_object() {
                    events.push(bookmark(event));
                } else {
                    body["bookmark"] = bookmark(event);
                }
            }
            body["events"] = events.into();
            body
        } else {
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => {
                    self.learn(&value);
                    self.normal.value(&value)
                }
                Err(_) => Value::String(text.replace(&self.run, "RUN")),
            }
        };
        let warnings: Vec<String> = warnings
            .iter()
            .map(|warning| warning.replace(&self.run, "RUN"))
            .collect();
        json!({"code": code, "warnings": warnings, "body": body})
    }
}

/// How far a server has come is of the moment.
fn bookmark(mut event: Value) -> Value {
    let object = &mut event["object"];
    object["metadata"]["resourceVersion"] = "<revision>".into();
    if let Some(row) = object.get_mut("rows").and_then(|rows| rows.get_mut(0)) {
        row["object"]["metadata"]["resourceVersion"] = "<revision>".into();
    }
    event
}

/// Both servers, ready for sequences.
pub struct Players {
    embedded: Side,
    real: Side,
    runs: AtomicUsize,
}

impl Players {
    /// Installs what all sequences have in common on both servers.
    pub async fn new(embedded: Side, real: Side) -> Players {
        for side in [&embedded, &real] {
            definitions::install(side).await;
        }
        Players {
            embedded,
            real,
            runs: AtomicUsize::new(0),
        }
    }

    /// Plays a sequence to its end; answers the differences.
    pub async fn play_all(&self, sequence: &[Request]) -> Vec<Difference> {
        let run = format!("run{:06}", self.runs.fetch_add(1, Ordering::SeqCst));
        let mut ours = Player::new(&self.embedded, &run);
        let mut theirs = Player::new(&self.real, &run);
        tokio::join!(prepare(&mut ours), prepare(&mut theirs));
        let mut found = Vec::new();
        for request in sequence {
            within_a_second(request).await;
            let (a, b) = tokio::join!(ours.answer(request), theirs.answer(request));
            let parts = differences(&a, &b);
            if !parts.is_empty() {
                found.push(Difference {
                    request: request.clone(),
                    parts,
                });
            }
        }
        found
    }

    /// Plays a sequence until its first difference; says how many requests that took.
    pub async fn play(&self, sequence: &[Request]) -> (usize, Option<Difference>) {
        let run = format!("run{:06}", self.runs.fetch_add(1, Ordering::SeqCst));
        let mut ours = Player::new(&self.embedded, &run);
        let mut theirs = Player::new(&self.real, &run);
        tokio::join!(prepare(&mut ours), prepare(&mut theirs));
        let mut difference = None;
        let mut count = 0;
        for request in sequence {
            count += 1;
            within_a_second(request).await;
            let (a, b) = tokio::join!(ours.answer(request), theirs.answer(request));
            let parts = differences(&a, &b);
            if !parts.is_empty() {
                difference = Some(Difference {
                    request: request.clone(),
                    parts,
                });
                break;
            }
        }
        (count, difference)
    }

    /// Leaves out what the difference does not need.
    pub async fn shrink(
        &self,
        mut sequence: Vec<Request>,
        mut difference: Difference,
    ) -> (Vec<Request>, Difference) {
        let end = sequence
            .iter()
            .position(|request| *request == difference.request)
            .map_or(sequence.len(), |index| index + 1);
        sequence.truncate(end);
        let class = difference.class();
        let mut size = sequence.len() / 2;
        while size > 0 {
            let mut start = 0;
            while start < sequence.len() {
                let mut fewer = sequence.clone();
                fewer.drain(start..(start + size).min(sequence.len()));
                let (_, found) = self.play(&fewer).await;
                match found {
                    Some(found) if found.class() == class => {
                        sequence = fewer;
                        difference = found;
                    }
                    _ => start += size,
                }
            }
            size /= 2;
        }
        (sequence, difference)
    }
}

/// Two namespaces with the service account that a controller would make.
async fn prepare(player: &mut Player<'_>) {
    let list = player
        .send(&Request::new("GET", "/api/v1/namespaces").with("limit", "1"))
        .await;
    let list: Value = serde_json::from_str(&list.2).unwrap_or(Value::Null);
    player.began = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    for namespace in ["@run-a", "@run-b"] {
        let made = Request::new("POST", "/api/v1/namespaces").body(
            "application/json",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"run": "@run"}}}),
        );
        let answer = player.send(&made).await;
        assert_eq!(answer.0, 201, "{}", answer.2);
        let account = Request::new(
            "POST",
            format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
        )
        .body(
            "application/json",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
        );
        // Right after its namespace was made, the real server's admission may not have heard of it.
        for _ in 0..50 {
            let answer = player.send(&account).await;
            if answer.0 == 201 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
