//! Secrets stay where they belong: nothing that is said or logged holds one, and no file with one is for others to read.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Profile, Run, World};

/// What only secrets look like: EKS tokens, ServiceAccount tokens, presigned requests, headers, private keys.
const MARKS: [&str; 6] = [
    "k8s-aws-v1.",
    "eyJhbGciOi",
    "X-Amz-Signature=",
    "Bearer ",
    "Basic QVdT",
    "PRIVATE KEY",
];

#[test]
fn no_secret_is_said_logged_or_readable_by_others() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let session = world.assume_administrator();
    let mut said = String::new();
    let mut hear = |run: Run| {
        said.push_str(&run.stdout());
        said.push_str(&run.stderr());
    };
    for arguments in [
        &["up", "--verbose"][..],
        &["up", "--output", "json"],
        &["plan", "--output", "json"],
        &["status", "--output", "json"],
        &["doctor", "--verbose"],
        &["kubeconfig"],
        &["graph"],
        &["canary", "status", "--output", "json"],
        &["audit", "--output", "json"],
    ] {
        hear(world.run(&[arguments, &["--sandbox"]].concat()));
    }
    hear(world.run(&["sandbox", "status", "--output", "json"]));
    hear(world.run(&["sandbox", "logs"]));
    // As a session, and as somebody with a wrong secret: an error shows who, never with what.
    let Profile {
        endpoint,
        access_key_id,
        secret_access_key,
        ..
    } = world.profile();
    let wrong = "wrong-SecretThatNobodyMaySee0123456789abcd";
    for (key, secret, token) in [
        (
            &session.access_key_id,
            session.secret_access_key.as_str(),
            session.session_token.as_str(),
        ),
        (&session.access_key_id, wrong, &session.session_token),
        (&access_key_id, &secret_access_key, wrong),
        (&access_key_id, wrong, ""),
    ] {
        let mut command = world.command(&["status", "--verbose"]);
        command
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_REGION", "us-west-2")
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret);
        if !token.is_empty() {
            command.env("AWS_SESSION_TOKEN", token);
        }
        let output = command.output().unwrap();
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        said.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    let kubeconfig = world.path().join(".kube/config");
    assert_eq!(mode(&kubeconfig), 0o600);
    said.push_str(&std::fs::read_to_string(&kubeconfig).unwrap());
    // What the state holds is written by now.
    world.run(&["sandbox", "stop"]).succeeds();

    let files = files(&world.path().join("state"));
    let mut secrets = vec![wrong.to_owned(), session.secret_access_key];
    secrets.extend([session.session_token, secret_access_key]);
    secrets.extend(kept_secrets(&files));
    assert!(secrets.len() > 8, "so few secrets: {}", secrets.len());
    let shown = |text: &str| {
        let mut found = MARKS.map(str::to_owned).to_vec();
        found.extend(secrets.iter().cloned());
        found.retain(|secret| text.contains(secret.as_str()));
        found
    };
    assert!(said.contains("EKS"), "something was said");
    assert_eq!(shown(&said), Vec::<String>::new());
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        let shown = shown(&text);
        let is_log = file.extension().is_some_and(|extension| extension == "log");
        assert!(
            shown.is_empty() || (!is_log && is_private(&file, world.path())),
            "{} (mode {:o}) holds {shown:?}",
            file.display(),
            mode(&file)
        );
    }
}

/// The secrets among the state's values: those of access keys and sessions, and private keys.
fn kept_secrets(files: &[PathBuf]) -> Vec<String> {
    let mut secrets = Vec::new();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("key") => {
                let pem = std::fs::read_to_string(file).unwrap();
                secrets.extend(pem.lines().nth(1).map(str::to_owned));
            }
            Some("json") => {
                let text = std::fs::read(file).unwrap();
                if let Ok(value) = serde_json::from_slice(&text) {
                    gather(&value, &mut secrets);
                }
            }
            _ => {}
        }
    }
    secrets
}

fn gather(value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let is_secret = ["secret", "token", "secretAccessKey"].contains(&name.as_str());
                match member.as_str() {
                    Some(text) if is_secret && text.len() >= 20 => secrets.push(text.to_owned()),
                    _ => gather(member, secrets),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, secrets)),
        _ => {}
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Whether others are kept out of a file, or of a folder that it is in.
fn is_private(file: &Path, root: &Path) -> bool {
    file.ancestors()
        .take_while(|path| *path != root)
        .any(|path| mode(path) & 0o077 == 0)
}
