//! The document in `verify.result`: what was checked of its chip, and how that ended.
//!
//! Nothing in here describes the holder.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Passive authentication of a chip (ICAO 9303-11 5.1): are its files those that the issuing
/// country signed?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChipReport {
    /// The signature over the list of hashes.
    pub signature: ChipSignature,
    /// From the signer to the issuing country.
    pub chain: ChipChain,
    /// Every data group that was handed over or is on the signed list, by number.
    pub data_groups: Vec<ChipDataGroup>,
    /// The chip's unsigned list of contents.
    pub com: ChipCom,
    /// Where the chip departs from the standard in a way that does no harm by itself, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub irregularities: Vec<ChipIrregularity>,
}

impl ChipReport {
    /// Whether everything that was handed over is what a trusted country signed: signature valid,
    /// chain trusted, every data group authentic or not on the chip's side of the reader, and no
    /// contradiction in the list of contents.
    ///
    /// A data group that the signed list does not cover proves nothing, so it stands in the way.
    pub fn authentic(&self) -> bool {
        let groups = || self.data_groups.iter().map(|g| g.status);
        self.signature.status == ChipSignatureStatus::Valid
            && self.chain.status == ChipChainStatus::Trusted
            && groups().any(|s| s == ChipDataGroupStatus::Authentic)
            && groups()
                .all(|s| matches!(s, ChipDataGroupStatus::Authentic | ChipDataGroupStatus::NotPresented))
            && matches!(self.com.status, ChipComStatus::Agrees | ChipComStatus::NotPresented)
    }

    /// How the check of data group `number` ended; one that is not in the report was not presented.
    pub fn data_group(&self, number: u8) -> ChipDataGroupStatus {
        let found = self.data_groups.iter().find(|g| g.number == number);
        found.map_or(ChipDataGroupStatus::NotPresented, |g| g.status)
    }
}

/// One data group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChipDataGroup {
    /// 1 to 16.
    pub number: u8,
    /// How its check ended.
    pub status: ChipDataGroupStatus,
}

/// How the check of one data group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipDataGroupStatus {
    /// Its hash is the one on the list, and the list's signature is valid. Whose signature that is,
    /// the chain says.
    Authentic,
    /// Its hash is not the one on the list.
    Altered,
    /// Handed over, but not on the list: nobody vouches for it.
    NotCovered,
    /// On the list, but not handed over.
    NotPresented,
    /// Handed over; there is no list with a valid signature, or its digest is not known.
    NotChecked,
}

/// The signature over the list of hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChipSignature {
    /// How its check ended.
    pub status: ChipSignatureStatus,
    /// Why it is not valid; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ChipSignatureReason>,
    /// What exactly: an algorithm's object identifier, or the byte at which reading stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Algorithm and key, as `ECDSA SHA-256, brainpoolP256r1 (explicit)`; absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
}

/// How the check of the signature ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipSignatureStatus {
    /// Made with the signer's key over exactly this list.
    Valid,
    /// Not so.
    Invalid,
    /// The box does not know the algorithm or refuses the key; the detail names it.
    Unsupported,
    /// There was nothing to check, or it could not be read.
    NotChecked,
}

/// Why the signature is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipSignatureReason {
    /// The reader did not hand over EF.SOD.
    NotPresented,
    /// EF.SOD cannot be read.
    Unreadable,
    /// The certificate of the signer is neither in EF.SOD nor in the trust store.
    SignerUnknown,
    /// The signature speaks of another type of content.
    ContentTypeDiffers,
    /// The list of hashes is not the one that was signed.
    ContentAltered,
    /// The signature does not fit the signed attributes and the key.
    SignatureWrong,
    /// The algorithm is not known.
    AlgorithmUnsupported,
    /// The signer's public key is not known, damaged, or too large or small to be used.
    KeyRefused,
}

/// From the signer to the issuing country.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChipChain {
    /// How its check ended.
    pub status: ChipChainStatus,
    /// Why it is not trusted; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ChipChainReason>,
    /// What exactly: an object identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// At which time the signer's certificate had to be valid; absent if the chain was not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_at: Option<ChipValidAt>,
    /// What the revocation lists say.
    pub revocation: ChipRevocation,
}

