//! A real Kubernetes in the place of the embedded API server: etcd, kube-apiserver, kube-controller-manager and
//! kube-scheduler of the folder that KUBEBUILDER_ASSETS names (`tests/peers/kubernetes/build` makes one).

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::harness::World;
use crate::lifecycle::{get, last_event};

#[expect(clippy::print_stderr, reason = "who runs the tests is to know")]
fn assets() -> Option<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|assets| !assets.is_empty());
    if assets.is_none() {
        eprintln!("KUBEBUILDER_ASSETS is not set: ran without a real Kubernetes");
    }
    assets.map(PathBuf::from)
}

#[test]
fn the_life_cycle_passes_on_a_real_kubernetes() {
    let Some(assets) = assets() else { return };
    let world = World::with_kubernetes(assets.clone());
    world.start_sandbox();
    let up = world
        .run(&["up", "--sandbox", "--output", "json"])
        .succeeds();
    let status = last_event(&up.stdout(), "status")["status"].clone();
    let url = status["url"].as_str().unwrap().to_string();
    let kubectl = Kubectl::new(&world, &assets);
    assert_served_by_real_kubernetes(&world, &kubectl, &status["cluster"]["version"]);
    every_manifest_is_accepted_without_a_warning(&kubectl);
    // The way to a kubelet leads through the egress proxy.
    let logs = ["logs", "-n", "demo", "deploy/frontend-v1", "-c", "envoy"];
    assert!(!kubectl.run(&logs, "").is_empty());
    assert_ports_are_forwarded(&kubectl);

    let shifted = world
        .run(&["canary", "--weight", "10", "--sandbox", "--output", "json"])
        .succeeds();
    let report = last_event(&shifted.stdout(), "canary")["report"].clone();
    assert_eq!(report["measured"]["verdict"]["matches"], true, "{report}");
    assert_unchanged(&world);

    // What is in etcd outlives the sandbox's processes, which outlive it in no case.
    world.run(&["sandbox", "stop"]).succeeds();
    await_end_of_processes(&world, "");
    world.start_sandbox();
    await_unchanged(&world);
    for service in ["frontend", "backend", "database"] {
        let body = get(&url);
        assert!(body.contains(service), "{service} answers in {body}");
    }
    kill_sandbox(&world);
    await_end_of_processes(&world, "");
    world.start_sandbox();
    await_unchanged(&world);

    let down = world.run(&["down", "--sandbox", "--yes"]).succeeds();
    assert!(down.stdout().contains("nothing left"), "{}", down.stdout());
    world.run(&["audit", "--sandbox"]).succeeds();
    // The cluster is gone, and its processes with it.
    await_end_of_processes(&world, "kube");
}

#[test]
fn kubectl_forwards_ports_through_the_embedded_server() {
    let Some(assets) = assets() else { return };
    let world = World::with_data_plane();
    world.start_sandbox();
    world.run(&["up", "--sandbox"]).succeeds();
    assert_ports_are_forwarded(&Kubectl::new(&world, &assets));
}

/// kubectl reaches a port of a pod by SPDY inside of a WebSocket, and by SPDY alone as its older versions do.
fn assert_ports_are_forwarded(kubectl: &Kubectl<'_>) {
    for websockets in ["true", "false"] {
        let mut child = kubectl
            .command(&["port-forward", "-n", "demo", "deploy/frontend-v1", ":9901"])
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.next().map(Result::unwrap).unwrap_or_default();
        let place = said
            .strip_prefix("Forwarding from ")
            .and_then(|rest| rest.strip_suffix(" -> 9901"));
        let answers = place.map(|place| {
            // More than one frame, and more than one connection.
            ["ready", "config_dump"].map(|path| get(&format!("http://{place}/{path}")))
        });
        child.kill().unwrap();
        child.wait().unwrap();
        let Some([ready, dump]) = answers else {
            panic!("websockets {websockets}: {said:?}");
        };
        assert_eq!(ready, "LIVE\n");
        assert!(dump.ends_with("}\n"), "{} bytes", dump.len());
    }
}

/// `up` finds nothing to do.
fn assert_unchanged(world: &World) {
    let changed = changed(world);
    assert!(changed.is_empty(), "{changed:?}");
}

