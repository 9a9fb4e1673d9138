//! Random environments under random faults, killed at random: a seed makes an environment, what goes wrong during `up`, a
//! canary and `down`, and when the tool is killed. Whatever happened, once nothing goes wrong any more the same commands
//! end well: `up` leaves nothing to do, the canary has its weight and `up` would not undo it, and after `down` the sandbox
//! holds what it held before.
//!
//! `cargo test` runs the first forty, and those that failed once. Others, with a line for each, in a file from which the
//! next run goes on:
//!
//! ```sh
//! MESHCTL_SEEDS=0..10000 MESHCTL_SEEDS_FILE=seeds.txt cargo test --release --test suite -- faults::seeds --nocapture
//! MESHCTL_SEEDS=4711 cargo test --test suite -- faults::seeds --nocapture
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use super::drive::{self, Blow, End};
use super::state::Everything;
use crate::harness::World;
use crate::wire::Sandbox;

/// How many `cargo test` runs.
const USUAL: u64 = 40;
/// Later ones that failed once, which it runs too.
const ONCE_FAILED: [u64; 1] = [451];
/// How long cases are tried to make a failing one smaller.
const SHRINKING: Duration = Duration::from_secs(300);
/// How long a state may take to become what it is to be.
const SETTLING: Duration = Duration::from_secs(60);

/// What goes wrong during one command.
#[derive(Clone, Debug, Default, PartialEq)]
struct Trouble {
    /// Rules of faults.
    rules: Vec<Value>,
    /// The call after which the tool is killed, counted from the command's beginning.
    kill: Option<u64>,
}

/// All that a seed decides.
#[derive(Clone, Debug, PartialEq)]
struct Case {
    environment: Value,
    /// What happens during each `up`.
    ups: Vec<Trouble>,
    /// Whether an `up` without trouble comes then, and the rest of a life.
    lives: bool,
    /// The service and the weight of its second version.
    canary: Option<(String, u64, Trouble)>,
    /// What happens during each `down` but the last.
    downs: Vec<Trouble>,
}

fn pick<'a, T>(random: &mut Rng, from: &'a [T]) -> &'a T {
    &from[random.usize(..from.len())]
}

/// An environment that `meshctl.yaml` allows. Its services call one another without circles.
fn environment(random: &mut Rng) -> Value {
    let count = random.usize(1..=4);
    let names: Vec<String> = (0..count)
        .map(|index| format!("{}-{index}", pick(random, &["shop", "cart", "a", "users"])))
        .collect();
    let services: Vec<Value> = (0..count)
        .map(|index| {
            let backends: Vec<&String> = names[index + 1..]
                .iter()
                .filter(|_| random.bool())
                .collect();
            let mut rest = 100;
            let versions: Vec<Value> = (1..=random.usize(1..=3))
                .map(|version| {
                    let weight = match version {
                        1 => None,
                        _ => Some(random.u64(0..=rest / 2)),
                    };
                    rest -= weight.unwrap_or_default();
                    let mut written =
                        json!({"name": format!("v{version}"), "replicas": random.i32(0..=2)});
                    if let Some(weight) = weight {
                        written["weight"] = weight.into();
                    }
                    if random.bool() {
                        written["env"] = json!({"COLOUR": pick(random, &["red", "green"])});
                    }
                    written
                })
                .collect();
            json!({
                "name": names[index],
                "port": random.u32(1024..9000),
                "demo": pick(random, &["frontend", "backend", "database"]),
                "backends": backends,
                "versions": versions,
                "retries": random.u32(0..=10),
                "timeoutMillis": random.u32(100..=300_000),
            })
        })
        .collect();
    let logging: Vec<&str> = ["api", "audit", "scheduler"]
        .into_iter()
        .filter(|_| random.bool())
        .collect();
    json!({
        "name": pick(random, &["demo", "e", "blue-green", "twenty-letters-long0"]),
        "namespace": pick(random, &["demo", "shop"]),
        "mesh": {"egress": pick(random, &["drop-all", "allow-all"])},
        "network": {
            "cidr": pick(random, &["10.42.0.0/16", "10.7.16.0/20", "192.168.0.0/18"]),
            "nat": pick(random, &["single", "per-zone"]),
        },
        "cluster": {
            "logging": logging,
            "logRetentionDays": pick(random, &[1, 7, 365]),
            "nodes": {"instanceTypes": ["m5.xlarge"], "desired": random.u32(2..=3), "min": random.u32(0..=1), "max": 4},
        },
        "services": services,
        "ingress": {"service": names[0], "port": 8080, "internal": random.bool()},
        "tracing": {"xray": random.bool(), "samplingRate": random.f64()},
    })
}

