//! The life cycle of the demo against a sandbox of its own, timed as a user would time it: one table on stdout.
//!
//! `cargo bench` runs it on an optimised build, or on the one that `MESHCTL` names; `cargo bench -- recipe` and
//! `cargo bench -- scale` run what is in the modules of these names. Modelled durations shrink with the sandbox's speed and meshctl's own
//! work does not, so two speeds tell them apart.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the benchmark's output"
)]

mod recipe;
mod scale;
mod world;

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use world::{Bench, memory};

/// Modelled time passes this many times faster; the second is the default.
const SPEEDS: [f64; 2] = [20.0, 60.0];

const HEAD: &str = "| What | Figure |\n|---|---|";

fn main() {
    // `cargo test --benches` asks whether it runs, not how fast.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("scale") => {
            let sizes: Vec<usize> = arguments
                .map(|size| size.parse().expect("a number of services"))
                .collect();
            return scale::measure(if sizes.is_empty() {
                &scale::SIZES
            } else {
                &sizes
            });
        }
        Some("recipe") => {
            println!("{HEAD}");
            return recipe::measure();
        }
        _ => {}
    }
    let bench = Bench::new();
    println!("{HEAD}");
    bench.start();
    bench.sandbox();
    let ups = SPEEDS.map(|speed| (speed, bench.up(speed)));
    row(
        "`up` in real time, extrapolated: modelled + meshctl's own",
        Split::of(&ups).words(),
    );
    bench.nothing_to_do();
    bench.down();
}

fn row(what: &str, figure: String) {
    println!("| {what} | {figure} |");
}

impl Bench {
    fn start(&self) {
        let took = median((0..50).map(|_| self.run(&["--version"]).1));
        row(
            "process start (`meshctl --version`, median of 50)",
            milliseconds(took),
        );
    }

    fn sandbox(&self) {
        let mut idle = None;
        let took = median((0..10).map(|_| {
            let (_, took) = self.run(&["sandbox", "start", "--no-data-plane"]);
            let (events, _) = self.events(&["sandbox", "status"]);
            idle = events[0]["pid"]
                .as_u64()
                .and_then(|pid| memory(pid, "VmRSS"));
            self.run(&["sandbox", "reset"]);
            took
        }));
        row(
            "sandbox ready (`meshctl sandbox start` from nothing, median of 10)",
            milliseconds(took),
        );
        if let Some(kib) = idle {
            row(
                "sandbox idle, resident",
                format!("{:.0} MB", kib as f64 / 1024.0),
            );
        }
    }

    /// The seconds that `up` from nothing takes at that speed.
    fn up(&self, speed: f64) -> f64 {
        self.run(&["sandbox", "reset"]);
        self.run(&[
            "sandbox",
            "start",
            "--no-data-plane",
            "--speed",
            &speed.to_string(),
        ]);
        let before = self.calls();
        let (events, took) = self.events(&["up", "--sandbox"]);
        let makespan = took.as_secs_f64();
        let critical = critical_path(&events);
        row(
            &format!("`up` from nothing at speed {speed}: makespan ÷ critical path"),
            format!(
                "{makespan:.1} s ÷ {critical:.1} s = {:.2}",
                makespan / critical
            ),
        );
        row(
            &format!("its AWS calls at speed {speed}"),
            (self.calls() - before).to_string(),
        );
        makespan
    }

    fn nothing_to_do(&self) {
        let before = self.calls();
        let took = median((0..5).map(|_| self.run(&["up", "--sandbox"]).1));
        let calls = (self.calls() - before) / 5;
        row("`up` with nothing to do (median of 5)", milliseconds(took));
        row("its AWS calls", calls.to_string());
    }

    fn down(&self) {
        let (_, took) = self.run(&["down", "--sandbox", "--yes"]);
        row(
            &format!("`down`, audit included, at speed {}", SPEEDS[1]),
            format!("{:.1} s", took.as_secs_f64()),
        );
    }
}

/// The longest chain of dependent steps by the seconds they took: no schedule of the same steps ends sooner.
fn critical_path(events: &[Value]) -> f64 {
    let took: HashMap<&str, f64> = events
        .iter()
        .filter(|event| event["event"] == "step-finished")
        .filter_map(|event| Some((event["id"].as_str()?, event["took_seconds"].as_f64()?)))
        .collect();
    let started = events.iter().find(|event| event["event"] == "run-started");
    let mut ends: HashMap<&str, f64> = HashMap::new();
    for step in started.expect("a run")["steps"].as_array().expect("steps") {
        let id = step["id"].as_str().expect("an id");
        let after = step["after"].as_array().expect("edges").iter();
        let begins = after
            .filter_map(|edge| ends.get(edge.as_str()?).copied())
            .fold(0.0, f64::max);
        ends.insert(id, begins + took[id]);
    }
    ends.into_values().fold(0.0, f64::max)
}

/// What part of a run is modelled time and what part is the tool's own and this machine's, in seconds.
struct Split {
    modelled: f64,
    own: f64,
}

impl Split {
    /// From the run's seconds at two speeds: modelled ÷ speed + own.
    fn of(runs: &[(f64, f64)]) -> Self {
        let [(slow, longer), (fast, shorter)] = runs else {
            panic!("two runs")
        };
        let modelled = (longer - shorter) / (1.0 / slow - 1.0 / fast);
        Split {
            modelled,
            own: shorter - modelled / fast,
        }
    }

    fn total(&self) -> f64 {
        self.modelled + self.own
    }

    fn words(&self) -> String {
        format!(
            "{:.0} s + {:.1} s = {:.3} times modelled",
            self.modelled,
            self.own,
            self.total() / self.modelled
        )
    }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
