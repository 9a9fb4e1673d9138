//! Rules: what is to go wrong with which calls, and the checks that keep a rule from being one that can never strike.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::sandbox::aws::{self, doom};
use crate::sandbox::kubernetes::VERBS;

/// The methods of registry requests.
const METHODS: [&str; 6] = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];
/// What registry requests are about.
const TARGETS: [&str; 5] = ["base", "blobs", "manifests", "tags", "uploads"];
/// The longest time that a rule may name: a day.
const LONGEST: f64 = 86_400.0;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(PartialOrd, Ord))]
pub enum Kind {
    /// Refused for being one of too many, with the service's own code; nothing is done.
    Throttling,
    /// Refused as by a server that is overloaded or starting, 503; nothing is done.
    Unavailable,
    /// Refused as by a server with a defect, 500; nothing is done.
    InternalError,
    /// Refused for want of permission, which nobody tries again; nothing is done.
    Denied,
    /// Refused because the credentials have expired; nothing is done.
    Expired,
    /// Refused as by a service that is no more, 410; nothing is done.
    Ended,
    /// The connection is reset; nothing is done.
    Reset,
    /// No answer ever comes; nothing is done.
    TimeOut,
    /// It is done, and the connection is reset before the answer.
    Lost,
    /// It is done, and no answer ever comes.
    Unanswered,
    /// It is done after `seconds`.
    Slow,
    /// It is done once the fault is cleared.
    Held,
    /// It is begun, and what it began fails later.
    Fails,
    /// A read answers what was so `seconds` ago.
    Stale,
    /// The API server is away for `seconds`, and all connections to it break.
    Restart,
    /// The connection of a watch breaks after `seconds`.
    Cut,
    /// The registry forgets the upload before it goes on.
    DropUpload,
}

impl Kind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Kind; 17] = [
        Kind::Throttling,
        Kind::Unavailable,
        Kind::InternalError,
        Kind::Denied,
        Kind::Expired,
        Kind::Ended,
        Kind::Reset,
        Kind::TimeOut,
        Kind::Lost,
        Kind::Unanswered,
        Kind::Slow,
        Kind::Held,
        Kind::Fails,
        Kind::Stale,
        Kind::Restart,
        Kind::Cut,
        Kind::DropUpload,
    ];

    /// As rules write it: `time-out`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Throttling => "throttling",
            Kind::Unavailable => "unavailable",
            Kind::InternalError => "internal-error",
            Kind::Denied => "denied",
            Kind::Expired => "expired",
            Kind::Ended => "ended",
            Kind::Reset => "reset",
            Kind::TimeOut => "time-out",
            Kind::Lost => "lost",
            Kind::Unanswered => "unanswered",
            Kind::Slow => "slow",
            Kind::Held => "held",
            Kind::Fails => "fails",
            Kind::Stale => "stale",
            Kind::Restart => "restart",
            Kind::Cut => "cut",
            Kind::DropUpload => "drop-upload",
        }
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Throttling => "refused as one of too many, with the service's own code",
            Kind::Unavailable => "refused as by an overloaded server, 503",
            Kind::InternalError => "refused as by a server with a defect, 500",
            Kind::Denied => "refused for want of permission, which nobody tries again",
            Kind::Expired => "refused because the credentials have expired",
            Kind::Ended => "refused as by a service that is no more, 410",
            Kind::Reset => "connection reset before anything is done",
            Kind::TimeOut => "nothing is done and no answer comes",
            Kind::Lost => "done, and the connection reset before the answer",
            Kind::Unanswered => "done, and no answer comes",
            Kind::Slow => "done after `seconds`",
            Kind::Held => "done once the fault is cleared",
            Kind::Fails => "begun, and what it began fails later",
            Kind::Stale => "a read of AWS answers what was so `seconds` ago",
            Kind::Restart => "the API server is away for `seconds`",
            Kind::Cut => "a watch's connection breaks after `seconds`",
            Kind::DropUpload => "the registry forgets the upload",
        }
    }

    /// How a call is refused, for kinds that refuse it.
    pub(super) fn refusal(self) -> Option<Refusal> {
        match self {
            Kind::Throttling => Some(Refusal::Throttled),
            Kind::Unavailable => Some(Refusal::Unavailable),
            Kind::InternalError => Some(Refusal::Internal),
            Kind::Denied => Some(Refusal::Denied),
            Kind::Expired => Some(Refusal::Expired),
            Kind::Ended => Some(Refusal::Ended),
            _ => None,
        }
    }

    /// How long it takes where a rule does not say.
    fn seconds(self) -> Option<f64> {
        match self {
            Kind::Slow | Kind::Restart => Some(2.0),
            Kind::Stale => Some(5.0),
            Kind::Cut => Some(1.0),
            _ => None,
        }
    }

    /// Whether it can be made of a call, by its name.
    fn fits(self, call: &str) -> bool {
        match self {
            Kind::Fails => doom::OPERATIONS.iter().any(|(known, _)| *known == call),
            Kind::Stale => !call.starts_with("kubernetes:") && !call.starts_with("registry:"),
            Kind::Restart => call.starts_with("kubernetes:"),
            Kind::Cut => call.starts_with("kubernetes:watch:"),
            Kind::DropUpload => UPLOADS.contains(&call),
            _ => true,
        }
    }

    /// What a rule for it may be about, where that is not everything.
    fn about(self) -> Option<Vec<&'static str>> {
        match self {
            Kind::Fails => Some(doom::OPERATIONS.iter().map(|(known, _)| *known).collect()),
            Kind::DropUpload => Some(UPLOADS.to_vec()),
            _ => None,
        }
    }
}

