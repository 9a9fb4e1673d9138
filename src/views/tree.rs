//! A live tree of the running steps on a terminal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines::describe;
use super::progress::{Progress, seconds};
use super::{Printer, Verbosity};
use crate::engine::{Event, EventKind, Listener, Outcome, Phase, StepId};

/// How often the display moves.
pub(super) const TICK: Duration = Duration::from_millis(120);

/// Draws the tree.
pub struct Tree {
    printer: Printer,
    shared: Arc<Mutex<Drawing>>,
}

struct Drawing {
    bars: MultiProgress,
    head: ProgressBar,
    title: String,
    running: HashMap<StepId, ProgressBar>,
    progress: Progress,
    began: Instant,
}

impl Tree {
    /// A tree under a heading; drawn on stderr.
    pub fn new(printer: Printer, title: &str) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12));
        let head = bars.add(ProgressBar::new_spinner());
        head.set_style(style("{spinner} {wide_msg}"));
        head.enable_steady_tick(TICK);
        printer.set_live(Some(bars.clone()));
        let shared = Arc::new(Mutex::new(Drawing {
            bars,
            head,
            title: title.to_string(),
            running: HashMap::new(),
            progress: Progress::default(),
            began: Instant::now(),
        }));
        let weak = Arc::downgrade(&shared);
        // The heading moves with time and not with events: it takes a look at all steps.
        std::thread::spawn(move || {
            while let Some(shared) = weak.upgrade() {
                shared
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner())
                    .retitle();
                drop(shared);
                std::thread::sleep(TICK);
            }
        });
        Tree { printer, shared }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.printer.set_live(None);
        let drawing = self
            .shared
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        drawing.head.finish_and_clear();
        let _ = drawing.bars.clear();
    }
}

pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("a constant template")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

impl Drawing {
    fn retitle(&self) {
        let (done, all) = self.progress.done();
        let elapsed = self.began.elapsed();
        let left = match self.progress.remaining(elapsed) {
            Some(left) if done < all => format!(" · about {} left", seconds(left)),
            _ => String::new(),
        };
        self.head.set_message(format!(
            "{} · {done} of {all} steps · {}{left}",
            self.title,
            seconds(elapsed)
        ));
    }

    fn start(&mut self, id: &StepId) {
        let title = self.progress.title(id).to_string();
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(style("  ├─ {spinner} {prefix} {elapsed:>4} {wide_msg}"));
        bar.set_prefix(title);
        bar.enable_steady_tick(TICK);
        self.running.insert(id.clone(), bar);
    }
}

impl Listener for Tree {
    fn hear(&self, event: &Event) {
        if let EventKind::StepWarning { message, .. } = &event.kind {
            self.printer.warn(message);
        }
        let mut drawing = self
            .shared
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        drawing.progress.hear(event.elapsed, &event.kind);
        let mut line = None;
        match &event.kind {
            EventKind::RunStarted { .. } => drawing.began = Instant::now(),
            EventKind::StepStarted {
                id,
                phase: Phase::Apply | Phase::Destroy,
                ..
            } => drawing.start(id),
            EventKind::StepProgress { id, message } => {
                if let Some(bar) = drawing.running.get(id) {
                    bar.set_message(message.clone());
                }
            }
            EventKind::StepFinished { id, outcome, .. } => {
                if let Some(bar) = drawing.running.remove(id) {
                    bar.finish_and_clear();
                    drawing.bars.remove(&bar);
                }
                line = describe(&drawing.progress, &event.kind)
                    .map(|(line, least)| (self.mark(outcome, &line), least));
            }
            EventKind::Interrupted => line = describe(&drawing.progress, &event.kind),
            _ => {}
        }
        drop(drawing);
        match line {
            Some((line, Verbosity::Verbose)) => self.printer.detail(&line),
            Some((line, _)) => self.printer.say(&line),
            None => {}
        }
    }
}

impl Tree {
    fn mark(&self, outcome: &Outcome, line: &str) -> String {
        let words = line
            .split_once(' ')
            .map_or(line, |(_, rest)| rest.trim_start());
        match outcome {
            Outcome::Applied { .. } | Outcome::Destroyed => {
                format!("  {} {words}", self.printer.green("✔"))
            }
            Outcome::Failed { .. } => format!("  {} {words}", self.printer.red("✘")),
            _ => format!("  {} {}", self.printer.dim("·"), self.printer.dim(line)),
        }
    }
}
