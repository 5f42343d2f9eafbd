//! Everything that came of a document, looked at together: one report, one word for it.
//!
//! # When a document passes
//!
//! Three things have to be checked and have to pass, and nothing may have failed:
//!
//! | | by number | by machine-readable zone |
//! |---|---|---|
//! | it is read right | form, region, birth date, check character | form and every check digit |
//! | it is valid | the last day came and is not over | its expiry date is not over |
//! | it is genuine | the reader's check `authenticity`, where the site counts it | the chip is authentic, DG1 and (when a face is compared) DG2 among its files; or the reader's check |
//!
//! What failed is a failure whatever else passed: any check of the box, and any of the reader's own.
//! The rest is `not_checked`. A signer whose country's certificate is not in the trust store is
//! *not checked*: nobody can tell a country that is missing there from a forger. One that claims to
//! be a country that *is* there, and is not, fails.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::chip::{self, ChipDetails, ChipFiles, FileId, TrustStore, passive_authentication};
use super::link::LinkKey;
use super::mrz::{self, Mrz, MrzDate};
use super::request::DocumentRequest;
use super::resident::{Number, Period, Until};
use super::{lds, portrait};
use crate::base::error::Context as _;
use crate::base::{Kind, Result};
use crate::capture::RgbImage;
use crate::config::{DisclosedField, DocumentConfig, OnFail};
use crate::event::{
    Check, CheckName, CheckStatus, ChipChainReason, ChipChainStatus, ChipComStatus, ChipDataGroupStatus,
    ChipReport, ChipSignatureReason, ChipSignatureStatus, Disclosed, DocumentCheck,
    DocumentCheckName as Name, DocumentReason as Why, DocumentReport, Examiner, Outcome, ReaderCheck, Reason,
};

/// The reader's check that says whether the document is genuine.
const AUTHENTICITY: &str = "authenticity";
/// China's code in a zone; numbers of its cards have no issuer of their own.
const CHINA: &str = "CHN";

/// Whether the portrait in the chip is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portraits {
    /// A face will be compared with it: it is decoded, and it must be the issuer's.
    Decode,
    /// The guest declined the camera: it stays closed.
    LeaveClosed,
}

/// Looks at documents. Shared by all sessions.
#[derive(Debug)]
pub struct Inspector {
    config: DocumentConfig,
    trust: TrustStore,
    key: Option<LinkKey>,
}

/// What was found.
pub struct Findings {
    /// For the event.
    pub report: DocumentReport,
    /// Why the document did not pass; none if it did.
    pub reason: Option<Reason>,
    /// The chip's portrait; none if there is none, or it was not wanted.
    pub portrait: Option<RgbImage>,
    /// The number, for a person at the box.
    pub number: Option<Number>,
    /// The printed zone, for a person at the box.
    pub printed: Option<Mrz>,
    /// The chip's zone, for a person at the box.
    pub chip_zone: Option<Mrz>,
    /// Who signed the chip's files, for a person at the box.
    pub signer: Option<ChipDetails>,
}

impl Findings {
    /// The one check of the verification that stands for all of these.
    pub fn check(&self) -> Check {
        Check { name: CheckName::Document, status: self.report.status, reason: self.reason }
    }
}

impl Inspector {
    /// Loads what the configuration names. The key of the links is made in `state_dir` if it is
    /// not there.
    pub fn open(config: &DocumentConfig, state_dir: &Path, now: Timestamp) -> Result<Self> {
        let trust = match &config.trust {
            Some(path) => TrustStore::load(path, now).context(|| "document.trust")?,
            None => TrustStore::empty(),
        };
        let key = match config.link.then(|| LinkKey::open(config.link_key_file.as_deref(), state_dir)) {
            Some(Ok(key)) => Some(key),
            // Guests are verified all the same, and the box has to say so on its topics.
            Some(Err(e)) if e.kind() == Kind::NoSpace => {
                tracing::error!(error = %e.chain(), "results carry no link: its key cannot be made");
                None
            }
            Some(Err(e)) => return Err(e.context("document.link")),
            None => None,
        };
        Ok(Self { config: config.clone(), trust, key })
    }

