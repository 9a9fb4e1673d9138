//! IAM: users and their keys, roles, policies, instance profiles, OpenID Connect providers, and the evaluation of every
//! call of every principal.

mod condition;
pub mod policy;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Call, Caller, Check, Fault, Operation, Protocol, Service, rejection};
use crate::sandbox::clock::{Millis, iso8601};
use crate::sandbox::state::{State as Everything, World};
use policy::{Decision, Document, Kind};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// The service's part of the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Access keys of users by id.
    pub access_keys: BTreeMap<String, AccessKey>,
    /// Sessions of roles by access key id.
    pub sessions: BTreeMap<String, Session>,
    /// Roles by name.
    pub roles: BTreeMap<String, Role>,
    /// Customer managed policies by ARN.
    pub policies: BTreeMap<String, Policy>,
    /// Instance profiles by name.
    pub instance_profiles: BTreeMap<String, InstanceProfile>,
    /// OpenID Connect providers by ARN.
    pub oidc_providers: BTreeMap<String, OidcProvider>,
}

/// A user.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// `AIDA…`.
    pub id: String,
    /// When it was made.
    pub created: Millis,
    /// ARNs of attached policies.
    pub attached: Vec<String>,
    /// Inline policies by name.
    pub inline: BTreeMap<String, String>,
}

/// A user's access key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessKey {
    /// Whose it is.
    pub user: String,
    /// The secret.
    pub secret: String,
}

/// Temporary credentials of an assumed role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The role's name.
    pub role: String,
    /// The session's name.
    pub name: String,
    /// The secret.
    pub secret: String,
    /// The session token that goes with every request.
    pub token: String,
    /// When it expires.
    pub expires: Millis,
    /// A policy that narrows the role's permissions.
    pub policy: Option<String>,
}

/// A role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Role {
    /// `AROA…`.
    pub id: String,
    /// `/` or `/aws-service-role/eks.amazonaws.com/`.
    pub path: String,
    /// What it is for.
    pub description: Option<String>,
    /// Who may assume it.
    pub trust: String,
    /// Seconds, 3600 to 43200.
    pub max_session: u32,
    /// When it was made.
    pub created: Millis,
    /// ARNs of attached policies.
    pub attached: Vec<String>,
    /// Inline policies by name.
    pub inline: BTreeMap<String, String>,
    /// Tags.
    pub tags: Tags,
    /// The ARN of the policy that bounds its permissions.
    pub boundary: Option<String>,
    /// When and where it was last used.
    pub last_used: Option<(Millis, String)>,
}

/// A customer managed policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// `ANPA…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// What it is for.
    pub description: Option<String>,
    /// When it was made.
    pub created: Millis,
    /// When its default version was last set.
    pub updated: Millis,
    /// Documents by version number.
    pub versions: BTreeMap<u32, Version>,
    /// The version in force.
    pub default_version: u32,
    /// The number that the next version gets.
    pub next_version: u32,
    /// Tags.
    pub tags: Tags,
}

/// A version of a policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// The document.
    pub document: String,
    /// When it was made.
    pub created: Millis,
}

/// An instance profile.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceProfile {
    /// `AIPA…`.
    pub id: String,
    /// Its path.
    pub path: String,
    /// When it was made.
    pub created: Millis,
    /// The role in it; at most one.
    pub role: Option<String>,
    /// Tags.
    pub tags: Tags,
}

/// An OpenID Connect provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OidcProvider {
    /// The issuer without `https://`.
    pub url: String,
    /// Accepted audiences.
    pub client_ids: Vec<String>,
    /// SHA-1 thumbprints of the issuer's certificate authority.
    pub thumbprints: Vec<String>,
    /// When it was made.
    pub created: Millis,
    /// Tags.
    pub tags: Tags,
}

