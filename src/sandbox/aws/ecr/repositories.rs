//! Repositories and their settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Call, Fault, Image, arn, bad, find, key, name, no_repository, page, refuse, seconds};
use crate::sandbox::aws::iam::policy::{Document, Kind};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{self, World};

/// Repositories per region (`L-CFEB8E8D` is 100 000; this is only to stop a runaway).
const QUOTA: usize = 100_000;

/// A repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Repository {
    /// `meshctl-demo/backend`.
    pub name: String,
    /// The region.
    pub region: String,
    /// Its ARN.
    pub arn: String,
    /// Creation.
    pub created_at: Millis,
    /// `MUTABLE`, `IMMUTABLE`, or either `…_WITH_EXCLUSION`.
    pub mutability: String,
    /// The exclusion filters of the latter two, as given.
    pub exclusions: Value,
    /// Whether images are scanned when they are pushed.
    pub scan_on_push: bool,
    /// As given; AES256 by default.
    pub encryption: Value,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The repository policy.
    pub policy: Option<String>,
    /// The lifecycle policy, and when it was last set.
    pub lifecycle: Option<(String, Millis)>,
    /// Images by digest.
    pub images: BTreeMap<String, Image>,
    /// Digests by image tag.
    pub image_tags: BTreeMap<String, String>,
    /// Sizes of the blobs it has, by digest.
    pub layers: BTreeMap<String, u64>,
}

impl Repository {
    /// Whether a tag, once there, stays on its image.
    pub fn is_immutable(&self, tag: &str) -> bool {
        let excluded = self
            .exclusions
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|filter| filter["filter"].as_str())
            .any(|pattern| crate::sandbox::aws::iam::policy::glob(pattern, tag));
        match self.mutability.as_str() {
            "IMMUTABLE" => true,
            "IMMUTABLE_WITH_EXCLUSION" => !excluded,
            "MUTABLE_WITH_EXCLUSION" => excluded,
            _ => false,
        }
    }

    fn describe(&self, world: &World) -> Value {
        json!({
            "repositoryArn": self.arn,
            "registryId": &*world.account,
            "repositoryName": self.name,
            "repositoryUri": format!("{}/{}", world.ecr_host, self.name),
            "createdAt": seconds(self.created_at),
            "imageTagMutability": self.mutability,
            "imageTagMutabilityExclusionFilters": self.exclusions,
            "imageScanningConfiguration": { "scanOnPush": self.scan_on_push },
            "encryptionConfiguration": self.encryption,
        })
    }
}

fn read_tags(call: &Call<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let mut tags = BTreeMap::new();
    for tag in call.input["tags"].as_array().into_iter().flatten() {
        let text = |member: &str| tag[member].as_str().unwrap_or_default().to_owned();
        let key = text("Key");
        if key.is_empty() || key.len() > 128 || text("Value").len() > 256 {
            return Err(refuse("InvalidTagParameterException", "Invalid tag"));
        }
        if key.starts_with("aws:") {
            return Err(refuse(
                "InvalidTagParameterException",
                "Tag keys must not begin with aws:",
            ));
        }
        if tags.insert(key, text("Value")).is_some() {
            return Err(refuse("InvalidTagParameterException", "Duplicate tag keys"));
        }
    }
    check_count(&tags)?;
    Ok(tags)
}

fn check_count(tags: &BTreeMap<String, String>) -> Result<(), Fault> {
    if tags.len() > 50 {
        return Err(refuse(
            "TooManyTagsException",
            "A repository can have at most 50 tags",
        ));
    }
    Ok(())
}

/// `CreateRepository`.
pub fn create(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, account) = (name(call).to_owned(), &call.world.account);
    let tags = read_tags(call)?;
    let id = key(call.region, &name);
    if state.ecr.repositories.contains_key(&id) {
        return Err(refuse(
            "RepositoryAlreadyExistsException",
            format!(
                "The repository with name '{name}' already exists in the registry with id '{account}'"
            ),
        ));
    }
    if state.ecr.repositories.len() >= QUOTA {
        return Err(refuse("LimitExceededException", "Too many repositories"));
    }
    let input = call.input;
    let mut encryption = input["encryptionConfiguration"].clone();
    match encryption["encryptionType"].as_str() {
        None => encryption = json!({ "encryptionType": "AES256" }),
        Some("KMS" | "KMS_DSSE") if encryption["kmsKey"].is_null() => {
            encryption["kmsKey"] = json!(format!(
                "arn:aws:kms:{}:{account}:alias/aws/ecr",
                call.region
            ));
        }
        Some(_) => {}
    }
    let mutability = input["imageTagMutability"].as_str().unwrap_or("MUTABLE");
    let exclusions = exclusions(call, mutability)?;
    let repository = Repository {
        arn: arn(call, &name),
        region: call.region.to_owned(),
        created_at: call.world.clock.now(),
        mutability: mutability.to_owned(),
        exclusions,
        scan_on_push: input["imageScanningConfiguration"]["scanOnPush"] == true,
        encryption,
        tags,
        policy: None,
        lifecycle: None,
        images: BTreeMap::new(),
        image_tags: BTreeMap::new(),
        layers: BTreeMap::new(),
        name,
    };
    let answer = json!({ "repository": repository.describe(call.world) });
    state.ecr.repositories.insert(id, repository);
    Ok(answer)
}

