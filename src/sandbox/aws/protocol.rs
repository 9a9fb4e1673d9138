//! The wire formats: requests become operation and input, answers and faults become bytes.

use serde_json::{Map, Value, json};

use super::iam::policy::Context;
use super::{Fault, Operation, Protocol, Service, shapes, xml};

/// A request as it came in, before anything is known about it.
pub(super) struct Incoming<'a> {
    pub method: &'a str,
    /// The path as sent, still percent-encoded.
    pub path: &'a str,
    /// The query string as sent.
    pub query: &'a str,
    /// The `X-Amz-Target` header.
    pub target: Option<&'a str>,
    pub body: &'a [u8],
}

/// An operation and its input.
#[derive(Debug)]
pub(super) struct Decoded {
    pub operation: String,
    pub input: Value,
}

/// Bytes of an answer.
#[derive(Debug)]
pub(super) struct Encoded {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
    /// The `x-amzn-errortype` header.
    pub error_type: Option<String>,
}

/// Reads a request as its service speaks.
pub(super) fn decode(service: &dyn Service, request: &Incoming<'_>) -> Result<Decoded, Fault> {
    match service.protocol() {
        Protocol::Query | Protocol::Ec2 => decode_query(request),
        Protocol::Json => decode_json(service, request),
        Protocol::RestJson => decode_rest(service, request),
    }
}

fn decode_query(request: &Incoming<'_>) -> Result<Decoded, Fault> {
    let body = std::str::from_utf8(request.body)
        .map_err(|_| Fault::new(400, "MalformedInput", "the body is not UTF-8"))?;
    let mut pairs = form(request.query);
    pairs.retain(|(key, _)| !key.starts_with("X-Amz-"));
    pairs.extend(form(body));
    let mut operation = None;
    let mut tree = Map::new();
    for (key, value) in pairs {
        match key.as_str() {
            "Action" => operation = Some(value),
            "Version" => {}
            _ => insert(&mut tree, &mut key.split('.'), value),
        }
    }
    let operation = operation.ok_or_else(|| {
        Fault::new(
            400,
            "MissingAction",
            "The request must contain the parameter Action.",
        )
    })?;
    Ok(Decoded {
        operation,
        input: lists(Value::Object(tree)),
    })
}

/// The deepest nesting of a query parameter that is followed; AWS's own shapes stay far below.
const MAX_DEPTH: usize = 32;

fn insert(tree: &mut Map<String, Value>, segments: &mut std::str::Split<'_, char>, value: String) {
    let mut tree = tree;
    let path: Vec<&str> = segments.collect();
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    if parents.len() > MAX_DEPTH {
        return;
    }
    for parent in parents {
        let entry = tree
            .entry(parent.to_string())
            .or_insert_with(|| Value::Object(Map::new()));
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        match entry {
            Value::Object(next) => tree = next,
            _ => return,
        }
    }
    tree.entry(last.to_string()).or_insert(Value::String(value));
}

/// Turns what is numbered into arrays: `{"member": {"1": x}}` and `{"1": x}`.
fn lists(value: Value) -> Value {
    let Value::Object(members) = value else {
        return value;
    };
    if members.len() == 1
        && let Some(inner @ Value::Object(items)) = members.get("member")
        && numbered(items)
    {
        return lists(inner.clone());
    }
    if numbered(&members) {
        let mut items: Vec<(u64, Value)> = members
            .into_iter()
            .filter_map(|(index, item)| Some((index.parse().ok()?, item)))
            .collect();
        items.sort_by_key(|(index, _)| *index);
        return items.into_iter().map(|(_, item)| lists(item)).collect();
    }
    members
        .into_iter()
        .map(|(name, member)| (name, lists(member)))
        .collect::<Map<_, _>>()
        .into()
}

fn numbered(members: &Map<String, Value>) -> bool {
    !members.is_empty() && members.keys().all(|key| key.parse::<u64>().is_ok())
}

