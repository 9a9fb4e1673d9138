//! The state machine behind stacks: each tick does what is due, so that a restart in the middle goes on.
//!
//! Forwards (creating, updating, and rolling an update back to the previous definition), a resource's turn comes when
//! what it needs is done; backwards (deleting, rolling a creation back, cleaning up after an update), when what needs it
//! is gone.

mod backward;
mod forward;
mod planning;

use std::time::Duration;

use super::super::doom::Of;
use super::super::{Caller, Fault};
use super::resources::{Cx, Handler};
use super::stack::{OnFailure, Resource, Stack, Work};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{State, World};

pub use backward::doom;
pub use planning::{exports, live, plan, scope};

/// How long a deleted stack can still be described by its ARN.
const AFTERLIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How many deleted stacks are remembered; AWS remembers all of them that long.
const DELETED: usize = 100;

/// A stack taken out of the state, at work.
pub struct Run<'a> {
    world: &'a World,
    state: &'a mut State,
    stack: Stack,
    caller: Caller,
    now: Millis,
}

/// Lets every busy stack do what is due. Returns whether anything happened.
pub fn tick(state: &mut State, world: &World) -> bool {
    let busy: Vec<String> = state
        .cloudformation
        .stacks
        .values()
        .filter(|stack| stack.busy())
        .map(|stack| stack.id.clone())
        .collect();
    let mut changed = false;
    for id in busy {
        let Some(stack) = state.cloudformation.stacks.remove(&id) else {
            continue;
        };
        let caller = stack.acting();
        let mut run = Run {
            world,
            state,
            stack,
            caller,
            now: world.clock.now(),
        };
        changed |= run.step();
        let stack = run.stack;
        let deleted = stack.deleted_at.is_some();
        state.cloudformation.stacks.insert(id, stack);
        if deleted {
            forget(state, world);
        }
    }
    changed
}

/// Forgets stacks that were deleted long ago, so that the state doesn't grow with every environment that came and went.
fn forget(state: &mut State, world: &World) {
    let age = world.clock.scale(AFTERLIFE).as_millis() as Millis;
    let oldest = world.clock.now().saturating_sub(age);
    let known = &mut state.cloudformation;
    let mut deleted: Vec<Millis> = known
        .stacks
        .values()
        .filter_map(|stack| stack.deleted_at)
        .collect();
    deleted.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
    let oldest = oldest.max(deleted.get(DELETED).copied().unwrap_or_default());
    known
        .stacks
        .retain(|_, stack| stack.deleted_at.is_none_or(|at| at > oldest));
    let stacks = &known.stacks;
    known.change_sets.retain(|_, set| {
        stacks
            .get(&set.stack)
            .is_some_and(|stack| stack.deleted_at.is_none())
    });
}

/// How a step of many resources stands.
#[derive(PartialEq, Eq)]
enum Progress {
    Going { changed: bool },
    Done,
    Failed,
}