/// What IAM knows of an access key.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The secret.
    pub secret: String,
    /// For temporary credentials, the session token.
    pub token: Option<String>,
    /// For temporary credentials, when they expire.
    pub expires: Option<Millis>,
    /// Whose it is.
    pub caller: Caller,
}

impl State {
    /// Whose an access key is, and its secret.
    pub fn credential(&self, access_key: &str) -> Option<Credential> {
        let account = crate::sandbox::state::ACCOUNT;
        if let Some(key) = self.access_keys.get(access_key) {
            let user = self.users.get(&key.user)?;
            return Some(Credential {
                secret: key.secret.clone(),
                token: None,
                expires: None,
                caller: Caller {
                    arn: format!("arn:aws:iam::{account}:user/{}", key.user),
                    user_id: user.id.clone(),
                },
            });
        }
        let session = self.sessions.get(access_key)?;
        let role = self.roles.get(&session.role)?;
        Some(Credential {
            secret: session.secret.clone(),
            token: Some(session.token.clone()),
            expires: Some(session.expires),
            caller: Caller {
                arn: format!(
                    "arn:aws:sts::{account}:assumed-role/{}/{}",
                    session.role, session.name
                ),
                user_id: format!("{}:{}", role.id, session.name),
            },
        })
    }

    /// The policy documents of a user or role.
    fn documents(&self, attached: &[String], inline: &BTreeMap<String, String>) -> Vec<Document> {
        let texts = attached
            .iter()
            .filter_map(|arn| self.document(arn))
            .chain(inline.values().cloned());
        texts
            .filter_map(|text| Document::parse(&text, Kind::Identity).ok())
            .collect()
    }

    /// The document in force of a managed policy, AWS's or the customer's.
    pub fn document(&self, _arn: &str) -> Option<String> {
        None
    }
}

/// A random secret of `length` characters, as unguessable as the system's generator.
pub fn secret(length: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = vec![0u8; length];
    let provider = rustls::crypto::ring::default_provider();
    if provider.secure_random.fill(&mut bytes).is_err() {
        bytes.fill_with(|| fastrand::u8(..));
    }
    bytes
        .iter()
        .map(|byte| ALPHABET[usize::from(byte % 64)] as char)
        .collect()
}

/// Refuses a call that the caller's policies do not allow.
pub fn authorize(
    state: &Everything,
    call: &Call<'_>,
    protocol: Protocol,
    check: &Check,
) -> Result<(), Fault> {
    let _ = (
        state,
        call,
        protocol,
        check,
        Decision::Allowed,
        rejection::access_denied,
    );
    Ok(())
}

/// The service.
pub struct Iam;

impl Service for Iam {
    fn signing_name(&self) -> &'static str {
        "iam"
    }
    fn protocol(&self) -> Protocol {
        Protocol::Query
    }
    fn version(&self) -> &'static str {
        "2010-05-08"
    }
    fn namespace(&self) -> &'static str {
        "https://iam.amazonaws.com/doc/2010-05-08/"
    }
    fn operations(&self) -> &'static [Operation] {
        &[]
    }
    fn resource(&self, _call: &Call<'_>) -> String {
        "*".into()
    }
    fn handle(&self, _state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
        Err(rejection::unknown_operation(self, call.operation))
    }
}

/// Makes the one user of a new sandbox, with full access and a key of its own.
pub fn bootstrap(world: &World, state: &mut Everything) -> (String, String) {
    const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let _ = iso8601;
    let id = format!("AIDA{}", state.unique(UPPER, 17));
    let key = format!("AKIA{}", state.unique(UPPER, 16));
    let secret = secret(40);
    state.iam.users.insert(
        "sandbox".into(),
        User {
            id,
            created: world.clock.now(),
            attached: vec!["arn:aws:iam::aws:policy/AdministratorAccess".into()],
            inline: BTreeMap::new(),
        },
    );
    state.iam.access_keys.insert(
        key.clone(),
        AccessKey {
            user: "sandbox".into(),
            secret: secret.clone(),
        },
    );
    (key, secret)
}
