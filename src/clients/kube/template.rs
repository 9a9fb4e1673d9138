//! Templates of Kubernetes manifests and IAM policies, rendered with minijinja.

use minijinja::value::{Serde, Value as Input};
use minijinja::{Environment, UndefinedBehavior};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{Failure, Result};

/// One embedded template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its path under `templates/`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// Embeds `templates/<path>`.
#[macro_export]
macro_rules! template {
    ($path:literal) => {
        $crate::clients::kube::Template {
            path: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/", $path)),
        }
    };
}

impl Template {
    /// Renders it to text.
    ///
    /// # Errors
    /// A name that the context lacks, with the template's line.
    pub fn text(&self, context: impl Serialize) -> Result<String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // JSON is YAML: whatever a value holds, it stays one value.
        environment.add_filter("json", |value: Input| {
            serde_json::to_string(&value).unwrap_or_else(|_| "null".into())
        });
        environment
            .render_named_str(self.path, self.text, Serde(context))
            // The long form shows the context, which may hold a key.
            .map_err(|error| self.failure(error))
    }

    /// Renders it to the manifests it holds, empty documents left out.
    ///
    /// # Errors
    /// As [`Template::text`], and what is not YAML.
    pub fn manifests(&self, context: impl Serialize) -> Result<Vec<Value>> {
        let text = self.text(context)?;
        let mut manifests = Vec::new();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let manifest = Value::deserialize(document).map_err(|error| self.failure(error))?;
            if !manifest.is_null() {
                manifests.push(manifest);
            }
        }
        Ok(manifests)
    }

    fn failure(&self, message: impl ToString) -> Failure {
        Failure::new(format!("template {}", self.path), message)
    }
}
