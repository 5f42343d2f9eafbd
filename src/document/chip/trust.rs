//! The trust store: what a site was given to decide which countries it believes.
//!
//! A folder of files, or one file. A file may be a certificate or several (DER, or PEM with any
//! number in it), an ICAO master list (`.ml`), or a revocation list (`.crl`). What a file is, its
//! content says; its name only says whether it is looked at.
//!
//! **Whoever may write into the folder decides who is trusted.** Every self-signed certificate in it
//! is a trust anchor, whether it lies there by itself or inside a master list: the person who put it
//! there vouches for it. So a master list whose signature is wrong is left out as a whole, because it is
//! not what was meant to be put there; one whose signer does not lead to a certificate of the
//! folder itself is used, and the summary says that nobody but the list vouches for it.
//!
//! One bad certificate among seven hundred is named and counted, and never fatal.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use jiff::Timestamp;

use super::certificate::{Certificate, KeyUsage};
use super::chain;
use super::crl::Crl;
use super::masterlist::MasterList;
use crate::base::{Culprit, Error, Kind, Result};
use crate::document::tlv::{Tag, Tlv};
use crate::event::ChipChainStatus;

/// No file is larger, in bytes. The largest master list known has 1 MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// All files together, in bytes.
const MAX_TOTAL_BYTES: u64 = 128 << 20;
/// No folder has more files.
const MAX_FILES: usize = 20_000;
/// No store has more certificates.
const MAX_CERTIFICATES: usize = 40_000;
/// How much of what was left out is named; all of it is counted.
const MAX_NAMED: usize = 200;
/// The names that are looked at.
const EXTENSIONS: [&str; 8] = ["cer", "crt", "der", "pem", "ml", "crl", "p7b", "p7c"];

/// Certificates and revocation lists, ready to be asked.
#[derive(Default)]
pub struct TrustStore {
    certificates: Vec<Certificate>,
    known: HashSet<[u8; 32]>,
    by_subject: HashMap<Vec<u8>, Vec<usize>>,
    by_key: HashMap<Vec<u8>, Vec<usize>>,
    crls: Vec<Crl>,
    crls_by_issuer: HashMap<Vec<u8>, Vec<usize>>,
    summary: TrustSummary,
}

impl std::fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.summary.fmt(f)
    }
}

/// What a trust store holds, and what it left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustSummary {
    /// Self-signed CA certificates: the countries that are believed.
    pub anchors: usize,
    /// CA certificates signed with another key: a country's old key vouches for its new one.
    pub links: usize,
    /// Other certificates: signers of documents that do not carry theirs.
    pub signers: usize,
    /// Revocation lists.
    pub revocation_lists: usize,
    /// Revocation lists that are older than they may be.
    pub stale_revocation_lists: usize,
    /// The master lists, those left out included.
    pub master_lists: Vec<MasterListSummary>,
    /// What was left out, and why; the first two hundred.
    pub skipped: Vec<Skipped>,
    /// How much was left out.
    pub skipped_total: usize,
}

/// One master list of a trust store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterListSummary {
    /// The file.
    pub file: String,
    /// Who vouches for it.
    pub signer: MasterListSigner,
    /// The signer's own name, if its signature fits.
    pub signer_name: Option<String>,
    /// Why the signer is not trusted.
    pub reason: Option<String>,
    /// How many certificates it holds that can be read.
    pub certificates: usize,
    /// How many it holds that cannot.
    pub broken: usize,
}

/// Who vouches for a master list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterListSigner {
    /// Its signer's chain leads to a certificate that lies in the folder by itself.
    Trusted,
    /// Its signer's chain leads to a certificate of the list itself, or of another list: whoever put
    /// the file there vouches for it.
    SelfContained,
    /// Its signer's chain leads nowhere, or is out of date: whoever put the file there vouches for it.
    Untrusted,
    /// Its signature is wrong or cannot be checked. Nothing of it is used.
    Invalid,
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file, and which certificate in it, counted from 1: `list.ml, certificate 17`.
    pub what: String,
    /// Why, in one line.
    pub why: String,
}

