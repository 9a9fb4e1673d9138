//! Layers, and uploads in parts, as the API (not the registry's protocol) offers them.

use std::collections::BTreeSet;
use std::io::Write;

use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Call, Fault, find, key, name, refuse};
use crate::sandbox::registry::store::{Blobs, CommitError};
use crate::sandbox::state::{self, World};

/// What `InitiateLayerUpload` asks parts to be of.
const PART: u64 = 20 << 20;

/// An upload that goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upload {
    /// The key of the repository.
    pub repository: String,
    /// How many bytes have come.
    pub received: u64,
}

/// Begins an upload into a repository; the answer is its id.
pub fn begin(state: &mut state::State, repository: &str) -> String {
    let id = state.unique_uuid();
    state.ecr.uploads.insert(
        id.clone(),
        Upload {
            repository: repository.to_owned(),
            received: 0,
        },
    );
    id
}

/// Removes the files of blobs that no repository has.
pub fn discard<'a>(state: &state::State, world: &World, digests: impl Iterator<Item = &'a String>) {
    let blobs = Blobs::of(world);
    for digest in digests {
        let used = state.ecr.repositories.values().any(|repository| {
            repository.layers.contains_key(digest) || repository.images.contains_key(digest)
        });
        if !used {
            blobs.remove(digest);
        }
    }
}

/// Forgets the blobs of a repository that no image of it refers to any more.
pub fn prune(state: &mut state::State, world: &World, repository: &str) {
    let Some(known) = state.ecr.repositories.get_mut(repository) else {
        return;
    };
    let used: BTreeSet<String> = known
        .images
        .values()
        .flat_map(|image| image.references.iter().cloned())
        .collect();
    let gone: Vec<String> = known
        .layers
        .keys()
        .filter(|digest| !used.contains(*digest))
        .cloned()
        .collect();
    for digest in &gone {
        known.layers.remove(digest);
    }
    discard(state, world, gone.iter());
}

/// `BatchCheckLayerAvailability`.
pub fn check(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    let layers: Vec<Value> = call.input["layerDigests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|digest| match repository.layers.get(digest) {
            Some(size) => json!({
                "layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": size,
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip" }),
            None => json!({ "layerDigest": digest, "layerAvailability": "UNAVAILABLE" }),
        })
        .collect();
    Ok(json!({ "layers": layers, "failures": [] }))
}

/// `InitiateLayerUpload`.
pub fn initiate(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    find(state, call)?;
    let id = begin(state, &key(call.region, name(call)));
    Ok(json!({ "uploadId": id, "partSize": PART }))
}

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::new(500, "ServerException", error.to_string())
}

fn upload<'a>(
    state: &'a mut state::State,
    call: &Call<'_>,
) -> Result<(&'a mut Upload, String), Fault> {
    find(state, call)?;
    let id = call.input["uploadId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let repository = key(call.region, name(call));
    match state.ecr.uploads.get_mut(&id) {
        Some(upload) if upload.repository == repository => Ok((upload, id)),
        _ => Err(refuse(
            "UploadNotFoundException",
            format!(
                "The upload with id '{id}' does not exist in the repository with name '{}'",
                name(call)
            ),
        )),
    }
}

/// `UploadLayerPart`.
pub fn part(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let (upload, id) = upload(state, call)?;
    let number = |member: &str| call.input[member].as_u64().unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(call.input["layerPartBlob"].as_str().unwrap_or_default())
        .map_err(|_| refuse("InvalidParameterException", "layerPartBlob is not base64"))?;
    let (first, last) = (number("partFirstByte"), number("partLastByte"));
    if first != upload.received || last + 1 != first + bytes.len() as u64 {
        let mut fault = refuse(
            "InvalidLayerPartException",
            format!(
                "The part must begin at byte {} and end with its last byte",
                upload.received
            ),
        );
        if let Some(last) = upload.received.checked_sub(1) {
            fault = fault.with("lastValidByteReceived", last);
        }
        return Err(fault);
    }
    let path = Blobs::of(call.world).upload(&id).map_err(broken)?;
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(&bytes))
        .map_err(broken)?;
    upload.received = last + 1;
    Ok(json!({
        "registryId": &*call.world.account,
        "repositoryName": name(call),
        "uploadId": id,
        "lastByteReceived": last,
    }))
}

/// `CompleteLayerUpload`.
pub fn complete(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let (upload, id) = upload(state, call)?;
    if upload.received == 0 {
        return Err(refuse("EmptyUploadException", "The upload has no parts"));
    }
    let size = upload.received;
    let digest = call.input["layerDigests"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if find(state, call)?.layers.contains_key(&digest) {
        return Err(refuse(
            "LayerAlreadyExistsException",
            format!(
                "The layer {digest} already exists in the repository with name '{}'",
                name(call)
            ),
        ));
    }
    match Blobs::of(call.world).commit(&id, &digest) {
        Ok(()) => {}
        Err(CommitError::Digest) => {
            return Err(refuse(
                "InvalidLayerException",
                format!("The layer digest {digest} does not match what was uploaded"),
            ));
        }
        Err(CommitError::File(error)) => return Err(broken(error)),
    }
    state.ecr.uploads.remove(&id);
    find(state, call)?.layers.insert(digest.clone(), size);
    Ok(json!({
        "registryId": &*call.world.account,
        "repositoryName": name(call),
        "uploadId": id,
        "layerDigest": digest,
    }))
}

/// `GetDownloadUrlForLayer`: an address of the registry that needs no further permission for an hour.
pub fn download_url(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let digest = call.input["layerDigest"].as_str().unwrap_or_default();
    let repository = find(state, call)?;
    if !repository.layers.contains_key(digest) {
        return Err(refuse(
            "LayersNotFoundException",
            format!(
                "The layer with digest '{digest}' does not exist in the repository with name '{}'",
                name(call)
            ),
        ));
    }
    let url = Blobs::of(call.world)
        .share(digest, call.world.clock.now() + 3_600_000)
        .map_err(broken)?;
    Ok(json!({
        "downloadUrl": format!("http://{}{url}", call.world.ecr_host),
        "layerDigest": digest,
    }))
}
