//! CloudWatch Logs: log groups, their retention and tags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::protocol::operation;
use super::shapes::{self, Violation};
use super::{Call, Check, Fault, Operation, Protocol, Service, rejection};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{State as Everything, World};

/// The service's part of the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Log groups by region and name.
    pub groups: BTreeMap<String, BTreeMap<String, Group>>,
}

/// A log group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// When it was made.
    pub created: Millis,
    /// Days that events are kept; without it, for ever.
    pub retention: Option<i64>,
    /// Its class.
    pub class: Option<String>,
    /// The key that encrypts it.
    pub kms_key: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// Makes a log group unless it exists, as services do that write their logs unasked: EKS's control plane brings back the
/// group of a cluster for as long as the cluster is there.
pub fn ensure_group(world: &World, state: &mut Everything, region: &str, name: &str) {
    let groups = state.logs.groups.entry(region.into()).or_default();
    groups.entry(name.into()).or_insert_with(|| Group {
        created: world.clock.now(),
        ..Group::default()
    });
}

/// The service.
pub struct Logs;

impl Service for Logs {
    fn signing_name(&self) -> &'static str {
        "logs"
    }
    fn protocol(&self) -> Protocol {
        Protocol::Json
    }
    fn version(&self) -> &'static str {
        "2014-03-28"
    }
    fn namespace(&self) -> &'static str {
        "Logs_20140328"
    }
    fn operations(&self) -> &'static [Operation] {
        const OPERATIONS: &[Operation] = &[
            operation("CreateLogGroup"),
            operation("DescribeLogGroups"),
            operation("DeleteLogGroup"),
            operation("PutRetentionPolicy"),
            operation("DeleteRetentionPolicy"),
            operation("TagResource"),
            operation("UntagResource"),
            operation("ListTagsForResource"),
        ];
        OPERATIONS
    }
    fn resource(&self, call: &Call<'_>) -> String {
        match call.text("resourceArn") {
            Some(arn) => arn,
            // Logs asks for the group's streams, so that policies need a trailing `:*`.
            None => format!(
                "{}:log-stream:",
                arn(call, &call.text("logGroupName").unwrap_or_default())
            ),
        }
    }
    fn checks(&self, state: &Everything, call: &Call<'_>) -> Vec<Check> {
        let mut check = Check::new(format!("logs:{}", call.operation), self.resource(call));
        if let Some(group) =
            name(call).and_then(|name| state.logs.groups.get(call.region)?.get(&name))
        {
            check = check.tagged(&group.tags);
        }
        vec![check]
    }
    fn invalid(&self, _operation: &str, _first: &Violation, all: &[Violation]) -> Fault {
        refuse("InvalidParameterException", shapes::say(all))
    }
    fn handle(&self, state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
        let groups = state.logs.groups.entry(call.region.to_owned()).or_default();
        if call.operation == "DescribeLogGroups" {
            return describe(groups, call);
        }
        let name = name(call).ok_or_else(|| required(call))?;
        if call.operation == "CreateLogGroup" {
            return create(groups, call, name);
        }
        let group = groups.get_mut(&name).ok_or_else(|| {
            refuse(
                "ResourceNotFoundException",
                "The specified log group does not exist.",
            )
        })?;
        match call.operation {
            "DeleteLogGroup" => {
                groups.remove(&name);
            }
            "PutRetentionPolicy" => group.retention = Some(retention(call)?),
            "DeleteRetentionPolicy" => group.retention = None,
            "TagResource" => {
                let mut tags = group.tags.clone();
                tags.extend(tags_of(call)?);
                if tags.len() > 50 {
                    return Err(refuse(
                        "TooManyTagsException",
                        "The resource has more than 50 tags.",
                    ));
                }
                group.tags = tags;
            }
            "UntagResource" => call.texts("tagKeys").iter().for_each(|key| {
                group.tags.remove(key);
            }),
            "ListTagsForResource" => return Ok(json!({"tags": group.tags})),
            _ => return Err(rejection::unknown_operation(self, call.operation)),
        }
        Ok(Value::Null)
    }
}

fn refuse(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(400, code, message)
}

fn arn(call: &Call<'_>, name: &str) -> String {
    format!(
        "arn:aws:logs:{}:{}:log-group:{name}",
        call.region, call.world.account
    )
}

/// The group that a call is about, named or by its ARN.
fn name(call: &Call<'_>) -> Option<String> {
    call.text("logGroupName").or_else(|| {
        let arn = call.text("resourceArn")?;
        let (_, name) = arn.split_once(":log-group:")?;
        Some(name.strip_suffix(":*").unwrap_or(name).to_owned())
    })
}

fn required(call: &Call<'_>) -> Fault {
    let member = if call.operation.contains("Tag") {
        "resourceArn"
    } else {
        "logGroupName"
    };
    refuse(
        "InvalidParameterException",
        format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must not be null"
        ),
    )
}

fn tags_of(call: &Call<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let Some(tags) = call.input.get("tags").and_then(Value::as_object) else {
        return Ok(BTreeMap::new());
    };
    tags.iter()
        .map(|(key, value)| match value.as_str() {
            Some(value)
                if !key.is_empty()
                    && key.len() <= 128
                    && value.len() <= 256
                    && !key.starts_with("aws:") =>
            {
                Ok((key.clone(), value.to_owned()))
            }
            _ => Err(refuse(
                "InvalidParameterException",
                format!("The tag {key} is not valid."),
            )),
        })
        .collect()
}

