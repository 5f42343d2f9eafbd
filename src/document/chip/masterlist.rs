//! ICAO master lists: the country signing certificates that one country vouches for
//! (ICAO 9303-12 9).

use jiff::Timestamp;

use super::certificate::Certificate;
use super::cms::SignedData;
use super::oid;
use crate::base::Result;
use crate::document::tlv::{Tag, Tlv};

/// No list has more certificates; the largest known has some 700.
const MAX_CERTIFICATES: usize = 10_000;

/// A master list whose signature has been looked at.
pub(super) struct MasterList {
    /// Those that could be read.
    pub(super) certificates: Vec<Certificate>,
    /// The others: which one, counted from 1, and why.
    pub(super) broken: Vec<(usize, String)>,
    /// Who signed it, if that certificate is in the list's own signed data and its signature fits.
    pub(super) signer: Result<Certificate, String>,
    /// When the signer says that it signed.
    pub(super) signing_time: Option<Timestamp>,
}

impl MasterList {
    /// Reads a list and checks the signature over it, not the chain of its signer.
    pub(super) fn read(element: Tlv<'_>) -> Result<Self> {
        let signed = SignedData::read(element)?;
        if signed.content_type != oid::CSCA_MASTER_LIST {
            return Err(element.malformed(format_args!(
                "what is signed is of type {}, and no master list",
                signed.content_type
            )));
        }
        let list = Tlv::first_within(&signed.content, signed.content_at)?;
        let mut fields = list.expect(Tag::SEQUENCE, "the master list")?.children()?;
        fields.expect(Tag::INTEGER, "the version of the master list")?;
        let (mut certificates, mut broken) = (Vec::new(), Vec::new());
        let set = fields.expect(Tag::SET, "the certificates of the master list")?;
        for (n, element) in set.children()?.enumerate() {
            if n >= MAX_CERTIFICATES {
                broken.push((
                    n + 1,
                    format!("more than {MAX_CERTIFICATES} certificates: the rest is left out"),
                ));
                break;
            }
            match element.and_then(Certificate::read) {
                Ok(certificate) => certificates.push(certificate),
                Err(e) => broken.push((n + 1, e.what())),
            }
        }
        let (signer, signing_time) = match signer(&signed) {
            Ok((signer, time)) => (Ok(signer), time),
            Err(why) => (Err(why), None),
        };
        Ok(Self { certificates, broken, signer, signing_time })
    }
}

/// The certificate whose key signed the list, and when that says to have been; or why there is none.
fn signer(signed: &SignedData<'_>) -> Result<(Certificate, Option<Timestamp>), String> {
    let mut why = "nobody signed it".to_owned();
    for signer in &signed.signers {
        let Some(certificate) = signed.certificates.iter().find(|c| signer.id.names(c)) else {
            why = "the signer's certificate is missing".to_owned();
            continue;
        };
        let verdict = certificate.key().and_then(|key| signer.verify(signed, &key, &mut Vec::new()));
        match verdict {
            Ok(Ok(())) => return Ok((certificate.clone(), signer.signing_time())),
            Ok(Err(_)) => why = "the signature is wrong".to_owned(),
            Err(e) => why = e.what(),
        }
    }
    Err(why)
}
