//! What people changed in a stack's resources behind its back, and taking it back.
//!
//! CloudFormation makes good by itself nothing that others undo: an update compares templates, and finds that nothing
//! is to be done. So drift is detected, and taken back by a drift-aware change set.

use std::time::Duration;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{
    ChangeSetStatus, DeploymentMode, DifferenceType, Parameter, StackDriftDetectionStatus,
    StackDriftStatus, StackResourceDrift, StackResourceDriftStatus,
};

use super::{DEADLINE, Stack, find, says, settled, token};
use crate::clients::aws::{failed, is};
use crate::engine::{Context, Failure, FailureKind, Poll, Result, Wait};

/// How long a detection may take; several minutes are documented.
const DETECTION: Duration = Duration::from_secs(10 * 60);
/// How often one run takes drift back at most.
const TRIES: u32 = 3;
/// A longer value is not shown.
const LONG: usize = 80;

impl Stack {
    /// What differs between the stack's resources and its template, a line each; nothing of a stack that is not there or
    /// not at rest.
    ///
    /// # Errors
    /// When CloudFormation does not answer, or may not look; a passed deadline.
    pub async fn drifted(&self, cx: &Context, client: &Client) -> Result<Vec<String>> {
        let about = || format!("drift of {}", self.title());
        let wait = || Wait::new(about(), DETECTION).sparse();
        let begun = cx
            .wait_for(wait(), async || {
                match client
                    .detect_stack_drift()
                    .stack_name(&self.name)
                    .send()
                    .await
                {
                    Ok(begun) => Ok(Poll::Ready(begun.stack_drift_detection_id)),
                    // Another run's, or that of a request whose answer was lost.
                    Err(error) if says(&error, "already in progress") => {
                        Ok(Poll::Pending("another detection is under way".into()))
                    }
                    // Not there, or not at rest, of which the stack's own step tells.
                    Err(error) if is(&error, "ValidationError") => Ok(Poll::Ready(None)),
                    Err(error) => Err(failed(about())(error)),
                }
            })
            .await?;
        let Some(id) = begun else {
            return Ok(Vec::new());
        };
        let (status, unread) = cx
            .wait_for(wait(), async || {
                let asked = client.describe_stack_drift_detection_status();
                let asked = asked.stack_drift_detection_id(&id).send().await;
                let asked = asked.map_err(failed(about()))?;
                Ok(match asked.detection_status {
                    Some(StackDriftDetectionStatus::DetectionInProgress) | None => {
                        Poll::Pending("looking at the stack's resources".into())
                    }
                    Some(_) => {
                        Poll::Ready((asked.stack_drift_status, asked.detection_status_reason))
                    }
                })
            })
            .await?;
        if let Some(why) = unread {
            cx.progress(format!("not all resources could be looked at: {why}"));
        }
        if status != Some(StackDriftStatus::Drifted) {
            return Ok(Vec::new());
        }
        let pages = client
            .describe_stack_resource_drifts()
            .stack_name(&self.name)
            .stack_resource_drift_status_filters(StackResourceDriftStatus::Modified)
            .stack_resource_drift_status_filters(StackResourceDriftStatus::Deleted);
        let mut lines = Vec::new();
        let mut next = None;
        loop {
            let page = pages.clone().set_next_token(next).send().await;
            let page = page.map_err(failed(about()))?;
            lines.extend(page.stack_resource_drifts().iter().flat_map(told));
            match page.next_token {
                Some(token) => next = Some(token),
                None => return Ok(lines),
            }
        }
    }

    /// Makes the stack's resources what its template says again.
    ///
    /// # Errors
    /// What CloudFormation cannot take back, with its words; a passed deadline.
    pub async fn take_back(&self, cx: &Context, client: &Client) -> Result<()> {
        let mut lines = Vec::new();
        for _ in 0..TRIES {
            lines = self.drifted(cx, client).await?;
            if lines.is_empty() {
                return Ok(());
            }
            let Some(stack) = find(client, &self.name).await? else {
                return Err(Failure::new(self.title(), "it was deleted meanwhile"));
            };
            if let Some(set) = self.prepare(cx, client, &stack.id).await? {
                self.execute(client, &set).await?;
            }
            self.complete(cx, client, &stack.id).await?;
        }
        let hint = format!(
            "it comes back each time: find who changes it, or take it back by hand; `aws cloudformation \
             describe-stack-resource-drifts --stack-name {}` shows all of it",
            self.name
        );
        Err(Failure::of(FailureKind::Blocked, self.title(), lines.join("; ")).hint(hint))
    }

