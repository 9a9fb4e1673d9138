//! `meshctl canary --auto`, `resume`, `undo` and `abort`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::args::{Global, parse_duration};
use super::run::{hold, interruptible};
use super::settings::Scene;
use super::{Error, Exit};
use crate::config::Service;
use crate::engine::Context;
use crate::rollout::Canary as Rollout;
use crate::rollout::auto::evidence::Trials;
use crate::rollout::auto::machine::{Cause, Event, Outcome, State};
use crate::rollout::auto::plan::{Guard, Interrupted, Latency, Plan, Policy, Slowdown};
use crate::rollout::auto::record::{Holder, Record, Shelf};
use crate::rollout::auto::recording;
use crate::rollout::auto::report;
use crate::rollout::auto::run::{Auto, Ending, hint};
use crate::rollout::auto::samples::{Histogram, lower};
use crate::rollout::auto::source::{Clock, Envoy, Kind, Queries, Source, Versions};
use crate::views::{self, CanaryView, Printer};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "How a canary is judged")]
pub(super) struct Judging {
    /// The canary's shares, in percent, the last 100
    #[arg(
        long,
        value_name = "PERCENT,…",
        value_delimiter = ',',
        default_value = "1,5,10,25,50,100"
    )]
    steps: Vec<String>,
    /// How likely a canary that is no worse may be rolled back
    #[arg(long, value_name = "SHARE", default_value = "1%")]
    alpha: String,
    /// How likely a canary that is worse by the effect may be promoted
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    beta: String,
    /// The smallest difference of error rates that matters
    #[arg(long, value_name = "SHARE", default_value = "1.5%")]
    error_effect: String,
    /// The quantile of latency that is judged
    #[arg(long, value_name = "QUANTILE", default_value = "0.95")]
    latency_quantile: String,
    /// The smallest difference of latency that matters, such as 50% or 50ms
    #[arg(long, value_name = "EFFECT", default_value = "50%")]
    latency_effect: String,
    /// Judge errors alone
    #[arg(long)]
    no_latency: bool,
    /// The error rate above which the canary is out at once
    #[arg(long, value_name = "SHARE", default_value = "50%")]
    guard_rate: String,
    /// Over how many requests that is looked at
    #[arg(long, value_name = "N", default_value_t = 20)]
    guard_requests: u64,
    /// How long after each shift nothing but the guard rail is judged
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    warm_up: Duration,
    /// How long a step may take
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_duration)]
    step_limit: Duration,
    /// What to do when a step's time is over and nothing is decided
    #[arg(long, value_enum, default_value = "rollback", value_name = "WHAT")]
    on_inconclusive: Policy,
    /// What to do on Ctrl-C and SIGTERM
    #[arg(long, value_enum, default_value = "rollback", value_name = "WHAT")]
    on_interrupt: Interrupted,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Where samples come from")]
pub(super) struct Sources {
    /// The callers' Envoys, a Prometheus server, or requests of our own; may be given several times
    #[arg(long, value_enum, value_name = "SOURCE", default_value = "envoy")]
    source: Vec<SourceName>,
    /// Requests a second that the probe sends
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2000))]
    probe_rate: u32,
    /// The Prometheus server
    #[arg(long, value_name = "URL", env = "MESHCTL_PROMETHEUS_URL")]
    prometheus_url: Option<String>,
    /// The counter of requests; $cluster stands for Envoy's name of a version's cluster [default: Envoy's own]
    #[arg(long, value_name = "QUERY")]
    prometheus_requests: Option<String>,
    /// The counter of failures
    #[arg(long, value_name = "QUERY")]
    prometheus_errors: Option<String>,
    /// The counter of tries after a failed one
    #[arg(long, value_name = "QUERY")]
    prometheus_retries: Option<String>,
    /// The histogram of latencies in milliseconds
    #[arg(long, value_name = "QUERY")]
    prometheus_latency: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SourceName {
    Envoy,
    Prometheus,
    Probe,
}

#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What is left of a run")]
pub(super) struct Outputs {
    /// Write a report as one HTML file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the verdict as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Record the samples, for `meshctl canary replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// `1.5%` or `0.015`.
fn share(name: &str, text: &str) -> Result<f64, Error> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value / scale),
        _ => Err(invalid(format!(
            "--{name} `{text}` is not a share such as 1.5% or 0.015"
        ))),
    }
}

fn invalid(message: impl ToString) -> Error {
    Error::new(Exit::Invalid, message).hint("nothing was touched; see meshctl canary --help")
}

