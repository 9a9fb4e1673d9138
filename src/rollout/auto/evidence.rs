//! Sequential evidence about two proportions: e-processes, valid whenever they are looked at.
//!
//! An e-process is a non-negative quantity whose expectation is at most 1, at any stopping time, as long as its null
//! hypothesis is true. By Ville's inequality the probability that it *ever* reaches `1/α` is then at most α, however
//! often and whenever somebody looks (Ville 1939; Howard, Ramdas, McAuliffe, Sekhon 2020; Grünwald, de Heide, Koolen
//! 2024, "Safe testing"). Requests are cut into short stretches. Within a stretch both versions meet the same
//! conditions; from one stretch to the next the rates may move as they like, together.
//!
//! - [`Excess`] speaks against "the canary is no worse than stable". It conditions on the hits of a stretch: if the
//!   versions are alike, each hit falls on either version in proportion to its requests (Fisher 1935), whatever the rate
//!   is, so that an outage of both says nothing. The alternative is a ratio of odds. Each hit is one bet; the last one is
//!   cut to what is needed, and the rest is staked on the other outcome (Fischer, Ramdas 2024, "Improving the
//!   (approximate) sequential probability ratio test by avoiding overshoot"): without this a tenth of the requests
//!   would be wasted.
//! - [`Closeness`] speaks against "the canary is worse than stable by the margin or more", by the likelihood of no
//!   difference over that of the null's nearest point: the reverse information projection (Turner, Ly, Grünwald 2021,
//!   "Generic E-variables for exact sequential k-sample tests that allow for optional stopping"; for differences
//!   Turner, Grünwald 2023, "Exact anytime-valid confidence intervals for contingency tables and beyond").
//!
//! Both take time and memory that do not grow with what was seen.

use serde::{Deserialize, Serialize};

use super::exact;

/// Requests of one version in one stretch, and how many of them count: failed, or slower than a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trials {
    /// Requests.
    pub total: u64,
    /// Those that count, at most all.
    pub hits: u64,
}

impl Trials {
    /// That many hits of that many requests.
    pub fn new(hits: u64, total: u64) -> Self {
        Trials {
            total,
            hits: hits.min(total),
        }
    }

    /// The share of hits; 0 of nothing.
    pub fn share(&self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            self.hits as f64 / self.total as f64
        }
    }
}

impl std::ops::AddAssign for Trials {
    fn add_assign(&mut self, more: Self) {
        self.total = self.total.saturating_add(more.total);
        self.hits = self.hits.saturating_add(more.hits);
    }
}

/// The smallest and the largest probability that is bet on: no single request may decide for ever.
const EDGE: f64 = 1e-6;

fn inside(p: f64) -> f64 {
    p.clamp(EDGE, 1.0 - EDGE)
}

/// The logarithm of the sum of what two logarithms stand for.
pub(super) fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY {
        return high;
    }
    high + (low - high).exp().ln_1p()
}

/// Evidence against "the canary is no worse than stable".
///
/// Capital can be added while it runs; with a total of 1 it is an e-process. Capital that is added late finds what
/// becomes worse late, when what was there from the beginning has lost its bets on a healthy canary.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Excess {
    /// The logarithm of the capital.
    #[serde(with = "exact")]
    log: f64,
    /// For the order in which the hits of one stretch are bet on.
    random: u64,
}

impl Excess {
    /// Nothing invested yet. The seed decides about orders alone.
    pub fn new(seed: u64) -> Self {
        Excess {
            log: f64::MIN,
            random: seed | 1,
        }
    }

    /// Adds capital.
    pub fn invest(&mut self, capital: f64) {
        if capital > 0.0 {
            self.log = log_add(self.log, capital.ln());
        }
    }

    /// The logarithm of the e-value.
    pub fn log(&self) -> f64 {
        self.log
    }

