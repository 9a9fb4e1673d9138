//! The cluster's API: who speaks to it, server-side apply, drift, ownership, deletion that waits.
//!
//! Objects are plain JSON, as the templates render them; nothing here knows what they mean. The field manager is
//! `meshctl`, and an object that lacks the environment's labels belongs to somebody else and is refused.

mod access;
mod bundle;
mod certificate;
mod certificate_secret;
mod connection;
mod drift;
mod forward;
mod kubeconfig;
mod object;
mod objects;
mod owner;
mod pods;
mod ready;
mod template;
#[cfg(all(test, feature = "sandbox"))]
mod tests;
mod token;

pub use access::access;
pub use bundle::{Bundle, Denials, remove};
pub use certificate::Certificate;
pub use certificate_secret::CertificateSecret;
pub use connection::{Access, Cluster, Trouble};
pub use forward::PodAnswer;
pub use kubeconfig::{
    Kubeconfig, merge as merge_kubeconfig, remove as remove_kubeconfig, write as write_kubeconfig,
};
pub use object::{Left, Reference};
pub use objects::Objects;
pub use pods::{PodTrouble, Pods, pods_of, renew_pods};
pub use ready::{Readiness, condition, readiness};
pub use template::Template;
pub use token::{LIFETIME as TOKEN_LIFETIME, Token, token};

/// The field manager of everything applied.
pub const FIELD_MANAGER: &str = "meshctl";
/// The label that says that meshctl made an object; its value is [`FIELD_MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that says which environment an object belongs to.
pub const ENVIRONMENT: &str = "meshctl.dev/environment";
