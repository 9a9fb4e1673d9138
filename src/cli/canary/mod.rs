//! `meshctl canary`.

mod arguments;
mod auto;
mod offline;
mod show;

use clap::Subcommand;

use self::arguments::{Judging, Outputs, Sources};
use super::args::Global;
use super::run::{hold, interruptible};
use super::settings::scene;
use super::{Error, Exit};
use crate::engine::{Context, Failure, FailureKind};
use crate::mesh::Weights;
use crate::rollout::{Canary as Rollout, Report, Sampling, Status};
use crate::views::{self, Printer, Table};

/// Shift traffic between a service's versions, and measure the split that really happens
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Canary {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    shift: Shift,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the split as configured and as the mesh took it
    Status(Look),
    /// Give the second version all traffic
    Promote(Target),
    /// Give the first version all traffic again, and end a canary that decides by itself
    Abort(Target),
    /// Go on with a canary that was interrupted, killed or held
    Resume(Again),
    /// Take a promotion back: the split is as it was before the canary
    Undo(Again),
    Simulate(offline::Simulate),
    Replay(offline::Replay),
}

#[derive(Debug, clap::Args)]
struct Again {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    outputs: Outputs,
}

#[derive(Debug, clap::Args)]
struct Shift {
    /// The second version's share of the traffic, a whole percentage
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    weight: Option<String>,
    /// Shift step by step, judge each step by a sequential test, and promote or roll back
    #[arg(long, conflicts_with = "weight")]
    auto: bool,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    judging: Judging,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    outputs: Outputs,
}

#[derive(Debug, clap::Args)]
struct Look {
    #[command(flatten)]
    target: Target,
    /// Show requests, error rates and latency of each version as they go by, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, clap::Args)]
struct Target {
    /// The service [default: the only one with two versions]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// How many requests to send for measuring
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1000..=1_000_000))]
    requests: u64,
}

/// What is to be done to the split.
enum Aim<'a> {
    Weight(u8),
    Look { watch: bool },
    Auto,
    Abort,
    Again(auto::Again, &'a Outputs),
}

pub(super) async fn run(args: &Canary, global: &Global, printer: &Printer) -> Result<Exit, Error> {
    let (target, aim) = match (&args.action, &args.shift.weight) {
        (Some(Action::Simulate(args)), _) => return offline::simulation(args, printer),
        (Some(Action::Replay(args)), _) => return offline::replay(args, printer),
        (Some(Action::Status(look)), _) => (&look.target, Aim::Look { watch: look.watch }),
        (Some(Action::Resume(again)), _) => {
            let aim = Aim::Again(auto::Again::Resume, &again.outputs);
            (&again.target, aim)
        }
        (Some(Action::Undo(again)), _) => {
            let aim = Aim::Again(auto::Again::Undo, &again.outputs);
            (&again.target, aim)
        }
        (Some(Action::Promote(target)), _) => (target, Aim::Weight(100)),
        (Some(Action::Abort(target)), _) => (target, Aim::Abort),
        (None, _) if args.shift.auto => {
            // What is wrong is told before anything is touched.
            args.shift.judging.plan()?;
            (&args.shift.target, Aim::Auto)
        }
        (None, Some(weight)) => (&args.shift.target, Aim::Weight(percentage(weight)?)),
        (None, None) => {
            return Err(Error::new(Exit::Usage, "nothing to do")
                .hint("meshctl canary --weight 10 or --auto, or one of: canary status, promote, abort, resume, undo"));
        }
    };
    let scene = scene(global, printer).await?;
    let cluster = crate::steps::cluster(&scene.environment, &scene.clients).await?;
    let mesh = crate::mesh::provider(&scene.environment, &scene.clients);
    let sampling = Sampling {
        requests: target.requests,
        ..Sampling::default()
    };
    let rollout = Rollout {
        environment: &scene.environment,
        mesh: &*mesh,
        cluster: &cluster,
        sampling,
    };
    let service = rollout.service(target.service.as_deref())?;
    let of = (&scene, &rollout, service);
    let none = Outputs::default();
    let weight = match aim {
        Aim::Weight(weight) => {
            auto::refuse_while_under_way(&rollout, service).await?;
            weight
        }
        Aim::Look { watch } => {
            show_status(&rollout.status(service).await?, printer);
            show::show_record(&rollout, service, printer).await?;
            if watch {
                show::watch(&rollout, service, printer).await?;
            }
            return Ok(Exit::Success);
        }
        Aim::Auto => {
            let Shift {
                judging,
                sources,
                outputs,
                ..
            } = &args.shift;
            return auto::begin(judging, sources, outputs, of, global, printer).await;
        }
        Aim::Again(what, outputs) => {
            let exit = auto::again(what, outputs, of, global, printer).await?;
            return Ok(exit.unwrap_or(Exit::Success));
        }
        Aim::Abort => match auto::again(auto::Again::Abort, &none, of, global, printer).await? {
            Some(exit) => return Ok(exit),
            None => 0,
        },
    };
    let _hold = hold(&scene, "canary")?;
    let view = views::for_run(printer, &format!("canary {} {weight} %", service.name));
    let cx = Context::detached(format!("canary/{}", service.name), view, interruptible());
    let shifted = tokio::time::timeout(global.timeout, rollout.shift(&cx, service, weight)).await;
    drop(cx);
    let report = match shifted {
        Ok(Ok(report)) => report,
        Ok(Err(failure)) => return Err(told(failure)),
        Err(_) => {
            return Err(Error::new(
                Exit::Timeout,
                format!("not done within {} s", global.timeout.as_secs()),
            )
            .hint("`meshctl canary status` tells how it is; the same command again goes on"));
        }
    };
    show_report(&report, printer);
    Ok(if report.matches() {
        Exit::Success
    } else {
        Exit::SplitNotRealised
    })
}

