//! The sources of a run under way: each with its judge, and whether proxies follow the step's weight.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::judge::{Judge, Knowledge, Opinion};
use super::plan::Plan;
use super::record::Record;
use super::samples::Tick;
use super::source::{Clock, Envoy, Kind, Probe, Prometheus, Source, Versions};
use crate::config::Service;
use crate::engine::{Failure, FailureKind, Result};
use crate::rollout::canary::Canary;
use crate::rollout::entrance::existing;
use crate::rollout::split::Verdict;

/// How long proxies may take to follow a new weight before the split is judged as it is.
const FOLLOW: Duration = Duration::from_secs(60);
/// Requests of one look at whether proxies follow.
const LOOK: u64 = 50;
/// Looks in a row that must agree with the weight: proxies follow one after the other, and slow requests come late.
const AGREEING: u8 = 2;
/// How likely a look must be under the weight to agree with it.
const LIKELY: f64 = 0.05;

/// A source under way.
pub(super) struct Stream {
    /// The source's name.
    pub(super) name: &'static str,
    pub(super) judge: Judge,
    /// When something was last seen.
    pub(super) seen: Instant,
    /// Why nothing came the last time.
    pub(super) trouble: Option<String>,
    /// Requests since the last look at whether proxies follow: stable's and the canary's.
    look: (u64, u64),
    agreeing: u8,
    /// Whether proxies follow the step's weight.
    pub(super) follows: bool,
}

/// A source's index, and what it says.
type Sampled = (usize, std::result::Result<Tick, String>);

/// The sources and what they are known to say.
pub(super) struct Streams {
    /// The sources.
    pub(super) all: Vec<Stream>,
    /// What they say, by their index.
    pub(super) samples: mpsc::Receiver<Sampled>,
    /// Which counters they read.
    pub(super) counters: BTreeMap<String, String>,
    /// The run's clock.
    pub(super) clock: Clock,
    _tasks: JoinSet<()>,
}

/// A step as sources meet it.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    /// Which.
    pub(super) step: usize,
    /// When this process began to judge it.
    pub(super) since: Instant,
    /// The same on the run's clock.
    pub(super) shifted: f64,
}

impl Stream {
    /// Makes ready for a step. A run that is taken up goes on where it was.
    fn begin(&mut self, step: usize) {
        self.look = (0, 0);
        self.agreeing = 0;
        self.follows = self.judge.step() == Some(step);
        self.seen = Instant::now();
    }

    /// Takes in a sample: the judge's once proxies follow.
    ///
    /// # Errors
    /// A sample that cannot be true.
    pub(super) fn take(
        &mut self,
        tick: &Tick,
        share: f64,
        begun: Begun,
    ) -> std::result::Result<Opinion, String> {
        if self.follows {
            return self.judge.take(tick);
        }
        // What was counted before the weight was set waits in the queue.
        if tick.at >= begun.shifted {
            self.look.0 += tick.stable.requests;
            self.look.1 += tick.canary.requests;
        }
        let (stable, canary) = self.look;
        let all = stable + canary;
        if all >= LOOK {
            let agrees = Verdict::of(canary, all, share).p_value >= LIKELY;
            self.agreeing = if agrees { self.agreeing + 1 } else { 0 };
            self.look = (0, 0);
        }
        let settled = self.agreeing >= AGREEING;
        let opinion = self.judge.watch(tick)?;
        if settled || begun.since.elapsed() >= FOLLOW {
            self.follows = true;
            self.judge.begin(begun.step);
        }
        Ok(opinion)
    }
}

