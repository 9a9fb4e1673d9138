//! Environments of many services, two versions each: what `plan`, `up`, an `up` with nothing to do and `down` take.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{Bench, memory};

/// How many services.
pub const SIZES: [usize; 3] = [10, 100, 1000];

/// How many services a service calls.
const FAN_OUT: usize = 4;
/// Pods with their proxies on a node, by what they ask for.
const PODS_OF_A_NODE: usize = 80;

/// A tree of services: each calls four others, but for the leaves.
fn environment(services: usize) -> Value {
    let name = |index: usize| format!("service-{index}");
    let written: Vec<Value> = (0..services)
        .map(|index| {
            let first = FAN_OUT * index + 1;
            let backends: Vec<String> = (first..(first + FAN_OUT).min(services).max(first)).map(name).collect();
            json!({
                "name": name(index),
                "port": 8080,
                "demo": if backends.is_empty() { "database" } else { "backend" },
                "backends": backends,
                "versions": [{"name": "v1", "replicas": 1}, {"name": "v2", "replicas": 1, "weight": 0}],
            })
        })
        .collect();
    let nodes = (2 * services).div_ceil(PODS_OF_A_NODE) + 2;
    json!({
        "name": "many",
        "network": {"cidr": "10.42.0.0/16"},
        "cluster": {"nodes": {"instanceTypes": ["m5.4xlarge"], "desired": nodes, "min": 1, "max": nodes}},
        "services": written,
        "ingress": {"service": name(0), "port": 8080},
    })
}

/// What a command took.
#[derive(Clone, Copy)]
struct Cost {
    time: Duration,
    /// The most memory, in KiB.
    peak: u64,
    calls: u64,
}

impl Cost {
    fn measure(bench: &Bench, arguments: &[&str], code: i32) -> Cost {
        let before = bench.calls();
        let began = Instant::now();
        let output = std::fs::File::create(bench.folder.path().join("output")).expect("a file");
        let mut child = bench
            .command(arguments)
            .stdout(output.try_clone().expect("a file"))
            .stderr(Stdio::from(output))
            .spawn()
            .expect("meshctl runs");
        let mut peak = 0;
        let status = loop {
            if let Some(status) = child.try_wait().expect("a status") {
                break status;
            }
            peak = memory(child.id().into(), "VmHWM").unwrap_or(peak);
            std::thread::sleep(Duration::from_millis(5));
        };
        let time = began.elapsed();
        assert_eq!(
            status.code(),
            Some(code),
            "meshctl {}: {}",
            arguments.join(" "),
            std::fs::read_to_string(bench.folder.path().join("output")).unwrap_or_default()
        );
        Cost {
            time,
            peak,
            calls: bench.calls() - before,
        }
    }
}

/// Prints a row for each size and command.
pub fn measure(sizes: &[usize]) {
    println!(
        "| Services | Command | Time | Times the row before | Peak memory | AWS calls |\n|---:|---|---:|---:|---:|---:|"
    );
    let mut before: Option<Vec<Cost>> = None;
    for &size in sizes {
        let bench = Bench::new();
        let file = serde_json::to_string_pretty(&environment(size)).expect("JSON");
        std::fs::write(bench.folder.path().join("meshctl.yaml"), file).expect("a file");
        bench.run(&["sandbox", "start", "--no-data-plane"]);
        let commands: [(&str, &[&str], i32); 5] = [
            ("`plan` from nothing", &["plan", "--sandbox"], 2),
            ("`up`", &["up", "--sandbox"], 0),
            ("`plan` with nothing to do", &["plan", "--sandbox"], 0),
            ("`up` with nothing to do", &["up", "--sandbox"], 0),
            ("`down`", &["down", "--sandbox", "--yes"], 0),
        ];
        let mut costs = Vec::new();
        for (index, (name, arguments, code)) in commands.into_iter().enumerate() {
            let cost = Cost::measure(&bench, arguments, code);
            let growth = before.as_ref().map_or("–".to_owned(), |before| {
                format!(
                    "{:.1}",
                    cost.time.as_secs_f64() / before[index].time.as_secs_f64()
                )
            });
            println!(
                "| {size} | {name} | {:.2} s | {growth} | {} MB | {} |",
                cost.time.as_secs_f64(),
                cost.peak / 1024,
                cost.calls
            );
            costs.push(cost);
        }
        before = Some(costs);
    }
}
