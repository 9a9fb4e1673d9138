//! `meshctl status`.

use super::args::Global;
use super::settings::scene;
use super::{Error, Exit};
use crate::steps::Overview;
use crate::views::{Printer, Table};

/// Show the environment as it is
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Show it again whenever it changes, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) async fn run(args: &Status, global: &Global, printer: &Printer) -> Result<Exit, Error> {
    let scene = scene(global, printer).await?;
    let cancellation = super::run::interruptible();
    let mut before = None;
    loop {
        let overview = crate::steps::overview(&scene.environment, &scene.clients).await?;
        if before.as_ref() != Some(&overview) {
            show(&overview, global, printer);
        }
        if !args.watch {
            return Ok(Exit::Success);
        }
        before = Some(overview);
        tokio::select! {
            () = cancellation.interrupted() => return Ok(Exit::Success),
            () = tokio::time::sleep(std::time::Duration::from_secs(2)) => {}
        }
    }
}

/// Shows the environment: URL first, then the services.
pub(super) fn show(overview: &Overview, global: &Global, printer: &Printer) {
    if printer.is_json() {
        printer.json(&serde_json::json!({ "event": "status", "status": overview }));
        return;
    }
    printer.data(&format!(
        "{}  {}",
        printer.bold("environment"),
        overview.environment
    ));
    match &overview.cluster {
        Some(cluster) => printer.data(&format!(
            "{}      {} (Kubernetes {}, {})",
            printer.bold("cluster"),
            cluster.name,
            cluster.version,
            cluster.status
        )),
        None => {
            printer.data(&format!("{}      none", printer.bold("cluster")));
            printer.say(&format!("make it with `meshctl up{}`", global.again()));
            return;
        }
    }
    if let Some(trouble) = &overview.trouble {
        printer.warn(trouble);
    }
    if !overview.services.is_empty() {
        printer.data("");
        let mut table = Table::new(["SERVICE", "VERSION", "READY", "WEIGHT", "IMAGE"]);
        for service in &overview.services {
            table.row([
                service.service.clone(),
                service.version.clone(),
                format!("{}/{}", service.ready, service.replicas),
                service
                    .weight
                    .map_or("-".into(), |weight| format!("{weight} %")),
                short(&service.image),
            ]);
        }
        table.print(printer);
    }
    if let Some(url) = &overview.url {
        printer.data("");
        printer.data(&format!("{}  {}", printer.bold("URL"), printer.cyan(url)));
    }
}

/// An image for a table: without its registry, and with as much of its digest as tells it from others.
fn short(image: &str) -> String {
    let path = match image.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) => path,
        _ => image,
    };
    match path.split_once("@sha256:") {
        Some((name, digest)) => format!("{name}@{}", &digest[..digest.len().min(12)]),
        None => path.to_string(),
    }
}
