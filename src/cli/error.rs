//! What a command fails with, and the one place that says it to a person.

use std::path::Path;

use super::exit::Exit;
use crate::config::Invalid;
use crate::engine::{Failure, FailureKind};
use crate::views::Printer;

/// A command's failure: words, a hint, an exit code.
#[derive(Debug)]
pub struct Error {
    /// A lowercase fragment, or several lines of it.
    pub message: String,
    /// The next command to type, or what to change.
    pub hint: Option<String>,
    /// The exit code.
    pub exit: Exit,
}

impl Error {
    /// A failure with that exit code.
    pub fn new(exit: Exit, message: impl ToString) -> Self {
        Error {
            message: message.to_string(),
            hint: None,
            exit,
        }
    }

    /// A file that cannot be written.
    pub fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |error| {
            Error::new(
                Exit::Invalid,
                format!("cannot write {}: {error}", path.display()),
            )
        }
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it.
    pub fn print(&self, printer: &Printer) {
        printer.error(&self.message, self.hint.as_deref());
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let next = usual_next(failure.kind).map(str::to_owned);
        Error {
            exit: Exit::of(&failure),
            message: failure.to_string(),
            hint: failure.hint.or(next),
        }
    }
}

/// What to do about a failure that does not say it itself: every command may be run again.
fn usual_next(kind: FailureKind) -> Option<&'static str> {
    match kind {
        FailureKind::Service | FailureKind::Timeout | FailureKind::Cancelled => {
            Some("run the same command again")
        }
        FailureKind::Denied => Some("`meshctl doctor` tells which credentials are used"),
        FailureKind::MissingInput => Some("run `meshctl up` first"),
        FailureKind::Input | FailureKind::Blocked => None,
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Error::new(Exit::Invalid, invalid)
    }
}
