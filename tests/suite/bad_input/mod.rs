//! Whatever comes in on whichever listener of a running environment: an error in the protocol's own form, never a crash,
//! and nothing is changed by it.

mod aws;
mod http;
mod kubernetes;
mod registry;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::World;
use crate::wire::{self, Answer, Request, Sandbox, exchange, exchange_tls};

/// One address where the sandbox listens.
struct Listener {
    name: &'static str,
    address: SocketAddr,
    tls: bool,
    /// A load balancer takes every host, as real ones do.
    any_host: bool,
    /// A request that is answered, and how.
    alive: (Vec<u8>, u16),
}

impl Listener {
    fn ask(&self, bytes: &[u8]) -> Answer {
        match self.tls {
            true => exchange_tls(self.address, bytes),
            false => exchange(self.address, bytes),
        }
    }

    /// Asserts that it still answers.
    #[track_caller]
    fn lives(&self, after: &str) {
        let answer = self.ask(&self.alive.0);
        assert_eq!(answer.status, self.alive.1, "{} after {after}", self.name);
    }
}

/// A running environment and what its listeners need to be asked.
struct Scene {
    world: World,
    sandbox: Sandbox,
    cluster: SocketAddr,
    bearer: String,
    login: String,
    listeners: Vec<Listener>,
}

fn get(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut request = Request::new("", "GET", path, b"");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.bytes()
}

impl Scene {
    fn start() -> Self {
        let world = World::without_data_plane();
        world.start_sandbox();
        world.run(&["up", "--sandbox"]).succeeds();
        let sandbox = Sandbox::of(&world);
        let cluster = sandbox.get("eks", "/clusters/meshctl-demo");
        let cluster = cluster["cluster"]["endpoint"].as_str().unwrap();
        let cluster = cluster.trim_start_matches("https://").parse().unwrap();
        let bearer = world.bearer();
        let target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
        let login = sandbox.json("ecr", target, &json!({}));
        let login = &login["authorizationData"][0]["authorizationToken"];
        let login = format!("Basic {}", login.as_str().unwrap());
        let mut scene = Scene {
            world,
            sandbox,
            cluster,
            bearer,
            login,
            listeners: Vec::new(),
        };
        scene.listeners = scene.find_listeners();
        scene
    }

    fn kubernetes(&self, path: &str) -> Value {
        let answer = exchange_tls(self.cluster, &get(path, &[("authorization", &self.bearer)]));
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_str(&answer.body()).unwrap()
    }

