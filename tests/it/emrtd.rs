//! Passive authentication: a real specimen, chains made by OpenSSL for every algorithm, and every way
//! in which they can be wrong.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

pub(crate) mod forge;

use std::path::PathBuf;
use std::sync::OnceLock;

use jiff::Timestamp;
use openssl::nid::Nid;
use proptest::prelude::*;
use vigil::document::chip::{
    ChipFiles, FileId, MasterListSigner, PassiveAuthentication, TrustStore, passive_authentication,
};
use vigil::event::{
    ChipChainReason as Chain, ChipChainStatus as ChainStatus, ChipComStatus as ComStatus,
    ChipDataGroupStatus as Group, ChipIrregularity as Irregularity, ChipReport, ChipRevocation as Revocation,
    ChipSignatureReason as Why, ChipSignatureStatus as Signature, ChipValidAt,
};

use forge::{Cert, Key, Md, Scheme, Signed, authority_key, basic_constraints, key_usage, subject_key};

const P256: Scheme = Scheme::Ecdsa(Md::Sha256);

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn authenticate(files: &[(FileId, &[u8])], trust: &TrustStore) -> PassiveAuthentication {
    let mut all = ChipFiles::new();
    for (id, bytes) in files {
        all.add(*id, bytes).unwrap();
    }
    passive_authentication(&all, trust, now())
}

fn groups(report: &ChipReport, status: Group) -> Vec<u8> {
    report.data_groups.iter().filter(|g| g.status == status).map(|g| g.number).collect()
}

fn store(files: &[(&str, &[u8])]) -> TrustStore {
    TrustStore::from_files(files.iter().copied(), now())
}

// ---- a real specimen ----

/// The files of the specimen passport, or `None` with a word about it.
fn specimen() -> Option<Vec<(FileId, Vec<u8>)>> {
    let data = std::env::var_os("VIGIL_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let folder = data.join("documents/emrtd");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("left out: {} is not there (set VIGIL_DATA)", folder.display());
        return None;
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if let Some(id) = FileId::from_name(path.file_name().unwrap().to_str().unwrap()) {
            files.push((id, std::fs::read(path).unwrap()));
        }
    }
    files.sort_by_key(|(id, _)| *id);
    assert_eq!(files.len(), 12);
    Some(files)
}

fn borrowed(files: &[(FileId, Vec<u8>)]) -> Vec<(FileId, &[u8])> {
    files.iter().map(|(id, bytes)| (*id, bytes.as_slice())).collect()
}

/// A store that trusts somebody else.
fn elsewhere() -> &'static TrustStore {
    static STORE: OnceLock<TrustStore> = OnceLock::new();
    STORE.get_or_init(|| {
        let key = Key::ec(Nid::X9_62_PRIME256V1);
        store(&[("elsewhere.cer", &Cert::csca("Elsewhere", &key).sign(&key, &key, P256))])
    })
}

#[test]
fn the_specimen_passport() {
    let Some(files) = specimen() else { return };
    for (id, bytes) in &files {
        assert_eq!(FileId::from_tag(bytes[0]), Some(*id), "{id}");
    }
    let found = authenticate(&borrowed(&files), elsewhere());
    let report = &found.report;
    assert_eq!(groups(report, Group::Authentic), [1, 2, 3, 14], "{report:#?}");
    assert_eq!(groups(report, Group::NotCovered), [4, 5, 7, 11, 12, 15]);
    assert_eq!(report.data_groups.len(), 10);
    assert_eq!(report.signature.status, Signature::Valid);
    assert_eq!(report.signature.algorithm.as_deref(), Some("ECDSA SHA-1, brainpoolP224r1 (explicit)"));
    assert_eq!(report.chain.status, ChainStatus::UntrustedIssuer);
    assert_eq!(report.chain.reason, Some(Chain::IssuerUnknown));
    assert_eq!(report.com.status, ComStatus::Agrees);
    assert_eq!(report.irregularities, []);
    assert!(!report.authentic());
    let signer = found.details.signer.unwrap();
    assert_eq!(signer.country.as_deref(), Some("DE"));
    assert_eq!(signer.issuer, "CN=CSCA BDR TEST 19.09.07");
    assert_eq!(signer.serial, "1267");

    let found = authenticate(&borrowed(&files), &TrustStore::empty());
    assert_eq!(found.report.chain.status, ChainStatus::NotChecked);
    assert_eq!(found.report.chain.reason, Some(Chain::NoTrustStore));
}

/// A reader that reads whole blocks leaves padding behind a file.
#[test]
fn padding_behind_a_file_changes_nothing() {
    let Some(files) = specimen() else { return };
    let whole = authenticate(&borrowed(&files), elsewhere()).report;
    for pad in [0x00, 0xff] {
        let padded: Vec<_> =
            files.iter().map(|(id, bytes)| (*id, [bytes.as_slice(), &[pad; 37]].concat())).collect();
        assert_eq!(authenticate(&borrowed(&padded), elsewhere()).report, whole);
    }
    let spoiled: Vec<_> =
        files.iter().map(|(id, bytes)| (*id, [bytes.as_slice(), &[0, 1, 0]].concat())).collect();
    let report = authenticate(&borrowed(&spoiled), elsewhere()).report;
    assert_eq!(groups(&report, Group::Altered), [1, 2, 3, 14]);
    assert_eq!(report.com.status, ComStatus::Unreadable);
    assert_eq!(report.irregularities, [Irregularity::TrailingBytes]);
}

