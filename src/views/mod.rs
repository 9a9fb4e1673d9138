//! What people and programs see. Data goes to stdout, everything else to stderr; nothing else in meshctl prints.

mod canary;
mod checks;
mod json;
mod lines;
mod printer;
mod progress;
mod table;
mod timings;
mod tree;

use std::sync::Arc;

pub use canary::{CanaryView, standing_in_words};
pub use checks::show_check;
pub use json::JsonLines;
pub use lines::Lines;
pub use printer::{Color, Format, Printer, Verbosity};
pub use progress::seconds;
pub use table::Table;
pub use timings::timings;
pub use tree::Tree;

use crate::engine::{Event, Listener};

/// The display for a run, by what the printer prints for: NDJSON, a live tree on a terminal, plain lines otherwise.
pub fn for_run(printer: &Printer, title: &str) -> Arc<dyn Listener> {
    match printer.format {
        Format::Json => Arc::new(JsonLines::new(printer.clone())),
        Format::Human if printer.is_terminal() => Arc::new(Tree::new(printer.clone(), title)),
        Format::Human | Format::Plain => Arc::new(Lines::new(printer.clone())),
    }
}

/// Several listeners as one.
pub struct Both(pub Arc<dyn Listener>, pub Arc<dyn Listener>);

impl Listener for Both {
    fn hear(&self, event: &Event) {
        self.0.hear(event);
        self.1.hear(event);
    }
}
