//! Sequences of requests from a seed.

mod changes;
mod disorder;

use fastrand::Rng;
use serde_json::{Value, json};

use super::objects::{KINDS, Kind, object, once_in, pick};
use super::play::Request;
use disorder::disorder;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// What a sequence plays with: few names, so that requests meet.
struct Scene {
    rng: Rng,
    kinds: Vec<Kind>,
    watched: Vec<Kind>,
}

/// What a write to a scale does to its object is not in the answer.
fn looked_at(request: Request) -> Vec<Request> {
    let look = match (request.method, request.path.strip_suffix("/scale")) {
        ("PUT" | "PATCH", Some(one)) => Some(Request::new("GET", one)),
        _ => None,
    };
    [request].into_iter().chain(look).collect()
}

/// The sequence of a seed.
pub fn sequence(seed: u64) -> Vec<Request> {
    let mut rng = Rng::with_seed(seed);
    // One or two kinds, so that requests meet the same objects.
    let total: usize = KINDS.iter().map(|kind| kind.weight).sum();
    let draw = |rng: &mut Rng| {
        let mut at = rng.usize(..total);
        for kind in KINDS {
            if at < kind.weight {
                return *kind;
            }
            at -= kind.weight;
        }
        KINDS[0]
    };
    let kinds = vec![draw(&mut rng), draw(&mut rng)];
    let mut scene = Scene {
        rng,
        watched: kinds.clone(),
        kinds,
    };
    let length = 10 + scene.rng.usize(..25);
    let mut requests: Vec<Request> = (0..length)
        .flat_map(|_| scene.request())
        .flat_map(looked_at)
        .collect();
    if scene.rng.bool() {
        requests.extend(scene.watches());
    }
    requests
}

impl Scene {
    fn name(&mut self, kind: &Kind) -> String {
        let name = match self.rng.usize(..40) {
            0 => "Not_A_Name".to_owned(),
            1..20 => "a".to_owned(),
            20..32 => "b".to_owned(),
            _ => "c".to_owned(),
        };
        if kind.namespaced {
            name
        } else {
            format!("@run-{name}")
        }
    }

