//! CloudFormation stacks: made, changed and removed, each to its end, with the reason that the first failing resource
//! gave.

mod drift;
mod reason;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{Capability, Parameter, StackStatus, Tag};
use sha2::{Digest, Sha256};

use super::aws::{code, failed, foreign};
use crate::config::OWNER_TAG;
use crate::engine::{Context, Failure, FailureKind, Observed, Poll, Result, Wait};

/// Carries a digest of the template that a stack was last deployed from, so that one call tells whether it changed.
const TEMPLATE_TAG: &str = "meshctl:template";
/// The longest any of our stacks may take; a NAT gateway's deletion is the slowest part.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// A stack as it is wanted.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// The environment that owns it.
    pub owner: String,
    /// The template's text.
    pub template: &'static str,
    /// Every parameter.
    pub parameters: BTreeMap<&'static str, String>,
    /// Whether it makes IAM resources with names of their own.
    pub names_iam: bool,
    /// Whether a failed creation keeps what was made, to go on from there, in place of taking it away. For stacks whose
    /// resources are used by others before the stack is complete: a roll-back would pull them away.
    pub keeps_progress: bool,
}

/// A stack's outputs by name.
pub type Outputs = BTreeMap<String, String>;

/// A stack as it is.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its ARN, which still names it when it is deleted.
    pub id: String,
    /// Its status.
    pub status: StackStatus,
    /// CloudFormation's words about the status.
    pub reason: Option<String>,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its outputs.
    pub outputs: Outputs,
}

/// What a status means for what can be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// CloudFormation is at work.
    Busy,
    /// Complete and usable.
    Complete,
    /// A creation failed and what was made is kept: an update goes on from there.
    Resumable,
    /// Nothing leads on but deletion.
    Dead,
    /// A failed roll-back that a person has to continue.
    Stuck,
    /// Gone.
    Gone,
}

fn condition(status: &StackStatus) -> Condition {
    use StackStatus as S;
    match status {
        S::CreateComplete
        | S::UpdateComplete
        | S::UpdateRollbackComplete
        | S::ImportComplete
        | S::ImportRollbackComplete => Condition::Complete,
        S::CreateFailed | S::UpdateFailed => Condition::Resumable,
        S::RollbackComplete | S::RollbackFailed | S::DeleteFailed | S::ReviewInProgress => {
            Condition::Dead
        }
        S::UpdateRollbackFailed | S::ImportRollbackFailed => Condition::Stuck,
        S::DeleteComplete => Condition::Gone,
        _ => Condition::Busy,
    }
}

impl Stack {
    /// What failures call it.
    pub fn title(&self) -> String {
        format!("stack {}", self.name)
    }

    fn template_digest(&self) -> String {
        crate::clients::hex(&Sha256::digest(self.template.as_bytes()))
    }

    fn wanted_parameters(&self) -> Vec<Parameter> {
        self.parameters
            .iter()
            .map(|(key, value)| {
                Parameter::builder()
                    .parameter_key(*key)
                    .parameter_value(value)
                    .build()
            })
            .collect()
    }

    fn tags(&self) -> Vec<Tag> {
        [
            (OWNER_TAG, self.owner.clone()),
            (TEMPLATE_TAG, self.template_digest()),
        ]
        .into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
    }

    fn capabilities(&self) -> Option<Vec<Capability>> {
        self.names_iam.then(|| vec![Capability::CapabilityNamedIam])
    }

    /// What differs between the stack and what is wanted.
    fn drift(&self, found: &Found) -> Vec<String> {
        let mut drift = Vec::new();
        if found.tags.get(TEMPLATE_TAG) != Some(&self.template_digest()) {
            drift.push("the template has changed".to_owned());
        }
        for (key, wanted) in &self.parameters {
            match found.parameters.get(*key) {
                Some(value) if value == wanted => {}
                Some(value) => drift.push(format!("{key}: {value} → {wanted}")),
                None => drift.push(format!("{key}: → {wanted}")),
            }
        }
        drift
    }

