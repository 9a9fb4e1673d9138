//! The sandbox's log: one line per event on standard error, which `control` points at the log file.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

/// The largest log; a sandbox may run for weeks.
const LARGEST: u64 = 16 << 20;

/// Writes events from now on. Where a subscriber is installed already, that one stays. `file` is where standard error
/// goes when the sandbox runs in the background.
pub(super) fn install(file: &Path) {
    let _ = tracing::subscriber::set_global_default(Log {
        file: file.into(),
        written: AtomicU64::new(0),
    });
}

struct Log {
    file: PathBuf,
    written: AtomicU64,
}

impl Log {
    /// Begins the log anew when it has grown too large. It is appended to, so that it then begins at its beginning.
    fn limit(&self, length: usize) {
        let written = self.written.fetch_add(length as u64, Ordering::Relaxed);
        if written > LARGEST {
            self.written.store(0, Ordering::Relaxed);
            if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&self.file) {
                let _ = file.set_len(0);
            }
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("meshctl");
        *metadata.level() <= if ours { Level::DEBUG } else { Level::WARN }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::with_capacity(160));
        let _ = write!(
            line.0,
            "{} {:5} {}:",
            jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"),
            event.metadata().level(),
            event
                .metadata()
                .target()
                .trim_start_matches("meshctl::sandbox::")
        );
        event.record(&mut line);
        line.0.push('\n');
        self.limit(line.0.len());
        let _ = std::io::stderr().write_all(line.0.as_bytes());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}").replace('\n', "\\n");
        let _ = match field.name() {
            "message" => write!(self.0, " {text}"),
            name => write!(self.0, " {name}={text}"),
        };
    }
}