/// What fails later, when asked to.
const FAILING: &[&str] = &[
    "cloudformation:CreateStack",
    "cloudformation:DeleteStack",
    "eks:CreateNodegroup",
    "eks:DeleteNodegroup",
    "eks:CreateCluster",
    "eks:CreateAddon",
    "eks:DeleteAddon",
    "elasticloadbalancing:CreateLoadBalancer",
];

/// Whose calls go wrong otherwise.
const CALLS: &[&str] = &[
    "*",
    "cloudformation:*",
    "ec2:*",
    "ecr:*",
    "eks:*",
    "iam:*",
    "appmesh:*",
    "logs:*",
    "elasticloadbalancing:*",
    "registry:*:*",
    "kubernetes:*:*",
    "kubernetes:get:*",
    "kubernetes:list:*",
    "kubernetes:patch:*",
    "kubernetes:delete:*",
];

/// A rule of faults.
fn rule(random: &mut Rng) -> Value {
    let kind = *pick(
        random,
        &[
            "throttling",
            "throttling",
            "unavailable",
            "internal-error",
            "denied",
            "expired",
            "reset",
            "reset",
            "lost",
            "lost",
            "slow",
            "fails",
            "fails",
            "stale",
            "restart",
            "cut",
            "drop-upload",
        ],
    );
    let calls = match kind {
        "fails" => *pick(random, FAILING),
        "stale" => *pick(random, &["iam:*", "eks:*", "ec2:*", "appmesh:*"]),
        "restart" => "kubernetes:*:*",
        "cut" => "kubernetes:watch:*",
        "drop-upload" => *pick(random, &["registry:PATCH:uploads", "registry:PUT:uploads"]),
        _ => *pick(random, CALLS),
    };
    let mut rule = json!({"calls": calls, "kind": kind});
    let is_rare = matches!(kind, "fails" | "restart" | "drop-upload");
    if random.bool() || is_rare {
        rule["nth"] = random.u64(1..=if is_rare { 3 } else { 40 }).into();
        rule["count"] = random.u64(1..=if is_rare { 1 } else { 4 }).into();
    } else {
        rule["probability"] = (f64::from(random.u32(1..=25)) / 100.0).into();
        rule["seed"] = random.u64(..1000).into();
        rule["count"] = random.u64(1..=20).into();
    }
    if random.u8(..4) == 0 {
        rule["caller"] = (*pick(random, &["controllers", "any"])).into();
    }
    if matches!(kind, "slow" | "stale" | "restart" | "cut") {
        rule["seconds"] = (f64::from(random.u32(1..=15)) / 10.0).into();
    }
    rule
}

/// What goes wrong during a command that makes about so many calls.
fn trouble(random: &mut Rng, calls: u64) -> Trouble {
    Trouble {
        rules: (0..random.usize(0..=4)).map(|_| rule(random)).collect(),
        kill: random.bool().then(|| random.u64(1..=calls)),
    }
}

impl Case {
    fn of(seed: u64) -> Case {
        let random = &mut Rng::with_seed(seed);
        let environment = environment(random);
        let services = environment["services"].as_array().unwrap();
        // The split is the callers': the load balancer, which is none, reaches the pods themselves.
        let is_called = |name: &Value| {
            let mut lists = services
                .iter()
                .map(|service| service["backends"].as_array().unwrap());
            lists.any(|backends| backends.contains(name))
        };
        let candidates: Vec<&Value> = services
            .iter()
            .filter(|service| {
                let versions = service["versions"].as_array().unwrap();
                let has_pods = versions.iter().all(|version| version["replicas"] != 0);
                is_called(&service["name"]) && versions.len() == 2 && has_pods
            })
            .collect();
        let canary = (!candidates.is_empty()).then(|| {
            let service = pick(random, &candidates)["name"].as_str().unwrap();
            (service.to_owned(), random.u64(0..=100), trouble(random, 60))
        });
        Case {
            ups: (0..random.usize(1..=2))
                .map(|_| trouble(random, 400))
                .collect(),
            lives: random.u8(..4) > 0,
            canary,
            downs: (0..random.usize(0..=2))
                .map(|_| trouble(random, 300))
                .collect(),
            environment,
        }
    }

    /// Each case that has one trouble less.
    fn smaller(&self) -> Vec<Case> {
        let mut smaller = Vec::new();
        let mut offer = |change: &dyn Fn(&mut Case)| {
            let mut case = self.clone();
            change(&mut case);
            if case != *self {
                smaller.push(case);
            }
        };
        offer(&|case| case.canary = None);
        for command in 0..self.ups.len().saturating_sub(1) {
            offer(&|case| drop(case.ups.remove(command)));
        }
        for command in 0..self.downs.len() {
            offer(&|case| drop(case.downs.remove(command)));
        }
        for command in 0..self.troubles().count() {
            offer(&|case| case.troubles_mut()[command].kill = None);
            offer(&|case| case.troubles_mut()[command].rules.clear());
            for rule in 0..self.troubles().nth(command).unwrap().rules.len() {
                offer(&|case| drop(case.troubles_mut()[command].rules.remove(rule)));
            }
        }
        smaller
    }

    fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        let canary = self.canary.iter().map(|(.., trouble)| trouble);
        self.ups.iter().chain(canary).chain(&self.downs)
    }

    fn troubles_mut(&mut self) -> Vec<&mut Trouble> {
        let canary = self.canary.iter_mut().map(|(.., trouble)| trouble);
        self.ups
            .iter_mut()
            .chain(canary)
            .chain(&mut self.downs)
            .collect()
    }
}

/// A world in which a case happens.
struct Life {
    world: World,
}

impl Life {
    /// Runs a command while something goes wrong. It may fail, but not badly.
    fn suffer(
        &self,
        arguments: &[&str],
        trouble: &Trouble,
        enough: Option<&dyn Fn() -> bool>,
    ) -> Result<End, String> {
        for rule in &trouble.rules {
            drive::add_fault(&self.world, rule);
        }
        let kill = trouble.kill.map(|nth| {
            let rule = json!({"calls": "*", "kind": "unanswered", "nth": nth});
            (drive::add_fault(&self.world, &rule), Blow::Kill)
        });
        let end = drive::run(&self.world, arguments, kill, enough);
        drive::clear_faults(&self.world);
        let wrong = match &end {
            End::Killed => None,
            End::Endless(_) => Some("it does not end"),
            End::Exit(_, said, _) if said.contains("panicked at") => Some("it panics"),
            End::Exit(0, ..) => None,
            End::Exit(code, ..) if !(1..=14).contains(code) && ![124, 130].contains(code) => {
                Some("an exit code that stands nowhere")
            }
            End::Exit(_, said, _) if !said.contains("hint:") && !said.contains("`meshctl ") => {
                Some("it does not say what to do")
            }
            End::Exit(..) => None,
        };
        match wrong {
            Some(wrong) => Err(format!(
                "{} under {trouble:?}: {wrong}: {end}",
                arguments[0]
            )),
            None => Ok(end),
        }
    }

    /// Runs a command that must end so.
    fn must(&self, arguments: &[&str], code: i32) -> Result<(), String> {
        match drive::run(&self.world, arguments, None, None) {
            End::Exit(ended, ..) if ended == code => Ok(()),
            end => Err(format!("{} without trouble: {end}", arguments.join(" "))),
        }
    }

    fn shifts(&self, service: &str, weight: u64, trouble: &Trouble) -> Result<(), String> {
        let percent = weight.to_string();
        let canary = [
            "canary",
            "--service",
            service,
            "--weight",
            &percent,
            "--sandbox",
        ];
        // Without a data plane nobody can measure what has been shifted, which the command would still try.
        let began = Instant::now();
        let is_late = || began.elapsed() > Duration::from_secs(10);
        self.suffer(&canary, trouble, Some(&is_late))?;
        let is_shifted = || drive::weight(&self.world, service) == Some(weight);
        match drive::run(&self.world, &canary, None, Some(&is_shifted)) {
            End::Exit(0, ..) => self
                .must(PLAN, 0)
                .map_err(|plan| format!("after the canary: {plan}")),
            end => Err(format!("the canary without trouble: {end}")),
        }
    }

