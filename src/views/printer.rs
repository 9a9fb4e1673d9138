//! The one owner of stdout and stderr.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};

use serde::Serialize;

/// What output is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// People; a live display on a terminal.
    #[default]
    Human,
    /// People and logs; one line at a time, no colour, no live display.
    Plain,
    /// Programs; one JSON object a line, with a version field.
    Json,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How much to say on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors alone.
    Quiet,
    /// What changes.
    #[default]
    Normal,
    /// Also what stays.
    Verbose,
}

/// Something being done; shown until it is dropped.
pub struct Working(Option<indicatif::ProgressBar>);

impl Drop for Working {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The version of every JSON line's shape.
const JSON_VERSION: u32 = 1;

/// Prints.
#[derive(Clone)]
pub struct Printer {
    /// What output is for.
    pub format: Format,
    /// How much to say on stderr.
    pub verbosity: Verbosity,
    color: bool,
    terminal: bool,
    /// A live display to step aside while a line is printed.
    live: Arc<Mutex<Option<indicatif::MultiProgress>>>,
}

impl Printer {
    /// A printer; decides about colour and live displays from the terminal and NO_COLOR.
    pub fn new(format: Format, color: Color, verbosity: Verbosity) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                terminal && !dumb && !unwanted && format == Format::Human
            }
        };
        Printer {
            format,
            verbosity,
            color,
            terminal,
            live: Arc::default(),
        }
    }

    /// Whether a live display can be drawn.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether output is for programs.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    pub(super) fn set_live(&self, live: Option<indicatif::MultiProgress>) {
        *self
            .live
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = live;
    }

    /// Prints data: a line on stdout. A reader that went away is no error.
    pub fn data(&self, line: &str) {
        self.aside(|| drop(writeln!(std::io::stdout().lock(), "{line}")));
    }

    /// Prints data as one JSON line on stdout, with the version field.
    pub fn json<T: Serialize>(&self, value: &T) {
        #[derive(Serialize)]
        struct Versioned<'a, T> {
            version: u32,
            #[serde(flatten)]
            value: &'a T,
        }
        if let Ok(line) = serde_json::to_string(&Versioned {
            version: JSON_VERSION,
            value,
        }) {
            self.data(&line);
        }
    }

    /// Says something on stderr, unless quiet.
    pub fn say(&self, line: &str) {
        if self.verbosity > Verbosity::Quiet && !self.is_json() {
            self.stderr(line);
        }
    }

    /// Says what is being done, with the time it takes while it is done; nothing of it stays on a terminal.
    pub fn working(&self, what: &str) -> Working {
        let shown = self.verbosity > Verbosity::Quiet && self.format == Format::Human;
        if !(shown && self.terminal) {
            self.say(what);
            return Working(None);
        }
        let bar = indicatif::ProgressBar::new_spinner();
        bar.set_style(super::tree::style("{spinner} {msg} {elapsed}"));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(super::tree::TICK);
        Working(Some(bar))
    }

    /// Says something on stderr when asked for more.
    pub fn detail(&self, line: &str) {
        if self.verbosity >= Verbosity::Verbose && !self.is_json() {
            self.stderr(line);
        }
    }

    /// Warns on stderr.
    pub fn warn(&self, line: &str) {
        self.stderr(&format!("{} {line}", self.yellow("warning:")));
    }

    /// Says an error and what to do about it, on stderr; as JSON on stdout where output is for programs.
    pub fn error(&self, message: &str, hint: Option<&str>) {
        if self.is_json() {
            self.json(&serde_json::json!({ "event": "error", "message": message, "hint": hint }));
            return;
        }
        self.stderr(&format!("{} {message}", self.red("error:")));
        if let Some(hint) = hint {
            self.stderr(&format!("  {} {hint}", self.cyan("hint:")));
        }
    }

    fn stderr(&self, line: &str) {
        self.aside(|| drop(writeln!(std::io::stderr().lock(), "{line}")));
    }

    fn aside(&self, print: impl FnOnce()) {
        let live = self
            .live
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match live.as_ref() {
            Some(live) => live.suspend(print),
            None => print(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    /// Bold.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Faint.
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Red.
    pub fn red(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Green.
    pub fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Yellow.
    pub fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Cyan.
    pub fn cyan(&self, text: &str) -> String {
        self.paint("36", text)
    }
}
