//! The embedded sandbox: AWS, the Kubernetes API and the data plane on one machine, spoken to only over HTTP.

pub mod aws;
pub mod clock;
pub mod clusters;
pub mod controllers;
pub mod data_plane;
pub mod kubernetes;
pub mod registry;
pub mod state;
