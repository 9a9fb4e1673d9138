//! Scaled time: modelled durations are divided by the speed; timestamps are wall-clock time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Wall-clock milliseconds since the Unix epoch.
pub type Millis = u64;

/// The sandbox's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    speed: f64,
}

impl Clock {
    /// A clock at which modelled durations pass `speed` times faster than real ones.
    pub fn new(speed: f64) -> Self {
        Clock { speed }
    }

    /// How many times faster than reality.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Now.
    pub fn now(&self) -> Millis {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as Millis)
    }

    /// How long a modelled duration takes here.
    pub fn scale(&self, modelled: Duration) -> Duration {
        modelled.div_f64(self.speed)
    }

    /// The moment when a modelled duration that begins now will have passed.
    pub fn after(&self, modelled: Duration) -> Millis {
        self.now() + self.scale(modelled).as_millis() as Millis
    }
}

/// A timestamp as the XML protocols write it: `2026-11-21T03:20:00Z`.
pub fn iso8601(at: Millis) -> String {
    jiff::Timestamp::from_second((at / 1000) as i64)
        .unwrap_or_default()
        .to_string()
}

/// A timestamp as the JSON protocols write it: seconds, with a fraction.
pub fn epoch_seconds(at: Millis) -> Value {
    Value::from(at as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_written_as_the_protocols_write_them() {
        assert_eq!(iso8601(1_795_231_200_123), "2026-11-21T03:20:00Z");
        assert_eq!(epoch_seconds(1500), Value::from(1.5));
    }

    #[test]
    fn modelled_durations_shrink_with_speed() {
        let clock = Clock::new(60.0);
        assert_eq!(clock.scale(Duration::from_secs(60)), Duration::from_secs(1));
    }
}
