//! Get, list and watch.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::accept::{View, metadata};
use super::api::{Api, Body, bytes, json_body, stream};
use super::gojson;
use super::object;
use super::pages::{Resumed, expired, proceed};
use super::request::Info;
use super::resources::Resource;
use super::selector::{Fields, Labels};
use super::status::{Result, Status};
use super::store::{Change, Stored};
use super::table;
use crate::sandbox::asked;

/// How often a quiet watch is told where it stands.
const BOOKMARK: Duration = Duration::from_secs(60);
/// How long before its end a watch is told where it ends.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// An object in the version that was asked for.
pub fn external<'a>(resource: &Resource, value: &'a Value) -> Cow<'a, Value> {
    if value["apiVersion"].as_str() == Some(resource.api_version().as_str()) {
        return Cow::Borrowed(value);
    }
    let mut value = value.clone();
    if resource.is("events.k8s.io", "events") {
        super::defaults::event_to_events(&mut value);
    }
    value["apiVersion"] = resource.api_version().into();
    Cow::Owned(value)
}

fn json_of(resource: &Resource, stored: &Stored) -> Bytes {
    match external(resource, &stored.value) {
        Cow::Borrowed(_) => stored.json().clone(),
        Cow::Owned(value) => Bytes::from(value.to_string()),
    }
}

/// The object that a request names.
pub fn find(api: &Api, info: &Info, resource: &Resource) -> Result<Arc<Stored>> {
    let namespace = if resource.namespaced {
        info.namespace.as_str()
    } else {
        ""
    };
    api.store
        .get(&resource.table, namespace, &info.name)
        .ok_or_else(|| Status::not_found(&resource.group, &resource.plural, &info.name))
}

/// The object that a request names, in its version.
pub fn one(api: &Api, info: &Info, resource: &Resource) -> Result<Value> {
    let stored = find(api, info, resource)?;
    Ok(external(resource, &stored.value).into_owned())
}

/// Answers a get.
pub fn get(api: &Api, info: &Info, resource: &Resource, view: View) -> Result<Response<Body>> {
    revision(info)?;
    let stored = find(api, info, resource)?;
    view.check(resource, false)?;
    Ok(match view {
        View::Plain | View::MetadataList => {
            bytes(200, "application/json", json_of(resource, &stored))
        }
        View::Table => {
            let value = external(resource, &stored.value);
            json_body(200, &table::one(resource, &value, &info.query))
        }
        View::Metadata => json_body(200, &metadata(&external(resource, &stored.value))),
    })
}

/// The version that a read asks for. A list that asks for none that there is has made a mistake; a get or a watch has
/// found one of the server's.
fn revision(info: &Info) -> Result<Option<u64>> {
    let text = match info.query.get("resourceVersion") {
        "" => return Ok(None),
        text => text,
    };
    gojson::unsigned(text).map(Some).map_err(|why| {
        let why = format!("resourceVersion: Invalid value: {text:?}: {why}");
        match info.verb {
            "list" => Status::bad_request(format!("invalid resource version: {why}")),
            _ => Status::new(500, "", why),
        }
    })
}

struct Selection {
    namespace: String,
    labels: Labels,
    fields: Fields,
}

impl Selection {
    fn of(info: &Info, resource: &Resource) -> Result<Selection> {
        let selectable = resource
            .custom
            .as_ref()
            .map_or(&[][..], |custom| custom.selectable.as_slice());
        let mut fields = info.query.get("fieldSelector").to_owned();
        // A watch of one object, by its path.
        if !info.name.is_empty() {
            let name = format!("metadata.name={}", info.name);
            fields = if fields.is_empty() {
                name
            } else {
                format!("{fields},{name}")
            };
        }
        Ok(Selection {
            namespace: if resource.namespaced {
                info.namespace.clone()
            } else {
                String::new()
            },
            labels: Labels::parse(info.query.get("labelSelector"))?,
            fields: Fields::parse(
                &fields,
                &resource.group,
                &resource.plural,
                resource.namespaced,
                resource.custom.is_some(),
                selectable,
            )?,
        })
    }

