//! Reading repositories of ECR, one by one or many at once, and the way into them.
//!
//! Asked for several by name, ECR answers nothing at all when one of them is missing; asked for all, it gives a thousand in an
//! answer. So who needs many lists them once, and whoever follows within moments reads that list.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ecr::types::Repository;
use base64::Engine;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::aws::{failed, is};
use super::registry::Login;
use crate::engine::{Failure, Result};

/// The most that an answer holds.
const PAGE: i32 = 1000;
/// How long a list counts as what is so.
const FRESH: Duration = Duration::from_secs(5);

type Known = Arc<HashMap<String, Repository>>;

/// The account's repositories. Knows what this process has changed: that is never read from a list made before.
pub struct Repositories {
    ecr: aws_sdk_ecr::Client,
    login: OnceCell<Login>,
    listed: tokio::sync::Mutex<Option<(Instant, Option<Known>)>>,
    changed: Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Repositories {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repositories").finish_non_exhaustive()
    }
}

impl Repositories {
    pub(super) fn new(ecr: aws_sdk_ecr::Client) -> Self {
        Repositories {
            ecr,
            login: OnceCell::new(),
            listed: tokio::sync::Mutex::default(),
            changed: Mutex::default(),
        }
    }

    /// The repository of that name, as it is now.
    ///
    /// # Errors
    /// Anything but a missing repository.
    pub async fn find(&self, name: &str) -> Result<Option<Repository>> {
        let described = self.ecr.describe_repositories().repository_names(name);
        match described.send().await {
            Ok(described) => Ok(described
                .repositories
                .unwrap_or_default()
                .into_iter()
                .next()),
            Err(error) if is(&error, "RepositoryNotFoundException") => Ok(None),
            Err(error) => Err(failed(format!("ECR repository {name}"))(error)),
        }
    }

    /// As [`Repositories::find`], for one of many that are looked for within moments; as it was moments ago, unless this
    /// process has changed it.
    ///
    /// # Errors
    /// Anything but a missing repository.
    pub async fn find_one_of_many(&self, name: &str) -> Result<Option<Repository>> {
        let is_changed = |changed: &Mutex<HashSet<String>>| {
            let changed = changed.lock().unwrap_or_else(PoisonError::into_inner);
            changed.contains(name)
        };
        if is_changed(&self.changed) {
            return self.find(name).await;
        }
        match self.list().await {
            Some(known) => Ok(known.get(name).cloned()),
            // Who may not list may still ask for one.
            None => self.find(name).await,
        }
    }

    /// Where the account's images are pushed to, and as whom. Asked for once: it is good for twelve hours.
    ///
    /// # Errors
    /// What ECR says; an answer that cannot be read.
    pub async fn login(&self) -> Result<&Login> {
        const RESOURCE: &str = "the registry of ECR";
        let ask = async || {
            let answer = self.ecr.get_authorization_token().send().await;
            let data = answer
                .map_err(failed(RESOURCE))?
                .authorization_data
                .unwrap_or_default();
            let login = data.into_iter().next().and_then(|data| {
                let engine = base64::engine::general_purpose::STANDARD;
                let token = engine.decode(data.authorization_token?).ok()?;
                let token = String::from_utf8(token).ok()?;
                let (user, password) = token.split_once(':')?;
                Some(Login {
                    registry: data.proxy_endpoint?,
                    user: user.to_owned(),
                    password: password.to_owned(),
                })
            });
            login.ok_or_else(|| Failure::new(RESOURCE, "its authorization cannot be read"))
        };
        self.login.get_or_try_init(ask).await
    }

    /// Says that this process changes a repository, or may have: called before the change.
    pub fn change(&self, name: &str) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert(name.to_owned());
    }

    /// All repositories; nothing where they cannot be listed.
    async fn list(&self) -> Option<Known> {
        let mut listed = self.listed.lock().await;
        if let Some((at, known)) = &*listed
            && at.elapsed() < FRESH
        {
            return known.clone();
        }
        let at = Instant::now();
        let pages = self.ecr.describe_repositories().max_results(PAGE);
        let mut items = pages.into_paginator().items().send();
        let mut all = HashMap::new();
        let mut known = None;
        loop {
            match items.next().await {
                Some(Ok(repository)) => {
                    let name = repository.repository_name().unwrap_or_default();
                    all.insert(name.to_owned(), repository);
                }
                Some(Err(_)) => break,
                None => {
                    known = Some(Arc::new(all));
                    break;
                }
            }
        }
        *listed = Some((at, known.clone()));
        known
    }
}
