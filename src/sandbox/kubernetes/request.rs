//! What a request asks for: verb, resource, name, query.

use hyper::Method;

/// The query string, decoded.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=2`.
    pub fn parse(text: &str) -> Query {
        let pairs = text
            .split('&')
            // What is no pair counts for nothing.
            .filter(|pair| !pair.is_empty() && !pair.contains(';') && is_escaped(pair))
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key, true), decode(value, true))
            })
            .collect();
        Query(pairs)
    }

    /// The first value of a key; empty when it is not there.
    pub fn get(&self, key: &str) -> &str {
        self.0
            .iter()
            .find(|(one, _)| one == key)
            .map_or("", |(_, value)| value)
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(one, _)| one == key)
    }

    /// All values of a key.
    pub fn all(&self, key: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(one, _)| one == key)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Whether a key is there and not false: anything else counts as true.
    pub fn flag(&self, key: &str) -> bool {
        self.has(key) && !matches!(self.get(key).to_lowercase().as_str(), "false" | "0")
    }

    /// A number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.get(key).parse().ok()
    }
}

/// Whether all percent signs begin an escape.
pub fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Undoes percent encoding.
pub fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = bytes
            .get(index + 1..index + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[index], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                index += 2;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A request, taken apart.
#[derive(Clone, Debug, Default)]
pub struct Info {
    /// The verb that RBAC sees: `get`, `list`, `deletecollection`; for other paths the method in lower case.
    pub verb: &'static str,
    /// The path.
    pub path: String,
    /// Whether it is about a resource.
    pub resource_request: bool,
    /// Whether the method is one that resources may have.
    pub known_method: bool,
    /// Whether part of the path is empty.
    pub hollow: bool,
    /// Whether it says how to ask, and not for what.
    pub incomplete: bool,
    /// The API group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace; empty for cluster scope.
    pub namespace: String,
    /// The plural.
    pub resource: String,
    /// The name; empty for collections.
    pub name: String,
    /// The subresource, if any.
    pub subresource: String,
    /// What follows the subresource, for proxies.
    pub tail: String,
    /// The query.
    pub query: Query,
}

impl Info {
    /// Takes a request apart.
    pub fn new(method: &Method, path: &str, query: &str) -> Info {
        let mut info = Info {
            verb: match *method {
                Method::GET => "get",
                Method::HEAD => "head",
                Method::POST => "post",
                Method::PUT => "put",
                Method::PATCH => "patch",
                Method::DELETE => "delete",
                Method::OPTIONS => "options",
                _ => "unknown",
            },
            path: decode(path, false),
            known_method: matches!(
                *method,
                Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE
            ),
            query: Query::parse(query),
            ..Info::default()
        };
        // An escaped slash is one.
        let whole = info.path.clone();
        info.hollow = whole.trim_end_matches('/').contains("//");
        let parts: Vec<String> = whole
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        let mut rest = match parts.first().map(String::as_str) {
            Some("api") if parts.len() > 2 => {
                info.version = parts[1].clone();
                &parts[2..]
            }
            Some("apis") if parts.len() > 3 => {
                info.group = parts[1].clone();
                info.version = parts[2].clone();
                &parts[3..]
            }
            _ => return info,
        };
        info.resource_request = true;
        let mut watch = false;
        info.incomplete = matches!(rest[0].as_str(), "watch" | "proxy") && rest.len() < 2;
        if rest[0] == "watch" && rest.len() > 1 {
            watch = true;
            rest = &rest[1..];
        }
        // `namespaces/x` and its subresources are about the namespace itself.
        let own = rest
            .get(2)
            .is_none_or(|part| matches!(part.as_str(), "status" | "finalize") && rest.len() == 3);
        if rest[0] == "namespaces" && rest.len() > 1 {
            info.namespace = rest[1].clone();
            if !own {
                rest = &rest[2..];
            }
        }
        info.resource = rest[0].clone();
        info.name = rest.get(1).cloned().unwrap_or_default();
        info.subresource = rest.get(2).cloned().unwrap_or_default();
        info.tail = rest.get(3..).unwrap_or(&[]).join("/");
        let collection = info.name.is_empty();
        info.verb = match info.verb {
            "get" | "head" if watch || info.query.flag("watch") && info.subresource.is_empty() => {
                "watch"
            }
            "get" | "head" if collection => "list",
            "get" | "head" => "get",
            "post" => "create",
            "put" => "update",
            "delete" if collection => "deletecollection",
            other => other,
        };
        info
    }

    /// `pods/log`, `pods`.
    pub fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}