#[test]
fn a_flipped_bit_in_a_file_of_the_specimen_is_named() {
    let Some(mut files) = specimen() else { return };
    let whole = authenticate(&borrowed(&files), elsewhere()).report;
    for n in 0..files.len() {
        let (id, len) = (files[n].0, files[n].1.len());
        // Every bit of EF.COM, every byte of the small ones, some forty places of the large ones.
        let bits: Vec<usize> = match id {
            FileId::Sod => continue,
            FileId::Com => (0..len * 8).collect(),
            _ => (0..len).step_by((len / 40).max(1)).map(|b| b * 8 + b % 8).chain([len * 8 - 1]).collect(),
        };
        for bit in bits {
            files[n].1[bit / 8] ^= 1 << (bit % 8);
            let report = authenticate(&borrowed(&files), elsewhere()).report;
            match id {
                FileId::DataGroup(g) if groups(&whole, Group::Authentic).contains(&g) => {
                    assert_eq!(groups(&report, Group::Altered), [g], "{id}, bit {bit}");
                }
                FileId::Com => assert!(
                    matches!(
                        report.com.status,
                        ComStatus::Differs | ComStatus::UnknownVersion | ComStatus::Unreadable
                    ),
                    "bit {bit}: {:?}",
                    report.com
                ),
                // Nobody vouches for these, and the report says so with every bit.
                _ => assert_eq!(report, whole),
            }
            files[n].1[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// The signer's certificate as it stands in the specimen's EF.SOD. Its country's is not there, so a
/// change in it can be found only where its key is used; the chain says that nobody vouches for it.
const SPECIMEN_CERTIFICATE: std::ops::Range<usize> = 189..874;

#[test]
fn a_flipped_bit_in_the_specimens_security_object_is_named() {
    let Some(mut files) = specimen() else { return };
    let whole = authenticate(&borrowed(&files), elsewhere());
    let n = files.iter().position(|(id, _)| *id == FileId::Sod).unwrap();
    for byte in 0..files[n].1.len() {
        for bit in [byte % 8, (byte + 3) % 8] {
            files[n].1[byte] ^= 1 << bit;
            let found = authenticate(&borrowed(&files), elsewhere());
            if found.report == whole.report {
                assert!(SPECIMEN_CERTIFICATE.contains(&byte), "byte {byte}, bit {bit} goes unnoticed");
                assert_eq!(found.report.chain.status, ChainStatus::UntrustedIssuer);
                assert_ne!(found.details.signer, whole.details.signer, "byte {byte}, bit {bit}");
            }
            files[n].1[byte] ^= 1 << bit;
        }
    }
}

// ---- a country of our own ----

/// A country, a document signer, a document.
struct Office {
    csca: Cert,
    csca_key: Key,
    signer: Cert,
    signer_key: Key,
    /// How certificates are signed, and how documents are.
    scheme: Scheme,
    document_scheme: Scheme,
    group1: Vec<u8>,
    group2: Vec<u8>,
}

impl Office {
    fn new(csca_key: Key, scheme: Scheme, signer_key: Key, document_scheme: Scheme) -> Self {
        Self {
            csca: Cert::csca("CSCA Utopia", &csca_key),
            signer: Cert::signer("DS Utopia 1", "CSCA Utopia", &signer_key, &csca_key),
            csca_key,
            signer_key,
            scheme,
            document_scheme,
            group1: forge::tlv(0x61, &forge::tlv(0x5f, b"P<UTO")),
            group2: forge::tlv(0x75, &[7; 300]),
        }
    }

    fn p256() -> Self {
        Self::new(Key::ec(Nid::X9_62_PRIME256V1), P256, Key::ec(Nid::X9_62_PRIME256V1), P256)
    }

    fn csca_der(&self) -> Vec<u8> {
        self.csca.sign(&self.csca_key, &self.csca_key, self.scheme)
    }

    fn signer_der(&self) -> Vec<u8> {
        self.signer.sign(&self.signer_key, &self.csca_key, self.scheme)
    }

    fn content(&self) -> Vec<u8> {
        let groups = [(1, self.group1.clone()), (2, self.group2.clone()), (14, vec![0x6e, 0])];
        forge::hashes(self.document_scheme.md(), &groups, None)
    }

    fn signed(&self) -> Signed {
        Signed::new(forge::LDS, self.content(), self.document_scheme, vec![self.signer_der()])
    }

    fn sod(&self) -> Vec<u8> {
        forge::tlv(0x77, &self.signed().sign(&self.signer, &self.signer_key))
    }

    fn trust(&self) -> TrustStore {
        store(&[("csca.cer", &self.csca_der())])
    }

    fn check_sod(&self, sod: &[u8], trust: &TrustStore) -> PassiveAuthentication {
        let com = forge::com(&[0x61, 0x75, 0x6e]);
        let files: [(FileId, &[u8]); 4] = [
            (FileId::Com, &com),
            (FileId::Sod, sod),
            (FileId::DataGroup(1), &self.group1),
            (FileId::DataGroup(2), &self.group2),
        ];
        authenticate(&files, trust)
    }

    fn check(&self, trust: &TrustStore) -> ChipReport {
        self.check_sod(&self.sod(), trust).report
    }
}

#[track_caller]
fn all_well(report: &ChipReport) {
    assert_eq!(report.signature.status, Signature::Valid, "{report:#?}");
    assert_eq!(report.chain.status, ChainStatus::Trusted, "{report:#?}");
    assert_eq!(groups(report, Group::Authentic), [1, 2]);
    assert_eq!(groups(report, Group::NotPresented), [14]);
    assert_eq!(report.com.status, ComStatus::Agrees);
    assert!(report.authentic());
}

#[track_caller]
fn chain(report: &ChipReport, status: ChainStatus, reason: Chain) {
    assert_eq!((report.chain.status, report.chain.reason), (status, Some(reason)), "{report:#?}");
    assert!(!report.authentic());
}

fn rsa_keys() -> &'static [(u32, Key); 4] {
    static KEYS: OnceLock<[(u32, Key); 4]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let made = [2048, 3072, 4096, 2048].map(|bits| std::thread::spawn(move || (bits, Key::rsa(bits))));
        made.map(|thread| thread.join().unwrap())
    })
}

#[test]
fn rsa_of_every_size_with_every_digest() {
    let keys = rsa_keys();
    let pkcs1 = Md::ALL.map(Scheme::Pkcs1);
    let pss = Md::ALL.map(Scheme::Pss);
    for ((_, csca), (bits, signer)) in keys.iter().zip(keys.iter().cycle().skip(1)) {
        for scheme in pkcs1.into_iter().chain(pss) {
            let office = Office::new(csca.clone(), scheme, signer.clone(), scheme);
            let report = office.check(&office.trust());
            all_well(&report);
            assert_eq!(report.irregularities, [], "{scheme:?}");
            let said = report.signature.algorithm.unwrap();
            assert!(said.ends_with(&format!("RSA {bits}")), "{said}");
        }
        // The identifier of the key instead of the signature's, the digest beside it.
        let bare = Scheme::BareRsa(Md::Sha256);
        let office = Office::new(csca.clone(), Scheme::Pkcs1(Md::Sha256), signer.clone(), bare);
        all_well(&office.check(&office.trust()));
    }
}

#[test]
fn every_curve_named_and_explicit_with_every_digest() {
    let curves = [
        (Nid::SECP224R1, "P-224"),
        (Nid::X9_62_PRIME256V1, "P-256"),
        (Nid::SECP384R1, "P-384"),
        (Nid::SECP521R1, "P-521"),
        (Nid::X9_62_PRIME192V1, "P-192"),
        (Nid::BRAINPOOL_P192R1, "brainpoolP192r1"),
        (Nid::BRAINPOOL_P192T1, "brainpoolP192t1"),
        (Nid::BRAINPOOL_P224R1, "brainpoolP224r1"),
        (Nid::BRAINPOOL_P224T1, "brainpoolP224t1"),
        (Nid::BRAINPOOL_P256R1, "brainpoolP256r1"),
        (Nid::BRAINPOOL_P256T1, "brainpoolP256t1"),
        (Nid::BRAINPOOL_P320R1, "brainpoolP320r1"),
        (Nid::BRAINPOOL_P320T1, "brainpoolP320t1"),
        (Nid::BRAINPOOL_P384R1, "brainpoolP384r1"),
        (Nid::BRAINPOOL_P384T1, "brainpoolP384t1"),
        (Nid::BRAINPOOL_P512R1, "brainpoolP512r1"),
        (Nid::BRAINPOOL_P512T1, "brainpoolP512t1"),
    ];
    for (n, (curve, name)) in curves.into_iter().enumerate() {
        let (csca, signer) = (Key::ec(curve), Key::ec(curve));
        for explicit in [false, true] {
            let written = |key: &Key| if explicit { key.clone().explicit() } else { key.clone() };
            for (m, md) in Md::ALL.into_iter().enumerate() {
                let document = if (n + m) % 2 == 0 { Scheme::Ecdsa(md) } else { Scheme::Plain(md) };
                let certificates = if (n + m) % 3 == 0 { Scheme::Plain(md) } else { Scheme::Ecdsa(md) };
                let office = Office::new(written(&csca), certificates, written(&signer), document);
                let report = office.check(&office.trust());
                all_well(&report);
                assert_eq!(report.irregularities, []);
                let said = report.signature.algorithm.unwrap();
                let key = if explicit { format!(", {name} (explicit)") } else { format!(", {name}") };
                assert!(said.ends_with(&key), "{said} for {name}, {document:?}");
            }
        }
    }
}

/// Explicit parameters of a curve that has no name here, but is one.
#[test]
fn an_explicit_curve_without_a_name() {
    let [csca, signer] = [(); 2].map(|()| Key::ec(Nid::SECP256K1).explicit());
    let office = Office::new(csca, P256, signer, P256);
    let report = office.check(&office.trust());
    all_well(&report);
    assert_eq!(report.signature.algorithm.as_deref(), Some("ECDSA SHA-256, an unnamed curve of 256 bits"));
    // By its name it is not known, and that is said.
    let office = Office::new(Key::ec(Nid::SECP256K1), P256, Key::ec(Nid::SECP256K1), P256);
    let report = office.check(&office.trust());
    assert_eq!(report.signature.reason, Some(Why::KeyRefused));
    assert_eq!(report.signature.detail.as_deref(), Some("elliptic curve 1.3.132.0.10"));
    chain(&report, ChainStatus::UntrustedIssuer, Chain::AlgorithmUnsupported);
}

/// ECDSA's plain form under the identifier of the other.
#[test]
fn a_plain_signature_that_is_not_announced() {
    let office = Office::p256();
    let signed = office.signed();
    let attributes = signed.attributes();
    let signature = office.signer_key.sign(Scheme::Plain(Md::Sha256), &forge::set(&attributes));
    let sod = signed.assemble(&office.signer, &office.signer_key, &attributes, signature);
    let sod = forge::tlv(0x77, &sod);
    all_well(&office.check_sod(&sod, &office.trust()).report);
}

#[test]
fn a_signer_named_by_its_key_or_found_in_the_store() {
    let office = Office::p256();
    let mut signed = office.signed();
    signed.by_serial = false;
    let by_key = forge::tlv(0x77, &signed.sign(&office.signer, &office.signer_key));
    all_well(&office.check_sod(&by_key, &office.trust()).report);

    signed.certificates.clear();
    let without = forge::tlv(0x77, &signed.sign(&office.signer, &office.signer_key));
    let trust = store(&[("csca.cer", &office.csca_der()), ("ds.cer", &office.signer_der())]);
    assert_eq!((trust.summary().anchors, trust.summary().signers), (1, 1));
    all_well(&office.check_sod(&without, &trust).report);

    let report = office.check_sod(&without, &office.trust()).report;
    assert_eq!(report.signature.status, Signature::NotChecked);
    assert_eq!(report.signature.reason, Some(Why::SignerUnknown));
    chain(&report, ChainStatus::NotChecked, Chain::NoSigner);
    assert_eq!(groups(&report, Group::NotChecked), [1, 2]);

    // A name spelled in another order: the key settles it.
    let mut other = office.signer.clone();
    other.issuer = forge::name("CSCA  Dystopia");
    let sod = forge::tlv(0x77, &office.signed().sign(&other, &office.signer_key));
    let report = office.check_sod(&sod, &office.trust()).report;
    all_well(&report);
    assert_eq!(report.irregularities, [Irregularity::SignerIdentifier]);
}

#[test]
fn names_are_compared_as_people_read_them() {
    let mut office = Office::p256();
    office.csca.subject = forge::name("csca  UTOPIA");
    office.csca.issuer = office.csca.subject.clone();
    all_well(&office.check(&office.trust()));
}

#[test]
fn a_newer_list_carries_its_versions() {
    let office = Office::p256();
    let groups = [(1, office.group1.clone()), (2, office.group2.clone()), (14, vec![0x6e, 0])];
    for (lds, status) in [("0107", ComStatus::Agrees), ("0108", ComStatus::Differs)] {
        let mut signed = office.signed();
        signed.content = forge::hashes(Md::Sha256, &groups, Some((lds, "040000")));
        let sod = forge::tlv(0x77, &signed.sign(&office.signer, &office.signer_key));
        let found = office.check_sod(&sod, &office.trust());
        assert_eq!(found.report.com.status, status);
        assert_eq!(found.details.versions, Some((lds.to_owned(), "040000".to_owned())));
        assert_eq!(found.report.irregularities, []);
    }
}

#[test]
fn the_unsigned_list_may_hide_nothing() {
    let office = Office::p256();
    let sod = office.sod();
    for (tags, hidden, unsigned) in
        [(&[0x61, 0x75][..], vec![14], vec![]), (&[0x61, 0x75, 0x6e, 0x63], vec![], vec![3])]
    {
        let com = forge::com(tags);
        let report = authenticate(
            &[(FileId::Com, &com), (FileId::Sod, &sod), (FileId::DataGroup(1), &office.group1)],
            &office.trust(),
        )
        .report;
        assert_eq!(report.com.status, ComStatus::Differs);
        assert_eq!((report.com.hidden.clone(), report.com.unsigned.clone()), (hidden, unsigned));
        assert!(!report.authentic());
    }
}

// ---- what countries really write ----

/// Lengths with leading zeros, indefinite lengths and octet strings in pieces.
#[test]
fn ber_is_read_as_well_as_der() {
    fn indefinite(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag, 0x80][..], body, &[0, 0]].concat()
    }
    fn padded(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag, 0x85, 0, 0, 0][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }
    let office = Office::p256();
    let signed = office.signed();
    let attributes = signed.attributes();
    let signature = office.signer_key.sign(signed.scheme, &forge::set(&attributes));
    let mut shuffled = attributes.clone();
    shuffled.reverse();
    let signer = forge::seq(&[
        forge::int(1),
        forge::seq(&[office.signer.issuer.clone(), forge::int(office.signer.serial)]),
        Md::Sha256.id(),
        indefinite(0xa0, &shuffled.concat()),
        signed.scheme.id(),
        forge::octets(&signature),
    ]);
    let (first, second) = signed.content.split_at(40);
    let pieces = indefinite(0x24, &[forge::octets(first), indefinite(0x24, &forge::octets(second))].concat());
    let data = [
        forge::int(3),
        forge::set(&[Md::Sha256.id()]),
        indefinite(0x30, &[forge::oid(forge::LDS), indefinite(0xa0, &pieces)].concat()),
        padded(0xa0, &office.signer_der()),
        forge::set(&[signer]),
    ]
    .concat();
    let info = [forge::oid("1.2.840.113549.1.7.2"), padded(0xa0, &indefinite(0x30, &data))].concat();
    let sod = padded(0x77, &indefinite(0x30, &info));
    let report = office.check_sod(&sod, &office.trust()).report;
    all_well(&report);
    assert_eq!(report.irregularities, [Irregularity::SignedAttributesNotDer]);
}

