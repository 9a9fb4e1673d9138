//! The object store: ordered tables, one revision for all of them, a bounded history of events for watches, and an
//! append-only log on disk that is compacted when it has grown.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufRead as _, Write as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::object;

/// How long changes may gather before they are written.
const FLUSH: Duration = Duration::from_millis(40);

/// One version of one object. It never changes.
pub struct Stored {
    /// The object, its resourceVersion included.
    pub value: Value,
    /// The revision that wrote it.
    pub revision: u64,
    json: OnceLock<Bytes>,
}

impl Stored {
    /// An object as it is.
    pub fn new(value: Value, revision: u64) -> Self {
        Stored {
            value,
            revision,
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

enum Entry {
    Put(String, Arc<Stored>),
    Delete(String, Key, u64),
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
        let file = directory.join("objects.log");
        let mut inner = Inner {
            revision: 1,
            history,
            tables: HashMap::new(),
        };
        if file.exists() {
            for line in std::io::BufReader::new(std::fs::File::open(&file)?).lines() {
                // A last line that was cut off by a kill is what had not been saved yet.
                let Ok(mut line) = serde_json::from_str::<Value>(&line?) else {
                    continue;
                };
                inner.replay(&mut line);
            }
        }
        for table in inner.tables.values_mut() {
            table.forgotten = inner.revision;
        }
        // What was replayed goes into a fresh file: that is the compaction at start.
        let lines = inner.snapshot();
        write_snapshot(&file, &lines)?;
        let (log, entries) = mpsc::unbounded_channel();
        let writer = Writer {
            written: lines.len(),
            file,
            live: lines.len(),
        };
        let done = tokio::spawn(writer.run(entries));
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
    pub fn put(
        &self,
        table: &str,
        mut value: Value,
        expected: Expected,
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
        let stored = Arc::new(Stored::new(value, revision));
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

    fn replay(&mut self, line: &mut Value) {
        let revision = line["revision"].as_u64().unwrap_or(0);
        self.revision = self.revision.max(revision);
        let table = line["table"].as_str().unwrap_or("").to_owned();
        if table.is_empty() {
            return;
        }
        let value = line["object"].take();
        let place = self.table(&table);
        if value.is_object() {
            let key = key(&value);
            place
                .objects
                .insert(key, Arc::new(Stored::new(value, revision)));
        } else {
            let part = |name: &str| line[name].as_str().unwrap_or("").to_owned();
            place
                .objects
                .remove(&(self::place(&part("namespace")), part("name")));
        }
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut lines = vec![line(&json!({"revision": self.revision}))];
        for (name, table) in &self.tables {
            for stored in table.objects.values() {
                lines.push(put_line(name, stored));
            }
        }
        lines
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

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn put_line(table: &str, stored: &Stored) -> Vec<u8> {
    let mut line = format!(
        "{{\"revision\":{},\"table\":{},\"object\":",
        stored.revision,
        Value::from(table)
    )
    .into_bytes();
    // Not through the cache of the JSON: what nobody reads need not be held twice.
    line.extend_from_slice(stored.value.to_string().as_bytes());
    line.extend_from_slice(b"}\n");
    line
}

fn write_snapshot(file: &Path, lines: &[Vec<u8>]) -> std::io::Result<()> {
    let fresh = file.with_extension("new");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&fresh)?);
    for line in lines {
        out.write_all(line)?;
    }
    out.into_inner().map_err(|error| error.into_error())?;
    std::fs::rename(fresh, file)
}

struct Writer {
    file: PathBuf,
    written: usize,
    live: usize,
}

impl Writer {
    async fn run(mut self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        let mut batch = Vec::new();
        while entries.recv_many(&mut batch, 4096).await > 0 {
            // A burst of changes is one write; nobody waits for it.
            tokio::time::sleep(FLUSH).await;
            while let Ok(entry) = entries.try_recv() {
                batch.push(entry);
            }
            let file = self.file.clone();
            let entries = std::mem::take(&mut batch);
            self.written += entries.len();
            for entry in &entries {
                match entry {
                    Entry::Put(..) => self.live += 1,
                    Entry::Delete(..) => self.live = self.live.saturating_sub(1),
                }
            }
            let compact = self.written > 20_000 && self.written > self.live / 2 * 4;
            let result = tokio::task::spawn_blocking(move || -> std::io::Result<Option<usize>> {
                append(&file, &entries)?;
                if compact {
                    compacted(&file).map(Some)
                } else {
                    Ok(None)
                }
            })
            .await;
            match result {
                Ok(Ok(Some(lines))) => (self.written, self.live) = (lines, lines),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::error!("{}: cannot save objects: {error}", self.file.display());
                }
                Err(_) => return,
            }
        }
    }
}

fn append(file: &Path, entries: &[Entry]) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)?;
    let mut out = std::io::BufWriter::new(file);
    for entry in entries {
        match entry {
            Entry::Put(table, stored) => out.write_all(&put_line(table, stored))?,
            Entry::Delete(table, (namespace, name), revision) => out.write_all(&line(&json!({
                "revision": revision, "table": table, "namespace": namespace.trim_end_matches('/'), "name": name,
            })))?,
        }
    }
    out.flush()
}

/// Reads the log and writes it again without what was overwritten.
fn compacted(file: &Path) -> std::io::Result<usize> {
    let mut inner = Inner {
        revision: 1,
        history: 0,
        tables: HashMap::new(),
    };
    for line in std::io::BufReader::new(std::fs::File::open(file)?).lines() {
        if let Ok(mut line) = serde_json::from_str::<Value>(&line?) {
            inner.replay(&mut line);
        }
    }
    let lines = inner.snapshot();
    write_snapshot(file, &lines)?;
    Ok(lines.len())
}

#[cfg(test)]
mod tests {
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
