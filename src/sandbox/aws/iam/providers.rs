//! OpenID Connect providers: the issuers whose tokens STS exchanges for credentials.

use serde_json::{Value, json};

use super::{
    Handler, OidcProvider, add_tags, exists, invalid, limit, missing, page, remove_tags, required,
    show_tags, tags,
};
use crate::sandbox::aws::{Call, Fault};
use crate::sandbox::clock::iso8601;
use crate::sandbox::state::State;

const PROVIDERS: usize = 100;
/// What IAM writes when the caller gives no thumbprint; AWS trusts its own issuers' certificates by other means.
const THUMBPRINT: &str = "9e99a48a9960b14926bb7f3b02e22da2b0ab7280";

pub(super) const HANDLERS: &[(&str, Handler)] = &[
    ("CreateOpenIDConnectProvider", create),
    ("GetOpenIDConnectProvider", get),
    ("DeleteOpenIDConnectProvider", delete),
    ("ListOpenIDConnectProviders", list),
    ("TagOpenIDConnectProvider", tag),
    ("UntagOpenIDConnectProvider", untag),
    ("ListOpenIDConnectProviderTags", list_tags),
    ("AddClientIDToOpenIDConnectProvider", add_client),
    ("RemoveClientIDFromOpenIDConnectProvider", remove_client),
    ("UpdateOpenIDConnectProviderThumbprint", update_thumbprint),
];

/// The issuer's URL without scheme and trailing slash.
pub(super) fn issuer(url: &str) -> &str {
    url.strip_prefix("https://")
        .unwrap_or(url)
        .trim_end_matches('/')
}

/// The provider's ARN.
pub(super) fn arn(account: &str, issuer: &str) -> String {
    format!("arn:aws:iam::{account}:oidc-provider/{issuer}")
}

fn find<'a>(state: &'a mut State, call: &Call<'_>) -> Result<&'a mut OidcProvider, Fault> {
    let arn = required(call, "OpenIDConnectProviderArn")?;
    if !arn.starts_with("arn:") || !arn.contains(":oidc-provider/") {
        return Err(Fault::new(
            400,
            "InvalidInput",
            format!("Invalid ARN: {arn}"),
        ));
    }
    let provider = state.iam.oidc_providers.get_mut(&arn);
    provider.ok_or_else(|| missing(format!("OpenIDConnect Provider not found for arn {arn}")))
}

fn thumbprints(call: &Call<'_>) -> Result<Vec<String>, Fault> {
    let given = call.texts("ThumbprintList");
    if given.len() > 5 {
        return Err(invalid(
            "Thumbprint list must contain fewer than 5 entries.",
        ));
    }
    match given
        .iter()
        .find(|print| print.len() != 40 || !print.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        Some(_) => Err(Fault::new(
            400,
            "InvalidInput",
            "Thumbprint must be 40 hexadecimal characters.",
        )),
        None => Ok(given),
    }
}

fn create(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let url = required(call, "Url")?;
    if !url.starts_with("https://")
        || url.len() > 255
        || url.contains(['?', '#'])
        || issuer(&url).is_empty()
    {
        return Err(invalid("Invalid Open ID Connect Provider URL"));
    }
    let (mut thumbprints, tags) = (thumbprints(call)?, tags(call)?);
    let client_ids = call.texts("ClientIDList");
    let issuer = issuer(&url);
    let arn = arn(&call.world.account, issuer);
    if state.iam.oidc_providers.contains_key(&arn) {
        return Err(exists(format!("Provider with url {url} already exists.")));
    }
    if state.iam.oidc_providers.len() >= PROVIDERS || client_ids.len() > 100 {
        return Err(limit(
            "Cannot exceed quota for OpenIdConnectProvidersPerAccount: 100",
        ));
    }
    if thumbprints.is_empty() {
        thumbprints.push(THUMBPRINT.into());
    }
    let provider = OidcProvider {
        url: issuer.into(),
        client_ids,
        thumbprints,
        created: call.world.clock.now(),
        tags,
    };
    let shown = (!provider.tags.is_empty()).then(|| show_tags(&provider.tags));
    state.iam.oidc_providers.insert(arn.clone(), provider);
    Ok(json!({"OpenIDConnectProviderArn": arn, "Tags": shown}))
}

fn get(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let provider = find(state, call)?;
    Ok(json!({
        "Url": provider.url,
        "ClientIDList": provider.client_ids,
        "ThumbprintList": provider.thumbprints,
        "CreateDate": iso8601(provider.created),
        "Tags": show_tags(&provider.tags),
    }))
}

fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    find(state, call)?;
    state
        .iam
        .oidc_providers
        .remove(&required(call, "OpenIDConnectProviderArn")?);
    Ok(Value::Null)
}

fn list(state: &mut State, _: &Call<'_>) -> Result<Value, Fault> {
    let arns: Vec<Value> = state
        .iam
        .oidc_providers
        .keys()
        .map(|arn| json!({"Arn": arn}))
        .collect();
    Ok(json!({"OpenIDConnectProviderList": arns}))
}

fn tag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let tags = tags(call)?;
    add_tags(&mut find(state, call)?.tags, tags)
}

fn untag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    remove_tags(&mut find(state, call)?.tags, call)
}

fn list_tags(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let provider = find(state, call)?;
    let tags = provider
        .tags
        .iter()
        .map(|(key, value)| (key.clone(), json!({"Key": key, "Value": value})));
    page(call, "Tags", tags)
}

fn add_client(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let client = required(call, "ClientID")?;
    let provider = find(state, call)?;
    if !provider.client_ids.contains(&client) {
        if provider.client_ids.len() >= 100 {
            return Err(limit(
                "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100",
            ));
        }
        provider.client_ids.push(client);
    }
    Ok(Value::Null)
}

fn remove_client(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let client = required(call, "ClientID")?;
    find(state, call)?
        .client_ids
        .retain(|known| *known != client);
    Ok(Value::Null)
}

fn update_thumbprint(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let thumbprints = thumbprints(call)?;
    find(state, call)?.thumbprints = thumbprints;
    Ok(Value::Null)
}