#[test]
fn departures_that_do_no_harm_are_told() {
    let office = Office::p256();
    let mut signed = office.signed();
    signed.attributes = false;
    let bare = signed.sign(&office.signer, &office.signer_key);
    let report = office.check_sod(&bare, &office.trust()).report;
    all_well(&report);
    assert_eq!(report.irregularities, [Irregularity::NoWrapper, Irregularity::NoSignedAttributes]);
    assert_eq!(report.chain.valid_at, Some(ChipValidAt::Now));
}

// ---- each way it can be wrong ----

#[test]
fn an_altered_data_group() {
    let mut office = Office::p256();
    let sod = office.sod();
    office.group2[50] ^= 1;
    let report = office.check_sod(&sod, &office.trust()).report;
    assert_eq!(groups(&report, Group::Altered), [2]);
    assert_eq!(groups(&report, Group::Authentic), [1]);
    assert_eq!(report.signature.status, Signature::Valid);
    assert!(!report.authentic());
}

#[track_caller]
fn invalid(office: &Office, sod: &[u8], reason: Why) {
    let report = office.check_sod(sod, &office.trust()).report;
    assert_eq!((report.signature.status, report.signature.reason), (Signature::Invalid, Some(reason)));
    assert_eq!(groups(&report, Group::NotChecked), [1, 2], "nobody vouches for the list");
    assert!(!report.authentic());
}

