//! Simulated traffic, second by second.

use serde::Serialize;

use super::Scenario;
use crate::rollout::auto::evidence::Trials;
use crate::rollout::auto::samples::{Counts, Tick, bucket};

/// How traffic comes and errors happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Independent arrivals and errors at constant rates.
    Poisson,
    /// The rate of arrivals switches between a fifth and the fourfold, for 10 s on average, the same mean.
    Bursty,
    /// Once in 200 s, for 10 s on average, a tenth of both versions' requests fails besides: a dependency is down.
    Correlated,
    /// A fifth of the canary's first 30 requests after each shift fails besides.
    ColdStart,
    /// The canary begins as stable is, and gets worse evenly over ten minutes.
    Degrading,
}

/// A simulated environment.
pub struct World {
    scenario: Scenario,
    random: Random,
    seconds: u64,
    canary: Trials,
    /// Bursty: much traffic now. Correlated: a dependency is down now.
    switched: bool,
    /// Requests of a canary that has just been given more traffic, still cold.
    cold: u64,
    share: f64,
}

impl World {
    /// A world; the seed decides all that happens in it.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        World {
            scenario: scenario.clone(),
            random: Random::new(seed),
            seconds: 0,
            canary: Trials::default(),
            switched: false,
            cold: 0,
            share: 0.0,
        }
    }

    /// Tells that the canary's share is another one from now on.
    pub fn shifted(&mut self, share: f64) {
        if share != self.share {
            self.share = share;
            self.cold = 30;
        }
    }

    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        self.seconds as f64
    }

    /// The canary's requests and failures so far.
    pub fn canary(&self) -> Trials {
        self.canary
    }

    /// One second of traffic.
    pub fn second(&mut self, share: f64) -> Tick {
        self.seconds += 1;
        let scenario = &self.scenario;
        let (mut rate, mut extra) = (scenario.rate, 0.0);
        let mut bad = scenario.canary;
        match scenario.model {
            Model::Poisson | Model::ColdStart => {}
            Model::Bursty => {
                // A fifth for 38 of 48 seconds and the fourfold for the rest is the mean.
                let leave = if self.switched {
                    1.0 / 10.0
                } else {
                    1.0 / 37.5
                };
                if self.random.unit() < leave {
                    self.switched = !self.switched;
                }
                rate *= if self.switched { 4.0 } else { 0.2 };
            }
            Model::Correlated => {
                let leave = if self.switched {
                    1.0 / 10.0
                } else {
                    1.0 / 200.0
                };
                if self.random.unit() < leave {
                    self.switched = !self.switched;
                }
                extra = if self.switched { 0.1 } else { 0.0 };
            }
            Model::Degrading => {
                let part = (self.seconds as f64 / 600.0).min(1.0);
                bad = scenario.stable + (scenario.canary - scenario.stable) * part;
            }
        }
        let (stable, slower) = (scenario.stable, scenario.slower);
        let mut tick = Tick {
            at: self.seconds as f64,
            ..Tick::default()
        };
        let p = |rate: f64| rate + extra - rate * extra;
        self.serve(
            &mut tick.stable,
            rate * (1.0 - share),
            p(stable),
            slower.map(|_| 0.0),
        );
        let cold = std::mem::take(&mut self.cold);
        let is_cold = self.scenario.model == Model::ColdStart && cold > 0 && share > 0.0;
        let now = if is_cold { bad + 0.2 } else { bad };
        self.serve(&mut tick.canary, rate * share, p(now), slower);
        self.cold = cold.saturating_sub(tick.canary.requests);
        self.canary += tick.canary.trials();
        tick
    }

    fn serve(&mut self, counts: &mut Counts, rate: f64, p: f64, slower: Option<f64>) {
        counts.errors = self.random.poisson(rate * p);
        counts.requests = counts.errors + self.random.poisson(rate * (1.0 - p));
        if let Some(slower) = slower {
            for _ in 0..counts.requests {
                // Log-normal: a median of 20 ms, 46 ms at 0.95.
                let millis = 20.0 * (0.5 * self.random.normal()).exp() + slower;
                if let Some(bucket) = bucket(millis) {
                    counts.latencies.push((bucket, 1));
                }
            }
        }
    }
}

/// A seed of its own for every run: neighbouring runs must have nothing in common.
pub(super) fn mix(seed: u64, run: u64) -> u64 {
    Random::new(seed ^ Random::new(run).next()).next()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Knuth's product of uniforms, in parts that do not underflow.
    fn poisson(&mut self, mean: f64) -> u64 {
        const PART: f64 = 500.0;
        let (mut left, mut count) = (mean, 0);
        while left > 0.0 {
            let limit = (-left.min(PART)).exp();
            let mut product = self.unit();
            while product > limit {
                count += 1;
                product *= self.unit();
            }
            left -= PART;
        }
        count
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}