    /// Looks.
    ///
    /// # Errors
    /// When CloudFormation does not answer.
    pub async fn observe(&self, client: &Client) -> Result<Observed<Outputs>> {
        let Some(found) = find(client, &self.name).await? else {
            return Ok(Observed::Absent);
        };
        let owner = found.tags.get(OWNER_TAG).map(String::as_str);
        if let Some(whose) = foreign(owner, &self.owner) {
            return Ok(Observed::Foreign(whose));
        }
        Ok(match condition(&found.status) {
            Condition::Gone => Observed::Absent,
            Condition::Busy => Observed::Pending(found.status.as_str().to_owned()),
            Condition::Complete => Observed::Ready {
                drift: self.drift(&found),
                outputs: found.outputs,
            },
            _ => Observed::Failed(found.words()),
        })
    }

    /// Makes or changes it, from whatever state it is in, and returns its outputs when it is complete.
    ///
    /// # Errors
    /// The first failing resource's reason; a stack that only a person can continue; a passed deadline.
    pub async fn deploy(&self, cx: &Context, client: &Client) -> Result<Outputs> {
        let id = self.begin(cx, client).await?;
        self.complete(cx, client, &id).await
    }

    /// Starts making or changing it where that is needed, and returns its ARN; with [`Stack::complete`] this is
    /// [`Stack::deploy`].
    ///
    /// # Errors
    /// As [`Stack::deploy`].
    pub async fn begin(&self, cx: &Context, client: &Client) -> Result<String> {
        // Every turn but the last ends a state that cannot be built on: busy, then dead, then gone, then created.
        for _ in 0..8 {
            let Some(found) = find(client, &self.name).await? else {
                match self.create(client).await? {
                    Some(id) => return Ok(id),
                    // Another run was faster: look again.
                    None => continue,
                }
            };
            match condition(&found.status) {
                Condition::Gone => {}
                Condition::Busy if is_towards_complete(&found.status) => return Ok(found.id),
                Condition::Busy => {
                    settled(cx, client, &self.name, &found.id).await?;
                }
                Condition::Complete if self.drift(&found).is_empty() => return Ok(found.id),
                Condition::Complete => {
                    self.update(client).await?;
                    return Ok(found.id);
                }
                Condition::Resumable if self.keeps_progress => {
                    cx.progress(format!("{}, going on from there", found.status.as_str()));
                    self.update(client).await?;
                    return Ok(found.id);
                }
                Condition::Resumable | Condition::Dead => {
                    cx.progress(format!("{}, removing it first", found.status.as_str()));
                    delete(cx, client, &self.name).await?;
                }
                Condition::Stuck => {
                    let hint = format!(
                        "mend the cause, then: aws cloudformation continue-update-rollback --stack-name {}",
                        self.name
                    );
                    return Err(
                        Failure::of(FailureKind::Blocked, self.title(), found.words()).hint(hint),
                    );
                }
            }
        }
        Err(Failure::new(
            self.title(),
            "another run keeps changing it, or it never settles",
        ))
    }

    /// Waits until it is complete and returns its outputs.
    ///
    /// # Errors
    /// As [`Stack::deploy`].
    pub async fn complete(&self, cx: &Context, client: &Client, id: &str) -> Result<Outputs> {
        let found = settled(cx, client, &self.name, id).await?;
        match found.map(|found| (condition(&found.status), found)) {
            // A roll-back to what was there before is complete too, and yet not what was asked for.
            Some((Condition::Complete, found))
                if found.status != StackStatus::UpdateRollbackComplete
                    || self.drift(&found).is_empty() =>
            {
                Ok(found.outputs)
            }
            Some((_, found)) => Err(self.failure(client, &found).await),
            None => Err(Failure::new(self.title(), "it was deleted meanwhile")),
        }
    }