fn exclusions(call: &Call<'_>, mutability: &str) -> Result<Value, Fault> {
    let given = &call.input["imageTagMutabilityExclusionFilters"];
    if given.is_null() == mutability.ends_with("_WITH_EXCLUSION") {
        return Err(bad(
            "imageTagMutabilityExclusionFilters",
            "must be given exactly with a mutability that has exclusions",
        ));
    }
    Ok(given.clone())
}

/// `DescribeRepositories`.
pub fn describe(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let names: Vec<&str> = call.input["repositoryNames"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut found = Vec::new();
    for name in &names {
        let repository = state.ecr.repositories.get(&key(call.region, name));
        let repository = repository.ok_or_else(|| no_repository(name, &call.world.account))?;
        found.push(repository.describe(call.world));
    }
    if names.is_empty() {
        found = state
            .ecr
            .repositories
            .values()
            .filter(|repository| repository.region == call.region)
            .map(|repository| repository.describe(call.world))
            .collect();
    }
    let (repositories, next) = page(call, found)?;
    Ok(json!({ "repositories": repositories, "nextToken": next }))
}

/// `DeleteRepository`. Its blobs' files go when no repository has them any more.
pub fn delete(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    if !repository.images.is_empty() && call.input["force"] != true {
        return Err(refuse(
            "RepositoryNotEmptyException",
            format!(
                "The repository with name '{}' in registry with id '{}' cannot be deleted because it still contains images",
                repository.name, call.world.account
            ),
        ));
    }
    let mut answer = json!({ "repository": repository.describe(call.world) });
    // The answer of a deletion has only what identifies the repository.
    if let Some(members) = answer["repository"].as_object_mut() {
        members.retain(|member, _| {
            !matches!(
                member.as_str(),
                "imageScanningConfiguration" | "encryptionConfiguration"
            )
        });
    }
    let id = key(call.region, name(call));
    if let Some(gone) = state.ecr.repositories.remove(&id) {
        super::layers::discard(
            state,
            call.world,
            gone.layers.keys().chain(gone.images.keys()),
        );
    }
    state
        .ecr
        .uploads
        .retain(|_, upload| upload.repository != id);
    Ok(answer)
}

/// `PutImageTagMutability`.
pub fn set_mutability(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let mutability = call.input["imageTagMutability"]
        .as_str()
        .unwrap_or("MUTABLE");
    let exclusions = exclusions(call, mutability)?;
    let repository = find(state, call)?;
    repository.mutability = mutability.to_owned();
    repository.exclusions = exclusions.clone();
    Ok(json!({
        "registryId": &*call.world.account,
        "repositoryName": repository.name,
        "imageTagMutability": repository.mutability,
        "imageTagMutabilityExclusionFilters": exclusions,
    }))
}

/// `PutImageScanningConfiguration`.
pub fn set_scanning(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    repository.scan_on_push = call.input["imageScanningConfiguration"]["scanOnPush"] == true;
    Ok(json!({
        "registryId": &*call.world.account,
        "repositoryName": repository.name,
        "imageScanningConfiguration": { "scanOnPush": repository.scan_on_push },
    }))
}

/// `SetRepositoryPolicy`.
pub fn set_policy(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let text = call.input["policyText"].as_str().unwrap_or_default();
    Document::parse(text, Kind::Resource).map_err(|reason| {
        bad(
            "PolicyText",
            &format!("Invalid repository policy provided: {reason}"),
        )
    })?;
    let repository = find(state, call)?;
    repository.policy = Some(text.to_owned());
    Ok(json!({
        "registryId": &*call.world.account,
        "repositoryName": repository.name,
        "policyText": text,
    }))
}

/// `GetRepositoryPolicy` and `DeleteRepositoryPolicy`.
pub fn policy(state: &mut state::State, call: &Call<'_>, delete: bool) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    let Some(text) = repository.policy.clone() else {
        return Err(refuse(
            "RepositoryPolicyNotFoundException",
            format!(
                "Repository policy does not exist for the repository with name '{}' in the registry with id '{}'",
                repository.name, call.world.account
            ),
        ));
    };
    if delete {
        repository.policy = None;
    }
    Ok(json!({
        "registryId": &*call.world.account,
        "repositoryName": repository.name,
        "policyText": text,
    }))
}

fn by_arn<'a>(state: &'a mut state::State, call: &Call<'_>) -> Result<&'a mut Repository, Fault> {
    let wanted = call.input["resourceArn"].as_str().unwrap_or_default();
    let name = wanted.split_once(":repository/").map(|(_, name)| name);
    let Some(name) = name.filter(|name| arn(call, name) == wanted) else {
        return Err(bad("resourceArn", "must be a valid ECR repository ARN"));
    };
    state
        .ecr
        .repositories
        .get_mut(&key(call.region, name))
        .ok_or_else(|| no_repository(name, &call.world.account))
}

/// `TagResource`.
pub fn tag(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let new = read_tags(call)?;
    let repository = by_arn(state, call)?;
    let mut tags = repository.tags.clone();
    tags.extend(new);
    check_count(&tags)?;
    repository.tags = tags;
    Ok(json!({}))
}

/// `UntagResource`.
pub fn untag(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    for key in call.input["tagKeys"].as_array().into_iter().flatten() {
        by_arn(state, call)?
            .tags
            .remove(key.as_str().unwrap_or_default());
    }
    Ok(json!({}))
}

/// `ListTagsForResource`.
pub fn tags(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let tags: Vec<Value> = by_arn(state, call)?
        .tags
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    Ok(json!({ "tags": tags }))
}
