use std::pin::pin;

use super::*;

fn visit(call: &str) -> Visit {
    Visit {
        call: call.into(),
        is_internal: false,
        changes: true,
    }
}

/// Which of so many calls are struck, from 1.
fn struck(faults: &Faults, call: &str, calls: usize) -> Vec<usize> {
    let visit = visit(call);
    (1..=calls)
        .filter(|_| faults.strike(&visit).is_some())
        .collect()
}

#[test]
fn rules_strike_the_calls_that_they_name() {
    let faults = Faults::default();
    let mut rule = Rule::new("eks:Create*", Kind::Throttling);
    rule.nth = 2;
    rule.count = Some(2);
    let id = faults.add(rule).unwrap();
    assert!(struck(&faults, "eks:DescribeCluster", 3).is_empty());
    assert!(struck(&faults, "ecr:CreateRepository", 3).is_empty());
    assert_eq!(struck(&faults, "eks:CreateCluster", 5), [2, 3]);
    let inside = Visit {
        is_internal: true,
        ..visit("eks:CreateCluster")
    };
    assert_eq!(faults.strike(&inside), None);
    let listed = faults.list();
    assert_eq!(listed[0]["seen"], 5);
    assert_eq!(listed[0]["struck"], 2);
    assert_eq!(faults.clear(&[id + 1]), 0);
    assert_eq!(faults.clear(&[id]), 1);
    assert_eq!(faults.list(), json!([]));
}

#[test]
fn callers_are_told_apart_and_all_rules_count() {
    let faults = Faults::default();
    let mut all = Rule::new("kubernetes:*:pods", Kind::Reset);
    all.caller = Callers::Any;
    faults.add(all).unwrap();
    let mut inner = Rule::new("kubernetes:get:*", Kind::Lost);
    inner.caller = Callers::Controllers;
    inner.nth = 2;
    faults.add(inner).unwrap();
    let inside = Visit {
        is_internal: true,
        ..visit("kubernetes:get:pods")
    };
    let kinds: Vec<_> = (0..3)
        .map(|_| faults.strike(&inside).map(|strike| strike.kind))
        .collect();
    assert_eq!(kinds, [Some(Kind::Reset), Some(Kind::Lost), None]);
}

#[tokio::test]
async fn what_is_held_is_done_once_its_own_fault_is_cleared() {
    let faults = Faults::default();
    let held = faults.add(Rule::new("iam:GetRole", Kind::Held)).unwrap();
    let other = faults.add(Rule::new("*", Kind::Slow)).unwrap();
    let visit = visit("iam:GetRole");
    let strike = faults.strike(&visit);
    let breaker = Breaker::default();
    let act = async { Response::new(()) };
    let mut call = pin!(faults.carry(&visit, strike, &breaker, |_| unreachable!(), act));
    assert!(futures::poll!(&mut call).is_pending());
    faults.clear(&[other]);
    assert!(futures::poll!(&mut call).is_pending());
    faults.clear(&[held]);
    assert_eq!(call.await.status(), 200);
}

#[test]
fn the_same_seed_strikes_the_same_calls() {
    let run = |seed| {
        let faults = Faults::default();
        let mut rule = Rule::new("*", Kind::Unavailable);
        rule.probability = Some(0.3);
        rule.seed = seed;
        faults.add(rule).unwrap();
        struck(&faults, "iam:GetRole", 200)
    };
    let first = run(7);
    assert!((30..=90).contains(&first.len()), "{}", first.len());
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
}

#[test]
fn rules_that_can_never_strike_are_refused() {
    let field = |change: &dyn Fn(&mut Rule)| {
        let mut rule = Rule::new("eks:CreateCluster", Kind::Slow);
        change(&mut rule);
        rule.check().err().map(|wrong| wrong.field)
    };
    assert_eq!(field(&|_| {}), None);
    for calls in [
        "",
        "eks",
        "eks:",
        "eks:CreateClustr",
        "ecs:CreateCluster",
        "eks:CreateCluster:x",
        "kubernetes:patch",
        "kubernetes:apply:pods",
        "kubernetes:patch:",
        "registry:PUSH:blobs",
        "registry:PUT:layers",
        "registry:PUT:blobs:x",
    ] {
        assert_eq!(
            field(&|rule| rule.calls = calls.into()),
            Some("calls"),
            "{calls}"
        );
    }
    for calls in [
        "*",
        "*:Create*",
        "ec2:*",
        "kubernetes:*:*",
        "kubernetes:patch:deployments.apps",
        "registry:P*:uploads",
    ] {
        assert_eq!(field(&|rule| rule.calls = calls.into()), None, "{calls}");
    }
    assert_eq!(field(&|rule| rule.nth = 0), Some("nth"));
    assert_eq!(field(&|rule| rule.count = Some(0)), Some("count"));
    for probability in [0.0, 1.5, f64::NAN, -1.0] {
        assert_eq!(
            field(&|rule| rule.probability = Some(probability)),
            Some("probability")
        );
    }
    for seconds in [-1.0, f64::NAN, 1e9] {
        assert_eq!(field(&|rule| rule.seconds = Some(seconds)), Some("seconds"));
    }
    assert_eq!(
        field(&|rule| {
            rule.kind = Kind::Reset;
            rule.seconds = Some(1.0);
        }),
        Some("seconds")
    );
}

#[test]
fn kinds_are_written_as_they_are_named() {
    for kind in Kind::ALL {
        assert_eq!(json!(kind), kind.name());
    }
}
