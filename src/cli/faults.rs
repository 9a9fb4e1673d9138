//! `meshctl sandbox faults`.

use std::path::Path;

use clap::Subcommand;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::Value;

use super::{Error, Exit};
use crate::config;
use crate::sandbox::control::{self, Profile};
use crate::sandbox::faults::{Callers, Kind, Rule, Wrong};
use crate::views::Printer;

/// Make calls to the sandbox fail on purpose
///
/// Rules are kept while the sandbox runs. docs/sandbox.md has the kinds of faults and examples.
#[derive(Debug, clap::Args)]
pub(super) struct Faults {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a rule
    Add(Box<Add>),
    /// List the rules, and how many calls each has seen and struck
    List,
    /// Remove rules
    Clear(Clear),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Which calls: SERVICE:OPERATION, kubernetes:VERB:RESOURCE or registry:METHOD:WHAT; `*` stands for anything
    calls: String,
    /// What goes wrong
    #[arg(value_parser = kinds())]
    kind: Kind,
    /// Whose calls are meant and counted
    #[arg(long, value_parser = callers(), default_value = "tool")]
    caller: Callers,
    /// The first of the calls that may be struck, counted from now
    #[arg(long, value_name = "N", default_value_t = 1)]
    nth: u64,
    /// How many calls are struck at most [default: 1, or without end when there is a probability]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How likely each of the calls is struck, above 0 and at most 1
    #[arg(long, value_name = "P")]
    probability: Option<f64>,
    /// Where the random numbers begin; the same seed strikes the same calls
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How long it takes, in real seconds, for kinds that take some
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
}

#[derive(Debug, clap::Args)]
struct Clear {
    /// The rules' ids [default: all]
    ids: Vec<u64>,
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    let names = Kind::ALL.map(|kind| PossibleValue::new(kind.name()).help(kind.meaning()));
    PossibleValuesParser::new(names).map(|name| {
        let mut kinds = Kind::ALL.into_iter();
        kinds
            .find(|kind| kind.name() == name)
            .expect("one of these names")
    })
}

fn callers() -> impl TypedValueParser<Value = Callers> {
    PossibleValuesParser::new([
        PossibleValue::new("tool").help("meshctl and other clients from outside"),
        PossibleValue::new("controllers")
            .help("what runs in the sandbox: controllers, kubelets, pods"),
        PossibleValue::new("any").help("everybody"),
    ])
    .map(|name| match name.as_str() {
        "controllers" => Callers::Controllers,
        "any" => Callers::Any,
        _ => Callers::Tool,
    })
}

fn unanswered(error: std::io::Error) -> Error {
    Error::new(Exit::Failure, format!("the sandbox: {error}"))
}

pub(super) async fn run(args: Faults, profile: &Profile, printer: &Printer) -> Result<(), Error> {
    match args.command {
        Command::Add(add) => {
            let rule = Rule {
                calls: add.calls,
                kind: add.kind,
                caller: add.caller,
                nth: add.nth,
                count: add.count,
                probability: add.probability,
                seed: add.seed,
                seconds: add.seconds,
            };
            rule.check()
                .map_err(|wrong| Error::new(Exit::Invalid, wrong))?;
            let id = control::add_fault(profile, &rule)
                .await
                .map_err(unanswered)?;
            match printer.is_json() {
                true => {
                    printer.json(&serde_json::json!({"event": "fault", "id": id, "rule": rule}))
                }
                false => printer.data(&format!("fault rule {id}")),
            }
        }
        Command::List => {
            let rules = control::faults(profile).await.map_err(unanswered)?;
            show(&rules, printer);
        }
        Command::Clear(clear) => {
            let removed = control::clear_faults(profile, &clear.ids).await;
            let removed = removed.map_err(unanswered)?;
            printer.say(&format!("{removed} fault rules removed"));
        }
    }
    Ok(())
}

fn show(rules: &Value, printer: &Printer) {
    if printer.is_json() {
        printer.json(&serde_json::json!({"event": "faults", "faults": rules}));
        return;
    }
    for working in rules.as_array().into_iter().flatten() {
        let rule = &working["rule"];
        let text = |member: &str| rule[member].as_str().unwrap_or_default();
        let mut line = format!("{}: {} {}", working["id"], text("calls"), text("kind"));
        for member in ["caller", "nth", "count", "probability", "seed", "seconds"] {
            match &rule[member] {
                Value::Null => {}
                Value::String(value) => line += &format!(", {member} {value}"),
                value => line += &format!(", {member} {value}"),
            }
        }
        printer.data(&format!(
            "{line}; seen {}, struck {}",
            working["seen"], working["struck"]
        ));
    }
}

/// Reads a file of rules.
pub(super) fn load(file: &Path) -> Result<Vec<Rule>, Error> {
    let check = |rule: &Rule| {
        let checked = rule.check();
        checked.map_err(|Wrong { field, message }| (field, message))
    };
    Ok(config::load_list(file, "faults", check)?)
}

/// Gives a running sandbox these rules and no others.
pub(super) async fn replace(profile: &Profile, rules: &[Rule]) -> Result<(), Error> {
    control::clear_faults(profile, &[])
        .await
        .map_err(unanswered)?;
    for rule in rules {
        control::add_fault(profile, rule)
            .await
            .map_err(unanswered)?;
    }
    Ok(())
}
