//! How often rules are wrong, and how soon they know: Monte Carlo over stated models of traffic.
//!
//! Deterministic by seed, whatever the number of threads. One tick is one second.

mod rivals;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::evidence::Trials;
use super::forecast::wald;
use super::judge::{Judge, Opinion};
use super::machine::{Action, Event, Outcome, State};
use super::plan::Plan;
pub use rivals::{Argo, Flagger};
pub use world::{Model, World};

/// What is simulated.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// How traffic comes and errors happen.
    pub model: Model,
    /// Requests per second to both versions together.
    pub rate: f64,
    /// Stable's error rate.
    pub stable: f64,
    /// The canary's, once it is fully developed.
    pub canary: f64,
    /// What the canary adds to latencies, in milliseconds; none: latencies are not simulated.
    pub slower: Option<f64>,
    /// The steps of meshctl's run.
    pub steps: Vec<u8>,
}

impl Scenario {
    /// Whether the canary should be promoted.
    pub fn is_healthy(&self) -> bool {
        self.canary <= self.stable && self.slower.is_none_or(|more| more <= 0.0)
    }
}

/// A rule that decides.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "rule")]
pub enum Rule {
    /// This program's.
    Meshctl(Plan),
    /// Flagger's.
    Flagger(Flagger),
    /// Argo Rollouts'.
    Argo(Argo),
}

impl Rule {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::Meshctl(_) => "meshctl",
            Rule::Flagger(_) => "flagger",
            Rule::Argo(_) => "argo",
        }
    }
}

/// How one simulated run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// The canary's requests until then, and its failures.
    pub canary: Trials,
    /// Seconds until then.
    pub seconds: f64,
}

/// What many simulated runs come to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What was simulated.
    pub scenario: &'static str,
    /// By which rule.
    pub rule: &'static str,
    /// Whether the canary was healthy.
    pub healthy: bool,
    /// How many runs.
    pub runs: u64,
    /// The share of runs that were wrong: a healthy canary rolled back, or a bad one promoted.
    pub wrong: f64,
    /// The exact 95 % interval of that.
    pub wrong_interval: (f64, f64),
    /// The share of runs without a decision.
    pub undecided: f64,
    /// The canary's requests until the verdict, on average.
    pub requests: f64,
    /// That over Wald's bound for the two simple hypotheses; none where the bound does not apply.
    pub times_wald: Option<f64>,
    /// The canary's failed requests until the verdict, on average.
    pub failures: f64,
    /// Seconds until the verdict, on average.
    pub seconds: f64,
}

/// The traffic that is simulated beside the rules: the same for all.
pub fn scenarios() -> Vec<Scenario> {
    let base = Scenario {
        name: "",
        model: Model::Poisson,
        rate: 100.0,
        stable: 0.005,
        canary: 0.005,
        slower: None,
        steps: vec![1, 100],
    };
    let bad = 0.02;
    let with = |name, change: &dyn Fn(&mut Scenario)| {
        let mut scenario = Scenario {
            name,
            ..base.clone()
        };
        change(&mut scenario);
        scenario
    };
    vec![
        with("poisson 1 %, healthy", &|_| {}),
        with("poisson 1 %, 2 % errors", &|s| s.canary = bad),
        with("poisson 5 %, healthy", &|s| s.steps = vec![5, 100]),
        with("poisson 5 %, 2 % errors", &|s| {
            (s.steps, s.canary) = (vec![5, 100], bad)
        }),
        with("poisson 10 %, healthy", &|s| s.steps = vec![10, 100]),
        with("poisson 10 %, 2 % errors", &|s| {
            (s.steps, s.canary) = (vec![10, 100], bad)
        }),
        with("poisson 1 %, 5 % errors", &|s| s.canary = 0.05),
        with("poisson 1 %, 50 % errors", &|s| s.canary = 0.5),
        with("bursty 1 %, healthy", &|s| s.model = Model::Bursty),
        with("bursty 1 %, 2 % errors", &|s| {
            (s.model, s.canary) = (Model::Bursty, bad)
        }),
        with("correlated 1 %, healthy", &|s| s.model = Model::Correlated),
        with("correlated 1 %, 2 % errors", &|s| {
            (s.model, s.canary) = (Model::Correlated, bad)
        }),
        with("cold start 10 %, healthy", &|s| {
            (s.model, s.steps) = (Model::ColdStart, vec![10, 100])
        }),
        with("cold start 10 %, 2 % errors", &|s| {
            (s.model, s.steps, s.canary) = (Model::ColdStart, vec![10, 100], bad);
        }),
        with("latency 10 %, healthy", &|s| {
            (s.slower, s.steps) = (Some(0.0), vec![10, 100])
        }),
        with("latency 10 %, +50 ms", &|s| {
            (s.slower, s.steps) = (Some(50.0), vec![10, 100])
        }),
        with("all steps, healthy", &|s| s.steps = Plan::default().steps),
        with("all steps, 2 % errors", &|s| {
            (s.steps, s.canary) = (Plan::default().steps, bad)
        }),
        with("all steps, slow degradation", &|s| {
            (s.model, s.steps, s.canary) = (Model::Degrading, Plan::default().steps, 0.05);
        }),
    ]
}