    fn find_listeners(&self) -> Vec<Listener> {
        let sandbox = &self.sandbox;
        let control = format!("Bearer {}", sandbox.text("token"));
        let listener = |name, address, tls, alive| Listener {
            name,
            address,
            tls,
            any_host: false,
            alive,
        };
        let aws = get("/_sandbox/status", &[("authorization", &control)]);
        let ecr = get("/v2/", &[("authorization", &self.login)]);
        let mut all = vec![
            listener("the AWS endpoint", sandbox.aws(), false, (aws, 200)),
            listener("the registry", sandbox.port("ecrPort"), false, (ecr, 200)),
            listener(
                "the public registry",
                sandbox.port("publicPort"),
                false,
                (get("/v2/", &[]), 401),
            ),
            listener(
                "the API server",
                self.cluster,
                true,
                (get("/livez", &[("authorization", &self.bearer)]), 200),
            ),
        ];
        let nodes = self.kubernetes("/api/v1/nodes");
        let port = nodes["items"][0]["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
            .as_u64()
            .unwrap();
        let kubelet = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        let healthy = (get("/healthz", &[("authorization", &self.bearer)]), 200);
        all.push(listener("the kubelet", kubelet, true, healthy));
        let slices = self.kubernetes("/apis/discovery.k8s.io/v1/endpointslices");
        for slice in slices["items"].as_array().unwrap() {
            let name = slice["metadata"]["labels"]["kubernetes.io/service-name"]
                .as_str()
                .unwrap_or("");
            if !name.contains("webhook") {
                continue;
            }
            let pod = slice["endpoints"][0]["addresses"][0].as_str().unwrap();
            let port = slice["ports"][0]["port"].as_u64().unwrap();
            let twin = format!("127.{}:{port}", pod.trim_start_matches("10."));
            all.push(Listener {
                // Webhooks are called by the name of their service.
                any_host: true,
                ..listener(
                    "a webhook",
                    twin.parse().unwrap(),
                    true,
                    (get("/", &[]), 404),
                )
            });
        }
        assert!(all.iter().any(|one| one.name == "a webhook"));
        let describe = "Action=DescribeLoadBalancers&Version=2015-12-01";
        let body = sandbox.query("elasticloadbalancing", describe);
        let (_, name) = body.split_once("<DNSName>").unwrap();
        let address = format!("{}:8080", name.split('<').next().unwrap());
        all.push(Listener {
            any_host: true,
            ..listener(
                "the load balancer",
                address.parse().unwrap(),
                false,
                (get("/", &[]), 200),
            )
        });
        all
    }

    /// Everything that lasts, without what passes by itself.
    fn everything(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        // A change of our own, waited for, shows that all before it is in the file.
        let marker = format!("marker-{:016x}", fastrand::u64(..));
        let name = json!({"logGroupName": marker});
        let create = Request::json("logs", "Logs_20140328.CreateLogGroup", &name.to_string());
        let made = create.signed(&self.sandbox.keys()).bytes();
        let made = exchange(self.sandbox.aws(), &made);
        assert_eq!(made.status, 200, "{made:?}");
        let file = self.world.sandbox_directory().join("state.json");
        let deadline = Instant::now() + Duration::from_secs(20);
        let text = loop {
            let text = std::fs::read_to_string(&file).unwrap();
            if text.contains(&marker) {
                break text;
            }
            assert!(Instant::now() < deadline, "the state is saved");
            std::thread::sleep(Duration::from_millis(20));
        };
        let Value::Object(state) = serde_json::from_str(&text).unwrap() else {
            panic!("a state");
        };
        for (service, mut value) in state {
            if ["next_id", "logs", "xray"].contains(&service.as_str()) {
                continue;
            }
            if let Some(members) = value.as_object_mut() {
                for passing in ["sessions", "tokens", "uploads"] {
                    members.remove(passing);
                }
            }
            strip(&mut value, &["last_used", "logs_at"]);
            all.insert(service, value);
        }
        for path in [
            "/api/v1/namespaces",
            "/api/v1/configmaps",
            "/api/v1/secrets",
            "/api/v1/services",
            "/api/v1/serviceaccounts",
            "/api/v1/pods",
            "/api/v1/nodes",
            "/apis/apps/v1/deployments",
            "/apis/apps/v1/replicasets",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            "/apis/rbac.authorization.k8s.io/v1/rolebindings",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "/apis/appmesh.k8s.aws/v1beta2/virtualnodes",
        ] {
            let mut list = self.kubernetes(path)["items"].take();
            strip(&mut list, &["resourceVersion", "managedFields", "status"]);
            all.insert(path.to_owned(), list);
        }
        all
    }

    fn process(&self) -> u64 {
        self.sandbox.number("pid")
    }

    /// The most memory that the sandbox ever had, in MiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process()));
        let status = status.expect("the sandbox runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap() / 1024
    }
}

/// Removes members of a name wherever they are.
fn strip(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !names.contains(&name.as_str()));
            members.values_mut().for_each(|value| strip(value, names));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| strip(value, names)),
        _ => {}
    }
}

/// The form of an error.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Query,
    Ec2,
    Json,
    Registry,
    Status,
    Text,
}

#[track_caller]
fn has_form(what: &str, form: Form, answer: &Answer) {
    let (body, kind) = (answer.body(), answer.header("content-type"));
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    let fits = match form {
        Form::Query => kind.starts_with("text/xml") && body.contains("<ErrorResponse"),
        Form::Ec2 => kind.starts_with("text/xml") && body.contains("<Response><Errors><Error>"),
        Form::Json => kind.contains("json") && json["message"].is_string(),
        Form::Registry => kind.contains("json") && json["errors"][0]["code"].is_string(),
        Form::Status => {
            kind.contains("json")
                && json["kind"] == "Status"
                && json["status"] == "Failure"
                && json["code"] == answer.status
        }
        Form::Text => !kind.contains("html"),
    };
    assert!(fits, "{what}: {form:?}: {}\n{body}", answer.head);
}

/// A case: what it is, who is asked, the request, the statuses that are right, and the form of the error.
type Case<'a> = (String, &'a Listener, Vec<u8>, &'static [u16], Form);

const DEEP: usize = 100_000;

