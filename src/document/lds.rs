//! The files of a passport's chip (ICAO Doc 9303 part 10, the logical data structure).
//!
//! | file | tag | what is read of it here |
//! |---|---|---|
//! | EF.COM | 60 | which data groups the chip says it has (4.6.1), in [`super::chip`] |
//! | DG1 | 61 | the machine-readable zone (4.7.1) |
//! | DG2 | 75 | the portrait (4.7.2), in [`super::portrait`] |
//! | DG3 to DG16 | 63 76 65 … 70 | nothing: they are compared with what was signed |
//! | EF.SOD | 77 | the signature (4.6.2), in [`super::chip`] |

use super::chip::FileId;
use super::tlv::{Tag, Tlv};
use crate::base::{Culprit, Error, Kind, Result};

/// Largest file of a chip that is accepted, bytes. A portrait has 15 to 40 KB, an iris less than 30.
pub const MAX_FILE_BYTES: usize = 512 * 1024;
/// Largest sum of a document's files, bytes.
pub const MAX_CHIP_BYTES: usize = 1024 * 1024;

/// Every file there is.
pub fn all_files() -> impl Iterator<Item = FileId> {
    [FileId::Com, FileId::Sod].into_iter().chain((1..=16).map(FileId::DataGroup))
}

/// A file's name in requests and results: `ef_com`, `ef_sod`, `dg1` to `dg16`.
pub fn word(file: FileId) -> String {
    match file {
        FileId::Com => "ef_com".into(),
        FileId::Sod => "ef_sod".into(),
        FileId::DataGroup(n) => format!("dg{n}"),
    }
}

/// The file of a [`word`].
pub fn file_of_word(name: &str) -> Result<FileId> {
    all_files().find(|file| word(*file) == name).ok_or_else(|| {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
        Error::new(Kind::Usage, Culprit::Request, format!("`{shown}` is no file of a chip"))
            .remedy("name ef_com, ef_sod, or dg1 to dg16")
    })
}

/// The outermost element, which must be the file's own.
pub(super) fn open(bytes: &[u8], file: FileId) -> Result<Tlv<'_>> {
    Tlv::first(bytes)?.expect(Tag(file.tag().into()), &word(file))
}

/// The machine-readable zone in DG1 (5F1F), all lines joined.
pub fn dg1_mrz(bytes: &[u8]) -> Result<&str> {
    let zone = open(bytes, FileId::DataGroup(1))?.child(Tag(0x5F1F), "the machine-readable zone")?;
    std::str::from_utf8(zone.body()).map_err(|_| zone.malformed("the machine-readable zone is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_have_one_name_each() {
        for file in all_files() {
            assert_eq!(file_of_word(&word(file)).unwrap(), file);
            assert_eq!(FileId::from_tag(file.tag()), Some(file));
            assert_eq!(FileId::from_name(&word(file)), Some(file));
        }
        assert_eq!(all_files().count(), 18);
        assert_eq!(file_of_word("dg17").unwrap_err().exit_code(), 64);
    }

    #[test]
    fn the_zone_in_dg1_is_found() {
        assert_eq!(dg1_mrz(b"\x61\x05\x5F\x1F\x02P<").unwrap(), "P<");
        assert!(dg1_mrz(b"\x61\x05\x5F\x1F\x02\xFF\xFE").unwrap_err().to_string().contains("no text"));
        assert!(dg1_mrz(b"\x61\x00").unwrap_err().to_string().contains("missing"));
        assert!(dg1_mrz(b"\x75\x00").unwrap_err().to_string().contains("dg1"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            bytes.insert(0, 0x61);
            let _ = dg1_mrz(&bytes);
        }
    }
}
