//! Steps whose resource is a bundle of Kubernetes objects.

use std::future::Future;

use super::{Bundle, Cluster};
use crate::engine::{Change, Context, Expected, Input, Observed, Result, Step, StepId};

/// What makes such a step its own. How its objects are looked at, made and removed is the same for all; a cluster that
/// does not answer holds nothing that a step could remove, so what it held goes with it.
pub trait Objects: Send + Sync + 'static {
    /// The step's name.
    fn id(&self) -> StepId;

    /// The objects as the user knows them.
    fn title(&self) -> String;

    /// How long it usually takes.
    fn expected(&self) -> Expected {
        Expected::seconds(1, 1)
    }

    /// Where they live.
    fn cluster(&self) -> &Input<Cluster>;

    /// They, as wanted.
    fn bundle<'a>(
        &'a self,
        cx: &'a Context,
        cluster: &'a Cluster,
    ) -> impl Future<Output = Result<Bundle<'a>>> + Send;

    /// Returns once they can be made, beside what the bundle needs to be looked at.
    fn prepare(&self, _: &Context, _: &Cluster) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Returns once what they do works: ready objects may not be enough.
    fn settle(&self, _: &Context, _: &Cluster) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Removes them, and returns when they are gone.
    fn remove(&self, cx: &Context, cluster: &Cluster) -> impl Future<Output = Result<()>> + Send {
        async move { self.bundle(cx, cluster).await?.destroy(cx).await }
    }
}

impl<T: Objects> Step for T {
    type Outputs = ();

    fn id(&self) -> StepId {
        Objects::id(self)
    }

    fn title(&self) -> String {
        Objects::title(self)
    }

    fn expected(&self) -> Expected {
        Objects::expected(self)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<()>> {
        let cluster = self.cluster().get(cx)?;
        self.bundle(cx, &cluster).await?.observe().await
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<()> {
        let cluster = self.cluster().get(cx)?;
        self.prepare(cx, &cluster).await?;
        self.bundle(cx, &cluster).await?.apply(cx).await?;
        self.settle(cx, &cluster).await
    }

    async fn destroy(&self, cx: &Context, seen: &Observed<()>) -> Result<()> {
        if matches!(seen, Observed::Unreachable(_)) {
            return Ok(());
        }
        let cluster = self.cluster().get(cx)?;
        self.remove(cx, &cluster).await
    }
}
