//! The run as a pure state machine: events in, one action per state out.
//!
//! What has to be done follows from the state alone, and doing it twice is the same as doing it once. So a run that was
//! killed goes on by doing what its last recorded state asks for; nothing else has to be remembered.

use serde::{Deserialize, Serialize};

use super::judge::{Opinion, Worse};
use super::plan::{Interrupted, Plan, Policy};

/// Tries to give stable its traffic back before a person has to.
pub const RESTORES: u8 = 8;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// A step's weight is being set.
    Shifting {
        /// Which.
        step: usize,
    },
    /// A step's samples are being judged.
    Judging {
        /// Which.
        step: usize,
    },
    /// The canary is being given all traffic.
    Promoting,
    /// Stable is being given the traffic back that it had.
    Restoring {
        /// Why.
        because: Cause,
        /// How often it was tried in vain.
        tried: u8,
    },
    /// The weight stays as it is until a person says more.
    Holding {
        /// At which step.
        step: usize,
        /// Why.
        because: Cause,
    },
    /// The canary has all traffic.
    Promoted,
    /// Stable has its traffic back.
    Restored {
        /// Why.
        because: Cause,
    },
    /// Stable could not be given its traffic back.
    Stuck {
        /// Why it should have been.
        because: Cause,
    },
}

/// Why a run does not end with a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The canary fails more often than stable.
    Errors,
    /// The canary is slower than stable.
    Latency,
    /// The canary passed the absolute guard rail.
    Guard,
    /// Time was over and nothing decided.
    Inconclusive,
    /// Time was over, and there was hardly a request.
    NoTraffic,
    /// Requests go elsewhere than the weights say.
    Split,
    /// Stable itself fails: nothing can be said of the canary.
    StableFails,
    /// A version is not there, or the mesh does not take the weight.
    Unavailable,
    /// The source of samples failed or spoke nonsense.
    Blind,
    /// The whole run's time was over.
    TimedOut,
    /// A person or a signal interrupted.
    Interrupted,
    /// A person asked for it.
    Asked,
}

/// What happens to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The mesh has taken the weight, and proxies follow.
    Shifted,
    /// The mesh did not take the weight, or a version is not there.
    Unavailable,
    /// What the samples say.
    Judged(Opinion),
    /// The step's time is over; whether there was any traffic to speak of.
    StepOver {
        /// Whether the canary had requests enough for a stretch.
        traffic: bool,
    },
    /// The source of samples failed for too long or spoke nonsense.
    Blind,
    /// The whole run's time is over.
    RunOver,
    /// A person or a signal interrupted.
    Interrupted,
    /// A person asks for stable to have its traffic back.
    Abort,
    /// A person asks to go on after a hold.
    Resume,
}

impl Event {
    /// All events, for tests that try every order of them.
    #[cfg(test)]
    pub const ALL: [Event; 16] = [
        Event::Shifted,
        Event::Unavailable,
        Event::Judged(Opinion::Undecided),
        Event::Judged(Opinion::Close),
        Event::Judged(Opinion::Worse(Worse::Errors)),
        Event::Judged(Opinion::Worse(Worse::Latency)),
        Event::Judged(Opinion::Worse(Worse::Guard)),
        Event::Judged(Opinion::StableFails),
        Event::Judged(Opinion::WrongSplit),
        Event::StepOver { traffic: true },
        Event::StepOver { traffic: false },
        Event::Blind,
        Event::RunOver,
        Event::Interrupted,
        Event::Abort,
        Event::Resume,
    ];
}

/// What a state asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give the canary this share, in percent, and wait until the mesh and its proxies follow.
    Shift(u8),
    /// Give every version the share that it had before the run.
    Restore,
    /// Take samples and judge them.
    Judge(usize),
    /// Nothing more: leave everything as it is.
    Stop,
}

/// How a run ends, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The canary has all traffic.
    Promoted,
    /// The canary is worse; stable has its traffic back.
    RolledBack,
    /// Nothing could be decided.
    Inconclusive,
    /// The split is not what the weights say.
    SplitNotRealised,
    /// A version, the mesh or the source of samples is not available, or stable itself fails.
    Unavailable,
    /// The whole run's time was over.
    TimedOut,
    /// Interrupted.
    Interrupted,
    /// Given up on request.
    Aborted,
}

impl State {
    /// Where every run begins.
    pub const START: State = State::Shifting { step: 0 };

    /// What is to be done in this state.
    pub fn action(self, plan: &Plan) -> Action {
        match self {
            State::Shifting { step } => Action::Shift(plan.steps.get(step).copied().unwrap_or(100)),
            State::Judging { step } => Action::Judge(step),
            State::Promoting => Action::Shift(100),
            State::Restoring { .. } => Action::Restore,
            State::Holding { .. }
            | State::Promoted
            | State::Restored { .. }
            | State::Stuck { .. } => Action::Stop,
        }
    }

    /// Whether the run does nothing more by itself.
    pub fn is_over(self) -> bool {
        matches!(
            self,
            State::Holding { .. } | State::Promoted | State::Restored { .. } | State::Stuck { .. }
        )
    }

    /// Whether it leads back to stable, or leads nowhere any more.
    pub fn is_retreat(self) -> bool {
        self.is_over() || matches!(self, State::Restoring { .. })
    }

    /// Whether the record has served: nothing of the run is left in the mesh that somebody must see to.
    pub fn is_settled(self) -> bool {
        matches!(self, State::Promoted | State::Restored { .. })
    }