    /// Without links, for a command that looks at files.
    pub fn new(config: DocumentConfig, trust: TrustStore) -> Self {
        Self { config, trust, key: None }
    }

    /// The certificates it goes by.
    pub fn trust(&self) -> &TrustStore {
        &self.trust
    }

    /// What the outcome of a verification becomes in the light of the document's check.
    pub fn settle(&self, outcome: Outcome, document: CheckStatus) -> Outcome {
        let refused = document == CheckStatus::Fail && self.config.on_fail == OnFail::Refuse
            || document != CheckStatus::Pass && self.config.required;
        match outcome {
            Outcome::Match | Outcome::DocumentOnly if refused => Outcome::DocumentRejected,
            other => other,
        }
    }

    /// Looks at everything that came. Takes some milliseconds, and some tens more to decode a
    /// portrait; never fails: what cannot be read is in the report as such.
    pub fn inspect(&self, request: &DocumentRequest, portraits: Portraits, now: Timestamp) -> Findings {
        let today = now.to_zoned(TimeZone::system()).date();
        let mut checks = Vec::new();

        let printed = request.mrz.as_ref().map(|text| Mrz::read(text.expose(), today));
        let dg1 = request.files.get(FileId::DataGroup(1)).map(lds::dg1_mrz);
        let chip_zone = dg1.as_ref().and_then(|z| z.as_ref().ok()).map(|zone| Mrz::read(zone, today));
        // The chip's zone was not read by a camera; the printed one is what the clerk sees.
        let zone = chip_zone.as_ref().or(printed.as_ref());
        let number = request.number.as_ref().filter(|_| zone.is_none());
        let number = number.map(|text| Number::read(text.expose(), today));

        checks.extend(number.iter().flat_map(|n| n.checks().iter().cloned()));
        checks.extend(printed.as_ref().or(zone).iter().flat_map(|z| z.checks().iter().cloned()));
        self.period(request, zone, number.as_ref(), today, &mut checks);
        if let Some(zone) = zone {
            agreements(request, zone, &mut checks);
        }

        let (chip, signer, portrait) = self.chip(request, portraits, now, &mut checks);
        if let Some(zone) = dg1 {
            checks.push(match (zone, &printed, &chip_zone) {
                (Ok(_), Some(printed), Some(chip)) if printed.as_str() == chip.as_str() => {
                    DocumentCheck::pass(Name::ChipMrz)
                }
                (Ok(_), Some(_), _) => DocumentCheck::fail(Name::ChipMrz, Why::Differs),
                (Ok(_), None, _) => DocumentCheck::not_checked(Name::ChipMrz, Why::NotPresented),
                (Err(e), ..) => {
                    tracing::info!(error = %e.chain(), "the chip's zone cannot be read");
                    DocumentCheck::fail(Name::ChipMrz, Why::Unreadable)
                }
            });
        }
        if let Some(reader) = &request.reader {
            checks.extend(reader.checks.iter().map(|check| of_reader(&reader.name, check)));
        }

        let read_right = match (zone, &number) {
            (Some(zone), _) => mrz::reads_well(zone.checks()),
            (None, Some(number)) => number.checks().iter().all(|c| c.status == CheckStatus::Pass),
            (None, None) => false,
        };
        let valid = checks.iter().any(|c| c.name == Name::Validity && c.status == CheckStatus::Pass);
        let genuine = self.vouched_for(&checks) || chip.as_ref().is_some_and(|c| authentic(c, portraits));
        let (status, reason) = judge(&checks, read_right && valid, genuine);
        let kind = zone.and_then(Mrz::kind).or(number.as_ref().and_then(Number::kind));
        let disclosed = self.disclosed(zone, number.as_ref(), request, today);
        let link = match (read_right, &self.key) {
            (true, Some(key)) => link(key, zone, number.as_ref()),
            _ => None,
        };
        let report = DocumentReport { status, kind, checks, chip, link, disclosed };
        Findings { report, reason, portrait, number, printed, chip_zone, signer }
    }