    /// The physical ids of the named resources as soon as all of them exist, which may be long before the stack is
    /// complete.
    ///
    /// # Errors
    /// As [`Stack::deploy`].
    pub async fn resources(
        &self,
        cx: &Context,
        client: &Client,
        id: &str,
        logical: &[&str],
    ) -> Result<BTreeMap<String, String>> {
        let wait = Wait::new(self.title(), DEADLINE);
        cx.wait_for(wait, async || {
            // In this order: a stack that is complete when it is looked at has all its resources a moment later.
            let found = find(client, id).await?;
            let made = made_resources(client, &self.name, id).await?;
            let missing = logical
                .iter()
                .filter(|name| !made.contains_key(**name))
                .count();
            if missing == 0 {
                return Ok(Poll::Ready(made));
            }
            match found {
                Some(found) if condition(&found.status) == Condition::Busy => {
                    let done = logical.len() - missing;
                    Ok(Poll::Pending(format!(
                        "{}, {done} of {} resources that others wait for",
                        found.status.as_str(),
                        logical.len()
                    )))
                }
                Some(found) => Err(self.failure(client, &found).await),
                None => Err(Failure::new(self.title(), "it was deleted meanwhile")),
            }
        })
        .await
    }

    async fn create(&self, client: &Client) -> Result<Option<String>> {
        let created = client
            .create_stack()
            .stack_name(&self.name)
            .template_body(self.template)
            .set_parameters(Some(self.wanted_parameters()))
            .set_tags(Some(self.tags()))
            .set_capabilities(self.capabilities())
            .disable_rollback(self.keeps_progress)
            .client_request_token(token())
            .send()
            .await;
        match created {
            Ok(created) => Ok(created.stack_id),
            Err(error) if code(&error) == Some("AlreadyExistsException") => Ok(None),
            Err(error) => Err(failed(self.title())(error)),
        }
    }

    async fn update(&self, client: &Client) -> Result<()> {
        let updated = client
            .update_stack()
            .stack_name(&self.name)
            .template_body(self.template)
            .set_parameters(Some(self.wanted_parameters()))
            .set_tags(Some(self.tags()))
            .set_capabilities(self.capabilities())
            .disable_rollback(self.keeps_progress)
            .client_request_token(token())
            .send()
            .await;
        match updated {
            Ok(_) => Ok(()),
            // The template's text differs and its meaning does not.
            Err(error) if says(&error, "No updates are to be performed") => Ok(()),
            Err(error) => Err(failed(self.title())(error)),
        }
    }

    async fn failure(&self, client: &Client, found: &Found) -> Failure {
        let reason = reason::first(client, &found.id).await;
        let message = match reason {
            Some(reason) => format!("{}: {reason}", found.status.as_str()),
            None => found.words(),
        };
        Failure::new(self.title(), message)
            .hint("mend the cause, then run the same command again: it goes on from here")
    }
}

impl Found {
    fn words(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{}: {reason}", self.status.as_str()),
            None => self.status.as_str().to_owned(),
        }
    }
}

fn is_towards_complete(status: &StackStatus) -> bool {
    matches!(
        status,
        StackStatus::CreateInProgress
            | StackStatus::UpdateInProgress
            | StackStatus::UpdateCompleteCleanupInProgress
    )
}

/// The stack of that name or ARN; none when it does not exist.
///
/// # Errors
/// When CloudFormation does not answer.
pub async fn find(client: &Client, name: &str) -> Result<Option<Found>> {
    let described = client.describe_stacks().stack_name(name).send().await;
    let stack = match described {
        Ok(described) => described.stacks.unwrap_or_default().into_iter().next(),
        // CloudFormation has no error code of its own for this: `ValidationError: Stack with id x does not exist`.
        Err(error) if says(&error, "does not exist") => None,
        Err(error) => return Err(failed(format!("stack {name}"))(error)),
    };
    let Some(stack) = stack else { return Ok(None) };
    let pairs = |list: Vec<(Option<String>, Option<String>)>| {
        list.into_iter()
            .filter_map(|(key, value)| Some((key?, value?)))
            .collect()
    };
    Ok(Some(Found {
        id: stack.stack_id.unwrap_or_else(|| name.to_owned()),
        status: stack
            .stack_status
            .unwrap_or_else(|| StackStatus::from("UNKNOWN")),
        reason: stack.stack_status_reason,
        parameters: pairs(
            stack
                .parameters
                .unwrap_or_default()
                .into_iter()
                .map(|parameter| (parameter.parameter_key, parameter.parameter_value))
                .collect(),
        ),
        tags: pairs(
            stack
                .tags
                .unwrap_or_default()
                .into_iter()
                .map(|tag| (tag.key, tag.value))
                .collect(),
        ),
        outputs: pairs(
            stack
                .outputs
                .unwrap_or_default()
                .into_iter()
                .map(|output| (output.output_key, output.output_value))
                .collect(),
        ),
    }))
}

