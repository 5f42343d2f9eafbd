//! The list of boxes that an evaluation of thermal detectors goes by: CSV of split, file, class, x,
//! y, w, h; x and y of the top left corner, all in pixels.
//!
//! With or without a header, a byte order mark, empty lines and spaces around fields. A picture lies
//! in the folder of its split beside the list. Pictures there that the list does not mention show
//! nothing. Errors name the line, counted as an editor counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::base::{Culprit, Error, Kind, Result};
use crate::infer::thermal::Label;
use crate::thermal::PixelBox;

/// More boxes than this in one list are not read.
const MAX_BOXES: usize = 5_000_000;
/// No line of such a list is longer.
const MAX_LINE: u64 = 64 << 10;

/// What a box says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// What is there; `None`: nobody can tell, so that neither finding nor missing it counts.
    pub label: Option<Label>,
    /// Where.
    pub bbox: PixelBox,
}

/// One picture and what it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Its name in the list.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The line that names it first; `None`: no line does.
    pub line: Option<u64>,
    /// What it shows.
    pub truths: Vec<Truth>,
}

/// Boxes by split and file, with the line that names each file first.
#[derive(Debug, Default)]
pub struct Boxes {
    by_split: BTreeMap<String, BTreeMap<String, (u64, Vec<Truth>)>>,
}

impl Boxes {
    /// Reads a list.
    pub fn parse(text: impl Read) -> Result<Self> {
        let mut boxes = Self::default();
        let mut record = csv::StringRecord::new();
        let (mut header, mut count) = (true, 0usize);
        let (mut reader, mut text, mut line) = (BufReader::new(text), Vec::new(), 0);
        loop {
            line += 1;
            text.clear();
            let read = reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut text)
                .map_err(|e| Error::io(Culprit::Request, "cannot be read", e))?;
            if read == 0 {
                break;
            }
            if read as u64 == MAX_LINE {
                return Err(malformed(line, "is longer than any box"));
            }
            let mut fields = csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .trim(csv::Trim::All)
                .buffer_capacity(text.len().max(1))
                .from_reader(&*text);
            match fields.read_record(&mut record) {
                Ok(true) if record.iter().any(|field| !field.is_empty()) => {}
                Ok(_) => continue,
                Err(e) => return Err(malformed(line, "is not CSV in UTF-8").with_source(e)),
            }
            let header = std::mem::take(&mut header);
            let fields: Vec<_> = record.iter().collect();
            let [split, file, class, x, y, w, h] = fields[..] else {
                let what = format!("has {} columns", fields.len());
                return Err(malformed(line, &what).remedy("write split, file, class, x, y, w, h"));
            };
            if header && [x, y, w, h].iter().all(|f| f.parse::<f32>().is_err()) {
                continue;
            }
            let number = |field: &str, name: &str| match field.parse::<f32>() {
                Ok(v) if v.is_finite() && v.abs() < 1e6 => Ok(v),
                _ => Err(malformed(line, &format!("{name} is {field:?}, which is no number of pixels"))),
            };
            let bbox = PixelBox {
                x: number(x, "x")?,
                y: number(y, "y")?,
                width: number(w, "w")?,
                height: number(h, "h")?,
            };
            if bbox.width <= 0.0 || bbox.height <= 0.0 {
                return Err(malformed(line, &format!("a box of {w} x {h} pixels holds nothing")));
            }
            if file.is_empty() || split.is_empty() {
                return Err(malformed(line, "names no file of a split"));
            }
            let label = label(class).map_err(|what| malformed(line, &what))?;
            count += 1;
            if count > MAX_BOXES {
                let what = format!("is one more than the {MAX_BOXES} boxes that are read");
                return Err(
                    Error::new(Kind::TooLarge, Culprit::Request, what).context(format!("line {line}"))
                );
            }
            let of_split = boxes.by_split.entry(split.to_owned()).or_default();
            of_split.entry(file.to_owned()).or_insert((line, Vec::new())).1.push(Truth { label, bbox });
        }
        if boxes.by_split.is_empty() {
            return Err(Error::new(Kind::Malformed, Culprit::Request, "has no boxes"));
        }
        Ok(boxes)
    }

    /// Every box of every split.
    pub fn truths(&self) -> impl Iterator<Item = &Truth> + Clone {
        self.by_split.values().flat_map(BTreeMap::values).flat_map(|(_, truths)| truths)
    }

    /// The pictures of a split that lie in `folder`, in the order of their names; of these only the
    /// ones that `only` names, if it does.
    pub fn pictures(mut self, split: &str, folder: &Path, only: Option<&Only>) -> Result<Vec<Picture>> {
        let splits: Vec<_> = self.by_split.keys().cloned().collect();
        let listed = self.by_split.remove(split).ok_or_else(|| {
            Error::new(Kind::NotFound, Culprit::Request, format!("has no boxes of the split {split:?}"))
                .remedy(format!("--split may be {}", splits.join(", ")))
        })?;
        let cannot = |e| Error::io(Culprit::Request, format!("cannot read {}", folder.display()), e);
        let mut there = BTreeSet::new();
        for entry in std::fs::read_dir(folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            let kind = path.extension().map(|e| e.to_ascii_lowercase().to_string_lossy().into_owned());
            if let (Some("jpg" | "jpeg" | "png" | "bmp"), Some(name)) = (kind.as_deref(), path.file_name()) {
                there.insert(name.to_string_lossy().into_owned());
            }
        }
        let mut listed = listed;
        for (name, (line, _)) in &listed {
            if !there.contains(name) && only.is_none_or(|o| o.names.contains_key(name)) {
                let what = format!("there is no picture {}", folder.join(name).display());
                return Err(Error::new(Kind::NotFound, Culprit::Request, what)
                    .remedy("point --images at the folder that holds the folders of the splits")
                    .context(format!("line {line}")));
            }
        }
        if let Some(only) = only {
            for (name, line) in &only.names {
                if !there.contains(name) {
                    let what = format!("there is no picture {}", folder.join(name).display());
                    return Err(Error::new(Kind::NotFound, Culprit::Request, what)
                        .context(format!("line {line}"))
                        .context("--only"));
                }
            }
        }
        let pictures = there.into_iter().filter(|n| only.is_none_or(|o| o.names.contains_key(n)));
        Ok(pictures
            .map(|name| {
                let (line, truths) = match listed.remove(&name) {
                    Some((line, truths)) => (Some(line), truths),
                    None => (None, Vec::new()),
                };
                Picture { path: folder.join(&name), name, line, truths }
            })
            .collect())
    }
}

