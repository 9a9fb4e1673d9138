//! What is remembered of a run, on the object that holds the split: enough for another process on another machine to go
//! on, to show it, or to undo it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::judge::Knowledge;
use super::machine::State;
use super::plan::Plan;
use super::source::Kind;
use crate::clients::kube::{Cluster, Reference};
use crate::engine::{Failure, FailureKind, Result};
use crate::mesh::Weights;

/// The annotation.
pub const ANNOTATION: &str = "meshctl.dev/canary";
/// The version of its form.
const VERSION: u32 = 1;
/// A run that has not been heard of for this long is dead.
pub const SILENT: Duration = Duration::from_secs(45);
/// Entries of the timeline that are kept.
const ENTRIES: usize = 200;

/// Who runs it, where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Who: the AWS identity.
    pub who: String,
    /// On which machine.
    pub host: String,
    /// In which process.
    pub process: u32,
    /// Where the process's number means something: a boot of a machine and a namespace of processes. None where that
    /// cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl Holder {
    /// This process.
    pub fn here(who: &str, host: String) -> Self {
        Holder {
            who: who.to_owned(),
            host,
            process: std::process::id(),
            place: place(),
        }
    }

    /// Whether it is known to be dead: a process of this very place that is not there any more. One that is elsewhere may
    /// be alive for all that is known.
    fn is_gone(&self) -> bool {
        let here = self.place.is_some() && self.place == place();
        here && !std::path::Path::new("/proc")
            .join(self.process.to_string())
            .exists()
    }
}

fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What, in words.
    pub what: String,
}

/// A run, as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    version: u32,
    /// Which process goes on with it: another one has taken over when this changes.
    pub run: String,
    /// Who that is.
    pub holder: Holder,
    /// When the run began.
    pub began: Timestamp,
    /// When it was last heard of.
    pub heard: Timestamp,
    /// The service.
    pub service: String,
    /// The stable version.
    pub stable: String,
    /// The version under trial.
    pub canary: String,
    /// The split before the run, which a rollback restores.
    pub before: Weights,
    /// Its settings.
    pub plan: Plan,
    /// Its sources of samples.
    pub sources: Vec<Kind>,
    /// Where it stands.
    pub state: State,
    /// What the judges know, by source.
    pub knowledge: BTreeMap<String, Knowledge>,
    /// What happened.
    pub timeline: Vec<Entry>,
}

impl Record {
    /// A new run's.
    pub fn new(
        holder: Holder,
        service: &str,
        versions: (&str, &str),
        before: Weights,
        plan: Plan,
        sources: Vec<Kind>,
    ) -> Self {
        let now = Timestamp::now();
        Record {
            version: VERSION,
            run: fresh(),
            holder,
            began: now,
            heard: now,
            service: service.to_owned(),
            stable: versions.0.to_owned(),
            canary: versions.1.to_owned(),
            before,
            plan,
            sources,
            state: State::START,
            knowledge: BTreeMap::new(),
            timeline: Vec::new(),
        }
    }

    /// Whether nothing of it is left that somebody must see to.
    pub fn is_settled(&self) -> bool {
        self.state.is_settled()
    }

    /// Whether some process goes on with it just now.
    pub fn is_alive(&self) -> bool {
        let silent = Timestamp::now().as_second() - self.heard.as_second();
        !self.state.is_over() && silent < SILENT.as_secs() as i64 && !self.holder.is_gone()
    }

    /// Who, when and where, in words.
    pub fn whose(&self) -> String {
        format!(
            "{} on {} (process {}), begun {}, last heard of {}",
            self.holder.who,
            self.holder.host,
            self.holder.process,
            short(self.began),
            short(self.heard),
        )
    }

    /// Notes what happened.
    pub fn note(&mut self, what: impl Into<String>) {
        self.timeline.push(Entry {
            at: Timestamp::now(),
            what: what.into(),
        });
        if self.timeline.len() > ENTRIES {
            // The beginning says what it is about; the middle can go.
            self.timeline.remove(ENTRIES / 4);
        }
    }

