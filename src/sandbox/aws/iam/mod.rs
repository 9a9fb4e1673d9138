//! IAM: users and their keys, roles, policies, instance profiles, OpenID Connect providers, and the evaluation of every
//! call of every principal.

mod access;
mod condition;
mod decisions;
mod linked;
mod managed;
mod policies;
pub mod policy;
mod profiles;
mod providers;
mod roles;
mod users;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::protocol::{operation, uri_encode};
use super::{Call, Caller, Check, Fault, Operation, Protocol, Service, rejection};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{State as Everything, World};
pub use access::authorize;
pub(super) use access::identity_decision;
pub use decisions::Decisions;
pub use linked::{ensure_service_linked_role, service_linked_role_arn};
use policy::{Document, Kind};

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
    /// Whether it is of something that runs in the sandbox: a pod or a node.
    #[serde(default)]
    pub is_internal: bool,
}

/// Whether a caller is something that runs in the sandbox, rather than somebody from outside.
pub fn is_internal(state: &Everything, arn: &str) -> bool {
    let Some((_, session)) = arn.split_once(":assumed-role/") else {
        return arn == ANONYMOUS;
    };
    let mut sessions = state.iam.sessions.values();
    sessions.any(|one| one.is_internal && session.split_once('/') == Some((&one.role, &one.name)))
}

/// What who signs nothing is called: pods that exchange their tokens.
pub const ANONYMOUS: &str = "anonymous";

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

impl Role {
    /// Its ARN, under the name it is kept by.
    pub fn arn(&self, name: &str) -> String {
        format!(
            "arn:aws:iam::{}:role{}{name}",
            crate::sandbox::state::ACCOUNT,
            self.path
        )
    }
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
    pub fn document(&self, arn: &str) -> Option<String> {
        match managed::find(arn) {
            Some(policy) => Some(policy.document.to_string()),
            None => {
                let policy = self.policies.get(arn)?;
                Some(
                    policy
                        .versions
                        .get(&policy.default_version)?
                        .document
                        .clone(),
                )
            }
        }
    }

    /// Whether there is such a managed policy.
    fn attachable(&self, arn: &str) -> Result<(), Fault> {
        match managed::find(arn).is_some() || self.policies.contains_key(arn) {
            true => Ok(()),
            false if !arn.starts_with("arn:") => Err(Fault::new(
                400,
                "InvalidInput",
                format!("ARN {arn} is not valid."),
            )),
            false => Err(missing(format!(
                "Policy {arn} does not exist or is not attachable."
            ))),
        }
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

/// The service.
pub struct Iam;

type Handler = fn(&mut Everything, &Call<'_>) -> Result<Value, Fault>;

const TABLES: [&[(&str, Handler)]; 5] = [
    roles::HANDLERS,
    policies::HANDLERS,
    profiles::HANDLERS,
    providers::HANDLERS,
    users::HANDLERS,
];

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
        static OPERATIONS: std::sync::LazyLock<Vec<Operation>> = std::sync::LazyLock::new(|| {
            let names = TABLES.iter().flat_map(|table| table.iter());
            names.map(|(name, _)| operation(name)).collect()
        });
        &OPERATIONS
    }
    fn resource(&self, call: &Call<'_>) -> String {
        let account = &call.world.account;
        let of = |kind: &str, member: &str| {
            call.text(member)
                .map(|name| format!("arn:aws:iam::{account}:{kind}/{name}"))
        };
        call.text("PolicyArn")
            .filter(|_| {
                !call.operation.starts_with("Attach") && !call.operation.starts_with("Detach")
            })
            .or_else(|| call.text("OpenIDConnectProviderArn"))
            .or_else(|| call.text("PolicySourceArn"))
            .or_else(|| of("instance-profile", "InstanceProfileName"))
            .or_else(|| of("role", "RoleName"))
            .or_else(|| of("user", "UserName"))
            .or_else(|| of("policy", "PolicyName"))
            .or_else(|| {
                let url = call.text("Url")?;
                Some(providers::arn(account, providers::issuer(&url)))
            })
            .unwrap_or_else(|| "*".into())
    }
    fn checks(&self, state: &Everything, call: &Call<'_>) -> Vec<Check> {
        let mut check = Check::new(format!("iam:{}", call.operation), self.resource(call));
        let role = call
            .text("RoleName")
            .and_then(|name| state.iam.roles.get(&name).map(|role| (name, role)));
        if let Some((name, role)) = &role {
            if check.resource.contains(":role/") {
                check.resource = role.arn(name);
            }
            check = check.tagged(&role.tags);
        }
        if let Some(arn) = call.text("PolicyArn") {
            check = check.with("iam:PolicyARN", arn);
        }
        if let Some(arn) = call.text("PermissionsBoundary") {
            check = check.with("iam:PermissionsBoundary", arn);
        }
        match call.operation {
            "CreateServiceLinkedRole" => {
                let service = call.text("AWSServiceName").unwrap_or_default();
                check.resource = linked::name_of(&service).map_or("*".into(), |name| {
                    linked::arn(&call.world.account, &service, &name)
                });
                vec![check.with("iam:AWSServiceName", service)]
            }
            "AddRoleToInstanceProfile" => match role {
                Some((name, role)) => vec![
                    check,
                    Check::pass_role(role.arn(&name), "ec2.amazonaws.com"),
                ],
                None => vec![check],
            },
            _ => vec![check],
        }
    }
    fn handle(&self, state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
        let mut handlers = TABLES.iter().flat_map(|table| table.iter());
        match handlers.find(|(name, _)| *name == call.operation) {
            Some((_, handler)) => handler(state, call),
            None => Err(rejection::unknown_operation(self, call.operation)),
        }
    }
    fn tick(&self, state: &mut Everything, world: &World) -> bool {
        // Expired keys are kept for a while, so that their users are told that they have expired.
        let forgotten = world.clock.now().saturating_sub(3_600_000);
        let before = state.iam.sessions.len();
        state
            .iam
            .sessions
            .retain(|_, session| session.expires > forgotten);
        state.iam.sessions.len() != before
    }
}

/// Makes the one user of a new sandbox, with full access and a key of its own.
pub fn bootstrap(world: &World, state: &mut Everything) -> (String, String) {
    let id = unique_id(state, "AIDA");
    let key = access_key_id(state, "AKIA");
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

const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// `AROA…`, 21 characters.
fn unique_id(state: &mut Everything, prefix: &str) -> String {
    format!("{prefix}{}", state.unique(BASE32, 17))
}

/// `AKIA…` or `ASIA…`, 20 characters.
pub(super) fn access_key_id(state: &mut Everything, prefix: &str) -> String {
    format!("{prefix}{}", state.unique(BASE32, 16))
}

fn missing(message: String) -> Fault {
    Fault::new(404, "NoSuchEntity", message)
}

fn exists(message: String) -> Fault {
    Fault::new(409, "EntityAlreadyExists", message)
}

fn conflict(message: &str) -> Fault {
    Fault::new(409, "DeleteConflict", message)
}

fn limit(message: &str) -> Fault {
    Fault::new(409, "LimitExceeded", message)
}

fn malformed(message: String) -> Fault {
    Fault::new(400, "MalformedPolicyDocument", message)
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(400, "ValidationError", message)
}

/// A member that must be there.
fn required(call: &Call<'_>, member: &str) -> Result<String, Fault> {
    call.text(member).ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
            lower_first(member)
        ))
    })
}

