//! Revocation lists (RFC 5280 5, ICAO 9303-12 7.1.4).

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::certificate::{Extension, Name, serial_number};
use super::crypto::{Algorithm, PublicKey, Scheme};
use super::oid;
use crate::base::Result;
use crate::document::tlv::{Tag, Tlv};

/// A revocation list.
#[derive(Debug)]
pub(super) struct Crl {
    tbs: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    pub(super) issuer: Name,
    pub(super) this_update: Timestamp,
    /// When the next one is due; without it the list never becomes stale.
    pub(super) next_update: Option<Timestamp>,
    revoked: BTreeSet<Vec<u8>>,
    /// A critical extension that changes what the list means, and that nobody here knows.
    pub(super) unknown_critical: Option<String>,
}

impl Crl {
    pub(super) fn read(element: Tlv<'_>) -> Result<Self> {
        let mut parts = element.expect(Tag::SEQUENCE, "a revocation list")?.children()?;
        let tbs = parts.expect(Tag::SEQUENCE, "the signed part of a revocation list")?;
        let algorithm = parts.next_as("the signature algorithm")?;
        let (signature, _) = parts.expect(Tag::BIT_STRING, "the signature")?.bits()?;

        let mut fields = tbs.children()?;
        fields.optional(Tag::INTEGER)?;
        let same = Algorithm::read(fields.next_as("the signature algorithm")?, "the signature algorithm")?
            .same(&Algorithm::read(algorithm, "the signature algorithm")?);
        if !same {
            return Err(algorithm.malformed("two signature algorithms in one revocation list"));
        }
        let issuer = Name::read(fields.next_as("the issuer")?)?;
        let this_update = fields.next_as("the time of the list")?.time()?;
        let mut crl = Self {
            tbs: tbs.raw().to_vec(),
            algorithm: algorithm.raw().to_vec(),
            signature: signature.to_vec(),
            issuer,
            this_update,
            next_update: None,
            revoked: BTreeSet::new(),
            unknown_critical: None,
        };
        for field in fields {
            let field = field?;
            match field.tag() {
                Tag::UTC_TIME | Tag::GENERALIZED_TIME => crl.next_update = Some(field.time()?),
                Tag::SEQUENCE => {
                    for entry in field.children()? {
                        crl.entry(entry?)?;
                    }
                }
                Tag(0xa0) => {
                    for extension in field.inner("the extensions")?.children()? {
                        crl.extension(&Extension::read(extension?)?);
                    }
                }
                other => return Err(field.malformed(format_args!("{other} in a revocation list"))),
            }
        }
        Ok(crl)
    }

    /// One revoked certificate. Whatever its reason: a list that took something back would be a
    /// delta list, which is refused by its own critical extension.
    fn entry(&mut self, entry: Tlv<'_>) -> Result<()> {
        let mut fields = entry.expect(Tag::SEQUENCE, "a revoked certificate")?.children()?;
        let serial = fields.expect(Tag::INTEGER, "the serial number of a revoked certificate")?;
        self.revoked.insert(serial_number(&serial));
        fields.next_as("the time of revocation")?;
        if let Some(extensions) = fields.optional(Tag::SEQUENCE)? {
            for extension in extensions.children()? {
                self.extension(&Extension::read(extension?)?);
            }
        }
        Ok(())
    }

    fn extension(&mut self, extension: &Extension<'_>) {
        let known = matches!(extension.oid, oid::AUTHORITY_KEY_ID | oid::CRL_NUMBER | oid::ISSUER_ALT_NAME);
        if extension.critical && !known {
            self.unknown_critical = Some(extension.oid.to_string());
        }
    }

    pub(super) fn revokes(&self, serial: &[u8]) -> bool {
        self.revoked.contains(serial)
    }

    pub(super) fn signed_by(&self, key: &PublicKey) -> Result<bool> {
        let algorithm = Algorithm::read(Tlv::first(&self.algorithm)?, "the signature algorithm")?;
        key.verify(Scheme::read(&algorithm, None)?, &self.tbs, &self.signature)
    }
}