impl Judging {
    /// The plan, checked.
    pub(super) fn plan(&self) -> Result<Plan, Error> {
        let steps = self.steps.iter().map(|step| {
            let text = step.trim().trim_end_matches('%');
            match text.parse::<u8>() {
                Ok(share) if share <= 100 => Ok(share),
                _ => Err(invalid(format!(
                    "--steps `{step}` is not a whole percentage from 1 to 100"
                ))),
            }
        });
        let effect = match self.latency_effect.trim().strip_suffix("ms") {
            Some(millis) => Slowdown::Millis(millis.trim().parse().map_err(|_| {
                invalid(format!(
                    "--latency-effect `{}` is not a difference such as 25% or 50ms",
                    self.latency_effect
                ))
            })?),
            None => Slowdown::Relative(share("latency-effect", &self.latency_effect)?),
        };
        let plan = Plan {
            steps: steps.collect::<Result<_, _>>()?,
            alpha: share("alpha", &self.alpha)?,
            beta: share("beta", &self.beta)?,
            error_effect: share("error-effect", &self.error_effect)?,
            latency: match self.no_latency {
                true => None,
                false => Some(Latency {
                    quantile: share("latency-quantile", &self.latency_quantile)?,
                    effect,
                }),
            },
            guard: Guard {
                rate: share("guard-rate", &self.guard_rate)?,
                requests: self.guard_requests,
            },
            warm_up: self.warm_up,
            step_limit: self.step_limit,
            on_inconclusive: self.on_inconclusive,
            on_interrupt: self.on_interrupt,
            ..Plan::default()
        };
        plan.check().map_err(invalid)?;
        Ok(plan)
    }
}

impl Sources {
    fn kinds(&self) -> Result<Vec<Kind>, Error> {
        let mut kinds: Vec<Kind> = Vec::new();
        for name in &self.source {
            let kind = match name {
                SourceName::Envoy => Kind::Envoy,
                SourceName::Probe => Kind::Probe {
                    rate: self.probe_rate,
                },
                SourceName::Prometheus => {
                    let url = self
                        .prometheus_url
                        .clone()
                        .ok_or_else(|| invalid("--source prometheus needs --prometheus-url"))?;
                    let usual = Queries::default();
                    let or = |asked: &Option<String>, usual| asked.clone().unwrap_or(usual);
                    Kind::Prometheus {
                        url,
                        queries: Queries {
                            requests: or(&self.prometheus_requests, usual.requests),
                            errors: or(&self.prometheus_errors, usual.errors),
                            retries: or(&self.prometheus_retries, usual.retries),
                            latency: or(&self.prometheus_latency, usual.latency),
                        },
                    }
                }
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Ok(kinds)
    }
}

/// What is to be done with the record that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Resume,
    Undo,
    Abort,
}

async fn holder(scene: &Scene) -> Result<Holder, Error> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok());
    let host = host
        .map(|host| host.trim().to_owned())
        .filter(|host| !host.is_empty());
    Ok(Holder {
        who: scene.clients.identity().await?.arn.clone(),
        host: host.unwrap_or_else(|| "an unnamed machine".into()),
        process: std::process::id(),
    })
}

