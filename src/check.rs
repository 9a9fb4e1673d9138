//! Checks are data: a code that stays, what came out, and what to do about it.

use serde::Serialize;

/// How a check came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "kebab-case")]
pub enum Verdict {
    /// All is as it should be.
    Passed,
    /// There is nothing to check; why.
    Skipped(String),
    /// It could not be checked, or may become a problem.
    Warning(String),
    /// It is not as it should be; why.
    Failed(String),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A stable name: `permissions`.
    pub code: &'static str,
    /// What was checked, for people.
    pub title: String,
    /// How it came out.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Check {
    /// Whether it failed.
    pub fn is_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}