/// How the check of the chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipChainStatus {
    /// It leads to a country signing certificate of the trust store, and nothing on it is out of date
    /// or revoked.
    Trusted,
    /// It does not lead to one.
    UntrustedIssuer,
    /// It does, but a certificate was not valid when it was used.
    Expired,
    /// It does, but a certificate was revoked.
    Revoked,
    /// There is no trust store, or no signer.
    NotChecked,
}

/// Why the chain is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipChainReason {
    /// No trust store is configured, or it holds no certificate.
    NoTrustStore,
    /// The signer's certificate is not known.
    NoSigner,
    /// The issuer's certificate is not in the trust store.
    IssuerUnknown,
    /// A certificate of that name is there, but with another key.
    IssuerKeyDiffers,
    /// The issuer is not allowed to issue certificates.
    IssuerNotCa,
    /// The chain ends before a country's own certificate, or runs in a circle.
    NoAnchor,
    /// More certificates in between than the issuer allows.
    PathTooLong,
    /// The signer's certificate is not one for signing documents.
    SignerPurpose,
    /// A critical extension that the box does not know; the detail names it.
    UnknownCriticalExtension,
    /// An algorithm or key of a certificate is not known; the detail names it.
    AlgorithmUnsupported,
    /// The signer's certificate had ended.
    SignerExpired,
    /// The signer's certificate had not begun.
    SignerNotYetValid,
    /// The country's certificate was not valid when it issued the one below it.
    IssuerNotValidAtIssue,
    /// The signing time lies in the future.
    SignedInFuture,
    /// The signer's certificate was revoked.
    SignerRevoked,
    /// The country's certificate was revoked.
    IssuerRevoked,
}

/// At which time the signer's certificate had to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipValidAt {
    /// When the signer says that it signed.
    SigningTime,
    /// Now: the signer says nothing.
    Now,
}

/// What the revocation lists say of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipRevocation {
    /// Every certificate has a current list that does not name it.
    Good,
    /// No list names one, but a list is older than it may be.
    Stale,
    /// A list names one.
    Revoked,
    /// There is no list for one of the certificates, or none that could be used.
    NotChecked,
}

/// EF.COM, the chip's unsigned list of contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChipCom {
    /// How its check ended.
    pub status: ChipComStatus,
    /// Data groups on the signed list that this one hides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<u8>,
    /// Data groups on this list that nobody signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsigned: Vec<u8>,
    /// What exactly: the byte at which reading stopped, or the versions that disagree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How the check of EF.COM ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipComStatus {
    /// It says what the signed list says.
    Agrees,
    /// It lists other data groups or versions than the signed list.
    Differs,
    /// It names a version that was never published.
    UnknownVersion,
    /// It cannot be read.
    Unreadable,
    /// The reader did not hand it over.
    NotPresented,
    /// There is no signed list that could be read.
    NotChecked,
}

/// A departure from the standard that does no harm by itself: countries make them, and so does
/// somebody who changes bytes that no signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipIrregularity {
    /// EF.SOD lacks its outer tag.
    NoWrapper,
    /// Bytes stand behind the end of something.
    TrailingBytes,
    /// The signed data's version is not the one that its content asks for.
    SignedDataVersion,
    /// The signer's version is not the one that its identifier asks for.
    SignerVersion,
    /// The list's version is not the one that its content asks for.
    LdsVersion,
    /// The digest in use is not among the announced ones.
    DigestAlgorithms,
    /// Several signers.
    SeveralSigners,
    /// The content is signed directly, without attributes.
    NoSignedAttributes,
    /// The signed attributes were sent in another form than the one that was signed.
    SignedAttributesNotDer,
    /// An algorithm has parameters where none belong.
    AlgorithmParameters,
    /// Content and attributes are digested by different algorithms.
    DigestsDiffer,
    /// The signer's certificate is not the one that the signer names, or it spells the name otherwise.
    SignerIdentifier,
    /// A certificate among those handed over cannot be read.
    CertificateUnreadable,
    /// The issuer was found by its key and has another name.
    IssuerName,
    /// Signer and issuer are of different countries.
    CountryDiffers,
}
