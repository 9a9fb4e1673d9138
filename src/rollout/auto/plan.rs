//! What a canary run is told: its steps, how sure it has to be, what it does when nothing can be decided.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of a run. Kept with its record, so that whoever resumes it goes on by the same rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The canary's shares in percent, increasing; the last is 100.
    pub steps: Vec<u8>,
    /// How likely a canary that is no worse may be rolled back, over the whole run.
    pub alpha: f64,
    /// How likely a canary that is worse by the effect or more may be promoted.
    pub beta: f64,
    /// The smallest difference of error rates that matters: 0.015 is 2 % where stable has 0.5 %.
    pub error_effect: f64,
    /// The latency that is judged; none: errors alone.
    pub latency: Option<Latency>,
    /// The absolute guard rail.
    pub guard: Guard,
    /// The error rate that is expected of stable before any is seen.
    pub expected_errors: f64,
    /// How long after each shift samples are not judged, guard rails apart.
    #[serde(with = "seconds")]
    pub warm_up: Duration,
    /// How long a step may take.
    #[serde(with = "seconds")]
    pub step_limit: Duration,
    /// What to do when a step's time is over and nothing is decided.
    pub on_inconclusive: Policy,
    /// What to do when a person or a signal interrupts.
    pub on_interrupt: Interrupted,
}

/// Which latency is judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Latency {
    /// The quantile: 0.95.
    pub quantile: f64,
    /// The smallest difference that matters.
    pub effect: Slowdown,
}

/// A difference of latencies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slowdown {
    /// In milliseconds.
    Millis(f64),
    /// As a part of stable's latency: 0.25 is a quarter more.
    Relative(f64),
}

impl Slowdown {
    /// Where a latency ends up.
    pub fn from(self, millis: f64) -> f64 {
        match self {
            Slowdown::Millis(more) => millis + more,
            Slowdown::Relative(part) => millis * (1.0 + part),
        }
    }
}

impl std::fmt::Display for Slowdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Slowdown::Millis(more) => write!(f, "{more} ms"),
            Slowdown::Relative(part) => write!(f, "{} %", part * 100.0),
        }
    }
}

/// The absolute guard rail: out at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Guard {
    /// The error rate above which it trips.
    pub rate: f64,
    /// Over how many requests.
    pub requests: u64,
}

/// What to do when nothing can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Leave the weight as it is.
    Hold,
    /// Give stable all traffic again.
    Rollback,
    /// Go on to the next step as if the canary had passed.
    Promote,
}

/// What to do when interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Interrupted {
    /// Leave the weight as it is; `canary resume` goes on.
    Hold,
    /// Give stable all traffic again.
    Rollback,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            steps: vec![1, 5, 10, 25, 50, 100],
            alpha: 0.01,
            beta: 0.05,
            error_effect: 0.015,
            latency: Some(Latency {
                quantile: 0.95,
                effect: Slowdown::Relative(0.5),
            }),
            guard: Guard {
                rate: 0.5,
                requests: 20,
            },
            expected_errors: 0.005,
            warm_up: Duration::from_secs(5),
            step_limit: Duration::from_secs(15 * 60),
            on_inconclusive: Policy::Rollback,
            on_interrupt: Interrupted::Rollback,
        }
    }
}