    fn draw(&mut self) -> f64 {
        // xorshift64* (Vigna 2016): all it decides is an order.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Bets on each hit of a stretch. `odds_ratio`, above 1, is the alternative and must not be made from this stretch;
    /// `bound` is the logarithm of what suffices.
    pub fn observe(&mut self, stable: Trials, canary: Trials, odds_ratio: f64, bound: f64) {
        let (mut stable, mut canary) = (stable, canary);
        while stable.hits + canary.hits > 0 && self.log < bound {
            let hits = (stable.hits + canary.hits) as f64;
            // An order drawn at random: under the null the next hit is any of the stretch's requests.
            let is_canary = self.draw() * hits < canary.hits as f64;
            let null = canary.total as f64 / (canary.total + stable.total) as f64;
            if null > 0.0 && null < 1.0 {
                let odds = canary.total as f64 * odds_ratio;
                let alternative = odds / (odds + stable.total as f64);
                let (mut up, mut down) = (
                    (alternative / null).ln(),
                    ((1.0 - alternative) / (1.0 - null)).ln(),
                );
                if self.log + up > bound {
                    up = bound - self.log;
                    // Fair under the null: null · e^up + (1 − null) · e^down = 1.
                    down = ((1.0 - null * up.exp()) / (1.0 - null)).max(EDGE).ln();
                }
                self.log += if is_canary { up } else { down };
            }
            let side = if is_canary { &mut canary } else { &mut stable };
            side.hits -= 1;
            side.total -= 1;
        }
    }
}

/// Evidence against "the canary is worse than stable by the margin or more".
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Closeness {
    #[serde(with = "exact")]
    log: f64,
}

impl Closeness {
    /// The logarithm of the e-value.
    pub fn log(&self) -> f64 {
        self.log
    }

