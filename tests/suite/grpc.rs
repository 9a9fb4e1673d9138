//! A service that speaks gRPC, whose failures are HTTP 200s all the way up: with real Envoys in between they are found all
//! the same, and what the environment's file says wrong of such a service is told.

use std::path::Path;

use crate::canary::quick;
use crate::harness::World;
use crate::lifecycle::last_event;

const GRPC: &str = include_str!("grpc_service/grpc.py");
const BACKEND: &str = include_str!("grpc_service/backend.py");
const FRONTEND: &str = include_str!("grpc_service/frontend.py");

/// A frontend before a gRPC backend, whose v2 fails this share of its calls.
fn environment(fail: &str) -> String {
    format!(
        r#"
name: demo
services:
  - name: frontend
    port: 8080
    path: frontend
    backends: [backend]
    versions: [{{name: v1, replicas: 1}}]
  - name: backend
    port: 9000
    protocol: grpc
    path: backend
    versions:
      - {{name: v1, replicas: 1}}
      - {{name: v2, replicas: 1, env: {{FAIL: "{fail}"}}}}
ingress: {{service: frontend}}
"#
    )
}

/// Brings up what is there with a v2 that fails this share of its calls.
fn up(world: &World, fail: &str) {
    std::fs::write(world.path().join("meshctl.yaml"), environment(fail)).unwrap();
    world
        .run(&["up", "--sandbox", "--output", "json"])
        .succeeds();
}

fn service(folder: &Path, name: &str, main: &str) {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("main.py"), main).unwrap();
    std::fs::write(folder.join("grpc.py"), GRPC).unwrap();
}

#[test]
fn failed_grpc_calls_are_found_behind_http_200s() {
    let world = World::with_data_plane();
    world.start_sandbox();
    service(world.path(), "backend", BACKEND);
    service(world.path(), "frontend", FRONTEND);
    up(&world, "0");

    // What is as wanted is left as it is.
    world.run(&["plan", "--sandbox"]).succeeds();
    let verified = ["verify", "--sandbox", "--patience", "60s"];
    world.run(&verified).succeeds();

    // Prometheus gets no statuses from the mesh's Envoys, which is told before anything is touched.
    let prometheus = [
        "canary",
        "--auto",
        "--sandbox",
        "--source",
        "prometheus",
        "--prometheus-url",
        "http://127.0.0.1:1",
    ];
    let refused = world.run(&prometheus).exits_with(4);
    assert!(
        refused.stderr().contains("no gRPC statuses"),
        "{}",
        refused.stderr()
    );

    // A healthy v2 is promoted.
    let canary = quick("20", &["--error-effect", "20%", "--steps", "50,100"]);
    let run = world.run(&canary).succeeds();
    let healthy = last_event(&run.stdout(), "canary-verdict");
    assert_eq!(healthy["outcome"], "promoted", "{healthy}");
    let counters = healthy["counters"]["envoy"].as_str().unwrap();
    assert!(counters.contains("rq_error"), "{counters}");
    world.run(&["canary", "undo", "--sandbox"]).succeeds();

    // One that fails is not, although no HTTP status tells of it.
    up(&world, "0.5");
    let run = world.run(&canary).exits_with(10);
    let failing = last_event(&run.stdout(), "canary-verdict");
    assert_eq!(failing["outcome"], "rolled-back", "{failing}");
    assert_eq!(failing["canary"]["probe"]["hits"], 0, "{failing}");
    assert_eq!(failing["state"]["state"], "restored", "{failing}");
    assert!(
        failing["canary"]["envoy"]["hits"].as_u64().unwrap() > 0,
        "{failing}"
    );
}

#[test]
fn what_cannot_be_with_grpc_is_told_with_its_place() {
    let told = |text: &str| {
        let read = meshctl::config::Environment::parse(text, "meshctl.yaml", Path::new(""));
        read.expect_err("it is refused").to_string()
    };
    let with = |from: &str, to: &str| {
        let text = environment("0").replace("path: ", "image: ");
        assert!(text.contains(from), "{from}");
        told(&text.replacen(from, to, 1))
    };
    insta::assert_snapshot!(
        [
            with("protocol: grpc", "protocol: grcp"),
            with("protocol: grpc", "protocol: grpc\n    healthPath: /healthz"),
            with(
                "ingress: {service: frontend}",
                "ingress: {service: backend}"
            ),
            with("image: backend", "demo: backend"),
        ]
        .join("\n\n")
    );
}
