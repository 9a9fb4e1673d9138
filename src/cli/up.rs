//! `meshctl up`.

use super::args::Global;
use super::run::{Timings, conclude, executor, hold};
use super::settings::scene;
use super::status;
use super::{Error, Exit};
use crate::engine::Outcome;
use crate::views::{Printer, seconds};

/// Make the environment, from nothing to traffic; run again, it changes nothing
#[derive(Debug, clap::Args)]
pub(super) struct Up {
    #[command(flatten)]
    timings: Timings,
}

pub(super) async fn run(arguments: &Up, global: &Global, printer: &Printer) -> Result<Exit, Error> {
    let page = arguments.timings.open()?;
    let scene = scene(global, printer).await?;
    let hold = hold(&scene, "up")?;
    let title = format!(
        "up {} in {}",
        scene.environment.name, scene.environment.region
    );
    let graph = crate::steps::deployment(&scene.environment, &scene.clients);
    let executor = executor(global, printer, &title, Some(&hold));
    let report = executor.up(&graph).await;
    drop(executor);
    page.write(&title, &report, printer);
    let exit = conclude(&report, printer, &format!("meshctl up{}", global.again()));
    if exit != Exit::Success {
        printer.say(&format!(
            "nothing is lost: `meshctl up{0}` goes on from here, `meshctl down{0}` removes what there is",
            global.again()
        ));
        return Ok(exit);
    }
    let changed = report
        .steps
        .iter()
        .filter(|step| matches!(step.outcome, Outcome::Applied { .. }))
        .count();
    match changed {
        0 => printer.say(&format!(
            "{} is up, no change ({})",
            scene.environment.name,
            seconds(report.took)
        )),
        _ => printer.say(&format!(
            "{} is up after {}: {changed} steps done, {} had nothing to do",
            scene.environment.name,
            seconds(report.took),
            report.steps.len() - changed
        )),
    }
    let (critical, path) = report.critical_path();
    printer.detail(&format!(
        "critical path {}: {}",
        seconds(critical),
        path.iter()
            .map(|id| id.as_str())
            .collect::<Vec<_>>()
            .join(" → ")
    ));
    let overview = crate::steps::overview(&scene.environment, &scene.clients).await?;
    status::show(&overview, global, printer);
    Ok(Exit::Success)
}
