//! Images: manifests and the tags on them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Call, Fault, Repository, find, key, layers, name, no_repository, page, refuse, seconds,
};
use crate::sandbox::clock::Millis;
use crate::sandbox::registry::manifest::Manifest;
use crate::sandbox::registry::store::{Blobs, digest};
use crate::sandbox::state::{self, World};

/// The largest manifest.
const MANIFEST: usize = 4 << 20;

/// An image of a repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    /// Of its manifest.
    pub media_type: String,
    /// Of an artifact's config, if it is one.
    pub artifact_type: Option<String>,
    /// The blobs and manifests that it refers to.
    pub references: Vec<String>,
    /// All its blobs together.
    pub size: u64,
    /// When it was pushed.
    pub pushed_at: Millis,
}

/// The outcome of a push.
pub struct Stored {
    /// The manifest's digest.
    pub digest: String,
    /// Whether the image and the tag were there already.
    pub unchanged: bool,
}

/// Takes a manifest into a repository.
///
/// # Errors
/// The faults of `PutImage`.
pub fn put(
    state: &mut state::State,
    world: &World,
    repository: (&str, &str),
    manifest: &[u8],
    media_type: Option<&str>,
    tag: Option<&str>,
) -> Result<Stored, Fault> {
    let (region, name) = repository;
    if manifest.len() > MANIFEST {
        return Err(refuse(
            "InvalidParameterException",
            "The manifest is too large",
        ));
    }
    let read = Manifest::read(manifest, media_type).map_err(|reason| {
        tracing::debug!("a manifest for {name} is refused: {reason}");
        // What ECR says of whatever is wrong with a manifest.
        refuse(
            "InvalidParameterException",
            "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'",
        )
    })?;
    let digest = digest(manifest);
    let now = world.clock.now();
    let absent = |what: &str, digests: &[&str]| {
        format!(
            "{what} with digests '[{}]' required for pushing image into repository with name '{name}' in the registry with \
             id '{}' do not exist",
            digests.join(", "),
            world.account
        )
    };
    let repository = state
        .ecr
        .repositories
        .get_mut(&key(region, name))
        .ok_or_else(|| no_repository(name, &world.account))?;
    if let Some(tag) = tag {
        if !is_tag(tag) {
            return Err(refuse(
                "InvalidParameterException",
                format!(
                    "Invalid parameter at 'imageTag' failed to satisfy constraint: '{tag}' is not a valid tag"
                ),
            ));
        }
        if let Some(known) = repository.image_tags.get(tag)
            && *known != digest
            && repository.is_immutable(tag)
        {
            return Err(refuse(
                "ImageTagAlreadyExistsException",
                format!(
                    "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because \
                     the tag is immutable."
                ),
            ));
        }
    }
    let lost: Vec<&str> = read
        .blobs
        .iter()
        .filter(|blob| !repository.layers.contains_key(*blob))
        .map(String::as_str)
        .collect();
    if !lost.is_empty() {
        return Err(refuse("LayersNotFoundException", absent("Layers", &lost)));
    }
    let lost: Vec<&str> = read
        .manifests
        .iter()
        .filter(|image| !repository.images.contains_key(*image))
        .map(String::as_str)
        .collect();
    if !lost.is_empty() {
        return Err(refuse(
            "ReferencedImagesNotFoundException",
            absent("Images", &lost),
        ));
    }
    let size = |digest: &String| repository.layers.get(digest).copied().unwrap_or(0);
    let size = read.blobs.iter().map(size).sum();
    let unchanged = repository.images.contains_key(&digest)
        && tag.is_none_or(|tag| repository.image_tags.get(tag) == Some(&digest));
    if let Err(error) = Blobs::of(world).put(manifest) {
        return Err(Fault::new(500, "ServerException", error.to_string()));
    }
    repository.images.entry(digest.clone()).or_insert(Image {
        media_type: read.media_type,
        artifact_type: read.artifact_type,
        references: read.blobs.into_iter().chain(read.manifests).collect(),
        size,
        pushed_at: now,
    });
    if let Some(tag) = tag {
        repository.image_tags.insert(tag.to_owned(), digest.clone());
    }
    Ok(Stored { digest, unchanged })
}

/// What goes with a deletion: the tag, if it had one, and the digest.
pub type Gone = Vec<(Option<String>, String)>;

/// The code and the reason of a failure of `BatchDeleteImage`.
pub type Failure = (&'static str, &'static str);