impl Streams {
    /// Opens the sources of a run.
    ///
    /// # Errors
    /// A source that cannot be opened.
    pub(super) async fn open(
        canary: &Canary<'_>,
        service: &Service,
        record: &Record,
    ) -> Result<Streams> {
        let versions = Versions {
            stable: record.stable.clone(),
            canary: record.canary.clone(),
        };
        let known = &record.knowledge;
        let clock = Clock::from(known.values().map(Knowledge::at).fold(0.0, f64::max));
        let (tell, samples) = mpsc::channel::<Sampled>(64);
        let mut tasks = JoinSet::new();
        let mut all = Vec::new();
        let mut counters = BTreeMap::new();
        // A healthy canary may be blamed by any of them.
        let plan = Plan {
            alpha: record.plan.alpha / record.sources.len().max(1) as f64,
            ..record.plan.clone()
        };
        for (index, kind) in record.sources.iter().enumerate() {
            let mut source: Box<dyn Source> = match kind {
                Kind::Envoy => Box::new(Envoy::new(
                    canary.cluster,
                    &canary.environment.namespace,
                    canary.mesh.counters(service),
                    &versions,
                    clock,
                )),
                Kind::Prometheus { url, queries } => {
                    let counters = canary.mesh.counters(service);
                    let source = Prometheus::new(url, queries.clone(), counters, &versions, clock);
                    let wrong = |why| Failure::of(FailureKind::Input, "prometheus", why);
                    Box::new(source.map_err(wrong)?)
                }
                Kind::Probe { rate } => {
                    let entrance = existing(canary.cluster, canary.environment).await?;
                    let name = &service.name;
                    Box::new(Probe::start(&entrance.url, name, &versions, *rate, clock)?)
                }
            };
            let name = source.name();
            counters.insert(name.to_owned(), source.counts());
            let judge = match known.get(name) {
                Some(known) => Judge::resume(plan.clone(), known.clone()),
                None => Judge::new(plan.clone(), fastrand::u64(..)),
            };
            all.push(Stream {
                name,
                judge,
                seen: Instant::now(),
                trouble: None,
                look: (0, 0),
                agreeing: 0,
                follows: false,
            });
            let tell = tell.clone();
            tasks.spawn(async move {
                loop {
                    let sample = source.next().await;
                    if tell.send((index, sample)).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Streams {
            all,
            samples,
            counters,
            clock,
            _tasks: tasks,
        })
    }

    /// Makes ready for a step.
    pub(super) fn begin(&mut self, step: usize) -> Begun {
        for stream in &mut self.all {
            stream.begin(step);
        }
        Begun {
            step,
            since: Instant::now(),
            shifted: self.clock.now(),
        }
    }

    /// Writes into the record what the judges know.
    pub(super) fn remember(&self, record: &mut Record) {
        for stream in &self.all {
            let known = stream.judge.knowledge().clone();
            record.knowledge.insert(stream.name.to_owned(), known);
        }
    }

    /// What all say together.
    pub(super) fn opinion(&self) -> Opinion {
        together(self.all.iter().map(|stream| match stream.follows {
            true => stream.judge.opinion(),
            // Before proxies follow, the guard rails alone have a say.
            false => stream.judge.watched(),
        }))
    }

    /// The split as the source sees it that sees most; none where no request was seen.
    pub(super) fn split(&self, share: f64) -> Option<Verdict> {
        let standings = self.all.iter().map(|stream| stream.judge.standing());
        let largest =
            standings.max_by_key(|standing| standing.stable.total + standing.canary.total);
        let standing = largest.unwrap_or_default();
        let (stable, canary) = (standing.stable.total, standing.canary.total);
        let all = stable + canary;
        (all > 0).then(|| Verdict::of(canary, all, share))
    }
}

/// What several judges say together: what is against the canary counts from any, what is for it from all.
fn together(opinions: impl Iterator<Item = Opinion>) -> Opinion {
    let mut all = Opinion::Close;
    for opinion in opinions {
        all = match (all, opinion) {
            (Opinion::Worse(worse), _) | (_, Opinion::Worse(worse)) => Opinion::Worse(worse),
            (Opinion::StableFails, _) | (_, Opinion::StableFails) => Opinion::StableFails,
            (Opinion::WrongSplit, _) | (_, Opinion::WrongSplit) => Opinion::WrongSplit,
            (Opinion::Undecided, _) | (_, Opinion::Undecided) => Opinion::Undecided,
            (Opinion::Close, Opinion::Close) => Opinion::Close,
        };
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::judge::Worse;
    use super::*;

    #[test]
    fn one_against_is_enough_and_all_have_to_be_for_it() {
        let say = |opinions: &[Opinion]| together(opinions.iter().copied());
        let worse = Opinion::Worse(Worse::Errors);
        assert_eq!(say(&[Opinion::Close, Opinion::Close]), Opinion::Close);
        assert_eq!(
            say(&[Opinion::Close, Opinion::Undecided]),
            Opinion::Undecided
        );
        assert_eq!(say(&[Opinion::Close, worse]), worse);
        assert_eq!(say(&[Opinion::StableFails, worse]), worse);
        assert_eq!(
            say(&[Opinion::WrongSplit, Opinion::Close]),
            Opinion::WrongSplit
        );
    }
}