/// Begins a run.
pub(super) async fn begin(
    judging: &Judging,
    sources: &Sources,
    outputs: &Outputs,
    (scene, rollout, service): (&Scene, &Rollout<'_>, &Service),
    global: &Global,
    printer: &Printer,
) -> Result<Exit, Error> {
    let plan = judging.plan()?;
    let kinds = sources.kinds()?;
    let _hold = hold(scene, "canary")?;
    let [stable, canary, ..] = service.versions.as_slice() else {
        return Err(Error::new(
            Exit::Invalid,
            format!(
                "service {} has one version, so there is nothing to judge",
                service.name
            ),
        )
        .hint("add a version to the environment's file and run `meshctl up`"));
    };
    // Who, when and where is more than that the weight is another.
    refuse_while_under_way(rollout, service).await?;
    let before = rollout
        .mesh
        .split(rollout.cluster, service)
        .await?
        .configured;
    let given = before.iter().find(|(version, _)| *version == canary.name);
    if let Some((_, weight)) = given.filter(|(_, weight)| *weight > 0) {
        return Err(Error::new(
            Exit::Blocked,
            format!(
                "{} of {} has {weight} % of the traffic already",
                canary.name, service.name
            ),
        )
        .hint("give stable all traffic first with `meshctl canary abort`"));
    }
    let mut record = Record::new(
        holder(scene).await?,
        &service.name,
        (&stable.name, &canary.name),
        before,
        plan,
        kinds,
    );
    record.note(format!(
        "begun by {} on {}",
        record.holder.who, record.holder.host
    ));
    let shelf = Shelf::new(rollout.cluster, rollout.mesh.split_object(service));
    shelf.claim(&mut record).await?;
    drive(record, outputs, (rollout, service), global, printer).await
}

/// Goes on with a run that is there.
pub(super) async fn again(
    what: Again,
    outputs: &Outputs,
    (scene, rollout, service): (&Scene, &Rollout<'_>, &Service),
    global: &Global,
    printer: &Printer,
) -> Result<Option<Exit>, Error> {
    let shelf = Shelf::new(rollout.cluster, rollout.mesh.split_object(service));
    let there = shelf.read().await?;
    let Some(mut record) = there.filter(|record| what == Again::Undo || !record.is_settled())
    else {
        return match what {
            // Without a record it is done by hand.
            Again::Abort => Ok(None),
            Again::Resume => Err(
                Error::new(Exit::Invalid, "there is no canary to go on with")
                    .hint("begin one with `meshctl canary --auto`"),
            ),
            Again::Undo => Err(nothing_to_undo()),
        };
    };
    record.state = match (what, record.state) {
        (Again::Resume, _) if record.is_alive() => {
            return Err(Error::new(
                Exit::Blocked,
                format!("the canary is under way: {}", record.whose()),
            )
            .hint("wait for it, or end it with `meshctl canary abort`"));
        }
        (Again::Resume, state) => state.on(Event::Resume, &record.plan),
        (Again::Abort, state) => state.on(Event::Abort, &record.plan),
        (Again::Undo, State::Promoted) => State::Restoring {
            because: Cause::Asked,
            tried: 0,
        },
        (Again::Undo, _) => return Err(nothing_to_undo()),
    };
    record.take_over(holder(scene).await?);
    shelf.write(&mut record, |_| Ok(())).await?;
    let exit = drive(record, outputs, (rollout, service), global, printer).await?;
    Ok(Some(exit))
}

fn nothing_to_undo() -> Error {
    Error::new(Exit::Invalid, "there is no promotion to undo")
        .hint("`meshctl canary abort` gives stable all traffic whatever was before")
}

async fn drive(
    record: Record,
    outputs: &Outputs,
    (rollout, service): (&Rollout<'_>, &Service),
    global: &Global,
    printer: &Printer,
) -> Result<Exit, Error> {
    let recording = match &outputs.record {
        Some(path) => Some(begin_recording(path, &record)?),
        None => None,
    };
    let listener: Arc<dyn crate::engine::Listener> = match printer.is_json() {
        true => views::for_run(printer, "canary"),
        // The canary's own view says what is worth saying.
        false => Arc::new(Nobody),
    };
    let cx = Context::detached(
        format!("canary/{}", service.name),
        listener,
        interruptible(),
    );
    let auto = Auto {
        canary: rollout,
        service,
        record,
        watcher: Arc::new(CanaryView::new(printer)),
        recording,
        timeout: global.timeout,
    };
    let ending = auto.run(&cx).await?;
    write_outputs(&ending, outputs)?;
    Ok(show(&ending, printer))
}

/// Refuses to meddle with a canary that decides by itself.
pub(super) async fn refuse_while_under_way(
    rollout: &Rollout<'_>,
    service: &Service,
) -> Result<(), Error> {
    let shelf = Shelf::new(rollout.cluster, rollout.mesh.split_object(service));
    match shelf.read().await? {
        Some(record) if !record.is_settled() => {
            let message = format!("a canary is already under way: {}", record.whose());
            Err(Error::new(Exit::Blocked, message).hint(
                "end it with `meshctl canary abort`, or go on with `meshctl canary resume` when nobody does",
            ))
        }
        _ => Ok(()),
    }
}

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

struct Nobody;

impl crate::engine::Listener for Nobody {
    fn hear(&self, _: &crate::engine::Event) {}
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |error| {
        Error::new(
            Exit::Invalid,
            format!("cannot write {}: {error}", path.display()),
        )
    }
}

fn begin_recording(
    path: &Path,
    record: &Record,
) -> Result<std::io::BufWriter<std::fs::File>, Error> {
    let file = std::fs::File::create(path).map_err(unwritable(path))?;
    let mut file = std::io::BufWriter::new(file);
    recording::Head::new(
        &record.service,
        &record.stable,
        &record.canary,
        &record.plan,
    )
    .write(&mut file)
    .map_err(unwritable(path))?;
    Ok(file)
}

fn write_outputs(ending: &Ending, outputs: &Outputs) -> Result<(), Error> {
    if let Some(path) = &outputs.report {
        std::fs::write(path, report::html(ending)).map_err(unwritable(path))?;
    }
    if let Some(path) = &outputs.junit {
        std::fs::write(path, report::junit(ending)).map_err(unwritable(path))?;
    }
    Ok(())
}

/// The exit code of an outcome.
pub(super) fn exit(outcome: Outcome) -> Exit {
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

fn show(ending: &Ending, printer: &Printer) -> Exit {
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
