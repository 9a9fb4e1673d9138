//! A run's samples in a file, a line each, and judging them again with other settings.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use super::judge::{Judge, Opinion, Standing};
use super::plan::Plan;
use super::samples::{Counts, Tick};

/// The version of the file's form.
const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the file's form.
    #[serde(rename = "meshctl-canary-recording")]
    version: u32,
    /// The service.
    pub service: String,
    /// The stable version.
    pub stable: String,
    /// The version under trial.
    pub canary: String,
    /// The settings of the run.
    pub plan: Plan,
}

impl Head {
    /// A new file's.
    pub fn new(service: &str, stable: &str, canary: &str, plan: &Plan) -> Self {
        Head {
            version: VERSION,
            service: service.to_owned(),
            stable: stable.to_owned(),
            canary: canary.to_owned(),
            plan: plan.clone(),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        line(to, self)
    }
}

/// Any other line: a step that begins, or a sample.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Line<'a> {
    #[serde(
        rename = "from",
        default,
        borrow,
        skip_serializing_if = "Option::is_none"
    )]
    source: Option<&'a str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u8>,
    t: f64,
    #[serde(rename = "s", default, skip_serializing_if = "is_nothing")]
    stable: Counts,
    #[serde(rename = "c", default, skip_serializing_if = "is_nothing")]
    canary: Counts,
    #[serde(rename = "u", default, skip_serializing_if = "is_zero")]
    unattributed: u64,
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    under_way: u64,
}

fn is_nothing(counts: &Counts) -> bool {
    *counts == Counts::default()
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn line(to: &mut impl Write, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.write_all(b"\n")
}

/// Writes a sample.
///
/// # Errors
/// What the file system says.
pub fn sample(to: &mut impl Write, source: &str, tick: &Tick) -> std::io::Result<()> {
    line(
        to,
        &Line {
            source: Some(source),
            t: tick.at,
            stable: tick.stable.clone(),
            canary: tick.canary.clone(),
            unattributed: tick.unattributed,
            under_way: tick.under_way,
            ..Line::default()
        },
    )
}

/// Writes that a step begins.
///
/// # Errors
/// What the file system says.
pub fn step(
    to: &mut impl Write,
    source: &str,
    step: usize,
    weight: u8,
    at: f64,
) -> std::io::Result<()> {
    line(
        to,
        &Line {
            source: Some(source),
            step: Some(step),
            weight: Some(weight),
            t: at,
            ..Line::default()
        },
    )
}

/// What a replay found of one step.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// The weight, in percent.
    pub weight: u8,
    /// When it began, in seconds of the run.
    pub began: f64,
    /// What the samples said in the end, or first said for good.
    pub opinion: Opinion,
    /// When.
    pub at: f64,
    /// The numbers then.
    pub standing: Standing,
}

/// What a replay found.
#[derive(Clone, Debug, Serialize)]
pub struct Replay {
    /// What the file says of the run.
    pub head: Head,
    /// The step by step judgement.
    pub steps: Vec<Replayed>,
    /// Samples read.
    pub samples: u64,
}

impl Replay {
    /// What it comes to: the first step that did not pass, or that all did.
    pub fn opinion(&self) -> Opinion {
        let failed = self
            .steps
            .iter()
            .find(|step| step.opinion != Opinion::Close);
        match (failed, self.steps.is_empty()) {
            (Some(step), _) => step.opinion,
            (None, true) => Opinion::Undecided,
            (None, false) => Opinion::Close,
        }
    }
}

/// Reads the first line.
///
/// # Errors
/// What is wrong with it.
pub fn head(from: &mut impl BufRead) -> Result<Head, String> {
    let mut text = String::new();
    // A file that is no recording may have no lines at all.
    std::io::Read::take(&mut *from, 1 << 20)
        .read_line(&mut text)
        .map_err(|error| error.to_string())?;
    let head: Head = serde_json::from_str(&text)
        .map_err(|error| format!("line 1: not a recording of a canary: {error}"))?;
    match head.version {
        VERSION => Ok(head),
        other => Err(format!(
            "line 1: a recording of version {other}, this meshctl knows {VERSION}"
        )),
    }
}

