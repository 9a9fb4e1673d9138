use std::time::Duration;

use super::*;
use crate::rollout::auto::samples::{Counts, bucket};

fn plan() -> Plan {
    Plan {
        steps: vec![10, 100],
        latency: None,
        warm_up: Duration::ZERO,
        ..Plan::default()
    }
}

fn tick(at: f64, stable: (u64, u64), canary: (u64, u64)) -> Tick {
    let counts = |(errors, requests)| Counts {
        requests,
        errors,
        latencies: Vec::new(),
    };
    Tick {
        at,
        stable: counts(stable),
        canary: counts(canary),
        unattributed: 0,
        under_way: 0,
    }
}

/// Judges the same tick every second until there is an opinion or time is over.
fn judged(plan: Plan, every: impl Fn(u64) -> Tick) -> (Opinion, u64) {
    let mut judge = Judge::new(plan, 7);
    judge.begin(0);
    for second in 1..5_000 {
        let opinion = judge.take(&every(second)).expect("a sample");
        if opinion != Opinion::Undecided {
            return (opinion, second);
        }
    }
    (Opinion::Undecided, 5_000)
}

/// Every so manyth of a side's requests fails.
fn failing(second: u64, requests: u64, every: u64) -> (u64, u64) {
    let failed = |until: u64| until.checked_div(every).unwrap_or(0);
    (
        failed(second * requests) - failed((second - 1) * requests),
        requests,
    )
}

#[test]
fn a_healthy_canary_passes_and_a_bad_one_is_out() {
    let healthy = judged(plan(), |second| {
        tick(
            second as f64,
            failing(second, 90, 200),
            failing(second, 10, 200),
        )
    });
    assert_eq!(healthy.0, Opinion::Close);
    assert!((25..60).contains(&healthy.1), "after {} seconds", healthy.1);
    let bad = judged(plan(), |second| {
        tick(
            second as f64,
            failing(second, 90, 200),
            failing(second, 10, 20),
        )
    });
    assert_eq!(bad.0, Opinion::Worse(Worse::Errors));
    assert!(bad.1 < 30, "after {} seconds", bad.1);
}

#[test]
fn a_broken_canary_is_out_at_once() {
    let broken = judged(plan(), |second| tick(second as f64, (0, 90), (10, 10)));
    assert!(matches!(broken.0, Opinion::Worse(_)), "{broken:?}");
    assert!(broken.1 <= 2, "after {} requests", broken.1 * 10);
}

#[test]
fn a_failing_stable_version_is_not_the_canarys_fault() {
    let failing = judged(plan(), |second| tick(second as f64, (63, 90), (7, 10)));
    assert_eq!(failing.0, Opinion::StableFails);
    // Below the guard rail: both fail alike, and nobody is blamed.
    let both = judged(plan(), |second| tick(second as f64, (27, 90), (3, 10)));
    assert!(!matches!(both.0, Opinion::Worse(_)), "{both:?}");
}

#[test]
fn an_outage_of_both_in_the_middle_blames_nobody() {
    let outage = judged(plan(), |second| match second {
        10..20 => tick(second as f64, (36, 90), (4, 10)),
        _ => tick(
            second as f64,
            failing(second, 90, 200),
            failing(second, 10, 200),
        ),
    });
    assert_eq!(outage.0, Opinion::Close);
}

#[test]
fn a_slow_canary_is_out_and_an_equally_slow_one_is_not() {
    let latency = |millis: f64, requests: u32| vec![(bucket(millis).expect("a latency"), requests)];
    let plan = || Plan {
        latency: Plan::default().latency,
        ..plan()
    };
    let with = |second: u64, extra: f64| {
        let mut tick = tick(second as f64, (0, 90), (0, 10));
        // Nine of ten take 20 ms, one 40 ms.
        tick.stable.latencies = [latency(20.0, 81), latency(40.0, 9)].concat();
        tick.canary.latencies = [latency(20.0 + extra, 9), latency(40.0 + extra, 1)].concat();
        tick
    };
    let same = judged(plan(), |second| with(second, 0.0));
    assert_eq!(same.0, Opinion::Close);
    let slow = judged(plan(), |second| with(second, 50.0));
    assert_eq!(slow.0, Opinion::Worse(Worse::Latency));
    assert!(slow.1 < 30, "after {} seconds", slow.1);
}

