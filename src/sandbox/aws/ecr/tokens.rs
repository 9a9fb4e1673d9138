//! Authorization tokens: with one, the registry knows whom it serves and asks IAM for every request.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Call, Fault, seconds};
use crate::sandbox::aws::{Caller, iam};
use crate::sandbox::clock::Millis;
use crate::sandbox::state;

/// How long a token is valid: 12 real hours, as the expiry is compared with real clocks.
const VALIDITY: Millis = 12 * 3600 * 1000;

/// An authorization token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    /// Who asked for it.
    pub arn: String,
    /// That caller's unique id.
    pub user_id: String,
    /// The region it is for.
    pub region: String,
    /// When it ends.
    pub expires_at: Millis,
}

impl Token {
    /// Whom it stands for.
    pub fn caller(&self) -> Caller {
        Caller {
            arn: self.arn.clone(),
            user_id: self.user_id.clone(),
        }
    }
}

/// `GetAuthorizationToken`.
pub fn issue(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    use base64::Engine;
    let now = call.world.clock.now();
    // Expired ones are kept for a while, so that who brings them is told so.
    state
        .ecr
        .tokens
        .retain(|_, token| token.expires_at + VALIDITY > now);
    let password = iam::secret(96).replace(['/', '+'], "0");
    let expires_at = now + VALIDITY;
    state.ecr.tokens.insert(
        password.clone(),
        Token {
            arn: call.caller.arn.clone(),
            user_id: call.caller.user_id.clone(),
            region: call.region.to_owned(),
            expires_at,
        },
    );
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("AWS:{password}"));
    Ok(json!({ "authorizationData": [{
        "authorizationToken": encoded,
        "expiresAt": seconds(expires_at),
        "proxyEndpoint": format!("http://{}", call.world.ecr_host),
    }]}))
}