    fn namespace(&mut self) -> &'static str {
        match self.rng.usize(..30) {
            0 => "@run-nowhere",
            1..6 => "@run-b",
            _ => "@run-a",
        }
    }

    fn options(&mut self, mut request: Request) -> Request {
        if once_in(&mut self.rng, 10) {
            request = request.with(
                "dryRun",
                if once_in(&mut self.rng, 6) {
                    "Some"
                } else {
                    "All"
                },
            );
        }
        if once_in(&mut self.rng, 4) {
            request = request.with(
                "fieldValidation",
                pick(
                    &mut self.rng,
                    &["Strict", "Warn", "Ignore", "Strict", "Perhaps"],
                ),
            );
        }
        if once_in(&mut self.rng, 4) {
            request = request.with("fieldManager", pick(&mut self.rng, &["one", "two", "two"]));
        }
        request
    }

    fn accept(&mut self, mut request: Request) -> Request {
        match self.rng.usize(..12) {
            0 => request.accept = "application/json;as=Table;g=meta.k8s.io;v=v1",
            1 => request.accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            2 => {
                request.accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
            }
            _ => {}
        }
        request
    }

    fn request(&mut self) -> Vec<Request> {
        let kind = pick(&mut self.rng, &self.kinds);
        let namespace = self.namespace();
        let name = self.name(&kind);
        let path = kind.path(namespace);
        let one = format!("{path}/{name}");
        let key = if kind.namespaced {
            format!("{}/{namespace}/{name}", kind.name)
        } else {
            format!("{}//{name}", kind.name)
        };
        let request = match self.rng.usize(..100) {
            0..24 => self.create(&kind, namespace, &name, &path),
            24..36 => self.update(&kind, namespace, &name, &one, &key),
            36..50 => self.patch(&kind, &one),
            50..66 => self.apply(&kind, namespace, &name, &one),
            66..76 => self.delete(&one, &key),
            76..78 => {
                let request = Request::new("DELETE", path.clone()).with(
                    "labelSelector",
                    pick(
                        &mut self.rng,
                        &["run=@run", "run=@run,app=x", "run=@run,app!=x"],
                    ),
                );
                if once_in(&mut self.rng, 3) {
                    request.with("dryRun", "All")
                } else {
                    request
                }
            }
            78..84 => {
                let mut request = Request::new("GET", one);
                if once_in(&mut self.rng, 6) {
                    request =
                        request.with("resourceVersion", pick(&mut self.rng, &["0", "1", "x"]));
                }
                self.accept(request)
            }
            84..95 => return self.list(&kind, &path),
            _ => self.odd(&kind, namespace, &name, &path),
        };
        vec![request]
    }

    fn create(&mut self, kind: &Kind, namespace: &str, name: &str, path: &str) -> Request {
        let mut body = object(&mut self.rng, kind, namespace, name);
        disorder(&self.rng, &mut body);
        match self.rng.usize(..30) {
            0 => {
                body["metadata"]["name"] = Value::Null;
                body["metadata"]["generateName"] = if kind.namespaced {
                    "gen-".into()
                } else {
                    "@run-gen-".into()
                };
            }
            // A Service without a name gets an address before its name is missed.
            1 if kind.name != "Service" => body["metadata"] = json!({}),
            2 => body["metadata"]["resourceVersion"] = "5".into(),
            3 => body["metadata"]["namespace"] = "elsewhere".into(),
            4 => body["nonsense"] = json!({"a": 1}),
            5 => body["metadata"]["nonsense"] = 1.into(),
            6 => body["kind"] = "Other".into(),
            7 => body["apiVersion"] = "other/v1".into(),
            8 => {
                body["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into();
                body["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
                body["metadata"]["generation"] = 7.into();
                body["status"] = json!({"phase": "Odd"});
            }
            9 => self.damage(&mut body),
            10 => {
                body.as_object_mut().map(|map| map.shift_remove("kind"));
            }
            11 => body["metadata"]["deletionTimestamp"] = "2001-01-01T00:00:00Z".into(),
            _ => {}
        }
        let request = Request::new("POST", path).body(JSON, body);
        let request = self.options(request);
        self.accept(request)
    }

    /// Puts something of another type somewhere.
    fn damage(&mut self, place: &mut Value) {
        let count = match place {
            Value::Object(map) => map.len(),
            Value::Array(list) => list.len(),
            _ => 0,
        };
        if count == 0 || once_in(&mut self.rng, 6) {
            *place = pick(
                &mut self.rng,
                &[
                    json!("text"),
                    json!(5),
                    json!(true),
                    json!([]),
                    json!({}),
                    Value::Null,
                    json!(-1),
                    json!([1]),
                    json!(1.5),
                    json!([0, 255]),
                    json!([300]),
                    json!(9_999_999_999_i64),
                    json!("2026-01-01T00:00:00+02:00"),
                    json!("5KiKi"),
                ],
            );
            return;
        }
        let at = self.rng.usize(..count);
        match place {
            Value::Object(map) => map
                .values_mut()
                .nth(at)
                .into_iter()
                .for_each(|item| self.damage(item)),
            Value::Array(list) => list
                .get_mut(at)
                .into_iter()
                .for_each(|item| self.damage(item)),
            _ => {}
        }
    }

    fn update(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        one: &str,
        key: &str,
    ) -> Request {
        let mut body = object(&mut self.rng, kind, namespace, name);
        disorder(&self.rng, &mut body);
        match self.rng.usize(..12) {
            0..6 => body["metadata"]["resourceVersion"] = format!("@rv({key})").into(),
            6 => body["metadata"]["resourceVersion"] = format!("@oldrv({key})").into(),
            _ => {}
        }
        match self.rng.usize(..30) {
            0 => body["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into(),
            1 => body["metadata"]["uid"] = format!("@uid({key})").into(),
            2 => body["metadata"]["name"] = "other".into(),
            3 => body["nonsense"] = 1.into(),
            4 => self.damage(&mut body),
            5 => body["metadata"]["managedFields"] = json!([]),
            6 => body["metadata"]["resourceVersion"] = "x".into(),
            _ => {}
        }
        let mut path = one.to_owned();
        if kind.status && kind.name != "Service" && once_in(&mut self.rng, 3) {
            path.push_str("/status");
            if body.is_object() {
                body["status"] = self.status(kind);
            }
        } else if kind.scale && once_in(&mut self.rng, 6) {
            path.push_str("/scale");
            body = json!({
                "apiVersion": "autoscaling/v1", "kind": "Scale",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"replicas": pick(&mut self.rng, &[0, 1, 4, -1])},
            });
        }
        let request = Request::new("PUT", path).body(JSON, body);
        self.options(request)
    }

    fn apply(&mut self, kind: &Kind, namespace: &str, name: &str, one: &str) -> Request {
        let mut body = object(&mut self.rng, kind, namespace, name);
        disorder(&self.rng, &mut body);
        // Less than the whole: what several managers share.
        if once_in(&mut self.rng, 3)
            && let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut)
        {
            let keys: Vec<String> = spec.keys().cloned().collect();
            for key in keys {
                if self.rng.bool() {
                    spec.shift_remove(&key);
                }
            }
        }
        match self.rng.usize(..40) {
            0 if body["spec"].is_object() => body["spec"]["nonsense"] = 1.into(),
            1 => body["metadata"]["managedFields"] = json!([{"manager": "x"}]),
            2 => body["metadata"]["resourceVersion"] = "1".into(),
            3 => {
                body.as_object_mut().map(|map| map.shift_remove("kind"));
            }
            4 => self.damage(&mut body),
            5 => body["metadata"]["name"] = "other".into(),
            6 => body["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into(),
            _ => {}
        }
        let mut path = one.to_owned();
        if kind.status && kind.name != "Service" && once_in(&mut self.rng, 8) {
            path.push_str("/status");
            body = json!({"apiVersion": kind.api, "kind": kind.name, "metadata": {"name": name}, "status": self.status(kind)});
        } else if kind.scale && once_in(&mut self.rng, 5) {
            path.push_str("/scale");
            body = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": name}});
            if !once_in(&mut self.rng, 6) {
                body["spec"] = json!({"replicas": pick(&mut self.rng, &[0, 1, 1, 3, 4, -1])});
            }
            match self.rng.usize(..16) {
                0 => body["apiVersion"] = kind.api.into(),
                1 => body["metadata"]["name"] = "other".into(),
                2 => body["metadata"]["namespace"] = namespace.into(),
                3 => body["metadata"]["labels"] = json!({"app": "x"}),
                4 => body["status"] = json!({"replicas": 2}),
                5 => body["nonsense"] = 1.into(),
                6 => self.damage(&mut body),
                _ => {}
            }
        }
        let mut request = Request::new("PATCH", path).body(APPLY, body);
        if !once_in(&mut self.rng, 25) {
            request = request.with(
                "fieldManager",
                pick(&mut self.rng, &["one", "one", "two", "three"]),
            );
        }
        if once_in(&mut self.rng, 3) {
            request = request.with("force", "true");
        }
        if once_in(&mut self.rng, 12) {
            request = request.with("dryRun", "All");
        }
        if once_in(&mut self.rng, 12) {
            request = request.with(
                "fieldValidation",
                pick(&mut self.rng, &["Strict", "Warn", "Ignore"]),
            );
        }
        request
    }

    fn delete(&mut self, one: &str, key: &str) -> Request {
        let mut request = Request::new("DELETE", one);
        if self.rng.bool() {
            let mut options = json!({});
            if self.rng.bool() {
                options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
            }
            match self.rng.usize(..12) {
                0 => options["propagationPolicy"] = "Foreground".into(),
                1 => options["propagationPolicy"] = "Orphan".into(),
                2 => options["propagationPolicy"] = "Background".into(),
                3 => options["propagationPolicy"] = "Nonsense".into(),
                4 => options["preconditions"] = json!({"uid": format!("@uid({key})")}),
                5 => {
                    options["preconditions"] =
                        json!({"uid": "11111111-2222-3333-4444-555555555555"})
                }
                6 => options["preconditions"] = json!({"resourceVersion": format!("@rv({key})")}),
                7 => {
                    options["preconditions"] = json!({"resourceVersion": format!("@oldrv({key})")})
                }
                8 => options["gracePeriodSeconds"] = pick(&mut self.rng, &[0, 1, 100, -1]).into(),
                9 => options["dryRun"] = json!([pick(&mut self.rng, &["All", "Some"])]),
                10 => options["orphanDependents"] = self.rng.bool().into(),
                _ => options["nonsense"] = 1.into(),
            }
            request = request.body(JSON, options);
        }
        if once_in(&mut self.rng, 6) {
            request = match self.rng.usize(..4) {
                0 => request.with(
                    "propagationPolicy",
                    pick(
                        &mut self.rng,
                        &["Foreground", "Orphan", "Background", "Nonsense"],
                    ),
                ),
                1 => request.with("gracePeriodSeconds", pick(&mut self.rng, &["0", "5", "x"])),
                2 => request.with("dryRun", pick(&mut self.rng, &["All", "Some"])),
                _ => request.with("nonsense", "1"),
            };
        }
        request
    }

    fn list(&mut self, kind: &Kind, path: &str) -> Vec<Request> {
        let mut request = Request::new("GET", path);
        // Others' objects of cluster scope are not to be seen.
        let own = if kind.namespaced { "" } else { "run=@run" };
        let selector = match self.rng.usize(..12) {
            0 => "app=x",
            1 => "app in (x,y)",
            2 => "!app",
            3 => "app!=x,run",
            4 => "app notin (x)",
            5 => "app==y",
            6 => pick(
                &mut self.rng,
                &[
                    "app in x",
                    "app=",
                    "=x",
                    "app in (x",
                    "a b",
                    "app>x",
                    "app>1",
                    "-bad=x",
                    "app=not a value",
                ],
            ),
            _ => "",
        };
        let selector = match (own, selector) {
            ("", selector) => selector.to_owned(),
            (own, "") => own.to_owned(),
            (own, selector) => format!("{own},{selector}"),
        };
        if !selector.is_empty() {
            request = request.with("labelSelector", selector);
        }
        if once_in(&mut self.rng, 5) {
            let mut fields = vec![
                "metadata.name=a",
                "metadata.name!=a",
                "metadata.namespace=@run-a",
                "metadata.name=a,metadata.namespace=@run-b",
                "spec.nothing=1",
                "nonsense",
                "metadata.name in (a)",
                "",
            ];
            match kind.name {
                "Pod" => fields.extend([
                    "status.phase=Running",
                    "spec.nodeName=n",
                    "spec.restartPolicy=Always",
                    "status.podIP=10.1.2.3",
                ]),
                "Secret" => fields.extend(["type=Opaque", "type!=Opaque"]),
                "Thing" => fields.extend(["spec.mode=fast", "spec.mode!=fast"]),
                "Namespace" => fields.extend(["status.phase=Active"]),
                "Service" => fields.extend(["spec.type=ClusterIP", "spec.clusterIP=None"]),
                _ => {}
            }
            request = request.with("fieldSelector", pick(&mut self.rng, &fields));
        }
        if once_in(&mut self.rng, 6) {
            request = match self.rng.usize(..8) {
                0 => request.with("resourceVersion", "0"),
                1 => request.with("resourceVersion", "@began"),
                2 => request
                    .with("resourceVersion", "@began")
                    .with("resourceVersionMatch", "NotOlderThan"),
                3 => request.with("resourceVersion", "x"),
                4 => request.with("resourceVersionMatch", "Exact"),
                5 => request
                    .with("resourceVersion", "0")
                    .with("resourceVersionMatch", "Exact"),
                6 => request
                    .with("resourceVersion", "@began")
                    .with("resourceVersionMatch", "Nonsense"),
                _ => request.with("sendInitialEvents", "true"),
            };
        }
        if once_in(&mut self.rng, 8) {
            request = request.with(
                pick(&mut self.rng, &["timeoutSeconds", "limit", "unknown"]),
                pick(&mut self.rng, &["x", "-1", "0"]),
            );
        }
        // Whether a page has one after it depends on all that is there, and what is not in a namespace of its own is others', too.
        if once_in(&mut self.rng, 4) && kind.namespaced {
            let first = request.clone().with("limit", "1");
            let mut second = first.clone().with("continue", "@continue");
            // A token stands for the version of its list.
            second
                .query
                .retain(|(key, _)| !key.starts_with("resourceVersion"));
            let first = self.accept(first);
            if once_in(&mut self.rng, 10) {
                second = Request::new("GET", path)
                    .with("limit", "1")
                    .with("continue", "nonsense");
            }
            return vec![first, second.clone(), second];
        }
        vec![self.accept(request)]
    }

    fn odd(&mut self, kind: &Kind, namespace: &str, name: &str, path: &str) -> Request {
        let one = format!("{path}/{name}");
        match self.rng.usize(..12) {
            0 => Request::new("POST", one).body(JSON, json!({})),
            1 => Request::new("PUT", path).body(JSON, json!({})),
            2 => Request::new("POST", path).body(
                JSON,
                pick(
                    &mut self.rng,
                    &[
                        json!("{"),
                        json!(""),
                        json!("[]"),
                        json!("{\"kind\": }"),
                        json!("null"),
                        json!("5"),
                    ],
                ),
            ),
            3 => Request::new("POST", path).body("text/plain", json!({"kind": kind.name})),
            4 => Request::new("PATCH", one).body(JSON, json!({})),
            5 => Request::new(
                "GET",
                format!(
                    "{one}/{}",
                    pick(&mut self.rng, &["status", "scale", "nothing"])
                ),
            ),
            6 => Request::new("GET", format!("{}s", path)),
            7 => Request::new("PATCH", one).body(
                MERGE,
                pick(
                    &mut self.rng,
                    &[json!("{"), json!([1]), json!("5"), json!("")],
                ),
            ),
            8 => Request::new(
                "GET",
                format!("/apis/nothing.example/v1/namespaces/{namespace}/things"),
            ),
            9 => Request::new("DELETE", format!("{one}/status")),
            10 => {
                let mut request = Request::new("GET", one);
                request.accept = pick(
                    &mut self.rng,
                    &[
                        "text/plain",
                        "application/xml",
                        "*/*",
                        "application/yaml;q=0.1, application/json",
                    ],
                );
                request
            }
            _ => Request::new("POST", path).body(
                "application/yaml",
                json!(format!(
                    "apiVersion: {}\nkind: {}\nmetadata:\n  name: {name}\n",
                    kind.api, kind.name
                )),
            ),
        }
    }

    fn watches(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for kind in self.watched.clone() {
            let mut request = Request::new("WATCH", kind.path("@run-a"))
                .with("watch", "1")
                .with("resourceVersion", "@began")
                .with("timeoutSeconds", "1");
            let selector = pick(&mut self.rng, &["", "app=x", "app!=x", "run"]);
            request = match (kind.namespaced, selector) {
                (true, "") => request,
                (true, selector) => request.with("labelSelector", selector),
                (false, "") => request.with("labelSelector", "run=@run"),
                (false, selector) => request.with("labelSelector", format!("run=@run,{selector}")),
            };
            if once_in(&mut self.rng, 4) {
                request = request.with("allowWatchBookmarks", "true");
            }
            requests.push(request);
        }
        requests
    }
}