fn decode_json(service: &dyn Service, request: &Incoming<'_>) -> Result<Decoded, Fault> {
    let operation = request
        .target
        .and_then(|target| target.rsplit_once('.'))
        .filter(|(prefix, _)| *prefix == service.namespace())
        .map(|(_, operation)| operation.to_owned())
        .ok_or_else(|| Fault::new(400, "UnknownOperationException", ""))?;
    let input = json_body(request.body)?;
    Ok(Decoded { operation, input })
}

fn json_body(body: &[u8]) -> Result<Value, Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(json!({}));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Fault::new(
            400,
            "SerializationException",
            "Unexpected token received from parser",
        )),
        Err(error) => Err(Fault::new(400, "SerializationException", error.to_string())),
    }
}

fn decode_rest(service: &dyn Service, request: &Incoming<'_>) -> Result<Decoded, Fault> {
    let found = service
        .operations()
        .iter()
        .filter(|operation| operation.method == request.method)
        .filter_map(|operation| {
            let labels = match_path(operation.path, request.path)?;
            // A literal path wins over a template that also matches: fewer labels are more specific.
            Some((labels.len(), operation, labels))
        })
        .min_by_key(|(labels, ..)| *labels);
    let model = shapes::of(service.signing_name());
    let Some((_, operation, labels)) = found else {
        let known = model
            .iter()
            .flat_map(|model| model.others())
            .find(|(_, method, path)| {
                *method == request.method && match_path(path, request.path).is_some()
            })
            .map(|(name, ..)| name.to_owned());
        return Err(super::rejection::unknown_operation(
            service,
            &known.unwrap_or_else(|| format!("{} {}", request.method, request.path)),
        ));
    };
    let mut input = match json_body(request.body)? {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (key, value) in form(request.query) {
        if key.starts_with("X-Amz-") {
            continue;
        }
        match input.get_mut(&key) {
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = json!([first.take(), value]),
            None if model.is_some_and(|model| model.is_list(operation.name, &key)) => {
                input.insert(key, json!([value]));
            }
            None => {
                input.insert(key, value.into());
            }
        }
    }
    for (label, value) in labels {
        input.insert(label, value.into());
    }
    Ok(Decoded {
        operation: operation.name.to_owned(),
        input: Value::Object(input),
    })
}

/// Matches a path against `/clusters/{name}` or `/tags/{arn+}`; the labels' values are percent-decoded.
fn match_path(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let template = template.split('?').next().unwrap_or(template);
    let mut labels = Vec::new();
    let mut rest = path.trim_matches('/').split('/').peekable();
    let mut parts = template.trim_matches('/').split('/').peekable();
    while let Some(part) = parts.next() {
        let segment = rest.next()?;
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(label) => {
                let mut value = segment.to_owned();
                let name = label.strip_suffix('+').unwrap_or(label);
                if name != label && parts.peek().is_none() {
                    for more in rest.by_ref() {
                        value.push('/');
                        value.push_str(more);
                    }
                }
                if value.is_empty() {
                    return None;
                }
                labels.push((name.to_owned(), percent_decode(&value, false)));
            }
            None if part == segment => {}
            None => return None,
        }
    }
    rest.peek().is_none().then_some(labels)
}

/// Writes an answer as the service speaks.
pub(super) fn encode(
    service: &dyn Service,
    operation: &str,
    output: &Value,
    request_id: &str,
) -> Encoded {
    let body = match service.protocol() {
        Protocol::Query => {
            let mut body = String::with_capacity(512);
            body.push_str(&format!(
                "<{operation}Response xmlns=\"{}\">",
                service.namespace()
            ));
            xml::element(&mut body, &format!("{operation}Result"), output, "member");
            body.push_str(&format!(
                "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
            ));
            body
        }
        Protocol::Ec2 => {
            let mut body = String::with_capacity(512);
            body.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
            body.push_str(&format!(
                "<{operation}Response xmlns=\"{}\"><requestId>{request_id}</requestId>",
                service.namespace()
            ));
            xml::content(&mut body, output, "item");
            body.push_str(&format!("</{operation}Response>"));
            body
        }
        Protocol::Json | Protocol::RestJson => match output {
            Value::Null => "{}".to_owned(),
            output => without_nulls(output).to_string(),
        },
    };
    Encoded {
        status: 200,
        content_type: content_type(service.protocol()),
        body,
        error_type: None,
    }
}

