//! The audit: everything of the environment that is there, found from any machine, with or without the cluster.
//!
//! It asks each service what carries the environment's tags or names, and believes no journal. What it could not look
//! at is part of its answer: an audit that was not allowed to look is not a clean one.

mod compute;
mod containers;
mod identity;

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::clients::Clients;
use crate::clients::identity::Identity;
use crate::config::{Environment, Names};
use crate::engine::{Failure, Result};
use crate::mesh::MeshProvider;

/// Something of the environment that is still there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leftover {
    /// What it is: `NAT gateway`.
    pub kind: String,
    /// Its ARN; its id or name where AWS gives it no ARN.
    pub arn: String,
    /// How it is known to be the environment's: the tag or the name.
    pub reason: String,
    /// The command that removes it.
    pub removal: String,
}

/// What an audit found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audit {
    /// What is still there.
    pub leftovers: Vec<Leftover>,
    /// What is there and belongs to the whole account: reported, never removed.
    pub notes: Vec<String>,
    /// What could not be looked at.
    pub unchecked: Vec<Failure>,
}

impl Audit {
    /// Whether nothing is left, and everything was looked at.
    pub fn is_clean(&self) -> bool {
        self.leftovers.is_empty() && self.unchecked.is_empty()
    }
}

/// What the parts of an audit share.
struct Scope<'a> {
    environment: &'a Environment,
    names: Names,
    clients: &'a Clients,
    identity: &'a Identity,
}

/// What one part found.
#[derive(Default)]
struct Found {
    leftovers: Vec<Leftover>,
    notes: Vec<String>,
}

impl From<Vec<Leftover>> for Found {
    fn from(leftovers: Vec<Leftover>) -> Self {
        Found {
            leftovers,
            notes: Vec::new(),
        }
    }
}

type Part<'a> = Pin<Box<dyn Future<Output = Result<Found>> + Send + 'a>>;

/// Looks everywhere at once.
pub async fn audit(environment: &Environment, clients: &Clients, mesh: &dyn MeshProvider) -> Audit {
    let mut found = Audit::default();
    let identity = match clients.identity().await {
        Ok(identity) => identity,
        // Without an identity every other question fails the same way.
        Err(failure) => {
            found.unchecked.push(failure);
            return found;
        }
    };
    let scope = Scope {
        environment,
        names: Names::new(&environment.name),
        clients,
        identity,
    };
    let parts: Vec<Part<'_>> = vec![
        Box::pin(async { Ok(of_mesh(mesh).await?.into()) }),
        Box::pin(async { Ok(compute::load_balancing(&scope).await?.into()) }),
        Box::pin(async { Ok(compute::tagged(&scope).await?.into()) }),
        Box::pin(async { Ok(containers::cluster(&scope).await?.into()) }),
        Box::pin(async { Ok(containers::repositories(&scope).await?.into()) }),
        Box::pin(async { Ok(containers::stacks(&scope).await?.into()) }),
        Box::pin(async { Ok(containers::log_groups(&scope).await?.into()) }),
        Box::pin(async { Ok(containers::trace_groups(&scope).await?.into()) }),
        Box::pin(identity::roles(&scope)),
        Box::pin(async { Ok(identity::providers(&scope).await?.into()) }),
        Box::pin(async { Ok(identity::policies(&scope).await?.into()) }),
    ];
    for part in futures::future::join_all(parts).await {
        match part {
            Ok(part) => {
                found.leftovers.extend(part.leftovers);
                found.notes.extend(part.notes);
            }
            Err(failure) => found.unchecked.push(failure),
        }
    }
    found.leftovers.sort();
    found.leftovers.dedup_by(|one, other| one.arn == other.arn);
    found
}

async fn of_mesh(mesh: &dyn MeshProvider) -> Result<Vec<Leftover>> {
    let title = mesh.title();
    let leftovers = mesh.leftovers().await?;
    Ok(leftovers
        .into_iter()
        .map(|leftover| Leftover {
            kind: leftover.kind,
            arn: leftover.arn,
            reason: format!("in the environment's mesh of {title}"),
            removal: leftover.removal,
        })
        .collect())
}

impl Scope<'_> {
    fn region(&self) -> &str {
        self.clients.region()
    }

    fn arn(&self, service: &str, rest: &str) -> String {
        format!(
            "arn:{}:{service}:{}:{}:{rest}",
            self.identity.partition,
            self.region(),
            self.identity.account
        )
    }

    fn tagged_ours(&self) -> String {
        format!("tag {}={}", crate::config::OWNER_TAG, self.environment.name)
    }

    fn command(&self, command: &str) -> String {
        format!("aws {command} --region {}", self.region())
    }
}
