//! A canary that decides by itself, as it goes: live on a terminal, a line now and then in a log, JSON for programs.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Format, Printer};
use crate::rollout::auto::judge::Standing;
use crate::rollout::auto::run::{Update, Watcher};

/// Between two lines about the same step in a log.
const EVERY: Duration = Duration::from_secs(10);

/// Shows a run.
pub struct CanaryView {
    printer: Printer,
    live: Option<(MultiProgress, ProgressBar)>,
    said: Mutex<Option<Instant>>,
}

impl CanaryView {
    /// A view on `printer`.
    pub fn new(printer: &Printer) -> Self {
        let live = (printer.format == Format::Human && printer.is_terminal()).then(|| {
            let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            let bar = bars.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}");
            bar.set_style(style.expect("a constant template"));
            bar.enable_steady_tick(Duration::from_millis(120));
            printer.set_live(Some(bars.clone()));
            (bars, bar)
        });
        CanaryView {
            printer: printer.clone(),
            live,
            said: Mutex::default(),
        }
    }
}

impl Drop for CanaryView {
    fn drop(&mut self) {
        if let Some((bars, bar)) = &self.live {
            bar.finish_and_clear();
            let _ = bars.clear();
            self.printer.set_live(None);
        }
    }
}

/// A step's numbers on a line.
pub fn standing_in_words(weight: u8, standing: &Standing) -> String {
    let side = |trials: crate::rollout::auto::evidence::Trials, millis: Option<[f64; 3]>| {
        let latency = millis.map_or(String::new(), |millis| format!(", {:.0} ms", millis[1]));
        match trials.total {
            0 => "no requests".to_owned(),
            total => format!("{total}, {:.2} % failed{latency}", trials.share() * 100.0),
        }
    };
    let part = |value: f64, of: f64| (value / of * 100.0).clamp(0.0, 100.0);
    let close = standing
        .quick
        .map_or(standing.close, |quick| quick.min(standing.close));
    let nameless = match standing.unattributed {
        0 => String::new(),
        failures => format!(" · {failures} failed namelessly"),
    };
    // What matters most comes first: a narrow terminal cuts the rest off.
    format!(
        "{weight} % · against it {:.0} %, for it {:.0} % · canary {} · stable {}{nameless}",
        part(standing.worse, standing.out),
        part(close, standing.pass),
        side(standing.canary, standing.canary_millis),
        side(standing.stable, standing.stable_millis),
    )
}

impl Watcher for CanaryView {
    fn hear(&self, update: &Update) {
        if self.printer.is_json() {
            self.printer.json(update);
            return;
        }
        match update {
            Update::CanaryForecast {
                lines,
                warning,
                rate,
                ..
            } => {
                if *rate > 0.0 {
                    for line in lines {
                        self.printer.say(&self.printer.dim(line));
                    }
                } else {
                    self.printer
                        .say(&self.printer.dim("no traffic was seen before the start"));
                }
                if let Some(warning) = warning {
                    self.printer.warn(warning);
                }
            }
            Update::CanaryState { at, words, .. } => {
                self.printer.say(&format!("{at:>8.1}s  {words}"));
                *self
                    .said
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
            }
            Update::CanaryStanding {
                at,
                source,
                weight,
                follows,
                standing,
            } => {
                let words = match follows {
                    true => standing_in_words(*weight, standing),
                    false => format!("{weight} % · waiting for requests to be shared so"),
                };
                let words = format!("{source}: {words}");
                match &self.live {
                    Some((_, bar)) => bar.set_message(words),
                    None => {
                        let mut said = self
                            .said
                            .lock()
                            .unwrap_or_else(|poisoned| poisoned.into_inner());
                        if said.is_none_or(|said| said.elapsed() >= EVERY) {
                            *said = Some(Instant::now());
                            self.printer.say(&format!("{at:>8.1}s  {words}"));
                        }
                    }
                }
            }
            Update::CanaryNotice { words } => self.printer.warn(words),
        }
    }
}
