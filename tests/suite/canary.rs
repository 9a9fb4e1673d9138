//! Canaries that decide by themselves, with real Envoys in between, and what is told before anything is touched.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Run, World};
use crate::lifecycle::last_event;

/// What makes a run short: traffic of our own. An effect that few requests show is added where wanted.
const QUICK: [&str; 12] = [
    "canary",
    "--auto",
    "--sandbox",
    "--output",
    "json",
    "--warm-up",
    "1s",
    "--source",
    "envoy",
    "--source",
    "probe",
    "--probe-rate",
];

/// A short run at so many requests a second of our own, judged by errors alone.
pub fn quick<'a>(rate: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&QUICK[..], &[rate, "--no-latency"], more].concat()
}

/// As [`quick`], judged by latency too.
fn timed<'a>(rate: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&QUICK[..], &[rate], more].concat()
}

/// The weight of v2 as the mesh has it.
fn weight(world: &World) -> u64 {
    let status = world
        .run(&["canary", "status", "--sandbox", "--output", "json"])
        .succeeds();
    let status = last_event(&status.stdout(), "canary-status")["status"].clone();
    assert_eq!(status["settled"], true, "{status}");
    status["versions"][1]["weight"].as_u64().unwrap()
}

/// The default environment with backends of these settings; the run that made it so.
fn with_backends(world: &World, v1: &str, v2: &str) -> Run {
    let text = meshctl::config::DEFAULT_FILE;
    let changed = text
        .replace(
            "weight: 100",
            &format!("weight: 100\n        env: {{{v1}}}"),
        )
        .replace("# env: {LATENCY_MS: \"50\"}", &format!("env: {{{v2}}}"));
    assert_eq!(changed.matches(" env: {").count(), 2, "{changed}");
    std::fs::write(world.path().join("meshctl.yaml"), changed).unwrap();
    world
        .run(&["up", "--sandbox", "--output", "json"])
        .succeeds()
}

/// Starts a run and kills it, as `kill -9` does, once it says such a line.
fn kill_once(world: &World, arguments: &[&str], is: impl Fn(&Value) -> bool) {
    let mut killed = world
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    let reached = lines.any(|line| is(&serde_json::from_str(&line.unwrap()).unwrap()));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(reached, "{arguments:?} ended before");
}

