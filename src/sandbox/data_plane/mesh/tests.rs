use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::sandbox::controllers::Log;
use crate::sandbox::data_plane::envoy;
use crate::sandbox::data_plane::process::{Process, Start};
use crate::sandbox::data_plane::proxy::put;

fn settings(folder: &Path, octet: u8) -> Settings {
    Settings {
        mesh: "m".to_owned(),
        node: "frontend_demo".to_owned(),
        twin: format!("127.213.{octet}.1").parse().unwrap(),
        application: format!("127.85.{octet}.1").parse().unwrap(),
        namespace: "demo".to_owned(),
        admin_port: 9901,
        tracing: Some((2000, 1.0)),
        folder: folder.to_owned(),
        clock: Clock::new(60.0),
    }
}

fn node(host: &str) -> Value {
    json!({
        "listeners": [{
            "portMapping": {"port": 8080, "protocol": "http"},
            "healthCheck": {"protocol": "http", "path": "/healthz", "intervalMillis": 5000, "timeoutMillis": 2000,
                "healthyThreshold": 2, "unhealthyThreshold": 2},
            "outlierDetection": {"maxServerErrors": 5, "interval": {"unit": "s", "value": 10},
                "baseEjectionDuration": {"unit": "s", "value": 10}, "maxEjectionPercent": 50},
            "connectionPool": {"http": {"maxConnections": 100, "maxPendingRequests": 100}},
            "timeout": {"http": {"perRequest": {"unit": "s", "value": 5}, "idle": {"unit": "ms", "value": 1500}}},
        }],
        "serviceDiscovery": {"dns": {"hostname": host}},
        "logging": {"accessLog": {"file": {"path": "/dev/stdout"}}},
        "backends": [{"virtualService": {"virtualServiceName": "backend.demo.svc.cluster.local"}}],
    })
}

fn model(weights: [u64; 2], egress: &str) -> Value {
    json!({
        "version": "1",
        "mesh": {"name": "m", "spec": {"egressFilter": {"type": egress}}},
        "virtualNode": {"name": "frontend_demo", "spec": node("frontend.demo.svc.cluster.local")},
        "backends": [
            {
                "virtualService": "backend.demo.svc.cluster.local",
                "router": {"name": "backend_demo", "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
                    "routes": [
                        {"name": "by-header", "spec": {"priority": 1, "httpRoute": {
                            "match": {"prefix": "/", "method": "GET", "headers": [
                                {"name": "x-version", "match": {"exact": "two"}},
                                {"name": "x-never", "invert": true, "match": {"range": {"start": 1, "end": 9}}}],
                                "queryParameters": [{"name": "q", "match": {"exact": "1"}}]},
                            "action": {"weightedTargets": [{"virtualNode": "backend-v2_demo", "weight": 1, "port": 8080}]}}}},
                        {"name": "all", "spec": {"httpRoute": {
                            "match": {"prefix": "/"},
                            "action": {"weightedTargets": [
                                {"virtualNode": "backend-v1_demo", "weight": weights[0]},
                                {"virtualNode": "backend-v2_demo", "weight": weights[1]}]},
                            "retryPolicy": {"maxRetries": 3, "perRetryTimeout": {"unit": "s", "value": 2},
                                "httpRetryEvents": ["server-error", "gateway-error", "client-error", "stream-error"],
                                "tcpRetryEvents": ["connection-error"]},
                            "timeout": {"perRequest": {"unit": "s", "value": 8}}}}},
                    ]},
                "nodes": {
                    "backend-v1_demo": node("backend-v1.demo.svc.cluster.local"),
                    "backend-v2_demo": node("backend-v2.demo.svc.cluster.local"),
                },
            },
            {"virtualService": "database.demo.svc.cluster.local", "node": "database_demo",
                "nodes": {"database_demo": node("database.demo.svc.cluster.local")}},
            {
                "virtualService": "greeter.demo.svc.cluster.local",
                "router": {"name": "greeter_demo", "listeners": [{"portMapping": {"port": 9000, "protocol": "grpc"}}],
                    "routes": [{"name": "greeter", "spec": {"grpcRoute": {
                        "match": {},
                        "action": {"weightedTargets": [{"virtualNode": "greeter-v1_demo", "weight": 100}]},
                        "retryPolicy": {"maxRetries": 2, "perRetryTimeout": {"unit": "ms", "value": 5000},
                            "httpRetryEvents": ["gateway-error"], "grpcRetryEvents": ["unavailable"]}}}}]},
                "nodes": {"greeter-v1_demo": {
                    "listeners": [{
                        "portMapping": {"port": 9000, "protocol": "grpc"},
                        "healthCheck": {"protocol": "grpc", "intervalMillis": 5000, "timeoutMillis": 2000,
                            "healthyThreshold": 2, "unhealthyThreshold": 2},
                    }],
                    "serviceDiscovery": {"dns": {"hostname": "greeter-v1.demo.svc.cluster.local"}},
                }},
            },
            {"virtualService": "nowhere.demo.svc.cluster.local", "nodes": {}},
        ],
    })
}