/// `up` finds nothing to do soon after all processes were started anew: webhooks and the entrance wait for their pods.
fn await_unchanged(world: &World) {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let changed = changed(world);
        if changed.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{changed:?}");
    }
}

/// The steps in which `up` did something.
fn changed(world: &World) -> Vec<Value> {
    let again = world
        .run(&["up", "--sandbox", "--output", "json"])
        .succeeds();
    let mut changed = Vec::new();
    for line in again.stdout().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["event"] == "step-finished" && line["outcome"]["outcome"] != "unchanged" {
            changed.push(line);
        }
    }
    changed
}

/// What EKS says of the cluster, what the cluster says of itself and what the sandbox says agree.
fn assert_served_by_real_kubernetes(world: &World, kubectl: &Kubectl<'_>, version: &Value) {
    let said = kubectl.run(&["get", "--raw", "/version"], "");
    let said: Value = serde_json::from_str(&said).unwrap();
    let exact = said["gitVersion"].as_str().unwrap();
    let version = version.as_str().unwrap();
    assert!(
        exact.starts_with(&format!("v{version}.")),
        "{exact}, {version}"
    );
    let status = world
        .run(&["sandbox", "status", "--output", "json"])
        .succeeds();
    let condition = last_event(&status.stdout(), "sandbox-condition")["condition"].clone();
    let kubernetes = condition["clusters"][0]["kubernetes"].as_str().unwrap();
    let wanted = format!("etcd, kube-apiserver, kube-controller-manager, kube-scheduler {exact} ");
    assert!(kubernetes.starts_with(&wanted), "{condition}");
}

/// kubectl, as the kubeconfig of `sandbox env` has it.
struct Kubectl<'a> {
    world: &'a World,
    program: PathBuf,
    kubeconfig: String,
}

