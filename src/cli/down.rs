//! `meshctl down` and `meshctl audit`.

use std::io::{BufRead, IsTerminal, Write};

use super::args::Global;
use super::run::{Timings, conclude, executor, hold};
use super::settings::{Scene, scene};
use super::{Error, Exit};
use crate::engine::Outcome;
use crate::steps;
use crate::views::{Printer, seconds};

/// Remove the environment and prove that nothing is left
#[derive(Debug, clap::Args)]
pub(super) struct Down {
    #[command(flatten)]
    timings: Timings,
}

/// List everything that is left of the environment; exits with 3 when there is something
#[derive(Debug, clap::Args)]
pub(super) struct Audit {}

pub(super) async fn run(
    arguments: &Down,
    global: &Global,
    printer: &Printer,
) -> Result<Exit, Error> {
    expect_answers(global)?;
    let page = arguments.timings.open()?;
    let scene = scene(global, printer).await?;
    confirm(&scene, global, printer).await?;
    let hold = hold(&scene, "down")?;
    let title = format!(
        "down {} in {}",
        scene.environment.name, scene.environment.region
    );
    let graph = crate::steps::deployment(&scene.environment, &scene.clients);
    let executor = executor(global, printer, &title, Some(&hold));
    let report = executor.down(&graph).await;
    let cancellation = executor.cancellation.clone();
    drop(executor);
    page.write(&title, &report, printer);
    let again = format!("meshctl down{}", global.again());
    let failed = conclude(&report, printer, &again);
    if failed == Exit::Interrupted {
        return Ok(failed);
    }
    let gone = report
        .steps
        .iter()
        .filter(|step| matches!(step.outcome, Outcome::Destroyed))
        .count();
    printer.say(&format!(
        "{gone} removed in {}; looking for leftovers",
        seconds(report.took)
    ));
    let left = tokio::select! {
        left = look_for_leftovers(&scene, printer) => left?,
        () = cancellation.interrupted() => {
            let hint = format!("`meshctl audit{}` looks again", global.again());
            printer.error("interrupted: not everything was looked at", Some(&hint));
            return Ok(Exit::Interrupted);
        }
    };
    if failed != Exit::Success {
        printer.say(&format!("what failed is named above; go on with `{again}`"));
        return Ok(failed);
    }
    if left == Exit::Success {
        crate::cli::kubeconfig::forget(&scene, printer);
    }
    if left == Exit::Leftovers {
        printer.say(&format!(
            "what was made meanwhile, by another run for example, goes with `{again}`"
        ));
    }
    Ok(left)
}

pub(super) async fn audit(global: &Global, printer: &Printer) -> Result<Exit, Error> {
    let scene = scene(global, printer).await?;
    look_for_leftovers(&scene, printer).await
}

async fn look_for_leftovers(scene: &Scene, printer: &Printer) -> Result<Exit, Error> {
    let mesh = crate::mesh::provider(&scene.environment, &scene.clients);
    let audit = steps::audit::audit(&scene.environment, &scene.clients, &*mesh).await;
    show(&audit, printer);
    Ok(match audit.unchecked.first() {
        // What could not be looked at is not known to be gone.
        Some(failure) if audit.leftovers.is_empty() => Exit::of(failure),
        _ if audit.is_clean() => Exit::Success,
        _ => Exit::Leftovers,
    })
}

fn show(audit: &steps::audit::Audit, printer: &Printer) {
    if printer.is_json() {
        printer.json(&serde_json::json!({ "event": "audit", "audit": audit }));
        return;
    }
    for note in &audit.notes {
        printer.say(&printer.dim(&format!("note: {note}")));
    }
    for failure in &audit.unchecked {
        printer.error(
            &format!("could not look: {failure}"),
            failure.hint.as_deref(),
        );
    }
    for left in &audit.leftovers {
        printer.data(&format!(
            "{} {}  {}",
            printer.red("left:"),
            left.kind,
            left.arn
        ));
        printer.data(&format!("      {}", printer.dim(&left.reason)));
        printer.data(&format!("      remove it: {}", left.removal));
    }
    match audit.leftovers.len() {
        0 if audit.is_clean() => printer.data("nothing left"),
        0 => printer.data("nothing found, but not everything could be looked at"),
        count => printer.data(&format!("{count} left")),
    }
}

fn refused(message: String) -> Error {
    Error::new(Exit::Blocked, message).hint("add --yes to remove it without a question")
}

/// Refuses where a question would have to be asked and there is nobody to answer.
fn expect_answers(global: &Global) -> Result<(), Error> {
    if global.yes || (!global.no_input && std::io::stdin().is_terminal()) {
        return Ok(());
    }
    Err(refused(
        "removing an environment needs a confirmation, and there is nobody to ask".into(),
    ))
}

/// Asks, unless told not to.
async fn confirm(scene: &Scene, global: &Global, printer: &Printer) -> Result<(), Error> {
    if global.yes {
        return Ok(());
    }
    let name = &scene.environment.name;
    let account = &scene.clients.identity().await?.account;
    printer.say(&format!(
        "This removes everything of the environment `{name}` in {}, account {account}: cluster, load balancer, images, network.",
        scene.environment.region
    ));
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "Type the environment's name to go on: ");
    let _ = stderr.flush();
    drop(stderr);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(_) if answer.trim() == name => Ok(()),
        _ => Err(refused("not confirmed; nothing was touched".into())),
    }
}