#[test]
fn an_altered_list_attribute_or_signature() {
    let office = Office::p256();
    let signed = office.signed();
    let signature = office.signer_key.sign(signed.scheme, &forge::set(&signed.attributes()));

    let mut other = signed.clone();
    other.content =
        forge::hashes(Md::Sha256, &[(1, office.group1.clone()), (2, office.group2.clone())], None);
    let sod = other.assemble(&office.signer, &office.signer_key, &signed.attributes(), signature.clone());
    invalid(&office, &sod, Why::ContentAltered);

    let mut later = signed.clone();
    later.signing_time = Some("20210602");
    let sod = signed.assemble(&office.signer, &office.signer_key, &later.attributes(), signature.clone());
    invalid(&office, &sod, Why::SignatureWrong);

    let mut typed = signed.clone();
    typed.content_type = forge::MASTER_LIST;
    let sod = signed.assemble(&office.signer, &office.signer_key, &typed.attributes(), signature.clone());
    invalid(&office, &sod, Why::ContentTypeDiffers);

    for wrong in
        [vec![], vec![0; 8], signature[..signature.len() - 1].to_vec(), [&signature[..], &[0]].concat()]
    {
        let sod = signed.assemble(&office.signer, &office.signer_key, &signed.attributes(), wrong);
        invalid(&office, &sod, Why::SignatureWrong);
    }
}

#[test]
fn a_signature_by_somebody_else() {
    let office = Office::p256();
    let sod = office.signed().sign(&office.signer, &Key::ec(Nid::X9_62_PRIME256V1));
    invalid(&office, &sod, Why::SignatureWrong);
    // A key that cannot have made such a signature.
    let rsa = &rsa_keys()[0].1;
    let mut signed = office.signed();
    signed.scheme = Scheme::Pkcs1(Md::Sha256);
    let report = office.check_sod(&signed.sign(&office.signer, rsa), &office.trust()).report;
    assert_eq!(report.signature.status, Signature::Unsupported);
}

/// Signed by a master list or another kind of content, with the document signer's own key.
#[test]
fn signed_content_of_another_type_is_no_security_object() {
    let office = Office::p256();
    let mut signed = office.signed();
    signed.content_type = "1.2.840.113549.1.7.1";
    let report = office.check_sod(&signed.sign(&office.signer, &office.signer_key), &office.trust()).report;
    assert_eq!(report.signature.reason, Some(Why::Unreadable));
    assert!(report.signature.detail.unwrap().contains("1.2.840.113549.1.7.1"));
}

#[test]
fn out_of_date() {
    for (from, until, signed, reason) in [
        ("20210101", "20210501", Some("20210601"), Chain::SignerExpired),
        ("20210701", "20320101", Some("20210601"), Chain::SignerNotYetValid),
        ("20210101", "20260101", None, Chain::SignerExpired),
        ("20270101", "20300101", None, Chain::SignerNotYetValid),
        ("20210101", "20320101", Some("20260701"), Chain::SignedInFuture),
        ("20191231", "20320101", Some("20210601"), Chain::IssuerNotValidAtIssue),
        ("20350102", "20400101", Some("20210601"), Chain::SignerNotYetValid),
    ] {
        let mut office = Office::p256();
        (office.signer.from, office.signer.until) = (from, until);
        let mut sod = office.signed();
        sod.signing_time = signed;
        let sod = sod.sign(&office.signer, &office.signer_key);
        chain(&office.check_sod(&sod, &office.trust()).report, ChainStatus::Expired, reason);
    }
    // Both have ended since, and were valid when they were used.
    let mut office = Office::p256();
    (office.signer.until, office.csca.until) = ("20220101", "20210201");
    let report = office.check(&office.trust());
    all_well(&report);
    assert_eq!(report.chain.valid_at, Some(ChipValidAt::SigningTime));
}

#[test]
fn issuers_that_are_none() {
    let office = Office::p256();
    // The signer's own certificate in the store is no anchor, nor is it one in the document.
    let only_signer = store(&[("ds.cer", &office.signer_der())]);
    chain(&office.check(&only_signer), ChainStatus::NotChecked, Chain::NoTrustStore);
    chain(&office.check(elsewhere()), ChainStatus::UntrustedIssuer, Chain::IssuerUnknown);

    let mut own = Office::p256();
    own.signer.subject = own.signer.issuer.clone();
    own.csca_key = own.signer_key.clone();
    chain(&own.check(elsewhere()), ChainStatus::UntrustedIssuer, Chain::IssuerUnknown);

    // Another key of the same name, and the right one beside it.
    let key = Key::ec(Nid::X9_62_PRIME256V1);
    let other = Cert::csca("CSCA Utopia", &key).sign(&key, &key, P256);
    chain(&office.check(&store(&[("a.cer", &other)])), ChainStatus::UntrustedIssuer, Chain::IssuerKeyDiffers);
    all_well(&office.check(&store(&[("a.cer", &other), ("b.cer", &office.csca_der())])));

    for extensions in [
        vec![],
        vec![key_usage(0x06), subject_key(&office.csca_key)],
        vec![basic_constraints(Some(0)), key_usage(0x02)],
    ] {
        let mut office = Office::p256();
        office.csca.extensions = extensions;
        let other = elsewhere_der();
        let trust = store(&[("csca.cer", &office.csca_der()), ("other.cer", &other)]);
        chain(&office.check(&trust), ChainStatus::UntrustedIssuer, Chain::IssuerNotCa);
    }
    let mut office = Office::p256();
    office.csca.extensions.push(forge::extension("1.2.3.4", true, &[5, 0]));
    let report = office.check(&office.trust());
    chain(&report, ChainStatus::UntrustedIssuer, Chain::UnknownCriticalExtension);
    assert_eq!(report.chain.detail.as_deref(), Some("1.2.3.4"));

    // A damaged anchor.
    let office = Office::p256();
    let mut damaged = office.csca_der();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let trust = store(&[("csca.cer", &damaged)]);
    chain(&office.check(&trust), ChainStatus::UntrustedIssuer, Chain::NoAnchor);
}

fn elsewhere_der() -> Vec<u8> {
    let key = Key::ec(Nid::X9_62_PRIME256V1);
    Cert::csca("Elsewhere", &key).sign(&key, &key, P256)
}

#[test]
fn signers_that_may_not_sign_documents() {
    let mut office = Office::p256();
    office.signer.extensions[0] = key_usage(0x20);
    chain(&office.check(&office.trust()), ChainStatus::UntrustedIssuer, Chain::SignerPurpose);
    let mut office = Office::p256();
    office.signer.extensions.push(master_list_purpose());
    chain(&office.check(&office.trust()), ChainStatus::UntrustedIssuer, Chain::SignerPurpose);
}