#[test]
fn a_wrong_split_is_noticed_before_it_can_pass() {
    for canary in [0, 30, 50] {
        let wrong = judged(plan(), |second| {
            tick(second as f64, (0, 100 - canary), (0, canary))
        });
        assert_eq!(wrong.0, Opinion::WrongSplit, "{canary}");
    }
}

#[test]
fn requests_whose_version_nobody_knows_make_no_wrong_split() {
    let step = |stable: u64, canary: u64, unattributed: u64, under_way: u64| {
        judged(plan(), |second| Tick {
            unattributed,
            under_way: under_way * second,
            ..tick(second as f64, (0, stable), (0, canary))
        })
    };
    // Stable hangs, and its callers give up.
    assert_eq!(step(20, 10, 70, 0).0, Opinion::StableFails);
    // The canary does.
    assert_eq!(
        step(90, 0, 10, 0).0,
        Opinion::Worse(Worse::Errors),
        "its own failures"
    );
    // Nobody has given up yet.
    assert_eq!(step(0, 10, 0, 90).0, Opinion::Undecided);
    assert_eq!(step(90, 0, 0, 10).0, Opinion::Undecided);
    // More or fewer than all that is missing: the split is another.
    assert_eq!(step(50, 50, 10, 10).0, Opinion::WrongSplit);
    assert_eq!(step(100, 0, 1, 1).0, Opinion::WrongSplit);
}

#[test]
fn nonsense_changes_nothing() {
    let mut judge = Judge::new(plan(), 1);
    judge.begin(0);
    judge.take(&tick(5.0, (0, 90), (0, 10))).expect("a sample");
    let before = judge.clone();
    for nonsense in [
        tick(f64::NAN, (0, 1), (0, 1)),
        tick(-1.0, (0, 1), (0, 1)),
        tick(4.0, (0, 1), (0, 1)),
        tick(6.0, (2, 1), (0, 1)),
        tick(f64::INFINITY, (0, 1), (0, 1)),
    ] {
        judge.take(&nonsense).expect_err("nonsense");
        assert_eq!(judge, before);
    }
}

#[test]
fn failures_that_nobody_owns_never_help_the_canary() {
    let unowned = judged(plan(), |second| {
        let mut tick = tick(second as f64, (0, 90), (0, 10));
        tick.unattributed = 1;
        tick
    });
    assert_ne!(unowned.0, Opinion::Close);
}

#[test]
fn what_is_known_survives_being_written_down_at_any_sample() {
    let plan = Plan {
        latency: Plan::default().latency,
        ..plan()
    };
    let mut judge = Judge::new(plan.clone(), 3);
    judge.begin(0);
    for second in 1..60 {
        let mut sample = tick(
            second as f64,
            failing(second, 90, 30),
            failing(second, 10, 20),
        );
        sample.stable.latencies = vec![(bucket(20.0).expect("a latency"), 90)];
        sample.canary.latencies = vec![(bucket(20.0).expect("a latency"), 10)];
        let text = serde_json::to_string(judge.knowledge()).expect("JSON");
        let read: Knowledge = serde_json::from_str(&text).expect("knowledge");
        let mut resumed = Judge::resume(plan.clone(), read);
        assert_eq!(resumed, judge);
        assert_eq!(resumed.take(&sample), judge.take(&sample));
    }
}

#[test]
fn what_was_counted_within_the_warm_up_is_not_judged() {
    let plan = Plan {
        warm_up: Duration::from_secs(5),
        ..plan()
    };
    let mut judge = Judge::new(plan, 7);
    judge.begin(0);
    // A sample that ends after the warm-up holds what happened within it.
    for at in [4.0, 9.0] {
        let opinion = judge.take(&tick(at, (0, 900), (40, 100)));
        assert_eq!(opinion, Ok(Opinion::Undecided));
        assert_eq!(judge.standing().canary.total, 0);
    }
    let _ = judge.take(&tick(10.0, (0, 90), (0, 10)));
    assert_eq!(judge.standing().canary.total, 10);
}
