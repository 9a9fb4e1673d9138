//! `meshctl plan`.

use super::args::Global;
use super::run::{conclude, executor};
use super::settings::scene;
use super::{Error, Exit};
use crate::engine::{Change, Outcome, Report};
use crate::views::Printer;

/// Show what `up` would do; exits with 2 when there are changes
#[derive(Debug, clap::Args)]
pub(super) struct Plan {
    /// Show what `down` would remove instead
    #[arg(long)]
    destroy: bool,
}

pub(super) async fn run(args: &Plan, global: &Global, printer: &Printer) -> Result<Exit, Error> {
    let scene = scene(global, printer).await?;
    let graph = crate::steps::deployment(&scene.environment, &scene.clients);
    let executor = executor(
        global,
        printer,
        &format!("looking at {}", scene.environment.name),
        None,
    );
    let report = match args.destroy {
        true => executor.plan_down(&graph).await,
        false => executor.plan(&graph).await,
    };
    drop(executor);
    if !printer.is_json() {
        show(&report, printer);
    }
    match conclude(&report, printer, &format!("meshctl plan{}", global.again())) {
        Exit::Success if report.has_changes() => Ok(Exit::Changes),
        exit => Ok(exit),
    }
}

fn show(report: &Report, printer: &Printer) {
    let (mut create, mut update, mut replace, mut destroy, mut same) = (0, 0, 0, 0, 0);
    for step in &report.steps {
        let line = match &step.outcome {
            Outcome::Planned {
                change: Change::Create,
            } => {
                create += 1;
                format!("  {} {}", printer.green("+"), step.title)
            }
            Outcome::Planned {
                change: Change::Update(reasons),
            } => {
                update += 1;
                let reasons: String = reasons
                    .iter()
                    .map(|reason| format!("\n      {reason}"))
                    .collect();
                format!(
                    "  {} {}{}",
                    printer.yellow("~"),
                    step.title,
                    printer.dim(&reasons)
                )
            }
            Outcome::Planned {
                change: Change::Replace(reason),
            } => {
                replace += 1;
                format!(
                    "  {} {}\n      {}",
                    printer.yellow("-/+"),
                    step.title,
                    printer.dim(reason)
                )
            }
            Outcome::Planned {
                change: Change::Blocked(reason),
            } => {
                format!("  {} {}\n      {reason}", printer.red("!"), step.title)
            }
            Outcome::WouldDestroy => {
                destroy += 1;
                format!("  {} {}", printer.red("-"), step.title)
            }
            Outcome::LeftAlone { owner } => format!(
                "  {} {}: it belongs to {owner}",
                printer.yellow("="),
                step.title
            ),
            Outcome::Planned {
                change: Change::Keep,
            }
            | Outcome::AlreadyGone => {
                same += 1;
                continue;
            }
            _ => continue,
        };
        printer.data(&line);
    }
    match create + update + replace + destroy {
        0 => printer.data("no changes"),
        _ if destroy > 0 => printer.data(&format!("{destroy} to delete, {same} already gone")),
        _ => printer.data(&format!(
            "{create} to create, {update} to update, {replace} to replace, {same} as wanted"
        )),
    }
}
