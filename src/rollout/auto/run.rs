//! The run itself: does what the state asks for, and turns what happens into events.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::ending::split_causes;
pub use super::ending::{Ending, Point, hint};
use super::evidence::Trials;
use super::forecast;
use super::judge::{Opinion, Standing};
use super::machine::{Action, Event, Outcome, State};
use super::record::{Record, Shelf};
use super::recording;
use super::samples::Tick;
use super::streams::{Begun, Streams};
use crate::config::Service;
use crate::engine::{Context, Failure, FailureKind, Result};
use crate::mesh::Weights;
use crate::rollout::canary::{Canary, pair, weights};

/// How long stable alone is looked at before anything is shifted.
const BEFORE: Duration = Duration::from_secs(5);
/// How long nothing may be seen before the run is blind.
const BLIND: Duration = Duration::from_secs(45);
/// How often the record says that the run is alive.
const BEAT: Duration = Duration::from_secs(5);
/// The canary's requests below which there was no traffic to speak of.
const TRAFFIC: u64 = 5;

/// What a run says while it goes on.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Update {
    /// What can be found out, and when.
    CanaryForecast {
        /// Requests per second before the run.
        rate: f64,
        /// Stable's error rate before the run.
        errors: f64,
        /// In words, a line a step.
        lines: Vec<String>,
        /// What this traffic cannot decide.
        warning: Option<String>,
    },
    /// The run is in another state.
    CanaryState {
        /// Seconds of the run.
        at: f64,
        /// The state.
        #[serde(flatten)]
        state: State,
        /// In words.
        words: String,
    },
    /// How a source's judge sees the step.
    CanaryStanding {
        /// Seconds of the run.
        at: f64,
        /// The source.
        source: &'static str,
        /// The weight, in percent.
        weight: u8,
        /// Whether requests are shared as the weight says, or long enough have not been: nothing is judged before.
        follows: bool,
        /// The numbers.
        standing: Box<Standing>,
    },
    /// Something that a person should know.
    CanaryNotice {
        /// In words.
        words: String,
    },
}

/// Hears what a run says.
pub trait Watcher: Send + Sync {
    /// Something is said.
    fn hear(&self, update: &Update);
}

/// A run.
pub struct Auto<'a> {
    /// What it is about.
    pub canary: &'a Canary<'a>,
    /// The service.
    pub service: &'a Service,
    /// Its record.
    pub record: Record,
    /// Hears what it says.
    pub watcher: Arc<dyn Watcher>,
    /// Where samples are recorded.
    pub recording: Option<std::io::BufWriter<std::fs::File>>,
    /// How long the run may take.
    pub timeout: Duration,
}

