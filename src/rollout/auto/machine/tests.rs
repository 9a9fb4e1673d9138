//! Every order of events, to a depth, from every state, under every policy.

use std::collections::HashSet;

use super::*;

const CAUSES: [Cause; 12] = [
    Cause::Errors,
    Cause::Latency,
    Cause::Guard,
    Cause::Inconclusive,
    Cause::NoTraffic,
    Cause::Split,
    Cause::StableFails,
    Cause::Unavailable,
    Cause::Blind,
    Cause::TimedOut,
    Cause::Interrupted,
    Cause::Asked,
];

fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for steps in [vec![10, 100], vec![1, 25, 100], vec![1, 5, 10, 25, 50, 100]] {
        for on_inconclusive in [Policy::Hold, Policy::Rollback, Policy::Promote] {
            for on_interrupt in [Interrupted::Hold, Interrupted::Rollback] {
                plans.push(Plan {
                    steps: steps.clone(),
                    on_inconclusive,
                    on_interrupt,
                    ..Plan::default()
                });
            }
        }
    }
    plans
}

/// All states that a run of this plan can ever be in.
fn reachable(plan: &Plan) -> HashSet<State> {
    let mut found = HashSet::from([State::START]);
    let mut open = vec![State::START];
    while let Some(state) = open.pop() {
        for event in Event::ALL {
            let next = state.on(event, plan);
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

/// Looks at what happened and where it led.
type Law<'a> = dyn FnMut(&[(Event, State)]) + 'a;

/// Calls `law` with every state reached by every sequence of events up to `depth`, and what led there.
fn every_sequence(plan: &Plan, depth: usize, law: &mut Law<'_>) {
    fn go(plan: &Plan, depth: usize, path: &mut Vec<(Event, State)>, law: &mut Law<'_>) {
        let state = path.last().map_or(State::START, |(_, state)| *state);
        for event in Event::ALL {
            path.push((event, state.on(event, plan)));
            law(path);
            if depth > 1 {
                go(plan, depth - 1, path, law);
            }
            path.pop();
        }
    }
    go(plan, depth, &mut Vec::new(), law);
}

#[test]
fn nothing_is_promoted_without_evidence() {
    for plan in plans() {
        every_sequence(&plan, 4, &mut |path| {
            let (_, state) = path[path.len() - 1];
            if !matches!(state, State::Promoting | State::Promoted) {
                return;
            }
            let passed = path
                .iter()
                .filter(|(event, _)| match event {
                    Event::Judged(Opinion::Close) => true,
                    // Only where a person said so beforehand.
                    Event::StepOver { .. } => plan.on_inconclusive == Policy::Promote,
                    _ => false,
                })
                .count();
            assert!(passed >= plan.judged(), "{path:?}");
        });
    }
}

#[test]
fn the_weight_never_jumps() {
    for plan in plans() {
        for state in reachable(&plan) {
            for event in Event::ALL {
                let next = state.on(event, &plan);
                let Action::Shift(weight) = next.action(&plan) else {
                    continue;
                };
                let at = plan.steps.iter().position(|step| *step == weight);
                let at = at.expect("a weight that is set is one of the steps");
                let before = match state {
                    State::Promoting => plan.judged(),
                    _ => state.step().expect("weights are raised from steps alone"),
                };
                assert!(
                    at == before || at == before + 1,
                    "{state:?} {event:?} {next:?}"
                );
                if at == before + 1 {
                    assert!(
                        matches!(state, State::Judging { .. })
                            && matches!(
                                event,
                                Event::Judged(Opinion::Close) | Event::StepOver { .. }
                            ),
                        "{state:?} {event:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_worse_canary_is_out_from_every_step_and_stays_out() {
    for plan in plans() {
        for step in 0..plan.judged() {
            for worse in [Worse::Errors, Worse::Latency, Worse::Guard] {
                let judging = State::Judging { step };
                let out = judging.on(Event::Judged(Opinion::Worse(worse)), &plan);
                assert_eq!(out.action(&plan), Action::Restore);
                // Nothing but the restored weight ends this.
                for event in Event::ALL {
                    match event {
                        Event::Shifted => {
                            let ended = out.on(event, &plan);
                            assert!(ended.is_settled());
                            assert_eq!(ended.outcome(), Some(Outcome::RolledBack));
                        }
                        Event::Unavailable => {
                            assert!(matches!(
                                out.on(event, &plan),
                                State::Restoring { tried: 1, .. }
                            ));
                        }
                        _ => assert_eq!(out.on(event, &plan), out, "{event:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_over_resets_or_holds_as_told() {
    for plan in plans() {
        for state in reachable(&plan).into_iter().filter(|state| state.is_over()) {
            assert_eq!(state.action(&plan), Action::Stop);
            assert!(state.outcome().is_some());
            if let State::Holding { because, .. } = state {
                let told = match because {
                    Cause::Interrupted => plan.on_interrupt == Interrupted::Hold,
                    Cause::Inconclusive | Cause::NoTraffic | Cause::Blind | Cause::TimedOut => {
                        plan.on_inconclusive == Policy::Hold
                    }
                    _ => false,
                };
                assert!(told, "{state:?} under {plan:?}");
                // A person can go on or give up.
                assert!(matches!(
                    state.on(Event::Resume, &plan),
                    State::Shifting { .. }
                ));
                assert!(matches!(
                    state.on(Event::Abort, &plan),
                    State::Restoring {
                        because: Cause::Asked,
                        ..
                    }
                ));
            }
            for event in Event::ALL {
                if !matches!(event, Event::Resume | Event::Abort) {
                    assert_eq!(state.on(event, &plan), state, "{event:?}");
                }
            }
        }
    }
}

#[test]
fn every_state_that_goes_on_can_come_to_an_end() {
    for plan in plans() {
        for state in reachable(&plan) {
            let mut at = state;
            for _ in 0..=RESTORES + 1 {
                at = at.on(Event::RunOver, &plan).on(Event::Unavailable, &plan);
            }
            assert!(at.is_over(), "{state:?} came to {at:?}");
        }
    }
}

#[test]
fn a_killed_run_goes_on_as_if_it_had_not_been() {
    // Killed after each event, written down, read again: the same states and the same actions follow.
    for plan in plans() {
        for state in reachable(&plan) {
            let text = serde_json::to_string(&state).expect("JSON");
            let read: State = serde_json::from_str(&text).expect("a state");
            assert_eq!(read, state);
            assert_eq!(read.action(&plan), state.action(&plan));
            for event in Event::ALL {
                assert_eq!(read.on(event, &plan), state.on(event, &plan));
            }
        }
    }
}

#[test]
fn seeing_nothing_and_running_out_of_time_promote_nobody() {
    for plan in plans() {
        for state in reachable(&plan) {
            for event in [
                Event::Blind,
                Event::RunOver,
                Event::Unavailable,
                Event::Interrupted,
            ] {
                let next = state.on(event, &plan);
                if next != state {
                    assert!(
                        matches!(
                            next,
                            State::Restoring { .. } | State::Holding { .. } | State::Stuck { .. }
                        ),
                        "{state:?} {event:?} {next:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_cause_has_an_outcome() {
    for because in CAUSES {
        assert!(
            State::Restored { because }
                .outcome()
                .is_some_and(|outcome| outcome != Outcome::Promoted)
        );
        assert!(!because.to_string().is_empty());
    }
}
