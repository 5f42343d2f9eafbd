//! Certificates as countries write them (ICAO 9303-12 7, RFC 5280).
//!
//! Only what the chain needs is read, and only the structure: keys and signatures stay bytes until
//! somebody asks for them, so a store of a thousand certificates costs reading and nothing more.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::crypto::{Algorithm, Digest, PublicKey, Scheme};
use super::oid;
use crate::base::Result;
use crate::document::tlv::{Oid, Tag, Tlv};

/// No certificate is larger, in bytes.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// No certificate has more extensions.
const MAX_EXTENSIONS: usize = 64;
/// No name has more parts.
const MAX_NAME_PARTS: usize = 32;

/// A distinguished name, in two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// What two spellings of one name have in common (RFC 5280 7.1): string types, case and
    /// repeated spaces do not count.
    pub(super) key: Vec<u8>,
    /// As it is spelled.
    pub(super) raw: Vec<u8>,
    /// The country, two capital letters.
    pub(super) country: Option<String>,
    /// For a person: `C=DE, O=bund, CN=csca-germany`.
    pub(super) text: String,
}

impl Name {
    pub(super) fn read(element: Tlv<'_>) -> Result<Self> {
        let mut name =
            Self { key: Vec::new(), raw: element.raw().to_vec(), country: None, text: String::new() };
        let mut parts = 0;
        for set in element.expect(Tag::SEQUENCE, "a name")?.children()? {
            for pair in set?.expect(Tag::SET, "a name's part")?.children()? {
                let pair = pair?.expect(Tag::SEQUENCE, "a name's part")?;
                parts += 1;
                if parts > MAX_NAME_PARTS {
                    return Err(pair.malformed(format_args!("a name of more than {MAX_NAME_PARTS} parts")));
                }
                let mut fields = pair.children()?;
                let kind = fields.next_as("the kind of a name's part")?.oid()?;
                let value = fields.next_as("a name's part")?;
                name.push(kind, value);
            }
        }
        Ok(name)
    }

    fn push(&mut self, kind: Oid<'_>, value: Tlv<'_>) {
        let text = value.text(256);
        // A part that is no text is compared as it is.
        let canonical = match &text {
            Some(text) => {
                let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
                words.join(" ").into_bytes()
            }
            None => value.raw().to_vec(),
        };
        self.key.push(kind.0.len() as u8);
        self.key.extend_from_slice(kind.0);
        self.key.extend_from_slice(&(canonical.len() as u32).to_be_bytes());
        self.key.extend_from_slice(&canonical);
        let text = text.unwrap_or_else(|| "?".to_owned());
        if kind == oid::COUNTRY && text.len() == 2 && text.is_ascii() {
            self.country = Some(text.to_ascii_uppercase());
        }
        if self.text.len() < 256 {
            let comma = if self.text.is_empty() { "" } else { ", " };
            let _ = match kind {
                oid::COUNTRY => write!(self.text, "{comma}C={text}"),
                oid::ORGANIZATION => write!(self.text, "{comma}O={text}"),
                oid::ORGANIZATIONAL_UNIT => write!(self.text, "{comma}OU={text}"),
                oid::COMMON_NAME => write!(self.text, "{comma}CN={text}"),
                oid::SERIAL_NUMBER => write!(self.text, "{comma}serialNumber={text}"),
                other => write!(self.text, "{comma}{other}={text}"),
            };
        }
    }
}

/// The bits of keyUsage that matter here (RFC 5280 4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyUsage(u8);

impl KeyUsage {
    pub(super) const DIGITAL_SIGNATURE: u8 = 0x80;
    pub(super) const CERT_SIGN: u8 = 0x04;
    pub(super) const CRL_SIGN: u8 = 0x02;
}

/// A certificate.
#[derive(Clone)]
pub(super) struct Certificate {
    der: Vec<u8>,
    /// SHA-256 of the whole certificate, lower-case hex.
    pub(super) sha256: [u8; 32],
    tbs: (usize, usize),
    signature_algorithm: (usize, usize),
    signature: (usize, usize),
    spki: (usize, usize),
    /// Without leading zeros.
    pub(super) serial: Vec<u8>,
    pub(super) issuer: Name,
    pub(super) subject: Name,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// `Some` if basicConstraints says that it is a CA: how many CAs may stand below it.
    pub(super) ca: Option<Option<u64>>,
    key_usage: Option<KeyUsage>,
    /// subjectKeyIdentifier, or the SHA-1 that it would have been made from (RFC 5280 4.2.1.2).
    pub(super) key_id: Vec<u8>,
    pub(super) issuer_key_id: Option<Vec<u8>>,
    /// Signs lists of certificates or of deviations, and no documents.
    pub(super) list_signer: bool,
    /// Has the extension of a CSCA whose name changed (ICAO 9303-12 7.1).
    pub(super) name_change: bool,
    /// A critical extension that nobody here knows.
    pub(super) unknown_critical: Option<String>,
}

