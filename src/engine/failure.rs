//! What went wrong, with which resource, and what to type next.

use serde::Serialize;

/// The engine's result.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failure that names the resource, the service's own words and the next command to type.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[error("{resource}: {message}")]
pub struct Failure {
    /// What failed, as the user knows it: `stack meshctl-demo-network`.
    pub resource: String,
    /// The service's own error, as a lowercase fragment where the words are ours.
    pub message: String,
    /// What to do about it, as a sentence or a command.
    pub hint: Option<String>,
    /// Which family it belongs to; decides the exit code.
    pub kind: FailureKind,
}

/// Families of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A service refused or failed.
    Service,
    /// The user's own input, file or flags are wrong.
    Input,
    /// Missing, expired or insufficient credentials.
    Denied,
    /// Something is in the way that only a person may decide about: a foreign resource, a quota, an ended service.
    Blocked,
    /// A wait passed its deadline.
    Timeout,
    /// The run was interrupted.
    Cancelled,
    /// A dependency has no outputs yet, so this cannot be looked at.
    MissingInput,
}

impl Failure {
    /// A failure of a service call.
    pub fn new(resource: impl Into<String>, message: impl ToString) -> Self {
        Self::of(FailureKind::Service, resource, message)
    }

    /// A failure of the given family.
    pub fn of(kind: FailureKind, resource: impl Into<String>, message: impl ToString) -> Self {
        Failure {
            resource: resource.into(),
            message: message.to_string(),
            hint: None,
            kind,
        }
    }

    /// Something that was there and that somebody else deletes or has deleted; how that is known.
    pub fn taken_away(resource: impl Into<String>, how: impl ToString) -> Self {
        Self::of(FailureKind::Blocked, resource, how).hint(
            "something else takes it away, such as another run that removes the environment: let that end or stop it, then run the same command again",
        )
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