/// A name that is about to be given to something.
fn new_name(call: &Call<'_>, member: &str, longest: usize) -> Result<String, Fault> {
    let name = required(call, member)?;
    if name.len() > longest {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at '{}' failed to satisfy constraint: Member must have length \
             less than or equal to {longest}",
            lower_first(member)
        )));
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
    {
        return Err(invalid(format!(
            "The specified value for {} is invalid. It must contain only alphanumeric characters and/or the following: \
             +=,.@_-",
            lower_first(member)
        )));
    }
    Ok(name)
}

fn path(call: &Call<'_>) -> Result<String, Fault> {
    let path = call.text("Path").unwrap_or_else(|| "/".into());
    if !path.starts_with('/') || !path.ends_with('/') || path.len() > 512 {
        return Err(invalid(
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric \
             characters and/or / characters.",
        ));
    }
    Ok(path)
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

/// The `Tags` member.
fn tags(call: &Call<'_>) -> Result<Tags, Fault> {
    let mut tags = Tags::new();
    for tag in call.list("Tags") {
        let text = |member: &str| tag.get(member).and_then(super::text_of);
        let (Some(key), Some(value)) = (text("Key"), text("Value")) else {
            return Err(invalid(
                "1 validation error detected: Value null at 'tags' failed to satisfy constraint: Member must not be null",
            ));
        };
        if key.is_empty() || key.len() > 128 || value.len() > 256 {
            return Err(invalid(format!(
                "1 validation error detected: Value '{key}' at 'tags.1.member.key' failed to satisfy constraint: Member must have length less than or equal to 128"
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Fault::new(
                400,
                "InvalidInput",
                "System tags cannot be added/updated/deleted by requester.",
            ));
        }
        if tags.insert(key, value).is_some() {
            return Err(Fault::new(
                400,
                "InvalidInput",
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
    }
    match tags.len() {
        0..=50 => Ok(tags),
        _ => Err(limit("Cannot exceed quota for TagsPerResource: 50")),
    }
}

fn add_tags(existing: &mut Tags, new: Tags) -> Result<Value, Fault> {
    let mut all = existing.clone();
    all.extend(new);
    if all.len() > 50 {
        return Err(limit("Cannot exceed quota for TagsPerResource: 50"));
    }
    *existing = all;
    Ok(Value::Null)
}

fn remove_tags(existing: &mut Tags, call: &Call<'_>) -> Result<Value, Fault> {
    for key in call.texts("TagKeys") {
        existing.remove(&key);
    }
    Ok(Value::Null)
}

fn show_tags(tags: &Tags) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

/// A document as IAM answers it.
fn show_document(document: &str) -> String {
    uri_encode(document, false)
}

/// One page of a list whose items come with the names that order them.
fn page(
    call: &Call<'_>,
    member: &str,
    items: impl IntoIterator<Item = (String, Value)>,
) -> Result<Value, Fault> {
    let most = match call.integer("MaxItems") {
        None => 100,
        Some(most @ 1..=1000) => most as usize,
        Some(most) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{most}' at 'maxItems' failed to satisfy constraint: Member must \
                 have value between 1 and 1000"
            )));
        }
    };
    let after = call.text("Marker");
    let mut items: Vec<(String, Value)> = items
        .into_iter()
        .filter(|(name, _)| after.as_ref().is_none_or(|after| name > after))
        .collect();
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    let truncated = items.len() > most;
    items.truncate(most);
    let mut output = Map::new();
    if truncated && let Some((last, _)) = items.last() {
        output.insert("Marker".into(), last.clone().into());
    }
    output.insert("IsTruncated".into(), truncated.into());
    output.insert(
        member.into(),
        items.into_iter().map(|(_, item)| item).collect(),
    );
    Ok(Value::Object(output))
}

#[cfg(test)]
#[path = "iam_tests.rs"]
mod tests;
