//! What a user is told before anything is touched: wrong arguments, wrong files, wrong places.

use crate::harness::World;

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
