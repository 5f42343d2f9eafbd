//! What a document reader hands over, checked for size and form, not yet for truth.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use zeroize::Zeroizing;

use super::chip::FileId;
use super::lds::{MAX_CHIP_BYTES, MAX_FILE_BYTES, file_of_word, word};
use super::mrz;
use crate::base::{Culprit, Error, Kind, Result};
use crate::event::{DocumentCommand, PersonalText, ReaderReport};

/// Longest number, date or name, bytes.
const MAX_TEXT: usize = 512;
/// Longest zone, bytes: some machines send wide characters.
const MAX_MRZ: usize = 4 * mrz::MAX_CHARS;
/// Longest name of a reader and longest word of its own, characters.
const MAX_WORD: usize = 64;
/// Most checks of a reader.
const MAX_READER_CHECKS: usize = 32;

/// A place in a request for an error's one line. A key that the sender chose may be part of it.
pub fn shown_path(path: &serde_path_to_error::Path) -> String {
    path.to_string().chars().filter(|c| !c.is_control()).take(80).collect()
}

/// The files of one chip, each at most once. Overwritten when dropped.
#[derive(Default)]
pub struct Files(BTreeMap<FileId, Zeroizing<Vec<u8>>>);

impl Files {
    /// Adds a file. Errors: [`Kind::TooLarge`] beyond [`MAX_FILE_BYTES`] or, in all, beyond
    /// [`MAX_CHIP_BYTES`]; [`Kind::Usage`] for an empty one, or one that is there already.
    pub fn add(&mut self, kind: FileId, bytes: Zeroizing<Vec<u8>>) -> Result<()> {
        let refuse = |why, what: String| Err(Error::new(why, Culprit::Request, what));
        if bytes.is_empty() {
            return refuse(Kind::Usage, format!("`{}` has 0 bytes", word(kind)));
        }
        let all: usize = self.0.values().map(|b| b.len()).sum();
        if bytes.len() > MAX_FILE_BYTES || all + bytes.len() > MAX_CHIP_BYTES {
            return refuse(
                Kind::TooLarge,
                format!(
                    "`{}` has {} bytes: {MAX_FILE_BYTES} are allowed, {MAX_CHIP_BYTES} for all files",
                    word(kind),
                    bytes.len()
                ),
            );
        }
        if self.0.contains_key(&kind) {
            return refuse(Kind::Usage, format!("`{}` comes twice", word(kind)));
        }
        self.0.insert(kind, bytes);
        Ok(())
    }

    /// A file's bytes.
    pub fn get(&self, kind: FileId) -> Option<&[u8]> {
        self.0.get(&kind).map(|b| b.as_slice())
    }

    /// The files in order.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &[u8])> {
        self.0.iter().map(|(kind, bytes)| (*kind, bytes.as_slice()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(kind, bytes)| (kind, bytes.len()))).finish()
    }
}

/// What came of a document. Overwritten when dropped.
#[derive(Debug, Default)]
pub struct DocumentRequest {
    /// The number.
    pub number: Option<PersonalText>,
    /// First day of validity.
    pub valid_from: Option<PersonalText>,
    /// Last day of validity.
    pub valid_until: Option<PersonalText>,
    /// The printed name.
    pub name: Option<PersonalText>,
    /// The machine-readable zone.
    pub mrz: Option<PersonalText>,
    /// The chip's files.
    pub files: Files,
    /// What the reader's own software says.
    pub reader: Option<ReaderReport>,
}

impl DocumentRequest {
    /// Takes over the words of a request. No error quotes what was sent.
    pub fn from_command(command: DocumentCommand) -> Result<Self> {
        let DocumentCommand { number, valid_from, valid_until, name, mrz, files, reader } = command;
        for (key, text, most) in [
            ("number", &number, MAX_TEXT),
            ("valid_from", &valid_from, MAX_TEXT),
            ("valid_until", &valid_until, MAX_TEXT),
            ("name", &name, MAX_TEXT),
            ("mrz", &mrz, MAX_MRZ),
        ] {
            if let Some(n) = text.as_ref().map(|t| t.expose().len()).filter(|n| *n > most) {
                let what = format!("`document.{key}` has {n} bytes, {most} are allowed");
                return Err(Error::new(Kind::TooLarge, Culprit::Request, what));
            }
        }
        if let Some(reader) = &reader {
            check_reader(reader)?;
        }
        let mut request =
            Self { number, valid_from, valid_until, name, mrz, files: Files::default(), reader };
        for (name, text) in files {
            let kind = file_of_word(&name)?;
            request.files.add(kind, decode(kind, text.as_base64())?)?;
        }
        Ok(request)
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        let Self { number, valid_from, valid_until, name, mrz, files, reader } = self;
        [number, valid_from, valid_until, name, mrz].iter().all(|t| t.is_none())
            && files.is_empty()
            && reader.is_none()
    }

    /// Whether a portrait may be in it.
    pub fn has_portrait(&self) -> bool {
        self.files.get(FileId::DataGroup(2)).is_some()
    }
}