/// A version that is not there or not ready is a canary's own way to end.
fn told(failure: Failure) -> Error {
    let exit = match failure.kind {
        FailureKind::Service | FailureKind::Blocked => Exit::BackEndUnavailable,
        _ => Exit::of(&failure),
    };
    Error {
        exit,
        ..failure.into()
    }
}

fn percentage(text: &str) -> Result<u8, Error> {
    match text.parse::<u8>() {
        Ok(weight) if weight <= 100 => Ok(weight),
        _ => Err(Error::new(
            Exit::Invalid,
            format!("`{text}` is not a whole percentage from 0 to 100"),
        )
        .hint("for example --weight 10; nothing was touched")),
    }
}

fn shares(weights: &Weights) -> String {
    weights
        .iter()
        .map(|(version, weight)| format!("{version} {weight} %"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn show_status(status: &Status, printer: &Printer) {
    if printer.is_json() {
        printer.json(&serde_json::json!({ "event": "canary-status", "status": status }));
        return;
    }
    let mut table = Table::new(["VERSION", "WEIGHT", "READY", "TROUBLE"]);
    for version in &status.versions {
        table.row([
            version.name.clone(),
            format!("{} %", version.weight),
            format!("{}/{}", version.ready, version.wanted),
            version.trouble.clone().unwrap_or_default(),
        ]);
    }
    table.print(printer);
    match (&status.split.accepted, status.settled) {
        (_, true) => printer.data("the mesh's control plane has the same"),
        (Some(accepted), _) => printer.data(&format!(
            "the mesh's control plane has {}",
            shares(accepted)
        )),
        (None, _) => printer.data("the mesh's control plane has no such route"),
    }
    if let Some(refused) = &status.split.refused {
        printer.warn(refused);
    }
}

fn show_report(report: &Report, printer: &Printer) {
    if printer.is_json() {
        printer.json(&serde_json::json!({ "event": "canary", "matches": report.matches(), "report": report }));
        return;
    }
    let measured = &report.measured;
    let verdict = &measured.verdict;
    printer.data(&format!(
        "{}: {} → {}",
        printer.bold(&report.service),
        shares(&report.before),
        printer.bold(&shares(&report.after))
    ));
    let mut table = Table::new(["VERSION", "REQUESTS", "ERRORS", "P50", "P99"]);
    for (version, sample) in &measured.sample.versions {
        table.row([
            version.clone(),
            sample.requests.to_string(),
            sample.errors.to_string(),
            format!("{:.1} ms", sample.p50_millis),
            format!("{:.1} ms", sample.p99_millis),
        ]);
    }
    table.print(printer);
    for (what, count) in &measured.sample.unrecognised {
        printer.data(&format!("{count} × {what}"));
    }
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let line = format!(
        "{} of {} requests at {} went to {}: {}, 95 % interval {} to {}, wanted {}",
        measured.sample.of(&report.canary),
        measured.sample.recognised(),
        measured.url,
        report.canary,
        percent(verdict.observed),
        percent(verdict.interval.low),
        percent(verdict.interval.high),
        percent(verdict.wanted)
    );
    if verdict.matches {
        printer.data(&format!("{} {line}", printer.green("✔")));
        return;
    }
    printer.data(&format!("{} {line}", printer.red("✘")));
    printer.error(
        &format!("the split is not realised (p = {:.2e})", verdict.p_value),
        Some("the weights stay as they are: `meshctl verify` looks for the cause, `meshctl canary abort` takes them back"),
    );
    for cause in &measured.likely_causes {
        printer.say(&format!("  likely: {cause}"));
    }
}