    /// The whole life; the sandbox is running and empty.
    fn happens(&self, case: &Case) -> Result<(), String> {
        // The default VPC of a region is there once somebody looks, and written down once somebody changes something.
        let sandbox = Sandbox::of(&self.world);
        for call in [
            "CreateSecurityGroup&GroupDescription=passing",
            "DeleteSecurityGroup",
        ] {
            sandbox.query(
                "ec2",
                &format!("Version=2016-11-15&GroupName=passing&Action={call}"),
            );
        }
        self.world.run(&["sandbox", "stop"]).succeeds();
        let before = Everything::of(&self.world).ok_or("the empty state cannot be read")?;
        drive::start(&self.world);
        for trouble in &case.ups {
            if let End::Exit(0, ..) = self.suffer(UP, trouble, None)? {
                self.must(PLAN, 0)
                    .map_err(|plan| format!("after an up that ended well: {plan}"))?;
            }
        }
        if case.lives {
            self.must(UP, 0)?;
            self.must(PLAN, 0)?;
            if let Some((service, weight, trouble)) = &case.canary {
                self.shifts(service, *weight, trouble)?;
            }
        }
        for trouble in &case.downs {
            if let End::Exit(0, ..) = self.suffer(DOWN, trouble, None)? {
                self.must(AUDIT, 0)
                    .map_err(|audit| format!("after a down that ended well: {audit}"))?;
            }
        }
        self.must(DOWN, 0)?;
        self.must(AUDIT, 0)?;
        // What the tool itself says of it is one thing, and what is there another.
        let began = Instant::now();
        loop {
            let after = Everything::of(&self.world);
            let left = after.map_or("a state that cannot be read".into(), |after| {
                before.gained(&after)
            });
            if left.is_empty() {
                return Ok(());
            }
            if began.elapsed() > SETTLING {
                return Err(format!("down leaves:\n{left}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

const UP: &[&str] = &["up", "--sandbox"];
const PLAN: &[&str] = &["plan", "--sandbox"];
const DOWN: &[&str] = &["down", "--sandbox", "--yes"];
const AUDIT: &[&str] = &["audit", "--sandbox"];

/// Lives through a case in a world of its own.
fn live(case: &Case) -> Result<(), String> {
    let life = Life {
        world: World::without_data_plane(),
    };
    let file = serde_json::to_string_pretty(&case.environment).unwrap();
    std::fs::write(life.world.path().join("meshctl.yaml"), file).unwrap();
    drive::start(&life.world);
    life.happens(case)
}

/// The smallest case found that still fails, and how.
fn shrink(mut case: Case, mut reason: String) -> (Case, String) {
    let began = Instant::now();
    'smaller: loop {
        for smaller in case.smaller() {
            if began.elapsed() > SHRINKING {
                break 'smaller;
            }
            if let Err(why) = live(&smaller) {
                (case, reason) = (smaller, why);
                continue 'smaller;
            }
        }
        break;
    }
    (case, reason)
}

/// The seeds that are asked for: `17` or `0..10000`.
fn wanted(text: &str) -> std::ops::Range<u64> {
    let number = |text: &str| {
        text.parse()
            .unwrap_or_else(|_| panic!("MESHCTL_SEEDS: `{text}` is not a number"))
    };
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(text)..number(text) + 1,
    }
}

#[expect(clippy::print_stderr, reason = "ten thousand want to be followed")]
#[test]
fn random_lives_under_random_faults_end_well() {
    let seeds: Vec<u64> = match std::env::var("MESHCTL_SEEDS") {
        Ok(text) => wanted(&text).collect(),
        Err(_) => (0..USUAL).chain(ONCE_FAILED).collect(),
    };
    let record = std::env::var_os("MESHCTL_SEEDS_FILE").map(|path| {
        let done = std::fs::read_to_string(&path).unwrap_or_default();
        let done: BTreeSet<u64> = done
            .lines()
            .filter_map(|line| line.strip_suffix(" ends well")?.parse().ok())
            .collect();
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        (done, Mutex::new(file.unwrap()))
    });
    let is_done = |seed: &u64| record.as_ref().is_some_and(|(done, _)| done.contains(seed));
    let queue: VecDeque<u64> = seeds.into_iter().filter(|seed| !is_done(seed)).collect();
    let (total, began) = (queue.len(), Instant::now());
    let (queue, failed) = (Mutex::new(queue), Mutex::new(Vec::new()));
    let work = || {
        while let Some(seed) = { queue.lock().unwrap().pop_front() } {
            let started = Instant::now();
            let case = Case::of(seed);
            let outcome = live(&case);
            let line = match &outcome {
                Ok(()) => format!("{seed} ends well"),
                Err(reason) => format!(
                    "{seed} FAILS: {}",
                    reason.lines().next().unwrap_or_default()
                ),
            };
            if let Some((_, file)) = &record {
                writeln!(file.lock().unwrap(), "{line}").unwrap();
            }
            let left = queue.lock().unwrap().len();
            eprintln!(
                "seed {line} ({:.1} s, {left} of {total} left)",
                started.elapsed().as_secs_f64()
            );
            if let Err(reason) = outcome {
                eprintln!("{case:?}\n{reason}\nmaking it smaller");
                let (case, reason) = shrink(case, reason);
                let failure = format!(
                    "MESHCTL_SEEDS={seed} cargo test --test suite -- faults::seeds --nocapture\n{case:?}\n{reason}"
                );
                eprintln!("{failure}");
                failed.lock().unwrap().push(failure);
            }
        }
    };
    // A life waits for a quarter of its time.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores + cores.div_ceil(2);
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    let failed = failed.into_inner().unwrap();
    eprintln!(
        "{total} seeds, {} failed, {:.0} s",
        failed.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