/// Takes a tag off an image, or an image with all its tags away; the answer is what went, `(tag, digest)`.
///
/// # Errors
/// `ImageNotFound`, or `ImageReferencedByManifestList`: the codes of a failure of `BatchDeleteImage`.
pub fn delete(
    repository: &mut Repository,
    digest: Option<&str>,
    tag: Option<&str>,
) -> Result<Gone, Failure> {
    const MISSING: Failure = ("ImageNotFound", "Requested image not found");
    if let Some(tag) = tag {
        let known = repository.image_tags.get(tag).cloned().ok_or(MISSING)?;
        if digest.is_some_and(|digest| digest != known) {
            return Err((
                "ImageTagDoesNotMatchDigest",
                "The tag does not match the digest",
            ));
        }
        let others = repository
            .image_tags
            .iter()
            .any(|(other, digest)| other != tag && *digest == known);
        if !others {
            is_referenced(repository, &known)?;
            repository.images.remove(&known);
        }
        repository.image_tags.remove(tag);
        return Ok(vec![(Some(tag.to_owned()), known)]);
    }
    let digest = digest.ok_or(("MissingDigestAndTag", "Missing digest and tag"))?;
    if !repository.images.contains_key(digest) {
        return Err(MISSING);
    }
    is_referenced(repository, digest)?;
    repository.images.remove(digest);
    let tags: Vec<String> = repository
        .image_tags
        .iter()
        .filter(|(_, known)| *known == digest)
        .map(|(tag, _)| tag.clone())
        .collect();
    repository.image_tags.retain(|_, known| known != digest);
    if tags.is_empty() {
        return Ok(vec![(None, digest.to_owned())]);
    }
    Ok(tags
        .into_iter()
        .map(|tag| (Some(tag), digest.to_owned()))
        .collect())
}

fn is_referenced(repository: &Repository, digest: &str) -> Result<(), Failure> {
    if repository
        .images
        .values()
        .any(|image| image.references.iter().any(|known| known == digest))
    {
        return Err((
            "ImageReferencedByManifestList",
            "Requested image referenced by manifest list",
        ));
    }
    Ok(())
}

fn is_tag(tag: &str) -> bool {
    let mut letters = tag.chars();
    tag.len() <= 128
        && letters
            .next()
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn tags_of(repository: &Repository) -> BTreeMap<&str, Vec<&str>> {
    let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tag, digest) in &repository.image_tags {
        tags.entry(digest).or_default().push(tag);
    }
    tags
}

fn not_found(call: &Call<'_>, id: &Value) -> Fault {
    let text = |member: &str| id[member].as_str().unwrap_or("null");
    refuse(
        "ImageNotFoundException",
        format!(
            "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the repository with name \
             '{}' in the registry with id '{}'",
            text("imageDigest"),
            text("imageTag"),
            name(call),
            call.world.account
        ),
    )
}

/// The digest that an `imageId` means.
fn resolve(repository: &Repository, id: &Value) -> Option<String> {
    let digest = match id["imageTag"].as_str() {
        Some(tag) => repository.image_tags.get(tag)?.clone(),
        None => id["imageDigest"].as_str()?.to_owned(),
    };
    let consistent = id["imageDigest"]
        .as_str()
        .is_none_or(|given| given == digest);
    (consistent && repository.images.contains_key(&digest)).then_some(digest)
}

fn wanted_by(filter: &Value, tagged: bool) -> bool {
    match filter["tagStatus"].as_str() {
        Some("TAGGED") => tagged,
        Some("UNTAGGED") => !tagged,
        _ => true,
    }
}