/// The calls that go on with an upload.
const UPLOADS: [&str; 2] = ["registry:PATCH:uploads", "registry:PUT:uploads"];

/// Whose calls a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Callers {
    /// Whoever comes from outside: the tool and other people's clients.
    #[default]
    Tool,
    /// What runs in the sandbox: controllers, kubelets, pods.
    Controllers,
    /// Everybody.
    Any,
}

/// A rule as people write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// `cloudformation:CreateStack`, `kubernetes:patch:deployments.apps`, `registry:PUT:manifests`; `*` stands for
    /// anything.
    pub calls: String,
    /// What goes wrong.
    pub kind: Kind,
    /// Whose calls are meant and counted.
    #[serde(default)]
    pub caller: Callers,
    /// The first of the calls that may be struck, counted from when the rule came in.
    #[serde(default = "first")]
    pub nth: u64,
    /// How many calls are struck at most: one, or, with a probability, as many as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How likely each of the calls is struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Where the random numbers for that begin; the same seed strikes the same calls.
    #[serde(default)]
    pub seed: u64,
    /// How long it takes, in real time, for kinds that take some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

fn first() -> u64 {
    1
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Wrong {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

fn wrong(field: &'static str, message: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong {
        field,
        message: message.into(),
    })
}

impl Rule {
    /// A rule for the first call of a kind.
    pub fn new(calls: impl Into<String>, kind: Kind) -> Self {
        Rule {
            calls: calls.into(),
            kind,
            caller: Callers::default(),
            nth: 1,
            count: None,
            probability: None,
            seed: 0,
            seconds: None,
        }
    }

