//! What a chip says about its own files: EF.SOD's signed list of hashes and EF.COM's list of tags
//! (ICAO 9303-10 4.6.1, 4.6.2).

use std::collections::BTreeMap;

use super::cms::SignedData;
use super::crypto::{Algorithm, Digest};
use super::oid;
use crate::base::Result;
use crate::document::tlv::{Tag, Tlv};
use crate::event::ChipIrregularity as Irregularity;

/// The data groups of LDS 1.x.
pub(super) const GROUPS: std::ops::RangeInclusive<u8> = 1..=16;

/// The tag of data group `n`, 1 to 16 (ICAO 9303-10 table 38).
pub(super) const GROUP_TAGS: [u8; 16] =
    [0x61, 0x75, 0x63, 0x76, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70];

/// Which data group has `tag`.
pub(super) fn group_of(tag: u8) -> Option<u8> {
    GROUPS.zip(GROUP_TAGS).find(|(_, t)| *t == tag).map(|(n, _)| n)
}

/// A file without the padding that a reader who read whole blocks left behind it.
pub(super) fn trimmed(file: &[u8]) -> &[u8] {
    match Tlv::first(file) {
        Ok(element) => {
            let (own, rest) = file.split_at(element.raw().len());
            let padding = rest.iter().all(|b| *b == 0) || rest.iter().all(|b| *b == 0xff);
            if padding { own } else { file }
        }
        Err(_) => file,
    }
}

/// EF.SOD.
pub(super) struct SecurityObject<'a> {
    pub(super) signed: SignedData<'a>,
    pub(super) irregularities: Vec<Irregularity>,
}

impl<'a> SecurityObject<'a> {
    pub(super) fn read(file: &'a [u8]) -> Result<Self> {
        let mut irregularities = Vec::new();
        let file = trimmed(file);
        let outer = Tlv::first(file)?;
        if outer.raw().len() < file.len() {
            irregularities.push(Irregularity::TrailingBytes);
        }
        let content = if outer.tag() == Tag::SEQUENCE {
            irregularities.push(Irregularity::NoWrapper);
            outer
        } else {
            let mut inner = outer.expect(Tag(0x77), "EF.SOD")?.children()?;
            let content = inner.next_as("the signed data of EF.SOD")?;
            if !inner.rest().is_empty() {
                irregularities.push(Irregularity::TrailingBytes);
            }
            content
        };
        let signed = SignedData::read(content)?;
        if !matches!(signed.content_type, oid::LDS_SECURITY_OBJECT | oid::LDS_SECURITY_OBJECT_OLD) {
            return Err(content.malformed(format_args!(
                "what is signed is of type {}, and no list of data groups",
                signed.content_type
            )));
        }
        irregularities.extend_from_slice(&signed.irregularities);
        Ok(Self { signed, irregularities })
    }
}

/// LDSSecurityObject: the hash of each data group.
pub(super) struct Hashes {
    /// `Err` names the digest that is not known.
    pub(super) digest: Result<Digest>,
    pub(super) groups: BTreeMap<u8, Vec<u8>>,
    /// LDS and Unicode versions, of a list of version 1.
    pub(super) versions: Option<(String, String)>,
    pub(super) irregularities: Vec<Irregularity>,
}

impl Hashes {
    /// Reads the list in `bytes`, which start at byte `at` of the file.
    pub(super) fn read(bytes: &[u8], at: usize) -> Result<Self> {
        let mut irregularities = Vec::new();
        let list = Tlv::first_within(bytes, at)?.expect(Tag::SEQUENCE, "the list of hashes")?;
        if list.raw().len() < bytes.len() {
            irregularities.push(Irregularity::TrailingBytes);
        }
        let mut fields = list.children()?;
        let version = fields.expect(Tag::INTEGER, "the version of the list")?.small()?;
        let digest = Algorithm::read(fields.next_as("the digest of the list")?, "the digest of the list")?;
        let mut groups = BTreeMap::new();
        for entry in fields.expect(Tag::SEQUENCE, "the hashes")?.children()? {
            let entry = entry?;
            let mut pair = entry.expect(Tag::SEQUENCE, "a hash")?.children()?;
            let number = pair.expect(Tag::INTEGER, "the number of a data group")?.small()?;
            let hash = pair.next_as("a hash")?.expect(Tag::OCTET_STRING, "a hash")?;
            let number = u8::try_from(number).ok().filter(|n| GROUPS.contains(n));
            let number =
                number.ok_or_else(|| entry.malformed("a hash of a data group that does not exist"))?;
            if groups.insert(number, hash.body().to_vec()).is_some() {
                return Err(entry.malformed(format_args!("two hashes of data group {number}")));
            }
        }
        let versions = match fields.optional(Tag::SEQUENCE)? {
            Some(info) => {
                let mut texts = info.children()?;
                let mut text =
                    |what| Ok::<_, crate::base::Error>(texts.next_as(what)?.text(16).unwrap_or_default());
                Some((text("the LDS version")?, text("the Unicode version")?))
            }
            None => None,
        };
        if version != u64::from(versions.is_some()) {
            irregularities.push(Irregularity::LdsVersion);
        }
        Ok(Self { digest: digest.digest(), groups, versions, irregularities })
    }
}

/// EF.COM: versions and the data groups that are said to be there. Nobody signed it.
pub(super) struct Com {
    pub(super) lds_version: String,
    pub(super) unicode_version: String,
    pub(super) groups: Vec<u8>,
}

impl Com {
    pub(super) fn read(file: &[u8]) -> Result<Self> {
        let file = trimmed(file);
        let outer = Tlv::first(file)?.expect(Tag(0x60), "EF.COM")?;
        if outer.raw().len() < file.len() {
            return Err(outer.malformed("bytes behind the end of EF.COM"));
        }
        let mut fields = outer.children()?;
        let mut text = |tag, what| {
            let text = fields.expect(Tag(tag), what)?;
            let digits = text.body().len() <= 8 && text.body().iter().all(u8::is_ascii_digit);
            digits
                .then(|| text.body().iter().copied().map(char::from).collect::<String>())
                .ok_or_else(|| text.malformed(format_args!("{what} is no number")))
        };
        let lds_version = text(0x5f01, "the LDS version")?;
        let unicode_version = text(0x5f36, "the Unicode version")?;
        let list = fields.expect(Tag(0x5c), "the list of data groups")?;
        if !fields.rest().is_empty() {
            return Err(outer.malformed("more in EF.COM than belongs there"));
        }
        let mut groups = Vec::new();
        for (n, tag) in list.body().iter().enumerate() {
            let group = group_of(*tag)
                .ok_or_else(|| list.malformed(format_args!("tag {tag:02X}, entry {n}, is no data group")))?;
            if groups.contains(&group) {
                return Err(list.malformed(format_args!("data group {group} is listed twice")));
            }
            groups.push(group);
        }
        groups.sort_unstable();
        Ok(Self { lds_version, unicode_version, groups })
    }

    /// Whether the versions are ones that were ever published (ICAO 9303-10 4.6.1).
    pub(super) fn known_versions(&self) -> bool {
        matches!(self.lds_version.as_str(), "0107" | "0108") && self.unicode_version == "040000"
    }
}