fn create(
    groups: &mut BTreeMap<String, Group>,
    call: &Call<'_>,
    name: String,
) -> Result<Value, Fault> {
    if name.starts_with("aws/") {
        return Err(refuse(
            "InvalidParameterException",
            "Log groups starting with 'aws/' are reserved for AWS.",
        ));
    }
    let tags = tags_of(call)?;
    if groups.contains_key(&name) {
        return Err(refuse(
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        ));
    }
    let group = Group {
        created: call.world.clock.now(),
        retention: None,
        class: call.text("logGroupClass"),
        kms_key: call.text("kmsKeyId"),
        tags,
    };
    groups.insert(name, group);
    Ok(Value::Null)
}

fn retention(call: &Call<'_>) -> Result<i64, Fault> {
    const DAYS: [i64; 22] = [
        1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557,
        2922, 3288, 3653,
    ];
    match call.integer("retentionInDays") {
        Some(days) if DAYS.contains(&days) => Ok(days),
        _ => Err(refuse(
            "InvalidParameterException",
            "1 validation error detected: Value at 'retentionInDays' failed to satisfy constraint: Member must satisfy \
             enum value set: [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, \
             2922, 3288, 3653]",
        )),
    }
}

fn describe(groups: &BTreeMap<String, Group>, call: &Call<'_>) -> Result<Value, Fault> {
    let prefix = call.text("logGroupNamePrefix");
    let pattern = call.text("logGroupNamePattern");
    if prefix.is_some() && pattern.is_some() {
        return Err(refuse(
            "InvalidParameterException",
            "LogGroupNamePrefix and LogGroupNamePattern are mutually exclusive parameters.",
        ));
    }
    let limit = match call.integer("limit") {
        None => 50,
        Some(limit @ 1..=50) => limit as usize,
        Some(limit) => {
            return Err(refuse(
                "InvalidParameterException",
                format!(
                    "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have \
                     value less than or equal to 50"
                ),
            ));
        }
    };
    let after = call.text("nextToken");
    let mut matching = groups
        .iter()
        .filter(|(name, _)| {
            prefix
                .as_ref()
                .is_none_or(|prefix| name.starts_with(prefix.as_str()))
        })
        .filter(|(name, _)| {
            let pattern = pattern.as_ref().map(|pattern| pattern.to_lowercase());
            pattern.is_none_or(|pattern| name.to_lowercase().contains(&pattern))
        })
        .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after))
        .peekable();
    let mut shown = Vec::new();
    let mut last = None;
    while shown.len() < limit
        && let Some((name, group)) = matching.next()
    {
        shown.push(json!({
            "logGroupName": name,
            "creationTime": group.created,
            "retentionInDays": group.retention,
            "metricFilterCount": 0,
            "arn": format!("{}:*", arn(call, name)),
            "logGroupArn": arn(call, name),
            "storedBytes": 0,
            "kmsKeyId": group.kms_key,
            "logGroupClass": group.class.as_deref().unwrap_or("STANDARD"),
        }));
        last = Some(name.clone());
    }
    let more = matching.peek().is_some();
    Ok(json!({"logGroups": shown, "nextToken": last.filter(|_| more)}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::aws::{Caller, iam, invoke};

    fn call(world: &World, operation: &str, input: Value) -> Result<Value, Fault> {
        let caller = Caller {
            arn: "arn:aws:iam::123456789012:user/sandbox".into(),
            user_id: "X".into(),
        };
        let mut state = world.state();
        if state.iam.users.is_empty() {
            iam::bootstrap(world, &mut state);
        }
        invoke(
            world,
            &mut state,
            &caller,
            "us-west-2",
            "logs",
            operation,
            &input,
        )
    }

    #[test]
    fn a_group_keeps_its_retention_and_tags() {
        let world = World::for_tests();
        let group = json!({"logGroupName": "/aws/eks/a/cluster", "tags": {"k": "v"}});
        call(&world, "CreateLogGroup", group.clone()).expect("made");
        let again = call(&world, "CreateLogGroup", group.clone()).unwrap_err();
        assert_eq!(
            (again.status, again.code.as_str()),
            (400, "ResourceAlreadyExistsException")
        );
        let days =
            |days: i64| json!({"logGroupName": "/aws/eks/a/cluster", "retentionInDays": days});
        assert_eq!(
            call(&world, "PutRetentionPolicy", days(8))
                .unwrap_err()
                .code,
            "InvalidParameterException"
        );
        call(&world, "PutRetentionPolicy", days(7)).expect("put");
        let listed = call(
            &world,
            "DescribeLogGroups",
            json!({"logGroupNamePrefix": "/aws/eks/a"}),
        )
        .expect("listed");
        assert_eq!(listed["logGroups"][0]["retentionInDays"], 7);
        let arn = &listed["logGroups"][0]["logGroupArn"];
        let tags =
            call(&world, "ListTagsForResource", json!({"resourceArn": arn})).expect("listed");
        assert_eq!(tags, json!({"tags": {"k": "v"}}));
        call(&world, "DeleteLogGroup", group.clone()).expect("deleted");
        assert_eq!(
            call(&world, "DeleteLogGroup", group).unwrap_err().code,
            "ResourceNotFoundException"
        );
    }

    #[test]
    fn groups_are_listed_in_pages() {
        let world = World::for_tests();
        for name in ["a", "b", "c"] {
            call(&world, "CreateLogGroup", json!({"logGroupName": name})).expect("made");
        }
        let first = call(&world, "DescribeLogGroups", json!({"limit": 2})).expect("listed");
        assert_eq!(first["nextToken"], "b");
        let rest = call(&world, "DescribeLogGroups", json!({"nextToken": "b"})).expect("listed");
        assert_eq!(rest["logGroups"].as_array().map(Vec::len), Some(1));
        assert_eq!(rest["nextToken"], Value::Null);
    }
}
