//! The same kubectl script against both servers. What it prints and its exit codes are compared after ages, times, uids,
//! versions and allocated addresses are taken out.
//!
//! There are no controllers and no nodes: where a rollout or a condition is waited for, the script writes the status
//! that a controller would.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use regex::Regex;

use super::peers::Side;

/// What of a command's output is compared.
#[derive(Clone, Copy, PartialEq)]
enum Compared {
    /// All of it.
    All,
    /// The fields that `explain` lists, without their descriptions.
    Fields,
    /// The exit code.
    Code,
}

/// One command: its arguments in words, and what it reads.
struct Step {
    words: &'static str,
    input: &'static str,
    compared: Compared,
}

const fn step(words: &'static str, input: &'static str, compared: Compared) -> Step {
    Step {
        words,
        input,
        compared,
    }
}

const fn run(words: &'static str) -> Step {
    step(words, "", Compared::All)
}

const fn feed(words: &'static str, input: &'static str) -> Step {
    step(words, input, Compared::All)
}

const fn fields(words: &'static str) -> Step {
    step(words, "", Compared::Fields)
}

const fn code(words: &'static str) -> Step {
    step(words, "", Compared::Code)
}

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: app, image: "example.com/web:1", ports: [{containerPort: 8080}], env: [{name: COLOUR, value: red}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {one: "1", two: "2"}
"#;

const WEB_CHANGED: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: app, image: "example.com/web:2", ports: [{containerPort: 8080}], env: [{name: SIZE, value: big}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {one: "1", three: "3"}
"#;

const APPLIED: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {one: "eins"}
"#;

const THING: &str = r#"
apiVersion: example.com/v1
kind: Thing
metadata: {name: a, labels: {app: x}}
spec: {size: 5, parts: [{id: a}], replicas: 2}
"#;

const BAD_THING: &str = r#"
apiVersion: example.com/v1
kind: Thing
metadata: {name: b}
spec: {size: 50, mode: odd, unknown: 1}
"#;

const WRONG: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: wrong}
spec:
  replica: 1
  selector: {matchLabels: {app: wrong}}
  template:
    metadata: {labels: {app: wrong}}
    spec: {containers: [{name: app, image: x}]}
"#;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  automountServiceAccountToken: false
  containers: [{name: app, image: "example.com/alone:1"}]
"#;

const EVENT: &str = r#"
apiVersion: v1
kind: Event
metadata: {name: web.1}
involvedObject: {apiVersion: apps/v1, kind: Deployment, name: web, namespace: scripted}
reason: Tested
message: it was tested
type: Normal
source: {component: script}
firstTimestamp: "2026-01-01T00:00:00Z"
lastTimestamp: "2026-01-01T00:00:00Z"
count: 1
"#;

const AVAILABLE: &str = r#"patch deployment web --subresource=status --type=merge -p {"status":{"observedGeneration":GENERATION,"replicas":3,"updatedReplicas":3,"readyReplicas":3,"availableReplicas":3,"conditions":[{"type":"Available","status":"True","reason":"Done","message":"done","lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z"}]}}"#;

/// The script. Everything happens in the namespace `scripted`.
const SCRIPT: &[Step] = &[
    run("create namespace scripted"),
    run("create serviceaccount default"),
    run("create namespace scripted"),
    feed("apply -f - --dry-run=server", WEB),
    feed("apply -f -", WEB),
    feed("apply -f -", WEB),
    run("get deployment,service,configmap"),
    run("get deployment web -o wide"),
    run("get deployment web -o yaml"),
    run("get service web -o yaml"),
    run("get deployments -o name"),
    run("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}"),
    run("get configmap settings --show-labels"),
    run("get configmap settings -o yaml --show-managed-fields"),
    feed("diff -f -", WEB_CHANGED),
    feed("apply -f -", WEB_CHANGED),
    feed("diff -f -", WEB_CHANGED),
    run("describe deployment web"),
    run("describe configmap settings"),
    run("describe namespace scripted"),
    run("describe serviceaccount default"),
    feed("apply --server-side -f -", APPLIED),
    feed("apply --server-side --force-conflicts -f -", APPLIED),
    feed("apply --server-side --field-manager=other -f -", APPLIED),
    run("get configmap settings -o yaml --show-managed-fields"),
    feed("apply -f -", WRONG),
    feed("apply --validate=ignore --dry-run=server -f -", WRONG),
    run(
        "patch deployment web --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":3}]",
    ),
    run(
        "patch deployment web -p {\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"app\",\"image\":\"example.com/web:3\"}]}}}}",
    ),
    run("patch deployment web --type=merge -p {\"spec\":{\"paused\":true}}"),
    run("patch deployment web --type=merge -p {\"spec\":{\"paused\":null}}"),
    run("patch deployment nothing -p {}"),
    run("set image deployment/web app=example.com/web:4"),
    run("scale deployment web --replicas=3"),
    run("label deployment web tier=front"),
    run("label deployment web tier=back"),
    run("label deployment web tier=back --overwrite"),
    run("label deployment web tier-"),
    run("annotate deployment web note=one"),
    run("annotate deployment web note-"),
    code("rollout status deployment/web --timeout=1s"),
    run(AVAILABLE),
    run("rollout status deployment/web --timeout=10s"),
    run("wait deployment/web --for=condition=Available --timeout=10s"),
    run("wait deployment/web --for=jsonpath={.status.readyReplicas}=3 --timeout=10s"),
    run("wait deployment/web --for=condition=Nothing --timeout=1s"),
    run("get deployment web"),
    feed("create -f -", POD),
    run("get pods -o wide"),
    run("get pod alone -o yaml"),
    run("describe pod alone"),
    run("logs alone"),
    run("get pods --field-selector=status.phase=Pending"),
    run("get pods --field-selector=status.phase=Running"),
    feed("create -f -", EVENT),
    run("get events"),
    run("events --for deployment/web"),
    feed("apply -f -", THING),
    feed("apply -f -", BAD_THING),
    feed("apply --validate=ignore -f -", BAD_THING),
    run("get things"),
    run("get th a -o wide"),
    run("get thing a -o yaml"),
    run("describe thing a"),
    run("scale thing a --replicas=4"),
    run("patch thing a --subresource=status --type=merge -p {\"status\":{\"phase\":\"Ready\"}}"),
    run("wait thing/a --for=jsonpath={.status.phase}=Ready --timeout=10s"),
    run("patch thing a -p {\"spec\":{}}"),
    run("get things -l app=x --sort-by=.metadata.name"),
    run("get things -l app=y"),
    run("create role reader --verb=get,list --resource=pods,deployments.apps"),
    run("create rolebinding reader --role=reader --serviceaccount=scripted:default"),
    run("describe role reader"),
    run("describe rolebinding reader"),
    run("get role,rolebinding -o wide"),
    run("auth can-i create deployments"),
    run("auth can-i get pods --as=system:serviceaccount:scripted:default"),
    run("auth can-i delete pods --as=system:serviceaccount:scripted:default"),
    run("get secrets --as=system:serviceaccount:scripted:default"),
    run("get pods -o name --as=system:serviceaccount:scripted:default"),
    run("auth can-i --list --as=system:serviceaccount:scripted:default"),
    run("create secret generic hidden --from-literal=a=b"),
    run("get secret hidden -o yaml"),
    run("describe secret hidden"),
    run("create configmap made --from-literal=k=v --dry-run=server -o yaml"),
    run("api-resources --api-group=apps"),
    run("api-resources --api-group=rbac.authorization.k8s.io -o wide"),
    run("api-resources --api-group=example.com"),
    run("api-resources --api-group=appmesh.k8s.aws"),
    fields("explain deployment.spec.template.spec.containers"),
    fields("explain deployment.spec"),
    fields("explain deployment.spec.strategy --recursive"),
    fields("explain service.spec"),
    fields("explain thing.spec"),
    fields("explain virtualnode.spec.listeners"),
    run("explain nothing"),
    run("get nothing"),
    run("get configmap missing"),
    run("delete configmap missing"),
    run("delete configmap missing --ignore-not-found"),
    run("delete thing a --cascade=orphan --wait=false"),
    run("get thing a -o jsonpath={.metadata.finalizers}"),
    run("delete deployment web --cascade=foreground --wait=false"),
    run("get deployment web -o jsonpath={.metadata.finalizers}"),
    run(
        "patch deployment web --type=json -p [{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}]",
    ),
    run("wait deployment/web --for=delete --timeout=10s"),
    run("delete configmap,secret --all"),
    run("delete pod alone"),
    run("get all"),
    run("delete namespace scripted --wait=false"),
    run("get namespace scripted"),
];