    fn vouched_for(&self, checks: &[DocumentCheck]) -> bool {
        let mut own = checks.iter().filter(|c| c.name == Name::Reader);
        self.config.accept_reader
            && own.any(|c| c.about.as_deref() == Some(AUTHENTICITY) && c.status == CheckStatus::Pass)
    }

    /// The period that came beside the number, or the last day printed beside a zone.
    fn period(
        &self,
        request: &DocumentRequest,
        zone: Option<&Mrz>,
        number: Option<&Number>,
        today: Date,
        checks: &mut Vec<DocumentCheck>,
    ) {
        let Some(until) = &request.valid_until else {
            if number.is_some() || request.valid_from.is_some() {
                checks.push(DocumentCheck::not_checked(Name::Validity, Why::NotPresented).about("card"));
            }
            return;
        };
        let from = request.valid_from.as_ref().map(|f| f.expose());
        let Some(period) = Period::read(from, until.expose()) else {
            checks.push(DocumentCheck::fail(Name::Validity, Why::NotADate).about("card"));
            return;
        };
        let kind = number.and_then(Number::kind);
        let found = period.checks(kind, number.and_then(Number::birth_date), today);
        checks.extend(found.into_iter().map(|c| c.about("card")));
        if let (Some(MrzDate::Day(expiry)), Until::Day(until)) = (zone.map(Mrz::expiry), period.until) {
            checks.push(agreement("expiry", Some(expiry == until)));
        }
    }

    fn chip(
        &self,
        request: &DocumentRequest,
        portraits: Portraits,
        now: Timestamp,
        checks: &mut Vec<DocumentCheck>,
    ) -> (Option<ChipReport>, Option<ChipDetails>, Option<RgbImage>) {
        if request.files.is_empty() {
            return (None, None, None);
        }
        let mut files = ChipFiles::new();
        for (file, bytes) in request.files.iter() {
            if let Err(e) = files.add(file, bytes) {
                tracing::warn!(error = %e.chain(), "a file of a chip is left out");
            }
        }
        let chip::PassiveAuthentication { report, details } =
            passive_authentication(&files, &self.trust, now);
        chip_checks(&report, checks);
        let mut picture = None;
        if let Some(dg2) = request.files.get(FileId::DataGroup(2)) {
            let found = portrait::find(dg2).and_then(|p| match portraits {
                Portraits::Decode => p.decode().map(Some),
                Portraits::LeaveClosed => Ok(None),
            });
            checks.push(match found {
                Ok(decoded) => {
                    picture = decoded;
                    DocumentCheck::pass(Name::ChipPortrait)
                }
                Err(e) => {
                    tracing::info!(error = %e.chain(), "the chip's portrait cannot be read");
                    DocumentCheck::fail(Name::ChipPortrait, Why::Unreadable)
                }
            });
        }
        (Some(report), Some(details), picture)
    }

