//! Scaled time: modelled durations are divided by the speed; timestamps are wall-clock time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
