//! What is asked of the box, from bytes to a request, in one place for every door.

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::base::{Culprit, Error, Kind, Name, Result};
use crate::document::lds::MAX_CHIP_BYTES;
use crate::document::{DocumentRequest, shown_path};
use crate::event::topic::valid_correlation;
use crate::event::{VerifyCommand, VerifyMode};

/// Largest portrait file accepted, bytes. A document reader's is below 100 KB, a scanned page
/// below 4 MB.
pub const MAX_PORTRAIT_BYTES: usize = 8 * 1024 * 1024;
/// Largest request accepted as JSON: such a portrait and the files of a chip in base64, and the other
/// fields.
pub const MAX_REQUEST_BYTES: usize = (MAX_PORTRAIT_BYTES + MAX_CHIP_BYTES) / 3 * 4 + 32 * 1024;
/// Most of a parser's message that is passed on: it may quote what was sent.
const MAX_QUOTED: usize = 120;

/// The bytes of a portrait as they were sent. Never printed, overwritten when dropped.
pub struct Portrait(Zeroizing<Vec<u8>>);

impl Portrait {
    /// Wraps a file's bytes. Whether they are a picture is found out later, by the session.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for Portrait {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Portrait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Portrait({} bytes)", self.0.len())
    }
}

/// One verification that is asked for.
#[derive(Debug, Default)]
pub struct VerifyRequest {
    /// What the requester calls it.
    pub correlation: Option<String>,
    /// Which camera sees the guest; none: the configured or the only one.
    pub camera: Option<Name>,
    /// When an answer is needed at the latest, from `received` on.
    pub deadline: Option<Duration>,
    /// Compare, or document only.
    pub mode: VerifyMode,
    /// The portrait of the document.
    pub portrait: Option<Portrait>,
    /// What else was read of the document.
    pub document: Option<DocumentRequest>,
    /// Whether the guest is asked to move; none: as configured.
    pub presentation: Option<bool>,
    /// When the request reached the box; none: when it reaches the verifier.
    pub received: Option<Instant>,
    /// This document was tried too often: the request is answered and nobody is looked at.
    pub locked_out: bool,
}

impl VerifyRequest {
    /// Reads a request. Unknown fields are refused: a misspelt `deadline_ms` is not a default.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let command: VerifyCommand = read_object(json, MAX_REQUEST_BYTES, true)?;
        if command.correlation.as_deref().is_some_and(|c| !valid_correlation(c)) {
            return Err(Error::new(Kind::Usage, Culprit::Request, "`correlation` is not usable in a topic")
                .remedy("use 1 to 64 characters out of A-Z, a-z, 0-9, _ and -"));
        }
        let portrait = command.portrait.as_ref().map(|text| decode(text.as_base64())).transpose()?;
        let document = command.document.map(DocumentRequest::from_command).transpose()?;
        Ok(Self {
            correlation: command.correlation,
            camera: command.camera,
            deadline: command.deadline_ms.map(|ms| Duration::from_millis(ms.into())),
            mode: command.mode,
            portrait,
            document,
            presentation: command.presentation,
            received: None,
            locked_out: false,
        })
    }
}

/// Reads a command: one JSON object of at most `max` bytes, and nothing after it. The parser's own
/// words may repeat what was sent; without `quote` only those that cannot are passed on.
pub fn read_object<T: DeserializeOwned>(json: &[u8], max: usize, quote: bool) -> Result<T> {
    let refuse = |kind, message: String| Error::new(kind, Culprit::Request, message);
    if json.len() > max {
        let message = format!("the request has {} bytes, {max} are allowed", json.len());
        return Err(refuse(Kind::TooLarge, message));
    }
    // An array would be read field by field, in an order that nobody wrote down.
    if json.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(refuse(Kind::Usage, "the request cannot be read: it is not a JSON object".into()));
    }
    let read = &mut serde_json::Deserializer::from_slice(json);
    let command: T = serde_path_to_error::deserialize(&mut *read).map_err(|e| {
        let path = shown_path(e.path());
        let place = if path == "." { String::new() } else { format!(" at `{path}`") };
        // A key may hold line breaks: what is quoted stays on its line in the log.
        let plain = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { '?' } else { c };
        let text: String = e.inner().to_string().chars().take(MAX_QUOTED).map(plain).collect();
        let harmless = ["unknown field", "missing field"].iter().any(|w| text.starts_with(w));
        // What stands in the document's fields is personal, even where it has the wrong type.
        let text = if path.starts_with("document") {
            "a value of another type, or a key that is not known here".to_owned()
        } else if quote || harmless {
            text
        } else {
            "it is not what this key takes".to_owned()
        };
        refuse(Kind::Usage, format!("the request cannot be read{place}: {text}"))
    })?;
    read.end().map_err(|_| refuse(Kind::Usage, "the request cannot be read: something follows it".into()))?;
    Ok(command)
}