/// Judges a recording again. Reads line by line: memory does not grow with the file.
///
/// # Errors
/// The line that is wrong, and what is wrong with it.
pub fn replay(
    from: &mut impl BufRead,
    head: Head,
    plan: &Plan,
    source: Option<&str>,
) -> Result<Replay, String> {
    let mut judge = Judge::new(plan.clone(), 1);
    let mut replay = Replay {
        head,
        steps: Vec::new(),
        samples: 0,
    };
    let mut only = source.map(str::to_owned);
    let mut buffer = Vec::new();
    let mut number = 1u64;
    let mut decided = true;
    let mut last = 0.0;
    loop {
        buffer.clear();
        let length = from
            .read_until(b'\n', &mut buffer)
            .map_err(|error| format!("line {}: {error}", number + 1))?;
        if length == 0 {
            break;
        }
        number += 1;
        let wrong = |why: String| format!("line {number}: {why}");
        let line: Line<'_> = match serde_json::from_slice(&buffer) {
            Ok(line) => line,
            // A run that was killed leaves half a line behind.
            Err(_) if buffer.last() != Some(&b'\n') => break,
            Err(error) => return Err(wrong(error.to_string())),
        };
        if let Some(source) = line.source {
            match &only {
                Some(only) if only != source => continue,
                Some(_) => {}
                None => only = Some(source.to_owned()),
            }
        }
        if let Some(step) = line.step {
            conclude(&mut replay, &judge, decided);
            judge.begin(step.min(plan.judged().saturating_sub(1)));
            replay.steps.push(Replayed {
                weight: line.weight.unwrap_or(0),
                began: line.t,
                opinion: Opinion::Undecided,
                at: line.t,
                standing: Standing::default(),
            });
            decided = false;
            continue;
        }
        replay.samples += 1;
        let tick = Tick {
            at: line.t,
            stable: line.stable,
            canary: line.canary,
            unattributed: line.unattributed,
            under_way: line.under_way,
        };
        tick.check().map_err(wrong)?;
        if tick.at < last {
            return Err(wrong(format!(
                "a sample of {} s after one of {last} s: the clock went back",
                tick.at
            )));
        }
        last = tick.at;
        // What comes after a verdict changes nothing.
        if decided && !replay.steps.is_empty() {
            continue;
        }
        let opinion = judge.take(&tick).map_err(wrong)?;
        if !decided && opinion != Opinion::Undecided {
            conclude(&mut replay, &judge, false);
            decided = true;
        }
    }
    conclude(&mut replay, &judge, decided);
    Ok(replay)
}

fn conclude(replay: &mut Replay, judge: &Judge, decided: bool) {
    if let Some(step) = replay.steps.last_mut().filter(|_| !decided) {
        step.opinion = judge.opinion();
        step.at = judge.at();
        step.standing = judge.standing();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::auto::judge::Worse;

    fn plan() -> Plan {
        Plan {
            steps: vec![10, 100],
            latency: None,
            ..Plan::default()
        }
    }

    fn recorded(failing: u64) -> Vec<u8> {
        let mut file = Vec::new();
        Head::new("backend", "v1", "v2", &plan())
            .write(&mut file)
            .expect("written");
        step(&mut file, "envoy", 0, 10, 0.0).expect("written");
        for second in 1..200u32 {
            let mut tick = Tick {
                at: f64::from(second),
                ..Tick::default()
            };
            tick.stable.requests = 90;
            tick.canary.requests = 10;
            tick.canary.errors = failing;
            sample(&mut file, "envoy", &tick).expect("written");
        }
        file
    }

    fn replayed(file: &[u8], plan: &Plan) -> Result<Replay, String> {
        let mut file = file;
        let head = head(&mut file)?;
        replay(&mut file, head, plan, None)
    }

    #[test]
    fn a_recording_is_judged_again_with_other_settings() {
        let healthy = replayed(&recorded(0), &plan()).expect("a recording");
        assert_eq!(healthy.opinion(), Opinion::Close);
        assert_eq!(healthy.samples, 199);
        let bad = recorded(1);
        let strict = replayed(&bad, &plan()).expect("a recording");
        assert_eq!(strict.opinion(), Opinion::Worse(Worse::Errors));
        let lenient = Plan {
            error_effect: 0.5,
            alpha: 1e-60,
            ..plan()
        };
        let lenient = replayed(&bad, &lenient).expect("a recording");
        assert_eq!(lenient.opinion(), Opinion::Close);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let told = |file: &[u8], words: &str| {
            let why = replayed(file, &plan()).expect_err(words);
            assert!(why.contains(words), "{why}");
        };
        told(b"", "line 1: not a recording");
        told(b"{}\n", "line 1: not a recording");
        let mut file = recorded(0);
        file.extend(b"nonsense\n");
        told(&file, "line 202:");
        let mut file = recorded(0);
        file.extend(b"{\"t\":1}\n");
        told(&file, "the clock went back");
        let mut file = recorded(0);
        file.extend(b"{\"t\":999,\"c\":{\"n\":1,\"e\":2}}\n");
        told(&file, "2 failures of 1 requests");
    }

    #[test]
    fn half_a_line_at_the_end_is_what_a_killed_run_leaves() {
        let mut file = recorded(0);
        file.extend(b"{\"t\":999,\"c\":{\"n\"");
        assert_eq!(replayed(&file, &plan()).expect("a recording").samples, 199);
    }
}