static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"https://127\.0\.0\.1:\d+", "https://server"),
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "<uid>",
        ),
        (
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
            "<time>",
        ),
        (
            r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
            "<time>",
        ),
        (r#"("?resourceVersion"?: *)"?\d+"?"#, "${1}<version>"),
        (r"(Resource Version: +)\d+", "${1}<version>"),
        (r"10\.100\.\d+\.\d+", "<address>"),
        (r"/tmp/(LIVE|MERGED)-\d+", "/tmp/$1"),
        (r"(?m)^(---|\+\+\+) (/tmp/\S+)\s.*$", "$1 $2"),
        // Columns are as wide as what stands in them.
        (r"\b\d+[smhd](\d+[smh])?( ago)?\b", "<age>"),
        (r"  +", "  "),
        (r"(?m) +$", ""),
    ]
    .into_iter()
    .map(|(pattern, name)| (Regex::new(pattern).expect("a regular expression"), name))
    .collect()
});

fn normal(text: &str, compared: Compared) -> String {
    if compared == Compared::Code {
        return String::new();
    }
    let mut text = text.to_owned();
    for (pattern, name) in PATTERNS.iter() {
        text = pattern.replace_all(&text, *name).into_owned();
    }
    // Several causes come in any order.
    if text.contains("\n* ") {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        text = lines.join("\n");
    }
    if compared == Compared::Fields {
        static FIELD: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"^(\s*\w[\w-]*)\s+(<[^>]*>)").expect("a regular expression")
        });
        let mut lines: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let found = FIELD.captures(line)?;
                Some(format!("{} {}", &found[1], &found[2]))
            })
            .collect();
        lines.dedup();
        text = lines.join("\n");
    }
    text
}

