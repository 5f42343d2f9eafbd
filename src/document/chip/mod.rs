//! Passive authentication of a chip (ICAO 9303-11 5.1, 9303-12 6): are its files those that the
//! issuing country signed?
//!
//! A reader hands over the files of the chip. EF.SOD holds a hash of each data group, signed by a
//! document signer, whose certificate a country (its CSCA) issued. Three questions, answered one by
//! one, because each can be answered without the next: does each data group have the hash on the
//! list; is the signature over the list valid; does the signer's certificate lead to a country of the
//! [trust store](TrustStore).
//!
//! Structure is read with [`tlv`](super::tlv), which takes what countries really write;
//! cryptography is OpenSSL's.

mod certificate;
mod chain;
mod cms;
mod crl;
mod crypto;
mod masterlist;
mod oid;
mod sod;
mod trust;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

pub use trust::{MasterListSigner, MasterListSummary, Skipped, TrustStore, TrustSummary};

use crate::base::{Culprit, Error, Kind, Result, hex};
use crate::document::tlv::Tlv;
use crate::event::{
    ChipChain, ChipChainReason, ChipChainStatus, ChipCom, ChipComStatus, ChipDataGroup,
    ChipDataGroupStatus as GroupStatus, ChipIrregularity, ChipReport, ChipRevocation, ChipSignature,
    ChipSignatureReason as SignatureReason, ChipSignatureStatus as SignatureStatus, ChipValidAt,
};
use certificate::Certificate;
use cms::Signer;
use sod::{Com, Hashes, SecurityObject};

/// No file of a chip is larger, in bytes. EF.DG2 with a large portrait has some 50 kB; the chip's
/// memory ends before this.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// A file of the chip's LDS application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileId {
    /// EF.COM: what is there, unsigned.
    Com,
    /// EF.SOD: what is there, signed.
    Sod,
    /// EF.DG1 to EF.DG16.
    DataGroup(u8),
}

impl FileId {
    /// Which file begins with `tag` (ICAO 9303-10 table 38).
    pub fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0x60 => Some(Self::Com),
            0x77 => Some(Self::Sod),
            _ => sod::group_of(tag).map(Self::DataGroup),
        }
    }

    /// The tag that the file begins with.
    pub fn tag(self) -> u8 {
        match self {
            Self::Com => 0x60,
            Self::Sod => 0x77,
            Self::DataGroup(n) => sod::GROUP_TAGS[usize::from(n - 1) % 16],
        }
    }

    /// Which file a name means, whatever a reader's software made of it: `EF.SOD`, `EF_DG1.bin`,
    /// `dg02.bin`, `Datagroup15.dat`, and the identifiers `011E`, `011D`, `0101` to `0110`.
    pub fn from_name(name: &str) -> Option<Self> {
        let stem = name.rsplit(['/', '\\']).next().unwrap_or(name);
        let stem = match stem.rsplit_once('.') {
            Some((stem, extension)) if !stem.eq_ignore_ascii_case("ef") && !extension.is_empty() => stem,
            _ => stem,
        };
        let letters: String =
            stem.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        let stem = letters.strip_prefix("ef").unwrap_or(&letters);
        match stem {
            "com" | "011e" => return Some(Self::Com),
            "sod" | "011d" => return Some(Self::Sod),
            _ => {}
        }
        let (digits, radix) = match stem.strip_prefix("datagroup").or_else(|| stem.strip_prefix("dg")) {
            Some(digits) => (digits, 10),
            None => (stem.strip_prefix("01").filter(|d| d.len() == 2)?, 16),
        };
        let n = u8::from_str_radix(digits, radix).ok().filter(|_| digits.len() <= 2)?;
        sod::GROUPS.contains(&n).then_some(Self::DataGroup(n))
    }
}

/// `EF.DG1`, as the standard writes it.
impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Com => f.write_str("EF.COM"),
            Self::Sod => f.write_str("EF.SOD"),
            Self::DataGroup(n) => write!(f, "EF.DG{n}"),
        }
    }
}

/// The files that a reader handed over.
#[derive(Clone, Default)]
pub struct ChipFiles<'a> {
    files: BTreeMap<FileId, &'a [u8]>,
}

/// Which files, not what is in them.
impl fmt::Debug for ChipFiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

