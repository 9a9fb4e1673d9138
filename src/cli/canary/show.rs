//! What is shown of a canary that decides by itself.

use crate::cli::run::interruptible;
use crate::cli::{Error, Exit};
use crate::config::Service;
use crate::rollout::Canary as Rollout;
use crate::rollout::auto::evidence::Trials;
use crate::rollout::auto::machine::Outcome;
use crate::rollout::auto::record::Shelf;
use crate::rollout::auto::run::{Ending, hint};
use crate::rollout::auto::samples::{Histogram, lower};
use crate::rollout::auto::source::{Clock, Envoy, Source, Versions};
use crate::views::Printer;

/// Shows what is remembered of the last canary that decided by itself.
pub(super) async fn show_record(
    rollout: &Rollout<'_>,
    service: &Service,
    printer: &Printer,
) -> Result<(), Error> {
    let shelf = Shelf::new(rollout.cluster, rollout.mesh.split_object(service));
    let Some(record) = shelf.read().await? else {
        return Ok(());
    };
    if printer.is_json() {
        printer.json(&serde_json::json!({
            "event": "canary-record",
            "alive": record.is_alive(),
            "settled": record.is_settled(),
            "state": record.state,
            "holder": record.holder,
            "began": record.began,
            "heard": record.heard,
            "timeline": record.timeline,
        }));
        return Ok(());
    }
    let last = record
        .timeline
        .last()
        .map_or("", |entry| entry.what.as_str());
    printer.data(&format!("canary: {last}"));
    printer.data(&format!("        {}", record.whose()));
    if !record.is_settled() && !record.is_alive() {
        printer.say("nobody goes on with it: `meshctl canary resume` or `meshctl canary abort`");
    }
    Ok(())
}

/// Shows what goes by, by the callers' Envoys, until Ctrl-C.
pub(super) async fn watch(
    rollout: &Rollout<'_>,
    service: &Service,
    printer: &Printer,
) -> Result<(), Error> {
    /// Readings of one line.
    const READINGS: u32 = 5;
    let [stable, canary, ..] = service.versions.as_slice() else {
        return Ok(());
    };
    let versions = Versions {
        stable: stable.name.clone(),
        canary: canary.name.clone(),
    };
    let mut source = Envoy::new(
        rollout.cluster,
        &rollout.environment.namespace,
        rollout.mesh.counters(service),
        &versions,
        Clock::from(0.0),
    );
    let cancellation = interruptible();
    let mut before = 0.0;
    loop {
        let mut sums = [Trials::default(); 2];
        let mut histograms = [Histogram::default(), Histogram::default()];
        let mut at = before;
        for _ in 0..READINGS {
            let tick = tokio::select! {
                () = cancellation.interrupted() => return Ok(()),
                tick = source.next() => tick,
            };
            match tick {
                Ok(tick) => {
                    for (index, counts) in [&tick.stable, &tick.canary].into_iter().enumerate() {
                        sums[index] += counts.trials();
                        histograms[index].add(&counts.latencies);
                    }
                    at = tick.at;
                }
                Err(why) => printer.warn(&why),
            }
        }
        let seconds = (at - before).max(0.1);
        before = at;
        let status = rollout.status(service).await?;
        for (index, version) in status.versions.iter().take(2).enumerate() {
            let millis = |part| histograms[index].quantile(part).map(lower);
            let rate = sums[index].total as f64 / seconds;
            if printer.is_json() {
                printer.json(&serde_json::json!({
                    "event": "canary-traffic", "at": at, "version": version.name, "weight": version.weight,
                    "rate": rate, "errors": sums[index].share(), "p50": millis(0.5), "p95": millis(0.95), "p99": millis(0.99),
                }));
                continue;
            }
            let shown = |part| millis(part).map_or("-".into(), |millis| format!("{millis:.1} ms"));
            printer.data(&format!(
                "{at:>7.1}s  {:<8} {:>3} %  {rate:>8.1}/s  {:>6.2} % failed  p50 {}  p95 {}  p99 {}",
                version.name,
                version.weight,
                sums[index].share() * 100.0,
                shown(0.5),
                shown(0.95),
                shown(0.99),
            ));
        }
    }
}

/// The exit code of an outcome.
fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Promoted | Outcome::Aborted => Exit::Success,
        Outcome::RolledBack => Exit::RolledBack,
        Outcome::Inconclusive => Exit::Inconclusive,
        Outcome::SplitNotRealised => Exit::SplitNotRealised,
        Outcome::Unavailable => Exit::BackEndUnavailable,
        Outcome::TimedOut => Exit::Timeout,
        Outcome::Interrupted => Exit::Interrupted,
    }
}

/// Shows how a run ended.
pub(super) fn show(ending: &Ending, printer: &Printer) -> Exit {
    let exit = exit(ending.outcome);
    let hint = hint(ending);
    if printer.is_json() {
        printer.json(&serde_json::json!({
            "event": "canary-verdict",
            "outcome": ending.outcome,
            "exit": exit.code(),
            "words": ending.words,
            "hint": hint,
            "alpha": ending.record.plan.alpha,
            "beta": ending.record.plan.beta,
            "errorEffect": ending.record.plan.error_effect,
            "latency": ending.record.plan.latency,
            "canary": ending.canary,
            "unattributed": ending.unattributed,
            "split": ending.split,
            "likelyCauses": ending.likely_causes,
            "counters": ending.counters,
            "state": ending.record.state,
            "timeline": ending.record.timeline,
        }));
        return exit;
    }
    let plan = &ending.record.plan;
    let mark = match ending.outcome {
        Outcome::Promoted | Outcome::Aborted => printer.green("✔"),
        _ => printer.red("✘"),
    };
    printer.data(&format!("{mark} {}", printer.bold(&ending.words)));
    if !ending.points.is_empty() {
        let latency = match plan.latency {
            Some(latency) => format!(
                "{} at quantile {} of latency",
                latency.effect, latency.quantile
            ),
            None => "latency not judged".into(),
        };
        printer.data(&format!(
            "judged with α {} %, β {} %, smallest effect {} percentage points of errors, {latency}",
            plan.alpha * 100.0,
            plan.beta * 100.0,
            plan.error_effect * 100.0,
        ));
    }
    for (source, canary) in &ending.canary {
        printer.data(&format!(
            "{source}: {} requests reached {}, {} of them failed",
            canary.total, ending.record.canary, canary.hits
        ));
    }
    for (source, failures) in &ending.unattributed {
        printer.data(&format!(
            "{source}: {failures} more failed without saying which version they had reached"
        ));
    }
    if let Some(split) = &ending.split {
        printer.data(&format!(
            "split in the last step: {:.1} %, 95 % interval {:.1} to {:.1} %, wanted {:.0} %",
            split.observed * 100.0,
            split.interval.low * 100.0,
            split.interval.high * 100.0,
            split.wanted * 100.0
        ));
    }
    for (source, counters) in &ending.counters {
        printer.detail(&format!("{source}: {counters}"));
    }
    for cause in &ending.likely_causes {
        printer.say(&format!("  likely: {cause}"));
    }
    if let Some(hint) = hint {
        printer.say(&format!("  {} {hint}", printer.cyan("hint:")));
    }
    exit
}
