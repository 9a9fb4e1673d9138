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

const NOTHING_TO_DO: &str = "`up` with nothing to do (median of 5)";

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
    let mut up = Timed::new("`up` from nothing");
    let mut again = Timed::new(NOTHING_TO_DO);
    for speed in SPEEDS {
        bench.up(speed, &mut up);
        bench.nothing_to_do(speed, &mut again);
    }
    up.in_real_time();
    again.in_real_time();
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

    fn up(&self, speed: f64, up: &mut Timed) {
        self.restart(speed);
        let before = self.calls();
        let (events, took) = self.events(&["up", "--sandbox"]);
        up.took(speed, took);
        let critical = critical_path(&events);
        row(
            &format!("its critical path at speed {speed}"),
            format!(
                "{critical:.1} s: {:.2} times",
                took.as_secs_f64() / critical
            ),
        );
        row("its AWS calls", (self.calls() - before).to_string());
    }

    /// Another `up` after the first, some times.
    fn nothing_to_do(&self, speed: f64, again: &mut Timed) {
        let before = self.calls();
        let took = median((0..5).map(|_| self.run(&["up", "--sandbox"]).1));
        again.took(speed, took);
        row("its AWS calls", ((self.calls() - before) / 5).to_string());
    }

    fn down(&self) {
        let (_, took) = self.run(&["down", "--sandbox", "--yes"]);
        row(
            &format!("`down`, audit included, at speed {}", SPEEDS[1]),
            seconds(took),
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

/// What a command took at each of two speeds, in seconds.
struct Timed {
    what: &'static str,
    runs: Vec<(f64, f64)>,
}

impl Timed {
    fn new(what: &'static str) -> Self {
        Timed {
            what,
            runs: Vec::new(),
        }
    }

    fn took(&mut self, speed: f64, time: Duration) {
        row(&format!("{} at speed {speed}", self.what), seconds(time));
        self.runs.push((speed, time.as_secs_f64()));
    }

    /// The seconds that it takes in real time: what passes with the modelled clock, and what is the tool's own and this
    /// machine's, which two speeds tell apart.
    fn in_real_time(&self) -> f64 {
        let [(slow, longer), (fast, shorter)] = self.runs[..] else {
            panic!("two runs")
        };
        let modelled = (longer - shorter) / (1.0 / slow - 1.0 / fast);
        let own = shorter - modelled / fast;
        row(
            &format!("{} in real time: modelled + its own", self.what),
            format!("{modelled:.1} s + {own:.1} s"),
        );
        modelled + own
    }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2]
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