impl<'a> ChipFiles<'a> {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file. Each may come once; none may be empty or larger than [`MAX_FILE_BYTES`].
    pub fn add(&mut self, id: FileId, bytes: &'a [u8]) -> Result<()> {
        let refuse = |kind, what: String| Err(Error::new(kind, Culprit::Request, format!("{id} {what}")));
        if matches!(id, FileId::DataGroup(n) if !sod::GROUPS.contains(&n)) {
            return refuse(Kind::Usage, "does not exist: data groups are 1 to 16".to_owned());
        }
        if bytes.is_empty() {
            return refuse(Kind::Malformed, "is empty".to_owned());
        }
        if bytes.len() > MAX_FILE_BYTES {
            return refuse(Kind::TooLarge, format!("has {} bytes, more than {MAX_FILE_BYTES}", bytes.len()));
        }
        if self.files.contains_key(&id) {
            return refuse(Kind::Usage, "was handed over twice".to_owned());
        }
        self.files.insert(id, bytes);
        Ok(())
    }

    /// A file, without the padding that a reader may have left behind it.
    pub fn get(&self, id: FileId) -> Option<&'a [u8]> {
        self.files.get(&id).map(|bytes| sod::trimmed(bytes))
    }

    /// Which files are there.
    pub fn ids(&self) -> impl Iterator<Item = FileId> + '_ {
        self.files.keys().copied()
    }

    fn groups(&self) -> impl Iterator<Item = u8> + '_ {
        self.ids().filter_map(|id| if let FileId::DataGroup(n) = id { Some(n) } else { None })
    }
}

/// What passive authentication found: the report for the event, and what only a person at the box
/// is told.
#[derive(Clone, Debug)]
pub struct PassiveAuthentication {
    /// What goes into the event.
    pub report: ChipReport,
    /// Who signed. Names a country, so it stays on the box unless a caller decides otherwise.
    pub details: ChipDetails,
}

/// Who signed, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChipDetails {
    /// The signer's certificate.
    pub signer: Option<CertificateFacts>,
    /// The country's certificate at the end of the chain; only where one was reached.
    pub anchor: Option<CertificateFacts>,
    /// When the signer says that it signed.
    pub signing_time: Option<Timestamp>,
    /// The digest of the data groups: `SHA-256`.
    pub digest: Option<String>,
    /// LDS and Unicode version as signed (`0108`, `040000`); only newer chips have them.
    pub versions: Option<(String, String)>,
}

/// What a person is told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose it is: `C=DE, O=bund, CN=Document Signer 12`. Control characters are replaced.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// The country, two capital letters (ISO 3166-1).
    pub country: Option<String>,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// SHA-256 of the certificate, lower-case hex.
    pub sha256: String,
    /// Algorithm and size of its key: `RSA 2048`; absent if the key is refused.
    pub key: Option<String>,
}

impl CertificateFacts {
    /// Reads a certificate (DER). What follows it is not looked at.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Ok(Self::of(&Certificate::read(Tlv::first(bytes)?)?))
    }

    fn of(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject.text.clone(),
            issuer: certificate.issuer.text.clone(),
            serial: shown(&certificate.serial),
            country: certificate.subject.country.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            sha256: hex(&certificate.sha256),
            key: certificate.key().ok().map(|key| key.name().to_owned()),
        }
    }
}

/// The first 64 bytes: a serial number that somebody made up may be as long as a certificate.
fn shown(bytes: &[u8]) -> String {
    hex(&bytes[..bytes.len().min(64)])
}

