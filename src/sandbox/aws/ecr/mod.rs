//! ECR: repositories, what is in them, and the tokens with which the registry ([`crate::sandbox::registry`]) lets one in.
//! Blobs and manifests are files, named by their digest; the state holds which repository has which.

mod images;
mod layers;
mod lifecycle;
mod repositories;
mod tokens;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shapes::Violation;
use super::{Call, Check, Fault, Operation, Protocol, Service};
use crate::sandbox::state;

pub use images::{Image, Stored, delete, put};
pub use layers::Upload;
pub use repositories::Repository;
pub use tokens::Token;

/// The service's part of the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// By [`key`].
    pub repositories: BTreeMap<String, Repository>,
    /// Authorization tokens by password.
    pub tokens: BTreeMap<String, Token>,
    /// Uploads that are going on, by id.
    pub uploads: BTreeMap<String, Upload>,
}

/// The key of a repository in the state.
pub fn key(region: &str, name: &str) -> String {
    format!("{region}/{name}")
}

/// ECR.
pub struct Ecr;

macro_rules! operations {
    ($($name:literal),* $(,)?) => {
        &[$(Operation { name: $name, method: "", path: "" }),*]
    };
}

const OPERATIONS: &[Operation] = operations![
    "BatchCheckLayerAvailability",
    "BatchDeleteImage",
    "BatchGetImage",
    "CompleteLayerUpload",
    "CreateRepository",
    "DeleteLifecyclePolicy",
    "DeleteRepository",
    "DeleteRepositoryPolicy",
    "DescribeImageScanFindings",
    "DescribeImages",
    "DescribeRegistry",
    "DescribeRepositories",
    "GetAuthorizationToken",
    "GetDownloadUrlForLayer",
    "GetLifecyclePolicy",
    "GetRepositoryPolicy",
    "InitiateLayerUpload",
    "ListImages",
    "ListTagsForResource",
    "PutImage",
    "PutImageScanningConfiguration",
    "PutImageTagMutability",
    "PutLifecyclePolicy",
    "SetRepositoryPolicy",
    "TagResource",
    "UntagResource",
    "UploadLayerPart",
];

