//! `[document]`: the checks of the document itself, and what of it may be told.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a verification whose document failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// The outcome is `document_rejected` in place of `match` or `document_only`: nothing opens.
    #[default]
    Refuse,
    /// The outcome stays; only the checks say it. Whoever acts on a `match` has to read them.
    Report,
}

/// A part of the document that may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisclosedField {
    /// The document's number.
    DocumentNumber,
    /// The holder's name.
    Name,
    /// Nationality.
    Nationality,
    /// The issuing state.
    IssuingState,
    /// Birth date.
    BirthDate,
    /// Sex.
    Sex,
    /// Full years.
    Age,
    /// The last day of validity.
    Expiry,
}

/// The checks of the document itself, and what of it may be told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DocumentConfig {
    /// Folder of the issuing states' certificates: master lists (`.ml`), certificates (`.cer`, `.crt`,
    /// `.der`, `.pem`), revocation lists (`.crl`). Read at the start. Without it no signer is
    /// trusted, and results say `no_trust_store`.
    pub trust: Option<PathBuf>,
    /// What becomes of a verification whose document failed a check: it is expired, altered, or
    /// its number, dates or texts contradict each other.
    pub on_fail: OnFail,
    /// Whether a match needs a document that passed. With `false`, a document of which something
    /// could not be checked, or none at all, is no obstacle; the result says so.
    pub required: bool,
    /// Whether the word of the document reader's own software counts as proof that the document is
    /// genuine (its check `authenticity`). The chip of a Chinese resident identity card can be read
    /// by nobody else.
    pub accept_reader: bool,
    /// Personal data that results may carry: `document_number`, `name`, `nationality`,
    /// `issuing_state`, `birth_date`, `sex`, `age`, `expiry`.
    pub disclose: Vec<DisclosedField>,
    /// Whether results carry `link`, a keyed hash of the document's number: equal in two results of
    /// this box about one document, and nothing to anybody else.
    pub link: bool,
    /// File with the key of `link`, at least 16 bytes, for instance a systemd credential. Default:
    /// `document.key` in `box.state_dir`, made at the first start.
    pub link_key_file: Option<PathBuf>,
}

impl Default for DocumentConfig {
    fn default() -> Self {
        Self {
            trust: None,
            on_fail: OnFail::default(),
            required: false,
            accept_reader: false,
            disclose: Vec::new(),
            link: true,
            link_key_file: None,
        }
    }
}