    /// Takes it over for this process.
    pub fn take_over(&mut self, holder: Holder) {
        self.run = fresh();
        self.note(format!("taken over by {} on {}", holder.who, holder.host));
        self.holder = holder;
    }
}

fn short(at: Timestamp) -> String {
    at.to_string()
        .split('.')
        .next()
        .unwrap_or_default()
        .to_owned()
        + "Z"
}

fn fresh() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Where a run's record is.
pub struct Shelf<'a> {
    cluster: &'a Cluster,
    object: Reference,
}

impl<'a> Shelf<'a> {
    /// The record on this object.
    pub fn new(cluster: &'a Cluster, object: Reference) -> Self {
        Shelf { cluster, object }
    }

    async fn live(&self) -> Result<(Option<Record>, String)> {
        let live = self.cluster.get(&self.object).await;
        let live = live.map_err(|trouble| trouble.failure(self.object.to_string()))?;
        let live = live.ok_or_else(|| {
            Failure::of(
                FailureKind::Blocked,
                self.object.to_string(),
                "is not there",
            )
            .hint("run `meshctl up` first")
        })?;
        let version = live["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default();
        let text = live["metadata"]["annotations"][ANNOTATION].as_str();
        let record = text.map(|text| self.parse(text)).transpose()?;
        Ok((record, version.to_owned()))
    }

    fn parse(&self, text: &str) -> Result<Record> {
        let unreadable = |why: String| {
            Failure::of(FailureKind::Blocked, self.object.to_string(), why).hint(format!(
                "use the meshctl that made it, or remove the annotation {ANNOTATION} and set the weight with `meshctl canary --weight 0`"
            ))
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
            unreadable(format!(
                "the record of a canary on it is unreadable: {error}"
            ))
        })?;
        if value["version"] != VERSION {
            return Err(unreadable(format!(
                "the record of a canary on it is of version {}, this meshctl knows {VERSION}",
                value["version"]
            )));
        }
        serde_json::from_value(value).map_err(|error| {
            unreadable(format!(
                "the record of a canary on it is unreadable: {error}"
            ))
        })
    }

    /// The record, if there is one.
    ///
    /// # Errors
    /// What the cluster says; a record that another version wrote.
    pub async fn read(&self) -> Result<Option<Record>> {
        Ok(self.live().await?.0)
    }

    /// Writes the record where `may` allows it in view of what is there. Whoever wrote meanwhile comes first, and
    /// `may` is asked again.
    ///
    /// # Errors
    /// What `may` says, and what the cluster says.
    pub async fn write(
        &self,
        record: &mut Record,
        may: impl Fn(Option<&Record>) -> Result<()>,
    ) -> Result<()> {
        const ATTEMPTS: u32 = 5;
        for attempt in 1.. {
            let (there, version) = self.live().await?;
            may(there.as_ref())?;
            record.heard = Timestamp::now();
            let text = serde_json::to_string(record)
                .map_err(|error| Failure::new(self.object.to_string(), error))?;
            let patch = json!({"metadata": {
                "resourceVersion": version,
                "annotations": {ANNOTATION: text},
            }});
            match self.cluster.merge(&self.object, &patch).await {
                Ok(()) => return Ok(()),
                // The mesh's controller writes the same object.
                Err(trouble) if trouble.code() == 409 && attempt < ATTEMPTS => {}
                Err(trouble) => return Err(trouble.failure(self.object.to_string())),
            }
        }
        Ok(())
    }

    /// Begins a run: refused while another one is under way or waits for a person.
    ///
    /// # Errors
    /// Who, when and where; what the cluster says.
    pub async fn claim(&self, record: &mut Record) -> Result<()> {
        self.write(record, |there| match there {
            Some(other) if !other.is_settled() => {
                let what = format!("service {}", other.service);
                let message = format!("a canary is already under way: {}", other.whose());
                let hint = match other.is_alive() {
                    true => "wait for it, or end it with `meshctl canary abort`",
                    false => "it is not heard of any more: go on with `meshctl canary resume` or end it with `meshctl canary abort`",
                };
                Err(Failure::of(FailureKind::Blocked, what, message).hint(hint))
            }
            _ => Ok(()),
        })
        .await
    }