/// Writes a fault as a protocol does. `namespace` is the XML namespace of query services.
pub(super) fn encode_fault(
    protocol: Protocol,
    namespace: &str,
    fault: &Fault,
    request_id: &str,
) -> Encoded {
    let mut body = String::new();
    let mut error_type = None;
    match protocol {
        Protocol::Query => {
            let kind = if fault.status >= 500 {
                "Receiver"
            } else {
                "Sender"
            };
            body.push_str(&format!(
                "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{kind}</Type><Code>"
            ));
            xml::escape(&mut body, &fault.code);
            body.push_str("</Code><Message>");
            xml::escape(&mut body, &fault.message);
            body.push_str("</Message>");
            xml::content(&mut body, &Value::Object((*fault.fields).clone()), "member");
            body.push_str(&format!(
                "</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
            ));
        }
        Protocol::Ec2 => {
            body.push_str(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>",
            );
            xml::escape(&mut body, &fault.code);
            body.push_str("</Code><Message>");
            xml::escape(&mut body, &fault.message);
            body.push_str(&format!(
                "</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
            ));
        }
        Protocol::Json | Protocol::RestJson => {
            let mut members = Map::new();
            if protocol == Protocol::Json {
                members.insert("__type".into(), fault.code.clone().into());
            }
            members.insert("message".into(), fault.message.clone().into());
            members.extend((*fault.fields).clone());
            body = Value::Object(members).to_string();
            error_type = Some(fault.code.clone());
        }
    }
    Encoded {
        status: fault.status,
        content_type: content_type(protocol),
        body,
        error_type,
    }
}

fn content_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Query => "text/xml",
        Protocol::Ec2 => "text/xml;charset=UTF-8",
        Protocol::Json => "application/x-amz-json-1.1",
        Protocol::RestJson => "application/json",
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(values) => values.iter().map(without_nulls).collect(),
        value => value.clone(),
    }
}

/// Adds `aws:RequestTag/…` and `aws:TagKeys` from the input, however the service writes tags.
pub(super) fn request_tags(input: &Value, context: &mut Context) {
    let mut add = |key: &str, value: &str| {
        context.add(&format!("aws:RequestTag/{key}"), value);
        context.add("aws:TagKeys", key);
    };
    let pair = |tag: &Value| {
        let member = |upper: &str, lower: &str| {
            let value = tag.get(upper).or_else(|| tag.get(lower))?;
            value.as_str().map(str::to_owned)
        };
        Some((
            member("Key", "key")?,
            member("Value", "value").unwrap_or_default(),
        ))
    };
    for member in ["Tags", "tags", "Tag"] {
        match input.get(member) {
            Some(Value::Object(tags)) => tags.iter().for_each(|(key, value)| {
                add(key, value.as_str().unwrap_or_default());
            }),
            Some(Value::Array(tags)) => tags
                .iter()
                .filter_map(pair)
                .for_each(|(key, value)| add(&key, &value)),
            _ => {}
        }
    }
    if let Some(Value::Array(specifications)) = input.get("TagSpecification") {
        specifications
            .iter()
            .filter_map(|specification| specification.get("Tag")?.as_array())
            .flatten()
            .filter_map(pair)
            .for_each(|(key, value)| add(&key, &value));
    }
    for member in ["TagKeys", "tagKeys"] {
        match input.get(member) {
            Some(Value::Array(keys)) => keys
                .iter()
                .filter_map(Value::as_str)
                .for_each(|key| context.add("aws:TagKeys", key)),
            Some(Value::String(key)) if !key.is_empty() => context.add("aws:TagKeys", key.clone()),
            _ => {}
        }
    }
}

/// Splits `a=1&b=2` and decodes both sides.
pub(in crate::sandbox) fn form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key, true), percent_decode(value, true))
        })
        .collect()
}