/// Weights, request rates, error rates and latency of both versions are shown while requests go by, until a signal.
fn watched_while_requests_go_by(world: &World) {
    let mut traffic = world
        .command(&[
            "canary",
            "--weight",
            "50",
            "--sandbox",
            "--requests",
            "4000",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let watch = [
        "canary",
        "status",
        "--watch",
        "--sandbox",
        "--output",
        "json",
    ];
    let mut watch = world
        .command(&watch)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = BTreeSet::new();
    // Read on until it ends: nobody writes into what is closed.
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["event"] == "canary-traffic" && line["rate"].as_f64().unwrap() > 0.0 {
            assert_eq!(line["errors"], 0.0, "{line}");
            // Envoy counts at once and adds to its histograms every few seconds.
            let quantile = |name: &str| line[name].as_f64();
            let Some(median) = quantile("p50") else {
                continue;
            };
            assert!(median > 0.0 && Some(median) <= quantile("p99"), "{line}");
            if line["weight"] == 50 {
                seen.insert(line["version"].as_str().unwrap().to_owned());
            }
        }
        if seen.len() == 2 {
            break;
        }
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let signalled = std::process::Command::new("kill")
        .args(["-INT", &watch.id().to_string()])
        .status();
    assert!(signalled.unwrap().success());
    assert!(watch.wait().unwrap().success(), "a watch ends well");
    assert!(traffic.wait().unwrap().success());
}

#[test]
fn canaries_are_promoted_rolled_back_and_held_by_what_real_envoys_see() {
    let world = World::with_data_plane();
    world.start_sandbox();
    world
        .run(&["up", "--sandbox", "--output", "json"])
        .succeeds();

    // A healthy v2 goes all the way, and back.
    let report = world.path().join("report.html");
    let recording = world.path().join("samples.ndjson");
    let junit = world.path().join("canary.xml");
    let files = [
        "--report",
        report.to_str().unwrap(),
        "--record",
        recording.to_str().unwrap(),
        "--junit",
        junit.to_str().unwrap(),
    ];
    let steps = [
        &["--steps", "25,50,100", "--error-effect", "20%"][..],
        &files,
    ]
    .concat();
    let run = world.run(&quick("20", &steps)).succeeds();
    let verdict = last_event(&run.stdout(), "canary-verdict");
    assert_eq!(verdict["outcome"], "promoted");
    for source in ["envoy", "probe"] {
        assert!(
            verdict["canary"][source]["total"].as_u64().unwrap() > 10,
            "{verdict}"
        );
    }
    assert_eq!(weight(&world), 100);
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(
        page.contains("v2 of backend is promoted") && page.contains("<svg"),
        "{page}"
    );
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "it needs nothing else"
    );
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"0\""), "{xml}");
    let replay = [
        "canary",
        "replay",
        recording.to_str().unwrap(),
        "--as-recorded",
        "--output",
        "json",
    ];
    let replayed = world.run(&replay).succeeds();
    assert_eq!(
        last_event(&replayed.stdout(), "canary-replay")["opinion"],
        "close"
    );
    world.run(&["canary", "undo", "--sandbox"]).succeeds();
    assert_eq!(weight(&world), 0);
    world.run(&["canary", "undo", "--sandbox"]).exits_with(4);

    // Nobody calls: nothing can be decided, and nothing is promoted.
    let silent = [
        "canary",
        "--auto",
        "--sandbox",
        "--output",
        "json",
        "--steps",
        "50,100",
        "--step-limit",
        "2s",
        "--warm-up",
        "1s",
    ];
    let run = world.run(&silent).exits_with(11);
    let verdict = last_event(&run.stdout(), "canary-verdict");
    assert_eq!(verdict["state"]["because"], "no-traffic", "{verdict}");
    assert_eq!(weight(&world), 0);

    // Killed like `kill -9`: the record stays, a second run is refused, anybody can end it.
    let slow = ["--steps", "50,100", "--error-effect", "0.1%"];
    kill_once(&world, &quick("30", &slow), |line| {
        line["event"] == "canary-state" && line["state"] == "judging"
    });
    assert_eq!(weight(&world), 50);
    let second = world
        .run(&quick(
            "30",
            &["--steps", "50,100", "--error-effect", "20%"],
        ))
        .exits_with(6);
    assert!(
        second.stdout().contains("already under way"),
        "{}",
        second.stdout()
    );
    world
        .run(&["canary", "--weight", "10", "--sandbox"])
        .exits_with(6);
    world.run(&["canary", "abort", "--sandbox"]).succeeds();
    assert_eq!(weight(&world), 0);

    // Killed again, and anybody goes on from where it was: the first step is judged once.
    let steps = ["--steps", "25,50,100", "--error-effect", "20%"];
    kill_once(&world, &quick("30", &steps), |line| {
        line["event"] == "canary-state" && line["state"] == "judging" && line["step"] == 1
    });
    assert_eq!(weight(&world), 50);
    let resume = ["canary", "resume", "--sandbox", "--output", "json"];
    let resumed = world.run(&resume).succeeds();
    let verdict = last_event(&resumed.stdout(), "canary-verdict");
    assert_eq!(verdict["outcome"], "promoted", "{verdict}");
    let said: Vec<&str> = verdict["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["what"].as_str().unwrap())
        .collect();
    let count = |words: &str| said.iter().filter(|what| what.contains(words)).count();
    assert_eq!(count("judging v2 of backend at 25 %"), 1, "{said:#?}");
    assert_eq!(count("taken over by"), 1, "{said:#?}");
    assert_eq!(weight(&world), 100);
    world.run(&["canary", "undo", "--sandbox"]).succeeds();

    watched_while_requests_go_by(&world);
    world.run(&["canary", "abort", "--sandbox"]).succeeds();
}