/// Names its own, not what is in it.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({}, {} bytes)", self.subject.text, self.der.len())
    }
}

/// Where `inner`'s bytes lie in a certificate that starts at byte `at`.
fn range(inner: &Tlv<'_>, at: usize) -> (usize, usize) {
    let start = inner.at() - at;
    (start, start + inner.raw().len())
}

impl Certificate {
    /// Reads a certificate. Bytes behind it are not looked at.
    pub(super) fn read(element: Tlv<'_>) -> Result<Self> {
        let outer = element.expect(Tag::SEQUENCE, "a certificate")?;
        if outer.raw().len() > MAX_BYTES {
            return Err(outer.malformed(format_args!("a certificate of {} bytes", outer.raw().len())));
        }
        let mut parts = outer.children()?;
        let tbs = parts.expect(Tag::SEQUENCE, "the signed part of a certificate")?;
        let algorithm = parts.next_as("the signature algorithm")?;
        let signature = parts.expect(Tag::BIT_STRING, "the signature")?;
        signature.bits()?;

        let mut fields = tbs.children()?;
        fields.optional(Tag::context_constructed(0))?;
        let serial = fields.expect(Tag::INTEGER, "the serial number")?;
        let inner_algorithm = fields.next_as("the signature algorithm")?;
        let same = Algorithm::read(algorithm, "the signature algorithm")?
            .same(&Algorithm::read(inner_algorithm, "the signature algorithm")?);
        if !same {
            return Err(algorithm.malformed("two signature algorithms in one certificate"));
        }
        let issuer = Name::read(fields.next_as("the issuer")?)?;
        let mut validity = fields.expect(Tag::SEQUENCE, "the validity")?.children()?;
        let not_before = validity.next_as("the start of validity")?.time()?;
        let not_after = validity.next_as("the end of validity")?.time()?;
        let subject = Name::read(fields.next_as("the subject")?)?;
        let spki = fields.expect(Tag::SEQUENCE, "the public key")?;

        let at = outer.at();
        let mut certificate = Self {
            sha256: sha256(outer.raw())?,
            der: outer.raw().to_vec(),
            tbs: range(&tbs, at),
            signature_algorithm: range(&algorithm, at),
            signature: range(&signature, at),
            spki: range(&spki, at),
            serial: serial_number(&serial),
            issuer,
            subject,
            not_before,
            not_after,
            ca: None,
            key_usage: None,
            key_id: Vec::new(),
            issuer_key_id: None,
            list_signer: false,
            name_change: false,
            unknown_critical: None,
        };
        for field in fields {
            let field = field?;
            // [1] and [2] are unique identifiers that nobody uses.
            if field.tag() == Tag::context_constructed(3) {
                for (n, extension) in field.inner("the extensions")?.children()?.enumerate() {
                    if n >= MAX_EXTENSIONS {
                        return Err(field.malformed(format_args!("more than {MAX_EXTENSIONS} extensions")));
                    }
                    certificate.extension(&Extension::read(extension?)?)?;
                }
            }
        }
        if certificate.key_id.is_empty() {
            let key = spki.child(Tag::BIT_STRING, "the key's bits")?;
            certificate.key_id = Digest::Sha1.of(key.bits()?.0)?;
        }
        Ok(certificate)
    }

