//! What a user is told about a wrong `meshctl.yaml`.

use std::path::Path;

use meshctl::config::{DEFAULT_FILE, Environment};
use proptest::prelude::*;

fn mistakes(text: &str) -> String {
    match Environment::parse(text, "meshctl.yaml", Path::new("")) {
        Ok(_) => "accepted".into(),
        Err(invalid) => invalid.to_string(),
    }
}

/// The default file with one piece of text replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(
        DEFAULT_FILE.contains(from),
        "{from:?} is in the default file"
    );
    DEFAULT_FILE.replacen(from, to, 1)
}

#[test]
fn the_default_file_is_the_demo() {
    let demo = Environment::demo();
    assert_eq!(
        demo.services.keys().collect::<Vec<_>>(),
        ["backend", "database", "frontend"]
    );
    let backend = &demo.services["backend"];
    assert_eq!(
        backend
            .versions
            .iter()
            .map(|v| (v.name.as_str(), v.weight))
            .collect::<Vec<_>>(),
        [("v1", 100), ("v2", 0)]
    );
}

#[test]
fn what_is_commented_out_in_the_default_file_is_the_default() {
    let uncommented: String = DEFAULT_FILE
        .lines()
        .filter(|line| {
            !line.starts_with("# A ")
                && !line.starts_with("# E")
                && !line.starts_with("# S")
                && !line.starts_with("# s")
                && !line.starts_with("# T")
        })
        .map(|line| match line.trim_start().strip_prefix("# ") {
            Some(rest) if !rest.starts_with("env:") => {
                format!("{}{rest}\n", &line[..line.len() - line.trim_start().len()])
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let mut all = Environment::parse(&uncommented, "meshctl.yaml", Path::new(""))
        .unwrap_or_else(|e| panic!("{e}\n{uncommented}"));
    assert_eq!(all.images.mirrors.len(), 1, "the example is read");
    all.images.mirrors.clear();
    assert_eq!(
        all.cluster.version.take().as_deref(),
        Some("1.35"),
        "the example is read"
    );
    assert_eq!(std::mem::take(&mut all.region), "us-west-2");
    assert_eq!(all.ingress.port.take(), Some(80));
    assert_eq!(all, Environment::demo());
}

#[test]
fn an_unknown_field_is_refused_with_its_place_and_what_was_meant() {
    insta::assert_snapshot!(mistakes(&changed("weight: 100", "wieght: 100")));
}

#[test]
fn weights_outside_the_scale_are_refused() {
    for weight in ["101", "-1", ".nan", "12.5", ".inf"] {
        let told = mistakes(&changed("weight: 100", &format!("weight: {weight}")));
        assert!(
            told.contains("is not a whole number from 0 to 100"),
            "{told}"
        );
        assert!(told.starts_with("meshctl.yaml:54:17: "), "{told}");
    }
    insta::assert_snapshot!(mistakes(&changed("weight: 100", "weight: 101")));
}

#[test]
fn weights_must_add_up() {
    insta::assert_snapshot!(mistakes(&changed("weight: 100", "weight: 80")));
}

#[test]
fn dangling_routes_duplicate_services_and_bad_names_are_all_told_at_once() {
    let text = changed("backends: [database]", "backends: [databse]")
        .replacen("service: frontend", "service: frontent", 1)
        .replacen("name: demo", "name: Demo", 1)
        .replacen("- name: database", "- name: frontend", 1);
    insta::assert_snapshot!(mistakes(&text));
}

#[test]
fn a_service_says_exactly_one_thing_to_run() {
    insta::assert_snapshot!(mistakes(&changed(
        "demo: frontend",
        "demo: frontend\n    image: nginx"
    )));
    assert!(
        mistakes(&changed("    demo: frontend\n", ""))
            .contains("nothing says what `frontend` runs")
    );
    assert!(
        mistakes(&changed("demo: frontend", "demo: fronted")).contains("there is no demo service")
    );
    assert!(mistakes(&changed("demo: frontend", "path: /nowhere")).contains("no main.py"));
}

#[test]
fn networks_and_numbers_are_checked() {
    let with = |section: &str| mistakes(&format!("{DEFAULT_FILE}\n{section}\n"));
    assert!(with("network: {cidr: 8.8.0.0/16}").contains("not a private range"));
    assert!(with("network: {cidr: 10.42.0.0/24}").contains("not between /16 and /20"));
    assert!(with("network: {cidr: 10.100.0.0/16}").contains("EKS uses"));
    assert!(with("network: {cidr: 10.42.0.1/16}").contains("not an IPv4 range"));
    assert!(
        with("cluster: {version: 1.35}").contains("expected")
            || with("cluster: {version: \"2.1\"}").contains("not a Kubernetes version")
    );
    assert!(with("cluster: {nodes: {min: 3, desired: 1}}").contains("does not hold"));
    assert!(with("tracing: {samplingRate: .nan}").contains("not between 0 and 1"));
    assert!(mistakes(&changed("port: 8080", "port: 15001")).contains("sidecar"));
    assert!(mistakes(&changed("port: 8080", "port: 0")).contains("not a port"));
}

#[test]
fn text_that_is_no_yaml_is_refused_with_its_place() {
    for text in [
        "services: [",
        "\t- a",
        "a: b: c",
        "- just\n- a list\n",
        "",
        "name: &a [*a]",
        "%TAG ! !",
    ] {
        let told = mistakes(text);
        assert!(told.starts_with("meshctl.yaml"), "{text:?}: {told}");
        assert_ne!(told, "accepted");
    }
}

#[test]
fn a_yaml_bomb_is_refused_quickly() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    assert_ne!(mistakes(&bomb), "accepted");
}

#[test]
fn a_file_that_is_not_there_is_told_with_the_next_command() {
    let told = Environment::load(Path::new("/nonexistent/meshctl.yaml"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        told,
        "/nonexistent/meshctl.yaml: there is no such file\n  hint: write one with `meshctl init`, or leave `-f` out for the demo"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,300}") {
        let _ = Environment::parse(&text, "meshctl.yaml", Path::new(""));
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(at in any::<prop::sample::Index>(), junk in "[\\x00-\\x7f]{0,4}") {
        let mut text = DEFAULT_FILE.to_string();
        let mut at = at.index(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, &junk);
        let _ = Environment::parse(&text, "meshctl.yaml", Path::new(""));
    }
}
