//! A signed command: a JSON Web Signature (RFC 7515) with Ed25519 (RFC 8037) over the claims of a JSON
//! Web Token (RFC 7519), so that any library for those makes one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A signed command as flattened JSON (RFC 7515 section 7.2.2). The compact form
/// `protected.payload.signature`, which libraries for tokens make, is taken as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedCommand {
    /// Base64url of `{"alg": "EdDSA", "kid": …}`; `kid` is the `id` of a `[[hub_key]]`. `crit` is not
    /// supported.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,1024}$"))]
    pub protected: String,
    /// Base64url of the claims (`CommandClaims`).
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub payload: String,
    /// Base64url of the Ed25519 signature of `protected.payload`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{86}$"))]
    pub signature: String,
}

/// What is signed. Other claims than these, `iss`, `sub` and `jti` are refused, because somebody relies
/// on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandClaims {
    /// The box: `{site}/{box}`.
    #[schemars(regex(pattern = r"^[a-z0-9-]{1,32}/[a-z0-9-]{1,32}$"))]
    pub aud: String,
    /// The command, as in its topic: `gallery/put`.
    pub cmd: String,
    /// Counts up with every command of this key; gaps are no harm. Milliseconds since 1970 do.
    #[schemars(range(min = 1))]
    pub ctr: u64,
    /// When it was signed, seconds since 1970.
    pub iat: i64,
    /// After this it must not be carried out, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// The run of the box it is meant for: `bootid` of `state`. Needed while the box's clock is not
    /// synchronised; always checked where it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Uuid>,
    /// What the requester calls this request, as `correlation` of `cmd/verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub correlation: Option<String>,
    /// The command's own payload; `{}` if left out.
    #[serde(default)]
    pub body: serde_json::Map<String, serde_json::Value>,
}
