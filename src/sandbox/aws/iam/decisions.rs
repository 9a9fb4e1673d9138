//! What was asked of IAM and why it was allowed: so that what a role is granted can be compared with what it uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

/// More than this many different questions are not remembered.
const LIMIT: usize = 50_000;

/// Who, what, on what, and whether it was allowed.
type Key = (String, String, String, bool);

/// The different decisions since the sandbox started.
#[derive(Clone, Debug, Default)]
pub struct Decisions(Arc<Mutex<BTreeMap<Key, BTreeSet<String>>>>);

impl Decisions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, BTreeSet<String>>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Remembers that `statements` allowed `principal` (an ARN) an action on a resource, or that it was refused.
    pub(super) fn remember(
        &self,
        principal: &str,
        action: &str,
        resource: &str,
        allowed: bool,
        statements: impl IntoIterator<Item = String>,
    ) {
        let mut known = self.lock();
        let key = (principal.into(), action.into(), resource.into(), allowed);
        if known.len() < LIMIT || known.contains_key(&key) {
            known.entry(key).or_default().extend(statements);
        }
    }

    /// All of them, ordered.
    pub fn export(&self) -> Value {
        let known = self.lock();
        known
            .iter()
            .map(|((principal, action, resource, allowed), statements)| {
                json!({
                    "principal": principal,
                    "action": action,
                    "resource": resource,
                    "allowed": allowed,
                    "statements": statements,
                })
            })
            .collect()
    }
}