/// Passive authentication of the files that a reader handed over.
///
/// Never fails: what could not be checked is in the report as such. `now` judges revocation lists,
/// and the signer's validity if the security object does not say when it was signed.
pub fn passive_authentication(
    files: &ChipFiles<'_>,
    trust: &TrustStore,
    now: Timestamp,
) -> PassiveAuthentication {
    let mut out = PassiveAuthentication {
        report: ChipReport {
            signature: ChipSignature {
                status: SignatureStatus::NotChecked,
                reason: Some(SignatureReason::NotPresented),
                detail: None,
                algorithm: None,
            },
            chain: ChipChain {
                status: ChipChainStatus::NotChecked,
                reason: Some(if trust.is_empty() {
                    ChipChainReason::NoTrustStore
                } else {
                    ChipChainReason::NoSigner
                }),
                detail: None,
                valid_at: None,
                revocation: ChipRevocation::NotChecked,
            },
            data_groups: Vec::new(),
            com: ChipCom {
                status: ChipComStatus::NotPresented,
                hidden: Vec::new(),
                unsigned: Vec::new(),
                detail: None,
            },
            irregularities: Vec::new(),
        },
        details: ChipDetails::default(),
    };
    let object = match files.files.get(&FileId::Sod).map(|bytes| SecurityObject::read(bytes)) {
        Some(Ok(object)) => Some(object),
        Some(Err(e)) => {
            out.unreadable(&e);
            None
        }
        None => None,
    };
    let mut hashes = None;
    if let Some(object) = &object {
        out.signature(object, trust, now);
        match Hashes::read(&object.signed.content, object.signed.content_at) {
            Ok(read) => hashes = Some(read),
            Err(e) => out.unreadable(&e),
        }
    }
    if let Some(hashes) = &hashes {
        out.report.irregularities.extend_from_slice(&hashes.irregularities);
        out.details.digest = hashes.digest.as_ref().ok().map(ToString::to_string);
        out.details.versions.clone_from(&hashes.versions);
    }
    out.data_groups(files, hashes.as_ref());
    out.com(files, hashes.as_ref());
    out.report.irregularities.sort_unstable();
    out.report.irregularities.dedup();
    out
}

impl PassiveAuthentication {
    fn unreadable(&mut self, error: &Error) {
        self.report.signature = ChipSignature {
            status: SignatureStatus::NotChecked,
            reason: Some(SignatureReason::Unreadable),
            detail: Some(error.what()),
            algorithm: None,
        };
    }

    /// Looks at the signers until one signature is valid; of several that are not, the first is
    /// reported.
    fn signature(&mut self, object: &SecurityObject<'_>, trust: &TrustStore, now: Timestamp) {
        self.report.irregularities.extend_from_slice(&object.irregularities);
        if object.signed.unreadable_certificate.is_some() {
            self.report.irregularities.push(ChipIrregularity::CertificateUnreadable);
        }
        let mut first = None;
        for signer in &object.signed.signers {
            let checked = check_signer(object, signer, trust);
            let valid = checked.signature.status == SignatureStatus::Valid;
            if first.is_none() || valid {
                first = Some((checked, signer));
            }
            if valid {
                break;
            }
        }
        let Some((checked, signer)) = first else {
            self.report.signature.reason = Some(SignatureReason::SignerUnknown);
            self.report.signature.detail = Some("nobody signed it".to_owned());
            return;
        };
        self.report.signature = checked.signature;
        self.report.irregularities.extend(checked.irregularities);
        self.details.signing_time = signer.signing_time();
        let Some(certificate) = checked.certificate else { return };
        self.details.signer = Some(CertificateFacts::of(&certificate));
        let (at, valid_at) = match signer.signing_time() {
            Some(time) => (time, ChipValidAt::SigningTime),
            None => (now, ChipValidAt::Now),
        };
        let chain = chain::judge(&certificate, trust, at, now, chain::Purpose::Document);
        let checked = chain.status != ChipChainStatus::NotChecked;
        self.report.chain = ChipChain {
            status: chain.status,
            reason: chain.reason,
            detail: chain.detail,
            valid_at: checked.then_some(valid_at),
            revocation: chain.revocation,
        };
        self.report.irregularities.extend(chain.irregularities);
        self.details.anchor = chain.anchor.map(|n| CertificateFacts::of(trust.certificate(n)));
    }

    fn data_groups(&mut self, files: &ChipFiles<'_>, hashes: Option<&Hashes>) {
        let listed = hashes.into_iter().flat_map(|h| h.groups.keys().copied());
        let mut numbers: Vec<u8> = files.groups().chain(listed).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let vouched = self.report.signature.status == SignatureStatus::Valid;
        for number in numbers {
            let file = files.get(FileId::DataGroup(number));
            let status = match (file, hashes) {
                (None, _) => GroupStatus::NotPresented,
                (Some(_), None) => GroupStatus::NotChecked,
                (Some(file), Some(hashes)) => match (hashes.groups.get(&number), &hashes.digest) {
                    (None, _) if vouched => GroupStatus::NotCovered,
                    (None, _) | (Some(_), Err(_)) => GroupStatus::NotChecked,
                    (Some(hash), Ok(digest)) => match digest.of(file) {
                        Ok(own) if own != *hash => GroupStatus::Altered,
                        Ok(_) if vouched => GroupStatus::Authentic,
                        // It fits a list that nobody vouches for.
                        Ok(_) | Err(_) => GroupStatus::NotChecked,
                    },
                },
            };
            self.report.data_groups.push(ChipDataGroup { number, status });
        }
        if let Some(Err(e)) = hashes.map(|h| &h.digest) {
            // The signature can be valid all the same; the data groups say that they were not checked.
            self.report.signature.detail.get_or_insert_with(|| format!("data groups: {}", e.what()));
        }
    }