/// Decodes `%XX`, and `+` as a space where it is a form. What is not UTF-8 is replaced.
pub(super) fn percent_decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| {
            bytes
                .get(at + offset)
                .and_then(|b| (*b as char).to_digit(16))
        };
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) if plus => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Encodes everything but RFC 3986's unreserved characters.
pub(super) fn uri_encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char)
            }
            b'/' if keep_slash => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// An operation of a query or JSON service, which needs a name only.
pub const fn operation(name: &'static str) -> Operation {
    Operation {
        name,
        method: "",
        path: "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(body: &str) -> Decoded {
        decode_query(&Incoming {
            method: "POST",
            path: "/",
            query: "",
            target: None,
            body: body.as_bytes(),
        })
        .expect("decodes")
    }

    #[test]
    fn nested_query_lists_become_arrays() {
        let decoded = query(
            "Action=CreateRole&Version=2010-05-08&RoleName=a%2Bb&Tags.member.2.Key=two&Tags.member.1.Key=one\
             &Tags.member.10.Key=ten&Filter.1.Name=n&Filter.1.Value.1=x&Filter.1.Value.2=y+z&Empty=",
        );
        assert_eq!(decoded.operation, "CreateRole");
        assert_eq!(
            decoded.input,
            json!({
                "RoleName": "a+b",
                "Tags": [{"Key": "one"}, {"Key": "two"}, {"Key": "ten"}],
                "Filter": [{"Name": "n", "Value": ["x", "y z"]}],
                "Empty": "",
            })
        );
    }

    #[test]
    fn a_hostile_query_is_survived() {
        let deep = "a.".repeat(5000);
        let decoded = query(&format!("Action=X&{deep}z=1&a=1&a.b=2&.=&=&..1=3&%ff=%zz"));
        assert_eq!(decoded.operation, "X");
    }

    #[test]
    fn paths_match_templates() {
        let labels = match_path(
            "/clusters/{name}/addons/{addonName}",
            "/clusters/a%2Fb/addons/c",
        );
        assert_eq!(
            labels,
            Some(vec![
                ("name".into(), "a/b".into()),
                ("addonName".into(), "c".into())
            ])
        );
        assert_eq!(match_path("/clusters/{name}", "/clusters"), None);
        assert_eq!(match_path("/clusters/{name}", "/clusters/a/b"), None);
        assert_eq!(
            match_path("/tags/{arn+}", "/tags/a/b"),
            Some(vec![("arn".into(), "a/b".into())])
        );
    }

    #[test]
    fn request_tags_are_found_in_every_shape() {
        for input in [
            json!({"tags": {"k": "v"}}),
            json!({"Tags": [{"Key": "k", "Value": "v"}]}),
            json!({"tags": [{"key": "k", "value": "v"}]}),
            json!({"TagSpecification": [{"Tag": [{"Key": "k", "Value": "v"}]}]}),
        ] {
            let mut context = Context::default();
            request_tags(&input, &mut context);
            assert_eq!(context.get("aws:RequestTag/k"), ["v"], "{input}");
        }
    }

    #[test]
    fn faults_are_written_as_each_protocol_does() {
        let fault = Fault::new(404, "NoSuchEntity", "no <role>");
        assert_eq!(
            encode_fault(Protocol::Query, "urn:x", &fault, "id").body,
            "<ErrorResponse xmlns=\"urn:x\"><Error><Type>Sender</Type><Code>NoSuchEntity</Code>\
             <Message>no &lt;role&gt;</Message></Error><RequestId>id</RequestId></ErrorResponse>"
        );
        assert!(encode_fault(Protocol::Ec2, "", &fault, "id").body.ends_with(
            "<Response><Errors><Error><Code>NoSuchEntity</Code><Message>no &lt;role&gt;</Message></Error></Errors>\
             <RequestID>id</RequestID></Response>"
        ));
        assert_eq!(
            encode_fault(Protocol::Json, "", &fault, "id").body,
            r#"{"__type":"NoSuchEntity","message":"no <role>"}"#
        );
    }
}