/// The physical ids of the stack's resources that are made, by logical id.
///
/// # Errors
/// When CloudFormation does not answer.
pub async fn made_resources(
    client: &Client,
    name: &str,
    id: &str,
) -> Result<BTreeMap<String, String>> {
    let is_made = |status: &str| {
        matches!(
            status,
            "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "UPDATE_IN_PROGRESS"
        )
    };
    resources(client, name, id, is_made).await
}

/// The physical ids of the stack's resources that may be there, half-made ones and those whose deletion failed among them,
/// by logical id.
///
/// # Errors
/// When CloudFormation does not answer.
pub async fn remaining_resources(
    client: &Client,
    name: &str,
    id: &str,
) -> Result<BTreeMap<String, String>> {
    resources(client, name, id, |status| status != "DELETE_COMPLETE").await
}

async fn resources(
    client: &Client,
    name: &str,
    id: &str,
    counts: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, String>> {
    let described = client
        .describe_stack_resources()
        .stack_name(id)
        .send()
        .await
        .map_err(failed(format!("stack {name}")))?;
    Ok(described
        .stack_resources
        .unwrap_or_default()
        .into_iter()
        .filter(|resource| {
            let status = resource.resource_status.as_ref();
            status.is_some_and(|status| counts(status.as_str()))
        })
        .filter_map(|resource| {
            Some((
                resource.logical_resource_id?,
                resource.physical_resource_id?,
            ))
        })
        .collect())
}

/// Deletes the stack and returns when it is gone; absent is fine. A deletion that fails is tried once more: it goes on
/// from where it stopped, and what was in its way may be gone.
///
/// # Errors
/// The reason why a resource could not be deleted; a passed deadline.
pub async fn delete(cx: &Context, client: &Client, name: &str) -> Result<()> {
    match delete_once(cx, client, name).await? {
        None => Ok(()),
        Some(failure) => delete_again(cx, client, name, &failure).await,
    }
}

/// Deletes the stack once more, after a deletion that failed so.
///
/// # Errors
/// As [`delete`].
pub async fn delete_again(
    cx: &Context,
    client: &Client,
    name: &str,
    failure: &Failure,
) -> Result<()> {
    cx.progress(format!("{}; trying again", failure.message));
    match delete_once(cx, client, name).await? {
        None => Ok(()),
        Some(failure) => Err(failure),
    }
}

/// Deletes the stack and returns when it is gone, or how its deletion failed.
///
/// # Errors
/// When CloudFormation does not answer; a passed deadline.
pub async fn delete_once(cx: &Context, client: &Client, name: &str) -> Result<Option<Failure>> {
    let Some(mut found) = find(client, name).await? else {
        return Ok(None);
    };
    // A creation may be cut short; an update or a roll-back refuses to be.
    let interruptible = matches!(
        found.status,
        StackStatus::CreateInProgress | StackStatus::DeleteInProgress
    );
    if condition(&found.status) == Condition::Busy && !interruptible {
        match settled(cx, client, name, &found.id).await? {
            Some(settled) => found = settled,
            None => return Ok(None),
        }
    }
    if found.status != StackStatus::DeleteInProgress {
        client
            .delete_stack()
            .stack_name(&found.id)
            .client_request_token(token())
            .send()
            .await
            .map_err(failed(format!("stack {name}")))?;
    }
    match settled_from(cx, client, name, &found.id, Some(&found.status)).await? {
        Some(found) if condition(&found.status) != Condition::Gone => {
            let words = reason::first(client, &found.id).await.map_or_else(
                || found.words(),
                |reason| format!("{}: {reason}", found.status.as_str()),
            );
            Ok(Some(Failure::new(format!("stack {name}"), words).hint(
                "something outside the stack still uses it: `meshctl audit` lists what; then run `meshctl down` again",
            )))
        }
        _ => Ok(None),
    }
}

/// The stack once CloudFormation is no longer at work on it; none when it is gone.
async fn settled(cx: &Context, client: &Client, name: &str, id: &str) -> Result<Option<Found>> {
    settled_from(cx, client, name, id, None).await
}

/// As [`settled`]; `before` is the status that the operation just begun has to leave first.
async fn settled_from(
    cx: &Context,
    client: &Client,
    name: &str,
    id: &str,
    before: Option<&StackStatus>,
) -> Result<Option<Found>> {
    let title = format!("stack {name}");
    let began = std::time::Instant::now();
    cx.wait_for(Wait::new(title, DEADLINE), async || {
        let Some(found) = find(client, id).await? else {
            return Ok(Poll::Ready(None));
        };
        // DeleteStack answers before the status changes; a status that stays for long is the answer all the same.
        let unchanged = before == Some(&found.status) && began.elapsed() < Duration::from_secs(10);
        Ok(match condition(&found.status) {
            Condition::Gone => Poll::Ready(None),
            Condition::Busy => Poll::Pending(found.status.as_str().to_owned()),
            _ if unchanged => Poll::Pending(found.status.as_str().to_owned()),
            _ => Poll::Ready(Some(found)),
        })
    })
    .await
}

fn says<E>(
    error: &aws_smithy_runtime_api::client::result::SdkError<
        E,
        aws_smithy_runtime_api::client::orchestrator::HttpResponse,
    >,
    words: &str,
) -> bool
where
    E: aws_smithy_types::error::metadata::ProvideErrorMetadata,
{
    error
        .as_service_error()
        .and_then(|service| service.message())
        .is_some_and(|message| message.contains(words))
}

/// A fresh token: retries of one request carry the same one, so that a lost answer does no harm.
pub(crate) fn token() -> String {
    format!(
        "meshctl-{:016x}{:016x}",
        fastrand::u64(..),
        fastrand::u64(..)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> Stack {
        Stack {
            name: "meshctl-demo-network".into(),
            owner: "demo".into(),
            template: "Resources: {}",
            parameters: BTreeMap::from([("VpcCidr", "10.42.0.0/16".to_owned())]),
            names_iam: false,
            keeps_progress: true,
        }
    }

    fn found(stack: &Stack) -> Found {
        Found {
            id: "arn".into(),
            status: StackStatus::CreateComplete,
            reason: None,
            parameters: [("VpcCidr".to_owned(), "10.42.0.0/16".to_owned())].into(),
            tags: [(TEMPLATE_TAG.to_owned(), stack.template_digest())].into(),
            outputs: Outputs::new(),
        }
    }

    #[test]
    fn an_unchanged_stack_has_no_drift() {
        assert!(stack().drift(&found(&stack())).is_empty());
    }

    #[test]
    fn drift_names_the_parameter_and_both_values() {
        let mut changed = found(&stack());
        changed
            .parameters
            .insert("VpcCidr".into(), "10.0.0.0/16".into());
        changed.tags.clear();
        assert_eq!(
            stack().drift(&changed),
            [
                "the template has changed",
                "VpcCidr: 10.0.0.0/16 → 10.42.0.0/16"
            ]
        );
    }

    #[test]
    fn half_made_states_are_told_apart() {
        assert_eq!(condition(&StackStatus::RollbackComplete), Condition::Dead);
        assert_eq!(condition(&StackStatus::CreateFailed), Condition::Resumable);
        assert_eq!(
            condition(&StackStatus::UpdateRollbackFailed),
            Condition::Stuck
        );
        assert_eq!(condition(&StackStatus::DeleteInProgress), Condition::Busy);
        assert_eq!(
            condition(&StackStatus::from("NEW_IN_PROGRESS")),
            Condition::Busy
        );
    }
}
