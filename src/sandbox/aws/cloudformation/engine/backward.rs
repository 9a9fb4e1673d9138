//! Deleting, dependents first.

use super::super::super::Fault;
use super::super::super::doom::Of;
use super::super::resources::{Properties, handler};
use super::super::stack::{Resource, Stack, Work};
use super::{Progress, Run};

/// How long a deletion that is refused for dependencies is tried again, in seconds.
const PATIENCE: u64 = 60;
/// How long between two tries, in seconds.
const PAUSE: u64 = 10;

/// Marks everything that a stack has for deletion.
pub fn doom(stack: &mut Stack) {
    for resource in &mut stack.resources {
        resource.work = if resource.status.is_empty() || resource.work == Work::Gone {
            Work::Gone
        } else {
            Work::Waiting
        };
        resource.patience = None;
    }
}

impl Run<'_> {
    pub(super) fn all_backward(&mut self) -> Progress {
        let mut resources = std::mem::take(&mut self.stack.resources);
        let progress = self.backward(&mut resources);
        self.stack.resources = resources;
        progress
    }

    /// Deletes what waits for it, dependents first.
    pub(super) fn backward(&mut self, resources: &mut [Resource]) -> Progress {
        let mut changed = false;
        for index in 0..resources.len() {
            match resources[index].work {
                Work::Deleting(due) if due <= self.now => {
                    changed |= self.finish(&mut resources[index])
                }
                Work::Retrying(due) if due > self.now => {}
                Work::Waiting | Work::Retrying(_) => {
                    let name = &resources[index].logical;
                    let needed = resources
                        .iter()
                        .any(|other| other.work != Work::Gone && other.needs.contains(name));
                    if !needed {
                        changed = true;
                        self.delete(&mut resources[index]);
                    }
                }
                _ => {}
            }
        }
        let running = resources
            .iter()
            .any(|resource| matches!(resource.work, Work::Deleting(_) | Work::Retrying(_)));
        if running || changed {
            Progress::Going { changed }
        } else if resources.iter().all(|resource| resource.work == Work::Gone) {
            Progress::Done
        } else {
            Progress::Failed
        }
    }

    fn delete(&mut self, resource: &mut Resource) {
        let kept = self.stack.retain.contains(&resource.logical)
            || resource.deletion_policy == "Retain"
            || (resource.deletion_policy == "RetainExceptOnCreate"
                && self.stack.status != "ROLLBACK_IN_PROGRESS");
        if kept && resource.physical.is_some() {
            resource.work = Work::Gone;
            self.tell(resource, "DELETE_SKIPPED", None);
            return;
        }
        let (Some(physical), Some(handler)) = (resource.physical.clone(), handler(&resource.kind))
        else {
            resource.work = Work::Gone;
            self.tell(resource, "DELETE_COMPLETE", None);
            return;
        };
        if !matches!(resource.work, Work::Retrying(_)) {
            self.tell(resource, "DELETE_IN_PROGRESS", None);
        }
        if self.stack.status == "DELETE_IN_PROGRESS"
            && let Some(reason) = self.failure(Of::Deletion)
        {
            return self.deletion_failed(resource, reason);
        }
        let properties = resource.properties.clone();
        let deleted = self.within(resource, |cx| {
            (handler.delete)(cx, &physical, Properties(&properties))
        });
        match deleted {
            Ok(()) => resource.work = Work::Deleting(self.after(1)),
            Err(fault) if absent(&fault) => resource.work = Work::Deleting(self.now),
            Err(fault) => {
                let patience = *resource.patience.get_or_insert(self.after(PATIENCE));
                if fault.code == "DependencyViolation" && self.now < patience {
                    resource.work = Work::Retrying(self.after(PAUSE));
                    return;
                }
                let reason = self.reason(handler, &fault);
                self.deletion_failed(resource, reason);
            }
        }
    }

    fn deletion_failed(&mut self, resource: &mut Resource, reason: String) {
        resource.patience = None;
        if self.stack.force {
            resource.work = Work::Gone;
            self.tell(resource, "DELETE_SKIPPED", Some(reason));
        } else {
            resource.work = Work::Failed;
            self.tell(resource, "DELETE_FAILED", Some(reason));
        }
    }

    fn finish(&mut self, resource: &mut Resource) -> bool {
        let Some(handler) = handler(&resource.kind) else {
            return false;
        };
        let physical = resource.physical.clone().unwrap_or_default();
        let properties = resource.properties.clone();
        let gone = self.within(resource, |cx| {
            (handler.gone)(cx, &physical, Properties(&properties))
        });
        match gone {
            Ok(false) => false,
            Ok(true) => {
                resource.work = Work::Gone;
                self.tell(resource, "DELETE_COMPLETE", None);
                true
            }
            Err(fault) => {
                let reason = self.reason(handler, &fault);
                self.deletion_failed(resource, reason);
                true
            }
        }
    }
}

fn absent(fault: &Fault) -> bool {
    fault.code.contains("NotFound")
        || [
            "Gateway.NotAttached",
            "NoSuchEntity",
            "RepositoryNotFoundException",
            "ResourceNotFoundException",
        ]
        .contains(&fault.code.as_str())
}