    /// The step that it is about.
    pub fn step(self) -> Option<usize> {
        match self {
            State::Shifting { step } | State::Judging { step } | State::Holding { step, .. } => {
                Some(step)
            }
            _ => None,
        }
    }

    /// How the run ended; none while it goes on.
    pub fn outcome(self) -> Option<Outcome> {
        let because = match self {
            State::Promoted => return Some(Outcome::Promoted),
            State::Stuck { .. } => return Some(Outcome::Unavailable),
            State::Restored { because } | State::Holding { because, .. } => because,
            _ => return None,
        };
        Some(match because {
            Cause::Errors | Cause::Latency | Cause::Guard => Outcome::RolledBack,
            Cause::Inconclusive | Cause::NoTraffic => Outcome::Inconclusive,
            Cause::Split => Outcome::SplitNotRealised,
            Cause::StableFails | Cause::Unavailable | Cause::Blind => Outcome::Unavailable,
            Cause::TimedOut => Outcome::TimedOut,
            Cause::Interrupted => Outcome::Interrupted,
            Cause::Asked => Outcome::Aborted,
        })
    }

    /// The next state. An event that means nothing in this state changes nothing.
    #[must_use]
    pub fn on(self, event: Event, plan: &Plan) -> State {
        let restore = |because| State::Restoring { because, tried: 0 };
        match (self, event) {
            // What is over stays as it is, but for a person's word.
            (State::Promoted | State::Restored { .. }, _) => self,
            (State::Stuck { .. } | State::Holding { .. }, Event::Abort) => restore(Cause::Asked),
            (State::Stuck { because }, Event::Resume) => restore(because),
            // The weight is set again: somebody may have changed it meanwhile.
            (State::Holding { step, .. }, Event::Resume) => State::Shifting { step },
            (State::Stuck { .. } | State::Holding { .. }, _) => self,

            (State::Restoring { because, .. }, Event::Shifted) => State::Restored { because },
            (State::Restoring { because, tried }, Event::Unavailable) => match tried + 1 {
                RESTORES.. => State::Stuck { because },
                tried => State::Restoring { because, tried },
            },
            // Nothing keeps stable from getting its traffic back.
            (State::Restoring { .. }, _) => self,

            (State::Promoting, Event::Shifted) => State::Promoted,
            (_, Event::Unavailable) => restore(Cause::Unavailable),
            (_, Event::Abort) => restore(Cause::Asked),
            (_, Event::Interrupted) => match (plan.on_interrupt, self.step()) {
                (Interrupted::Hold, Some(step)) => State::Holding {
                    step,
                    because: Cause::Interrupted,
                },
                _ => restore(Cause::Interrupted),
            },
            (_, Event::RunOver) => match (plan.on_inconclusive, self.step()) {
                // Time that is over promotes nobody.
                (Policy::Hold, Some(step)) => State::Holding {
                    step,
                    because: Cause::TimedOut,
                },
                _ => restore(Cause::TimedOut),
            },

            (State::Shifting { step }, Event::Shifted) => State::Judging { step },

            (State::Judging { step }, Event::Judged(opinion)) => match opinion {
                Opinion::Undecided => self,
                Opinion::Close => passed(step, plan),
                Opinion::Worse(Worse::Errors) => restore(Cause::Errors),
                Opinion::Worse(Worse::Latency) => restore(Cause::Latency),
                Opinion::Worse(Worse::Guard) => restore(Cause::Guard),
                Opinion::StableFails => restore(Cause::StableFails),
                Opinion::WrongSplit => restore(Cause::Split),
            },
            (State::Judging { step }, Event::StepOver { traffic }) => {
                let because = match traffic {
                    true => Cause::Inconclusive,
                    false => Cause::NoTraffic,
                };
                match plan.on_inconclusive {
                    Policy::Hold => State::Holding { step, because },
                    Policy::Rollback => restore(because),
                    Policy::Promote => passed(step, plan),
                }
            }
            // Whoever sees nothing promotes nobody, whatever the policy.
            (State::Judging { step }, Event::Blind) => match plan.on_inconclusive {
                Policy::Hold => State::Holding {
                    step,
                    because: Cause::Blind,
                },
                Policy::Rollback | Policy::Promote => restore(Cause::Blind),
            },

            (
                State::Shifting { .. } | State::Promoting,
                Event::Judged(_) | Event::StepOver { .. } | Event::Blind | Event::Resume,
            )
            | (State::Judging { .. }, Event::Shifted | Event::Resume) => self,
        }
    }
}

fn passed(step: usize, plan: &Plan) -> State {
    if step + 1 < plan.judged() {
        State::Shifting { step: step + 1 }
    } else {
        State::Promoting
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Cause::Errors => "it fails more often than stable",
            Cause::Latency => "it is slower than stable",
            Cause::Guard => "it passed the guard rail",
            Cause::Inconclusive => "nothing could be decided in the time allowed",
            Cause::NoTraffic => "there was no traffic to judge by",
            Cause::Split => "requests do not go where the weights say",
            Cause::StableFails => "stable itself fails",
            Cause::Unavailable => "a version or the mesh is not available",
            Cause::Blind => "the source of samples failed",
            Cause::TimedOut => "the time of the whole run was over",
            Cause::Interrupted => "it was interrupted",
            Cause::Asked => "somebody asked for it",
        })
    }
}

#[cfg(test)]
mod tests;
