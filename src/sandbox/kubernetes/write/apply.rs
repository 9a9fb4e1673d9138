//! Server-side apply: what is applied, and what comes of it.

use hyper::body::Bytes;
use serde_json::{Map, Value};

use super::super::apply::{self, Writer};
use super::super::read::external;
use super::super::request::Info;
use super::super::status::{Result, Status};
use super::super::{gojson, object, repeated, strategy, typed, warnings};
use super::body::yaml_text;
use super::create::{insert, place};
use super::update::modify;
use super::{Call, FieldValidation};

/// What does not fit after it was applied.
fn unconverted(result: Result<()>, call: &Call<'_>, sent: &(String, String)) -> Result<()> {
    result.map_err(|status| {
        let Some((_, rest)) = status.message.split_once(" cannot be handled as a ") else {
            return status;
        };
        let why = rest.split_once(": ").map_or(rest, |(_, why)| why);
        let resource = &call.resource;
        let kind = format!("{}/{}, Kind={}", resource.group, resource.version, resource.kind);
        Status::new(
            500,
            "",
            format!(
                "failed to convert new object ({}/{}; {kind}) to proper version: unable to convert unstructured object to {kind}: {why}",
                sent.0, sent.1
            ),
        )
    })
}

/// What is applied, when it is something that can be.
pub struct Configuration {
    config: Value,
    /// As it was sent, in order.
    said: Value,
    /// Its name and its namespace, as they were sent.
    sent: (String, String),
    /// A wrong name or namespace, which is found after everything else.
    misplaced: Option<Status>,
    /// What is said of what it gives twice.
    twice: Option<String>,
}

