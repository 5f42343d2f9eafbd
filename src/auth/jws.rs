//! The envelope of a signed command: a JSON Web Signature (RFC 7515), compact or as flattened JSON,
//! with Ed25519 (RFC 8037 `EdDSA`, RFC 9864 `Ed25519`).
//!
//! Only the one algorithm is there, so no header can ask for a weaker one. Base64url is read strictly:
//! a signature has one spelling. Headers that name or carry keys (`jwk`, `jku`, `x5c`) are not looked
//! at, as the standard allows; `crit` is refused, as it demands.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::base::{Culprit, Error, Kind, Result};
use crate::config::PublicKeyText;
use crate::event::topic::valid_correlation;
use crate::event::{CommandClaims, SignedCommand};

/// Longest protected header, as base64url.
const MAX_HEADER: usize = 1024;
/// Members of a JSON serialization (RFC 7515 section 7.2). No command has a key of these names.
const MEMBERS: [&[u8]; 5] = [b"payload", b"protected", b"signature", b"header", b"signatures"];

/// An envelope that was taken apart and not verified yet.
#[derive(Debug)]
pub struct Sealed<'a> {
    /// The name of the key.
    pub kid: String,
    protected: &'a str,
    payload: &'a str,
    signature: Signature,
}

/// What was signed.
#[derive(Debug)]
pub struct Claims {
    /// The box.
    pub aud: String,
    /// The command.
    pub cmd: String,
    /// The counter.
    pub ctr: u64,
    /// When it was signed, seconds since 1970.
    pub iat: i64,
    /// When it ends.
    pub exp: Option<i64>,
    /// The run of the box it is meant for.
    pub boot: Option<Uuid>,
    /// What the requester calls it; fit for a topic.
    pub correlation: Option<String>,
    /// The command's own payload, a JSON object, overwritten when dropped.
    pub body: Zeroizing<Vec<u8>>,
}

fn wrong(what: &str) -> Error {
    Error::new(Kind::Malformed, Culprit::Request, what)
        .remedy("send a JWS (RFC 7515), compact or flattened, with alg EdDSA and kid in its protected header")
}

fn starts_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
}

/// Whether a payload claims to be signed: a token, or JSON whose first key is one of an envelope's.
/// A few bytes are looked at, however large it is.
pub fn claims_to_be_signed(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    let Some(rest) = bytes.strip_prefix(b"{") else { return bytes.starts_with(b"eyJ") };
    let Some(rest) = rest.trim_ascii_start().strip_prefix(b"\"") else { return false };
    MEMBERS.iter().any(|m| rest.strip_prefix(*m).is_some_and(|r| r.first() == Some(&b'"')))
}

/// The three parts, compact or flattened.
fn parts(bytes: &[u8]) -> Result<(&str, &str, &str)> {
    if starts_json(bytes) {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Flattened<'a> {
            protected: &'a str,
            payload: &'a str,
            signature: &'a str,
        }
        let read: Flattened<'_> = serde_json::from_slice(bytes)
            .map_err(|_| wrong("the envelope is not of protected, payload and signature alone"))?;
        return Ok((read.protected, read.payload, read.signature));
    }
    let text = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| wrong("the envelope is not text"))?;
    let mut parts = text.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(protected), Some(payload), Some(signature), None) => Ok((protected, payload, signature)),
        _ => Err(wrong("the envelope does not have three parts")),
    }
}

