//! Plain lines with times, for CI logs.

use std::sync::Mutex;

use super::progress::{Progress, seconds};
use super::{Printer, Verbosity};
use crate::engine::{Change, Event, EventKind, Listener, Outcome, Phase};

/// Prints a line for everything that happens.
pub struct Lines {
    printer: Printer,
    progress: Mutex<Progress>,
}

impl Lines {
    /// A listener that prints on `printer`.
    pub fn new(printer: Printer) -> Self {
        Lines {
            printer,
            progress: Mutex::default(),
        }
    }
}

impl Listener for Lines {
    fn hear(&self, event: &Event) {
        let mut progress = self
            .progress
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        progress.hear(event.elapsed, &event.kind);
        if let EventKind::StepWarning { message, .. } = &event.kind {
            self.printer.warn(message);
        }
        if let Some((line, least)) = describe(&progress, &event.kind) {
            let line = format!("{:>8.1}s  {line}", event.elapsed.as_secs_f64());
            match least {
                Verbosity::Verbose => self.printer.detail(&line),
                _ => self.printer.say(&line),
            }
        }
    }
}

/// The words for an event, and from which verbosity on they are said.
pub(super) fn describe(progress: &Progress, kind: &EventKind) -> Option<(String, Verbosity)> {
    let normal = |line: String| Some((line, Verbosity::Normal));
    let verbose = |line: String| Some((line, Verbosity::Verbose));
    match kind {
        EventKind::RunStarted { steps, .. } => verbose(format!("{} steps", steps.len())),
        EventKind::StepStarted { id, phase, change } => {
            let title = progress.title(id);
            match (phase, change) {
                (Phase::Observe, _) => None,
                (Phase::Destroy, _) => normal(format!("deleting  {title}")),
                (Phase::Apply, Some(Change::Create)) => normal(format!("creating  {title}")),
                (Phase::Apply, Some(Change::Replace(why))) => {
                    normal(format!("replacing {title}: {why}"))
                }
                (Phase::Apply, Some(Change::Update(why))) => {
                    normal(format!("updating  {title}: {}", why.join("; ")))
                }
                (Phase::Apply, _) => normal(format!("applying  {title}")),
            }
        }
        EventKind::StepProgress { id, message } => {
            normal(format!("          {}: {message}", progress.title(id)))
        }
        // A warning is no line among others.
        EventKind::StepWarning { .. } => None,
        EventKind::StepFinished { id, outcome, took } => {
            let title = progress.title(id);
            match outcome {
                Outcome::Applied { .. } => {
                    normal(format!("ready     {title} ({})", seconds(*took)))
                }
                Outcome::Destroyed => normal(format!("gone      {title} ({})", seconds(*took))),
                Outcome::Failed { failure } => {
                    normal(format!("FAILED    {title}: {}", failure.message))
                }
                // Who failed says how many were skipped at the end; their names are noise.
                Outcome::Skipped { because } => verbose(format!(
                    "skipped   {title}, because {} failed",
                    progress.title(because)
                )),
                Outcome::Cancelled => normal(format!("not tried {title}")),
                Outcome::LeftAlone { owner } => {
                    normal(format!("left      {title}: it belongs to {owner}"))
                }
                Outcome::Unchanged => verbose(format!("unchanged {title}")),
                Outcome::NothingOwned => {
                    verbose(format!("nothing   {title}: nothing of its own to remove"))
                }
                Outcome::AlreadyGone => verbose(format!("no        {title}")),
                Outcome::Planned { .. } | Outcome::WouldDestroy => None,
            }
        }
        EventKind::Interrupted => normal(
            "interrupted: finishing what runs, starting nothing new; once more to stop at once"
                .into(),
        ),
        EventKind::RunFinished { .. } => None,
    }
}