    fn matches(&self, value: &Value) -> bool {
        (self.namespace.is_empty() || object::namespace(value) == self.namespace)
            && self.picks(value)
    }

    /// As [`Selection::matches`], of what is of the namespace anyway.
    fn picks(&self, value: &Value) -> bool {
        self.labels.matches(value) && self.fields.matches(value)
    }

    fn filters(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }
}

/// The objects that a collection request selects.
pub fn selected(api: &Api, info: &Info, resource: &Resource) -> Result<Vec<Arc<Stored>>> {
    let selection = Selection::of(info, resource)?;
    let page = api
        .store
        .page(&resource.table, &selection.namespace, None, 0, |value| {
            selection.picks(value)
        });
    Ok(page.objects)
}

/// Answers a list.
pub fn list(api: &Api, info: &Info, resource: &Resource, view: View) -> Result<Response<Body>> {
    super::options::listing(info)?;
    let selection = Selection::of(info, resource)?;
    let (token, asked) = (
        info.query.get("continue"),
        info.query.get("resourceVersion"),
    );
    let resumed = match token {
        "" => None,
        token => {
            let resumed = Resumed::read(token, &selection.namespace, resource.namespaced)?;
            if !matches!(asked, "" | "0") {
                let why = "specifying resource version is not allowed when using continue";
                return Err(Status::bad_request(why));
            }
            Some(resumed)
        }
    };
    let wanted = match &resumed {
        Some(_) => None,
        None => revision(info)?,
    };
    let current = api.store.revision();
    if let Some(wanted) = wanted.filter(|wanted| *wanted > current) {
        return Err(too_large(wanted, current));
    }
    // Who takes anything gets it from the cache, which gives everything.
    let limit = match asked {
        "0" => 0,
        _ => info.query.number("limit").unwrap_or(0) as usize,
    };
    let exact = match info.query.get("resourceVersionMatch") {
        "Exact" => true,
        "" => limit > 0,
        _ => false,
    };
    // What follows a page is of the same moment; so is what was asked for exactly.
    let moment = match &resumed {
        Some(resumed) => resumed.revision,
        None => wanted.filter(|wanted| exact && *wanted > 0),
    };
    let start = resumed.as_ref().map(|resumed| &resumed.start);
    let keep = |value: &Value| selection.picks(value);
    let (table, namespace) = (&resource.table, &selection.namespace);
    let mut page = match moment {
        None => api.store.page(table, namespace, start, limit, keep),
        Some(revision) => {
            let store = &api.store;
            match store.page_at(table, revision, namespace, start, limit, keep) {
                Some(page) => page,
                None => return Ok(json_body(410, &expired(start, namespace))),
            }
        }
    };
    // One object by its name is no list that could go on.
    if selection.fields.name_one() && (!resource.namespaced || !namespace.is_empty()) {
        page.next = None;
    }
    let mut meta = json!({"resourceVersion": page.revision.to_string()});
    if resource.custom.is_some() && view == View::Plain {
        // Lists of custom resources are written by another hand, which leaves nothing out.
        meta["continue"] = "".into();
    }
    if let Some((place, name)) = &page.next {
        // The next one is whatever comes behind the last.
        let next = (place.clone(), format!("{name}\0"));
        meta["continue"] = proceed(&next, namespace, page.revision as i64).into();
        if let Some(remaining) = page.remaining
            && !selection.filters()
        {
            meta["remainingItemCount"] = remaining.into();
        }
    }
    view.check(resource, true)?;
    Ok(match view {
        View::Plain | View::Metadata => {
            let head = json!({
                "kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": meta,
            });
            let mut out = head.to_string().into_bytes();
            out.pop();
            out.extend_from_slice(b",\"items\":[");
            for (index, stored) in page.objects.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                if resource.custom.is_some() {
                    out.extend_from_slice(&json_of(resource, stored));
                } else {
                    // The type stands in the head of a list, once.
                    let mut item = external(resource, &stored.value).into_owned();
                    if let Some(map) = item.as_object_mut() {
                        map.shift_remove("kind");
                        map.shift_remove("apiVersion");
                    }
                    out.extend_from_slice(item.to_string().as_bytes());
                }
            }
            out.extend_from_slice(b"]}");
            bytes(200, "application/json", Bytes::from(out))
        }
        View::Table => {
            let objects: Vec<Cow<'_, Value>> = page
                .objects
                .iter()
                .map(|stored| external(resource, &stored.value))
                .collect();
            json_body(
                200,
                &table::many(resource, &objects, meta, &info.query, true),
            )
        }
        View::MetadataList => {
            let items: Vec<Value> = page
                .objects
                .iter()
                .map(|stored| metadata(&external(resource, &stored.value)))
                .collect();
            let body = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": meta, "items": if items.is_empty() { Value::Null } else { items.into() },
            });
            json_body(200, &body)
        }
    })
}