fn decode(text: &str) -> Result<Portrait> {
    // Room for everything at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(vec![0u8; text.len() / 4 * 3 + 3]);
    let n = base64::engine::general_purpose::STANDARD.decode_slice(text, &mut bytes).map_err(|_| {
        Error::new(Kind::Usage, Culprit::Request, "`portrait` is not base64")
            .remedy("encode the file's bytes as in RFC 4648, padded, without line breaks")
    })?;
    if n > MAX_PORTRAIT_BYTES {
        let message = format!("`portrait` has {n} bytes, {MAX_PORTRAIT_BYTES} are allowed");
        return Err(Error::new(Kind::TooLarge, Culprit::Request, message));
    }
    bytes.truncate(n);
    Ok(Portrait(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_request_is_read() {
        let r = VerifyRequest::from_json(
            br#"{"correlation":"a-1","camera":"desk","deadline_ms":900,"mode":"face","portrait":"aGk=","presentation":true}"#,
        )
        .unwrap();
        assert_eq!(r.correlation.as_deref(), Some("a-1"));
        assert_eq!(r.camera.unwrap().as_str(), "desk");
        assert_eq!(r.deadline, Some(Duration::from_millis(900)));
        assert_eq!(r.portrait.unwrap().bytes(), b"hi");
        assert_eq!(r.presentation, Some(true));
        let r = VerifyRequest::from_json(b"{}").unwrap();
        assert_eq!((r.mode, r.portrait.is_none()), (VerifyMode::Face, true));
    }

    #[test]
    fn what_is_wrong_is_refused_without_quoting_the_portrait() {
        let secret = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo".repeat(20);
        for (json, word) in [
            (r#"{"dead_line":1}"#.to_owned(), "dead_line"),
            (r#"{"correlation":"a/b"}"#.to_owned(), "correlation"),
            (r#"{"camera":"A B"}"#.to_owned(), "camera"),
            (r#"{"deadline_ms":-1}"#.to_owned(), "read"),
            (r#"{"mode":"none"}"#.to_owned(), "none"),
            ("{\"a\\nb\":1}".to_owned(), "a?b"),
            (format!(r#"{{"portrait":"{secret}!"}}"#), "base64"),
            (format!(r#"{{"camera":"{secret}"}}"#), "camera"),
            (format!(r#"{{"correlation":"{secret}"}}"#), "correlation"),
            (format!(r#"{{"document":{{"number":{{"{secret}":1}}}}}}"#), "document.number"),
            (format!(r#"{{"document":{{"files":{{"dg1":"{secret}!"}}}}}}"#), "base64"),
            (r#"{"document":{"number":110105194912310021}}"#.to_owned(), "document.number"),
            (
                format!("{{\"document\":{{\"files\":{{\"{}\\n\":1}}}}}}", "k".repeat(5_000)),
                "document.files.kkk",
            ),
            ("[]".to_owned(), "read"),
            ("{} {}".to_owned(), "follows"),
            (String::new(), "read"),
        ] {
            let e = VerifyRequest::from_json(json.as_bytes()).unwrap_err();
            assert!(e.to_string().contains(word), "{json}: {e}");
            assert!(!e.chain().contains(&secret[..32]), "the portrait is quoted");
            assert!(!e.chain().contains("1101"), "a number is quoted");
            assert!(e.chain().len() < 1_000 && !e.chain().contains('\n'), "{e}");
            assert_eq!(e.exit_code(), 64);
        }
        let big = vec![b' '; MAX_REQUEST_BYTES + 1];
        assert_eq!(VerifyRequest::from_json(&big).unwrap_err().kind(), Kind::TooLarge);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(json in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = VerifyRequest::from_json(&json);
        }
    }
}