fn check_reader(reader: &ReaderReport) -> Result<()> {
    let refuse = |what: &str, remedy: &str| {
        Err(Error::new(Kind::Usage, Culprit::Request, format!("`document.reader` {what}")).remedy(remedy))
    };
    let wordy =
        |text: &str| (1..=MAX_WORD).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let slug = |name: &str| {
        (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    if !wordy(&reader.name) {
        return refuse("has a name that cannot be used", "use 1 to 64 printable characters");
    }
    if reader.checks.len() > MAX_READER_CHECKS {
        return refuse("has too many checks", "send at most 32");
    }
    if !reader.checks.iter().all(|c| slug(&c.name)) {
        return refuse(
            "has a check whose name cannot be used",
            "use 1 to 32 characters out of a-z, 0-9 and _",
        );
    }
    if !reader.checks.iter().all(|c| c.word.as_deref().is_none_or(wordy)) {
        return refuse("has a word that cannot be used", "use 1 to 64 printable characters");
    }
    Ok(())
}

fn decode(kind: FileId, text: &str) -> Result<Zeroizing<Vec<u8>>> {
    if text.len() > MAX_FILE_BYTES / 3 * 4 + 4 {
        let what = format!("`{}` has more than {MAX_FILE_BYTES} bytes", word(kind));
        return Err(Error::new(Kind::TooLarge, Culprit::Request, what));
    }
    // Room for everything at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(vec![0u8; text.len() / 4 * 3 + 3]);
    let n = base64::engine::general_purpose::STANDARD.decode_slice(text, &mut bytes).map_err(|_| {
        Error::new(Kind::Usage, Culprit::Request, format!("`{}` is not base64", word(kind)))
            .remedy("encode the file's bytes as in RFC 4648, padded, without line breaks")
    })?;
    bytes.truncate(n);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CheckStatus, FileText, ReaderCheck};

    fn read(json: &str) -> Result<DocumentRequest> {
        DocumentRequest::from_command(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_full_request_is_read_and_never_printed() {
        let request = read(
            r#"{"number":"11010519491231002X","valid_from":"20150301","valid_until":"长期","mrz":"P<UTO",
                "files":{"dg1":"YQA=","ef_sod":"dwA="},
                "reader":{"name":"Reader 3000","checks":[{"name":"uv","status":"pass","word":"OK"}]}}"#,
        )
        .unwrap();
        assert_eq!(request.files.get(FileId::DataGroup(1)), Some(&b"a\0"[..]));
        assert_eq!(request.files.iter().count(), 2);
        assert!(!request.is_empty() && !request.has_portrait());
        let printed = format!("{request:?}");
        assert!(!printed.contains("1101") && !printed.contains("UTO"), "{printed}");
        assert!(read("{}").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_refused_without_being_quoted() {
        let long = "7".repeat(600);
        for (json, word) in [
            (format!(r#"{{"number":"{long}"}}"#), "document.number"),
            (format!(r#"{{"mrz":"{long}"}}"#), "document.mrz"),
            (r#"{"files":{"dg1":"7777!"}}"#.into(), "base64"),
            (r#"{"files":{"dg1":""}}"#.into(), "0 bytes"),
            (r#"{"files":{"dg17":"YQA="}}"#.into(), "dg17"),
            (r#"{"reader":{"name":""}}"#.into(), "name"),
            (
                r#"{"reader":{"name":"R","checks":[{"name":"U V","status":"pass"}]}}"#.into(),
                "check whose name",
            ),
            (
                r#"{"reader":{"name":"R","checks":[{"name":"uv","status":"pass","word":"a\nb"}]}}"#.into(),
                "word",
            ),
        ] {
            let e = read(&json).unwrap_err();
            assert!(e.to_string().contains(word), "{json}: {e}");
            assert!(!e.chain().contains("7777"), "{e}");
        }
        let check = ReaderCheck { name: "uv".into(), status: CheckStatus::Pass, word: None };
        let reader = ReaderReport { name: "R".into(), checks: vec![check; 33] };
        let command = DocumentCommand { reader: Some(reader), ..DocumentCommand::default() };
        assert!(DocumentRequest::from_command(command).unwrap_err().to_string().contains("too many"));
    }

    #[test]
    fn files_are_bounded_one_by_one_and_together() {
        let text = FileText::new("A".repeat(MAX_FILE_BYTES / 3 * 4 + 8));
        let command =
            DocumentCommand { files: [("dg2".to_owned(), text)].into(), ..DocumentCommand::default() };
        assert_eq!(DocumentRequest::from_command(command).unwrap_err().kind(), Kind::TooLarge);
        let mut files = Files::default();
        let half = || Zeroizing::new(vec![1; MAX_FILE_BYTES]);
        files.add(FileId::DataGroup(3), half()).unwrap();
        files.add(FileId::DataGroup(4), half()).unwrap();
        assert_eq!(files.add(FileId::Com, Zeroizing::new(vec![1])).unwrap_err().kind(), Kind::TooLarge);
        let mut files = Files::default();
        files.add(FileId::Com, Zeroizing::new(vec![1])).unwrap();
        assert!(files.add(FileId::Com, Zeroizing::new(vec![1])).unwrap_err().to_string().contains("twice"));
    }
}