impl<'a> Sealed<'a> {
    /// Takes an envelope apart. Nothing in it is trusted by this.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: String,
            crit: Option<IgnoredAny>,
        }
        let (protected, payload, signature) = parts(bytes)?;
        if protected.len() > MAX_HEADER {
            return Err(wrong("the protected header is too large"));
        }
        let header =
            URL_SAFE_NO_PAD.decode(protected).map_err(|_| wrong("the protected header is not base64url"))?;
        if !starts_json(&header) {
            return Err(wrong("the protected header is not a JSON object"));
        }
        let header: Header = serde_json::from_slice(&header)
            .map_err(|_| wrong("the protected header is not JSON with alg and kid"))?;
        if header.crit.is_some() {
            return Err(wrong("the header has crit, and no extension is supported"));
        }
        if !matches!(header.alg.as_str(), "EdDSA" | "Ed25519") {
            return Err(wrong("the algorithm is not EdDSA"));
        }
        let mut bytes = [0; 64];
        // 86 characters are 64 bytes; any other length is another number of bytes.
        match URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes) {
            Ok(64) => {}
            _ => return Err(wrong("the signature is not 64 bytes of base64url")),
        }
        Ok(Self { kid: header.kid, protected, payload, signature: Signature::from_bytes(&bytes) })
    }

    /// Whether it was signed with this key. Strict: a key of small order or a signature that is not
    /// canonical is refused (RFC 8032 section 5.1.7, and what it leaves open).
    pub fn verified_by(&self, key: &VerifyingKey) -> bool {
        let mut signed = Zeroizing::new(Vec::with_capacity(self.protected.len() + 1 + self.payload.len()));
        signed.extend_from_slice(self.protected.as_bytes());
        signed.push(b'.');
        signed.extend_from_slice(self.payload.as_bytes());
        key.verify_strict(&signed, &self.signature).is_ok()
    }

    /// Reads what was signed.
    pub fn claims(&self) -> Result<Claims> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Read<'a> {
            aud: String,
            cmd: String,
            ctr: u64,
            iat: f64,
            exp: Option<f64>,
            boot: Option<Uuid>,
            correlation: Option<String>,
            #[serde(borrow)]
            body: Option<&'a RawValue>,
            #[serde(rename = "iss")]
            _iss: Option<IgnoredAny>,
            #[serde(rename = "sub")]
            _sub: Option<IgnoredAny>,
            #[serde(rename = "jti")]
            _jti: Option<IgnoredAny>,
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.payload.len() / 4 * 3 + 3));
        URL_SAFE_NO_PAD
            .decode_vec(self.payload, &mut bytes)
            .map_err(|_| wrong("the payload is not base64url"))?;
        if !starts_json(&bytes) {
            return Err(wrong("the claims are not a JSON object"));
        }
        let read: Read<'_> = serde_json::from_slice(&bytes).map_err(|e| {
            // The position only: the words around it could be a person's.
            wrong(&format!("the claims cannot be read at column {}: aud, cmd, ctr and iat must be there, exp, boot, correlation and body may", e.column()))
        })?;
        if read.correlation.as_deref().is_some_and(|c| !valid_correlation(c)) {
            return Err(wrong("the claim correlation is not usable in a topic"));
        }
        let body = read.body.map_or("{}", RawValue::get).as_bytes();
        if !starts_json(body) {
            return Err(wrong("the claim body is not a JSON object"));
        }
        // A fraction of a second, which RFC 7519 allows, is cut off; what is not a time saturates, and is
        // refused as stale or future.
        Ok(Claims {
            aud: read.aud,
            cmd: read.cmd,
            ctr: read.ctr,
            iat: read.iat as i64,
            exp: read.exp.map(|s| s as i64),
            boot: read.boot,
            correlation: read.correlation,
            body: Zeroizing::new(body.to_vec()),
        })
    }
}

/// Signs claims; gives the flattened JSON.
pub fn sign(kid: &str, key: &SigningKey, claims: &CommandClaims) -> Result<SignedCommand> {
    let json = |value: serde_json::Result<Vec<u8>>| {
        value.map(Zeroizing::new).map_err(|e| Error::internal("claims are not JSON").with_source(e))
    };
    let header = json(serde_json::to_vec(&serde_json::json!({ "alg": "EdDSA", "kid": kid })))?;
    let (protected, payload) =
        (URL_SAFE_NO_PAD.encode(&*header), URL_SAFE_NO_PAD.encode(&*json(serde_json::to_vec(claims))?));
    let signature = key.sign(format!("{protected}.{payload}").as_bytes());
    Ok(SignedCommand { protected, payload, signature: URL_SAFE_NO_PAD.encode(signature.to_bytes()) })
}

/// A private key as PKCS #8 (RFC 5958, RFC 8410), which OpenSSL and libraries for tokens read.
pub fn to_pem(key: &SigningKey) -> Zeroizing<String> {
    // PrivateKeyInfo of version 0 with Ed25519's identifier, around the 32 bytes.
    const HEAD: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let mut der = Zeroizing::new(Vec::with_capacity(48));
    der.extend_from_slice(&HEAD);
    der.extend_from_slice(&*Zeroizing::new(key.to_bytes()));
    let body = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(&*der));
    Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", &*body))
}