fn too_large(wanted: u64, current: u64) -> Status {
    let message = format!("Too large resource version: {wanted}, current: {current}");
    let mut status = Status::new(504, "Timeout", format!("Timeout: {message}"));
    status.details = Some(json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }));
    status
}

/// Answers a watch.
pub fn watch(
    api: &Arc<Api>,
    info: &Info,
    resource: &Arc<Resource>,
    view: View,
) -> Result<Response<Body>> {
    let selection = Selection::of(info, resource)?;
    super::options::listing(info)?;
    let initial = info.query.flag("sendInitialEvents");
    let from = revision(info)?.filter(|revision| *revision > 0);
    let seconds = info
        .query
        .number("timeoutSeconds")
        .unwrap_or_else(|| 1800 + fastrand::u64(..1800));
    let (pieces, body) = mpsc::channel(256);
    let watcher = Watcher {
        api: api.clone(),
        resource: resource.clone(),
        selection,
        view,
        query: info.query.clone(),
        bookmarks: info.query.flag("allowWatchBookmarks"),
        pieces,
        headed: false,
    };
    tokio::spawn(watcher.run(from, initial, Duration::from_secs(seconds)));
    Ok(stream(body))
}

struct Watcher {
    api: Arc<Api>,
    resource: Arc<Resource>,
    selection: Selection,
    view: View,
    query: super::request::Query,
    bookmarks: bool,
    pieces: mpsc::Sender<Bytes>,
    /// Whether the columns of a table were sent.
    headed: bool,
}

/// The reader is gone.
struct Gone;

/// Every minute, and shortly before the end, so that the next watch begins where this one ended.
fn next_bookmark(deadline: Instant) -> Instant {
    let (now, regular) = (Instant::now(), Instant::now() + BOOKMARK);
    match deadline.checked_sub(LAST_BOOKMARK) {
        Some(last) if last > now && last < regular => last,
        _ => regular,
    }
}

impl Watcher {
    async fn run(mut self, from: Option<u64>, initial: bool, limit: Duration) {
        // Ends by itself: the reader left, time is up, the server stops.
        let _ = self.follow(from, initial, limit).await;
    }

