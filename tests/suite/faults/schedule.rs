//! The exhaustive schedule: each call with which `up`, a canary, its promotion and `down` change something fails, loses its
//! answer, is the last one before `kill -9`, or the one during which somebody presses Ctrl-C, once or until it ends. The
//! same command again then ends in the state in which a run without faults ends, and `down` leaves nothing.
//!
//! `cargo test` runs a fixed part of it. All of it, with a line for each call:
//!
//! ```sh
//! MESHCTL_SCHEDULE=all cargo test --release --test suite -- faults::schedule --nocapture
//! ```
//!
//! `MESHCTL_SCHEDULE` may also be `signals`, for Ctrl-C, or the beginning of some names, as the lines have them:
//! `up kubernetes:patch`.

use std::collections::{BTreeMap, VecDeque};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::drive::{self, Blow, End};
use super::state::Everything;
use crate::harness::World;

/// How long a state may take to become what it is to be, once the command has ended.
const SETTLING: Duration = Duration::from_secs(60);

/// A command of the life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Up,
    Canary,
    Promote,
    Down,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Up, Phase::Canary, Phase::Promote, Phase::Down];

    fn name(self) -> &'static str {
        match self {
            Phase::Up => "up",
            Phase::Canary => "canary",
            Phase::Promote => "promote",
            Phase::Down => "down",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Phase::Up => &["up", "--sandbox"],
            Phase::Canary => &["canary", "--weight", "10", "--sandbox"],
            Phase::Promote => &["canary", "promote", "--sandbox"],
            Phase::Down => &["down", "--sandbox", "--yes"],
        }
    }

    /// The weight of the second version that a canary's command is to bring about.
    fn weight(self) -> Option<u64> {
        match self {
            Phase::Canary => Some(10),
            Phase::Promote => Some(100),
            Phase::Up | Phase::Down => None,
        }
    }
}

/// One call and what is done to it.
#[derive(Clone, Debug)]
struct Trial {
    phase: Phase,
    call: String,
    nth: u64,
    blow: Blow,
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Trial {
            phase,
            call,
            nth,
            blow,
        } = self;
        write!(f, "{} {call} {nth} {}", phase.name(), blow.name())
    }
}

/// A world with copies of its state before each command, and how it is after each.
struct Bench {
    world: World,
    after: Vec<Everything>,
}

