//! Signed data (RFC 5652 5) around a security object or a master list.

use std::borrow::Cow;

use jiff::Timestamp;

use super::certificate::{Certificate, Name, serial_number};
use super::crypto::{Algorithm, PublicKey, Scheme, unsupported};
use super::oid;
use crate::base::Result;
use crate::document::tlv::{Oid, Tag, Tlv};
use crate::event::{ChipIrregularity as Irregularity, ChipSignatureReason};

/// A master list carries its signer and that one's CSCA; a security object carries its signer.
const MAX_CERTIFICATES: usize = 16;
/// One signer is the rule; two stand there while a country changes its algorithm.
const MAX_SIGNERS: usize = 4;
/// Content type, message digest and signing time are what is used.
const MAX_ATTRIBUTES: usize = 32;

/// What was signed, by whom.
pub(super) struct SignedData<'a> {
    pub(super) content_type: Oid<'a>,
    pub(super) content: Cow<'a, [u8]>,
    /// Where the content starts in the file, if it is in one piece.
    pub(super) content_at: usize,
    /// Those that could be read.
    pub(super) certificates: Vec<Certificate>,
    /// Why the first of the others could not.
    pub(super) unreadable_certificate: Option<String>,
    pub(super) signers: Vec<Signer<'a>>,
    pub(super) irregularities: Vec<Irregularity>,
}

impl<'a> SignedData<'a> {
    /// Reads a ContentInfo that holds signed data.
    pub(super) fn read(element: Tlv<'a>) -> Result<Self> {
        let mut irregularities = Vec::new();
        let mut outer = element.expect(Tag::SEQUENCE, "signed data")?.children()?;
        let kind = outer.next_as("the kind of content")?.oid()?;
        if kind != oid::SIGNED_DATA {
            return Err(element.malformed(format_args!("content of kind {kind} where signed data belongs")));
        }
        let explicit = outer.expect(Tag::context_constructed(0), "signed data")?;
        if !outer.rest().is_empty() {
            irregularities.push(Irregularity::TrailingBytes);
        }
        let mut fields = explicit.inner("signed data")?.expect(Tag::SEQUENCE, "signed data")?.children()?;
        let version = fields.expect(Tag::INTEGER, "the version of the signed data")?.small()?;
        let digests = fields.expect(Tag::SET, "the digest algorithms")?;

        let mut inner = fields.expect(Tag::SEQUENCE, "the signed content")?.children()?;
        let content_type = inner.next_as("the type of the signed content")?.oid()?;
        let content = inner.expect(Tag::context_constructed(0), "the signed content")?;
        let content = content.inner("the signed content")?;
        if !matches!(content.tag(), Tag::OCTET_STRING | Tag::OCTET_STRING_IN_PIECES) {
            return Err(content.malformed(format_args!("the signed content has tag {}", content.tag())));
        }

        let mut certificates = Vec::new();
        let mut unreadable_certificate = None;
        if let Some(set) = fields.optional(Tag::context_constructed(0))? {
            for element in set.children()?.take(MAX_CERTIFICATES) {
                // Beside certificates, [0] to [3] hold forms that nobody uses.
                match element.and_then(Certificate::read) {
                    Ok(certificate) => certificates.push(certificate),
                    Err(e) => {
                        unreadable_certificate.get_or_insert_with(|| e.what());
                    }
                }
            }
        }
        fields.optional(Tag::context_constructed(1))?;
        let mut signers = Vec::new();
        for signer in fields.expect(Tag::SET, "the signers")?.children()?.take(MAX_SIGNERS) {
            signers.push(Signer::read(signer?)?);
        }
        if !fields.rest().is_empty() {
            irregularities.push(Irregularity::TrailingBytes);
        }

        // RFC 5652 5.1: 3 if the content is not plain data or a signer is named by its key, else 1.
        if version != 3 {
            irregularities.push(Irregularity::SignedDataVersion);
        }
        if signers.len() > 1 {
            irregularities.push(Irregularity::SeveralSigners);
        }
        for signer in &signers {
            irregularities.extend_from_slice(&signer.irregularities);
            let listed = digests.children()?.any(|listed| {
                listed
                    .and_then(|l| Algorithm::read(l, "a digest algorithm"))
                    .is_ok_and(|l| l.same(&signer.digest) && l.plain())
            });
            if !listed {
                irregularities.push(Irregularity::DigestAlgorithms);
            }
        }
        Ok(Self {
            content_type,
            content_at: content.body_at(),
            content: content.octets()?,
            certificates,
            unreadable_certificate,
            signers,
            irregularities,
        })
    }
}