#[test]
fn nothing_that_comes_in_breaks_or_changes_anything() {
    let scene = Scene::start();
    let before = scene.everything();
    // What will time out begins now, and the rest goes on meanwhile.
    let mut slow = Vec::new();
    for listener in &scene.listeners {
        for part in ["", "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: "] {
            let mut stream = wire::connect(listener.address);
            if listener.tls && !part.is_empty() {
                let mut stream = wire::secure(listener.address);
                stream.write_all(part.as_bytes()).unwrap();
                slow.push((
                    listener.name,
                    Instant::now(),
                    Slow::Secure(Box::new(stream)),
                ));
            } else {
                stream.write_all(part.as_bytes()).unwrap();
                slow.push((listener.name, Instant::now(), Slow::Plain(stream)));
            }
        }
    }
    // Bodies that never come, where bodies are read.
    let body =
        Request::form("iam", "Action=ListRoles&Version=2010-05-08").signed(&scene.sandbox.keys());
    let mut stalled = wire::connect(scene.sandbox.aws());
    let bytes = body.bytes();
    stalled.write_all(&bytes[..bytes.len() - 5]).unwrap();

    for listener in &scene.listeners {
        listener.lives("nothing");
        for (what, bytes) in http::wrong() {
            let answer = listener.ask(&bytes);
            // A load balancer without a data plane answers before it reads a body.
            let unread = listener.name == "the load balancer" && what.contains("chunk");
            assert!(
                matches!(answer.status, 0 | 400..=499 | 501 | 505)
                    || (unread && answer.status == 200),
                "{}: {what}: {answer:?}",
                listener.name
            );
        }
        listener.lives("requests that are no HTTP");
        if !listener.any_host {
            for (what, bytes) in http::hosts() {
                let answer = listener.ask(&bytes);
                assert!(
                    matches!(answer.status, 400 | 403),
                    "{}: {what}: {answer:?}",
                    listener.name
                );
            }
        }
    }

    let mut cases = Vec::new();
    aws::cases(&scene, &mut cases);
    registry::cases(&scene, &mut cases);
    kubernetes::cases(&scene, &mut cases);
    let mut wrong = Vec::new();
    for (what, listener, bytes, statuses, form) in &cases {
        let answer = listener.ask(bytes);
        let right = std::panic::catch_unwind(|| {
            assert!(
                statuses.contains(&answer.status),
                "{what}: {} is none of {statuses:?}: {}",
                answer.status,
                &answer.body()[..answer.body().len().min(300)]
            );
            has_form(what, *form, &answer);
        });
        if right.is_err() {
            wrong.push(what.clone());
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        cases.len()
    );

    // Bodies without end, several at once: refused before they fill the memory.
    let peak = scene.peak();
    std::thread::scope(|scope| {
        for listener in &scene.listeners {
            for chunked in [false, true] {
                let scene = &scene;
                scope.spawn(move || gigantic(scene, listener, chunked));
            }
        }
    });
    let grown = scene.peak() - peak;
    assert!(grown < 150, "{grown} MiB more");
    for listener in &scene.listeners {
        listener.lives("gigantic bodies");
    }

    let answer = wire::listen(stalled);
    assert_eq!(answer.status, 408, "a body that does not come: {answer:?}");
    has_form("a body that does not come", Form::Query, &answer);
    for (name, began, stream) in slow {
        let answer = match stream {
            Slow::Plain(stream) => wire::listen(stream),
            Slow::Secure(stream) => wire::listen(stream),
        };
        let took = began.elapsed();
        assert!(
            took < wire::PATIENCE,
            "{name} hangs up: {took:?}, {answer:?}"
        );
        assert!(matches!(answer.status, 0 | 408), "{name}: {answer:?}");
    }

    let after = scene.everything();
    for (part, value) in &before {
        assert_eq!(Some(value), after.get(part), "{part} has changed");
    }
    assert_eq!(before.len(), after.len());
    let log = std::fs::read_to_string(scene.world.sandbox_directory().join("sandbox.log"));
    let log = log.unwrap();
    let panics: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("panicked"))
        .collect();
    assert!(panics.is_empty(), "{panics:#?}");
}

enum Slow {
    Plain(std::net::TcpStream),
    Secure(Box<rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>>),
}

/// Sends a body that is far too large, as far as it is taken.
fn gigantic(scene: &Scene, listener: &Listener, chunked: bool) {
    let (method, path) = match listener.name {
        "the registry" => ("PUT", "/v2/meshctl-demo/backend/manifests/big"),
        "the API server" => ("POST", "/api/v1/namespaces/default/configmaps"),
        "a webhook" => ("POST", "/mutate-v1-pod"),
        _ => ("POST", "/"),
    };
    let authorization = match listener.name {
        "the registry" => &scene.login,
        "the API server" => &scene.bearer,
        _ => "none",
    };
    let length = match chunked {
        true => "transfer-encoding: chunked".to_owned(),
        false => format!("content-length: {}", 10u64 << 30),
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: {authorization}\r\n\
         content-type: application/json\r\n{length}\r\n\r\n"
    );
    let block = vec![b'a'; 1 << 20];
    let mut bytes = Vec::new();
    if chunked {
        write!(bytes, "{:x}\r\n", block.len()).unwrap();
    }
    bytes.extend_from_slice(&block);
    if chunked {
        bytes.extend_from_slice(b"\r\n");
    }
    fn send(mut stream: impl std::io::Read + Write, head: &str, bytes: &[u8]) -> Answer {
        if stream.write_all(head.as_bytes()).is_ok() {
            // Until it has had enough; 200 MiB are more than anybody takes.
            for _ in 0..200 {
                if stream.write_all(bytes).is_err() {
                    break;
                }
            }
        }
        wire::listen(stream)
    }
    let answer = match listener.tls {
        true => send(wire::secure(listener.address), &head, &bytes),
        false => send(wire::connect(listener.address), &head, &bytes),
    };
    // The answer may be lost with the connection, which is reset while we still send.
    let fine = matches!(answer.status, 0 | 400..=499)
        || (listener.name == "the load balancer" && answer.status == 200);
    assert!(fine, "{}: {answer:?}", listener.name);
}