impl Bench {
    /// Runs the life cycle without faults. The calls that change something come with it, by phase.
    fn new() -> (Self, Vec<(Phase, Vec<String>)>) {
        let world = World::without_data_plane();
        std::fs::create_dir(world.path().join("copies")).unwrap();
        let mut bench = Bench {
            world,
            after: Vec::new(),
        };
        let mut calls = Vec::new();
        drive::start(&bench.world);
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            bench.stop();
            bench.copy("state", &format!("copies/{index}"));
            bench.resume(phase);
            let end = bench.run(phase, None);
            assert!(matches!(end, End::Exit(0, ..)), "{}: {end:?}", phase.name());
            let journal = drive::control(&bench.world, "GET", "journal", &Value::Null);
            let made = journal.as_array().unwrap().iter().filter(|entry| {
                let status = entry["status"].as_u64().unwrap_or_default();
                entry["internal"] == false && (200..400).contains(&status)
            });
            let made = made.map(|entry| entry["call"].as_str().unwrap().to_owned());
            calls.push((phase, made.collect()));
            let settled = bench.settled();
            bench.after.push(settled);
        }
        bench.stop();
        (bench, calls)
    }

    /// Starts it and waits until a command finds everything as it is to be, webhooks included.
    fn resume(&self, phase: Phase) {
        drive::start(&self.world);
        let began = Instant::now();
        while matches!(phase, Phase::Canary | Phase::Promote)
            && self.world.run(&["plan", "--sandbox"]).code() != 0
        {
            assert!(began.elapsed() < SETTLING, "the cluster does not come back");
        }
    }

    fn stop(&self) {
        self.world.run(&["sandbox", "stop"]).succeeds();
    }

    fn copy(&self, from: &str, to: &str) {
        let copied = Command::new("cp")
            .args(["-a", from, to])
            .current_dir(self.world.path())
            .status();
        assert!(copied.unwrap().success(), "cp {from} {to}");
    }

    /// The state once it stays as it is.
    fn settled(&self) -> Everything {
        let began = Instant::now();
        let mut last = None;
        let mut since = Instant::now();
        loop {
            let now = Everything::of(&self.world);
            if now.is_none() || now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > Duration::from_secs(3) {
                return last.unwrap();
            }
            assert!(began.elapsed() < SETTLING, "the state does not settle");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs a command; it gets a blow once a rule has struck.
    fn run(&self, phase: Phase, blow: Option<(u64, Blow)>) -> End {
        // Without a data plane nobody can measure what has been shifted, which the command would still try.
        let is_shifted = || drive::weight(&self.world, "backend") == phase.weight();
        let enough: Option<&dyn Fn() -> bool> = match phase.weight() {
            Some(_) if blow.is_none() => Some(&is_shifted),
            _ => None,
        };
        drive::run(&self.world, phase.arguments(), blow, enough)
    }

    /// Tries one call. `Ok(false)` when the run did not come to it.
    fn attempt(&self, trial: &Trial) -> Result<bool, String> {
        let index = trial.phase as usize;
        std::fs::remove_dir_all(self.world.path().join("state")).unwrap();
        self.copy(&format!("copies/{index}"), "state");
        self.resume(trial.phase);
        let mut rule = json!({"calls": trial.call, "kind": trial.blow.kind(), "nth": trial.nth});
        if trial.blow == Blow::Interrupt {
            // Time enough to press Ctrl-C.
            rule["seconds"] = json!(0.5);
        }
        let id = drive::add_fault(&self.world, &rule);
        let ends_by_itself = matches!(trial.blow, Blow::Error | Blow::Lost);
        let first = self.run(trial.phase, (!ends_by_itself).then_some((id, trial.blow)));
        if !drive::has_struck(&self.world, id) {
            return Ok(false);
        }
        drive::clear_faults(&self.world);
        if let End::Endless(_) = first {
            return Err(first.to_string());
        }
        if trial.blow.is_signal()
            && let Some(wrong) = wrong_end(trial, &first)
        {
            return Err(format!("{wrong}: {}", first));
        }
        let again = self.run(trial.phase, None);
        let End::Exit(0, ..) = again else {
            return Err(format!(
                "the same command again fails: {again}\n--- first: {first}"
            ));
        };
        self.becomes(&self.after[index])
            .map_err(|difference| format!("{difference}--- first: {}", first))?;
        if trial.phase != Phase::Down {
            let down = self.run(Phase::Down, None);
            let End::Exit(0, ..) = down else {
                return Err(format!("down fails: {}", down));
            };
        }
        let audit = self.world.run(&["audit", "--sandbox"]);
        match audit.code() {
            0 => Ok(true),
            code => Err(format!("audit ends with {code}: {}", audit.stdout())),
        }
    }

    /// Waits until the state is that one; the difference if it does not become so.
    fn becomes(&self, wanted: &Everything) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let now = Everything::of(&self.world);
            if now.as_ref() == Some(wanted) {
                return Ok(());
            }
            if began.elapsed() > SETTLING {
                let difference = now.map(|now| wanted.difference(&now));
                return Err(format!(
                    "another state than without the fault:\n{}{}\n",
                    difference.unwrap_or_else(|| "it cannot be read\n".into()),
                    self.world.account()
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// What is wrong with how a run ended that somebody interrupted.
fn wrong_end(trial: &Trial, end: &End) -> Option<String> {
    let End::Exit(code, said, took) = end else {
        return Some("it was killed".into());
    };
    if *code == 0 && trial.blow == Blow::Interrupt {
        // All that was left to do was under way.
        return None;
    }
    if *code != 130 {
        return Some(format!("exit {code} and not 130"));
    }
    if trial.blow == Blow::Stop && *took > Duration::from_secs(10) {
        return Some(format!("it stops only after {} s", took.as_secs()));
    }
    let next = match trial.phase {
        Phase::Up => &["`meshctl up --sandbox`"][..],
        Phase::Down => &["`meshctl down --sandbox`", "`meshctl audit --sandbox`"],
        Phase::Canary | Phase::Promote => {
            &["run the same command again", "`meshctl canary status`"]
        }
    };
    let mut hints = said.lines().filter(|line| line.contains("hint:"));
    let is_told = hints.any(|line| next.iter().any(|next| line.contains(next)));
    (!is_told).then(|| "it does not say the next command".into())
}

/// Every call that changes something, with everything that is done to it.
fn trials(calls: &[(Phase, Vec<String>)]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (phase, calls) in calls {
        let mut counts: BTreeMap<&String, u64> = BTreeMap::new();
        for call in calls {
            let nth = counts.entry(call).or_default();
            *nth += 1;
            for blow in Blow::ALL {
                trials.push(Trial {
                    phase: *phase,
                    call: call.clone(),
                    nth: *nth,
                    blow,
                });
            }
        }
    }
    trials
}

/// A fixed part: some calls of each phase, spread over it, each with another blow.
fn part(trials: &[Trial]) -> Vec<Trial> {
    let mut chosen = Vec::new();
    for (signals, counts) in [
        (
            false,
            [(Phase::Up, 5), (Phase::Canary, 1), (Phase::Down, 3)],
        ),
        (
            true,
            [(Phase::Up, 2), (Phase::Promote, 1), (Phase::Down, 2)],
        ),
    ] {
        for (phase, count) in counts {
            let of_phase: Vec<&Trial> = trials
                .iter()
                .filter(|trial| trial.phase == phase && trial.blow.is_signal() == signals)
                .collect();
            let blows = if signals { 2 } else { 3 };
            for number in 0..count {
                let call = (2 * number + 1) * (of_phase.len() / blows) / (2 * count);
                chosen.push(of_phase[blows * call + (number + count) % blows].clone());
            }
        }
    }
    chosen
}

#[expect(clippy::print_stderr, reason = "half an hour wants to be followed")]
#[test]
fn what_is_interrupted_at_any_call_converges_and_leaves_nothing() {
    let wanted = std::env::var("MESHCTL_SCHEDULE").unwrap_or_default();
    let (bench, calls) = Bench::new();
    for (phase, calls) in &calls {
        assert!(!calls.is_empty(), "{} changes something", phase.name());
    }
    let all = trials(&calls);
    let trials = match wanted.as_str() {
        "" => part(&all),
        "all" => all
            .into_iter()
            .filter(|trial| !trial.blow.is_signal())
            .collect(),
        "signals" => all
            .into_iter()
            .filter(|trial| trial.blow.is_signal())
            .collect(),
        begin => all
            .into_iter()
            .filter(|trial| trial.to_string().starts_with(begin))
            .collect(),
    };
    let (total, began) = (trials.len(), Instant::now());
    let workers = std::thread::available_parallelism()
        .map_or(1, |cores| cores.get())
        .min(total);
    let queue = Mutex::new(trials.into_iter().collect::<VecDeque<_>>());
    let (failed, missed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let done = AtomicUsize::new(0);
    let work = |bench: Bench| {
        loop {
            let Some(trial) = queue.lock().unwrap().pop_front() else {
                break;
            };
            let started = Instant::now();
            let mut outcome = Ok(false);
            // Steps run side by side: that often a run did not make as many calls of a name as the first one.
            for _ in 0..2 {
                outcome = bench.attempt(&trial);
                bench.stop();
                if outcome != Ok(false) {
                    break;
                }
            }
            let line = match &outcome {
                Ok(true) => "converges".to_owned(),
                Ok(false) => "is not reached".to_owned(),
                Err(reason) => format!("FAILS: {reason}"),
            };
            let number = 1 + done.fetch_add(1, Ordering::Relaxed);
            eprintln!(
                "{number} of {total}: {trial} {line} ({:.1} s)",
                started.elapsed().as_secs_f64()
            );
            match outcome {
                Ok(true) => {}
                Ok(false) => missed.lock().unwrap().push(trial.to_string()),
                Err(reason) => failed.lock().unwrap().push(format!("{trial}: {reason}")),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| work(Bench::new().0));
        }
        work(bench);
    });
    let (failed, missed) = (failed.into_inner().unwrap(), missed.into_inner().unwrap());
    eprintln!(
        "{total} trials, {} not reached, {} failed, {:.0} s",
        missed.len(),
        failed.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(
        failed.is_empty(),
        "{} of {total}:\n{}",
        failed.len(),
        failed.join("\n\n")
    );
    assert!(20 * missed.len() <= total, "not reached: {missed:#?}");
}