    /// Takes in a stretch. `expected` are the rates of stable and of a healthy canary as far as they were known before
    /// this stretch; `margin` is the difference that must not be.
    pub fn observe(&mut self, stable: Trials, canary: Trials, expected: (f64, f64), margin: f64) {
        if stable.total == 0 || canary.total == 0 {
            return;
        }
        let expected = (inside(expected.0), inside(expected.1));
        if expected.1 >= expected.0 + margin {
            // Nothing speaks for closeness.
            return;
        }
        let (a, b) = projection((stable.total as f64, canary.total as f64), expected, margin);
        self.log += log_likelihood(stable, expected.0) - log_likelihood(stable, a);
        self.log += log_likelihood(canary, expected.1) - log_likelihood(canary, b);
    }
}

fn log_likelihood(trials: Trials, p: f64) -> f64 {
    let misses = (trials.total - trials.hits) as f64;
    let hits = if trials.hits == 0 {
        0.0
    } else {
        trials.hits as f64 * p.ln()
    };
    hits + misses * (-p).ln_1p()
}

/// The point `(a, a + margin)` that is nearest to `expected` by weighted Kullback-Leibler divergence.
///
/// With these weights the likelihood ratio of one stretch has expectation at most 1 under every point of the null: at
/// the nearest point the weighted arithmetic mean of both factors' expectations is at most 1 in every direction into the
/// convex null, and their product, each to the power of its number of requests, is at most that mean's power.
fn projection(weights: (f64, f64), expected: (f64, f64), margin: f64) -> (f64, f64) {
    let slope = |a: f64| {
        let b = a + margin;
        weights.0 * (a - expected.0) / (a * (1.0 - a))
            + weights.1 * (b - expected.1) / (b * (1.0 - b))
    };
    let (mut low, mut high) = (
        (expected.1 - margin).clamp(0.0, 1.0 - margin),
        expected.0.min(1.0 - margin),
    );
    // Increasing in between, so halving finds the root.
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if slope(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
        if high - low < 1e-9 {
            break;
        }
    }
    let a = f64::midpoint(low, high);
    (inside(a), inside(a + margin))
}

/// The odds of a probability over those of another.
pub fn odds_ratio(worse: f64, better: f64) -> f64 {
    let odds = |p: f64| inside(p) / (1.0 - inside(p));
    odds(worse) / odds(better)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(n: u64, k: u64) -> f64 {
        (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
    }

    fn binomial(k: u64, n: u64, p: f64) -> f64 {
        choose(n, k) * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)
    }

    /// The expectation of a value over all outcomes of a stretch.
    fn expectation(
        (stable, p): (u64, f64),
        (canary, q): (u64, f64),
        value: impl Fn(Trials, Trials) -> f64,
    ) -> f64 {
        let mut sum = 0.0;
        for k in 0..=stable {
            for l in 0..=canary {
                sum += binomial(k, stable, p)
                    * binomial(l, canary, q)
                    * value(Trials::new(k, stable), Trials::new(l, canary));
            }
        }
        sum
    }

    #[test]
    fn closeness_is_an_e_value_under_every_point_of_its_null() {
        for (stable, canary) in [(1, 1), (9, 1), (1, 9), (12, 3), (20, 20)] {
            for expected in [(0.005, 0.005), (0.05, 0.05), (0.3, 0.2), (0.05, 0.01)] {
                for margin in [0.0, 0.015, 0.2] {
                    for p in [0.0, 0.001, 0.01, 0.05, 0.3, 0.7] {
                        for more in [0.0, 0.01, 0.2] {
                            let q: f64 = p + margin + more;
                            if q > 1.0 {
                                continue;
                            }
                            let mean = expectation((stable, p), (canary, q), |stable, canary| {
                                let mut closeness = Closeness::default();
                                closeness.observe(stable, canary, expected, margin);
                                closeness.log().exp()
                            });
                            assert!(
                                mean <= 1.0 + 1e-6,
                                "{mean} at {p} and {q}, {stable} and {canary}, {expected:?}, {margin}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn excess_is_an_e_value_when_the_canary_is_no_worse() {
        // The order of bets is drawn, so the mean is over many orders.
        const ORDERS: u64 = 10_000;
        for (stable, canary) in [(3, 1), (6, 2), (2, 4)] {
            for (p, q) in [(0.05, 0.05), (0.5, 0.5), (0.9, 0.9), (0.5, 0.1)] {
                for bound in [0.4, 4.6] {
                    let mean = expectation((stable, p), (canary, q), |stable, canary| {
                        let one = |seed: u64| {
                            let mut excess = Excess::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                            excess.invest(1.0);
                            // The first numbers of a new generator are alike.
                            for _ in 0..8 {
                                excess.draw();
                            }
                            excess.observe(stable, canary, 4.0, bound);
                            excess.log().exp()
                        };
                        (1..=ORDERS).map(one).sum::<f64>() / ORDERS as f64
                    });
                    assert!(
                        mean <= 1.01,
                        "{mean} at {p} and {q}, {stable} and {canary}, {bound}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_is_bet_on_stretches_without_a_comparison() {
        let mut excess = Excess::new(1);
        excess.invest(1.0);
        excess.observe(Trials::new(0, 0), Trials::new(5, 5), 4.0, 4.6);
        excess.observe(Trials::new(5, 5), Trials::new(0, 0), 4.0, 4.6);
        assert!(excess.log().abs() < 1e-12);
        let mut closeness = Closeness::default();
        closeness.observe(Trials::new(0, 0), Trials::new(0, 5), (0.01, 0.01), 0.015);
        assert_eq!(closeness.log(), 0.0);
    }

    #[test]
    fn late_capital_finds_what_early_capital_has_lost() {
        let mut excess = Excess::new(1);
        excess.invest(0.9);
        for _ in 0..2000 {
            excess.observe(Trials::new(1, 90), Trials::new(0, 10), 4.0, 4.6);
        }
        assert!(excess.log() < -100.0, "{}", excess.log());
        excess.invest(0.1);
        for _ in 0..10 {
            excess.observe(Trials::new(0, 90), Trials::new(1, 10), 4.0, 4.6);
        }
        assert!(excess.log() >= 4.6 - 1e-9, "{}", excess.log());
    }
}