impl<'a> Kubectl<'a> {
    fn new(world: &'a World, assets: &Path) -> Self {
        let environment = world.run(&["sandbox", "env"]).succeeds().stdout();
        let kubeconfig = environment
            .lines()
            .find_map(|line| line.strip_prefix("export KUBECONFIG='"))
            .and_then(|rest| rest.strip_suffix('\''))
            .unwrap();
        Kubectl {
            world,
            program: assets.join("kubectl"),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--kubeconfig", &self.kubeconfig])
            .args(["--context", "meshctl-demo"])
            .args(arguments)
            .env_clear()
            .env("HOME", self.world.path());
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The processes whose command line names this world's folder.
fn processes_of(world: &World) -> BTreeSet<String> {
    let folder = world.path().display().to_string();
    let own = std::process::id().to_string();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if id != own && line.contains(&folder) {
            found.insert(format!("{id} {line}"));
        }
    }
    found
}

/// The last steps of a process's end happen while nobody waits for them.
fn await_end_of_processes(world: &World, program: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut left = processes_of(world);
        left.retain(|line| {
            let path = line.split(' ').nth(1).unwrap_or(line);
            path.rsplit('/').next().unwrap_or(path).contains(program)
        });
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{left:?}");
        std::thread::yield_now();
    }
}

/// Ends the sandbox as `kill -9` does, which leaves it no time for anything.
fn kill_sandbox(world: &World) {
    let profile = std::fs::read(world.sandbox_directory().join("profile.json")).unwrap();
    let profile: Value = serde_json::from_slice(&profile).unwrap();
    let killed = Command::new("kill")
        .args(["-KILL", &profile["pid"].to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
}

/// Everything that meshctl has applied is applied once more, under another name and without effect, by kubectl, which makes
/// the server's warnings errors.
fn every_manifest_is_accepted_without_a_warning(kubectl: &Kubectl<'_>) {
    let kinds = kubectl.run(&["api-resources", "--verbs=list,patch", "-o", "name"], "");
    // Nobody applies these, and to list the first is deprecated.
    let others = |kind: &&str| !kind.starts_with("endpoints") && !kind.starts_with("event");
    let kinds: Vec<&str> = kinds.lines().filter(others).collect();
    let objects = kubectl.run(
        &[
            "get",
            &kinds.join(","),
            "-A",
            "-o",
            "json",
            "--show-managed-fields",
        ],
        "",
    );
    let objects: Value = serde_json::from_str(&objects).unwrap();
    let mut applied = Vec::new();
    let mut seen = BTreeSet::new();
    for object in objects["items"].as_array().unwrap() {
        if let Some(manifest) = applied_by_meshctl(object) {
            seen.insert(manifest["kind"].as_str().unwrap().to_owned());
            applied.push(manifest);
        }
    }
    for kind in [
        "CustomResourceDefinition",
        "Deployment",
        "Ingress",
        "MutatingWebhookConfiguration",
        "VirtualNode",
        "VirtualRouter",
    ] {
        assert!(seen.contains(kind), "no {kind} among {seen:?}");
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": applied}).to_string();
    // What breaks the restricted Pod Security Standard is a warning too; what is injected into pods is not ours.
    let warn = "pod-security.kubernetes.io/warn";
    let restricted = format!("{warn}=restricted");
    kubectl.run(&["label", "namespaces", "--all", &restricted], "");
    let said = kubectl.run(
        &[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "--warnings-as-errors",
            "-f",
            "-",
        ],
        &list,
    );
    assert_eq!(said.lines().count(), applied.len(), "{said}");
    kubectl.run(&["label", "namespaces", "--all", &format!("{warn}-")], "");
}

/// The object as meshctl applied it, by its entry of the managed fields. Built-in kinds get a name of their own, because some
/// warnings are for new objects only.
fn applied_by_meshctl(object: &Value) -> Option<Value> {
    let metadata = &object["metadata"];
    let entry = metadata["managedFields"]
        .as_array()?
        .iter()
        .find(|entry| entry["manager"] == "meshctl" && entry["operation"] == "Apply")?;
    let mut manifest = owned(object, &entry["fieldsV1"]);
    let (api_version, kind) = (&object["apiVersion"], &object["kind"]);
    manifest["apiVersion"] = api_version.clone();
    manifest["kind"] = kind.clone();
    let own = !api_version.as_str()?.contains(".aws") && kind != "CustomResourceDefinition";
    let name = metadata["name"].as_str()?;
    manifest["metadata"]["name"] = if own {
        format!("{name}-again").into()
    } else {
        name.into()
    };
    if kind == "Namespace" && own {
        let labels = manifest["metadata"]["labels"].as_object_mut();
        labels.map(|labels| labels.remove("kubernetes.io/metadata.name"));
    }
    if let Some(namespace) = metadata["namespace"].as_str() {
        manifest["metadata"]["namespace"] = namespace.into();
    }
    Some(manifest)
}

/// The part of a value that a set of fields names: `f:` members, `k:` items by their keys, `v:` items by their values.
fn owned(value: &Value, fields: &Value) -> Value {
    let fields = match fields.as_object() {
        Some(fields) if fields.keys().any(|key| key != ".") => fields,
        // A leaf, owned as a whole.
        _ => return value.clone(),
    };
    match value {
        Value::Object(members) => {
            let mut part = Map::new();
            for (key, below) in fields {
                let Some(name) = key.strip_prefix("f:") else {
                    continue;
                };
                if let Some(member) = members.get(name) {
                    part.insert(name.to_owned(), owned(member, below));
                }
            }
            Value::Object(part)
        }
        Value::Array(items) => {
            let mut part = Vec::new();
            for item in items {
                for (key, below) in fields {
                    if let Some(keys) = key.strip_prefix("k:") {
                        let keys: Map<String, Value> = serde_json::from_str(keys).unwrap();
                        // A default that was not sent still is a key.
                        if keys.iter().all(|(name, value)| item[name] == *value) {
                            let mut one = owned(item, below);
                            if let Some(one) = one.as_object_mut() {
                                one.extend(keys);
                            }
                            part.push(one);
                        }
                    } else if let Some(text) = key.strip_prefix("v:")
                        && serde_json::from_str::<Value>(text).unwrap() == *item
                    {
                        part.push(item.clone());
                    }
                }
            }
            Value::Array(part)
        }
        leaf => leaf.clone(),
    }
}