impl Service for Ecr {
    fn signing_name(&self) -> &'static str {
        "ecr"
    }

    fn protocol(&self) -> Protocol {
        Protocol::Json
    }

    fn version(&self) -> &'static str {
        "2015-09-21"
    }

    fn namespace(&self) -> &'static str {
        "AmazonEC2ContainerRegistry_V20150921"
    }

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn resource(&self, call: &Call<'_>) -> String {
        if let Some(arn) = call.input["resourceArn"].as_str() {
            return arn.to_owned();
        }
        match call.input["repositoryName"].as_str() {
            Some(name) => arn(call, name),
            None => "*".to_owned(),
        }
    }

    fn checks(&self, state: &state::State, call: &Call<'_>) -> Vec<Check> {
        let resource = self.resource(call);
        let known = state.ecr.repositories.get(&key(call.region, name(call)));
        let tags = known.into_iter().flat_map(|repository| &repository.tags);
        let action = format!("ecr:{}", call.operation);
        let mut checks = vec![Check::new(action, resource.clone()).tagged(tags)];
        if call.operation == "CreateRepository" && call.input["tags"].is_array() {
            checks.push(Check::new("ecr:TagResource", resource));
        }
        checks
    }

    fn invalid(&self, _operation: &str, first: &Violation, _all: &[Violation]) -> Fault {
        bad(&first.path, &first.constraint)
    }

    fn handle(&self, state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
        let registry = call.input["registryId"].as_str();
        if let Some(registry) = registry
            && registry != &*call.world.account
        {
            return Err(refuse(
                "RepositoryNotFoundException",
                format!("The registry with id '{registry}' does not exist"),
            ));
        }
        match call.operation {
            "CreateRepository" => repositories::create(state, call),
            "DescribeRepositories" => repositories::describe(state, call),
            "DeleteRepository" => repositories::delete(state, call),
            "PutImageTagMutability" => repositories::set_mutability(state, call),
            "PutImageScanningConfiguration" => repositories::set_scanning(state, call),
            "SetRepositoryPolicy" => repositories::set_policy(state, call),
            "GetRepositoryPolicy" => repositories::policy(state, call, false),
            "DeleteRepositoryPolicy" => repositories::policy(state, call, true),
            "PutLifecyclePolicy" => lifecycle::set(state, call),
            "GetLifecyclePolicy" => lifecycle::get(state, call, false),
            "DeleteLifecyclePolicy" => lifecycle::get(state, call, true),
            "TagResource" => repositories::tag(state, call),
            "UntagResource" => repositories::untag(state, call),
            "ListTagsForResource" => repositories::tags(state, call),
            "GetAuthorizationToken" => tokens::issue(state, call),
            "DescribeImages" => images::describe(state, call),
            "ListImages" => images::list(state, call),
            "BatchGetImage" => images::batch_get(state, call),
            "BatchDeleteImage" => images::batch_delete(state, call),
            "PutImage" => images::put_image(state, call),
            "DescribeImageScanFindings" => images::findings(state, call),
            "BatchCheckLayerAvailability" => layers::check(state, call),
            "InitiateLayerUpload" => layers::initiate(state, call),
            "UploadLayerPart" => layers::part(state, call),
            "CompleteLayerUpload" => layers::complete(state, call),
            "GetDownloadUrlForLayer" => layers::download_url(state, call),
            "DescribeRegistry" => Ok(json!({
                "registryId": &*call.world.account,
                "replicationConfiguration": { "rules": [] },
            })),
            name => Err(refuse(
                "UnknownOperationException",
                format!("the sandbox's ECR has no operation {name}"),
            )),
        }
    }
}

fn arn(call: &Call<'_>, name: &str) -> String {
    format!(
        "arn:aws:ecr:{}:{}:repository/{name}",
        call.region, call.world.account
    )
}

/// An error of ECR's; all of them have status 400.
fn refuse(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(400, code, message)
}

fn bad(member: &str, constraint: &str) -> Fault {
    refuse(
        "InvalidParameterException",
        format!("Invalid parameter at '{member}' failed to satisfy constraint: '{constraint}'"),
    )
}

/// The error for a repository that does not exist.
pub fn no_repository(name: &str, account: &str) -> Fault {
    refuse(
        "RepositoryNotFoundException",
        format!(
            "The repository with name '{name}' does not exist in the registry with id '{account}'"
        ),
    )
}

fn name<'a>(call: &'a Call<'_>) -> &'a str {
    call.input["repositoryName"].as_str().unwrap_or_default()
}

fn find<'a>(state: &'a mut state::State, call: &Call<'_>) -> Result<&'a mut Repository, Fault> {
    state
        .ecr
        .repositories
        .get_mut(&key(call.region, name(call)))
        .ok_or_else(|| no_repository(name(call), &call.world.account))
}

fn seconds(at: u64) -> Value {
    Value::from(at as f64 / 1000.0)
}

/// One page of a list: `nextToken` is the position that follows.
fn page<T>(call: &Call<'_>, items: Vec<T>) -> Result<(Vec<T>, Option<String>), Fault> {
    let start: usize = match call.input["nextToken"].as_str() {
        None => 0,
        Some(token) => token
            .parse()
            .map_err(|_| bad("nextToken", "must be a valid token"))?,
    };
    let limit = call.input["maxResults"].as_u64().unwrap_or(100) as usize;
    let total = items.len();
    let shown: Vec<T> = items.into_iter().skip(start).take(limit).collect();
    let end = start + shown.len();
    Ok((shown, (end < total).then(|| end.to_string())))
}

#[cfg(test)]
mod tests;
