//! How far a run is and how long it may still take, from its events alone.

use std::collections::HashMap;
use std::time::Duration;

use crate::engine::{EventKind, Outcome, Phase, StepId, StepInfo};

/// What is known of one step.
#[derive(Debug)]
struct Known {
    info: StepInfo,
    began: Option<Duration>,
    done: bool,
}

/// A run's progress.
#[derive(Debug, Default)]
pub(super) struct Progress {
    steps: Vec<Known>,
    index: HashMap<StepId, usize>,
    destroying: bool,
    /// Expected and real seconds of the finished steps that did something.
    expected: f64,
    real: f64,
}

impl Progress {
    /// Takes an event in.
    pub fn hear(&mut self, elapsed: Duration, kind: &EventKind) {
        match kind {
            EventKind::RunStarted { phase, steps } => {
                self.destroying = *phase == Phase::Destroy;
                self.index = steps
                    .iter()
                    .enumerate()
                    .map(|(index, step)| (step.id.clone(), index))
                    .collect();
                self.steps = steps
                    .iter()
                    .map(|info| Known {
                        info: info.clone(),
                        began: None,
                        done: false,
                    })
                    .collect();
            }
            EventKind::StepStarted {
                id,
                phase: Phase::Apply | Phase::Destroy,
                ..
            } => {
                if let Some(&index) = self.index.get(id) {
                    self.steps[index].began = Some(elapsed);
                }
            }
            EventKind::StepFinished { id, outcome, took } => {
                if let Some(&index) = self.index.get(id) {
                    self.steps[index].done = true;
                    if matches!(outcome, Outcome::Applied { .. } | Outcome::Destroyed) {
                        self.expected += self.expected_of(&self.steps[index].info).as_secs_f64();
                        self.real += took.as_secs_f64();
                    }
                }
            }
            _ => {}
        }
    }

    /// How many steps are done, of how many.
    pub fn done(&self) -> (usize, usize) {
        (
            self.steps.iter().filter(|step| step.done).count(),
            self.steps.len(),
        )
    }

    /// A step's title.
    pub fn title<'a>(&'a self, id: &'a StepId) -> &'a str {
        self.index
            .get(id)
            .map_or(id.as_str(), |&index| &self.steps[index].info.title)
    }

    fn expected_of(&self, info: &StepInfo) -> Duration {
        if self.destroying {
            info.expected.down
        } else {
            info.expected.up
        }
    }

    /// How long the run may still take: the longest chain of expected durations that is left, at the pace so far.
    /// `None` until there is a pace.
    pub fn remaining(&self, elapsed: Duration) -> Option<Duration> {
        let pace = (self.expected >= 1.0 && self.real > 0.0).then(|| self.real / self.expected)?;
        let mut ends: HashMap<&StepId, f64> = HashMap::new();
        let mut longest: f64 = 0.0;
        for step in &self.steps {
            let before = step
                .info
                .after
                .iter()
                .filter_map(|id| ends.get(id))
                .fold(0.0, |a: f64, b| a.max(*b));
            let own = match (step.done, step.began) {
                (true, _) => 0.0,
                (false, began) => {
                    let spent =
                        began.map_or(0.0, |began| elapsed.saturating_sub(began).as_secs_f64());
                    (self.expected_of(&step.info).as_secs_f64() * pace - spent).max(0.0)
                }
            };
            longest = longest.max(before + own);
            ends.insert(&step.info.id, before + own);
        }
        Some(Duration::from_secs_f64(longest))
    }
}

/// A duration for people: `0.4 s`, `12 s`, `9 min 05 s`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{whole} s"),
        _ => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}