    /// How long it takes.
    pub fn duration(&self) -> Duration {
        let seconds = self.seconds.or(self.kind.seconds()).unwrap_or_default();
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// How many calls are struck at most.
    pub fn most(&self) -> u64 {
        match (self.count, self.probability) {
            (Some(count), _) => count,
            (None, Some(_)) => u64::MAX,
            (None, None) => 1,
        }
    }

    /// Whether a call is meant, by its name.
    pub fn means(&self, call: &str) -> bool {
        matches(&self.calls, call) && self.kind.fits(call)
    }

    /// Says what is wrong with the rule, if something is.
    ///
    /// # Errors
    /// The first field that makes no sense.
    pub fn check(&self) -> Result<(), Wrong> {
        check_calls(&self.calls)?;
        self.check_kind()?;
        if self.nth == 0 {
            wrong("nth", "calls are counted from 1")?;
        }
        if self.count == Some(0) {
            wrong("count", "a rule that strikes no call has no use")?;
        }
        if let Some(probability) = self.probability
            && !(probability > 0.0 && probability <= 1.0)
        {
            wrong(
                "probability",
                format!("a probability is above 0 and at most 1, not {probability}"),
            )?;
        }
        match (self.seconds, self.kind.seconds()) {
            (Some(_), None) => wrong(
                "seconds",
                format!("a fault of the kind {} takes no time", self.kind.name()),
            ),
            (Some(seconds), _) if !(0.0..=LONGEST).contains(&seconds) => wrong(
                "seconds",
                format!("a time is from 0 to {LONGEST} seconds, not {seconds}"),
            ),
            _ => Ok(()),
        }
    }
}

impl Rule {
    /// Whether any of the calls can have this kind of fault.
    fn check_kind(&self) -> Result<(), Wrong> {
        let (name, calls) = (self.kind.name(), &self.calls);
        if let Some(known) = self.kind.about() {
            if known.iter().any(|call| matches(calls, call)) {
                return Ok(());
            }
            return wrong(
                "calls",
                format!("a fault of the kind {name} is for {}", known.join(", ")),
            );
        }
        // The service of the pattern says enough.
        let service = calls.split(':').next().unwrap_or_default();
        let (fits, which) = match self.kind {
            Kind::Stale => (
                !matches!(service, "kubernetes" | "registry"),
                "reads of AWS",
            ),
            Kind::Restart => (matches(service, "kubernetes"), "calls of Kubernetes"),
            Kind::Cut => (
                calls == "*"
                    || matches!(calls.split(':').collect::<Vec<_>>()[..], ["kubernetes" | "*", verb, _] if matches(verb, "watch")),
                "watches of Kubernetes",
            ),
            _ => (true, ""),
        };
        match fits {
            true => Ok(()),
            false => wrong(
                "calls",
                format!("a fault of the kind {name} is for {which}"),
            ),
        }
    }
}

fn check_calls(calls: &str) -> Result<(), Wrong> {
    let mut parts = calls.split(':');
    let (Some(service), Some(what), object) = (parts.next(), parts.next(), parts.next()) else {
        return match calls {
            "*" => Ok(()),
            _ => wrong(
                "calls",
                format!(
                    "`{calls}` is not SERVICE:OPERATION, kubernetes:VERB:RESOURCE or registry:METHOD:WHAT"
                ),
            ),
        };
    };
    let one_of = |what: &str, known: &[&str], sort: &str| {
        if known.iter().any(|known| matches(what, known)) {
            return Ok(());
        }
        wrong(
            "calls",
            format!("`{what}` is no {sort}: {}", known.join(", ")),
        )
    };
    let plain = |name: &str, form: &str| match (object, parts.clone().next()) {
        (Some(object), None) if !object.is_empty() => Ok(()),
        _ => wrong("calls", format!("calls of {name} are named {name}:{form}")),
    };
    match service {
        "kubernetes" => {
            plain("kubernetes", "VERB:RESOURCE")?;
            one_of(what, &VERBS, "verb of Kubernetes")
        }
        "registry" => {
            plain("registry", "METHOD:WHAT")?;
            one_of(what, &METHODS, "method of a registry")?;
            one_of(object.unwrap_or_default(), &TARGETS, "part of a registry")
        }
        _ => {
            let mut known = aws::services()
                .iter()
                .filter(|known| matches(service, known.signing_name()))
                .peekable();
            if object.is_some() {
                wrong("calls", "calls of AWS are named SERVICE:OPERATION")
            } else if known.peek().is_none() {
                let names: Vec<&str> = aws::services().iter().map(|s| s.signing_name()).collect();
                wrong(
                    "calls",
                    format!(
                        "there is no service `{service}`: {}, kubernetes, registry",
                        names.join(", ")
                    ),
                )
            } else if known.any(|known| {
                let mut operations = known.operations().iter();
                operations.any(|operation| matches(what, operation.name))
            }) {
                Ok(())
            } else {
                wrong(
                    "calls",
                    format!(
                        "the sandbox's {service} has no operation `{what}`: see `meshctl sandbox operations`"
                    ),
                )
            }
        }
    }
}

/// Whether a name is what a pattern says, where `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    aws::iam::policy::glob(pattern, name)
}
