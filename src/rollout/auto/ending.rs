//! What is left of a run when it is over.

use std::collections::BTreeMap;

use serde::Serialize;

use super::evidence::Trials;
use super::judge::Standing;
use super::machine::{Cause, Outcome, State};
use super::record::Record;
use crate::config::Service;
use crate::rollout::split::Verdict;

/// One point of a run's curves.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Seconds of the run.
    pub at: f64,
    /// The source.
    pub source: &'static str,
    /// The weight, in percent.
    pub weight: u8,
    /// The numbers.
    pub standing: Standing,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Ending {
    /// How, for programs.
    pub outcome: Outcome,
    /// How, in words.
    pub words: String,
    /// The record as it was left.
    pub record: Record,
    /// The canary's requests and failures in this process's part of the run, by source.
    pub canary: BTreeMap<String, Trials>,
    /// Failures that named no version, by source, where there were any.
    pub unattributed: BTreeMap<String, u64>,
    /// The split in the last judged step, against its weight.
    pub split: Option<Verdict>,
    /// What may be the matter with the split.
    pub likely_causes: Vec<String>,
    /// The curves.
    pub points: Vec<Point>,
    /// Which counters were read, by source.
    pub counters: BTreeMap<String, String>,
}

/// What may be the matter when requests go elsewhere than the weights say.
pub(super) fn split_causes(service: &Service, canary: &str) -> Vec<String> {
    let name = &service.name;
    vec![
        format!("callers use another host name than {name}'s in the mesh, so no route matches and requests go wherever the name leads (mesh-allow-all)"),
        format!("a calling pod has no sidecar: see `kubectl get pods` for pods with one container less"),
        "callers keep connections to one version open past the shift (connection-level balancing, keep-alive)".into(),
        format!("some proxies have lost the mesh's control plane and still follow the old weights, or {canary} is down for some of them"),
    ]
}

/// Why an ending is what it is, for those that have to act on it.
pub fn hint(ending: &Ending) -> Option<String> {
    let state = ending.record.state;
    Some(match state {
        State::Holding { .. } => "go on with `meshctl canary resume`, or give stable its traffic back with `meshctl canary abort`".into(),
        State::Stuck { .. } => "see the mesh controller, then `meshctl canary resume`".into(),
        State::Promoted => "take it back with `meshctl canary undo`".into(),
        State::Restored { because: Cause::NoTraffic } => "send traffic, add --source probe, or decide yourself with `meshctl canary promote`".into(),
        State::Restored { because: Cause::Inconclusive } => "allow more time (--step-limit), accept a greater effect (--error-effect), or begin with a greater share (--steps)".into(),
        State::Restored { because: Cause::StableFails } => "the canary is not to blame: mend stable, see its error rate with `meshctl status --watch`, then begin again".into(),
        _ => return None,
    })
}
