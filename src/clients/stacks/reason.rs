//! Why an operation on a stack failed: the first failing resource's own words, found in the stack's events.

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::StackEvent;

/// How many pages of events to read back at most; an operation of ours makes less than one page.
const PAGES: usize = 5;

/// The reason of the resource that failed first in the stack's last operation.
pub(super) async fn first(client: &Client, id: &str) -> Option<String> {
    let mut events: Vec<StackEvent> = Vec::new();
    let mut pages = client
        .describe_stack_events()
        .stack_name(id)
        .into_paginator()
        .send();
    for _ in 0..PAGES {
        // A reason that cannot be read must not hide the failure itself.
        let page = pages.next().await?.ok()?;
        events.extend(page.stack_events.unwrap_or_default());
        if let Some(begin) = events.iter().position(|event| begins(event, id)) {
            events.truncate(begin);
            break;
        }
    }
    first_of(&events)
}

/// Whether the event is the beginning of an operation on the stack itself. A roll-back belongs to the operation that
/// caused it.
fn begins(event: &StackEvent, id: &str) -> bool {
    event.physical_resource_id() == Some(id)
        && event.resource_status().is_some_and(|status| {
            matches!(
                status.as_str(),
                "CREATE_IN_PROGRESS" | "UPDATE_IN_PROGRESS" | "DELETE_IN_PROGRESS"
            )
        })
}

/// `events` are the last operation's, newest first, as CloudFormation lists them.
fn first_of(events: &[StackEvent]) -> Option<String> {
    events.iter().rev().find_map(|event| {
        let status = event.resource_status()?.as_str();
        let reason = event.resource_status_reason()?;
        // What was cancelled, and the stack that sums up, are consequences.
        let is_consequence = reason.contains("cancelled")
            || event.resource_type() == Some("AWS::CloudFormation::Stack");
        (status.ends_with("_FAILED") && !is_consequence).then(|| {
            format!(
                "{} ({}): {reason}",
                event.logical_resource_id().unwrap_or_default(),
                event.resource_type().unwrap_or_default(),
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_cloudformation::types::ResourceStatus;

    fn event(logical: &str, kind: &str, status: ResourceStatus, reason: &str) -> StackEvent {
        StackEvent::builder()
            .logical_resource_id(logical)
            .resource_type(kind)
            .resource_status(status)
            .resource_status_reason(reason)
            .build()
    }

    #[test]
    fn the_first_failing_resource_gives_the_reason() {
        let events = [
            event(
                "meshctl-demo-network",
                "AWS::CloudFormation::Stack",
                ResourceStatus::CreateFailed,
                "The following resource(s) failed to create: [Vpc, NatAddressA].",
            ),
            event(
                "Vpc",
                "AWS::EC2::VPC",
                ResourceStatus::CreateFailed,
                "Resource creation cancelled",
            ),
            event(
                "NatAddressA",
                "AWS::EC2::EIP",
                ResourceStatus::CreateFailed,
                "The maximum number of addresses has been reached. (Service: Ec2, Status Code: 400)",
            ),
            event(
                "NatAddressA",
                "AWS::EC2::EIP",
                ResourceStatus::CreateInProgress,
                "",
            ),
        ];
        assert_eq!(
            first_of(&events).as_deref(),
            Some(
                "NatAddressA (AWS::EC2::EIP): The maximum number of addresses has been reached. (Service: Ec2, Status Code: 400)"
            )
        );
    }

    #[test]
    fn without_a_failing_resource_there_is_no_reason() {
        assert_eq!(first_of(&[]), None);
    }
}