impl Run<'_> {
    fn step(&mut self) -> bool {
        match self.stack.status.as_str() {
            "CREATE_IN_PROGRESS" => self.creating(),
            "UPDATE_IN_PROGRESS" => self.updating(),
            "UPDATE_ROLLBACK_IN_PROGRESS" => self.going_back(),
            "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS" => self.cleaning("UPDATE_COMPLETE"),
            "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS" => {
                self.cleaning("UPDATE_ROLLBACK_COMPLETE")
            }
            "ROLLBACK_IN_PROGRESS" => self.rolling_back(),
            "DELETE_IN_PROGRESS" => self.deleting(),
            _ => false,
        }
    }

    /// Why a resource is to fail now, where a fault rule wants that: not the first of several, so that something is there.
    fn failure(&mut self, of: Of) -> Option<String> {
        let resources = &self.stack.resources;
        let is_later = resources
            .iter()
            .any(|one| one.work == Work::Idle && !one.logical.is_empty());
        if !is_later && resources.len() > 1 || !self.state.doomed.take(of, &self.stack.id) {
            return None;
        }
        let token = self.state.unique_uuid();
        Some(format!(
            "Resource handler returned message: \"Internal Failure\" (RequestToken: {token}, HandlerErrorCode: \
             InternalFailure)"
        ))
    }

    fn enter(&mut self, status: &str, reason: Option<String>) {
        let id = self.state.unique_uuid();
        self.stack.enter(id, self.now, status, reason);
    }

    fn after(&self, seconds: u64) -> Millis {
        self.world.clock.after(Duration::from_secs(seconds))
    }

    fn creating(&mut self) -> bool {
        let late = self
            .stack
            .deadline
            .is_some_and(|deadline| deadline <= self.now);
        let progress = if late {
            Progress::Failed
        } else {
            self.forward(false)
        };
        match progress {
            Progress::Going { changed } => changed,
            Progress::Done => match self.outputs() {
                Ok(()) => {
                    self.enter("CREATE_COMPLETE", None);
                    true
                }
                Err(reason) => {
                    self.creation_failed(Some(reason));
                    true
                }
            },
            Progress::Failed => {
                self.cancel("Resource creation cancelled");
                let reason = late.then(|| {
                    format!(
                        "Stack creation time exceeded the specified timeout of {} minutes. ",
                        self.stack.timeout.unwrap_or_default()
                    )
                });
                self.creation_failed(reason);
                true
            }
        }
    }

    fn creation_failed(&mut self, reason: Option<String>) {
        let reason = reason.unwrap_or_else(|| {
            format!(
                "The following resource(s) failed to create: [{}]. ",
                self.failed().join(", ")
            )
        });
        self.stack.deadline = None;
        match self.stack.on_failure {
            OnFailure::DoNothing => self.enter("CREATE_FAILED", Some(reason)),
            OnFailure::Rollback => {
                self.enter(
                    "ROLLBACK_IN_PROGRESS",
                    Some(format!("{reason}Rollback requested by user.")),
                );
                self.doom_all();
            }
            OnFailure::Delete => {
                self.enter(
                    "DELETE_IN_PROGRESS",
                    Some(format!("{reason}Delete requested by user.")),
                );
                self.doom_all();
            }
        }
    }

    fn doom_all(&mut self) {
        doom(&mut self.stack);
    }

    fn failed(&self) -> Vec<String> {
        self.stack
            .resources
            .iter()
            .filter(|resource| resource.work == Work::Failed)
            .map(|resource| resource.logical.clone())
            .collect()
    }

    fn updating(&mut self) -> bool {
        match self.forward(false) {
            Progress::Going { changed } => changed,
            Progress::Done => {
                match self.outputs() {
                    Ok(()) => {
                        self.retire(false);
                        self.enter("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None);
                    }
                    Err(reason) => self.update_failed(reason),
                }
                true
            }
            Progress::Failed => {
                self.cancel("Resource update cancelled");
                let updated: Vec<String> = self
                    .stack
                    .resources
                    .iter()
                    .filter(|resource| {
                        resource.work == Work::Failed && resource.status == "UPDATE_FAILED"
                    })
                    .map(|resource| resource.logical.clone())
                    .collect();
                let created: Vec<String> = self
                    .failed()
                    .into_iter()
                    .filter(|name| !updated.contains(name))
                    .collect();
                let mut reason = String::new();
                if !created.is_empty() {
                    reason.push_str(&format!(
                        "The following resource(s) failed to create: [{}]. ",
                        created.join(", ")
                    ));
                }
                if !updated.is_empty() {
                    reason.push_str(&format!(
                        "The following resource(s) failed to update: [{}]. ",
                        updated.join(", ")
                    ));
                }
                self.update_failed(reason);
                true
            }
        }
    }

    fn update_failed(&mut self, reason: String) {
        if self.stack.on_failure == OnFailure::DoNothing {
            return self.enter("UPDATE_FAILED", Some(reason));
        }
        if let Some(previous) = self.stack.previous.clone() {
            self.stack.definition = previous;
        }
        for resource in &mut self.stack.resources {
            resource.work = Work::Waiting;
        }
        self.enter("UPDATE_ROLLBACK_IN_PROGRESS", Some(reason));
    }

    fn going_back(&mut self) -> bool {
        match self.forward(true) {
            Progress::Going { changed } => changed,
            Progress::Done => {
                let outputs = self.outputs();
                self.retire(true);
                self.enter(
                    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
                    outputs.err(),
                );
                true
            }
            Progress::Failed => {
                self.cancel("Resource update cancelled");
                let reason = format!(
                    "The following resource(s) failed to update: [{}]. ",
                    self.failed().join(", ")
                );
                self.enter("UPDATE_ROLLBACK_FAILED", Some(reason));
                true
            }
        }
    }

    fn cleaning(&mut self, end: &str) -> bool {
        let mut doomed = std::mem::take(&mut self.stack.doomed);
        let progress = self.backward(&mut doomed);
        self.stack.doomed = doomed;
        match progress {
            Progress::Going { changed } => changed,
            // What can't be cleaned up is left to the user; the update has succeeded all the same.
            Progress::Done | Progress::Failed => {
                self.stack.doomed.clear();
                self.stack.previous = None;
                self.enter(end, None);
                true
            }
        }
    }

    fn rolling_back(&mut self) -> bool {
        match self.all_backward() {
            Progress::Going { changed } => changed,
            Progress::Done => {
                self.enter("ROLLBACK_COMPLETE", None);
                true
            }
            Progress::Failed => {
                let reason = format!(
                    "The following resource(s) failed to delete: [{}]. ",
                    self.failed().join(", ")
                );
                self.enter("ROLLBACK_FAILED", Some(reason));
                true
            }
        }
    }

    fn deleting(&mut self) -> bool {
        match self.all_backward() {
            Progress::Going { changed } => changed,
            Progress::Done => {
                self.stack.deleted_at = Some(self.now);
                self.enter("DELETE_COMPLETE", None);
                true
            }
            Progress::Failed => {
                let reason = format!(
                    "The following resource(s) failed to delete: [{}]. ",
                    self.failed().join(", ")
                );
                self.enter("DELETE_FAILED", Some(reason));
                true
            }
        }
    }

    fn tell(&mut self, resource: &mut Resource, status: &str, reason: Option<String>) {
        let token = self.stack.token.clone();
        resource.enter(
            &mut self.stack.events,
            token.as_ref(),
            self.now,
            status,
            reason,
        );
    }

    fn within<T>(&mut self, resource: &Resource, work: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let suffix = self
            .state
            .unique(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 12);
        let mut cx = Cx {
            world: self.world,
            state: self.state,
            caller: &self.caller,
            region: &self.stack.region,
            generated: format!("{}-{}-{suffix}", self.stack.name, resource.logical),
            made: None,
        };
        work(&mut cx)
    }

    /// What a resource's event says of a service's refusal.
    fn reason(&mut self, handler: &Handler, fault: &Fault) -> String {
        let code = match fault.code.as_str() {
            code if code.contains("NotFound") || code == "NoSuchEntity" => "NotFound",
            code if code.contains("AlreadyExists") || code.contains("Duplicate") => "AlreadyExists",
            code if code.contains("LimitExceeded") => "ServiceLimitExceeded",
            "NotStabilized" => "NotStabilized",
            _ if fault.status == 403 => "AccessDenied",
            code if code.starts_with("Invalid")
                || ["DependencyViolation", "MissingParameter"].contains(&code) =>
            {
                "InvalidRequest"
            }
            _ => "GeneralServiceException",
        };
        let token = self.state.unique_uuid();
        if code == "NotStabilized" {
            return format!(
                "Resource handler returned message: \"{}\" (RequestToken: {token}, HandlerErrorCode: {code})",
                fault.message
            );
        }
        let request = self.state.unique_uuid();
        format!(
            "Resource handler returned message: \"{} (Service: {}, Status Code: {}, Request ID: {request})\" \
             (RequestToken: {token}, HandlerErrorCode: {code})",
            fault.message, handler.service, fault.status
        )
    }
}
