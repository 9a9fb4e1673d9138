//! What the samples say: the sequential tests, the guard rails and the split, in constant time and memory per sample.
//!
//! Two proportions are compared, canary against concurrent stable: that of failed requests, and that of requests slower
//! than a threshold. The second is how a quantile is tested (a quantile is a threshold's proportion; Howard, Ramdas 2022,
//! "Sequential estimation of quantiles with applications to A/B testing and best-arm identification"): with stable's
//! quantile `q` as known before a stretch, and `q'` that plus the effect,
//! - if the canary is no slower, it reaches `q'` no more often than stable reaches `q'`;
//! - if it is slower by the effect, it reaches `q'` at least as often as stable reaches `q`.
//!
//! The threshold moves with what is seen, always before the stretch that it is used for, which keeps both tests valid.

use serde::{Deserialize, Serialize};

use super::evidence::{Closeness, Excess, Trials, log_add, odds_ratio};
use super::exact::{self, pair as exact_pair};
use super::plan::{Latency, Plan};
use super::samples::{Histogram, Tick, lower, reaching};
use crate::rollout::split::log_gamma;

/// Requests of either version that make a stretch. Fewer compare a request with too few concurrent ones, more wait.
const STRETCH: u64 = 5;
/// Stable's latencies before there is a threshold.
const LATENCIES: u64 = 50;
/// Stable's requests after which the older half counts half.
const MEMORY: u64 = 20_000;
/// The same for latencies, which drift more and of which fewer will do.
const RECENT: u64 = 600;
/// What expected rates weigh, in requests, until there is something better.
const EXPECTATION: f64 = 200.0;
/// The evidence (its logarithm) at which a split is not what was asked for: once in a thousand right ones, at any time.
const SPLIT: f64 = 6.907_755_278_982_137;
/// Capital for what shows late: the rest is invested in the beginning.
const LATE: f64 = 0.1;
/// The part of all capital that bets on latency.
const LATENCY: f64 = 0.06;

/// Why a canary is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worse {
    /// It fails more often than stable.
    Errors,
    /// It is slower than stable.
    Latency,
    /// It passed the absolute guard rail.
    Guard,
}

/// What the samples of a step say so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opinion {
    /// Nothing yet.
    Undecided,
    /// The canary is out.
    Worse(Worse),
    /// The canary is not worse by the effect: the step is passed.
    Close,
    /// Stable itself is beyond the guard rail: nothing can be compared.
    StableFails,
    /// The versions' shares of the traffic are not the weights.
    WrongSplit,
}

/// Thresholds for latency, fixed before the stretch that they are used for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Limits {
    /// The bucket of stable's quantile.
    base: u16,
    /// That plus the effect.
    slow: u16,
    /// How often stable is expected to reach the first and the second.
    #[serde(with = "exact_pair")]
    expected: (f64, f64),
}

/// Requests that are not judged yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stretch {
    stable: Trials,
    canary: Trials,
    unattributed: u64,
    /// Of stable's latencies those that reach the base.
    base: Trials,
    /// Of either's latencies those that reach the slow limit.
    slow_stable: Trials,
    slow_canary: Trials,
}

/// Everything that is known, in a form that can be kept and taken up again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knowledge {
    /// The step that is judged; none while stable alone is learnt about.
    step: Option<usize>,
    /// When it began, in seconds of the run.
    #[serde(with = "exact")]
    began: f64,
    /// The last sample's time.
    #[serde(with = "exact")]
    at: f64,
    errors: Excess,
    slow: Excess,
    close: Closeness,
    quick: Closeness,
    stretch: Stretch,
    limits: Option<Limits>,
    /// Stable's failures, the older ones counting less.
    known: Trials,
    /// Stable's latencies, the same.
    latencies: Histogram,
    guard: (Trials, Trials),
    /// Stable's share of failures in the last full window of its guard.
    stable_window: Option<Trials>,
    opinion: Opinion,
    /// This step's requests.
    stable: Trials,
    canary: Trials,
    unattributed: u64,
    /// This step's latencies.
    step_latencies: (Histogram, Histogram),
    /// The whole run's.
    run: (Trials, Trials),
    /// The same of failures that nothing attributes.
    #[serde(default)]
    run_unattributed: u64,
    /// Requests under way at the last sample.
    #[serde(default)]
    under_way: u64,
}

impl Knowledge {
    /// The last sample's time, in seconds of the run.
    pub fn at(&self) -> f64 {
        self.at
    }
}

/// A judge of one source's samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Judge {
    plan: Plan,
    known: Knowledge,
}

