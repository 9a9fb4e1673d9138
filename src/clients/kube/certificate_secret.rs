//! Where a webhook's certificate is kept, and how those that want one at the same time agree on it.

use serde_json::{Value, json};

use super::bundle::Bundle;
use super::certificate::Certificate;
use super::connection::{Cluster, Trouble};
use super::object::Reference;
use crate::engine::{Context, Failure, FailureKind, Result};

/// How often another run may be faster before it is told: who is faster has made what the next look finds.
const TRIES: usize = 5;

/// The Secret that a webhook's certificate is kept in.
#[derive(Clone, Debug)]
pub struct CertificateSecret {
    secret: Reference,
    namespace: &'static str,
    service: &'static str,
}

impl CertificateSecret {
    /// The Secret `name` beside the webhook's Service.
    pub fn new(namespace: &'static str, name: &str, service: &'static str) -> Self {
        CertificateSecret {
            secret: Reference::namespaced("v1", "Secret", namespace, name),
            namespace,
            service,
        }
    }

    /// The certificate that is kept while it is good, a new one otherwise.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn certificate(&self, cluster: &Cluster) -> Result<Certificate> {
        let kept = self.get(cluster).await?;
        Certificate::kept_or_new(kept.as_ref(), self.namespace, self.service)
    }

    /// Sees to it that a good certificate is kept, before anything is made with it: whoever writes the Secret first has
    /// written it for all. A webhook whose authority is not that of the certificate that it serves with never answers.
    ///
    /// `manifests` gives those of the whole controller, the Secret and what it lives in among them.
    ///
    /// # Errors
    /// What the API server says; others that write it again and again.
    pub async fn agree(
        &self,
        cx: &Context,
        cluster: &Cluster,
        manifests: impl Fn(&Certificate) -> Result<Vec<Value>>,
    ) -> Result<()> {
        for _ in 0..TRIES {
            let kept = self.get(cluster).await?;
            let certificate =
                Certificate::kept_or_new(kept.as_ref(), self.namespace, self.service)?;
            if let Some(live) = &kept
                // A stranger's is told of when all of it is made.
                && (certificate.is_in(live) || cluster.foreign_owner(live).is_some())
            {
                return Ok(());
            }
            let (mut namespace, mut secret) = (Vec::new(), None);
            for manifest in manifests(&certificate)? {
                let name = Reference::of(&manifest);
                if name == self.secret {
                    secret = Some(manifest);
                } else if name.kind == "Namespace" && name.name == self.namespace {
                    namespace.push(manifest);
                }
            }
            let Some(mut secret) = secret else {
                let message = "is none of the manifests";
                return Err(Failure::new(self.secret.to_string(), message));
            };
            let written = match kept {
                None => {
                    let place = Bundle::new(self.secret.to_string(), cluster, namespace);
                    place.apply(cx).await?;
                    cluster.create(&secret).await
                }
                Some(live) => {
                    // Only what was read is written over.
                    secret["metadata"]["resourceVersion"] =
                        json!(live["metadata"]["resourceVersion"]);
                    match cluster.apply(&secret).await {
                        Ok(_) => Ok(true),
                        Err(trouble) if trouble.is_conflict() => Ok(false),
                        Err(trouble) => Err(trouble),
                    }
                }
            };
            if written.map_err(|trouble| self.failure(trouble))? {
                return Ok(());
            }
        }
        let message = "somebody else writes it again and again";
        Err(
            Failure::of(FailureKind::Blocked, self.secret.to_string(), message)
                .hint("see who does: `kubectl get secret -o yaml --show-managed-fields`"),
        )
    }

    async fn get(&self, cluster: &Cluster) -> Result<Option<Value>> {
        let got = cluster.get(&self.secret).await;
        got.map_err(|trouble| self.failure(trouble))
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        trouble.failure(self.secret.to_string())
    }
}
