//! `meshctl verify`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{Global, parse_duration};
use super::run::interruptible;
use super::settings::scene;
use super::{Error, Exit};
use crate::check::Verdict;
use crate::engine::Context;
use crate::junit;
use crate::verify::{Finding, Verify as Checks};
use crate::views::{self, Printer, show_check};

/// Send traffic, and prove routing, split, retries, time-outs, egress filter, probes and tracing
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// How many requests to send at least; a version with a small share takes more to be seen
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(20..=100_000))]
    requests: u64,
    /// How long access logs and traces may take to show the requests
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    patience: Duration,
    /// Write the findings as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub(super) async fn run(args: &Verify, global: &Global, printer: &Printer) -> Result<Exit, Error> {
    let began = Instant::now();
    let scene = scene(global, printer).await?;
    let cluster = crate::steps::cluster(&scene.environment, &scene.clients).await?;
    let mesh = crate::mesh::provider(&scene.environment, &scene.clients);
    let checks = Checks {
        environment: &scene.environment,
        mesh: &*mesh,
        cluster: &cluster,
        clients: &scene.clients,
        requests: args.requests,
        patience: args.patience,
    };
    let view = views::for_run(printer, "verify");
    let cx = Context::detached("verify", view, interruptible());
    let heard = |finding: &Finding| match printer.is_json() {
        true => printer.json(&json!({"event": "finding", "finding": finding})),
        false => {
            show_check(&finding.check, printer);
            printer.detail(&format!("  {}", finding.evidence));
        }
    };
    let ran = tokio::time::timeout(global.timeout, checks.run(&cx, &heard)).await;
    drop(cx);
    let Ok(found) = ran else {
        return Err(Error::new(
            Exit::Timeout,
            format!("not done within {} s", global.timeout.as_secs()),
        )
        .hint("run the same command again, with a longer --timeout"));
    };
    let found = found?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some(path) = &args.junit {
        let cases: Vec<junit::Case> = found.iter().map(Finding::case).collect();
        let written = std::fs::write(path, junit::suite("meshctl verify", seconds, &cases));
        written.map_err(Error::unwritable(path))?;
    }
    let count =
        |is: fn(&Verdict) -> bool| found.iter().filter(|one| is(&one.check.verdict)).count();
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
    let exit = match failed {
        0 => Exit::Success,
        _ => Exit::NotVerified,
    };
    match printer.is_json() {
        true => printer.json(&json!({
            "event": "verified", "passed": failed == 0, "checks": found.len(),
            "failed": failed, "skipped": skipped, "seconds": seconds, "exit": exit.code(),
        })),
        false => printer.data(&format!(
            "{} checks in {seconds:.0} s, {failed} failed, {skipped} skipped",
            found.len()
        )),
    }
    Ok(exit)
}