impl Configuration {
    /// Reads a configuration of the call's resource; `there` tells whether there is something that it is applied to.
    pub fn read(call: &Call<'_>, body: &Bytes, there: bool) -> Result<Configuration> {
        let resource = &call.resource;
        let (mut config, twice) = yaml_text(body)?;
        if !config.is_object() && !config.is_null() {
            let got = gojson::kind(&config);
            return Err(Status::bad_request(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {got} into Go value of type map[string]interface {{}}"
            )));
        }
        let mut said = config.clone();
        said.sort_all_objects();
        if !there && !call.info.subresource.is_empty() && !strategy::creates_on_update(resource) {
            return Err(Status::not_found(
                &resource.group,
                &resource.plural,
                &call.info.name,
            ));
        }
        let (version, kind) = (
            object::text(&config, "apiVersion"),
            object::text(&config, "kind"),
        );
        let expected = resource.api_version();
        if kind != resource.kind || version != expected {
            let slash = if version.contains('/') { "" } else { "/" };
            return Err(Status::bad_request(format!(
                "invalid object type: {slash}{version}, Kind={kind}"
            )));
        }
        if object::at(&config, "metadata.managedFields").is_some_and(|entries| {
            entries
                .as_array()
                .is_some_and(|entries| !entries.is_empty())
        }) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let sent = (
            object::namespace(&config).to_owned(),
            object::name(&config).to_owned(),
        );
        typed::check(resource.schema(), &config).map_err(|error| {
            let (namespace, name) = &sent;
            Status::new(
                500,
                "",
                format!(
                    "failed to create typed patch object ({namespace}/{name}; {}/{}, Kind={}): {error}",
                    resource.group, resource.version, resource.kind
                ),
            )
        })?;
        if !there && sent.1.is_empty() {
            return Err(Status::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                call.info.name
            )));
        }
        let unnamed =
            object::at(&config, "metadata.name").is_some_and(|name| name.is_null() || *name == "");
        let placed = place(call, &mut config);
        // Who says that it has no name takes its name away.
        let misplaced = match unnamed {
            true => Some(Status::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                call.info.name
            ))),
            false => placed.err(),
        };
        if misplaced.is_some() {
            object::set(&mut config, "metadata.name", call.info.name.as_str());
            if resource.namespaced {
                object::set(&mut config, "metadata.namespace", call.namespace());
            }
        }
        object::remove(&mut config, "metadata.creationTimestamp");
        if config["metadata"].get("managedFields").is_some() {
            object::remove(&mut config, "metadata.managedFields");
        }
        Ok(Configuration {
            config,
            said,
            sent,
            misplaced,
            twice: twice.then(|| repeated::in_yaml(body)).flatten(),
        })
    }

    /// Whether it says nothing else of what is not owned than the object does.
    fn is_of(&self, live: &Value) -> bool {
        let alike = |path: &str| {
            object::at(&self.config, path).is_none_or(|said| object::at(live, path) == Some(said))
        };
        self.misplaced.is_none()
            && ["metadata.resourceVersion", "metadata.uid"]
                .iter()
                .all(|path| alike(path))
    }

    /// What comes out when it is applied to an object, `Null` when there is none. Scales of custom resources are
    /// `unconvertible`: upstream finds no way to take what was changed in them.
    pub fn apply(&self, call: &mut Call<'_>, live: &Value, unconvertible: bool) -> Result<Value> {
        let resource = call.resource.clone();
        let api_version = resource.api_version();
        let writer = Writer {
            manager: &call.manager,
            api_version: &api_version,
            subresource: &call.info.subresource,
        };
        let force = call.info.query.flag("force");
        let reset = strategy::reset(&resource, &call.info.subresource);
        typed::check_live(resource.schema(), live).map_err(|error| {
            let (namespace, name) = (object::namespace(live), object::name(live));
            let kind = &resource.kind;
            let (group, version) = (&resource.group, &resource.version);
            Status::new(
                500,
                "",
                format!("failed to create typed live object ({namespace}/{name}; {group}/{version}, Kind={kind}): {error}"),
            )
        })?;
        let mut applied =
            apply::apply(resource.schema(), live, &self.config, &writer, reset, force)?;
        // Nulls of a custom resource's metadata are written and never read, so that each is a change.
        let metadata = applied["metadata"].as_object();
        let mut metadata = metadata.into_iter().flat_map(Map::values);
        call.nulls = resource.custom.is_some() && metadata.any(Value::is_null);
        if unconvertible && !(apply::same(live, &applied) && self.is_of(live)) {
            let (namespace, name) = &self.sent;
            return Err(Status::new(
                500,
                "",
                format!(
                    "failed to convert new object ({namespace}/{name}; {api_version}, Kind={}) to proper version: request to convert CR to an invalid group/version: {api_version}",
                    resource.kind
                ),
            ));
        }
        // What kubectl applied on its own side before is kept true.
        if call.manager == "kubectl" && object::annotation(&applied, apply::LAST_APPLIED).is_some()
        {
            applied["metadata"]["annotations"][apply::LAST_APPLIED] =
                format!("{}\n", self.said).into();
        }
        let fits = call.shape(&mut applied, false);
        unconverted(fits, call, &self.sent)?;
        if let Some(twice) = &self.twice {
            let said = format!("error converting YAML to JSON: {twice}");
            match call.validation {
                FieldValidation::Ignore => {}
                FieldValidation::Warn => call.warnings.extend(warnings::strict(&said)),
                FieldValidation::Strict => {
                    let why = format!("error strict decoding YAML: {said}");
                    return Err(Status::bad_request(why));
                }
            }
        }
        let uid = object::uid(&applied);
        if live.is_null() && !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            let (group, plural) = (&resource.group, &resource.plural);
            return Err(Status::conflict(group, plural, &call.info.name, &why));
        }
        if let Some(misplaced) = &self.misplaced {
            return Err(misplaced.clone());
        }
        Ok(applied)
    }
}

/// Answers a server-side apply.
pub(super) async fn apply_patch(call: &mut Call<'_>, body: &Bytes) -> Result<(u16, Value)> {
    let resource = call.resource.clone();
    call.applying = true;
    let there = call
        .api
        .store
        .get(&resource.table, call.namespace(), &call.info.name)
        .is_some();
    let config = Configuration::read(call, body, there)?;
    if !there {
        let object = config.apply(call, &Value::Null, false)?;
        match insert(call, object).await {
            // Somebody else made it in the meantime: then it is a change.
            Err(status) if status.reason == "AlreadyExists" => {}
            result => return result.map(|value| (201, value)),
        }
    }
    let info = Info {
        verb: "apply",
        ..call.info.clone()
    };
    let mut change = Call {
        info: &info,
        ..call.clone()
    };
    let result = modify(&mut change, &mut |call, old| {
        call.pruned = false;
        config.apply(call, &external(&resource, old), false)
    })
    .await;
    call.warnings = std::mem::take(&mut change.warnings);
    Ok((200, external(&resource, &result?).into_owned()))
}