impl Plan {
    /// Whether it can be followed.
    ///
    /// # Errors
    /// What is wrong, as a fragment that names the setting.
    pub fn check(&self) -> Result<(), String> {
        let between = |name: &str, value: f64, low: f64, high: f64| {
            if value > low && value < high {
                Ok(())
            } else {
                Err(format!("{name} is {value}, not between {low} and {high}"))
            }
        };
        between("alpha", self.alpha, 0.0, 0.5)?;
        between("beta", self.beta, 0.0, 0.5)?;
        between("error effect", self.error_effect, 0.0, 1.0)?;
        between("guard rate", self.guard.rate, 0.0, 1.0)?;
        between("expected error rate", self.expected_errors, 0.0, 1.0)?;
        if self.expected_errors + self.error_effect >= 1.0 {
            return Err("expected error rate and error effect add up to 1 or more".into());
        }
        if self.guard.requests == 0 {
            return Err("a guard over 0 requests says nothing".into());
        }
        if let Some(latency) = self.latency {
            between("latency quantile", latency.quantile, 0.0, 1.0)?;
            let (Slowdown::Millis(effect) | Slowdown::Relative(effect)) = latency.effect;
            between("latency effect", effect, 0.0, 1e9)?;
        }
        if self.step_limit.is_zero() {
            return Err("a step that may take no time cannot be judged".into());
        }
        if self.warm_up >= self.step_limit {
            return Err("the warm-up is as long as a step may take, so nothing is judged".into());
        }
        match self.steps.as_slice() {
            [] | [_] => Err("steps need a share to judge at and 100 at the end".into()),
            [0, ..] => Err("steps begin with 0, at which nothing can be judged".into()),
            steps if steps.windows(2).any(|pair| pair[0] >= pair[1]) => {
                Err(format!("steps are out of order: {}", listed(steps)))
            }
            [.., 100] => Ok(()),
            steps => Err(format!("steps do not end with 100: {}", listed(steps))),
        }
    }

    /// The number of steps that are judged: all but 100.
    pub fn judged(&self) -> usize {
        self.steps.len().saturating_sub(1)
    }

    /// The share of a step, 0 to 1.
    pub fn share(&self, step: usize) -> f64 {
        f64::from(self.steps.get(step).copied().unwrap_or(100)) / 100.0
    }

    /// The logarithm of the evidence at which a canary is out.
    pub fn out(&self) -> f64 {
        -self.alpha.ln()
    }

    /// The logarithm of the evidence that a step takes to pass: all of `1/β` before promotion, its square root before.
    pub fn pass(&self, step: usize) -> f64 {
        let all = -self.beta.ln();
        if step + 1 >= self.judged() {
            all
        } else {
            all / 2.0
        }
    }
}

fn listed(steps: &[u8]) -> String {
    let steps: Vec<String> = steps.iter().map(u8::to_string).collect();
    steps.join(",")
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let value = f64::deserialize(from)?;
        Duration::try_from_secs_f64(value).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_settings_are_named() {
        let wrong = |change: &dyn Fn(&mut Plan), words: &str| {
            let mut plan = Plan::default();
            change(&mut plan);
            let told = plan.check().expect_err(words);
            assert!(told.contains(words), "{told}");
        };
        Plan::default().check().expect("the defaults");
        wrong(&|plan| plan.alpha = 1.0, "alpha is 1");
        wrong(&|plan| plan.alpha = f64::NAN, "alpha is NaN");
        wrong(&|plan| plan.beta = 0.0, "beta is 0");
        wrong(&|plan| plan.error_effect = -0.1, "error effect is -0.1");
        wrong(&|plan| plan.expected_errors = 0.99, "add up to 1");
        wrong(
            &|plan| plan.steps = vec![10, 5, 100],
            "out of order: 10,5,100",
        );
        wrong(&|plan| plan.steps = vec![10, 10, 100], "out of order");
        wrong(&|plan| plan.steps = vec![10, 50], "do not end with 100");
        wrong(&|plan| plan.steps = vec![0, 100], "begin with 0");
        wrong(&|plan| plan.steps = vec![100], "a share to judge at");
        wrong(&|plan| plan.guard.requests = 0, "guard over 0");
        wrong(&|plan| plan.warm_up = plan.step_limit, "warm-up");
        wrong(
            &|plan| plan.latency.as_mut().expect("latency").quantile = 1.0,
            "quantile is 1",
        );
    }

    #[test]
    fn it_survives_being_written_down() {
        let plan = Plan::default();
        let text = serde_json::to_string(&plan).expect("JSON");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("a plan"), plan);
    }
}
