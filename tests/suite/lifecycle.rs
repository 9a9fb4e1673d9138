//! The whole life cycle over real HTTP, as a user runs it.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::grants;
use crate::harness::World;
use crate::wire::Sandbox;

pub fn last_event(stdout: &str, event: &str) -> Value {
    let mut lines = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .rfind(|line| line["event"] == event)
        .unwrap_or_else(|| panic!("no {event} in {stdout}"))
}

#[test]
fn from_nothing_to_nothing_without_a_data_plane() {
    let world = World::without_data_plane();
    world.start_sandbox();
    world.run(&["plan", "--sandbox"]).exits_with(2);

    let up = world
        .run(&["up", "--sandbox", "--output", "json"])
        .succeeds();
    let status = last_event(&up.stdout(), "status")["status"].clone();
    let services: Vec<&str> = status["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| service["service"].as_str().unwrap())
        .collect();
    assert_eq!(services, ["backend", "backend", "database", "frontend"]);
    assert!(
        status["url"].as_str().unwrap().starts_with("http://"),
        "{status}"
    );

    // Permissions and quotas could be looked at.
    assert!(!up.stdout().contains("not checked"), "{}", up.stdout());

    // Applied twice equals once.
    world.run(&["plan", "--sandbox"]).succeeds();
    let again = world
        .run(&["up", "--sandbox", "--output", "json"])
        .succeeds();
    for line in again.stdout().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["event"] == "step-finished" {
            assert_eq!(line["outcome"]["outcome"], "unchanged", "{line}");
        }
    }
    world.run(&["audit", "--sandbox"]).exits_with(3);

    // Without a file, from another home: the cloud is the only state.
    let other = world.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let down = world.run(&["down", "--sandbox", "--yes"]).succeeds();
    assert!(down.stdout().contains("nothing left"), "{}", down.stdout());
    world.run(&["plan", "--sandbox", "--destroy"]).succeeds();
    world.run(&["down", "--sandbox", "--yes"]).succeeds();
}

#[test]
fn traffic_goes_through_real_envoys_and_is_shifted() {
    let world = World::with_data_plane();
    world.start_sandbox();
    let up = world
        .run(&["up", "--sandbox", "--output", "json"])
        .succeeds();
    let url = last_event(&up.stdout(), "status")["status"]["url"]
        .as_str()
        .unwrap()
        .to_string();
    let body = get(&url);
    for service in ["frontend", "backend", "database"] {
        assert!(body.contains(service), "{service} answers in {body}");
    }

    for weight in [10.0, 50.0] {
        let text = weight.to_string();
        let shifted = world
            .run(&["canary", "--weight", &text, "--sandbox", "--output", "json"])
            .succeeds();
        let report = last_event(&shifted.stdout(), "canary")["report"].clone();
        let interval = &report["measured"]["verdict"]["interval"];
        let (low, high) = (
            interval["low"].as_f64().unwrap(),
            interval["high"].as_f64().unwrap(),
        );
        assert!(low < high && high - low < 0.1, "{report}");
        assert!(
            report["measured"]["sample"]["requests"].as_u64().unwrap() >= 1000,
            "{report}"
        );
    }
    // A canary in progress is no change that `up` would undo.
    world.run(&["plan", "--sandbox"]).succeeds();
    world.run(&["canary", "promote", "--sandbox"]).succeeds();
    assert!(get(&url).contains("v2"));
    world.run(&["canary", "abort", "--sandbox"]).succeeds();
    assert!(!get(&url).contains("v2"));

    // A second version that cannot start gets no traffic, and the first one notices nothing.
    world.run(&["init"]).succeeds();
    let file = world.path().join("meshctl.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    let bad = good.replace("# env: {LATENCY_MS: \"50\"}", "env: {FAIL_START: \"true\"}");
    assert_ne!(good, bad);
    std::fs::write(&file, bad).unwrap();
    let up = world.run(&["up", "--sandbox"]).exits_with(1);
    assert!(up.stderr().contains("told not to start"), "{}", up.stderr());
    let refused = world
        .run(&["canary", "--weight", "10", "--sandbox"])
        .exits_with(13);
    assert!(
        refused.stderr().contains("traffic is left as it is")
            && refused.stderr().contains("kubectl -n demo logs"),
        "{}",
        refused.stderr()
    );
    assert!(!get(&url).contains("v2"));

    let down = world.run(&["down", "--sandbox", "--yes"]).succeeds();
    assert!(down.stdout().contains("nothing left"), "{}", down.stdout());
    grants::check(&Sandbox::of(&world));
    world.run(&["sandbox", "stop"]).succeeds();
    let listening = std::net::TcpStream::connect(url.trim_start_matches("http://"));
    assert!(listening.is_err(), "nothing listens at {url} any more");
}

#[test]
fn killed_at_any_moment_it_goes_on_or_leaves_nothing() {
    let world = World::without_data_plane();
    world.start_sandbox();
    for fraction in [0.1, 0.35, 0.6, 0.85] {
        kill_up_after_steps(&world, fraction);
    }
    world.run(&["up", "--sandbox"]).succeeds();
    world.run(&["plan", "--sandbox"]).succeeds();
    world.run(&["down", "--sandbox", "--yes"]).succeeds();
    kill_up_after_steps(&world, 0.5);
    let down = world.run(&["down", "--sandbox", "--yes"]).succeeds();
    assert!(down.stdout().contains("nothing left"), "{}", down.stdout());
}

/// Runs `up` and kills it, as `kill -9` does, once that share of its steps is done.
fn kill_up_after_steps(world: &World, fraction: f64) {
    let mut up = world
        .command(&["up", "--sandbox", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = std::io::BufReader::new(up.stdout.take().unwrap());
    let (mut steps, mut done) = (usize::MAX, 0);
    let mut line = String::new();
    while std::io::BufRead::read_line(&mut stdout, &mut line).unwrap() > 0 {
        let event: Value = serde_json::from_str(&line).unwrap();
        match event["event"].as_str() {
            Some("run-started") => steps = event["steps"].as_array().unwrap().len(),
            Some("step-finished") => done += 1,
            _ => {}
        }
        if done as f64 >= steps as f64 * fraction {
            break;
        }
        line.clear();
    }
    up.kill().unwrap();
    up.wait().unwrap();
}

#[test]
fn a_signal_finishes_what_runs_and_names_the_next_command() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let mut up = world
        .command(&["up", "--sandbox"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = std::io::BufReader::new(up.stderr.take().unwrap());
    let mut line = String::new();
    // Once something is being made, the run is under way.
    while !line.contains("creating") {
        line.clear();
        assert!(
            std::io::BufRead::read_line(&mut stderr, &mut line).unwrap() > 0,
            "up says what it does"
        );
    }
    let signalled = std::process::Command::new("kill")
        .args(["-TERM", &up.id().to_string()])
        .status()
        .unwrap();
    assert!(signalled.success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let ended = wait(&mut up, Duration::from_secs(60));
    assert_eq!(ended, Some(130), "{rest}");
    assert!(
        rest.contains("meshctl up --sandbox"),
        "it names the next command: {rest}"
    );
    world.run(&["down", "--sandbox", "--yes"]).succeeds();
}

fn wait(child: &mut std::process::Child, deadline: Duration) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::yield_now();
    }
    let _ = child.kill();
    None
}

/// The body of a GET, by a client nobody here wrote.
pub fn get(url: &str) -> String {
    // Refused where another test has installed one already: then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(url)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.text().await.unwrap()
    })
}