/// A kubectl that goes on until it is no longer needed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A kubectl for one server.
struct Tool {
    program: PathBuf,
    config: PathBuf,
    directory: tempfile::TempDir,
}

impl Tool {
    fn new(program: &Path, side: &Side) -> Tool {
        let directory = tempfile::TempDir::new().expect("a directory");
        let config = directory.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{}\", insecure-skip-tls-verify: true}}}}]\nusers: [{{name: u, user: {{token: \"{}\"}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u, namespace: scripted}}}}]\ncurrent-context: x\n",
            side.url, side.token
        );
        std::fs::write(&config, text).expect("a kubeconfig");
        Tool {
            program: program.to_owned(),
            config,
            directory,
        }
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .env("KUBECONFIG", &self.config)
            .env("HOME", self.directory.path())
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, step: &Step) -> (Option<i32>, String) {
        let mut words: Vec<String> = step.words.split(' ').map(str::to_owned).collect();
        for word in &mut words {
            if word.contains("GENERATION") {
                *word = word.replace("GENERATION", &self.generation());
            }
        }
        let mut command = self.command(&words);
        if !step.input.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().expect("kubectl");
        if let Some(mut input) = child.stdin.take() {
            input.write_all(step.input.as_bytes()).expect("input");
        }
        let output = child.wait_with_output().expect("output");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code(), normal(&text, step.compared))
    }

    fn generation(&self) -> String {
        let words = [
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.metadata.generation}",
        ];
        let output = self
            .command(&words.map(str::to_owned))
            .output()
            .expect("kubectl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `get -w` prints while a ConfigMap comes, changes and goes.
    fn watch(&self) -> String {
        let words = ["get", "configmap", "-w", "--output-watch-events"].map(str::to_owned);
        let log = self.directory.path().join("watch");
        let out = std::fs::File::create(&log).expect("a log");
        let mut command = self.command(&words);
        command.stdout(out).stderr(Stdio::null());
        let running = Running(command.spawn().expect("kubectl"));
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        let until = |event: &str, name: &str| {
            let began = Instant::now();
            let seen = |line: &str| line.starts_with(event) && line.contains(name);
            while !read().lines().any(seen) {
                let shown = read();
                assert!(
                    began.elapsed() < Duration::from_secs(20),
                    "kubectl get -w says nothing of {name} {event}:\n{shown}"
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        until("ADDED", "settings");
        for (words, event) in [
            ("create configmap seen --from-literal=a=1", "ADDED"),
            (
                "patch configmap seen -p {\"data\":{\"b\":\"2\"}}",
                "MODIFIED",
            ),
            ("delete configmap seen", "DELETED"),
        ] {
            self.run(&run(words));
            until(event, "seen");
        }
        drop(running);
        normal(&read(), Compared::All)
    }
}

/// Runs the script against both; the differences, ready to be shown.
pub fn compare(program: &Path, embedded: &Side, real: &Side) -> (usize, Vec<String>) {
    let (ours, theirs) = (Tool::new(program, embedded), Tool::new(program, real));
    let mut different = Vec::new();
    let mut count = 0;
    for step in SCRIPT {
        count += 1;
        let (a, b) = std::thread::scope(|scope| {
            let a = scope.spawn(|| ours.run(step));
            let b = scope.spawn(|| theirs.run(step));
            (a.join().expect("kubectl"), b.join().expect("kubectl"))
        });
        if a != b {
            different.push(format!(
                "kubectl {}\n--- embedded, exit code {:?}\n{}\n--- real, exit code {:?}\n{}",
                step.words, a.0, a.1, b.0, b.1
            ));
        }
        if step.words == "describe configmap settings" {
            count += 1;
            let (a, b) = (ours.watch(), theirs.watch());
            if a != b {
                different.push(format!(
                    "kubectl get configmap -w\n--- embedded\n{a}\n--- real\n{b}"
                ));
            }
        }
    }
    (count, different)
}