    async fn follow(
        &mut self,
        from: Option<u64>,
        initial: bool,
        limit: Duration,
    ) -> std::result::Result<(), Gone> {
        let deadline = Instant::now() + limit;
        let mut changed = self.api.store.changes(&self.resource.table);
        let mut stopped = self.api.stopped.clone();
        let mut seen = match from {
            Some(revision) if !initial => revision,
            // Who wants none of what is there already begins now.
            None if self.query.has("sendInitialEvents") && !initial => self.api.store.revision(),
            _ => {
                let page = self.api.store.page(
                    &self.resource.table,
                    &self.selection.namespace,
                    None,
                    0,
                    |value| self.selection.picks(value),
                );
                for stored in &page.objects {
                    self.send("ADDED", stored).await?;
                }
                if initial && self.bookmarks {
                    self.bookmark(page.revision, true).await?;
                }
                page.revision
            }
        };
        let mut due = next_bookmark(deadline);
        loop {
            changed.borrow_and_update();
            let Ok((events, current)) = self.api.store.since(&self.resource.table, seen) else {
                let oldest = self.api.store.revision();
                let status =
                    Status::expired(format!("too old resource version: {seen} ({oldest})"));
                let event = json!({"type": "ERROR", "object": status.body()});
                return self.raw(&event).await;
            };
            for event in events {
                seen = event.revision;
                let before = event
                    .previous
                    .as_ref()
                    .is_some_and(|stored| self.selection.matches(&stored.value));
                let now =
                    event.change != Change::Deleted && self.selection.matches(&event.object.value);
                match (before, now) {
                    (false, true) => self.send("ADDED", &event.object).await?,
                    (true, true) => self.send("MODIFIED", &event.object).await?,
                    (true, false) if event.change == Change::Deleted => {
                        self.send("DELETED", &event.object).await?;
                    }
                    // It left the selection: the last state that was in it, at the revision of leaving.
                    (true, false) => {
                        if let Some(previous) = &event.previous {
                            let mut last = previous.value.clone();
                            let revision = event.revision.to_string();
                            object::set(&mut last, "metadata.resourceVersion", revision);
                            self.send("DELETED", &Stored::new(last, event.revision))
                                .await?;
                        }
                    }
                    (false, false) => {}
                }
            }
            seen = seen.max(current);
            tokio::select! {
                result = changed.changed() => if result.is_err() { return Ok(()) },
                () = tokio::time::sleep_until(due), if self.bookmarks => {
                    due = next_bookmark(deadline);
                    self.bookmark(seen, false).await?;
                }
                () = tokio::time::sleep_until(deadline) => return Ok(()),
                () = self.pieces.closed() => return Err(Gone),
                () = asked(&mut stopped) => return Ok(()),
            }
        }
    }

    async fn send(&mut self, kind: &str, stored: &Stored) -> std::result::Result<(), Gone> {
        match self.view {
            View::Plain => {
                let mut line = format!("{{\"type\":\"{kind}\",\"object\":").into_bytes();
                line.extend_from_slice(&json_of(&self.resource, stored));
                line.extend_from_slice(b"}\n");
                self.pieces.send(Bytes::from(line)).await.map_err(|_| Gone)
            }
            View::Table => {
                let value = external(&self.resource, &stored.value);
                let meta = json!({"resourceVersion": stored.revision.to_string()});
                let objects = [value];
                let table = table::many(&self.resource, &objects, meta, &self.query, !self.headed);
                self.headed = true;
                self.raw(&json!({"type": kind, "object": table})).await
            }
            View::Metadata | View::MetadataList => {
                let object = metadata(&external(&self.resource, &stored.value));
                self.raw(&json!({"type": kind, "object": object})).await
            }
        }
    }

    async fn bookmark(&mut self, revision: u64, end: bool) -> std::result::Result<(), Gone> {
        let mut object = match self.view {
            View::Metadata | View::MetadataList => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"})
            }
            // A table of an object that has nothing but a version.
            View::Table => {
                let object = json!({"metadata": {"resourceVersion": revision.to_string()}});
                let objects = [Cow::Borrowed(&object)];
                table::many(
                    &self.resource,
                    &objects,
                    json!({}),
                    &self.query,
                    !self.headed,
                )
            }
            View::Plain => {
                json!({"kind": self.resource.kind, "apiVersion": self.resource.api_version()})
            }
        };
        object["metadata"] = json!({"resourceVersion": revision.to_string()});
        self.headed |= self.view == View::Table;
        if end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        self.raw(&json!({"type": "BOOKMARK", "object": object}))
            .await
    }

    async fn raw(&mut self, event: &Value) -> std::result::Result<(), Gone> {
        let mut line = event.to_string().into_bytes();
        line.push(b'\n');
        self.pieces.send(Bytes::from(line)).await.map_err(|_| Gone)
    }
}
