//! Runs commands as a person does, and does to them what a rule of faults asks for once it has struck.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::World;
use crate::wire::Sandbox;

/// How much faster than real time.
pub const SPEED: &str = "20000";
/// How long one command may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// What is done to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Refused, and nothing is done.
    Error,
    /// Done, and the answer lost with the connection.
    Lost,
    /// Done, and the tool killed before it knows.
    Kill,
    /// Done slowly, and a person asks the tool to stop meanwhile.
    Interrupt,
    /// Done, with no answer, and a person presses Ctrl-C until the tool ends.
    Stop,
}

impl Blow {
    /// All of them.
    pub const ALL: [Blow; 5] = [
        Blow::Error,
        Blow::Lost,
        Blow::Kill,
        Blow::Interrupt,
        Blow::Stop,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Blow::Error => "denied",
            Blow::Lost => "lost",
            Blow::Kill => "killed",
            Blow::Interrupt => "interrupted",
            Blow::Stop => "stopped",
        }
    }

    /// What a rule makes of the call.
    pub fn kind(self) -> &'static str {
        match self {
            Blow::Error => "denied",
            Blow::Lost => "lost",
            Blow::Interrupt => "slow",
            Blow::Kill | Blow::Stop => "unanswered",
        }
    }

    /// Whether it comes from a person at the keyboard.
    pub fn is_signal(self) -> bool {
        matches!(self, Blow::Interrupt | Blow::Stop)
    }
}

/// How a command ended.
#[derive(Debug)]
pub enum End {
    /// By itself: its code, what it said, and how long after the first Ctrl-C.
    Exit(i32, String, Duration),
    /// Not by itself.
    Killed,
    /// Not within four minutes; what it said, and how things stand.
    Endless(String),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Exit(code, said, _) => write!(f, "exit {code}\n{said}"),
            End::Killed => f.write_str("killed"),
            End::Endless(said) => write!(f, "no end after {} s\n{said}", PATIENCE.as_secs()),
        }
    }
}

/// Starts a world's sandbox.
pub fn start(world: &World) {
    let start = ["sandbox", "start", "--speed", SPEED, "--no-data-plane"];
    world.run(&start).succeeds();
}

/// Asks the sandbox itself.
pub fn control(world: &World, method: &str, what: &str, body: &Value) -> Value {
    Sandbox::of(world).control(method, what, body)
}

/// Adds a rule; its number.
pub fn add_fault(world: &World, rule: &Value) -> u64 {
    control(world, "POST", "faults", rule)["id"]
        .as_u64()
        .unwrap()
}

/// Takes all rules away.
pub fn clear_faults(world: &World) {
    control(world, "DELETE", "faults", &json!([]));
}

/// Whether a rule has struck.
pub fn has_struck(world: &World, rule: u64) -> bool {
    let rules = control(world, "GET", "faults", &Value::Null);
    let mut rules = rules.as_array().unwrap().iter();
    rules.any(|known| known["id"] == rule && known["struck"].as_u64() > Some(0))
}

/// Runs a command; it gets a blow once a rule has struck, and is ended, as if by itself, as soon as it is `enough`.
pub fn run(
    world: &World,
    arguments: &[&str],
    blow: Option<(u64, Blow)>,
    enough: Option<&dyn Fn() -> bool>,
) -> End {
    let output = world.path().join("output");
    let file = std::fs::File::create(&output).unwrap();
    let mut child = world
        .command(arguments)
        .stdout(Stdio::from(file.try_clone().unwrap()))
        .stderr(Stdio::from(file))
        .spawn()
        .unwrap();
    let began = Instant::now();
    // When Ctrl-C was pressed first and last.
    let mut signalled = None::<(Instant, Instant)>;
    let said = || std::fs::read_to_string(&output).unwrap_or_default();
    let kill = |child: &mut Child| {
        child.kill().unwrap();
        child.wait().unwrap();
    };
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let since = signalled.map_or(Duration::ZERO, |(first, _)| first.elapsed());
            return End::Exit(status.code().unwrap_or(-1), said(), since);
        }
        match blow {
            Some((rule, Blow::Kill)) if has_struck(world, rule) => {
                kill(&mut child);
                return End::Killed;
            }
            Some((rule, blow)) if blow.is_signal() && has_struck(world, rule) => {
                let is_due = match signalled {
                    None => true,
                    Some((_, last)) => {
                        blow == Blow::Stop && last.elapsed() > Duration::from_millis(300)
                    }
                };
                if is_due {
                    interrupt(&child);
                    let now = Instant::now();
                    signalled = Some((signalled.map_or(now, |(first, _)| first), now));
                }
            }
            _ => {}
        }
        if enough.is_some_and(|enough| enough()) {
            kill(&mut child);
            return End::Exit(0, said(), Duration::ZERO);
        }
        if began.elapsed() >= PATIENCE {
            let stands = [said(), world.account()].join("\n");
            kill(&mut child);
            return End::Endless(stands);
        }
        std::thread::sleep(Duration::from_millis(match enough {
            // Asking is a command of its own.
            Some(_) => 300,
            None => 20,
        }));
    }
}

/// The weight of a service's second version, once the mesh has taken it.
pub fn weight(world: &World, service: &str) -> Option<u64> {
    let status = world.run(&[
        "canary",
        "status",
        "--sandbox",
        "--service",
        service,
        "--output",
        "json",
    ]);
    let lines = status.stdout();
    let line = lines
        .lines()
        .find(|line| line.contains("\"canary-status\""))?;
    let status: Value = serde_json::from_str(line).ok()?;
    let status = &status["status"];
    (status["settled"] == true).then(|| status["versions"][1]["weight"].as_u64())?
}

/// Ctrl-C.
fn interrupt(child: &Child) {
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}