    fn extension(&mut self, extension: &Extension<'_>) -> Result<()> {
        let value = || Tlv::first_within(extension.value, extension.at);
        match extension.oid {
            oid::BASIC_CONSTRAINTS => {
                let value = value()?.expect(Tag::SEQUENCE, "basicConstraints")?;
                let ca = value.find(Tag::BOOLEAN)?.map(|b| b.boolean()).transpose()?.unwrap_or(false);
                let path = value.find(Tag::INTEGER)?.map(|n| n.small()).transpose()?;
                self.ca = ca.then_some(path);
            }
            oid::KEY_USAGE => {
                let bits = value()?.expect(Tag::BIT_STRING, "keyUsage")?.bits()?.0;
                self.key_usage = Some(KeyUsage(bits.first().copied().unwrap_or(0)));
            }
            // Only hints at which key to try: one that cannot be read is as good as none.
            oid::SUBJECT_KEY_ID => {
                self.key_id = value().and_then(|v| Ok(v.octets()?.into_owned())).unwrap_or_default();
            }
            oid::AUTHORITY_KEY_ID => {
                let id = value().and_then(|v| v.find(Tag::context(0)));
                self.issuer_key_id = id.ok().flatten().map(|id| id.body().to_vec());
            }
            oid::EXTENDED_KEY_USAGE => {
                for purpose in value()?.children()? {
                    let purpose = purpose?.oid()?;
                    self.list_signer |=
                        matches!(purpose, oid::MASTER_LIST_SIGNER | oid::DEVIATION_LIST_SIGNER);
                }
            }
            oid::NAME_CHANGE => self.name_change = true,
            oid::PRIVATE_KEY_USAGE_PERIOD
            | oid::SUBJECT_ALT_NAME
            | oid::ISSUER_ALT_NAME
            | oid::CRL_DISTRIBUTION_POINTS
            | oid::CERTIFICATE_POLICIES
            | oid::DOCUMENT_TYPES => {}
            other if extension.critical => self.unknown_critical = Some(other.to_string()),
            _ => {}
        }
        Ok(())
    }

    fn part(&self, (start, end): (usize, usize)) -> &[u8] {
        &self.der[start..end]
    }

    /// The public key, made ready.
    pub(super) fn key(&self) -> Result<PublicKey> {
        PublicKey::read(self.part(self.spki))
    }

    /// Whether this certificate was signed with `key`.
    pub(super) fn signed_by(&self, key: &PublicKey) -> Result<bool> {
        let algorithm = Tlv::first(self.part(self.signature_algorithm))?;
        let scheme = Scheme::read(&Algorithm::read(algorithm, "the signature algorithm")?, None)?;
        let (signature, unused) = Tlv::first(self.part(self.signature))?.bits()?;
        Ok(unused == 0 && key.verify(scheme, self.part(self.tbs), signature)?)
    }

    /// Whether issuer and subject are one, as in a CSCA's own certificate.
    pub(super) fn self_issued(&self) -> bool {
        self.issuer.key == self.subject.key
    }

    /// Whether it claims to be signed with its own key.
    pub(super) fn looks_self_signed(&self) -> bool {
        self.self_issued() && self.issuer_key_id.as_ref().is_none_or(|id| *id == self.key_id)
    }

    /// Whether it claims to be a country's own certificate.
    pub(super) fn is_anchor(&self) -> bool {
        self.ca.is_some() && self.looks_self_signed()
    }

    /// Whether the key may be used so; a certificate that does not say forbids nothing.
    pub(super) fn allows(&self, usage: u8) -> bool {
        self.key_usage.is_none_or(|bits| bits.0 & usage != 0)
    }

    /// Whether it was valid at `time`.
    pub(super) fn valid_at(&self, time: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }
}

/// A serial number without leading zeros. Some countries write negative ones.
pub(super) fn serial_number(element: &Tlv<'_>) -> Vec<u8> {
    let body = element.body();
    body[body.iter().take_while(|b| **b == 0).count()..].to_vec()
}

pub(super) fn sha256(bytes: &[u8]) -> Result<[u8; 32]> {
    let digest = Digest::Sha256.of(bytes)?;
    digest.try_into().map_err(|_| crate::base::Error::internal("a SHA-256 that is not 32 bytes"))
}

/// Extension ::= SEQUENCE { OID, critical BOOLEAN DEFAULT FALSE, OCTET STRING }
pub(super) struct Extension<'a> {
    pub(super) oid: Oid<'a>,
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Extension<'a> {
    pub(super) fn read(element: Tlv<'a>) -> Result<Self> {
        let mut fields = element.expect(Tag::SEQUENCE, "an extension")?.children()?;
        let oid = fields.next_as("the kind of an extension")?.oid()?;
        let critical = fields.optional(Tag::BOOLEAN)?.map(|b| b.boolean()).transpose()?.unwrap_or(false);
        let value = fields.expect(Tag::OCTET_STRING, "an extension's value")?;
        Ok(Self { oid, critical, value: value.body(), at: value.body_at() })
    }
}