/// How a signer says which certificate is its own.
pub(super) enum SignerId {
    IssuerAndSerial(Name, Vec<u8>),
    KeyId(Vec<u8>),
}

impl SignerId {
    pub(super) fn names(&self, certificate: &Certificate) -> bool {
        match self {
            Self::IssuerAndSerial(issuer, serial) => {
                *serial == certificate.serial && issuer.key == certificate.issuer.key
            }
            Self::KeyId(id) => *id == certificate.key_id,
        }
    }

    /// Whether a name, if it has one, is spelled as in the certificate.
    pub(super) fn spelled_as(&self, certificate: &Certificate) -> bool {
        match self {
            Self::IssuerAndSerial(issuer, _) => issuer.raw == certificate.issuer.raw,
            Self::KeyId(_) => true,
        }
    }
}

/// One signature and what it covers.
pub(super) struct Signer<'a> {
    pub(super) id: SignerId,
    digest: Algorithm<'a>,
    attributes: Option<Attributes<'a>>,
    algorithm: Algorithm<'a>,
    signature: Cow<'a, [u8]>,
    irregularities: Vec<Irregularity>,
}

/// What is wrong with a signature.
pub(super) type Wrong = ChipSignatureReason;

impl<'a> Signer<'a> {
    fn read(element: Tlv<'a>) -> Result<Self> {
        let mut irregularities = Vec::new();
        let mut fields = element.expect(Tag::SEQUENCE, "a signer")?.children()?;
        let version = fields.expect(Tag::INTEGER, "the version of a signer")?.small()?;
        let id = fields.next_as("which certificate signed")?;
        let (id, expected) = match id.tag() {
            Tag::SEQUENCE => {
                let mut parts = id.children()?;
                let issuer = Name::read(parts.next_as("the signer's issuer")?)?;
                let serial = parts.expect(Tag::INTEGER, "the signer's serial number")?;
                (SignerId::IssuerAndSerial(issuer, serial_number(&serial)), 1)
            }
            // Implicit, though some wrap an OCTET STRING.
            Tag(0x80) => (SignerId::KeyId(id.body().to_vec()), 3),
            Tag(0xa0) => (SignerId::KeyId(id.inner("the signer's key")?.octets()?.into_owned()), 3),
            other => return Err(id.malformed(format_args!("a signer named by {other}"))),
        };
        if version != expected {
            irregularities.push(Irregularity::SignerVersion);
        }
        let digest = Algorithm::read(fields.next_as("the signer's digest")?, "the signer's digest")?;
        let attributes = fields.optional(Tag::context_constructed(0))?.map(Attributes::read).transpose()?;
        if attributes.is_none() {
            irregularities.push(Irregularity::NoSignedAttributes);
        }
        let what = "the signer's algorithm";
        let algorithm = Algorithm::read(fields.next_as(what)?, what)?;
        let signature = fields.next_as("the signature")?;
        if !matches!(signature.tag(), Tag::OCTET_STRING | Tag::OCTET_STRING_IN_PIECES) {
            return Err(signature.malformed(format_args!("the signature has tag {}", signature.tag())));
        }
        // Parameters where none belong change nothing that is signed: they are told, not obeyed.
        let own_parameters = matches!(algorithm.oid, oid::RSA_PSS | oid::ECDSA_SPECIFIED);
        if !digest.plain() || !(algorithm.plain() || own_parameters) {
            irregularities.push(Irregularity::AlgorithmParameters);
        }
        Ok(Self { id, digest, attributes, algorithm, signature: signature.octets()?, irregularities })
    }

    /// How the signature is made.
    pub(super) fn scheme(&self) -> Result<Scheme> {
        // Only some identifiers need the digest that stands beside them.
        Scheme::read(&self.algorithm, self.digest.digest().ok())
    }

    /// When the signer says that it signed.
    pub(super) fn signing_time(&self) -> Option<Timestamp> {
        self.attributes.as_ref()?.signing_time
    }