/// What a judge can show of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The logarithm of the evidence that the canary is worse, and at how much it is out.
    pub worse: f64,
    /// See `worse`.
    pub out: f64,
    /// The logarithm of the evidence that the error rate is close enough, and at how much the step is passed.
    pub close: f64,
    /// The same for latency, where it is judged.
    pub quick: Option<f64>,
    /// See `close`.
    pub pass: f64,
    /// Stable's requests and failures in this step.
    pub stable: Trials,
    /// The canary's.
    pub canary: Trials,
    /// Failures that nothing attributes.
    pub unattributed: u64,
    /// Milliseconds at 0.5, the judged quantile (or 0.95) and 0.99 of stable's latencies in this step.
    pub stable_millis: Option<[f64; 3]>,
    /// The canary's.
    pub canary_millis: Option<[f64; 3]>,
}

impl Judge {
    /// A judge that knows nothing yet. The seed decides about orders alone.
    pub fn new(plan: Plan, seed: u64) -> Self {
        let mut errors = Excess::new(seed.wrapping_mul(2).wrapping_add(1));
        let mut slow = Excess::new(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9));
        let late = if plan.judged() > 1 { LATE } else { 0.0 };
        let latency = if plan.latency.is_some() { LATENCY } else { 0.0 };
        errors.invest((1.0 - late) * (1.0 - latency));
        slow.invest((1.0 - late) * latency);
        Judge {
            plan,
            known: Knowledge {
                step: None,
                began: 0.0,
                at: 0.0,
                errors,
                slow,
                close: Closeness::default(),
                quick: Closeness::default(),
                stretch: Stretch::default(),
                limits: None,
                known: Trials::default(),
                latencies: Histogram::default(),
                guard: Default::default(),
                stable_window: None,
                opinion: Opinion::Undecided,
                stable: Trials::default(),
                canary: Trials::default(),
                unattributed: 0,
                step_latencies: Default::default(),
                run: Default::default(),
                run_unattributed: 0,
                under_way: 0,
            },
        }
    }

    /// A judge that goes on from what another knew.
    pub fn resume(plan: Plan, known: Knowledge) -> Self {
        Judge { plan, known }
    }

    /// What it knows, to be kept.
    pub fn knowledge(&self) -> &Knowledge {
        &self.known
    }

    /// Begins a step: what speaks for the canary has to be earned again; what speaks against it stays.
    pub fn begin(&mut self, step: usize) {
        let known = &mut self.known;
        if step > 0 && known.step.is_none_or(|before| before < step) && self.plan.judged() > 1 {
            let late = LATE / (self.plan.judged() - 1) as f64;
            let latency = if self.plan.latency.is_some() {
                2.0 * LATENCY
            } else {
                0.0
            };
            known.errors.invest(late * (1.0 - latency));
            known.slow.invest(late * latency);
        }
        known.step = Some(step);
        known.began = known.at;
        known.close = Closeness::default();
        known.quick = Closeness::default();
        known.stretch = Stretch::default();
        known.guard = Default::default();
        known.stable_window = None;
        known.opinion = Opinion::Undecided;
        known.stable = Trials::default();
        known.canary = Trials::default();
        known.unattributed = 0;
        known.step_latencies = Default::default();
    }

    /// What the samples say.
    pub fn opinion(&self) -> Opinion {
        self.known.opinion
    }

    /// The step that is judged, if any is.
    pub fn step(&self) -> Option<usize> {
        self.known.step
    }

    /// Takes in a sample from before proxies follow a new weight: only the guard rails look at it.
    ///
    /// # Errors
    /// As [`Judge::take`].
    pub fn watch(&mut self, tick: &Tick) -> Result<Opinion, String> {
        self.advance(tick)?;
        self.known.known += tick.stable.trials();
        self.learn();
        self.guard(tick);
        Ok(self.watched())
    }

    /// What the guard rails say.
    pub fn watched(&self) -> Opinion {
        match self.known.opinion {
            Opinion::Worse(Worse::Guard) | Opinion::StableFails => self.known.opinion,
            _ => Opinion::Undecided,
        }
    }

    /// The time of the last sample, in seconds of the run.
    pub fn at(&self) -> f64 {
        self.known.at
    }

    /// Requests and failures of stable and of the canary in the whole run.
    pub fn run(&self) -> (Trials, Trials) {
        self.known.run
    }

    /// Failures in the whole run of which nothing says which version had them.
    pub fn run_unattributed(&self) -> u64 {
        self.known.run_unattributed
    }

    /// Takes in a sample.
    ///
    /// # Errors
    /// A sample that cannot be true; it changes nothing.
    pub fn take(&mut self, tick: &Tick) -> Result<Opinion, String> {
        // What was counted since the last sample.
        let since = self.known.at;
        self.advance(tick)?;
        let known = &mut self.known;
        let Some(step) = known.step else {
            known.known += tick.stable.trials();
            self.learn();
            return Ok(Opinion::Undecided);
        };
        if matches!(
            known.opinion,
            Opinion::Worse(_) | Opinion::StableFails | Opinion::WrongSplit
        ) {
            return Ok(known.opinion);
        }
        self.guard(tick);
        if self.known.opinion == Opinion::Undecided
            && since >= self.known.began + self.plan.warm_up.as_secs_f64()
        {
            self.collect(tick);
            self.weigh(step);
        }
        Ok(self.known.opinion)
    }

    /// What is done with every sample.
    fn advance(&mut self, tick: &Tick) -> Result<(), String> {
        tick.check()?;
        if tick.at < self.known.at {
            return Err(format!(
                "a sample of {:.1} s after one of {:.1} s: the clock went back",
                tick.at, self.known.at
            ));
        }
        let known = &mut self.known;
        known.at = tick.at;
        known.run.0 += tick.stable.trials();
        known.run.1 += tick.canary.trials();
        known.run_unattributed += tick.unattributed;
        known.under_way = tick.under_way;
        known.latencies.add(&tick.stable.latencies);
        Ok(())
    }

    /// The absolute guard rail, which a failing stable version holds back.
    fn guard(&mut self, tick: &Tick) {
        let guard = self.plan.guard;
        let known = &mut self.known;
        known.guard.0 += tick.stable.trials();
        known.guard.1 += tick.canary.trials();
        if known.guard.0.total >= guard.requests {
            known.stable_window = Some(known.guard.0);
            known.guard.0 = Trials::default();
        }
        let last = known.stable_window.map_or(0.0, |window| window.share());
        let stable = match known.guard.0.total * 4 >= guard.requests {
            true => known.guard.0.share().max(last),
            false => last,
        };
        let mut canary = 0.0;
        if known.guard.1.total >= guard.requests {
            canary = known.guard.1.share();
            known.guard.1 = Trials::default();
        }
        if last > guard.rate {
            known.opinion = Opinion::StableFails;
        } else if canary > guard.rate && stable <= guard.rate / 2.0 {
            known.opinion = Opinion::Worse(Worse::Guard);
        }
    }

    fn collect(&mut self, tick: &Tick) {
        let known = &mut self.known;
        known.stable += tick.stable.trials();
        known.canary += tick.canary.trials();
        known.unattributed += tick.unattributed;
        known.step_latencies.0.add(&tick.stable.latencies);
        known.step_latencies.1.add(&tick.canary.latencies);
        let stretch = &mut known.stretch;
        stretch.stable += tick.stable.trials();
        stretch.canary += tick.canary.trials();
        stretch.unattributed += tick.unattributed;
        if let Some(limits) = known.limits {
            stretch.base += reaching(&tick.stable.latencies, limits.base);
            stretch.slow_stable += reaching(&tick.stable.latencies, limits.slow);
            stretch.slow_canary += reaching(&tick.canary.latencies, limits.slow);
        }
        if stretch.stable.total >= STRETCH && stretch.canary.total >= STRETCH {
            self.bet();
        }
    }

    /// Judges the stretch and begins another.
    fn bet(&mut self) {
        let effect = self.plan.error_effect;
        let stable = self.expected_errors();
        let out = self.plan.out();
        let known = &mut self.known;
        let stretch = std::mem::take(&mut known.stretch);
        let worse = odds_ratio((stable + effect).min(0.999), stable);
        known
            .errors
            .observe(stretch.stable, stretch.canary, worse, out);
        // Failures that nobody owns may be the canary's: they never help it.
        let charged = Trials {
            total: stretch.canary.total + stretch.unattributed,
            hits: stretch.canary.hits + stretch.unattributed,
        };
        known
            .close
            .observe(stretch.stable, charged, (stable, stable), effect);
        if let Some(limits) = known.limits {
            let (base, slow) = limits.expected;
            if stretch.slow_stable.total >= STRETCH && stretch.slow_canary.total >= STRETCH {
                known.slow.observe(
                    stretch.slow_stable,
                    stretch.slow_canary,
                    odds_ratio(base, slow).max(1.05),
                    out,
                );
            }
            known
                .quick
                .observe(stretch.base, stretch.slow_canary, (base, slow), 0.0);
        }
        known.known += stretch.stable;
        self.learn();
    }

    /// Fixes what the next stretch is judged by.
    fn learn(&mut self) {
        let known = &mut self.known;
        if known.known.total > MEMORY {
            known.known.total /= 2;
            known.known.hits /= 2;
        }
        if known.latencies.total() > RECENT {
            known.latencies.halve();
        }
        known.limits = self
            .plan
            .latency
            .and_then(|latency| limits(latency, &known.latencies));
    }

    /// Stable's error rate as far as it is known.
    fn expected_errors(&self) -> f64 {
        let known = self.known.known;
        let expected = self.plan.expected_errors;
        (known.hits as f64 + expected * EXPECTATION) / (known.total as f64 + EXPECTATION)
    }

    fn weigh(&mut self, step: usize) {
        let out = self.plan.out() - 1e-9;
        let pass = self.plan.pass(step);
        let known = &self.known;
        let (errors, slow) = (known.errors.log(), known.slow.log());
        let close =
            known.close.log() >= pass && (self.plan.latency.is_none() || known.quick.log() >= pass);
        self.known.opinion = if log_add(errors, slow) >= out {
            Opinion::Worse(match errors >= slow {
                true => Worse::Errors,
                false => Worse::Latency,
            })
        } else if let Some(opinion) = self.doubt_split(step) {
            opinion
        } else if close {
            Opinion::Close
        } else {
            Opinion::Undecided
        };
    }

    /// What is the matter when the requests whose version is known are not shared as the weights say: another split, or
    /// a version whose requests fail without saying whose they were. None where they are, or as long as requests that
    /// are under way may explain it.
    fn doubt_split(&self, step: usize) -> Option<Opinion> {
        let known = &self.known;
        let (canary, stable) = (known.canary.total, known.stable.total);
        let share = self.plan.share(step);
        let is_wrong = |nameless| {
            let (canary, stable) = shared_out(canary, stable, nameless, share);
            split_evidence(canary, stable, share) >= SPLIT
        };
        if !is_wrong(0) {
            None
        } else if is_wrong(known.unattributed + known.under_way) {
            Some(Opinion::WrongSplit)
        } else if is_wrong(known.unattributed) {
            None
        } else if (canary as f64) < share * (canary + stable) as f64 {
            Some(Opinion::Worse(Worse::Errors))
        } else {
            Some(Opinion::StableFails)
        }
    }

    /// What can be shown.
    pub fn standing(&self) -> Standing {
        let known = &self.known;
        let quantile = self.plan.latency.map_or(0.95, |latency| latency.quantile);
        let at = |histogram: &Histogram| {
            let millis = |part| histogram.quantile(part).map(lower);
            Some([millis(0.5)?, millis(quantile)?, millis(0.99)?])
        };
        Standing {
            worse: log_add(known.errors.log(), known.slow.log()),
            out: self.plan.out(),
            close: known.close.log(),
            quick: self.plan.latency.map(|_| known.quick.log()),
            pass: self.plan.pass(known.step.unwrap_or(0)),
            stable: known.stable,
            canary: known.canary,
            unattributed: known.unattributed,
            stable_millis: at(&known.step_latencies.0),
            canary_millis: at(&known.step_latencies.1),
        }
    }
}