/// The rules that a scenario is judged by.
pub fn rules(scenario: &Scenario, plan: &Plan) -> Vec<Rule> {
    let mut plan = plan.clone();
    plan.steps.clone_from(&scenario.steps);
    // A limit would cut long runs off and make the mean look better than it is.
    plan.step_limit = Duration::from_secs(6 * 3600);
    if scenario.slower.is_none() {
        plan.latency = None;
    }
    let mut rules = vec![Rule::Meshctl(plan)];
    if scenario.slower.is_none() {
        let share = *scenario.steps.first().unwrap_or(&1);
        let fixed = scenario.steps.len() == 2;
        rules.push(Rule::Flagger(Flagger::documented(fixed.then_some(share))));
        rules.push(Rule::Argo(Argo::documented(fixed.then_some(share))));
    }
    rules
}

/// Simulates many runs on as many threads; the same for the same seed.
pub fn simulate(scenario: &Scenario, rule: &Rule, runs: u64, seed: u64, threads: usize) -> Summary {
    let next = AtomicU64::new(0);
    let part = || {
        let mut sums = Sums::default();
        loop {
            // Small batches: runs differ in length.
            let first = next.fetch_add(64, Ordering::Relaxed);
            if first >= runs {
                return sums;
            }
            for run in first..(first + 64).min(runs) {
                let world = World::new(scenario, world::mix(seed, run));
                sums.add(scenario, one(rule, world, world::mix(!seed, run)));
            }
        }
    };
    let mut sums = Sums::default();
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(part)).collect();
        for part in parts {
            // A thread that panicked has told; the numbers would be wrong without it.
            sums.join(
                &part
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
    });
    sums.summary(scenario, rule)
}

/// Whole numbers, so that the order of addition does not matter.
#[derive(Default)]
struct Sums {
    runs: u64,
    wrong: u64,
    undecided: u64,
    requests: u64,
    failures: u64,
    seconds: u64,
}

impl Sums {
    fn add(&mut self, scenario: &Scenario, end: End) {
        self.runs += 1;
        match end.outcome {
            Outcome::Promoted => self.wrong += u64::from(!scenario.is_healthy()),
            Outcome::RolledBack => self.wrong += u64::from(scenario.is_healthy()),
            _ => self.undecided += 1,
        }
        self.requests += end.canary.total;
        self.failures += end.canary.hits;
        self.seconds += end.seconds as u64;
    }

    fn join(&mut self, more: &Sums) {
        self.runs += more.runs;
        self.wrong += more.wrong;
        self.undecided += more.undecided;
        self.requests += more.requests;
        self.failures += more.failures;
        self.seconds += more.seconds;
    }

    fn summary(&self, scenario: &Scenario, rule: &Rule) -> Summary {
        let mean = |sum: u64| sum as f64 / self.runs.max(1) as f64;
        let interval = crate::rollout::split::clopper_pearson(self.wrong, self.runs, 0.95);
        let requests = mean(self.requests);
        let times_wald = match rule {
            Rule::Meshctl(plan) if plan.judged() == 1 && scenario.slower.is_none() => {
                let bad = match scenario.is_healthy() {
                    true => scenario.stable + plan.error_effect,
                    false => scenario.canary,
                };
                let (accept, reject) = wald(scenario.stable, bad, plan.alpha, plan.beta);
                Some(
                    requests
                        / if scenario.is_healthy() {
                            accept
                        } else {
                            reject
                        },
                )
            }
            _ => None,
        };
        Summary {
            scenario: scenario.name,
            rule: rule.name(),
            healthy: scenario.is_healthy(),
            runs: self.runs,
            wrong: mean(self.wrong),
            wrong_interval: (interval.low, interval.high),
            undecided: mean(self.undecided),
            requests,
            times_wald,
            failures: mean(self.failures),
            seconds: mean(self.seconds),
        }
    }
}

