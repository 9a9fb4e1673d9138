//! What is measured: per version, requests, failures and a histogram of latencies.

use serde::{Deserialize, Serialize};

use super::evidence::Trials;

/// The two sides of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The version that served before.
    Stable,
    /// The version under trial.
    Canary,
}

/// What one version did in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests, every try of a proxy counted by itself.
    #[serde(rename = "n")]
    pub requests: u64,
    /// Those that failed.
    #[serde(rename = "e", default, skip_serializing_if = "is_zero")]
    pub errors: u64,
    /// Latencies: bucket and number, in any order. May cover fewer requests than there were.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub latencies: Vec<(u16, u32)>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Counts {
    /// Counts one request.
    pub fn count(&mut self, failed: bool, millis: Option<f64>) {
        self.requests += 1;
        self.errors += u64::from(failed);
        if let Some(bucket) = millis.and_then(bucket) {
            match self
                .latencies
                .iter_mut()
                .find(|(known, _)| *known == bucket)
            {
                Some((_, count)) => *count += 1,
                None => self.latencies.push((bucket, 1)),
            }
        }
    }

    /// As trials of failure.
    pub fn trials(&self) -> Trials {
        Trials::new(self.errors, self.requests)
    }
}

/// What was measured in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// When it ended: seconds since the run began.
    #[serde(rename = "t")]
    pub at: f64,
    /// What stable did.
    #[serde(rename = "s", default)]
    pub stable: Counts,
    /// What the canary did.
    #[serde(rename = "c", default)]
    pub canary: Counts,
    /// Failed requests of which nothing says which version had them.
    #[serde(rename = "u", default, skip_serializing_if = "is_zero")]
    pub unattributed: u64,
    /// Requests that were under way when it ended, whichever version has them: what is slow is not counted yet.
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    pub under_way: u64,
}

impl Tick {
    /// One side.
    pub fn side(&self, side: Side) -> &Counts {
        match side {
            Side::Stable => &self.stable,
            Side::Canary => &self.canary,
        }
    }

    /// One side, to count into.
    pub fn side_mut(&mut self, side: Side) -> &mut Counts {
        match side {
            Side::Stable => &mut self.stable,
            Side::Canary => &mut self.canary,
        }
    }

    /// Whether it can be true.
    ///
    /// # Errors
    /// What cannot.
    pub fn check(&self) -> Result<(), String> {
        if !self.at.is_finite() || self.at < 0.0 {
            return Err(format!("a sample at {} seconds", self.at));
        }
        for counts in [&self.stable, &self.canary] {
            if counts.errors > counts.requests {
                return Err(format!(
                    "{} failures of {} requests",
                    counts.errors, counts.requests
                ));
            }
            if counts
                .latencies
                .iter()
                .any(|(bucket, _)| usize::from(*bucket) >= BUCKETS)
            {
                return Err("a latency beyond all measure".into());
            }
        }
        Ok(())
    }
}

/// Values of one power of ten.
const PER_DECADE: usize = 90;
/// The power of ten that the first bucket begins with: 0.01 ms.
const FIRST: i32 = -2;
/// Powers of ten: up to 10⁷ ms, almost three hours.
const DECADES: usize = 9;
/// All buckets: two significant digits, as in the histograms that Envoy keeps (circllhist).
pub const BUCKETS: usize = PER_DECADE * DECADES;

/// The bucket of a latency; none for what is not a latency.
pub fn bucket(millis: f64) -> Option<u16> {
    if !millis.is_finite() || millis < 0.0 {
        return None;
    }
    let smallest = 10f64.powi(FIRST);
    if millis < smallest {
        return Some(0);
    }
    // A power of ten may come out of the logarithm a hair too small.
    let decade = (millis.log10() + 1e-12).floor() as i32;
    let digits = (millis / 10f64.powi(decade) * 10.0 + 1e-9).floor() as usize;
    let index = (decade - FIRST) as usize * PER_DECADE + digits.clamp(10, 99) - 10;
    Some(index.min(BUCKETS - 1) as u16)
}

