//! Exit codes: one table, documented in `docs/exit-codes.md`.

use crate::engine::{Failure, FailureKind};

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `plan`: nothing to do.
    Success,
    /// A service, a step or a check failed.
    Failure,
    /// `plan`: there are changes.
    Changes,
    /// `down`, `audit`: something is left.
    Leftovers,
    /// The environment file or a value on the command line is wrong; nothing was touched.
    Invalid,
    /// Credentials are missing, expired or insufficient.
    Denied,
    /// A person must decide: a foreign resource, a quota, an ended service, another run.
    Blocked,
    /// `canary --auto`: the canary is worse than stable, which has its traffic back.
    RolledBack,
    /// `canary --auto`: nothing could be decided.
    Inconclusive,
    /// `canary`: the observed split does not match the weight.
    SplitNotRealised,
    /// `canary`: the version or the way to it is not available.
    BackEndUnavailable,
    /// `verify`: a check failed.
    NotVerified,
    /// The command line cannot be understood.
    Usage,
    /// A wait or the whole run passed its time.
    Timeout,
    /// Interrupted by a person or a signal.
    Interrupted,
}

impl Exit {
    /// All of them, in the table's order.
    pub const ALL: [Exit; 15] = [
        Exit::Success,
        Exit::Failure,
        Exit::Changes,
        Exit::Leftovers,
        Exit::Invalid,
        Exit::Denied,
        Exit::Blocked,
        Exit::RolledBack,
        Exit::Inconclusive,
        Exit::SplitNotRealised,
        Exit::BackEndUnavailable,
        Exit::NotVerified,
        Exit::Usage,
        Exit::Timeout,
        Exit::Interrupted,
    ];

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Changes => 2,
            Exit::Leftovers => 3,
            Exit::Invalid => 4,
            Exit::Denied => 5,
            Exit::Blocked => 6,
            Exit::RolledBack => 10,
            Exit::Inconclusive => 11,
            Exit::SplitNotRealised => 12,
            Exit::BackEndUnavailable => 13,
            Exit::NotVerified => 14,
            Exit::Usage => 64,
            Exit::Timeout => 124,
            Exit::Interrupted => 130,
        }
    }

    /// What it means, as the documentation says it.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "done; for `plan`: nothing to do",
            Exit::Failure => "a service, a step or a check failed",
            Exit::Changes => "`plan`: there are changes",
            Exit::Leftovers => "`down`, `audit`: something is left",
            Exit::Invalid => {
                "the environment file or a value on the command line is wrong; nothing was touched"
            }
            Exit::Denied => "credentials are missing, expired or insufficient",
            Exit::Blocked => {
                "a person must decide: a foreign resource, a quota, an ended service, another run, no confirmation"
            }
            Exit::RolledBack => {
                "`canary --auto`: the canary is worse than stable, which has its traffic back"
            }
            Exit::Inconclusive => {
                "`canary --auto`: nothing could be decided, or there was no traffic"
            }
            Exit::SplitNotRealised => "`canary`: the observed split does not match the weight",
            Exit::BackEndUnavailable => {
                "`canary`: a version, the way to it or the source of samples is not available"
            }
            Exit::NotVerified => "`verify`: a check failed",
            Exit::Usage => "the command line cannot be understood",
            Exit::Timeout => "a wait or the whole run passed its time",
            Exit::Interrupted => "interrupted by a person or a signal",
        }
    }

    /// The exit code of a failure.
    pub fn of(failure: &Failure) -> Exit {
        match failure.kind {
            FailureKind::Service | FailureKind::MissingInput => Exit::Failure,
            FailureKind::Input => Exit::Invalid,
            FailureKind::Denied => Exit::Denied,
            FailureKind::Blocked => Exit::Blocked,
            FailureKind::Timeout => Exit::Timeout,
            FailureKind::Cancelled => Exit::Interrupted,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