/// A new key.
pub fn generate() -> Result<SigningKey> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|e| Error::new(Kind::Unavailable, Culprit::Host, format!("no random numbers: {e}")))?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Reads a private key that [`to_pem`] or `openssl genpkey -algorithm ed25519` wrote.
pub fn read_pem(path: &Path) -> Result<SigningKey> {
    let wrong = |why: String| {
        Error::new(
            Kind::Malformed,
            Culprit::Request,
            format!("{} holds no Ed25519 key: {why}", path.display()),
        )
        .remedy("make one with `vigil hub key` or `openssl genpkey -algorithm ed25519`")
    };
    let der = PrivatePkcs8KeyDer::from_pem_file(path).map_err(|e| match e {
        rustls_pki_types::pem::Error::Io(io) => {
            Error::io(Culprit::Request, format!("cannot read the key {}", path.display()), io)
        }
        other => wrong(format!("{other:?}")),
    })?;
    SigningKey::from_pkcs8_der(der.secret_pkcs8_der()).map_err(|e| wrong(e.to_string()))
}

/// The public half, as the configuration has it.
pub fn public_text(key: &SigningKey) -> PublicKeyText {
    PublicKeyText::new(key.verifying_key().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims() -> CommandClaims {
        let body = serde_json::from_str(r#"{"person_ref":"a-1"}"#).unwrap();
        CommandClaims {
            aud: "s/b".into(),
            cmd: "gallery/revoke".into(),
            ctr: 7,
            iat: 1_790_000_000,
            exp: None,
            boot: Some(Uuid::nil()),
            correlation: Some("c-1".into()),
            body,
        }
    }

    fn compact(s: &SignedCommand) -> String {
        format!("{}.{}.{}", s.protected, s.payload, s.signature)
    }

    #[test]
    fn what_is_signed_is_read_back_in_both_forms() {
        let key = generate().unwrap();
        let signed = sign("hub-1", &key, &claims()).unwrap();
        for text in [compact(&signed), compact(&signed) + "\n", serde_json::to_string(&signed).unwrap()] {
            assert!(claims_to_be_signed(text.as_bytes()));
            let sealed = Sealed::parse(text.as_bytes()).unwrap();
            assert_eq!(sealed.kid, "hub-1");
            assert!(sealed.verified_by(&key.verifying_key()));
            assert!(!sealed.verified_by(&generate().unwrap().verifying_key()));
            let read = sealed.claims().unwrap();
            assert_eq!((read.aud.as_str(), read.cmd.as_str(), read.ctr), ("s/b", "gallery/revoke", 7));
            assert_eq!(
                (read.iat, read.boot, read.correlation.as_deref()),
                (1_790_000_000, Some(Uuid::nil()), Some("c-1"))
            );
            assert_eq!(&**read.body, br#"{"person_ref":"a-1"}"#);
        }
    }

    #[test]
    fn the_standards_own_example_verifies() {
        // RFC 8037 appendix A.4; its header has no kid, so it is put together here.
        let key = PublicKeyText::parse("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let text = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert!(Sealed::parse(text).is_err(), "a key must be named");
        let (protected, payload, signature) = parts(text).unwrap();
        let bytes: [u8; 64] = URL_SAFE_NO_PAD.decode(signature).unwrap().try_into().unwrap();
        let sealed =
            Sealed { kid: String::new(), protected, payload, signature: Signature::from_bytes(&bytes) };
        assert!(sealed.verified_by(&VerifyingKey::from_bytes(key.bytes()).unwrap()));
    }

    #[test]
    fn no_other_algorithm_and_no_extension() {
        let header =
            |json: &str| format!("{}.e30.{}", URL_SAFE_NO_PAD.encode(json), URL_SAFE_NO_PAD.encode([0; 64]));
        assert!(Sealed::parse(header(r#"{"alg":"Ed25519","kid":"a","typ":"JWT"}"#).as_bytes()).is_ok());
        for bad in [
            r#"{"alg":"none","kid":"a"}"#,
            r#"{"alg":"HS256","kid":"a"}"#,
            r#"{"alg":"eddsa","kid":"a"}"#,
            r#"{"alg":"EdDSA"}"#,
            r#"{"alg":"EdDSA","kid":7}"#,
            r#"{"alg":"EdDSA","alg":"EdDSA","kid":"a"}"#,
            r#"{"alg":"EdDSA","kid":"a","crit":["b64"],"b64":false}"#,
            r#"["EdDSA","a",null]"#,
            "",
        ] {
            assert!(Sealed::parse(header(bad).as_bytes()).is_err(), "{bad}");
        }
        let good = header(r#"{"alg":"EdDSA","kid":"a"}"#);
        for bad in [
            format!("{good}="),
            format!("{good}.x"),
            good.replace('.', ""),
            good[..good.len() - 1].to_owned(),
        ] {
            assert!(Sealed::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let with_header =
            r#"{"payload":"e30","protected":"e30","signature":"","header":{"kid":"a"}}"#.to_string();
        assert!(Sealed::parse(with_header.as_bytes()).is_err(), "an unsigned header");
    }

    #[test]
    fn claims_that_nobody_wrote_down_are_refused() {
        let key = generate().unwrap();
        let read = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(claims()).unwrap();
            change(&mut value);
            let payload = URL_SAFE_NO_PAD.encode(value.to_string());
            let protected = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"a"}"#);
            let signature =
                URL_SAFE_NO_PAD.encode(key.sign(format!("{protected}.{payload}").as_bytes()).to_bytes());
            let text = format!("{protected}.{payload}.{signature}");
            Sealed::parse(text.as_bytes()).unwrap().claims()
        };
        assert!(read(&|_| {}).is_ok());
        assert!(read(&|v| v["jti"] = "x".into()).is_ok());
        assert_eq!(read(&|v| v["iat"] = 12.75.into()).unwrap().iat, 12);
        assert_eq!(read(&|v| v["iat"] = 1e300.into()).unwrap().iat, i64::MAX);
        assert_eq!(&**read(&|v| drop(v.as_object_mut().unwrap().remove("body"))).unwrap().body, b"{}");
        for (key, value) in [
            ("nbf", serde_json::json!(1)),
            ("aud", serde_json::json!(["s/b"])),
            ("ctr", serde_json::json!(-1)),
            ("ctr", serde_json::json!("7")),
            ("iat", serde_json::json!("now")),
            ("boot", serde_json::json!("x")),
            ("body", serde_json::json!([])),
            ("correlation", serde_json::json!("a/b")),
        ] {
            assert!(read(&|v| v[key] = value.clone()).is_err(), "{key} {value}");
        }
    }

    #[test]
    fn a_plain_command_does_not_claim_to_be_signed() {
        for plain in ["{}", r#"{"portrait":"eyJ"}"#, r#"{"payloads":1}"#, "", "[]", "{\"", "\u{feff}{}"] {
            assert!(!claims_to_be_signed(plain.as_bytes()), "{plain}");
        }
        for signed in ["eyJhbGci", " {\n \"protected\" : 1}", r#"{"signatures":[]}"#] {
            assert!(claims_to_be_signed(signed.as_bytes()), "{signed}");
        }
    }

    #[test]
    fn a_key_survives_its_file() {
        let (dir, key) = (tempfile::tempdir().unwrap(), generate().unwrap());
        let path = dir.path().join("k.pem");
        std::fs::write(&path, to_pem(&key).as_bytes()).unwrap();
        assert_eq!(read_pem(&path).unwrap().to_bytes(), key.to_bytes());
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(read_pem(&path).unwrap_err().to_string().contains("Ed25519"));
        assert_eq!(read_pem(&dir.path().join("none")).unwrap_err().exit_code(), 66);
    }

    proptest! {
        #[test]
        fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = claims_to_be_signed(&bytes);
            if let Ok(sealed) = Sealed::parse(&bytes) { let _ = sealed.claims(); }
        }

        #[test]
        fn one_changed_byte_is_noticed(at in 0usize..1000, bit in 0u8..8) {
            let key = SigningKey::from_bytes(&[7; 32]);
            let mut text = compact(&sign("hub-1", &key, &claims()).unwrap()).into_bytes();
            let at = at % text.len();
            text[at] ^= 1 << bit;
            let passes = Sealed::parse(&text).is_ok_and(|s| s.verified_by(&key.verifying_key()));
            prop_assert!(!passes, "byte {at}");
        }
    }
}