#[test]
fn bad_versions_go_before_many_have_met_them_and_no_canary_is_blamed_for_stable() {
    let world = World::with_data_plane();
    world.start_sandbox();
    let errors = &["--steps", "25,100"][..];
    let obvious = &["--steps", "25,100", "--error-effect", "20%"][..];
    // The canary, the run, why it may end, and how many requests the canary gets at most.
    for (v2, run, why, most) in [
        (
            "ERROR_RATE: \"0.02\"",
            quick("60", errors),
            &["errors"][..],
            3000,
        ),
        (
            "ERROR_RATE: \"0.05\"",
            quick("60", errors),
            &["errors"],
            1000,
        ),
        (
            "ERROR_RATE: \"0.5\"",
            quick("40", obvious),
            &["errors", "guard"],
            100,
        ),
        // More than a busy machine's own latency varies.
        (
            "LATENCY_MS: \"200\"",
            timed("60", errors),
            &["latency"],
            1000,
        ),
    ] {
        with_backends(&world, "", v2);
        let run = world.run(&run).exits_with(10);
        let verdict = last_event(&run.stdout(), "canary-verdict");
        assert_eq!(verdict["outcome"], "rolled-back", "{v2}: {verdict}");
        let because = verdict["state"]["because"].as_str().unwrap();
        assert!(why.contains(&because), "{v2}: {verdict}");
        for source in ["envoy", "probe"] {
            let met = verdict["canary"][source]["total"].as_u64().unwrap();
            assert!(met < most, "{v2}: {met} from {source} in {verdict}");
        }
        assert_eq!(weight(&world), 0);
    }
    // What services answer by themselves is nothing that `up` waits for: proxies do not try a 500 again.
    let fails = "ERROR_RATE: \"0.9\"";
    let up = with_backends(&world, fails, fails);
    let warning = last_event(&up.stdout(), "step-warning");
    assert_eq!(warning["id"], "entrance", "{warning}");
    let words = warning["message"].as_str().unwrap();
    assert!(
        words.contains(" of 8 requests fail") && words.contains("HTTP 502"),
        "{words}"
    );
    // What fails in both is nobody's fault.
    let fails = "ERROR_RATE: \"0.4\"";
    with_backends(&world, fails, fails);
    let guarded = [obvious, &["--guard-rate", "20%"]].concat();
    let run = world.run(&quick("40", &guarded)).exits_with(13);
    let verdict = last_event(&run.stdout(), "canary-verdict");
    assert_eq!(verdict["outcome"], "unavailable", "{verdict}");
    assert_eq!(verdict["state"]["because"], "stable-fails", "{verdict}");
    assert_eq!(weight(&world), 0);
}

#[test]
fn impossible_settings_are_told_before_anything_is_touched() {
    let world = World::without_data_plane();
    for (arguments, words) in [
        (&["--alpha", "1"][..], "alpha is 1"),
        (&["--alpha", "NaN"], "--alpha `NaN` is not a share"),
        (&["--beta", "0"], "beta is 0"),
        (&["--steps", "10,5,100"], "out of order"),
        (&["--steps", "10,50"], "do not end with 100"),
        (&["--steps", "1,200"], "`200` is not a whole percentage"),
        (&["--error-effect=-1%"], "error effect is -0.01"),
        (&["--latency-effect", "soon"], "`soon` is not a share"),
        (&["--latency-quantile", "1.5"], "latency quantile is 1.5"),
        (&["--guard-requests", "0"], "guard over 0"),
        (&["--warm-up", "20m"], "warm-up"),
    ] {
        let run = world
            .run(&[&["canary", "--auto"], arguments].concat())
            .exits_with(4);
        assert!(
            run.stderr().contains(words),
            "{arguments:?}: {}",
            run.stderr()
        );
    }
    let missing = world
        .run(&["canary", "replay", "nowhere.ndjson"])
        .exits_with(4);
    assert!(
        missing.stderr().contains("nowhere.ndjson"),
        "{}",
        missing.stderr()
    );
}

#[test]
fn simulations_are_the_same_for_the_same_seed() {
    let world = World::without_data_plane();
    let arguments = [
        "canary",
        "simulate",
        "--runs",
        "5",
        "--scenario",
        "50 % errors",
        "--output",
        "json",
    ];
    let once = world.run(&arguments).succeeds().stdout();
    assert_eq!(world.run(&arguments).succeeds().stdout(), once);
    let summary = last_event(&once, "canary-simulation")["summary"].clone();
    assert_eq!(summary["runs"], 5);
    world
        .run(&["canary", "simulate", "--scenario", "no such thing"])
        .exits_with(4);
}
