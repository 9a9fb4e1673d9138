//! The store's log on disk: appended to in batches, and compacted when most of it was overwritten.

use std::collections::HashMap;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Inner, Key, Stored, key, place};

/// How long changes may gather before they are written.
const FLUSH: Duration = Duration::from_millis(40);

/// One change, as it goes to the log.
pub(super) enum Entry {
    Put(String, Arc<Stored>),
    Delete(String, Key, u64),
}

/// Reads the log of a directory, writes it anew, and starts to write what comes. The last value ends when the last change
/// is on disk after the sender is dropped.
pub(super) fn open(
    directory: &Path,
    history: usize,
) -> std::io::Result<(Inner, mpsc::UnboundedSender<Entry>, JoinHandle<()>)> {
    let file = directory.join("objects.log");
    let mut inner = match file.exists() {
        true => read(&file)?,
        false => empty(),
    };
    inner.history = history;
    for table in inner.tables.values_mut() {
        table.forgotten = inner.revision;
    }
    // What was read goes into a fresh file: that is the compaction at start.
    let lines = inner.snapshot();
    write_snapshot(&file, &lines)?;
    let (log, entries) = mpsc::unbounded_channel();
    let writer = Writer {
        written: lines.len(),
        file,
        live: lines.len(),
    };
    Ok((inner, log, tokio::spawn(writer.run(entries))))
}

fn empty() -> Inner {
    Inner {
        revision: 1,
        history: 0,
        tables: HashMap::new(),
    }
}

fn read(file: &Path) -> std::io::Result<Inner> {
    let mut inner = empty();
    for line in std::io::BufReader::new(std::fs::File::open(file)?).lines() {
        // A last line that was cut off by a kill is what had not been saved yet.
        if let Ok(mut line) = serde_json::from_str::<Value>(&line?) {
            inner.replay(&mut line);
        }
    }
    Ok(inner)
}

impl Inner {
    fn replay(&mut self, line: &mut Value) {
        let revision = line["revision"].as_u64().unwrap_or(0);
        self.revision = self.revision.max(revision);
        let table = line["table"].as_str().unwrap_or("").to_owned();
        if table.is_empty() {
            return;
        }
        let value = line["object"].take();
        let there = self.table(&table);
        if value.is_object() {
            let key = key(&value);
            let stored = Stored {
                rough: line["rough"] == true,
                ..Stored::new(value, revision)
            };
            there.objects.insert(key, Arc::new(stored));
        } else {
            let part = |name: &str| line[name].as_str().unwrap_or("").to_owned();
            there
                .objects
                .remove(&(place(&part("namespace")), part("name")));
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

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn put_line(table: &str, stored: &Stored) -> Vec<u8> {
    let mut line = format!(
        "{{\"revision\":{},\"table\":{},{}\"object\":",
        stored.revision,
        Value::from(table),
        if stored.rough { "\"rough\":true," } else { "" }
    )
    .into_bytes();
    // What nobody reads need not be held twice; what somebody has read need not be made twice.
    match stored.json.get() {
        Some(json) => line.extend_from_slice(json),
        None => line.extend_from_slice(stored.value.to_string().as_bytes()),
    }
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
    let lines = read(file)?.snapshot();
    write_snapshot(file, &lines)?;
    Ok(lines.len())
}
