//! The object store: ordered tables, one revision for all of them, a bounded history of events for watches, and an
//! append-only log on disk that is compacted when it has grown.

mod log;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use hyper::body::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use log::Entry;

use super::object;

/// One version of one object. It never changes.
pub struct Stored {
    /// The object, its resourceVersion included.
    pub value: Value,
    /// The revision that wrote it.
    pub revision: u64,
    /// Whether upstream keeps it in another form than it shows: then its next writing is a change, whatever it says.
    pub rough: bool,
    json: OnceLock<Bytes>,
}

impl Stored {
    /// An object as it is.
    pub fn new(value: Value, revision: u64) -> Self {
        Stored {
            value,
            revision,
            rough: false,
            json: OnceLock::new(),
        }
    }

    /// The object as JSON, made once.
    pub fn json(&self) -> &Bytes {
        self.json
            .get_or_init(|| Bytes::from(self.value.to_string()))
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It was changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One step in a table's history.
pub struct Event {
    /// The revision of the step.
    pub revision: u64,
    /// What happened.
    pub change: Change,
    /// The object after it; for a deletion its last state at the deletion's revision.
    pub object: Arc<Stored>,
    /// The object before it.
    pub previous: Option<Arc<Stored>>,
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// The object at this revision.
    Revision(u64),
}

/// Somebody else was faster.
#[derive(Debug, PartialEq, Eq)]
pub struct Clash;

/// What a watch asks for is forgotten.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOld;

/// A key: where ([`place`]) and the name.
pub type Key = (String, String);

/// Where the objects of a namespace are; empty for cluster scope. Keys are in the order of etcd's, `a-b/x` before `a/x`.
pub fn place(namespace: &str) -> String {
    match namespace {
        "" => String::new(),
        namespace => format!("{namespace}/"),
    }
}

fn key(object: &Value) -> Key {
    (
        place(object::namespace(object)),
        object::name(object).to_owned(),
    )
}

/// Part of a list.
pub struct Page {
    /// The objects.
    pub objects: Vec<Arc<Stored>>,
    /// The store's revision.
    pub revision: u64,
    /// The last key, when there is more.
    pub next: Option<Key>,
    /// How many there are behind the page, when the list was not filtered.
    pub remaining: Option<usize>,
}

struct Table {
    objects: BTreeMap<Key, Arc<Stored>>,
    history: VecDeque<Arc<Event>>,
    /// The newest revision that the history no longer holds.
    forgotten: u64,
    changed: watch::Sender<u64>,
}

struct Inner {
    revision: u64,
    /// How many events a table remembers; an older watch has to list again.
    history: usize,
    tables: HashMap<String, Table>,
}

/// The store. Cheap to share behind an `Arc`.
pub struct Store {
    inner: Mutex<Inner>,
    log: mpsc::UnboundedSender<Entry>,
}

impl Store {
    /// Opens the store in a directory and starts writing its log. The second value ends when the last change is on
    /// disk after the store is dropped.
    pub fn open(
        directory: &Path,
        history: usize,
    ) -> std::io::Result<(Store, tokio::task::JoinHandle<()>)> {
        let (inner, log, done) = log::open(directory, history)?;
        Ok((
            Store {
                inner: Mutex::new(inner),
                log,
            },
            done,
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// Makes the tables of these names, so that what is read of them now has a history from now on.
    pub fn keep<'a>(&self, tables: impl Iterator<Item = &'a str>) {
        let mut inner = self.lock();
        for name in tables {
            inner.table(name);
        }
    }

    /// One object.
    pub fn get(&self, table: &str, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        let inner = self.lock();
        let key = (place(namespace), name.to_owned());
        inner.tables.get(table)?.objects.get(&key).cloned()
    }

    /// All objects of a table, or of a namespace in it.
    pub fn all(&self, table: &str, namespace: &str) -> Vec<Arc<Stored>> {
        self.page(table, namespace, None, 0, |_| true).objects
    }

    /// The revision of the last change of a table.
    pub fn stamp(&self, table: &str) -> u64 {
        self.lock().tables.get(table).map_or(0, |table| {
            table
                .history
                .back()
                .map_or(table.forgotten, |event| event.revision)
        })
    }

    /// How many objects a table has.
    pub fn count(&self, table: &str) -> usize {
        self.lock()
            .tables
            .get(table)
            .map_or(0, |table| table.objects.len())
    }

    /// At most `limit` objects (0: all) from a key on, of one namespace or, when it is empty, of all.
    pub fn page(
        &self,
        table: &str,
        namespace: &str,
        start: Option<&Key>,
        limit: usize,
        keep: impl Fn(&Value) -> bool,
    ) -> Page {
        let inner = self.lock();
        let Some(table) = inner.tables.get(table) else {
            return Page::empty(inner.revision);
        };
        cut(
            &table.objects,
            inner.revision,
            namespace,
            start,
            limit,
            keep,
        )
    }

    /// As [`Store::page`], of the objects as they were at a revision; nothing when that is forgotten.
    pub fn page_at(
        &self,
        table: &str,
        revision: u64,
        namespace: &str,
        start: Option<&Key>,
        limit: usize,
        keep: impl Fn(&Value) -> bool,
    ) -> Option<Page> {
        let inner = self.lock();
        let Some(table) = inner.tables.get(table) else {
            return Some(Page::empty(revision));
        };
        if revision < table.forgotten {
            return None;
        }
        let mut objects = table.objects.clone();
        for event in table.history.iter().rev() {
            if event.revision <= revision {
                break;
            }
            let key = key(&event.object.value);
            match &event.previous {
                Some(previous) => objects.insert(key, previous.clone()),
                None => objects.remove(&key),
            };
        }
        Some(cut(&objects, revision, namespace, start, limit, keep))
    }

    /// Writes an object, if what is there is what was expected. Its resourceVersion is set here.
    pub fn put(&self, table: &str, value: Value, expected: Expected) -> Result<Arc<Stored>, Clash> {
        self.put_as(table, value, expected, false)
    }

    /// The same, of what upstream keeps in another form than it shows, or not.
    pub fn put_as(
        &self,
        table: &str,
        mut value: Value,
        expected: Expected,
        rough: bool,
    ) -> Result<Arc<Stored>, Clash> {
        let key = key(&value);
        let mut inner = self.lock();
        let (revision, history) = (inner.revision + 1, inner.history);
        let place = inner.table(table);
        let previous = place.objects.get(&key).cloned();
        match (expected, &previous) {
            (Expected::Absent, None) => {}
            (Expected::Revision(revision), Some(stored)) if stored.revision == revision => {}
            _ => return Err(Clash),
        }
        object::set(&mut value, "metadata.resourceVersion", revision.to_string());
        let stored = Arc::new(Stored {
            rough,
            ..Stored::new(value, revision)
        });
        place.objects.insert(key, stored.clone());
        let event = Event {
            revision,
            change: if previous.is_some() {
                Change::Modified
            } else {
                Change::Added
            },
            object: stored.clone(),
            previous,
        };
        place.remember(event, history);
        inner.revision = revision;
        // Under the lock, so that the log has the order of the revisions.
        let _ = self.log.send(Entry::Put(table.to_owned(), stored.clone()));
        Ok(stored)
    }

    /// Takes an object away, if it is still the one that was seen. Returns its last state.
    pub fn delete(
        &self,
        table: &str,
        mut last: Value,
        expected: u64,
    ) -> Result<Arc<Stored>, Clash> {
        let key = key(&last);
        let mut inner = self.lock();
        let (revision, history) = (inner.revision + 1, inner.history);
        let place = inner.table(table);
        match place.objects.get(&key) {
            Some(stored) if stored.revision == expected => {}
            _ => return Err(Clash),
        }
        let previous = place.objects.remove(&key);
        object::set(&mut last, "metadata.resourceVersion", revision.to_string());
        let stored = Arc::new(Stored::new(last, revision));
        let event = Event {
            revision,
            change: Change::Deleted,
            object: stored.clone(),
            previous,
        };
        place.remember(event, history);
        inner.revision = revision;
        let _ = self
            .log
            .send(Entry::Delete(table.to_owned(), key, revision));
        Ok(stored)
    }

    /// Is told the revision of each change of a table.
    pub fn changes(&self, table: &str) -> watch::Receiver<u64> {
        self.lock().table(table).changed.subscribe()
    }

    /// The events behind a revision, and the revision up to which this is all.
    pub fn since(&self, table: &str, revision: u64) -> Result<(Vec<Arc<Event>>, u64), TooOld> {
        let inner = self.lock();
        let Some(place) = inner.tables.get(table) else {
            return Ok((Vec::new(), inner.revision));
        };
        if revision < place.forgotten {
            return Err(TooOld);
        }
        let from = place
            .history
            .partition_point(|event| event.revision <= revision);
        let events = place.history.range(from..).cloned().collect();
        Ok((events, inner.revision))
    }
}

impl Inner {
    /// A table; one that is not there begins with what is there now.
    fn table(&mut self, name: &str) -> &mut Table {
        if !self.tables.contains_key(name) {
            let table = Table {
                objects: BTreeMap::new(),
                history: VecDeque::new(),
                forgotten: self.revision,
                changed: watch::channel(0).0,
            };
            self.tables.insert(name.to_owned(), table);
        }
        match self.tables.get_mut(name) {
            Some(table) => table,
            None => unreachable!("the table was just made"),
        }
    }
}

/// The part of a table that a page shows.
fn cut(
    objects: &BTreeMap<Key, Arc<Stored>>,
    revision: u64,
    namespace: &str,
    start: Option<&Key>,
    limit: usize,
    keep: impl Fn(&Value) -> bool,
) -> Page {
    let mut page = Page::empty(revision);
    let whole = place(namespace);
    let first = (whole.clone(), String::new());
    let from = Bound::Included(start.cloned().unwrap_or(first));
    let inside = |key: &Key| whole.is_empty() || key.0 == whole;
    let mut rows = objects
        .range((from, Bound::Unbounded))
        .take_while(|(key, _)| inside(key))
        .peekable();
    while let Some((key, stored)) = rows.next() {
        if !keep(&stored.value) {
            continue;
        }
        page.objects.push(stored.clone());
        // There is another page when anything follows, selected or not.
        if limit > 0 && page.objects.len() == limit {
            page.next = rows.peek().map(|_| key.clone());
            break;
        }
    }
    if let Some(next) = &page.next {
        let rest = objects
            .range((Bound::Excluded(next.clone()), Bound::Unbounded))
            .take_while(|(key, _)| inside(key))
            .count();
        page.remaining = Some(rest);
    }
    page
}

impl Page {
    fn empty(revision: u64) -> Page {
        Page {
            objects: Vec::new(),
            revision,
            next: None,
            remaining: None,
        }
    }
}

impl Table {
    fn remember(&mut self, event: Event, limit: usize) {
        let revision = event.revision;
        self.history.push_back(Arc::new(event));
        if self.history.len() > limit
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.revision;
        }
        self.changed.send_replace(revision);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn all_namespaces_are_listed_in_the_order_of_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (store, saved) = Store::open(folder.path(), 16).unwrap();
        for (namespace, name) in [("a", "x"), ("a-b", "y"), ("a", "b"), ("b", "a")] {
            let value = json!({"metadata": {"namespace": namespace, "name": name}});
            store.put("things", value, Expected::Absent).unwrap();
        }
        let shown = |page: Page| -> Vec<String> {
            let objects = page.objects.iter();
            objects
                .map(|one| {
                    let (namespace, name) =
                        (object::namespace(&one.value), object::name(&one.value));
                    format!("{namespace}/{name}")
                })
                .collect()
        };
        let all = store.page("things", "", None, 0, |_| true);
        assert_eq!(shown(all), ["a-b/y", "a/b", "a/x", "b/a"]);
        let one = store.page("things", "a", None, 0, |_| true);
        assert_eq!(shown(one), ["a/b", "a/x"]);
        let gone = store.get("things", "a", "b").unwrap();
        store
            .delete("things", gone.value.clone(), gone.revision)
            .unwrap();
        // What is gone stays gone after a restart.
        drop(store);
        saved.await.unwrap();
        let (store, _saved) = Store::open(folder.path(), 16).unwrap();
        let all = store.page("things", "", None, 0, |_| true);
        assert_eq!(shown(all), ["a-b/y", "a/x", "b/a"]);
    }
}
