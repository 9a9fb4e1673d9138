//! A queue of keys: each is worked on by one worker at a time, and what fails comes back with growing delays.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::{Shutdown, stopped};
use super::cluster::ApiError;

/// The first delay after a failure, doubled with each further one: client-go's default.
const FIRST_DELAY: Duration = Duration::from_millis(5);
/// The longest delay.
const LAST_DELAY: Duration = Duration::from_secs(1000);

/// What is to happen to a key after it was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until it is added again.
    Done,
    /// Once more after a while, failures forgotten.
    After(Duration),
    /// Once more with a growing delay, as after a failure.
    Retry,
}

/// What working on a key came to.
pub type Work = Result<Next, ApiError>;

struct Inner<K> {
    ready: VecDeque<K>,
    waiting: HashSet<K>,
    active: HashSet<K>,
    delayed: BTreeMap<(Instant, u64), K>,
    /// Where each key stands in `delayed`: at most once, at its earliest time.
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    count: u64,
}

impl<K: Clone + Eq + Hash> Inner<K> {
    fn postpone(&mut self, key: K, delay: Duration) {
        let at = Instant::now() + delay;
        if let Some(known) = self.due.get(&key) {
            if known.0 <= at {
                return;
            }
            self.delayed.remove(known);
        }
        self.count += 1;
        let position = (at, self.count);
        self.due.insert(key.clone(), position);
        self.delayed.insert(position, key);
    }
}

/// A work queue; clones share it.
pub struct Queue<K> {
    inner: Arc<Mutex<Inner<K>>>,
    changed: Arc<Notify>,
    last_delay: Duration,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Queue {
            inner: self.inner.clone(),
            changed: self.changed.clone(),
            last_delay: self.last_delay,
        }
    }
}

impl<K: Clone + Eq + Hash + Send + std::fmt::Debug + 'static> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash + Send + std::fmt::Debug + 'static> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::with_last_delay(LAST_DELAY)
    }

    /// An empty queue whose delays after failures stop growing here.
    pub fn with_last_delay(last_delay: Duration) -> Self {
        Queue {
            inner: Arc::new(Mutex::new(Inner {
                ready: VecDeque::new(),
                waiting: HashSet::new(),
                active: HashSet::new(),
                delayed: BTreeMap::new(),
                due: HashMap::new(),
                failures: HashMap::new(),
                count: 0,
            })),
            changed: Arc::default(),
            last_delay,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds a key; one that is waiting already is not added twice.
    pub fn add(&self, key: K) {
        let mut inner = self.lock();
        if inner.waiting.insert(key.clone()) && !inner.active.contains(&key) {
            inner.ready.push_back(key);
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Adds a key after a while.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.lock().postpone(key, delay);
        self.changed.notify_one();
    }

    async fn take(&self) -> K {
        loop {
            let next = {
                let mut inner = self.lock();
                let now = Instant::now();
                while let Some(entry) = inner.delayed.first_entry() {
                    if entry.key().0 > now {
                        break;
                    }
                    let key = entry.remove();
                    inner.due.remove(&key);
                    if inner.waiting.insert(key.clone()) && !inner.active.contains(&key) {
                        inner.ready.push_back(key);
                    }
                }
                if let Some(key) = inner.ready.pop_front() {
                    inner.waiting.remove(&key);
                    inner.active.insert(key.clone());
                    if !inner.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                inner.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            match next {
                Some(at) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    fn finish(&self, key: K, work: &Work) {
        let mut inner = self.lock();
        inner.active.remove(&key);
        if inner.waiting.contains(&key) {
            inner.ready.push_back(key.clone());
        }
        let delay = match work {
            Ok(Next::Done) => {
                inner.failures.remove(&key);
                None
            }
            Ok(Next::After(delay)) => {
                inner.failures.remove(&key);
                Some(*delay)
            }
            Ok(Next::Retry) | Err(_) => {
                let failures = inner.failures.entry(key.clone()).or_default();
                *failures += 1;
                let exponent = (*failures - 1).min(30);
                Some((FIRST_DELAY * 2u32.saturating_pow(exponent)).min(self.last_delay))
            }
        };
        if let Some(delay) = delay {
            inner.postpone(key, delay);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Works on keys, `workers` at a time, until a shutdown is asked for.
    pub async fn run<F, W>(
        self,
        name: &'static str,
        workers: usize,
        mut shutdown: Shutdown,
        work: F,
    ) where
        F: Fn(K) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Work> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            let (queue, work) = (self.clone(), work.clone());
            tasks.spawn(async move {
                loop {
                    let key = queue.take().await;
                    let outcome = work(key.clone()).await;
                    if let Err(error) = &outcome {
                        tracing::debug!(controller = name, ?key, %error, "reconcile failed");
                    }
                    queue.finish(key, &outcome);
                }
            });
        }
        stopped(&mut shutdown).await;
        tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{mpsc, watch};

    #[tokio::test]
    async fn a_key_is_worked_on_once_and_again_after_a_failure() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        let (stop, shutdown) = watch::channel(false);
        let (sender, mut done) = mpsc::unbounded_channel();
        let tries = Arc::new(Mutex::new(0));
        let task = tokio::spawn(queue.clone().run("test", 2, shutdown, move |key| {
            let (sender, tries) = (sender.clone(), tries.clone());
            async move {
                let mut tries = tries.lock().expect("no panic");
                *tries += 1;
                if *tries < 3 {
                    return Ok(Next::Retry);
                }
                let _ = sender.send((key, *tries));
                Ok(Next::Done)
            }
        }));
        assert_eq!(done.recv().await, Some(("a", 3)));
        stop.send_replace(true);
        task.await.expect("ends");
    }
}
