//! meshctl: deploys a service-mesh environment on Amazon EKS, shifts traffic between versions, and removes it all again.
//!
//! Layers, imports go downward only: [`cli`] → [`views`] → [`steps`] → [`verify`] → [`rollout`] → [`mesh`] → [`images`] → [`clients`]
//! → [`config`] → [`engine`]. The [`sandbox`] imports none of them and is spoken to only over HTTP.

pub mod check;
pub mod cli;
pub mod clients;
pub mod config;
pub mod ec2;
pub mod engine;
#[cfg(feature = "sandbox")]
#[doc(hidden)]
pub mod fuzz;
pub mod images;
pub mod junit;
pub mod mesh;
pub mod page;
pub mod rollout;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod steps;
pub mod verify;
pub mod views;