fn limits(latency: Latency, stable: &Histogram) -> Option<Limits> {
    if stable.total() < LATENCIES {
        return None;
    }
    let base = stable.quantile(latency.quantile)?;
    let slow = super::samples::bucket(latency.effect.from(lower(base)))?.max(base + 1);
    // A pseudo-count on either side: what was never seen may still be.
    let share = |bucket| (stable.reaching(bucket) as f64 + 0.5) / (stable.total() as f64 + 1.0);
    let (above_base, above_slow) = (share(base), share(slow));
    Some(Limits {
        base,
        slow,
        expected: (above_base.max(1e-4), above_slow.min(above_base * 0.9)),
    })
}

/// Requests whose version nobody knows, given to the versions so that the whole comes as near to the share as it can. Of
/// all ways to give them it is the one with the least evidence against the split, the true one's or less.
fn shared_out(canary: u64, stable: u64, nameless: u64, share: f64) -> (u64, u64) {
    let all = canary + stable + nameless;
    let wanted = (share * all as f64).round() as u64;
    let to_canary = wanted.saturating_sub(canary).min(nameless);
    (canary + to_canary, stable + nameless - to_canary)
}

/// The logarithm of the evidence that the canary's share is another than asked for: the beta-binomial mixture against
/// the binomial (Robbins 1970), an e-process when each request is routed by itself.
pub fn split_evidence(canary: u64, stable: u64, share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 || canary + stable == 0 {
        return 0.0;
    }
    let (hits, misses) = (canary as f64, stable as f64);
    let (a, b) = ((20.0 * share).max(0.5), (20.0 * (1.0 - share)).max(0.5));
    let beta = |a: f64, b: f64| log_gamma(a) + log_gamma(b) - log_gamma(a + b);
    beta(a + hits, b + misses) - beta(a, b) - hits * share.ln() - misses * (-share).ln_1p()
}

#[cfg(test)]
mod tests;
