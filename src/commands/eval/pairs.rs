//! The list of pairs that an evaluation compares: CSV of file, file, same.
//!
//! Written by people and by spreadsheets: with or without a header, with or without a byte order
//! mark, lines ended in either way, spaces around fields, empty lines. A path is absolute or
//! relative to the list. Errors name the line, counted as an editor counts.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::base::{Culprit, Error, Kind, Result};

/// A pair of pictures by their place in the list of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// One picture.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// Whether both show one person.
    pub same: bool,
}

/// The files of a list, each once, and its pairs.
#[derive(Debug, Default)]
pub struct Pairs {
    /// The files.
    pub files: Vec<PathBuf>,
    /// The line of the list that names each file first.
    pub lines: Vec<u64>,
    /// The pairs.
    pub pairs: Vec<Pair>,
}

impl Pairs {
    /// Reads the list at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let at = || path.display().to_string();
        let file = std::fs::File::open(path)
            .map_err(|e| Error::io(Culprit::Request, "cannot be read", e).context(at()))?;
        Self::parse(file, path.parent().unwrap_or(Path::new(""))).map_err(|e| e.context(at()))
    }

    /// Reads a list whose relative paths start at `base`.
    pub fn parse(text: impl Read, base: &Path) -> Result<Self> {
        let mut pairs = Self::default();
        let mut known = HashMap::new();
        let mut record = csv::StringRecord::new();
        let mut header = true;
        // Line by line, so that a line's number is the one that an editor shows: the CSV reader
        // counts blank lines to the record that follows them.
        for (line, text) in (1..).zip(BufReader::new(text).split(b'\n')) {
            let text = text.map_err(|e| Error::io(Culprit::Request, "cannot be read", e))?;
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .trim(csv::Trim::All)
                .buffer_capacity(text.len().max(1))
                .from_reader(&*text);
            match reader.read_record(&mut record) {
                Ok(true) if record.iter().any(|field| !field.is_empty()) => {}
                Ok(_) => continue,
                Err(e) => return Err(malformed(line, "is not CSV in UTF-8").with_source(e)),
            }
            let header = std::mem::take(&mut header);
            let fields: Vec<_> = record.iter().map(bare).collect();
            let [a, b, same, ..] = fields[..] else {
                let what = format!("has {} columns", fields.len());
                return Err(malformed(line, &what).remedy("write file, file, same"));
            };
            let same = match same.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" => true,
                "0" | "false" | "no" => false,
                _ if header => continue,
                other => return Err(malformed(line, &format!("{other:?} is neither 1 nor 0"))),
            };
            if a.is_empty() || b.is_empty() {
                return Err(malformed(line, "names no file").remedy("write file, file, same"));
            }
            let mut index = |file: &str| {
                let file = base.join(file);
                *known.entry(file.clone()).or_insert_with(|| {
                    pairs.files.push(file);
                    pairs.lines.push(line);
                    pairs.files.len() - 1
                })
            };
            let (a, b) = (index(a), index(b));
            pairs.pairs.push(Pair { a, b, same });
        }
        if pairs.pairs.is_empty() {
            return Err(Error::new(Kind::Malformed, Culprit::Request, "has no pairs"));
        }
        Ok(pairs)
    }
}

/// A field without the quotes that a space before them makes part of it.
fn bare(field: &str) -> &str {
    field.strip_prefix('"').and_then(|f| f.strip_suffix('"')).unwrap_or(field)
}

fn malformed(line: u64, what: &str) -> Error {
    Error::new(Kind::Malformed, Culprit::Request, what).context(format!("line {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Pairs> {
        Pairs::parse(text.as_bytes(), Path::new("/base"))
    }

    #[test]
    fn pairs_are_read_however_they_were_written() {
        let list = read("a,b,same\n1.jpg,2.jpg,1\n1.jpg,/abs/3.jpg,0\n").unwrap();
        assert_eq!(list.files, ["/base/1.jpg", "/base/2.jpg", "/abs/3.jpg"].map(PathBuf::from));
        assert_eq!(list.lines, [2, 2, 3]);
        assert_eq!(list.pairs, [Pair { a: 0, b: 1, same: true }, Pair { a: 0, b: 2, same: false }]);
        for text in [
            "1.jpg,2.jpg,1\n1.jpg,/abs/3.jpg,0",
            "a,b,same\r\n1.jpg,2.jpg,1\r\n1.jpg,/abs/3.jpg,0\r\n",
            "\u{feff}1.jpg,2.jpg,1\n1.jpg,/abs/3.jpg,0\n",
            "\n a , b , same \n\n 1.jpg ,\t2.jpg , TRUE \n \"1.jpg\", \"/abs/3.jpg\" ,no,a note\n,,\n",
        ] {
            let other = read(text).unwrap();
            assert_eq!((&other.files, &other.pairs), (&list.files, &list.pairs), "{text:?}");
        }
        assert_eq!(read("my photos/1, small.jpg,2.jpg,1").err().unwrap().kind(), Kind::Malformed);
        assert_eq!(
            read("\"my photos/1, small.jpg\",2.jpg,1").unwrap().files[0],
            Path::new("/base/my photos/1, small.jpg")
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, says) in [
            ("a,b,same\n1.jpg,2.jpg,maybe\n", "line 2: \"maybe\""),
            ("a,b,same\n\n\n1.jpg,2.jpg,maybe\n", "line 4: \"maybe\""),
            ("1.jpg,2.jpg,1\r\n1.jpg,2.jpg\r\n", "line 2: has 2 columns"),
            ("a,b,same\n,2.jpg,1\n", "line 2: names no file"),
            ("", "no pairs"),
            ("a,b,same\n", "no pairs"),
        ] {
            let e = read(text).unwrap_err();
            assert_eq!(e.kind(), Kind::Malformed);
            assert!(e.to_string().contains(says), "{text:?}: {e}");
        }
        let e = Pairs::parse(&b"a,b,same\n1.jpg,\xFF.jpg,1\n"[..], Path::new("")).unwrap_err();
        assert!(e.to_string().contains("line 2"), "{e}");
    }
}
