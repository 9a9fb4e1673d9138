//! What `canary --auto` is told on the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::parse_duration;
use crate::cli::{Error, Exit};
use crate::config::Protocol;
use crate::rollout::auto::plan::{Guard, Interrupted, Latency, Plan, Policy, Slowdown};
use crate::rollout::auto::source::{Kind, Queries};

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
    /// The counter of requests; $cluster stands for Envoy's name of a version's cluster, $version for the version [default: Envoy's own]
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
    pub(super) report: Option<PathBuf>,
    /// Write the verdict as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// Record the samples, for `meshctl canary replay`
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
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

/// Nothing that a mesh's Envoys give Prometheus tells of gRPC's statuses.
fn no_grpc_metrics() -> Error {
    Error::new(
        Exit::Invalid,
        "the mesh's Envoys give Prometheus no gRPC statuses: --source prometheus needs --prometheus-requests and --prometheus-errors",
    )
    .hint(
        r#"with gRPC's own server metrics: --prometheus-requests 'grpc_server_handled_total{version="$version"}' --prometheus-errors 'grpc_server_handled_total{version="$version",grpc_code=~"Unknown|DeadlineExceeded|Unimplemented|Internal|Unavailable|DataLoss"}'; or --source envoy, which reads the callers' Envoys themselves"#,
    )
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
    /// The sources of samples of a service that speaks this.
    pub(super) fn kinds(&self, protocol: Protocol) -> Result<Vec<Kind>, Error> {
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
                    let asked = (&self.prometheus_requests, &self.prometheus_errors);
                    let usual = match (protocol, asked) {
                        (Protocol::Http, _) => Queries::default(),
                        (Protocol::Grpc, (Some(requests), Some(errors))) => {
                            Queries::for_grpc(requests.clone(), errors.clone())
                        }
                        (Protocol::Grpc, _) => return Err(no_grpc_metrics()),
                    };
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