impl Auto<'_> {
    /// Runs it to its end. The record on the mesh is ahead of what is done, so that whatever kills this process leaves
    /// something to go on with.
    ///
    /// # Errors
    /// What keeps it from beginning; another process that took it over.
    pub async fn run(mut self, cx: &Context) -> Result<Ending> {
        let shelf = Shelf::new(
            self.canary.cluster,
            self.canary.mesh.split_object(self.service),
        );
        let began = Instant::now();
        let mut streams = match self.record.state.action(&self.record.plan) {
            Action::Shift(_) | Action::Judge(_) => {
                Some(Streams::open(self.canary, self.service, &self.record).await?)
            }
            Action::Restore | Action::Stop => None,
        };
        if let Some(streams) = &mut streams
            && self.record.knowledge.is_empty()
        {
            self.baseline(cx, streams).await;
        }
        let mut points = Vec::new();
        let mut split = None;
        loop {
            let state = self.record.state;
            let at = streams.as_ref().map_or(0.0, |streams| streams.clock.now());
            let words = self.words(state);
            self.record.note(words.clone());
            self.watcher.hear(&Update::CanaryState { at, state, words });
            if let Some(streams) = &streams {
                streams.remember(&mut self.record);
            }
            if state.is_settled() {
                self.record.knowledge.clear();
            }
            match shelf.keep(&mut self.record).await {
                Ok(()) => {}
                Err(failure) if failure.kind == FailureKind::Cancelled => return Err(failure),
                // Stable gets its traffic back whether that can be written down or not; nothing else goes on unrecorded.
                Err(failure) if state.is_retreat() => {
                    self.notice(format!("the record could not be written: {failure}"));
                }
                Err(failure) => {
                    self.notice(format!("the record could not be written: {failure}"));
                    self.record.state = state.on(Event::Unavailable, &self.record.plan);
                    continue;
                }
            }
            if let State::Restoring {
                tried: tried @ 1.., ..
            } = state
            {
                let pause = Duration::from_secs(1 << tried.min(5));
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = cx.cancellation().stopped() => {}
                }
            }
            let action = state.action(&self.record.plan);
            let event = match (action, &mut streams) {
                (Action::Stop, _) => break,
                (Action::Shift(weight), _) => self.shift(cx, began, weight).await?,
                (Action::Restore, _) => {
                    let before = self.record.before.clone();
                    self.set(cx, &before).await?
                }
                (Action::Judge(step), Some(streams)) => {
                    let event = self
                        .judge(cx, &shelf, began, streams, step, &mut points)
                        .await?;
                    split = streams.split(self.record.plan.share(step));
                    event
                }
                // Sources are there for every state that can come to be judged.
                (Action::Judge(_), None) => Event::Blind,
            };
            self.record.state = state.on(event, &self.record.plan);
        }
        if let Some(recording) = &mut self.recording {
            let _ = recording.flush();
        }
        let state = self.record.state;
        let likely_causes = match state.outcome() {
            Some(Outcome::SplitNotRealised) => split_causes(self.service, &self.record.canary),
            _ => Vec::new(),
        };
        let counters = streams.as_ref().map(|streams| streams.counters.clone());
        let counters = counters.unwrap_or_default();
        let streams = || streams.iter().flat_map(|streams| &streams.all);
        Ok(Ending {
            outcome: state.outcome().unwrap_or(Outcome::Inconclusive),
            words: self.words(state),
            canary: streams()
                .map(|stream| (stream.name.to_owned(), stream.judge.run().1))
                .collect(),
            unattributed: streams()
                .map(|stream| (stream.name.to_owned(), stream.judge.run_unattributed()))
                .filter(|(_, failures)| *failures > 0)
                .collect(),
            split,
            likely_causes,
            points,
            counters,
            record: self.record,
        })
    }

    fn words(&self, state: State) -> String {
        let (record, plan) = (&self.record, &self.record.plan);
        let canary = format!("{} of {}", record.canary, record.service);
        match state {
            State::Shifting { step } => format!(
                "shifting {} % to {canary}",
                plan.steps[step.min(plan.steps.len() - 1)]
            ),
            State::Judging { step } => format!(
                "judging {canary} at {} %",
                plan.steps[step.min(plan.steps.len() - 1)]
            ),
            State::Promoting => format!("promoting {canary}"),
            State::Restoring { because, .. } => format!("rolling back {canary}: {because}"),
            State::Holding { because, .. } => format!("holding {canary} at its weight: {because}"),
            State::Promoted => format!("{canary} is promoted"),
            State::Restored { because } => format!("{canary} is rolled back: {because}"),
            State::Stuck { because } => format!("{canary} could not be rolled back ({because})"),
        }
    }

    fn notice(&self, words: impl Into<String>) {
        self.watcher.hear(&Update::CanaryNotice {
            words: words.into(),
        });
    }

    fn record_sample(&mut self, source: &str, tick: &Tick) {
        if let Some(recording) = &mut self.recording
            && recording::sample(recording, source, tick).is_err()
        {
            self.recording = None;
            self.notice("the recording cannot be written any more and ends here");
        }
    }

    /// Looks at stable alone, and tells what can be found out.
    async fn baseline(&mut self, cx: &Context, streams: &mut Streams) {
        let until = Instant::now() + BEFORE;
        let mut requests = (Trials::default(), 0.0f64);
        let mut seen: BTreeMap<usize, Trials> = BTreeMap::new();
        while let Ok(sampled) = tokio::time::timeout_at(until.into(), streams.samples.recv()).await
        {
            let Some((index, sample)) = sampled else {
                break;
            };
            if cx.cancellation().is_interrupted() {
                return;
            }
            match sample {
                Ok(tick) => {
                    self.record_sample(streams.all[index].name, &tick);
                    *seen.entry(index).or_default() += tick.stable.trials();
                    let _ = streams.all[index].judge.take(&tick);
                    streams.all[index].seen = Instant::now();
                    requests.1 = requests.1.max(tick.at);
                }
                Err(why) => streams.all[index].trouble = Some(why),
            }
        }
        // The source that sees most tells of the traffic; several see the same requests.
        requests.0 = seen
            .into_values()
            .max_by_key(|trials| trials.total)
            .unwrap_or_default();
        let rate = requests.0.total as f64 / BEFORE.as_secs_f64();
        let plan = &self.record.plan;
        let errors = (requests.0.hits as f64 + plan.expected_errors * 200.0)
            / (requests.0.total as f64 + 200.0);
        let (lines, warning) = forecast::words(plan, errors, rate);
        self.watcher.hear(&Update::CanaryForecast {
            rate,
            errors,
            lines,
            warning,
        });
    }

    /// Gives the canary a share, once it can take it.
    async fn shift(&self, cx: &Context, began: Instant, weight: u8) -> Result<Event> {
        if cx.cancellation().is_interrupted() {
            return Ok(Event::Interrupted);
        }
        let Some(left) = self.timeout.checked_sub(began.elapsed()) else {
            return Ok(Event::RunOver);
        };
        let (_, canary) = pair(self.service)?;
        let waiting = self.canary.wait_for_version(cx, self.service, canary);
        match tokio::time::timeout(left, waiting).await {
            Err(_) => Ok(Event::RunOver),
            Ok(Err(failure)) => self.unavailable(failure),
            Ok(Ok(())) => self.set(cx, &weights(self.service, weight)).await,
        }
    }

    /// Sets a split and waits until the mesh has taken it.
    async fn set(&self, cx: &Context, wanted: &Weights) -> Result<Event> {
        let setting = async {
            let now = self
                .canary
                .mesh
                .split(self.canary.cluster, self.service)
                .await?;
            if now.configured != *wanted {
                let (mesh, cluster) = (self.canary.mesh, self.canary.cluster);
                mesh.shift(cx, cluster, self.service, wanted).await?;
            }
            self.canary.wait_accepted(cx, self.service, wanted).await
        };
        match setting.await {
            Ok(()) => Ok(Event::Shifted),
            Err(failure) => self.unavailable(failure),
        }
    }

    /// The mesh or a version is not as it should be. Whoever asks twice to stop is obeyed at once: the record says how
    /// to go on.
    fn unavailable(&self, failure: Failure) -> Result<Event> {
        if failure.kind == FailureKind::Cancelled {
            return Err(failure.hint(
                "the canary is left as it is: `meshctl canary resume` goes on, `meshctl canary abort` rolls back",
            ));
        }
        self.notice(failure.to_string());
        Ok(Event::Unavailable)
    }

    /// Judges a step until something happens.
    async fn judge(
        &mut self,
        cx: &Context,
        shelf: &Shelf<'_>,
        began: Instant,
        streams: &mut Streams,
        step: usize,
        points: &mut Vec<Point>,
    ) -> Result<Event> {
        let plan = self.record.plan.clone();
        let weight = plan.steps[step];
        let begun = streams.begin(step);
        let mut beat = tokio::time::interval(BEAT);
        beat.reset();
        let mut shown = Instant::now();
        loop {
            let step_over = begun.since + plan.step_limit;
            let run_over = began + self.timeout;
            let event = tokio::select! {
                sampled = streams.samples.recv() => match sampled {
                    Some((index, sample)) => Some(self.hear(streams, index, sample, begun)),
                    None => Some(Event::Blind),
                },
                _ = beat.tick() => {
                    streams.remember(&mut self.record);
                    match shelf.keep(&mut self.record).await {
                        Err(failure) if failure.kind == FailureKind::Cancelled => return Err(failure),
                        // The cluster may be away for a moment; judging goes on.
                        Err(failure) => self.notice(format!("the record could not be written: {failure}")),
                        Ok(()) => {}
                    }
                    None
                }
                () = cx.cancellation().interrupted() => Some(Event::Interrupted),
                () = tokio::time::sleep_until(run_over.into()) => Some(Event::RunOver),
                () = tokio::time::sleep_until(step_over.into()) => {
                    let traffic = streams.all.iter().all(|stream| stream.judge.standing().canary.total >= TRAFFIC);
                    Some(Event::StepOver { traffic })
                }
            };
            if event.is_some() || shown.elapsed() >= Duration::from_millis(500) {
                shown = Instant::now();
                for stream in &streams.all {
                    let standing = stream.judge.standing();
                    let at = stream.judge.at();
                    points.push(Point {
                        at,
                        source: stream.name,
                        weight,
                        standing: standing.clone(),
                    });
                    self.watcher.hear(&Update::CanaryStanding {
                        at,
                        source: stream.name,
                        weight,
                        follows: stream.follows,
                        standing: Box::new(standing),
                    });
                }
            }
            match event {
                Some(Event::Judged(Opinion::Undecided)) | None => {}
                Some(event) => return Ok(event),
            }
            if let Some(blind) = streams
                .all
                .iter()
                .find(|stream| stream.seen.elapsed() > BLIND)
            {
                let why = blind
                    .trouble
                    .clone()
                    .unwrap_or_else(|| "nothing came".into());
                self.notice(format!(
                    "{} has seen nothing for {} s: {why}",
                    blind.name,
                    BLIND.as_secs()
                ));
                return Ok(Event::Blind);
            }
        }
    }

    /// Takes in what a source says.
    fn hear(
        &mut self,
        streams: &mut Streams,
        index: usize,
        sample: std::result::Result<Tick, String>,
        begun: Begun,
    ) -> Event {
        let share = self.record.plan.share(begun.step);
        if let Ok(tick) = &sample {
            self.record_sample(streams.all[index].name, tick);
        }
        let stream = &mut streams.all[index];
        let followed = stream.follows;
        let taken = sample.and_then(|tick| stream.take(&tick, share, begun));
        let begins = stream.follows && !followed;
        let (name, at) = (stream.name, stream.judge.at());
        match taken {
            Ok(_) => {
                stream.seen = Instant::now();
                if stream.trouble.take().is_some() {
                    let words = format!("{} answers again", stream.name);
                    self.notice(words);
                }
            }
            Err(why) => {
                let words = format!("{}: {why}", stream.name);
                if stream.trouble.replace(why).is_none() {
                    self.notice(words);
                }
            }
        }
        if begins && let Some(recording) = &mut self.recording {
            let weight = self.record.plan.steps[begun.step];
            let _ = recording::step(recording, name, begun.step, weight, at);
        }
        Event::Judged(streams.opinion())
    }
}
