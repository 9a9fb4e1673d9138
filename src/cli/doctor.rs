//! `meshctl doctor`.

use super::args::Global;
use super::settings::scene;
use super::{Error, Exit};
use crate::check::Check;
use crate::steps::preflight;
use crate::views::{Printer, show_check};

/// Check credentials, permissions, quotas and the mesh's control plane, before anything is made
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {}

pub(super) async fn run(global: &Global, printer: &Printer) -> Result<Exit, Error> {
    let scene = scene(global, printer).await?;
    let mesh = crate::mesh::provider(&scene.environment, &scene.clients);
    let mut checks = preflight::checks(&scene.environment, &scene.clients, &*mesh).await?;
    checks.push(preflight::mesh(&*mesh).await);
    for check in &checks {
        match printer.is_json() {
            true => printer.json(&serde_json::json!({ "event": "check", "check": check })),
            false => show_check(check, printer),
        }
    }
    Ok(match checks.iter().any(Check::is_failed) {
        true => Exit::Blocked,
        false => Exit::Success,
    })
}
