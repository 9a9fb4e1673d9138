//! `meshctl doctor`.

use super::args::Global;
use super::settings::scene;
use super::{Error, Exit};
use crate::steps::preflight::{self, Verdict};
use crate::views::Printer;

/// Check credentials, permissions, quotas and the mesh's control plane, before anything is made
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {}

pub(super) async fn run(global: &Global, printer: &Printer) -> Result<Exit, Error> {
    let scene = scene(global, printer).await?;
    let mut checks = preflight::checks(&scene.environment, &scene.clients).await?;
    let mesh = crate::mesh::provider(&scene.environment, &scene.clients);
    checks.push(preflight::mesh(&*mesh).await);
    let mut exit = Exit::Success;
    for check in &checks {
        if printer.is_json() {
            printer.json(&serde_json::json!({ "event": "check", "check": check }));
        }
        let (mark, words) = match &check.verdict {
            Verdict::Passed => (printer.green("✔"), String::new()),
            Verdict::Warning(reason) => (printer.yellow("!"), format!(": {reason}")),
            Verdict::Failed(reason) => {
                exit = Exit::Blocked;
                (printer.red("✘"), format!(": {reason}"))
            }
        };
        if printer.is_json() {
            continue;
        }
        printer.data(&format!("{mark} {}{words}", check.title));
        if let Some(hint) = &check.hint {
            printer.data(&format!("  {} {hint}", printer.cyan("hint:")));
        }
    }
    Ok(exit)
}
