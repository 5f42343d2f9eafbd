//! What is known of a document, and who found it out.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CheckStatus, ChipReport};

/// What kind of document the checks took it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// A resident identity card of China, 18 digits (GB 11643-1999).
    ResidentCard,
    /// A resident identity number of 15 digits (GB 11643-1989); such cards are void since 2013.
    ResidentCardOld,
    /// A residence permit for people of Hong Kong, Macao or Taiwan.
    ResidencePermit,
    /// A foreigner's permanent residence card of China.
    ForeignerCard,
    /// A machine-readable passport (TD3).
    Passport,
    /// A card-sized travel document (TD1).
    CardTd1,
    /// A travel document of the larger card size (TD2).
    CardTd2,
    /// A visa of passport size (MRV-A).
    VisaA,
    /// A visa of the smaller size (MRV-B).
    VisaB,
}

/// A check of the document itself, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentCheckName {
    /// The number has the length and the characters of a kind that exists.
    NumberFormat,
    /// The number's region code belongs to a division that existed in the holder's lifetime.
    NumberRegion,
    /// The number's birth date is a date, and over.
    NumberBirthDate,
    /// The number's check character (ISO 7064 MOD 11-2).
    NumberCheckCharacter,
    /// The machine-readable zone has the lines, length and characters of a format that exists.
    MrzFormat,
    /// One check digit of the machine-readable zone; `about` says whose.
    MrzCheckDigit,
    /// A state's code in the machine-readable zone, which no check digit protects, is one that ICAO
    /// lists; `about` says whose.
    MrzState,
    /// The machine-readable zone's birth date is a date, and over.
    MrzBirthDate,
    /// The document is valid today; `about` says by which text.
    Validity,
    /// The period of validity is one that is issued to somebody of that age.
    ValidityPeriod,
    /// Number, name and machine-readable zone, as far as they came, say the same.
    Agreement,
    /// The files of the chip can be read, and are those that it lists.
    ChipFiles,
    /// The signature of the security object, by the signer inside it.
    ChipSignature,
    /// The signer is one of the issuing state's.
    ChipChain,
    /// One data group is what was signed; `about` says which.
    ChipDataGroup,
    /// The machine-readable zone in the chip (DG1) is the printed one.
    ChipMrz,
    /// The portrait in the chip (DG2) can be read.
    ChipPortrait,
    /// A check that the document reader's own software made; `about` is its name there.
    Reader,
}

/// Why a check of the document did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentReason {
    /// What it needs did not come with the request.
    NotPresented,
    /// A check before it failed, and without it this one means nothing.
    EarlierCheckFailed,
    /// The length belongs to nothing known.
    WrongLength,
    /// A character stands where it cannot.
    WrongCharacter,
    /// No division ever had this code.
    UnknownRegion,
    /// ICAO and ISO list no state or organisation of this code.
    UnknownState,
    /// The division was dissolved before the holder's birth.
    RegionAbolished,
    /// The holder is younger than the box's table of divisions, which lacks the code.
    RegionTableOld,
    /// There is no such day.
    NotADate,
    /// The date is still to come.
    InTheFuture,
    /// The date is too long ago for a living person.
    TooLongAgo,
    /// The issuer left it open.
    Unspecified,
    /// The check character or digit is another.
    WrongCheckDigit,
    /// The check digit is wrong as read, and right if one character that machines confuse is
    /// another; nothing was changed.
    ReadingDoubtful,
    /// Numbers of this kind have no check character.
    HasNone,
    /// How it is computed was never published.
    NotPublished,
    /// The document is no longer valid.
    Expired,
    /// The document is not valid yet.
    NotYetValid,
    /// No document is issued for such a period, or not to somebody of that age.
    PeriodNotIssued,
    /// Two texts that must agree do not.
    Differs,
    /// It is written in a script that is not transliterated letter by letter.
    OtherScript,
    /// The bytes cannot be read as what they claim to be.
    Unreadable,
    /// The file is not what was signed.
    Altered,
    /// The file is not among those that were signed.
    NotCovered,
    /// The signature is not the signer's.
    SignatureInvalid,
    /// The signature's algorithm is none that this box computes.
    UnsupportedAlgorithm,
    /// The box was given no certificates of issuing states.
    NoTrustStore,
    /// No certificate of an issuing state that the box was given leads to the signer.
    UntrustedIssuer,
    /// A certificate of the chain was not valid when it had to be.
    CertificateExpired,
    /// The signer's certificate was revoked.
    Revoked,
    /// The reader's own software says no.
    ReaderSaysNo,
    /// The reader's own software says that it did not check.
    ReaderDidNotCheck,
}

/// Who made a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Examiner {
    /// This box.
    Box,
    /// The document reader's own software; the box repeats what it was told.
    Reader {
        /// What the software calls itself.
        name: String,
        /// Its own word for the result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<String>,
    },
}

/// One check of the document and how it ended. Not checked is never passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentCheck {
    /// Which check.
    pub name: DocumentCheckName,
    /// Which part of the document: a data group (`dg2`), a field (`document_number`), a position
    /// (`line 2, position 5`), or the reader's own name of its check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// How it ended.
    pub status: CheckStatus,
    /// Why it did not pass; absent when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DocumentReason>,
    /// Who made it.
    pub by: Examiner,
}

impl DocumentCheck {
    /// Made by the box and passed.
    pub fn pass(name: DocumentCheckName) -> Self {
        Self { name, about: None, status: CheckStatus::Pass, reason: None, by: Examiner::Box }
    }

    /// Made by the box and failed.
    pub fn fail(name: DocumentCheckName, reason: DocumentReason) -> Self {
        Self { status: CheckStatus::Fail, reason: Some(reason), ..Self::pass(name) }
    }

    /// Not made by the box.
    pub fn not_checked(name: DocumentCheckName, reason: DocumentReason) -> Self {
        Self { status: CheckStatus::NotChecked, reason: Some(reason), ..Self::pass(name) }
    }

    /// The same about a part of the document.
    #[must_use]
    pub fn about(mut self, part: impl Into<String>) -> Self {
        self.about = Some(part.into());
        self
    }
}

/// Male, female, or not said (ISO/IEC 5218's words).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sex {
    /// Male.
    Male,
    /// Female.
    Female,
    /// The document does not say, or says neither.
    Unspecified,
}

/// What of the document may be told: only what `document.disclose` of the configuration lists.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disclosed {
    /// The document's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_number: Option<String>,
    /// The holder's name as the machine-readable zone has it: `MUSTERMANN, ERIKA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Nationality, the zone's three letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nationality: Option<String>,
    /// The issuing state, the zone's three letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuing_state: Option<String>,
    /// Birth date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Date>,
    /// Sex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sex: Option<Sex>,
    /// Full years on the day of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<u16>,
    /// The last day of validity; absent too when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Date>,
}

impl std::fmt::Debug for Disclosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disclosed(…)")
    }
}

/// What is known of the document that came with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentReport {
    /// Everything together: passed only if number or machine-readable zone, validity and
    /// authenticity were each checked and passed, and nothing failed. The same word as the check
    /// `document` of the verification.
    pub status: CheckStatus,
    /// What the document was taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DocumentKind>,
    /// Every check, made or not.
    pub checks: Vec<DocumentCheck>,
    /// The chip in detail, if files of one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chip: Option<ChipReport>,
    /// Two events of this box with the same link are about the same document: HMAC-SHA-256 of its
    /// number under a key that never leaves the box, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Personal data, as far as `document.disclose` of the configuration allows any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclosed: Option<Disclosed>,
}