    fn disclosed(
        &self,
        zone: Option<&Mrz>,
        number: Option<&Number>,
        request: &DocumentRequest,
        today: Date,
    ) -> Option<Disclosed> {
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let day = |date: MrzDate| if let MrzDate::Day(day) = date { Some(day) } else { None };
        let mut out = Disclosed::default();
        for field in &self.config.disclose {
            match field {
                DisclosedField::DocumentNumber => {
                    out.document_number =
                        filled(zone.map(Mrz::number).or(number.map(Number::as_str)).unwrap_or_default());
                }
                DisclosedField::Name => {
                    out.name = zone.and_then(|z| {
                        let (primary, secondary) = z.name();
                        let comma = if secondary.is_empty() { "" } else { ", " };
                        filled(&format!("{}{comma}{}", *primary, *secondary))
                    });
                }
                DisclosedField::Nationality => out.nationality = zone.and_then(|z| filled(z.nationality())),
                DisclosedField::IssuingState => out.issuing_state = zone.and_then(|z| filled(z.issuer())),
                DisclosedField::BirthDate => {
                    out.birth_date =
                        zone.map_or(number.and_then(Number::birth_date), |z| day(z.birth_date()));
                }
                DisclosedField::Sex => out.sex = zone.map_or(number.and_then(Number::sex), Mrz::sex),
                DisclosedField::Age => {
                    out.age = zone.map_or(number.and_then(|n| n.age(today)), |z| z.age(today));
                }
                DisclosedField::Expiry => {
                    let period = request.valid_until.as_ref().and_then(|u| Period::read(None, u.expose()));
                    out.expiry = zone.map_or_else(
                        || period.and_then(|p| if let Until::Day(d) = p.until { Some(d) } else { None }),
                        |z| day(z.expiry()),
                    );
                }
            }
        }
        (out != Disclosed::default()).then_some(out)
    }
}

fn link(key: &LinkKey, zone: Option<&Mrz>, number: Option<&Number>) -> Option<String> {
    match (zone, number) {
        (Some(zone), _) => Some(key.link(zone.issuer(), zone.number())),
        (None, Some(number)) => Some(key.link(CHINA, &number.to_18())),
        (None, None) => None,
    }
}

fn agreement(about: &str, same: Option<bool>) -> DocumentCheck {
    match same {
        Some(true) => DocumentCheck::pass(Name::Agreement),
        Some(false) => DocumentCheck::fail(Name::Agreement, Why::Differs),
        None => DocumentCheck::not_checked(Name::Agreement, Why::OtherScript),
    }
    .about(about)
}

/// What stands elsewhere on the document, against its zone.
fn agreements(request: &DocumentRequest, zone: &Mrz, checks: &mut Vec<DocumentCheck>) {
    if zone.kind().is_none() {
        return;
    }
    if let Some(number) = &request.number {
        // Compared as they run, so that no copy is left behind.
        fn plain(text: &str) -> impl Iterator<Item = char> {
            text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase())
        }
        let same = plain(number.expose()).eq(plain(zone.number()));
        checks.push(agreement("document_number", Some(same)));
    }
    if let Some(name) = &request.name {
        checks.push(agreement("name", zone.name_agrees(name.expose())));
    }
}

fn of_reader(name: &str, check: &ReaderCheck) -> DocumentCheck {
    let reason = match check.status {
        CheckStatus::Pass => None,
        CheckStatus::Fail => Some(Why::ReaderSaysNo),
        CheckStatus::NotChecked => Some(Why::ReaderDidNotCheck),
    };
    DocumentCheck {
        name: Name::Reader,
        about: Some(check.name.clone()),
        status: check.status,
        reason,
        by: Examiner::Reader { name: name.to_owned(), word: check.word.clone() },
    }
}

/// Whether the chip proves what is needed: nothing of it in doubt, and the zone (and the portrait
/// that a face is compared with) among what was signed.
fn authentic(chip: &ChipReport, portraits: Portraits) -> bool {
    let signed = |n| chip.data_group(n) == ChipDataGroupStatus::Authentic;
    chip.authentic() && signed(1) && (portraits == Portraits::LeaveClosed || signed(2))
}

