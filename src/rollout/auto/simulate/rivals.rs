//! The rules of Flagger and of Argo Rollouts, from their documentation.

use serde::Serialize;

use super::End;
use super::World;
use crate::rollout::auto::evidence::Trials;
use crate::rollout::auto::machine::Outcome;

/// Flagger: every interval the canary's success rate over that interval is held against a minimum. A failed check keeps
/// the weight; `threshold` failed checks in all roll back; after the last weight's check the canary is promoted
/// (docs.flagger.app, "How it works": `analysis.interval`, `threshold`, `stepWeight`, `maxWeight`,
/// `metrics[].thresholdRange.min: 99` for `request-success-rate`). Without requests a check is not made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flagger {
    /// Seconds between checks.
    pub interval: u64,
    /// Failed checks that roll back.
    pub threshold: u32,
    /// The weights, in percent, one check each.
    pub shares: Vec<u8>,
    /// The least success rate.
    pub least: f64,
}

impl Flagger {
    /// The documented example: every minute, five failed checks, 10 % to 50 %; or ten checks at one weight.
    pub fn documented(fixed: Option<u8>) -> Self {
        Flagger {
            interval: 60,
            threshold: 5,
            shares: match fixed {
                Some(share) => vec![share; 10],
                None => vec![10, 20, 30, 40, 50],
            },
            least: 0.99,
        }
    }

    pub(super) fn run(&self, mut world: World) -> End {
        let (mut at, mut failed) = (0, 0);
        let mut checks = 0;
        let outcome = loop {
            let Some(share) = self.shares.get(at) else {
                break Outcome::Promoted;
            };
            let seen = check(&mut world, self.interval, f64::from(*share) / 100.0);
            checks += 1;
            if seen.total == 0 {
                if checks > 1000 {
                    break Outcome::Inconclusive;
                }
                continue;
            }
            if 1.0 - seen.share() >= self.least {
                at += 1;
            } else {
                failed += 1;
                if failed >= self.threshold {
                    break Outcome::RolledBack;
                }
            }
        };
        end(outcome, &world)
    }
}

/// Argo Rollouts: an analysis takes `count` measurements, one every interval. Each succeeds or fails by its condition;
/// more than `failureLimit` failures abort, otherwise the rollout goes on (argo-rollouts.readthedocs.io, "Analysis":
/// `interval`, `count`, `failureLimit`, `successCondition`). Without requests the result is empty, an error that is
/// measured again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Argo {
    /// Seconds between measurements.
    pub interval: u64,
    /// Measurements.
    pub count: u32,
    /// Failures that are allowed.
    pub failure_limit: u32,
    /// The weights, in percent, each for its part of the measurements.
    pub shares: Vec<u8>,
    /// The least success rate.
    pub least: f64,
}

impl Argo {
    /// Ten measurements, one a minute, three failures allowed, at the success rate that Flagger is given.
    pub fn documented(fixed: Option<u8>) -> Self {
        Argo {
            interval: 60,
            count: 10,
            failure_limit: 3,
            shares: match fixed {
                Some(share) => vec![share],
                None => vec![20, 40, 60, 80],
            },
            least: 0.99,
        }
    }

    pub(super) fn run(&self, mut world: World) -> End {
        let mut failed = 0;
        let mut errors = 0;
        let mut measured = 0;
        let outcome = loop {
            if measured >= self.count {
                break Outcome::Promoted;
            }
            let at = measured as usize * self.shares.len() / self.count.max(1) as usize;
            let share = f64::from(self.shares[at.min(self.shares.len() - 1)]) / 100.0;
            let seen = check(&mut world, self.interval, share);
            if seen.total == 0 {
                errors += 1;
                // consecutiveErrorLimit, four by default.
                if errors > 4 {
                    break Outcome::Inconclusive;
                }
                continue;
            }
            errors = 0;
            measured += 1;
            failed += u32::from(1.0 - seen.share() < self.least);
            if failed > self.failure_limit {
                break Outcome::RolledBack;
            }
        };
        end(outcome, &world)
    }
}

fn check(world: &mut World, interval: u64, share: f64) -> Trials {
    world.shifted(share);
    let mut seen = Trials::default();
    for _ in 0..interval {
        seen += world.second(share).canary.trials();
    }
    seen
}

fn end(outcome: Outcome, world: &World) -> End {
    End {
        outcome,
        canary: world.canary(),
        seconds: world.seconds(),
    }
}