/// Where a bucket begins, in milliseconds.
pub fn lower(bucket: u16) -> f64 {
    let (decade, digits) = (
        usize::from(bucket) / PER_DECADE,
        usize::from(bucket) % PER_DECADE + 10,
    );
    digits as f64 / 10.0 * 10f64.powi(decade as i32 + FIRST)
}

/// Latencies, counted in buckets.
#[derive(Clone, PartialEq)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let filled = self.counts.iter().enumerate();
        f.debug_map()
            .entries(filled.filter(|(_, count)| **count > 0))
            .finish()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: Box::new([0; BUCKETS]),
            total: 0,
        }
    }
}

impl Histogram {
    /// Adds counted latencies.
    pub fn add(&mut self, latencies: &[(u16, u32)]) {
        for (bucket, count) in latencies {
            if let Some(counted) = self.counts.get_mut(usize::from(*bucket)) {
                *counted += u64::from(*count);
                self.total += u64::from(*count);
            }
        }
    }

    /// How many latencies.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The bucket at or below which this part of the latencies lies; none without latencies.
    pub fn quantile(&self, part: f64) -> Option<u16> {
        let wanted = (self.total as f64 * part).ceil().max(1.0) as u64;
        let mut sum = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            sum += count;
            if sum >= wanted && *count > 0 {
                return Some(bucket as u16);
            }
        }
        None
    }

    /// How many are in the bucket or above.
    pub fn reaching(&self, bucket: u16) -> u64 {
        self.counts[usize::from(bucket).min(BUCKETS)..].iter().sum()
    }

    /// Forgets half, so that what is old counts less and less.
    pub fn halve(&mut self) {
        for count in self.counts.iter_mut() {
            *count /= 2;
        }
        self.total = self.counts.iter().sum();
    }
}

impl Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let filled = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        to.collect_seq(filled)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut histogram = Histogram::default();
        for (bucket, count) in Vec::<(usize, u64)>::deserialize(from)? {
            if let Some(counted) = histogram.counts.get_mut(bucket) {
                *counted += count;
                histogram.total += count;
            }
        }
        Ok(histogram)
    }
}

/// How many of these latencies are in a bucket or above, of how many.
pub fn reaching(latencies: &[(u16, u32)], limit: u16) -> Trials {
    let mut trials = Trials::default();
    for (bucket, count) in latencies {
        trials.total += u64::from(*count);
        if *bucket >= limit {
            trials.hits += u64::from(*count);
        }
    }
    trials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        for millis in [
            0.01, 0.1, 0.99, 1.0, 1.05, 9.99, 10.0, 12.3, 99.0, 100.0, 1234.5, 9e6,
        ] {
            let found = bucket(millis).expect("a latency");
            assert!(lower(found) <= millis * (1.0 + 1e-9), "{millis}");
            assert!(lower(found + 1) > millis, "{millis}");
        }
        for every in 0..BUCKETS as u16 {
            assert_eq!(bucket(lower(every)), Some(every), "{}", lower(every));
        }
        assert_eq!(bucket(0.0), Some(0));
        assert_eq!(bucket(f64::NAN), None);
        assert_eq!(bucket(f64::INFINITY), None);
        assert_eq!(bucket(-1.0), None);
        assert_eq!(usize::from(bucket(1e300).expect("clamped")), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for millis in 1..=100 {
            histogram.add(&[(bucket(f64::from(millis)).expect("a latency"), 1)]);
        }
        assert_eq!(histogram.quantile(0.5), bucket(50.0));
        assert_eq!(histogram.quantile(0.95), bucket(95.0));
        assert_eq!(histogram.reaching(bucket(96.0).expect("a latency")), 5);
        let text = serde_json::to_string(&histogram).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Histogram>(&text).expect("a histogram"),
            histogram
        );
        histogram.halve();
        assert_eq!(histogram.total(), 0, "ones are forgotten");
    }

    #[test]
    fn what_cannot_be_is_told() {
        let mut tick = Tick::default();
        tick.check().expect("nothing is fine");
        tick.canary.errors = 1;
        assert!(
            tick.check()
                .expect_err("more failures than requests")
                .contains("1 failures of 0")
        );
        let tick = Tick {
            at: f64::NAN,
            ..Tick::default()
        };
        assert!(tick.check().is_err());
    }
}
