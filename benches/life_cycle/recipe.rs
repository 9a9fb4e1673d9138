//! `up` against the same environment made by a serial script with the aws CLI and kubectl, at the same modelled durations.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::Bench;
use crate::{NOTHING_TO_DO, Timed, median, row, seconds};

/// What the scripts need, beside bash and the usual.
const TOOLS: [&str; 5] = ["aws", "kubectl", "skopeo", "jq", "curl"];
/// Modelled time passes this many times faster. The script's own minute differs by seconds from run to run, and covers what
/// goes on beside it: the faster modelled time passes, the less can be seen of it.
const SPEEDS: [f64; 2] = [5.0, 20.0];
/// How long the script pauses where no tool has a wait, in modelled seconds.
const PAUSE: f64 = 5.0;
/// Services whose waits of the aws CLI the script uses.
const WAITS: [&str; 3] = ["cloudformation", "eks", "elbv2"];

/// Prints a row for each figure.
pub fn measure() {
    let missing: Vec<&str> = TOOLS
        .into_iter()
        .filter(|tool| which(tool).is_none())
        .collect();
    if !missing.is_empty() {
        eprintln!(
            "not on PATH: {}. docs/benchmarks.md says where they come from",
            missing.join(", ")
        );
        std::process::exit(1);
    }
    let bench = Bench::new();
    let gathered = bench.folder.path().join("gathered");
    let mut up = Timed::new("`up` from nothing");
    let mut again = Timed::new(NOTHING_TO_DO);
    let mut by_script = Timed::new("the script from nothing");
    for speed in SPEEDS {
        bench.restart(speed);
        up.took(speed, bench.run(&["up", "--sandbox"]).1);
        bench.nothing_to_do(speed, &mut again);
        if !gathered.is_dir() {
            script(&bench, "gather.sh", &[&gathered], speed);
        }
        bench.restart(speed);
        by_script.took(speed, by_hand(&bench, &gathered, speed));
        // The same environment: meshctl would change nothing about it.
        bench.run(&["plan", "--sandbox"]);
    }
    let before = bench.calls();
    // It waits for nothing that passes with the modelled clock: at every speed it takes as long.
    let rerun = median((0..3).map(|_| by_hand(&bench, &gathered, SPEEDS[1])));
    row(
        "the script with nothing to do (median of 3)",
        seconds(rerun),
    );
    row("its AWS calls", ((bench.calls() - before) / 3).to_string());

    let (up, by_script) = (up.in_real_time(), by_script.in_real_time());
    row(
        "the script ÷ `up`, from nothing, in real time",
        format!("{:.2}", by_script / up),
    );
    let rerun = rerun.as_secs_f64();
    for (speed, again) in &again.runs {
        row(
            &format!("the script ÷ `up`, with nothing to do, at speed {speed}"),
            format!("{:.0}", rerun / again),
        );
    }
    row(
        "the script ÷ `up`, with nothing to do, in real time",
        format!("{:.1}", rerun / again.in_real_time()),
    );
}

fn which(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

fn by_hand(bench: &Bench, gathered: &Path, speed: f64) -> Duration {
    let stacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks");
    script(bench, "up.sh", &[&stacks, gathered], speed)
}

fn script(bench: &Bench, name: &str, arguments: &[&Path], speed: f64) -> Duration {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/life_cycle/recipe");
    let home = bench.folder.path();
    let mut command = Command::new("bash");
    command
        .arg(scripts.join(name))
        .args(arguments)
        .current_dir(home)
        .stdin(Stdio::null())
        .env("PAUSE", (PAUSE / speed).to_string())
        .env("AWS_DATA_PATH", waits(bench, speed))
        // Nothing of the caller's own set-up takes part.
        .env("HOME", home)
        .env("AWS_CONFIG_FILE", home.join("aws-config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", home.join("aws-credentials"))
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN");
    let (output, _) = bench.run(&["sandbox", "env"]);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let setting = line
            .strip_prefix("export ")
            .and_then(|setting| setting.split_once('='));
        let (name, value) = setting.expect("a setting");
        command.env(name, value.trim_matches('\''));
    }
    let began = Instant::now();
    let output = command.output().expect("bash runs");
    let took = began.elapsed();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    took
}

/// The aws CLI's own waits with their pauses shortened by the speed, as a folder for `AWS_DATA_PATH`: what they wait for
/// passes so much faster.
fn waits(bench: &Bench, speed: f64) -> PathBuf {
    let folder = bench.folder.path().join(format!("waits-{speed}"));
    if folder.is_dir() {
        return folder;
    }
    for service in WAITS {
        let models = models().join(service);
        let versions = std::fs::read_dir(&models).expect("the models of the aws CLI");
        let version = versions
            .map(|entry| entry.expect("an entry").file_name())
            .max()
            .expect("a version");
        let text = std::fs::read(models.join(&version).join("waiters-2.json")).expect("its waits");
        let mut waits: Value = serde_json::from_slice(&text).expect("JSON");
        for (_, wait) in waits["waiters"].as_object_mut().expect("waits") {
            wait["delay"] = (wait["delay"].as_f64().expect("a pause") / speed).into();
        }
        let target = folder.join(service).join(version);
        std::fs::create_dir_all(&target).expect("a folder");
        std::fs::write(target.join("waiters-2.json"), waits.to_string()).expect("a file");
    }
    folder
}

/// Where the aws CLI has its models: in botocore, beside the Python that runs it.
fn models() -> PathBuf {
    let text = std::fs::read_to_string(which("aws").expect("on PATH"))
        .expect("the aws CLI of a Python package");
    let python = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("#!"))
        .expect("a Python script");
    let code =
        "import botocore, os; print(os.path.join(os.path.dirname(botocore.__file__), 'data'))";
    let output = Command::new(python)
        .args(["-c", code])
        .output()
        .expect("Python runs");
    String::from_utf8_lossy(&output.stdout).trim().into()
}
