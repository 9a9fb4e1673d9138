//! A stack's outputs as a step's own type.

use crate::clients::stacks::{Outputs, Stack};
use crate::engine::{Failure, Observed, Result};

/// An output that the template is known to have.
pub(super) fn required(stack: &Stack, outputs: &Outputs, name: &str) -> Result<String> {
    outputs
        .get(name)
        .cloned()
        .ok_or_else(|| Failure::new(stack.title(), format!("it has no output {name}")))
}

/// The observation with its outputs read by `read`.
pub(super) fn typed<T>(
    seen: Observed<Outputs>,
    read: impl FnOnce(&Outputs) -> Result<T>,
) -> Result<Observed<T>> {
    Ok(match seen {
        Observed::Ready { outputs, drift } => Observed::Ready {
            outputs: read(&outputs)?,
            drift,
        },
        Observed::Absent => Observed::Absent,
        Observed::Pending(status) => Observed::Pending(status),
        Observed::Failed(reason) => Observed::Failed(reason),
        Observed::Foreign(owner) => Observed::Foreign(owner),
        Observed::Unreachable(reason) => Observed::Unreachable(reason),
    })
}