    /// The change set that takes back what drifted; none where there is nothing that it could do.
    async fn prepare(&self, cx: &Context, client: &Client, id: &str) -> Result<Option<String>> {
        let kept = self.parameters.keys().map(|name| {
            let parameter = Parameter::builder().parameter_key(*name);
            parameter.use_previous_value(true).build()
        });
        let made = client
            .create_change_set()
            .stack_name(id)
            .change_set_name(token())
            .description("takes back what was changed outside of the stack")
            .use_previous_template(true)
            .set_parameters(Some(kept.collect()))
            .set_tags(Some(self.tags()))
            .set_capabilities(self.capabilities())
            .deployment_mode(DeploymentMode::RevertDrift)
            .send()
            .await;
        let set = match made {
            Ok(made) => made.id.unwrap_or_default(),
            // Another run is at it: whoever looks next sees what is left.
            Err(error) if says(&error, "_IN_PROGRESS") => {
                settled(cx, client, &self.name, id).await?;
                return Ok(None);
            }
            Err(error) => return Err(failed(self.title())(error)),
        };
        let wait = Wait::new(format!("change set of {}", self.title()), DEADLINE).sparse();
        let prepared = cx
            .wait_for(wait, async || {
                let shown = client.describe_change_set().change_set_name(&set);
                let shown = shown.send().await.map_err(failed(self.title()))?;
                Ok(match shown.status {
                    Some(ChangeSetStatus::CreateComplete) => Poll::Ready(Ok(())),
                    Some(ChangeSetStatus::Failed) => {
                        Poll::Ready(Err(shown.status_reason.unwrap_or_default()))
                    }
                    status => Poll::Pending(
                        status.map_or_else(|| "UNKNOWN".into(), |status| status.to_string()),
                    ),
                })
            })
            .await?;
        let Err(reason) = prepared else {
            return Ok(Some(set));
        };
        let removed = client.delete_change_set().change_set_name(&set).send();
        removed.await.map_err(failed(self.title()))?;
        if reason.contains("didn't contain changes") || reason.contains("No updates") {
            return Ok(None);
        }
        Err(Failure::new(self.title(), reason)
            .hint("mend the cause, then run the same command again"))
    }

    async fn execute(&self, client: &Client, set: &str) -> Result<()> {
        let executed = client
            .execute_change_set()
            .change_set_name(set)
            .client_request_token(token());
        match executed.send().await {
            Ok(_) => Ok(()),
            // Another run's change came first, which ends all change sets that were made before it.
            Err(error)
                if is(&error, "ChangeSetNotFound") || is(&error, "InvalidChangeSetStatus") =>
            {
                Ok(())
            }
            Err(error) => Err(failed(self.title())(error)),
        }
    }
}

/// A resource's drift in words, what it is first: `Vpc vpc-1: /EnableDnsHostnames: false → true`.
fn told(drift: &StackResourceDrift) -> Vec<String> {
    let physical = drift.physical_resource_id().unwrap_or_default();
    let logical = drift.logical_resource_id().unwrap_or_default();
    let name = format!("{logical} {physical}");
    if drift.stack_resource_drift_status() == Some(&StackResourceDriftStatus::Deleted) {
        return vec![format!("{name} was deleted outside of its stack")];
    }
    let shown = |value: Option<&str>| match value {
        None | Some("" | "null") => "none".to_owned(),
        Some(value) if value.chars().count() > LONG => {
            format!("{}…", value.chars().take(LONG).collect::<String>())
        }
        Some(value) => value.to_owned(),
    };
    let differences = drift.property_differences().iter();
    differences
        .filter(|one| {
            let path = one.property_path().unwrap_or_default();
            // Tags that others add are theirs.
            one.difference_type() != Some(&DifferenceType::Add) || !path.starts_with("/Tags")
        })
        .map(|one| {
            let path = one.property_path().unwrap_or_default();
            let (is, wanted) = (shown(one.actual_value()), shown(one.expected_value()));
            format!("{name}: {path}: {is} → {wanted}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::PropertyDifference;

    use super::*;

    #[test]
    fn drift_is_told_by_resource_and_property_and_others_tags_are_none() {
        let difference = |path: &str, kind, expected: &str, actual: &str| {
            PropertyDifference::builder()
                .property_path(path)
                .difference_type(kind)
                .expected_value(expected)
                .actual_value(actual)
                .build()
        };
        let drift = StackResourceDrift::builder()
            .logical_resource_id("Vpc")
            .physical_resource_id("vpc-1")
            .stack_resource_drift_status(StackResourceDriftStatus::Modified)
            .property_differences(difference(
                "/EnableDnsHostnames",
                DifferenceType::NotEqual,
                "true",
                "false",
            ))
            .property_differences(difference("/Tags/3", DifferenceType::Add, "null", "{}"))
            .property_differences(difference("/Tags/1", DifferenceType::Remove, "{}", "null"))
            .build();
        assert_eq!(
            told(&drift),
            [
                "Vpc vpc-1: /EnableDnsHostnames: false → true",
                "Vpc vpc-1: /Tags/1: none → {}"
            ]
        );
        let deleted = StackResourceDrift::builder()
            .logical_resource_id("Route")
            .physical_resource_id("rtb-1|0.0.0.0/0")
            .stack_resource_drift_status(StackResourceDriftStatus::Deleted)
            .build();
        assert_eq!(
            told(&deleted),
            ["Route rtb-1|0.0.0.0/0 was deleted outside of its stack"]
        );
    }
}