/// The chip's report in the words of all checks.
fn chip_checks(chip: &ChipReport, checks: &mut Vec<DocumentCheck>) {
    use DocumentCheck as C;
    checks.push(match chip.com.status {
        ChipComStatus::Agrees => C::pass(Name::ChipFiles),
        ChipComStatus::Differs => C::fail(Name::ChipFiles, Why::Differs),
        ChipComStatus::UnknownVersion | ChipComStatus::Unreadable => {
            C::fail(Name::ChipFiles, Why::Unreadable)
        }
        ChipComStatus::NotPresented => C::not_checked(Name::ChipFiles, Why::NotPresented),
        ChipComStatus::NotChecked => C::not_checked(Name::ChipFiles, Why::EarlierCheckFailed),
    });
    let name = Name::ChipSignature;
    checks.push(match (chip.signature.status, chip.signature.reason) {
        (ChipSignatureStatus::Valid, _) => C::pass(name),
        (_, Some(ChipSignatureReason::Unreadable)) => C::fail(name, Why::Unreadable),
        (ChipSignatureStatus::Invalid, _) => C::fail(name, Why::SignatureInvalid),
        (ChipSignatureStatus::Unsupported, _) => C::not_checked(name, Why::UnsupportedAlgorithm),
        (_, Some(ChipSignatureReason::SignerUnknown)) => C::not_checked(name, Why::UntrustedIssuer),
        (ChipSignatureStatus::NotChecked, _) => C::not_checked(name, Why::NotPresented),
    });
    let name = Name::ChipChain;
    checks.push(match (chip.chain.status, chip.chain.reason) {
        (ChipChainStatus::Trusted, _) => C::pass(name),
        (ChipChainStatus::Expired, _) => C::fail(name, Why::CertificateExpired),
        (ChipChainStatus::Revoked, _) => C::fail(name, Why::Revoked),
        (_, Some(ChipChainReason::NoTrustStore)) => C::not_checked(name, Why::NoTrustStore),
        (_, Some(ChipChainReason::AlgorithmUnsupported | ChipChainReason::UnknownCriticalExtension)) => {
            C::not_checked(name, Why::UnsupportedAlgorithm)
        }
        (ChipChainStatus::UntrustedIssuer, Some(ChipChainReason::IssuerUnknown)) => {
            C::not_checked(name, Why::UntrustedIssuer)
        }
        (ChipChainStatus::UntrustedIssuer, _) => C::fail(name, Why::UntrustedIssuer),
        (ChipChainStatus::NotChecked, _) => C::not_checked(name, Why::EarlierCheckFailed),
    });
    for group in &chip.data_groups {
        let name = Name::ChipDataGroup;
        let check = match group.status {
            ChipDataGroupStatus::Authentic => C::pass(name),
            ChipDataGroupStatus::Altered => C::fail(name, Why::Altered),
            ChipDataGroupStatus::NotCovered => C::not_checked(name, Why::NotCovered),
            ChipDataGroupStatus::NotPresented => C::not_checked(name, Why::NotPresented),
            ChipDataGroupStatus::NotChecked => C::not_checked(name, Why::EarlierCheckFailed),
        };
        checks.push(check.about(format!("dg{}", group.number)));
    }
}

/// One word for all checks, and why it is not `pass`.
fn judge(checks: &[DocumentCheck], complete: bool, genuine: bool) -> (CheckStatus, Option<Reason>) {
    let failed =
        |names: &[Name]| checks.iter().any(|c| c.status == CheckStatus::Fail && names.contains(&c.name));
    let chip = [Name::ChipFiles, Name::ChipSignature, Name::ChipChain, Name::ChipDataGroup, Name::Reader];
    // The gravest first: what is not genuine need not be called expired.
    if failed(&chip) {
        (CheckStatus::Fail, Some(Reason::DocumentNotAuthentic))
    } else if checks
        .iter()
        .any(|c| c.name == Name::Validity && matches!(c.reason, Some(Why::Expired | Why::NotYetValid)))
    {
        (CheckStatus::Fail, Some(Reason::DocumentExpired))
    } else if checks.iter().any(|c| c.status == CheckStatus::Fail) {
        (CheckStatus::Fail, Some(Reason::DocumentInconsistent))
    } else if !complete {
        (CheckStatus::NotChecked, Some(Reason::DocumentIncomplete))
    } else if !genuine {
        (CheckStatus::NotChecked, Some(Reason::DocumentUnproven))
    } else {
        (CheckStatus::Pass, None)
    }
}
