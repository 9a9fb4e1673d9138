//! What a definition wants, what its expressions can refer to, and what it puts out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::super::ec2;
use super::super::functions::{Scope, scalar};
use super::super::parameters;
use super::super::stack::{Definition, Output, Stack};
use super::Run;
use crate::sandbox::state::{State, World};

/// What a template's resources come to with the parameters given.
pub struct Plan {
    /// Each wanted resource with its conditions decided.
    pub wanted: Vec<(String, Value)>,
    conditions: BTreeMap<String, bool>,
}

/// Decides conditions and which resources are wanted.
///
/// # Errors
/// The message of the `ValidationError`.
pub fn plan(scope: &Scope<'_>) -> Result<Plan, String> {
    let conditions = scope.conditions()?;
    let mut wanted = Vec::new();
    for (name, resource) in scope.template.section("Resources") {
        let holds = resource
            .get("Condition")
            .and_then(Value::as_str)
            .is_none_or(|condition| conditions.get(condition) == Some(&true));
        if holds && let Some(decided) = scope.decided(resource, &conditions)? {
            wanted.push((name.clone(), decided));
        }
    }
    let names: BTreeSet<&String> = wanted.iter().map(|(name, _)| name).collect();
    for (_, resource) in &wanted {
        let unwritten = json!({"Properties": resource["Properties"]});
        let missing: Vec<String> = scope
            .template
            .dependencies(&unwritten)
            .into_iter()
            .filter(|needed| !names.contains(needed))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "Template format error: Unresolved resource dependencies [{}] in the Resources block of the template",
                missing.join(", ")
            ));
        }
    }
    Ok(Plan { wanted, conditions })
}

/// A scope over a definition, with what exists so far.
pub fn scope<'a>(
    definition: &'a Definition,
    typed: &'a BTreeMap<String, Value>,
    stack: &Stack,
    world: &World,
    exports: BTreeMap<String, String>,
) -> Scope<'a> {
    let mut references = BTreeMap::new();
    let mut attributes = BTreeMap::new();
    for resource in &stack.resources {
        if let Some(physical) = &resource.physical {
            references.insert(resource.logical.clone(), physical.clone());
            attributes.insert(resource.logical.clone(), resource.attributes.clone());
        }
    }
    Scope {
        template: &definition.template,
        parameters: typed,
        pseudo: BTreeMap::from([
            ("AWS::AccountId".to_owned(), json!(&*world.account)),
            ("AWS::NotificationARNs".to_owned(), json!([])),
            ("AWS::Partition".to_owned(), json!("aws")),
            ("AWS::Region".to_owned(), json!(stack.region)),
            ("AWS::StackId".to_owned(), json!(stack.id)),
            ("AWS::StackName".to_owned(), json!(stack.name)),
            ("AWS::URLSuffix".to_owned(), json!("amazonaws.com")),
        ]),
        references,
        attributes,
        exports,
        zones: ec2::zones(&stack.region),
        decided: RefCell::default(),
    }
}

impl Run<'_> {
    pub(super) fn exports(&self) -> BTreeMap<String, String> {
        exports(self.state, &self.stack.region)
    }

    pub(super) fn wanted(&self) -> Result<Plan, String> {
        let typed = parameters::typed(
            &self.stack.definition.template,
            &self.stack.definition.parameters,
        );
        plan(&scope(
            &self.stack.definition,
            &typed,
            &self.stack,
            self.world,
            self.exports(),
        ))
    }

    pub(super) fn outputs(&mut self) -> Result<(), String> {
        let definition = &self.stack.definition;
        let typed = parameters::typed(&definition.template, &definition.parameters);
        let exported = self.exports();
        let scope = scope(
            definition,
            &typed,
            &self.stack,
            self.world,
            exported.clone(),
        );
        let plan = plan(&scope)?;
        let mut outputs = Vec::new();
        for (key, output) in definition.template.section("Outputs") {
            let holds = output
                .get("Condition")
                .and_then(Value::as_str)
                .is_none_or(|condition| plan.conditions.get(condition) == Some(&true));
            if !holds {
                continue;
            }
            let evaluate = |expression: &Value| -> Result<Option<String>, String> {
                match scope.decided(expression, &plan.conditions)? {
                    Some(decided) => Ok(scope.value(&decided)?.as_ref().and_then(scalar)),
                    None => Ok(None),
                }
            };
            let value = evaluate(&output["Value"])?.ok_or_else(|| {
                format!("Template format error: The Value field of every Outputs member must evaluate to a String. [{key}]")
            })?;
            let export = match output.get("Export").and_then(|export| export.get("Name")) {
                Some(name) => evaluate(name)?,
                None => None,
            };
            if let Some(name) = &export
                && exported.contains_key(name)
                && !self
                    .stack
                    .outputs
                    .iter()
                    .any(|own| own.export.as_ref() == Some(name))
            {
                let owner = owner(self.state, &self.stack.region, name).unwrap_or_default();
                return Err(format!(
                    "Export with name {name} is already exported by stack {owner}. "
                ));
            }
            outputs.push(Output {
                key: key.clone(),
                value,
                description: output
                    .get("Description")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                export,
            });
        }
        let imports = imported(definition, &scope);
        self.stack.outputs = outputs;
        self.stack.imports = imports;
        Ok(())
    }
}

fn imported(definition: &Definition, scope: &Scope<'_>) -> BTreeSet<String> {
    fn collect(value: &Value, scope: &Scope<'_>, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(name) = members.get("Fn::ImportValue")
                    && let Ok(Some(name)) = scope.value(name)
                {
                    into.extend(scalar(&name));
                }
                members
                    .values()
                    .for_each(|member| collect(member, scope, into));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, scope, into)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    for section in ["Resources", "Outputs"] {
        for entry in definition.template.section(section).values() {
            collect(entry, scope, &mut names);
        }
    }
    names
}

/// The exports of a region's stacks.
pub fn exports(state: &State, region: &str) -> BTreeMap<String, String> {
    live(state, region)
        .flat_map(|stack| &stack.outputs)
        .filter_map(|output| Some((output.export.clone()?, output.value.clone())))
        .collect()
}

fn owner(state: &State, region: &str, export: &str) -> Option<String> {
    live(state, region)
        .find(|stack| {
            stack
                .outputs
                .iter()
                .any(|output| output.export.as_deref() == Some(export))
        })
        .map(|stack| stack.name.clone())
}

/// The region's stacks that aren't deleted.
pub fn live<'a>(state: &'a State, region: &str) -> impl Iterator<Item = &'a Stack> + use<'a> {
    let region = region.to_owned();
    state
        .cloudformation
        .stacks
        .values()
        .filter(move |stack| stack.region == region && stack.status != "DELETE_COMPLETE")
}
