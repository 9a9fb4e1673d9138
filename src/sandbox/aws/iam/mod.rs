//! Stub.

use serde::{Deserialize, Serialize};

/// The service's part of the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {}