    /// Whether the signature fits the content and `key`. `Ok(Err(reason))` says what does not fit;
    /// an error, that it could not be found out.
    pub(super) fn verify(
        &self,
        data: &SignedData<'_>,
        key: &PublicKey,
        irregularities: &mut Vec<Irregularity>,
    ) -> Result<Result<(), Wrong>> {
        let scheme = self.scheme()?;
        let Some(attributes) = &self.attributes else {
            let valid = key.verify(scheme, &data.content, &self.signature)?;
            return Ok(if valid { Ok(()) } else { Err(Wrong::SignatureWrong) });
        };
        if attributes.content_type != data.content_type {
            return Ok(Err(Wrong::ContentTypeDiffers));
        }
        let digest = self.digest.digest()?;
        if digest != scheme.digest() {
            irregularities.push(Irregularity::DigestsDiffer);
        }
        if digest.of(&data.content)? != attributes.message_digest {
            return Ok(Err(Wrong::ContentAltered));
        }
        if key.verify(scheme, &attributes.as_set, &self.signature)? {
            return Ok(Ok(()));
        }
        // RFC 5652 5.4: what is signed is the DER form, whatever form they are sent in.
        if key.verify(scheme, &attributes.as_der()?, &self.signature)? {
            irregularities.push(Irregularity::SignedAttributesNotDer);
            return Ok(Ok(()));
        }
        Ok(Err(Wrong::SignatureWrong))
    }
}

/// The signed attributes (RFC 5652 11).
struct Attributes<'a> {
    content_type: Oid<'a>,
    message_digest: Vec<u8>,
    signing_time: Option<Timestamp>,
    /// As sent, with the tag of a SET.
    as_set: Vec<u8>,
    each: Vec<&'a [u8]>,
}

impl<'a> Attributes<'a> {
    fn read(element: Tlv<'a>) -> Result<Self> {
        let (mut content_type, mut message_digest, mut signing_time) = (None, None, None);
        let mut each = Vec::new();
        for attribute in element.children()? {
            let attribute = attribute?;
            if each.len() >= MAX_ATTRIBUTES {
                return Err(element.malformed(format_args!("more than {MAX_ATTRIBUTES} signed attributes")));
            }
            each.push(attribute.raw());
            let mut fields = attribute.expect(Tag::SEQUENCE, "a signed attribute")?.children()?;
            let kind = fields.next_as("the kind of a signed attribute")?.oid()?;
            let mut values = fields.expect(Tag::SET, "a signed attribute's values")?.children()?;
            let again = match kind {
                oid::CONTENT_TYPE => {
                    content_type.replace(values.next_as("the signed content type")?.oid()?).is_some()
                }
                oid::MESSAGE_DIGEST => {
                    let value = values.next_as("the message digest")?;
                    message_digest
                        .replace(value.expect(Tag::OCTET_STRING, "the message digest")?.body().to_vec())
                        .is_some()
                }
                oid::SIGNING_TIME => {
                    signing_time.replace(values.next_as("the signing time")?.time()?).is_some()
                }
                _ => continue,
            };
            // RFC 5652 11.1 to 11.3: one of each, with one value.
            if again || !values.rest().is_empty() {
                return Err(attribute.malformed(format_args!("signed attribute {kind} stands there twice")));
            }
        }
        let mut as_set = element.raw().to_vec();
        if let Some(tag) = as_set.first_mut() {
            *tag = Tag::SET.0 as u8;
        }
        Ok(Self {
            content_type: content_type
                .ok_or_else(|| element.malformed("the signed content type is missing"))?,
            message_digest: message_digest
                .ok_or_else(|| element.malformed("the message digest is missing"))?,
            signing_time,
            as_set,
            each,
        })
    }

    /// The attributes in DER's order with a DER length; each attribute stays as it was sent.
    fn as_der(&self) -> Result<Vec<u8>> {
        let mut each = self.each.clone();
        each.sort_unstable();
        let len: usize = each.iter().map(|a| a.len()).sum();
        let mut out = vec![Tag::SET.0 as u8];
        let octets = len.to_be_bytes();
        let octets = &octets[octets.iter().take_while(|b| **b == 0).count()..];
        match (len, octets.len()) {
            (0..0x80, _) => out.push(len as u8),
            (_, n @ 1..=4) => {
                out.push(0x80 | n as u8);
                out.extend_from_slice(octets);
            }
            _ => return Err(unsupported("signed attributes of absurd length")),
        }
        each.iter().for_each(|a| out.extend_from_slice(a));
        Ok(out)
    }
}