fn write(folder: &Path, files: &Files) {
    for (name, content) in files {
        put(folder, name, content).unwrap();
    }
}

fn host<'a>(files: &'a Files, name: &str) -> &'a Value {
    let hosts = files["rds.json"]["resources"][0]["virtual_hosts"]
        .as_array()
        .unwrap();
    hosts.iter().find(|host| host["name"] == name).unwrap()
}

#[test]
fn weights_go_to_one_cluster_per_virtual_node() {
    let files = files(
        &model([90, 10], "DROP_ALL"),
        &settings(Path::new("/x"), 1),
        &Names::default(),
    );
    let backend = host(&files, "rds_egress_backend.demo.svc.cluster.local");
    assert_eq!(
        backend["domains"],
        json!([
            "backend.demo.svc.cluster.local",
            "backend.demo.svc.cluster.local:8080"
        ])
    );
    assert_eq!(
        backend["routes"][1]["route"]["weighted_clusters"]["clusters"],
        json!([
            {"name": "cds_egress_m_backend-v1_demo_http_8080", "weight": 90},
            {"name": "cds_egress_m_backend-v2_demo_http_8080", "weight": 10},
        ])
    );
    // A route with a priority goes before one without.
    assert_eq!(backend["routes"][0]["name"], "by-header");
}

#[test]
fn a_service_without_retries_gets_those_that_app_mesh_gives() {
    let files = files(
        &model([1, 0], "DROP_ALL"),
        &settings(Path::new("/x"), 1),
        &Names::default(),
    );
    let database = host(&files, "rds_egress_database.demo.svc.cluster.local");
    let route = &database["routes"][0]["route"];
    assert_eq!(route["retry_policy"]["num_retries"], 2);
    assert_eq!(
        route["retry_policy"]["retriable_status_codes"],
        json!([503])
    );
    assert_eq!(route["timeout"], "15s");
    let backend = host(&files, "rds_egress_backend.demo.svc.cluster.local");
    assert_eq!(
        backend["routes"][1]["route"]["retry_policy"]["per_try_timeout"],
        "2s"
    );
}

#[test]
fn grpc_goes_over_http2_and_its_statuses_are_tried_again() {
    let files = files(
        &model([1, 0], "DROP_ALL"),
        &settings(Path::new("/x"), 1),
        &Names::default(),
    );
    let greeter = host(&files, "rds_egress_greeter.demo.svc.cluster.local");
    let route = &greeter["routes"][0];
    assert_eq!(route["match"], json!({"prefix": "/", "grpc": {}}));
    assert_eq!(
        route["route"]["retry_policy"]["retry_on"],
        "gateway-error,reset,unavailable"
    );
    let name = "cds_egress_m_greeter-v1_demo_grpc_9000";
    assert_eq!(
        route["route"]["weighted_clusters"]["clusters"][0]["name"],
        name
    );
    let clusters = files["cds.json"]["resources"].as_array().unwrap();
    let cluster = clusters.iter().find(|cluster| cluster["name"] == name);
    let cluster = cluster.unwrap();
    assert!(cluster["typed_extension_protocol_options"].is_object());
    assert_eq!(cluster["health_checks"][0]["grpc_health_check"], json!({}));
    // After all others, since people and `verify` look at the first.
    let last = greeter["routes"].as_array().unwrap().last().unwrap();
    assert_eq!(last["match"], json!({"connect_matcher": {}}));
}

#[test]
fn what_is_no_backend_needs_allow_all() {
    let endpoint: SocketAddr = "127.0.0.9:80".parse().unwrap();
    let names = Names::with(&[("demo", "other", 80, &[endpoint])]);
    let settings = settings(Path::new("/x"), 1);
    let wild = |files: &Files| {
        let hosts = files["rds.json"]["resources"][0]["virtual_hosts"]
            .as_array()
            .unwrap();
        hosts.iter().any(|host| host["domains"] == json!(["*"]))
    };
    assert!(!wild(&files(&model([1, 0], "DROP_ALL"), &settings, &names)));
    let open = files(&model([1, 0], "ALLOW_ALL"), &settings, &names);
    assert!(wild(&open));
    let other = host(&open, "other.demo:80");
    assert!(
        other["domains"]
            .as_array()
            .unwrap()
            .contains(&json!("other"))
    );
}

/// Envoy where there is one; the tests that need it say so and pass without.
fn program() -> Option<PathBuf> {
    envoy::find().ok().flatten()
}

fn start(program: PathBuf, folder: &Path, extra: &[&str]) -> Process {
    let mut args: Vec<String> = vec![
        "--config-path".to_owned(),
        folder.join("bootstrap.json").display().to_string(),
    ];
    let fixed = [
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ];
    args.extend(fixed.iter().chain(extra).map(|word| (*word).to_owned()));
    let start = Start {
        program,
        args,
        env: BTreeMap::new(),
        directory: folder.to_owned(),
        marks: folder.join("processes"),
    };
    let log: Log = Arc::new(|line: &str| {
        if line.contains("error") || line.contains("critical") {
            tracing::error!("{line}");
        }
    });
    Process::start(&start, &log).unwrap()
}