/// `DescribeImages`.
pub fn describe(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    let ids = call.input["imageIds"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut digests = Vec::new();
    for id in &ids {
        digests.push(resolve(repository, id).ok_or_else(|| not_found(call, id))?);
    }
    let tags = tags_of(repository);
    let details: Vec<Value> = repository
        .images
        .iter()
        .filter(|(digest, _)| ids.is_empty() || digests.contains(digest))
        .filter(|(digest, _)| wanted_by(&call.input["filter"], tags.contains_key(digest.as_str())))
        .map(|(digest, image)| {
            let scanned = repository.scan_on_push && !image.references.is_empty();
            json!({
                "registryId": &*call.world.account,
                "repositoryName": repository.name,
                "imageDigest": digest,
                "imageTags": tags.get(digest.as_str()),
                "imageSizeInBytes": image.size,
                "imagePushedAt": seconds(image.pushed_at),
                "imageScanStatus": scanned.then(|| json!({
                    "status": "COMPLETE", "description": "The scan was completed successfully." })),
                "imageScanFindingsSummary": scanned.then(|| json!({
                    "imageScanCompletedAt": seconds(image.pushed_at), "findingSeverityCounts": {} })),
                "imageManifestMediaType": image.media_type,
                "artifactMediaType": image.artifact_type,
            })
        })
        .collect();
    let (details, next) = page(call, details)?;
    Ok(json!({ "imageDetails": details, "nextToken": next }))
}

/// `DescribeImageScanFindings`: the sandbox's images have no findings.
pub fn findings(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    let id = &call.input["imageId"];
    let digest = resolve(repository, id).ok_or_else(|| not_found(call, id))?;
    if !repository.scan_on_push {
        return Err(refuse(
            "ScanNotFoundException",
            format!("Image scan does not exist for the image with '{digest}'"),
        ));
    }
    let pushed_at = repository
        .images
        .get(&digest)
        .map_or(0, |image| image.pushed_at);
    Ok(json!({
        "registryId": &*call.world.account,
        "repositoryName": repository.name,
        "imageId": { "imageDigest": digest },
        "imageScanStatus": { "status": "COMPLETE", "description": "The scan was completed successfully." },
        "imageScanFindings": {
            "findings": [],
            "imageScanCompletedAt": seconds(pushed_at),
            "findingSeverityCounts": {},
        },
    }))
}

/// `ListImages`.
pub fn list(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    let tags = tags_of(repository);
    let mut ids = Vec::new();
    for digest in repository.images.keys() {
        match tags.get(digest.as_str()) {
            Some(tags) if wanted_by(&call.input["filter"], true) => {
                ids.extend(
                    tags.iter()
                        .map(|tag| json!({ "imageDigest": digest, "imageTag": tag })),
                );
            }
            None if wanted_by(&call.input["filter"], false) => {
                ids.push(json!({ "imageDigest": digest }));
            }
            _ => {}
        }
    }
    let (ids, next) = page(call, ids)?;
    Ok(json!({ "imageIds": ids, "nextToken": next }))
}

/// `BatchGetImage`.
pub fn batch_get(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    let blobs = Blobs::of(call.world);
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in call.input["imageIds"].as_array().into_iter().flatten() {
        let read = resolve(repository, id).and_then(|digest| {
            let text = String::from_utf8(blobs.read(&digest).ok()?).ok()?;
            let media_type = &repository.images.get(&digest)?.media_type;
            Some(json!({
                "registryId": &*call.world.account,
                "repositoryName": repository.name,
                "imageId": { "imageDigest": digest, "imageTag": id["imageTag"] },
                "imageManifest": text,
                "imageManifestMediaType": media_type,
            }))
        });
        match read {
            Some(image) => images.push(image),
            None => failures.push(json!({
                "imageId": id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found" })),
        }
    }
    Ok(json!({ "images": images, "failures": failures }))
}

/// `BatchDeleteImage`.
pub fn batch_delete(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for id in call.input["imageIds"].as_array().into_iter().flatten() {
        match delete(
            repository,
            id["imageDigest"].as_str(),
            id["imageTag"].as_str(),
        ) {
            Ok(gone) => {
                for (tag, digest) in gone {
                    deleted.push(json!({ "imageDigest": digest, "imageTag": tag }));
                }
            }
            Err((code, reason)) => failures.push(json!({
                "imageId": id, "failureCode": code, "failureReason": reason })),
        }
    }
    layers::prune(state, call.world, &key(call.region, name(call)));
    Ok(json!({ "imageIds": deleted, "failures": failures }))
}

/// `PutImage`.
pub fn put_image(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let manifest = call.input["imageManifest"].as_str().unwrap_or_default();
    let tag = call.input["imageTag"].as_str();
    if let Some(wanted) = call.input["imageDigest"].as_str()
        && wanted != digest(manifest.as_bytes())
    {
        return Err(refuse(
            "ImageDigestDoesNotMatchException",
            "The specified image digest does not match the digest of the manifest",
        ));
    }
    let media_type = call.input["imageManifestMediaType"].as_str();
    let stored = put(
        state,
        call.world,
        (call.region, name(call)),
        manifest.as_bytes(),
        media_type,
        tag,
    )?;
    if stored.unchanged {
        return Err(refuse(
            "ImageAlreadyExistsException",
            format!(
                "Image with digest '{}' and tag '{}' already exists in the repository with name '{}' in registry with id \
                 '{}'",
                stored.digest,
                tag.unwrap_or("null"),
                name(call),
                call.world.account
            ),
        ));
    }
    Ok(json!({ "image": {
        "registryId": &*call.world.account,
        "repositoryName": name(call),
        "imageId": { "imageDigest": stored.digest, "imageTag": tag },
        "imageManifest": manifest,
    }}))
}
