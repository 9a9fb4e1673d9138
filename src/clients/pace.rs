//! How fast one kind of request may be sent: as fast as it goes, until somebody says that it is too fast.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// The longest distance between two requests.
const SLOWEST: Duration = Duration::from_secs(2);
/// The shortest distance after a refusal.
const FIRST: Duration = Duration::from_millis(20);
/// A distance under which none is kept.
const NONE: Duration = Duration::from_millis(2);

/// A distance between requests. One that is refused for being one of too many sets it to a quarter more than what was measured,
/// how often requests were taken since the last refusal, and at most doubles it: where few were sent, few were taken. Each
/// that is taken shrinks it by a hundredth.
#[derive(Debug, Default)]
pub struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    distance: Duration,
    /// When the next may go.
    next: Option<Instant>,
    /// Since when the distance is what it is: turns taken before say nothing about it.
    since: Option<Instant>,
    /// How many were taken since then.
    taken: u32,
}

/// When a request may go.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    taken: Instant,
    at: Instant,
}

impl Pace {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for a request's turn.
    pub async fn turn(&self) -> Turn {
        let turn = self.take_turn(Instant::now());
        tokio::time::sleep_until(turn.at).await;
        turn
    }

    fn take_turn(&self, now: Instant) -> Turn {
        let mut state = self.state();
        let at = state.next.map_or(now, |next| next.max(now));
        state.next = Some(at + state.distance);
        Turn { taken: now, at }
    }

    /// A request was taken.
    pub fn taken(&self) {
        let mut state = self.state();
        state.taken += 1;
        state.distance = state.distance.mul_f64(0.99);
        if state.distance < NONE {
            state.distance = Duration::ZERO;
        }
    }

    /// The request of this turn was one of too many.
    pub fn refused(&self, turn: Turn) {
        self.refused_at(turn, Instant::now());
    }

    fn refused_at(&self, turn: Turn, now: Instant) {
        let mut state = self.state();
        // Many that were sent together are refused together: that is one sign, not many.
        if state.since.is_none_or(|since| since < turn.taken) {
            let measured = state.since.map(|since| (now - since) / state.taken.max(1));
            let longer = measured.map_or(FIRST, |measured| measured.mul_f64(1.25));
            let least = FIRST.max(state.distance.mul_f64(1.1));
            let most = FIRST.max(state.distance * 2);
            state.distance = longer.clamp(least, most).min(SLOWEST);
            state.since = Some(now);
            state.taken = 0;
            let after = now + state.distance;
            state.next = Some(state.next.map_or(after, |next| next.max(after)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;

    fn entry(turn: Turn, sender: u32, left: u32) -> Reverse<(Instant, Instant, u32, u32)> {
        Reverse((turn.at, turn.taken, sender, left))
    }

    /// Sends 20 requests from each of 32 senders to a service that takes 10 at once and then 10 a second, as a token bucket;
    /// returns how long that took and how many were refused.
    fn sent(pace: &Pace) -> (f64, u32) {
        let began = Instant::now();
        let (mut tokens, mut filled) = (10.0_f64, began);
        let mut refused = 0;
        let mut turns: BinaryHeap<_> = (0..32)
            .map(|sender| entry(pace.take_turn(began), sender, 20))
            .collect();
        while let Some(Reverse((now, taken, sender, left))) = turns.pop() {
            tokens = (tokens + (now - filled).as_secs_f64() * 10.0).min(10.0);
            filled = now;
            let left = match tokens >= 1.0 {
                true => {
                    tokens -= 1.0;
                    pace.taken();
                    left - 1
                }
                false => {
                    refused += 1;
                    pace.refused_at(Turn { taken, at: now }, now);
                    left
                }
            };
            if left > 0 {
                turns.push(entry(pace.take_turn(now), sender, left));
            }
        }
        ((filled - began).as_secs_f64(), refused)
    }

    #[test]
    fn a_limit_is_found_and_kept_to() {
        // 640 requests at 10 a second with 10 at once take 63 s at least.
        let (took, refused) = sent(&Pace::default());
        assert!((62.9..100.0).contains(&took), "{took} s");
        assert!(refused < 200, "{refused} of {} were refused", 640 + refused);
    }

    #[test]
    fn nothing_is_held_where_nobody_minds() {
        let pace = Pace::default();
        let now = Instant::now();
        for _ in 0..1000 {
            assert_eq!(pace.take_turn(now).at, now);
            pace.taken();
        }
    }
}