/// An HTTP server that answers every request with one word.
async fn answering(at: SocketAddr, word: &'static str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream
                    .read(&mut request)
                    .await
                    .is_ok_and(|length| length > 0)
                {
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}",
                        word.len()
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

async fn until_live(settings: &Settings) {
    let url = format!(
        "http://{}:{}/server_info",
        settings.twin, settings.admin_port
    );
    let live = async {
        loop {
            if let Ok(answer) = super::super::aws::http().get(&url).send().await
                && answer
                    .json::<Value>()
                    .await
                    .is_ok_and(|info| info["state"] == "LIVE")
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), live)
        .await
        .unwrap();
}

#[tokio::test]
async fn envoy_accepts_the_configuration() {
    let Some(program) = program() else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().to_owned();
    let settings = settings(&folder, 2);
    put(&folder, "bootstrap.json", &bootstrap(&settings, "id")).unwrap();
    let endpoint: SocketAddr = "127.213.2.9:80".parse().unwrap();
    let names = Names::with(&[("demo", "other", 80, &[endpoint])]);
    write(
        &folder,
        &files(&model([90, 10], "ALLOW_ALL"), &settings, &names),
    );
    let mut envoy = start(program, &folder, &[]);
    until_live(&settings).await;
    // Whatever came by files shows up here only if it was accepted.
    let stats = format!(
        "http://{}:9901/stats?filter=update_(success|rejected)$&format=json",
        settings.twin
    );
    let stats: Value = super::super::aws::http()
        .get(stats)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let of = |name: &str| {
        let all = stats["stats"].as_array().unwrap();
        all.iter()
            .find(|stat| stat["name"] == name)
            .map_or(0, |stat| stat["value"].as_u64().unwrap())
    };
    for source in [
        "listener_manager.lds",
        "cluster_manager.cds",
        "http.egress.rds.rds_egress_http",
    ] {
        assert_eq!(of(&format!("{source}.update_rejected")), 0, "{source}");
        assert_eq!(of(&format!("{source}.update_success")), 1, "{source}");
    }
    let listeners = format!("http://{}:9901/listeners", settings.twin);
    let listeners = super::super::aws::http()
        .get(listeners)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        listeners.contains("lds_egress_0.0.0.0_15001") && listeners.contains(":8080"),
        "{listeners}"
    );
    envoy.stop(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn weights_are_followed_by_real_traffic() {
    let Some(program) = program() else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().to_owned();
    let settings = Settings {
        tracing: None,
        ..settings(&folder, 3)
    };
    let (one, two): (SocketAddr, SocketAddr) = (
        "127.213.3.11:8080".parse().unwrap(),
        "127.213.3.12:8080".parse().unwrap(),
    );
    answering(one, "one").await;
    answering(two, "two").await;
    let names = Names::with(&[
        ("demo", "backend-v1", 8080, &[one]),
        ("demo", "backend-v2", 8080, &[two]),
    ]);
    put(&folder, "bootstrap.json", &bootstrap(&settings, "id")).unwrap();
    write(
        &folder,
        &files(&model([90, 10], "DROP_ALL"), &settings, &names),
    );
    let mut envoy = start(program, &folder, &[]);
    until_live(&settings).await;
    let proxy = reqwest::Proxy::http(format!("http://{}:{}", settings.twin, egress::PORT)).unwrap();
    let client = reqwest::Client::builder().proxy(proxy).build().unwrap();
    let ask = |path: &'static str| {
        let request = client.get(format!("http://backend.demo.svc.cluster.local:8080{path}"));
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    };
    let share = async || {
        let mut two = 0;
        for _ in 0..400 {
            let (status, text) = ask("/").await;
            assert_eq!(status, 200, "{text}");
            two += u32::from(text == "two");
        }
        two
    };
    let two_of_400 = share().await;
    assert!(
        (15..=70).contains(&two_of_400),
        "{two_of_400} of 400 for a weight of 10"
    );
    let model = model([0, 100], "DROP_ALL");
    let followed = async |word: &str| {
        let followed = async {
            // Each of Envoy's workers takes a new route when it comes to it.
            let mut in_a_row = 0;
            while in_a_row < 50 {
                in_a_row = match ask("/").await.1 == word {
                    true => in_a_row + 1,
                    false => 0,
                };
            }
        };
        tokio::time::timeout(Duration::from_secs(5), followed)
            .await
            .unwrap();
    };
    let routes = &files(&model, &settings, &names)["rds.json"];
    put(&folder, "rds.json", routes).unwrap();
    followed("two").await;
    assert_eq!(share().await, 400);
    // A pod that is no endpoint any more gets nothing, though somebody at its address still passes health checks.
    let moved = Names::with(&[("demo", "backend-v2", 8080, &[one])]);
    write(&folder, &files(&model, &settings, &moved));
    followed("one").await;
    assert_eq!(share().await, 0);
    // Another host is no backend, and the mesh lets nothing else out.
    let dropped = client
        .get("http://other.demo.svc.cluster.local:8080/")
        .send()
        .await
        .unwrap();
    assert_eq!(dropped.status(), 404);
    envoy.stop(Duration::from_secs(2)).await;
}