fn master_list_purpose() -> Vec<u8> {
    forge::extension("2.5.29.37", true, &forge::seq(&[forge::oid("2.23.136.1.1.3")]))
}

/// A country's old key vouches for its new one.
#[test]
fn link_certificates() {
    let office = Office::p256();
    let (old_key, anchor) =
        (Key::ec(Nid::BRAINPOOL_P256R1), Cert::csca("CSCA Utopia", &Key::ec(Nid::SECP384R1)));
    let old = Cert {
        extensions: vec![basic_constraints(Some(0)), key_usage(0x06), subject_key(&old_key)],
        ..anchor
    };
    let old_der = old.sign(&old_key, &old_key, P256);
    let link = Cert {
        extensions: vec![
            basic_constraints(Some(0)),
            key_usage(0x06),
            subject_key(&office.csca_key),
            authority_key(&old_key),
        ],
        ..office.csca.clone()
    };
    let link_der = link.sign(&office.csca_key, &old_key, P256);
    let trust = store(&[("old.cer", &old_der), ("link.cer", &link_der)]);
    assert_eq!((trust.summary().anchors, trust.summary().links), (1, 1));
    let found = office.check_sod(&office.sod(), &trust);
    all_well(&found.report);
    assert_eq!(found.details.anchor.unwrap().key.as_deref(), Some("brainpoolP256r1"));

    // Without the anchor the link vouches for nobody.
    let trust = store(&[("other.cer", &elsewhere_der()), ("link.cer", &link_der)]);
    chain(&office.check(&trust), ChainStatus::UntrustedIssuer, Chain::NoAnchor);

    // Nor does it without identifiers, with nothing but the name to go by.
    let bare = Cert { extensions: vec![basic_constraints(None), key_usage(0x06)], ..office.csca.clone() };
    let trust = store(&[("old.cer", &old_der), ("link.cer", &bare.sign(&office.csca_key, &old_key, P256))]);
    all_well(&office.check(&trust));

    // A change of name says so by its extension; without, it is a CA in between.
    let renamed = |extra: Option<Vec<u8>>| {
        let old = Cert {
            subject: forge::name("CSCA Atlantis"),
            issuer: forge::name("CSCA Atlantis"),
            ..old.clone()
        };
        let mut link = Cert { issuer: forge::name("CSCA Atlantis"), ..link.clone() };
        link.extensions.extend(extra);
        store(&[
            ("old.cer", &old.sign(&old_key, &old_key, P256)),
            ("link.cer", &link.sign(&office.csca_key, &old_key, P256)),
        ])
    };
    let name_change = forge::extension("2.23.136.1.1.6.1", false, &forge::null());
    all_well(&office.check(&renamed(Some(name_change))));
    chain(&office.check(&renamed(None)), ChainStatus::UntrustedIssuer, Chain::PathTooLong);
}

#[test]
fn two_certificates_in_a_circle() {
    let office = Office::p256();
    let other_key = Key::ec(Nid::X9_62_PRIME256V1);
    let cross = |subject: &str, issuer: &str, key: &Key, by: &Key| {
        let cert = Cert {
            subject: forge::name(subject),
            issuer: forge::name(issuer),
            extensions: vec![basic_constraints(None), key_usage(0x06), subject_key(key), authority_key(by)],
            ..office.csca.clone()
        };
        cert.sign(key, by, P256)
    };
    let a = cross("CSCA Utopia", "CSCA Atlantis", &office.csca_key, &other_key);
    let b = cross("CSCA Atlantis", "CSCA Utopia", &other_key, &office.csca_key);
    let trust = store(&[("a.cer", &a), ("b.cer", &b), ("other.cer", &elsewhere_der())]);
    assert_eq!(trust.summary().links, 2);
    chain(&office.check(&trust), ChainStatus::UntrustedIssuer, Chain::NoAnchor);
}

/// Two hundred certificates of one name do not cost two hundred signatures, and a hundred links in a
/// row are not climbed.
#[test]
fn many_issuers_of_one_name_are_bounded() {
    let office = Office::p256();
    let mut files = vec![elsewhere_der()];
    for serial in 0..200 {
        let decoy = Cert { serial, extensions: vec![basic_constraints(None)], ..office.csca.clone() };
        let key = Key::ec(Nid::X9_62_PRIME256V1);
        files.push(decoy.sign(&key, &key, P256));
    }
    let named: Vec<(String, &[u8])> =
        files.iter().enumerate().map(|(n, f)| (format!("{n}.cer"), f.as_slice())).collect();
    let trust = TrustStore::from_files(named.iter().map(|(n, f)| (n.as_str(), *f)), now());
    assert_eq!(trust.summary().anchors, 201);
    chain(&office.check(&trust), ChainStatus::UntrustedIssuer, Chain::IssuerKeyDiffers);
}

#[test]
fn revocation() {
    let office = Office::p256();
    let list = |by: &Key, from: &str, until: &str, serials: &[u64]| {
        forge::crl("CSCA Utopia", by, P256, from, until, serials)
    };
    let check = |crl: &[u8]| office.check(&store(&[("csca.cer", &office.csca_der()), ("list.crl", crl)]));
    let key = &office.csca_key;
    assert_eq!(office.check(&office.trust()).chain.revocation, Revocation::NotChecked);

    let good = check(&list(key, "20260501", "20260801", &[5, 6]));
    all_well(&good);
    assert_eq!(good.chain.revocation, Revocation::Good);
    let empty = check(&list(key, "20260501", "20260801", &[]));
    assert_eq!(empty.chain.revocation, Revocation::Good);

    let stale = check(&list(key, "20260301", "20260501", &[5]));
    all_well(&stale);
    assert_eq!(stale.chain.revocation, Revocation::Stale);

    for (from, until) in [("20260501", "20260801"), ("20260301", "20260501")] {
        let revoked = check(&list(key, from, until, &[5, 0x1001]));
        chain(&revoked, ChainStatus::Revoked, Chain::SignerRevoked);
        assert_eq!(revoked.chain.revocation, Revocation::Revoked);
    }
    chain(&check(&list(key, "20260501", "20260801", &[1])), ChainStatus::Revoked, Chain::IssuerRevoked);

    // A list that somebody else signed in the country's name says nothing.
    let forged = check(&list(&Key::ec(Nid::X9_62_PRIME256V1), "20260501", "20260801", &[0x1001]));
    all_well(&forged);
    assert_eq!(forged.chain.revocation, Revocation::NotChecked);

    // The country's newer key signs for the older one.
    let newer = Key::ec(Nid::SECP384R1);
    let newer_der = Cert::csca("CSCA Utopia", &newer).sign(&newer, &newer, P256);
    let crl = list(&newer, "20260501", "20260801", &[0x1001]);
    let trust = store(&[("a.cer", &office.csca_der()), ("b.cer", &newer_der), ("list.crl", &crl)]);
    chain(&office.check(&trust), ChainStatus::Revoked, Chain::SignerRevoked);
    assert_eq!((trust.summary().revocation_lists, trust.summary().stale_revocation_lists), (1, 0));
}

