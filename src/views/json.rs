//! NDJSON: every event as one line on stdout.

use super::Printer;
use crate::engine::{Event, Listener};

/// Prints every event as JSON.
pub struct JsonLines {
    printer: Printer,
}

impl JsonLines {
    /// A listener that prints on `printer`.
    pub fn new(printer: Printer) -> Self {
        JsonLines { printer }
    }
}

impl Listener for JsonLines {
    fn hear(&self, event: &Event) {
        self.printer.json(event);
    }
}
