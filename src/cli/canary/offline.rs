//! `meshctl canary simulate` and `replay`: no cluster needed.

use std::io::BufReader;
use std::path::PathBuf;

use super::arguments::Judging;
use crate::cli::{Error, Exit};
use crate::rollout::auto::judge::Opinion;
use crate::rollout::auto::recording;
use crate::rollout::auto::simulate::{rules, scenarios, simulate};
use crate::views::{Printer, Table, standing_in_words};

/// Simulate how often this and other rules are wrong, and how soon they know
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Simulate {
    /// Runs of each scenario by each rule
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    runs: u64,
    /// The same seed gives the same numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    scenario: String,
    #[command(flatten)]
    judging: Judging,
}

pub(super) fn simulation(args: &Simulate, printer: &Printer) -> Result<Exit, Error> {
    let plan = args.judging.plan()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let chosen: Vec<_> = scenarios()
        .into_iter()
        .filter(|scenario| scenario.name.contains(args.scenario.as_str()))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = scenarios().iter().map(|scenario| scenario.name).collect();
        return Err(Error::new(
            Exit::Invalid,
            format!("no scenario is named like `{}`", args.scenario),
        )
        .hint(format!("there are: {}", names.join("; "))));
    }
    let mut table = Table::new([
        "SCENARIO",
        "RULE",
        "WRONG",
        "95 % INTERVAL",
        "UNDECIDED",
        "REQUESTS",
        "× WALD",
        "FAILED",
        "TIME",
    ]);
    for scenario in &chosen {
        for rule in rules(scenario, &plan) {
            printer.detail(&format!("{} by {}", scenario.name, rule.name()));
            let summary = simulate(scenario, &rule, args.runs, args.seed, threads);
            if printer.is_json() {
                printer.json(&serde_json::json!({ "event": "canary-simulation", "scenario": scenario, "rule": rule, "summary": summary }));
            }
            let percent = |share: f64| format!("{:.2} %", share * 100.0);
            table.row([
                summary.scenario.to_owned(),
                summary.rule.to_owned(),
                percent(summary.wrong),
                format!(
                    "{} – {}",
                    percent(summary.wrong_interval.0),
                    percent(summary.wrong_interval.1)
                ),
                percent(summary.undecided),
                format!("{:.0}", summary.requests),
                summary
                    .times_wald
                    .map_or("-".into(), |times| format!("{times:.2}")),
                format!("{:.1}", summary.failures),
                crate::rollout::auto::forecast::time(summary.seconds),
            ]);
        }
    }
    if !printer.is_json() {
        table.print(printer);
        printer.data(&format!(
            "{} runs each, seed {}, α {} %, β {} %, effect {} percentage points; requests and failures are the canary's",
            args.runs, args.seed, plan.alpha * 100.0, plan.beta * 100.0, plan.error_effect * 100.0
        ));
    }
    Ok(Exit::Success)
}

/// Judge a recorded run again, with other settings
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Replay {
    /// What `meshctl canary --auto --record FILE` wrote
    file: PathBuf,
    /// The source whose samples are judged [default: the first]
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Judge with the settings of the recorded run instead of those given here
    #[arg(long)]
    as_recorded: bool,
    #[command(flatten)]
    judging: Judging,
}

pub(super) fn replay(args: &Replay, printer: &Printer) -> Result<Exit, Error> {
    let wrong = |why: String| Error::new(Exit::Invalid, format!("{}: {why}", args.file.display()));
    let file = std::fs::File::open(&args.file).map_err(|error| wrong(error.to_string()))?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let head = recording::head(&mut file).map_err(wrong)?;
    let plan = match args.as_recorded {
        true => {
            head.plan
                .check()
                .map_err(|why| wrong(format!("line 1: {why}")))?;
            head.plan.clone()
        }
        false => args.judging.plan()?,
    };
    let replayed =
        recording::replay(&mut file, head, &plan, args.from.as_deref()).map_err(wrong)?;
    let opinion = replayed.opinion();
    let exit = match opinion {
        Opinion::Close => Exit::Success,
        Opinion::Worse(_) => Exit::RolledBack,
        Opinion::Undecided => Exit::Inconclusive,
        Opinion::WrongSplit => Exit::SplitNotRealised,
        Opinion::StableFails => Exit::BackEndUnavailable,
    };
    if printer.is_json() {
        printer.json(&serde_json::json!({ "event": "canary-replay", "opinion": opinion, "exit": exit.code(), "replay": replayed }));
        return Ok(exit);
    }
    printer.data(&format!(
        "{}: {} against {}, {} samples",
        printer.bold(&replayed.head.service),
        replayed.head.canary,
        replayed.head.stable,
        replayed.samples
    ));
    for step in &replayed.steps {
        let verdict = match step.opinion {
            Opinion::Close => printer.green("passed"),
            Opinion::Undecided => printer.yellow("undecided"),
            Opinion::Worse(_) => printer.red("out"),
            Opinion::StableFails => printer.red("stable itself fails"),
            Opinion::WrongSplit => printer.red("the split is another"),
        };
        printer.data(&format!(
            "{verdict} after {:.0} s: {}",
            step.at - step.began,
            standing_in_words(step.weight, &step.standing)
        ));
    }
    Ok(exit)
}