#[test]
fn what_is_not_known_is_said_by_name() {
    let office = Office::p256();
    // SM2 with SM3.
    let mut signed = office.signed();
    signed.scheme = P256;
    let sod = signed.sign(&office.signer, &office.signer_key);
    let replace = |from: &[u8], to: &[u8]| {
        let at = sod.windows(from.len()).rposition(|w| w == from).unwrap();
        let mut out = sod.clone();
        out[at..at + to.len()].copy_from_slice(to);
        out
    };
    let unknown = replace(&forge::oid("1.2.840.10045.4.3.2"), &forge::oid("1.2.840.10045.4.3.9"));
    let report = office.check_sod(&unknown, &office.trust()).report;
    assert_eq!(
        (report.signature.status, report.signature.reason),
        (Signature::Unsupported, Some(Why::AlgorithmUnsupported))
    );
    assert_eq!(report.signature.detail.as_deref(), Some("signature algorithm 1.2.840.10045.4.3.9"));
    assert_eq!(groups(&report, Group::NotChecked), [1, 2]);

    // A list hashed with an unknown digest, properly signed.
    let mut signed = office.signed();
    let own = forge::oid("2.16.840.1.101.3.4.2.1");
    let at = signed.content.windows(own.len()).position(|w| w == own).unwrap();
    signed.content[at + own.len() - 1] = 8;
    let report = office.check_sod(&signed.sign(&office.signer, &office.signer_key), &office.trust()).report;
    assert_eq!(report.signature.status, Signature::Valid);
    assert_eq!(
        report.signature.detail.as_deref(),
        Some("data groups: digest algorithm 2.16.840.1.101.3.4.2.8")
    );
    assert_eq!(groups(&report, Group::NotChecked), [1, 2]);
    assert!(!report.authentic());
}

/// Every bit, of a chain that is trusted: whatever is changed, it shows.
#[test]
fn no_bit_of_a_trusted_security_object_goes_unnoticed() {
    let office = Office::p256();
    let trust = office.trust();
    let mut sod = office.sod();
    let whole = office.check_sod(&sod, &trust).report;
    all_well(&whole);
    for byte in 0..sod.len() {
        for bit in [byte % 8, (byte + 3) % 8, (byte + 6) % 8] {
            sod[byte] ^= 1 << bit;
            let report = office.check_sod(&sod, &trust).report;
            assert_ne!(report, whole, "byte {byte}, bit {bit}");
            // Only what no signature covers may be irregular and trusted.
            if report.authentic() {
                assert!(!report.irregularities.is_empty(), "byte {byte}, bit {bit}: {report:#?}");
            }
            sod[byte] ^= 1 << bit;
        }
    }
}

/// Cut off anywhere, the file is an error that names a byte.
#[test]
fn a_security_object_cut_off_anywhere() {
    let office = Office::p256();
    let (sod, trust) = (office.sod(), office.trust());
    for len in 1..sod.len() {
        let report = office.check_sod(&sod[..len], &trust).report;
        assert_eq!(report.signature.reason, Some(Why::Unreadable), "{len} bytes");
        assert!(report.signature.detail.unwrap().starts_with("at byte "));
    }
}

// ---- hostile bytes ----

