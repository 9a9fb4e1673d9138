//! Generated files are committed; this regenerates and compares them. To write them: MESHCTL_REGENERATE=1 cargo test
//! generated.

use std::path::Path;

use clap_complete::Shell;
use meshctl::cli::{Exit, command};
use meshctl::sandbox::aws;

fn check(path: &str, wanted: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("MESHCTL_REGENERATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, wanted).unwrap();
        return;
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == wanted,
        "{path} is not what the code says; run MESHCTL_REGENERATE=1 cargo test generated"
    );
}

#[test]
fn completions() {
    for (shell, file) in [
        (Shell::Bash, "meshctl.bash"),
        (Shell::Zsh, "_meshctl"),
        (Shell::Fish, "meshctl.fish"),
        (Shell::Elvish, "meshctl.elv"),
        (Shell::PowerShell, "_meshctl.ps1"),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command(), "meshctl", &mut script);
        check(
            &format!("completions/{file}"),
            &String::from_utf8(script).unwrap(),
        );
    }
}

#[test]
fn json_schema() {
    check(
        "docs/meshctl.schema.json",
        &format!("{:#}\n", meshctl::config::json_schema()),
    );
}

#[test]
fn exit_codes() {
    let mut text = String::from(
        "# Exit codes\n\n<!-- Generated from src/cli/exit.rs. -->\n\nEvery command ends with one of these.\n\n| Code | Meaning |\n|---:|---|\n",
    );
    for exit in Exit::ALL {
        text += &format!("| {} | {} |\n", exit.code(), exit.meaning());
    }
    text += "\nWhere several failures meet in one run, the first one's code counts; an interruption counts before them.\n";
    check("docs/exit-codes.md", &text);
}

/// The table of the sandbox's AWS operations, which is a part of a page written by hand.
#[test]
fn operations() {
    let path = "docs/sandbox.md";
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (start, end) = ("<!-- operations: generated -->\n", "<!-- /operations -->");
    let (before, rest) = page.split_once(start).expect("the table's beginning");
    let (_, after) = rest.split_once(end).expect("the table's end");
    let mut table = String::from("| Service | Operations |\n|---|---|\n");
    for service in aws::services() {
        let names = aws::operation_names(*service);
        table += &format!(
            "| {} ({}) | {} |\n",
            service.signing_name(),
            names.len(),
            names.join(", ")
        );
    }
    check(path, &format!("{before}{start}{table}{end}{after}"));
}

#[test]
fn command_reference() {
    let mut root = command().term_width(100);
    root.build();
    let mut text =
        String::from("# Commands\n\n<!-- Generated from the command line's own help. -->\n\n");
    describe(&mut root, "meshctl", &mut text);
    check("docs/commands.md", &text);
}

fn describe(command: &mut clap::Command, path: &str, text: &mut String) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    *text += &format!(
        "## {path}\n\n```text\n{}\n```\n\n",
        help.join("\n").trim_end()
    );
    let subcommands: Vec<String> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| sub.get_name().to_string())
        .collect();
    for name in subcommands.iter().filter(|name| *name != "help") {
        let sub = command.find_subcommand_mut(name).unwrap();
        describe(sub, &format!("{path} {name}"), text);
    }
}