/// The names of `--only`, each with its line. A name may have its split before it.
#[derive(Debug, Default)]
pub struct Only {
    names: BTreeMap<String, u64>,
}

impl Only {
    /// One name a line.
    pub fn parse(text: &str) -> Self {
        let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, l)| !l.is_empty());
        let name = |l: &str| l.rsplit('/').next().unwrap_or(l).to_owned();
        Self { names: lines.map(|(line, l)| (name(l), line)).collect() }
    }
}

fn label(class: &str) -> std::result::Result<Option<Label>, String> {
    if class.eq_ignore_ascii_case("DontCare") {
        return Ok(None);
    }
    Label::ALL.into_iter().find(|l| class.eq_ignore_ascii_case(l.as_str())).map(Some).ok_or_else(|| {
        let known: Vec<_> = Label::ALL.iter().map(|l| l.as_str()).collect();
        format!("the class {class:?} is none of {}, DontCare", known.join(", "))
    })
}

fn malformed(line: u64, what: &str) -> Error {
    Error::new(Kind::Malformed, Culprit::Request, what).context(format!("line {line}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error_with_a_line(text in "(?s)[val,x0-9. \\n\"Persondt-]{0,80}") {
            match Boxes::parse(text.as_bytes()) {
                Ok(list) => prop_assert!(list.truths().all(|t| t.bbox.width > 0.0 && t.bbox.height > 0.0)),
                Err(e) => {
                    let e = e.to_string();
                    prop_assert!(e.contains("line ") || e.contains("no boxes"), "{}", e);
                }
            }
        }

        #[test]
        fn what_was_written_is_read(
            boxes in proptest::collection::vec((0usize..5, -100i32..900, -100i32..900, 1u32..300, 1u32..300), 1..20),
        ) {
            let class = |k: usize| Label::ALL.get(k).map_or("DontCare", |l| l.as_str());
            let line = |(k, x, y, w, h): &(usize, i32, i32, u32, u32)| format!("val,a.jpg,{},{x},{y},{w},{h}\n", class(*k));
            let text: String = boxes.iter().map(line).collect();
            let list = Boxes::parse(text.as_bytes()).unwrap();
            let read: Vec<_> = list.truths().map(|t| (t.label, t.bbox.x, t.bbox.height)).collect();
            let wrote: Vec<_> =
                boxes.iter().map(|b| (Label::ALL.get(b.0).copied(), b.1 as f32, b.4 as f32)).collect();
            prop_assert_eq!(read, wrote);
        }
    }

    #[test]
    fn boxes_are_read_however_they_were_written() {
        for text in [
            "split,file,class,x,y,w,h\nval,a.jpg,Person,1,2,3,4\nval,a.jpg,dontcare,5,6,7.5,8\n",
            "\u{feff}split,file,class,x,y,w,h\r\nval,a.jpg,Person,1,2,3,4\r\n\r\nval,a.jpg,DontCare,5,6,7.5,8",
            "val, a.jpg ,person, 1,2 ,3,4\nval,a.jpg,DontCare,5,6,7.5,8\n",
        ] {
            let boxes = Boxes::parse(text.as_bytes()).unwrap();
            let (_, truths) = &boxes.by_split["val"]["a.jpg"];
            assert_eq!(truths[0].label, Some(Label::Person));
            assert_eq!(truths[1].label, None);
            assert_eq!(truths[1].bbox, PixelBox { x: 5.0, y: 6.0, width: 7.5, height: 8.0 });
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, says) in [
            ("split,file,class,x,y,w,h\n\nval,a.jpg,Person,1,2,3\n", "line 3: has 6 columns"),
            ("val,a.jpg,Person,1,2,3,4\nval,a.jpg,Cow,1,2,3,4\n", "line 2: the class \"Cow\""),
            ("val,a.jpg,Person,1,2,3,4\nval,a.jpg,Person,1,two,3,4\n", "line 2: y is \"two\""),
            ("val,a.jpg,Person,1,2,3,4\nval,a.jpg,Person,1,inf,3,4\n", "line 2: y is \"inf\""),
            ("val,a.jpg,Person,1,2,0,4\n", "line 1: a box of 0 x 4"),
            ("val,,Person,1,2,3,4\n", "line 1: names no file"),
            ("split,file,class,x,y,w,h\n", "has no boxes"),
            ("", "has no boxes"),
        ] {
            let e = Boxes::parse(text.as_bytes()).unwrap_err();
            assert_eq!(e.kind(), Kind::Malformed);
            assert!(e.to_string().contains(says), "{text:?}: {e}");
        }
        let long = format!("val,{}", "a".repeat(1 << 17));
        assert!(Boxes::parse(long.as_bytes()).unwrap_err().to_string().contains("line 1"));
        let e = Boxes::parse(&b"val,a.jpg,Person,1,2,3,4\nval,\xff,Person,1,2,3,4\n"[..]).unwrap_err();
        assert!(e.to_string().contains("line 2"), "{e}");
    }

    #[test]
    fn pictures_without_a_box_count_and_missing_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.jpg", "b.jpg", "notes.txt"] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let read = |text: &str, split: &str, only: Option<&str>| {
            let only = only.map(Only::parse);
            Boxes::parse(text.as_bytes()).unwrap().pictures(split, dir.path(), only.as_ref())
        };
        let text = "val,b.jpg,Person,1,2,3,4\ntrain,c.jpg,Car,1,2,3,4\n";
        let pictures = read(text, "val", None).unwrap();
        let seen: Vec<_> = pictures.iter().map(|p| (p.name.as_str(), p.line, p.truths.len())).collect();
        assert_eq!(seen, [("a.jpg", None, 0), ("b.jpg", Some(1), 1)]);
        let e = read(text, "train", None).unwrap_err().to_string();
        assert!(e.contains("line 2: there is no picture") && e.contains("c.jpg"), "{e}");
        let e = read(text, "test", None).unwrap_err().to_string();
        assert!(e.contains("\"test\"") && e.contains("train, val"), "{e}");
        assert_eq!(read(text, "val", Some("val/b.jpg\n\n")).unwrap().len(), 1);
        let e = read(text, "val", Some("b.jpg\nd.jpg")).unwrap_err().to_string();
        assert!(e.contains("--only: line 2") && e.contains("d.jpg"), "{e}");
    }
}