#[test]
fn bombs_and_lies() {
    let office = Office::p256();
    let nest = |open: &[u8], n: usize| open.repeat(n);
    let files = [
        nest(&[0x30, 0x80], 100_000),
        [vec![0x77, 0x80], nest(&[0x24, 0x80], 200_000)].concat(),
        // A million empty elements.
        forge::tlv(0x77, &nest(&[0x30, 0x00], 1_000_000)),
        forge::tlv(0x77, &forge::tlv(0x30, &nest(&[0x05, 0x00], 1_000_000))),
        vec![0x77, 0x84, 0xff, 0xff, 0xff, 0xff],
        vec![0x77, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x77, 0xfe],
        vec![0x77, 0xff],
        vec![0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        vec![0x77],
    ];
    for file in &files {
        let report = office.check_sod(file, &office.trust()).report;
        assert_eq!(report.signature.reason, Some(Why::Unreadable));
        let detail = report.signature.detail.unwrap();
        assert!(detail.contains("at byte ") && !detail.contains('\n'), "{detail}");
    }
}

/// Keys that would cost minutes are refused by their size, and say so.
#[test]
fn hostile_keys_are_refused_by_size() {
    let office = Office::p256();
    let rsa = |modulus: Vec<u8>, exponent: Vec<u8>| {
        forge::seq(&[
            forge::seq(&[forge::oid("1.2.840.113549.1.1.1"), forge::null()]),
            forge::bits(&forge::seq(&[forge::uint(&modulus), forge::uint(&exponent)])),
        ])
    };
    let curve = |p: Vec<u8>, order: Vec<u8>, generator: Vec<u8>, cofactor: u64| {
        forge::seq(&[
            forge::seq(&[
                forge::oid("1.2.840.10045.2.1"),
                forge::seq(&[
                    forge::int(1),
                    forge::seq(&[forge::oid("1.2.840.10045.1.1"), forge::uint(&p)]),
                    forge::seq(&[forge::octets(&[1]), forge::octets(&[7])]),
                    forge::octets(&generator),
                    forge::uint(&order),
                    forge::int(cofactor),
                ]),
            ]),
            forge::bits(&generator),
        ])
    };
    let odd = |n: usize| vec![0xff; n];
    let point = |n: usize| [vec![2], vec![1; n]].concat();
    let keys = [
        rsa(odd(8_000), odd(3)),
        rsa(odd(32), vec![3]),
        rsa(odd(512), odd(512)),
        rsa(odd(256), vec![1]),
        rsa(odd(256), vec![2]),
        rsa([odd(255), vec![0xfe]].concat(), vec![3]),
        curve(odd(8_000), odd(8_000), point(8_000), 1),
        curve(odd(32), odd(32), point(32), 1),
        // Composite field: a square root in it would never end.
        curve(odd(33), odd(32), point(33), 1),
        curve(odd(32), [odd(31), vec![0xfd]].concat(), point(32), 1),
        curve(odd(32), odd(32), point(32), 4),
        curve(vec![0], odd(32), vec![0], 1),
        curve(vec![1], vec![1], vec![0], 1),
        forge::seq(&[
            forge::seq(&[forge::oid("1.2.840.10045.2.1"), forge::oid("1.3.6.1.4.1.3029.1.5.1")]),
            forge::bits(&[4]),
        ]),
        forge::seq(&[forge::seq(&[forge::oid("1.2.840.10045.2.1"), forge::null()]), forge::bits(&[4])]),
        forge::seq(&[
            forge::seq(&[forge::oid("1.2.840.10045.2.1"), forge::oid("1.2.840.10045.3.1.7")]),
            forge::bits(&[4; 65]),
        ]),
        forge::seq(&[
            forge::seq(&[forge::oid("1.2.840.10045.2.1"), forge::oid("1.2.840.10045.3.1.7")]),
            forge::bits(&[0]),
        ]),
        forge::seq(&[forge::seq(&[forge::oid("1.2.840.10040.4.1")]), forge::bits(&[0])]),
    ];
    let own = office.signer_key.spki();
    for spki in keys {
        // The certificate is no longer signed by anybody; its key is looked at first.
        let der = office.signer_der();
        let tbs_at = der.windows(own.len()).position(|w| w == own).unwrap();
        let tbs_body = &der[8..tbs_at];
        let rest = &der[tbs_at + own.len()..];
        let mut rest = vigil::document::tlv::Reader::new(rest);
        let extensions = rest.next().unwrap().unwrap().raw().to_vec();
        let tbs = forge::tlv(0x30, &[tbs_body, &spki, &extensions].concat());
        let forged = forge::tlv(0x30, &[&tbs, rest.rest()].concat());
        let mut signed = office.signed();
        signed.certificates = vec![forged];
        let report =
            office.check_sod(&signed.sign(&office.signer, &office.signer_key), &office.trust()).report;
        assert_eq!(report.signature.reason, Some(Why::KeyRefused), "{report:#?}");
        assert_eq!(report.signature.status, Signature::Unsupported);
        assert_eq!(report.chain.status, ChainStatus::UntrustedIssuer);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever a reader hands over, the answer is a report; and nothing but what was signed is
    /// authentic.
    #[test]
    fn any_change_of_any_file_is_a_report(
        file in 0..4_usize,
        at in any::<prop::sample::Index>(),
        take in 0..40_usize,
        put in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        static MADE: OnceLock<(Office, Vec<u8>, TrustStore)> = OnceLock::new();
        let (office, sod, trust) = MADE.get_or_init(|| {
            let office = Office::p256();
            let (sod, trust) = (office.sod(), office.trust());
            (office, sod, trust)
        });
        let mut files =
            [forge::com(&[0x61, 0x75, 0x6e]), sod.clone(), office.group1.clone(), office.group2.clone()];
        let whole = files.clone();
        let at = at.index(files[file].len());
        let end = (at + take).min(files[file].len());
        files[file].splice(at..end, put);
        prop_assume!(!files[file].is_empty());
        let ids = [FileId::Com, FileId::Sod, FileId::DataGroup(1), FileId::DataGroup(2)];
        let all: Vec<_> = ids.into_iter().zip(files.iter().map(Vec::as_slice)).collect();
        let report = authenticate(&all, trust).report;
        for (n, group) in [(2, 1), (3, 2)] {
            if report.data_group(group) == Group::Authentic {
                let trimmed = ChipFiles::get(&{
                    let mut only = ChipFiles::new();
                    only.add(ids[n], &files[n]).unwrap();
                    only
                }, ids[n]);
                prop_assert_eq!(trimmed, Some(whole[n].as_slice()));
            }
        }
        let details = [&report.signature.detail, &report.chain.detail, &report.com.detail];
        prop_assert!(details.into_iter().flatten().all(|d| d.len() < 300 && !d.contains('\n')));
    }

    /// Any bytes in any file of a trust store are taken in or named.
    #[test]
    fn any_bytes_in_a_trust_store(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let trust = store(&[("x.cer", &bytes)]);
        let summary = trust.summary();
        prop_assert!(summary.skipped_total == 1 || summary.anchors + summary.links + summary.signers > 0);
    }

    /// A good certificate, list or master list with a piece replaced.
    #[test]
    fn any_change_in_a_trust_store(
        which in 0..3_usize,
        at in any::<prop::sample::Index>(),
        take in 0..20_usize,
        put in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        static MADE: OnceLock<(Office, [Vec<u8>; 3])> = OnceLock::new();
        let (office, files) = MADE.get_or_init(|| {
            let office = Office::p256();
            let files = samples(&office);
            (office, files)
        });
        let mut file = files[which].clone();
        let at = at.index(file.len());
        let end = (at + take).min(file.len());
        file.splice(at..end, put);
        let trust = store(&[("x", &file), ("csca.cer", &files[0])]);
        prop_assert!(trust.summary().anchors >= 1);
        let report = office.check(&trust);
        prop_assert_eq!(report.signature.status, Signature::Valid);
        prop_assert!(trust.summary().skipped.iter().all(|s| s.why.len() < 300 && !s.why.contains('\n')));
    }
}

/// A certificate, a revocation list and a master list.
fn samples(office: &Office) -> [Vec<u8>; 3] {
    let csca = office.csca_der();
    let crl = forge::crl("CSCA Utopia", &office.csca_key, P256, "20260501", "20260801", &[9, 0x1001]);
    let key = Key::ec(Nid::X9_62_PRIME256V1);
    let mut signer = Cert::signer("Master List Signer", "CSCA Utopia", &key, &office.csca_key);
    signer.extensions.push(master_list_purpose());
    let der = signer.sign(&key, &office.csca_key, P256);
    let list = forge::master_list(&[csca.clone(), elsewhere_der()], &signer, der, &key, P256);
    [csca, crl, list]
}

/// Writes what fuzzing starts from.
#[test]
#[ignore = "writes fuzz/seeds: run it when the formats grow"]
fn write_the_seeds_of_fuzzing() {
    let seeds = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(seeds.join(target)).unwrap();
        std::fs::write(seeds.join(target).join(name), bytes).unwrap();
    };
    let p256 = Office::p256();
    let brainpool = || Key::ec(Nid::BRAINPOOL_P224R1).explicit();
    let explicit = Office::new(brainpool(), Scheme::Ecdsa(Md::Sha1), brainpool(), Scheme::Plain(Md::Sha224));
    let keys = rsa_keys();
    let pss =
        Office::new(keys[0].1.clone(), Scheme::Pss(Md::Sha256), keys[3].1.clone(), Scheme::Pss(Md::Sha512));
    for (name, office) in [("p256", &p256), ("explicit", &explicit), ("pss", &pss)] {
        write("sod", name, &office.sod());
        write("certificate", name, &office.signer_der());
        write("certificate", &format!("csca-{name}"), &office.csca_der());
    }
    let mut by_key = p256.signed();
    (by_key.by_serial, by_key.attributes) = (false, false);
    write("sod", "by-key", &by_key.sign(&p256.signer, &p256.signer_key));
    let [_, crl, list] = samples(&p256);
    write("crl", "two", &crl);
    write("masterlist", "two", &list);
    write("tlv", "sod", &p256.sod());
    write("tlv", "com", &forge::com(&[0x61, 0x75, 0x6e]));
    write(
        "tlv",
        "indefinite",
        &[
            0x30, 0x80, 0x24, 0x80, 4, 1, 7, 4, 0, 0, 0, 0x17, 13, b'2', b'1', b'0', b'6', b'0', b'1', b'0',
            b'0', b'0', b'0', b'0', b'0', b'Z', 0, 0,
        ],
    );
}

// ---- the trust store ----

#[test]
fn a_folder_of_files_good_and_bad() {
    let office = Office::p256();
    let csca = office.csca_der();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let pem = |kind: &str, der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
        format!("-----BEGIN {kind}-----\r\n{}\r\n-----END {kind}-----\r\n", lines.join("\r\n"))
    };
    let both =
        format!("subject=Utopia\n{}{}", pem("CERTIFICATE", &csca), pem("CERTIFICATE", &elsewhere_der()));
    write("utopia.PEM", both.as_bytes());
    write("again.der", &csca);
    write("signer.crt", &office.signer_der());
    let crl = forge::crl("CSCA Utopia", &office.csca_key, P256, "20260501", "20260801", &[9]);
    write("utopia.crl", pem("X509 CRL", &crl).as_bytes());
    write("old.crl", &forge::crl("CSCA Utopia", &office.csca_key, P256, "20200501", "20200801", &[9]));
    write("README.txt", b"not looked at");
    write("cut.cer", &csca[..200]);
    write("empty.cer", b"");
    write("broken.pem", b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    write("open.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n");
    std::fs::create_dir(folder.path().join("folder.cer")).unwrap();

    let trust = TrustStore::load(folder.path(), now()).unwrap();
    let summary = trust.summary();
    assert_eq!((summary.anchors, summary.links, summary.signers), (2, 0, 1));
    assert_eq!((summary.revocation_lists, summary.stale_revocation_lists), (2, 1));
    let skipped: Vec<_> = summary.skipped.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(skipped, ["broken.pem", "cut.cer", "empty.cer", "folder.cer", "open.pem"], "{summary:#?}");
    assert_eq!(summary.skipped_total, 5);
    let report = office.check(&trust);
    all_well(&report);
    assert_eq!(report.chain.revocation, Revocation::Good);

    let missing = TrustStore::load(&folder.path().join("nowhere"), now()).unwrap_err();
    assert_eq!(missing.kind(), vigil::base::Kind::NotFound);
    assert!(missing.to_string().contains("nowhere"));
}

#[test]
fn a_master_list_of_seven_hundred_with_some_broken() {
    let office = Office::p256();
    // Sixteen keys are enough for seven hundred names.
    let keys: Vec<_> = (0..16).map(|_| Key::ec(Nid::X9_62_PRIME256V1)).collect();
    let mut all: Vec<Vec<u8>> = (0..700)
        .map(|n| {
            let key = &keys[n % 16];
            Cert { serial: n as u64, ..Cert::csca(&format!("CSCA {n}"), key) }.sign(key, key, P256)
        })
        .collect();
    all.push(office.csca_der());
    // A time that is none, a name that is none, no certificate at all, a lying length inside.
    all[100] = forge::seq(&[forge::int(1), forge::int(2)]);
    all[200] = forge::null();
    let spoil = |der: &mut Vec<u8>, what: &[u8], with: u8| {
        let at = der.windows(what.len()).position(|w| w == what).unwrap();
        der[at] = with;
    };
    spoil(&mut all[300], b"200101000000Z", b'x');
    spoil(&mut all[400], &[0x13, 0x02, b'U', b'T'], 0xff);
    let signer_key = Key::ec(Nid::SECP384R1);
    let mut signer = Cert::signer("Master List Signer", "CSCA Utopia", &signer_key, &office.csca_key);
    signer.extensions.push(master_list_purpose());
    let signer_der = signer.sign(&signer_key, &office.csca_key, P256);
    let list = forge::master_list(&all, &signer, signer_der.clone(), &signer_key, P256);

    // The country is only in its own list.
    let trust = store(&[("list.ml", &list)]);
    let summary = trust.summary();
    assert_eq!(summary.anchors, 697, "{summary:#?}");
    let said = &summary.master_lists[0];
    assert_eq!((said.signer, said.certificates, said.broken), (MasterListSigner::SelfContained, 697, 4));
    assert_eq!(said.signer_name.as_deref(), Some("C=UT, CN=Master List Signer"));
    let skipped: Vec<_> = summary.skipped.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(skipped, [101, 201, 301, 401].map(|n| format!("list.ml, certificate {n}")), "{summary:#?}");
    assert!(summary.skipped.iter().all(|s| s.why.contains("at byte ")), "{summary:#?}");
    all_well(&office.check(&trust));

    // It also lies in the folder by itself.
    let trust = store(&[("list.ml", &list), ("utopia.cer", &all[700])]);
    assert_eq!(trust.summary().master_lists[0].signer, MasterListSigner::Trusted);
    assert_eq!(trust.summary().anchors, 697);

    // Nobody knows its signer: whoever put it there vouches for it.
    let others = forge::master_list(&all[..50], &signer, signer_der.clone(), &signer_key, P256);
    let trust = store(&[("list.ml", &others)]);
    assert_eq!(trust.summary().master_lists[0].signer, MasterListSigner::Untrusted);
    assert_eq!(trust.summary().anchors, 50);

    // A document signer may not sign lists.
    let plain = Cert::signer("DS", "CSCA Utopia", &signer_key, &office.csca_key);
    let plain_der = plain.sign(&signer_key, &office.csca_key, P256);
    let wrong = forge::master_list(&all[690..], &plain, plain_der, &signer_key, P256);
    let trust = store(&[("list.ml", &wrong)]);
    assert_eq!(trust.summary().master_lists[0].signer, MasterListSigner::Untrusted);
    assert!(trust.summary().master_lists[0].reason.as_ref().unwrap().contains("master lists"));

    // One changed byte, and nothing of it is used.
    let mut altered = list;
    let at = altered.windows(8).position(|w| w == b"CSCA 650").unwrap();
    altered[at] ^= 1;
    let trust = store(&[("list.ml", &altered)]);
    assert_eq!(trust.summary().master_lists[0].signer, MasterListSigner::Invalid);
    assert!(trust.is_empty());
    assert_eq!(trust.summary().skipped[0].why, "the master list is left out: the signature is wrong");
}

#[test]
fn files_are_known_by_the_names_that_readers_give_them() {
    for (name, id) in [
        ("EF_COM.bin", Some(FileId::Com)),
        ("/tmp/x/EF.SOD", Some(FileId::Sod)),
        ("ef.sod", Some(FileId::Sod)),
        ("EF_DG1.bin", Some(FileId::DataGroup(1))),
        ("DG02.bin", Some(FileId::DataGroup(2))),
        ("Datagroup15.dat", Some(FileId::DataGroup(15))),
        ("0110.bin", Some(FileId::DataGroup(16))),
        ("011D", Some(FileId::Sod)),
        ("DG17.bin", None),
        ("DG0.bin", None),
        ("portrait.jpg", None),
        ("LICENSE", None),
        ("", None),
    ] {
        assert_eq!(FileId::from_name(name), id, "{name}");
    }
}

#[test]
fn files_are_bounded_and_come_once() {
    let mut files = ChipFiles::new();
    files.add(FileId::Com, b"x").unwrap();
    let large = vec![0; 4 << 20 | 1];
    for (id, bytes, says) in [
        (FileId::Com, &b"x"[..], "EF.COM was handed over twice"),
        (FileId::DataGroup(2), b"", "EF.DG2 is empty"),
        (FileId::DataGroup(2), &large, "EF.DG2 has 4194305 bytes"),
        (FileId::DataGroup(17), b"x", "EF.DG17 does not exist"),
        (FileId::DataGroup(0), b"x", "EF.DG0 does not exist"),
    ] {
        let error = files.add(id, bytes).unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
    }
    // Nothing but a list of contents: everything is said not to have been checked.
    let report = passive_authentication(&files, elsewhere(), now()).report;
    assert_eq!(report.signature.reason, Some(Why::NotPresented));
    assert_eq!(report.com.status, ComStatus::Unreadable);
    assert!(report.data_groups.is_empty());
}

/// The report says nothing of the holder, and is JSON without nulls.
#[test]
fn the_report_as_json() {
    let office = Office::p256();
    let json = serde_json::to_value(office.check(&office.trust())).unwrap();
    assert_eq!(json["signature"]["status"], "valid");
    assert_eq!(
        json["chain"],
        serde_json::json!({
            "status": "trusted", "valid_at": "signing_time", "revocation": "not_checked",
        })
    );
    assert_eq!(json["data_groups"][2], serde_json::json!({ "number": 14, "status": "not_presented" }));
    let back: ChipReport = serde_json::from_value(json).unwrap();
    assert!(back.authentic());
}