    /// Writes down how far a run is.
    ///
    /// # Errors
    /// `Cancelled` when another process has taken it over; what the cluster says.
    pub async fn keep(&self, record: &mut Record) -> Result<()> {
        let run = record.run.clone();
        self.write(record, |there| match there {
            Some(there) if there.run == run => Ok(()),
            Some(there) => Err(Failure::of(
                FailureKind::Cancelled,
                format!("service {}", there.service),
                format!("the canary was taken over: {}", there.whose()),
            )
            .hint("`meshctl canary status` shows how it goes on")),
            None => Err(Failure::of(
                FailureKind::Cancelled,
                "canary",
                "somebody removed its record",
            )
            .hint("`meshctl canary status` shows how traffic goes, `meshctl canary abort` gives stable all of it")),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new(
            Holder {
                who: "arn:aws:iam::123456789012:user/ci".into(),
                host: "runner-7".into(),
                process: 42,
                place: None,
            },
            "backend",
            ("v1", "v2"),
            vec![("v1".into(), 100), ("v2".into(), 0)],
            Plan::default(),
            vec![Kind::Envoy, Kind::Probe { rate: 20 }],
        )
    }

    #[test]
    fn it_survives_being_written_down() {
        let mut record = record();
        record.note("begun");
        let judge = super::super::judge::Judge::new(Plan::default(), 1);
        record
            .knowledge
            .insert("envoy".into(), judge.knowledge().clone());
        let text = serde_json::to_string(&record).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Record>(&text).expect("a record"),
            record
        );
        assert!(text.contains("\"version\":1"), "{text}");
    }

    #[test]
    fn it_stays_small_enough_for_an_annotation() {
        let mut record = record();
        for second in 0..10_000 {
            record.note(format!(
                "something happened at second {second}, and this is what it was"
            ));
        }
        let mut judge = super::super::judge::Judge::new(Plan::default(), 1);
        judge.begin(0);
        for at in 0..10_000u32 {
            let mut tick = super::super::samples::Tick {
                at: f64::from(at),
                ..Default::default()
            };
            for side in [
                super::super::samples::Side::Stable,
                super::super::samples::Side::Canary,
            ] {
                tick.side_mut(side)
                    .count(at % 7 == 0, Some(f64::from(at % 5000)));
            }
            let _ = judge.take(&tick);
        }
        for source in ["envoy", "probe", "prometheus"] {
            record
                .knowledge
                .insert(source.into(), judge.knowledge().clone());
        }
        let text = serde_json::to_string(&record).expect("JSON");
        // All annotations of an object together may take 256 KiB.
        assert!(text.len() < 128 << 10, "{} bytes", text.len());
    }

    #[test]
    fn a_process_that_is_gone_is_dead_at_once() {
        let mut record = record();
        record.holder = Holder::here("me", "here".into());
        assert!(record.is_alive(), "it is this process");
        let mut child = std::process::Command::new("true")
            .spawn()
            .expect("a process");
        record.holder.process = child.id();
        child.wait().expect("its end");
        assert_eq!(record.is_alive(), place().is_none());
        // A process of the same number elsewhere may be alive.
        record.holder.place = Some("another machine".into());
        assert!(record.is_alive());
    }

    #[test]
    fn a_silent_run_is_dead_and_a_settled_one_is_over() {
        let mut record = record();
        assert!(record.is_alive());
        assert!(!record.is_settled());
        record.heard = Timestamp::from_second(record.heard.as_second() - 3600).expect("a time");
        assert!(!record.is_alive());
        assert!(
            record.whose().contains("runner-7 (process 42)"),
            "{}",
            record.whose()
        );
        record.state = State::Promoted;
        assert!(record.is_settled());
    }
}