    fn com(&mut self, files: &ChipFiles<'_>, hashes: Option<&Hashes>) {
        let Some(file) = files.files.get(&FileId::Com) else { return };
        let report = &mut self.report.com;
        let com = match Com::read(file) {
            Ok(com) => com,
            Err(e) => {
                report.status = ChipComStatus::Unreadable;
                report.detail = Some(e.what());
                return;
            }
        };
        if let Some(hashes) = hashes {
            let listed: Vec<u8> = hashes.groups.keys().copied().collect();
            report.hidden = listed.iter().copied().filter(|n| !com.groups.contains(n)).collect();
            report.unsigned = com.groups.iter().copied().filter(|n| !listed.contains(n)).collect();
        }
        let own = format!("{}, {}", com.lds_version, com.unicode_version);
        let signed =
            hashes.and_then(|h| h.versions.as_ref()).map(|(lds, unicode)| format!("{lds}, {unicode}"));
        report.status = match signed {
            _ if hashes.is_none() => ChipComStatus::NotChecked,
            Some(signed) if signed != own => {
                report.detail = Some(format!("versions {own} where {signed} were signed"));
                ChipComStatus::Differs
            }
            _ if !(report.hidden.is_empty() && report.unsigned.is_empty()) => ChipComStatus::Differs,
            None if !com.known_versions() => {
                report.detail = Some(format!("versions {own}"));
                ChipComStatus::UnknownVersion
            }
            _ => ChipComStatus::Agrees,
        };
    }
}

/// One signer of a security object, looked at.
struct Checked {
    signature: ChipSignature,
    certificate: Option<Certificate>,
    irregularities: Vec<ChipIrregularity>,
}

fn check_signer(object: &SecurityObject<'_>, signer: &Signer<'_>, trust: &TrustStore) -> Checked {
    let mut irregularities = Vec::new();
    let not_valid =
        |status, reason, detail| ChipSignature { status, reason: Some(reason), detail, algorithm: None };
    let refused = |e: &Error, reason| not_valid(SignatureStatus::Unsupported, reason, Some(e.what()));

    let own = || object.signed.certificates.iter();
    let named =
        own().find(|c| signer.id.names(c)).or_else(|| trust.certificates().find(|c| signer.id.names(c)));
    // Some security objects spell the name in another order. Which key made the signature settles it.
    let Some(certificate) = named.or_else(|| own().next()) else {
        let detail = object.signed.unreadable_certificate.clone();
        let signature = not_valid(SignatureStatus::NotChecked, SignatureReason::SignerUnknown, detail);
        return Checked { signature, certificate: None, irregularities };
    };
    if named.is_none() || !signer.id.spelled_as(certificate) {
        irregularities.push(ChipIrregularity::SignerIdentifier);
    }
    let signature = match (signer.scheme(), certificate.key()) {
        (Err(e), _) => refused(&e, SignatureReason::AlgorithmUnsupported),
        (Ok(_), Err(e)) => refused(&e, SignatureReason::KeyRefused),
        (Ok(scheme), Ok(key)) => {
            let mut signature = match signer.verify(&object.signed, &key, &mut irregularities) {
                Ok(Ok(())) => ChipSignature {
                    status: SignatureStatus::Valid,
                    reason: None,
                    detail: None,
                    algorithm: None,
                },
                Ok(Err(reason)) => not_valid(SignatureStatus::Invalid, reason, None),
                Err(e) => refused(&e, SignatureReason::AlgorithmUnsupported),
            };
            signature.algorithm = Some(format!("{scheme}, {}", key.name()));
            signature
        }
    };
    Checked { signature, certificate: Some(certificate.clone()), irregularities }
}