fn one(rule: &Rule, world: World, seed: u64) -> End {
    match rule {
        Rule::Meshctl(plan) => meshctl(plan, world, seed),
        Rule::Flagger(flagger) => flagger.run(world),
        Rule::Argo(argo) => argo.run(world),
    }
}

/// The state machine and the judge, as `canary --auto` drives them.
fn meshctl(plan: &Plan, mut world: World, seed: u64) -> End {
    /// Seconds of stable's traffic that are looked at before anything is shifted.
    const BEFORE: u64 = 30;
    let mut judge = Judge::new(plan.clone(), seed);
    for _ in 0..BEFORE {
        let tick = world.second(0.0);
        let _ = judge.take(&tick);
    }
    let mut state = State::START;
    let mut left = 0.0;
    loop {
        let event = match state.action(plan) {
            Action::Shift(share) => {
                world.shifted(f64::from(share) / 100.0);
                if let State::Shifting { step } = state {
                    judge.begin(step);
                    left = plan.step_limit.as_secs_f64();
                }
                Event::Shifted
            }
            Action::Restore => Event::Shifted,
            Action::Judge(step) => {
                let tick = world.second(plan.share(step));
                left -= 1.0;
                match judge.take(&tick) {
                    Ok(Opinion::Undecided) if left <= 0.0 => Event::StepOver { traffic: true },
                    Ok(opinion) => Event::Judged(opinion),
                    Err(_) => Event::Blind,
                }
            }
            Action::Stop => break,
        };
        state = state.on(event, plan);
    }
    End {
        outcome: state.outcome().unwrap_or(Outcome::Inconclusive),
        canary: world.canary(),
        seconds: world.seconds() - BEFORE as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Scenario {
        let found = scenarios()
            .into_iter()
            .find(|scenario| scenario.name == name);
        found.expect("a scenario of this name")
    }

    fn run(name: &str, rule: usize, runs: u64, threads: usize) -> Summary {
        let scenario = named(name);
        let rules = rules(&scenario, &Plan::default());
        simulate(&scenario, &rules[rule], runs, 1, threads)
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_on_any_number_of_threads() {
        let json = |threads| {
            let summary = run("poisson 10 %, 2 % errors", 0, 100, threads);
            serde_json::to_string(&summary).expect("JSON")
        };
        assert_eq!(json(1), json(3));
    }

    #[test]
    fn error_rates_are_kept_within_what_chance_allows() {
        // Small, for every build; docs/canary.md has the numbers of ten thousand runs.
        let healthy = run("poisson 10 %, healthy", 0, 300, 2);
        assert!(healthy.wrong_interval.0 <= 0.01, "{healthy:?}");
        assert_eq!(healthy.undecided, 0.0);
        let bad = run("poisson 10 %, 2 % errors", 0, 300, 2);
        assert!(bad.wrong_interval.0 <= 0.05, "{bad:?}");
        let slow = run("latency 10 %, +50 ms", 0, 20, 2);
        assert_eq!(slow.wrong, 0.0, "{slow:?}");
    }

    #[test]
    fn the_rivals_are_as_wrong_as_a_calculation_says() {
        // Twenty canary requests a check, ten checks to pass and five failures to fall: 48 % of 2 % canaries pass.
        let mut scenario = named("poisson 10 %, 2 % errors");
        scenario.rate = 20.0 / 60.0 / 0.1;
        let rule = Rule::Flagger(Flagger {
            shares: vec![10; 10],
            threshold: 5,
            ..Flagger::documented(None)
        });
        let flagger = simulate(&scenario, &rule, 2000, 1, 2);
        assert!((0.42..0.56).contains(&flagger.wrong), "{flagger:?}");
    }
}
