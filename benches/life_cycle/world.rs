//! A sandbox of its own and `meshctl` in it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A temporary folder with a sandbox, which ends with it.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Bench {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let named = std::env::var_os("MESHCTL").map(PathBuf::from);
        let program = named.unwrap_or_else(|| env!("CARGO_BIN_EXE_meshctl").into());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("MESHCTL_STATE_DIR", self.folder.path())
            // By default App Mesh ends at a hundred services of two versions.
            .env("MESHCTL_SANDBOX_APP_MESH_QUOTA", "5000")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> (Output, Duration) {
        let began = Instant::now();
        let output = self.command(arguments).output().expect("meshctl runs");
        let took = began.elapsed();
        assert!(
            output.status.success(),
            "meshctl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        (output, took)
    }

    /// A sandbox from nothing, whose modelled time passes that many times faster.
    pub fn restart(&self, speed: f64) {
        let speed = speed.to_string();
        self.run(&["sandbox", "reset"]);
        self.run(&["sandbox", "start", "--no-data-plane", "--speed", &speed]);
    }

    /// The NDJSON events of a run.
    pub fn events(&self, arguments: &[&str]) -> (Vec<Value>, Duration) {
        let (output, took) = self.run(&[arguments, &["--output", "json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let events = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        (events.collect(), took)
    }

    pub fn condition(&self) -> Value {
        let (events, _) = self.events(&["sandbox", "status"]);
        let condition = events
            .into_iter()
            .find(|event| event["event"] == "sandbox-condition");
        condition.expect("a condition")["condition"].clone()
    }

    /// Calls that meshctl itself has made so far; the controllers of the cluster make theirs under roles.
    pub fn calls(&self) -> u64 {
        let condition = self.condition();
        let callers = condition["calls"].as_object().expect("callers");
        let own = callers
            .iter()
            .filter(|(caller, _)| caller.contains(":user/"));
        own.flat_map(|(_, calls)| calls.as_object().expect("calls").values())
            .filter_map(Value::as_u64)
            .sum()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Runs after a failed assertion too: no process outlives the benchmark.
        let _ = self.command(&["sandbox", "reset"]).output();
    }
}

/// A process's memory in KiB, `VmRSS` or its highest, `VmHWM`, where the system says so.
pub fn memory(pid: u64, what: &str) -> Option<u64> {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).ok()?;
    let line = status.lines().find(|line| line.starts_with(what))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