impl TrustStore {
    /// A store that trusts nobody.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the folder or file at `path`. `now` decides which revocation lists are stale and whether
    /// the signers of master lists are out of date.
    ///
    /// Fails if `path` is not there or cannot be listed, or if it has too many files. Everything else
    /// that is wrong with a single file is in the [summary](Self::summary).
    pub fn load(path: &Path, now: Timestamp) -> Result<Self> {
        let shown = path.display();
        let io = |e| Error::io(Culprit::Config, format!("the trust store {shown} cannot be read"), e);
        let mut files = Vec::new();
        let mut store = Self::default();
        if std::fs::metadata(path).map_err(io)?.is_dir() {
            for entry in std::fs::read_dir(path).map_err(io)? {
                let file = entry.map_err(io)?.path();
                let known = file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
                if !known.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
                    continue;
                }
                files.push(file);
                if files.len() > MAX_FILES {
                    return Err(Error::new(
                        Kind::TooLarge,
                        Culprit::Config,
                        format!("the trust store {shown} has more than {MAX_FILES} files"),
                    ));
                }
            }
            // The order of a folder is chance; of two files alike the same one always counts.
            files.sort();
        } else {
            files.push(path.to_owned());
        }
        let mut lists = Vec::new();
        let mut left = MAX_TOTAL_BYTES;
        for file in files {
            let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
            match read(&file, left) {
                Ok(bytes) => {
                    left -= bytes.len() as u64;
                    store.add(&name, &bytes, &mut lists);
                }
                Err(why) => store.skip(name, why),
            }
        }
        store.finish(lists, now);
        Ok(store)
    }

    /// A store of files already in memory, by name.
    pub fn from_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>, now: Timestamp) -> Self {
        let mut store = Self::default();
        let mut lists = Vec::new();
        for (name, bytes) in files {
            store.add(name, bytes, &mut lists);
        }
        store.finish(lists, now);
        store
    }

    /// What it holds, and what it left out.
    pub fn summary(&self) -> &TrustSummary {
        &self.summary
    }

    /// Whether it trusts nobody, so that no chain can be checked.
    pub fn is_empty(&self) -> bool {
        self.summary.anchors == 0
    }

    fn skip(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.summary.skipped_total += 1;
        if self.summary.skipped.len() < MAX_NAMED {
            self.summary.skipped.push(Skipped { what: what.into(), why: why.into() });
        }
    }

    fn add(&mut self, name: &str, bytes: &[u8], lists: &mut Vec<(String, MasterList)>) {
        if !bytes.trim_ascii_start().starts_with(b"-----BEGIN") && !contains(bytes, b"\n-----BEGIN ") {
            return self.add_der(name, bytes, lists);
        }
        let blocks = pem(bytes);
        if blocks.is_empty() {
            return self.skip(name, "no whole PEM block");
        }
        let several = blocks.len() > 1;
        for (n, block) in blocks.into_iter().enumerate() {
            let name = if several { format!("{name}, block {}", n + 1) } else { name.to_owned() };
            match block {
                Some(der) => self.add_der(&name, &der, lists),
                None => self.skip(name, "no base64"),
            }
        }
    }

    /// Whatever `der` is: its shape says it.
    fn add_der(&mut self, name: &str, der: &[u8], lists: &mut Vec<(String, MasterList)>) {
        let added = Tlv::first(der).and_then(|outer| {
            let first = outer.expect(Tag::SEQUENCE, "a certificate or list")?.inner("its content")?;
            if first.tag() == Tag::OID {
                lists.push((name.to_owned(), MasterList::read(outer)?));
            } else if is_crl(first)? {
                self.add_crl(Crl::read(outer)?);
            } else {
                return self.add_certificate(Certificate::read(outer)?);
            }
            Ok(())
        });
        if let Err(e) = added {
            self.skip(name, e.what());
        }
    }

    fn add_crl(&mut self, crl: Crl) {
        self.crls_by_issuer.entry(crl.issuer.key.clone()).or_default().push(self.crls.len());
        self.crls.push(crl);
    }

    fn add_certificate(&mut self, certificate: Certificate) -> Result<()> {
        if !self.known.insert(certificate.sha256) {
            return Ok(());
        }
        if self.certificates.len() >= MAX_CERTIFICATES {
            return Err(Error::new(
                Kind::TooLarge,
                Culprit::Config,
                format!("more than {MAX_CERTIFICATES} certificates"),
            ));
        }
        *match (certificate.ca.is_some(), certificate.looks_self_signed()) {
            (true, true) => &mut self.summary.anchors,
            (true, false) => &mut self.summary.links,
            (false, _) => &mut self.summary.signers,
        } += 1;
        let n = self.certificates.len();
        self.by_subject.entry(certificate.subject.key.clone()).or_default().push(n);
        self.by_key.entry(certificate.key_id.clone()).or_default().push(n);
        self.certificates.push(certificate);
        Ok(())
    }

    /// Decides about the master lists.
    fn finish(&mut self, lists: Vec<(String, MasterList)>, now: Timestamp) {
        let mut accepted = Vec::new();
        for (file, list) in lists {
            let mut summary = MasterListSummary {
                file,
                signer: MasterListSigner::Invalid,
                signer_name: None,
                reason: None,
                certificates: list.certificates.len(),
                broken: list.broken.len(),
            };
            match &list.signer {
                Err(why) => {
                    self.skip(&*summary.file, format!("the master list is left out: {why}"));
                    summary.reason = Some(why.clone());
                    self.summary.master_lists.push(summary);
                }
                Ok(signer) => {
                    summary.signer_name = Some(signer.subject.text.clone());
                    // Judged before any list has been let in: only what lies there by itself counts.
                    let judged = self.judge(signer, list.signing_time, now);
                    summary.signer =
                        judged.map_or(MasterListSigner::Untrusted, |()| MasterListSigner::Trusted);
                    accepted.push((summary, list));
                }
            }
        }
        for (summary, list) in &mut accepted {
            for (n, why) in list.broken.drain(..) {
                self.skip(format!("{}, certificate {n}", summary.file), why);
            }
            for (n, certificate) in list.certificates.drain(..).enumerate() {
                if let Err(e) = self.add_certificate(certificate) {
                    self.skip(format!("{}, from certificate {} on", summary.file, n + 1), e.what());
                    break;
                }
            }
        }
        for (mut summary, list) in accepted {
            if summary.signer == MasterListSigner::Untrusted
                && let Ok(signer) = &list.signer
            {
                match self.judge(signer, list.signing_time, now) {
                    Ok(()) => summary.signer = MasterListSigner::SelfContained,
                    Err(why) => summary.reason = Some(why),
                }
            }
            self.summary.master_lists.push(summary);
        }
        self.summary.master_lists.sort_by(|a, b| a.file.cmp(&b.file));

        self.summary.revocation_lists = self.crls.len();
        self.summary.stale_revocation_lists =
            self.crls.iter().filter(|c| c.next_update.is_some_and(|next| next < now)).count();
    }

    /// Whether `signer` may sign master lists, as far as this store knows.
    fn judge(&self, signer: &Certificate, signed: Option<Timestamp>, now: Timestamp) -> Result<(), String> {
        if !signer.list_signer || !signer.allows(KeyUsage::DIGITAL_SIGNATURE) {
            return Err("its signer's certificate is not one for master lists".to_owned());
        }
        let judged = chain::judge(signer, self, signed.unwrap_or(now), now, chain::Purpose::MasterList);
        match judged.status {
            ChipChainStatus::Trusted => Ok(()),
            _ => Err(judged.why()),
        }
    }

    pub(super) fn certificate(&self, n: usize) -> &Certificate {
        &self.certificates[n]
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.iter()
    }

    /// Certificates that may have issued `certificate`: those of the issuer's name whose key has the
    /// right identifier first, then the others of that name, then those that only have the key.
    pub(super) fn issuers(&self, certificate: &Certificate) -> Vec<usize> {
        let named = self.by_subject.get(&certificate.issuer.key).map_or(&[][..], Vec::as_slice);
        let key = certificate.issuer_key_id.as_ref();
        let fits = |n: &usize| key.is_some_and(|key| self.certificates[*n].key_id == *key);
        let mut out: Vec<usize> = named.iter().copied().filter(fits).collect();
        out.extend(named.iter().copied().filter(|n| !fits(n)));
        let keyed = key.and_then(|key| self.by_key.get(key)).map_or(&[][..], Vec::as_slice);
        out.extend(keyed.iter().copied().filter(|n| !named.contains(n)));
        out
    }

    /// The certificates of a name.
    pub(super) fn named(&self, name: &[u8]) -> impl Iterator<Item = &Certificate> {
        self.by_subject.get(name).into_iter().flatten().map(|n| &self.certificates[*n])
    }

    /// The revocation lists of an issuer.
    pub(super) fn crls(&self, issuer: &[u8]) -> impl Iterator<Item = &Crl> {
        self.crls_by_issuer.get(issuer).into_iter().flatten().map(|n| &self.crls[*n])
    }
}

