//! `vigil document`: looks at a document's files and texts, and prints every check.
//!
//! The same checks in the same words as at the desk, for trying a reader or a folder of
//! certificates, and for a clerk with a doubt. Nothing is recorded or sent; what it prints shows the
//! holder's data, which whoever runs it has in the hand.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::base::error::Context as _;
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{DisclosedField, DocumentConfig};
use crate::document::chip::{FileId, TrustStore, TrustSummary};
use crate::document::lds::MAX_FILE_BYTES;
use crate::document::mrz::Mrz;
use crate::document::tlv::Tlv;
use crate::document::{DocumentRequest, Findings, Inspector, Portraits, portrait};
use crate::event::{CheckStatus, DocumentCheck, Examiner, PersonalText};

/// Largest text file that is tried as a machine-readable zone.
const MAX_ZONE_BYTES: usize = 1024;
/// Room for the table, so that it does not grow and leave copies.
const TABLE_BYTES: usize = 32 * 1024;
/// Lines of the folder of certificates that are named when they are left out.
const SKIPPED_TOLD: usize = 10;

/// Looks at a document: number, machine-readable zone, chip, and prints every check.
///
/// Files are those of the chip (EF.COM, EF.SOD, EF.DG1 to EF.DG16, recognised by their content, and by
/// their name where the content is damaged) and text files with a machine-readable zone. What is
/// neither is named and left out.
///
/// Exit code 0 if number or zone, validity and authenticity were all checked and passed; 1 if
/// something failed; 2 if nothing failed and something of these could not be checked; sysexits codes
/// for what prevented the checks (64: wrong arguments, 65: nothing was recognised, 66: a file is not
/// there).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    vigil document passport/*.bin --trust /etc/vigil/csca\n  \
    vigil document passport/*.bin --mrz \"$(cat zone.txt)\" --json\n  \
    vigil document --number 11010519491231002X --valid 2015.03.01-长期\n  \
    vigil document EF_DG2.bin --portrait face.png")]
pub(super) struct Args {
    /// The chip's files, and text files with a machine-readable zone
    files: Vec<PathBuf>,
    /// A Chinese identity card's, residence permit's or permanent residence card's number; beside a
    /// zone, the number printed elsewhere on the document
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// The card's period of validity as it is printed, or its last day: 2015.03.01-2035.03.01, 2015.03.01-长期
    #[arg(long, value_name = "PERIOD")]
    valid: Option<String>,
    /// The printed machine-readable zone, with or without line breaks
    #[arg(long, value_name = "LINES")]
    mrz: Option<String>,
    /// The printed name, to be compared with the zone
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Folder of issuing states' certificates, master lists and revocation lists
    #[arg(long, value_name = "DIR")]
    trust: Option<PathBuf>,
    /// Judge as if this were the day, instead of today
    #[arg(long, value_name = "YYYY-MM-DD")]
    on: Option<Date>,
    /// Write the chip's portrait as PNG
    #[arg(long, value_name = "PNG")]
    portrait: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    let status = look(&args)?;
    // Everything that held a person's data is dropped, and wiped, by now.
    match status {
        CheckStatus::Pass => Ok(()),
        CheckStatus::Fail => std::process::exit(1),
        CheckStatus::NotChecked => std::process::exit(2),
    }
}

fn look(args: &Args) -> Result<CheckStatus> {
    let (request, left_out) = request(args)?;
    if request.is_empty() {
        let what = match args.files.is_empty() {
            true => Error::new(Kind::Usage, Culprit::Request, "there is nothing to look at")
                .remedy("name the chip's files, or give --number or --mrz"),
            false => {
                Error::new(Kind::Malformed, Culprit::Request, "none of the files is a chip's or a zone's")
                    .remedy("name files that begin as EF.COM, EF.SOD or a data group do")
            }
        };
        return Err(what);
    }
    let now = match args.on {
        Some(day) => day
            .at(12, 0, 0, 0)
            .to_zoned(TimeZone::system())
            .map_err(|e| {
                Error::new(Kind::Usage, Culprit::Request, "--on is not a usable day").with_source(e)
            })?
            .timestamp(),
        None => Timestamp::now(),
    };
    let trust = match &args.trust {
        Some(path) => TrustStore::load(path, now).context(|| "--trust")?,
        None => TrustStore::empty(),
    };
    let config = DocumentConfig {
        disclose: vec![
            DisclosedField::DocumentNumber,
            DisclosedField::Name,
            DisclosedField::IssuingState,
            DisclosedField::Nationality,
            DisclosedField::BirthDate,
            DisclosedField::Sex,
            DisclosedField::Age,
            DisclosedField::Expiry,
        ],
        ..DocumentConfig::default()
    };
    let inspector = Inspector::new(config, trust);
    let found = inspector.inspect(&request, Portraits::Decode, now);
    if args.json {
        let json = json(&found, args.trust.is_some().then(|| inspector.trust().summary()), &left_out);
        write_out(&format!("{json:#}\n"))?;
    } else {
        write_out(&table(&found, &request))?;
        if args.trust.is_some() {
            print_trust(inspector.trust().summary());
        }
        for what in &left_out {
            eprintln!("left out: {what}");
        }
    }
    if let Some(path) = &args.portrait {
        write_portrait(&found, path)?;
    }
    Ok(found.report.status)
}

/// What the arguments and files say, and which files were left out.
fn request(args: &Args) -> Result<(DocumentRequest, Vec<String>)> {
    let text = |text: &Option<String>| text.as_deref().map(PersonalText::new);
    let mut request = DocumentRequest {
        number: text(&args.number),
        name: text(&args.name),
        mrz: text(&args.mrz),
        ..DocumentRequest::default()
    };
    if let Some(period) = &args.valid {
        // The middle mark parts the two days; without one it is the last day.
        let marks: Vec<_> = period.match_indices(['-', '–', '—', '至']).collect();
        match marks.get(marks.len() / 2).filter(|_| marks.len() % 2 == 1) {
            Some((at, mark)) => {
                request.valid_from = Some(PersonalText::new(&period[..*at]));
                request.valid_until = Some(PersonalText::new(&period[at + mark.len()..]));
            }
            None => request.valid_until = text(&args.valid),
        }
    }
    let mut left_out = Vec::new();
    let mut unclear = Vec::new();
    for path in &args.files {
        let shown = path.display().to_string();
        let bytes = read(path)?;
        if bytes.len() > MAX_FILE_BYTES {
            left_out.push(format!("{shown}: larger than {MAX_FILE_BYTES} bytes"));
            continue;
        }
        let name = FileId::from_name(&shown);
        match (by_content(&bytes), name) {
            (Some(file), Some(named)) if file != named => unclear.push((shown, file, named, bytes)),
            (Some(file), _) | (None, Some(file)) => {
                request.files.add(file, bytes).context(|| shown.clone())?
            }
            (None, None) => match zone(&bytes) {
                Some(zone) if request.mrz.is_none() => request.mrz = Some(zone),
                Some(_) => left_out.push(format!("{shown}: a second machine-readable zone")),
                None => {
                    left_out.push(format!("{shown}: neither a file of a chip nor a machine-readable zone"))
                }
            },
        }
    }
    // What a damaged first byte makes of a file must not push out the one that it now looks like.
    for (shown, content, named, bytes) in unclear {
        let file = if request.files.get(content).is_none() { content } else { named };
        eprintln!("{shown}: begins as {content} does and is named as {named}; taken as {file}");
        request.files.add(file, bytes).context(|| shown.clone())?;
    }
    Ok((request, left_out))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let cannot = |e| Error::io(Culprit::Request, "cannot be read", e).context(path.display().to_string());
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES + 1));
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// Whether the bytes are one element with the tag of a chip's file, perhaps with padding behind it.
fn by_content(bytes: &[u8]) -> Option<FileId> {
    let file = FileId::from_tag(*bytes.first()?)?;
    let element = Tlv::first(bytes).ok()?;
    let rest = &bytes[element.raw().len()..];
    rest.iter().all(|b| matches!(b, 0 | 0xFF)).then_some(file)
}

fn zone(bytes: &[u8]) -> Option<PersonalText> {
    let text = std::str::from_utf8(bytes).ok().filter(|t| t.len() <= MAX_ZONE_BYTES)?;
    let zone = Mrz::read(text, Date::MAX);
    // A zone with a misread character is one all the same.
    let signs = text.chars().filter(|c| !c.is_whitespace()).count();
    let length = matches!(signs, 72 | 88 | 90);
    (zone.kind().is_some() || length && text.contains("<<")).then(|| PersonalText::new(text))
}

/// The word that events use.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn by(check: &DocumentCheck) -> String {
    match &check.by {
        Examiner::Box => "box".into(),
        Examiner::Reader { name, word: Some(word) } => format!("{name}: {word}"),
        Examiner::Reader { name, word: None } => name.clone(),
    }
}

/// Everything that was found, for a person.
fn table(found: &Findings, request: &DocumentRequest) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(TABLE_BYTES));
    let report = &found.report;
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<16} {value}");
    };
    if let Some(kind) = &report.kind {
        line("kind", &word(kind));
    }
    if let Some(known) = &report.disclosed {
        let date = |d: &Option<Date>| d.map(|d| d.to_string());
        for (name, value) in [
            ("number", known.document_number.clone()),
            ("name", known.name.clone()),
            ("issuing state", known.issuing_state.clone()),
            ("nationality", known.nationality.clone()),
            ("birth date", date(&known.birth_date)),
            ("age", known.age.map(|a| a.to_string())),
            ("sex", known.sex.as_ref().map(word)),
            ("valid until", date(&known.expiry)),
        ] {
            if let Some(value) = value {
                line(name, &value);
            }
        }
    }
    if let Some(number) = &found.number {
        line("region", &number.region().join(" "));
    }
    for zone in found.printed.iter().chain(found.chip_zone.iter().filter(|_| found.printed.is_none())) {
        for (n, text) in zone.lines().enumerate() {
            line(if n == 0 { "zone" } else { "" }, text);
        }
    }
    if let Some(picture) = &found.portrait {
        let dg2 = request.files.get(FileId::DataGroup(2));
        let encoding = match dg2.and_then(|b| portrait::find(b).ok()).map(|p| p.encoding) {
            Some(portrait::Encoding::Iso39794) => "ISO/IEC 39794-5",
            _ => "ISO/IEC 19794-5",
        };
        line("portrait", &format!("{} x {} pixels, {encoding}", picture.width(), picture.height()));
    }
    if let Some(signer) = found.signer.as_ref().and_then(|s| s.signer.as_ref()) {
        line("signer", &signer.subject);
        line("issued by", &signer.issuer);
        let day = |t: Timestamp| t.to_zoned(TimeZone::UTC).date().to_string();
        line("signer valid", &format!("{} to {}", day(signer.not_before), day(signer.not_after)));
    }
    if let Some(signing) = found.signer.as_ref().and_then(|s| s.signing_time) {
        line("signed at", &signing.to_string());
    }
    if let Some(chip) = &report.chip {
        if let Some(algorithm) = &chip.signature.algorithm {
            line("signature", algorithm);
        }
        for (name, detail) in [
            ("signature", &chip.signature.detail),
            ("chain", &chip.chain.detail),
            ("EF.COM", &chip.com.detail),
        ] {
            if let Some(detail) = detail {
                line(name, detail);
            }
        }
        for irregularity in &chip.irregularities {
            line("irregular", &word(irregularity));
        }
    }
    let _ = writeln!(out, "\n{:<22} {:<32} {:<12} {:<22} by", "check", "about", "status", "reason");
    for check in &report.checks {
        let reason = check.reason.as_ref().map(word).unwrap_or_default();
        let about = check.about.as_deref().unwrap_or_default();
        let _ = writeln!(
            out,
            "{:<22} {about:<32} {:<12} {reason:<22} {}",
            word(&check.name),
            word(&check.status),
            by(check)
        );
    }
    for zone in found.printed.iter().chain(found.chip_zone.iter().filter(|_| found.printed.is_none())) {
        for reading in zone.readings() {
            let _ = writeln!(
                out,
                "{}: read as {}, with {} it would be right; look at the document",
                reading.place(),
                reading.read,
                reading.instead
            );
        }
    }
    let reason = found.reason.as_ref().map(|r| format!(" ({})", word(r))).unwrap_or_default();
    let _ = writeln!(out, "\n{}{reason}", word(&report.status));
    out
}

fn print_trust(trust: &TrustSummary) {
    eprintln!(
        "trust: {} states' certificates, {} links, {} signers, {} revocation lists ({} stale), {} left out",
        trust.anchors,
        trust.links,
        trust.signers,
        trust.revocation_lists,
        trust.stale_revocation_lists,
        trust.skipped_total
    );
    for skipped in trust.skipped.iter().take(SKIPPED_TOLD) {
        eprintln!("trust: left out: {}: {}", skipped.what, skipped.why);
    }
}

fn json(found: &Findings, trust: Option<&TrustSummary>, left_out: &[String]) -> Value {
    let certificate = |c: &crate::document::chip::CertificateFacts| {
        json!({
            "subject": c.subject, "issuer": c.issuer, "serial": c.serial, "not_before": c.not_before,
            "not_after": c.not_after, "sha256": c.sha256, "key": c.key,
        })
    };
    let readings = found.printed.as_ref().or(found.chip_zone.as_ref()).map(|z| z.readings().to_vec());
    let mut out = json!({
        "status": found.report.status,
        "reason": found.reason,
        "document": found.report,
        "readings": readings.unwrap_or_default(),
        "left_out": left_out,
    });
    if let Some(number) = &found.number {
        out["region"] = json!(number.region());
    }
    if let Some(signer) = &found.signer {
        out["signer"] = json!({
            "certificate": signer.signer.as_ref().map(certificate),
            "anchor": signer.anchor.as_ref().map(certificate),
            "signing_time": signer.signing_time,
        });
    }
    if let Some(picture) = &found.portrait {
        out["portrait"] = json!({ "width": picture.width(), "height": picture.height() });
    }
    if let Some(trust) = trust {
        out["trust"] = json!({
            "states": trust.anchors, "links": trust.links, "signers": trust.signers,
            "revocation_lists": trust.revocation_lists, "stale": trust.stale_revocation_lists,
            "left_out": trust.skipped.iter().map(|s| format!("{}: {}", s.what, s.why)).collect::<Vec<_>>(),
        });
    }
    out
}

/// `vigil document … | head` is no failure.
fn write_out(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| Error::io(Culprit::Host, "cannot write to standard output", e)),
    }
}

fn write_portrait(found: &Findings, path: &Path) -> Result<()> {
    let Some(picture) = &found.portrait else {
        return Err(Error::new(Kind::NotFound, Culprit::Request, "there is no portrait that can be read")
            .remedy("name the chip's EF.DG2"));
    };
    let (width, height) = (picture.width(), picture.height());
    image::save_buffer_with_format(
        path,
        picture.data(),
        width,
        height,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .map_err(|e| {
        Error::new(Kind::Unavailable, Culprit::Disk, format!("cannot write {}", path.display()))
            .with_source(e)
    })?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
