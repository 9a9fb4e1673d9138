//! A check, for people.

use super::Printer;
use crate::check::{Check, Verdict};

/// Prints a check on a line, and what to do about it on another.
pub fn show_check(check: &Check, printer: &Printer) {
    let (mark, words) = match &check.verdict {
        Verdict::Passed => (printer.green("✔"), String::new()),
        Verdict::Skipped(reason) => (printer.dim("-"), format!(": {reason}")),
        Verdict::Warning(reason) => (printer.yellow("!"), format!(": {reason}")),
        Verdict::Failed(reason) => (printer.red("✘"), format!(": {reason}")),
    };
    printer.data(&format!("{mark} {}{words}", check.title));
    if let Some(hint) = &check.hint {
        printer.data(&format!("  {} {hint}", printer.cyan("hint:")));
    }
}