/// A CRL's signed part begins with an optional version, an algorithm, a name, and a time; a
/// certificate's has its serial number before the algorithm.
fn is_crl(tbs: Tlv<'_>) -> Result<bool> {
    let mut fields = tbs.expect(Tag::SEQUENCE, "the signed part")?.children()?;
    fields.optional(Tag::INTEGER)?;
    let mut next = || Ok::<_, Error>(fields.next().transpose()?.map(|f| f.tag()));
    Ok(next()? == Some(Tag::SEQUENCE)
        && next()? == Some(Tag::SEQUENCE)
        && matches!(next()?, Some(Tag::UTC_TIME | Tag::GENERALIZED_TIME)))
}

fn read(file: &Path, left: u64) -> Result<Vec<u8>, String> {
    let limit = left.min(MAX_FILE_BYTES);
    let attempt = || {
        // Before it is opened: a pipe would wait for a writer.
        if !std::fs::metadata(file)?.is_file() {
            return Err(std::io::Error::other("not a file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = attempt().map_err(|e| e.to_string())?;
    match bytes.len() as u64 {
        n if n <= limit => Ok(bytes),
        _ if left < MAX_FILE_BYTES => {
            Err(format!("the files together are larger than {MAX_TOTAL_BYTES} bytes"))
        }
        _ => Err(format!("larger than {MAX_FILE_BYTES} bytes")),
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    // Only the start of a file may be text that is not PEM.
    bytes[..bytes.len().min(16 * 1024)].windows(what.len()).any(|w| w == what)
}

/// The blocks of a PEM file (RFC 7468), whatever they are called; `None` for one that is no base64.
fn pem(bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("-----BEGIN ") {
            block = Some(String::new());
        } else if line.starts_with("-----END ") {
            if let Some(body) = block.take() {
                out.push(base64::engine::general_purpose::STANDARD.decode(body).ok());
            }
        } else if let Some(body) = &mut block {
            body.push_str(line);
        }
    }
    out
}
