//! A passport office for tests: keys, certificates, revocation lists, security objects and master
//! lists, written by a small DER writer of its own and signed by OpenSSL, right or wrong as asked.

use openssl::ec::{Asn1Flag, EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};

// ---- DER ----

pub(crate) fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match body.len() {
        n @ 0..0x80 => out.push(n as u8),
        n @ 0x80..0x100 => out.extend([0x81, n as u8]),
        n @ 0x100..0x1_0000 => out.extend([0x82, (n >> 8) as u8, n as u8]),
        n => out.extend([0x83, (n >> 16) as u8, (n >> 8) as u8, n as u8]),
    }
    out.extend_from_slice(body);
    out
}

pub(crate) fn cons(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(tag, &parts.concat())
}

pub(crate) fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    cons(0x30, parts)
}

pub(crate) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    cons(0x31, parts)
}

pub(crate) fn uint(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|b| **b == 0).count().min(bytes.len().saturating_sub(1));
    let mut body = bytes[zeros..].to_vec();
    if body.first().is_none_or(|b| b & 0x80 != 0) {
        body.insert(0, 0);
    }
    tlv(2, &body)
}

pub(crate) fn int(n: u64) -> Vec<u8> {
    uint(&n.to_be_bytes())
}

pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|a| a.parse().unwrap()).collect();
    let mut body = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let septets = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for n in (0..septets).rev() {
            body.push((arc >> (7 * n)) as u8 & 0x7f | if n > 0 { 0x80 } else { 0 });
        }
    }
    tlv(6, &body)
}

pub(crate) fn null() -> Vec<u8> {
    tlv(5, &[])
}

pub(crate) fn octets(body: &[u8]) -> Vec<u8> {
    tlv(4, body)
}

pub(crate) fn bits(body: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0], body].concat())
}

/// `20210601` as midnight UTC.
pub(crate) fn time(date: &str) -> Vec<u8> {
    if date < "20500101" {
        tlv(0x17, format!("{}000000Z", &date[2..]).as_bytes())
    } else {
        tlv(0x18, format!("{date}000000Z").as_bytes())
    }
}

/// `C=UT, CN=…`
pub(crate) fn name(common: &str) -> Vec<u8> {
    seq(&[
        set(&[seq(&[oid("2.5.4.6"), tlv(0x13, b"UT")])]),
        set(&[seq(&[oid("2.5.4.3"), tlv(0x0c, common.as_bytes())])]),
    ])
}

// ---- keys and signatures ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Md {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Md {
    pub(crate) const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    fn openssl(self) -> MessageDigest {
        match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha224 => MessageDigest::sha224(),
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> Vec<u8> {
        hash(self.openssl(), bytes).unwrap().to_vec()
    }

    pub(crate) fn id(self) -> Vec<u8> {
        let dotted = match self {
            Self::Sha1 => "1.3.14.3.2.26",
            Self::Sha224 => "2.16.840.1.101.3.4.2.4",
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        };
        seq(&[oid(dotted), null()])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Pkcs1(Md),
    /// `rsaEncryption`, the digest named elsewhere.
    BareRsa(Md),
    Pss(Md),
    Ecdsa(Md),
    Plain(Md),
}

impl Scheme {
    pub(crate) fn md(self) -> Md {
        match self {
            Self::Pkcs1(md) | Self::BareRsa(md) | Self::Pss(md) | Self::Ecdsa(md) | Self::Plain(md) => md,
        }
    }

    pub(crate) fn id(self) -> Vec<u8> {
        let n = Md::ALL.iter().position(|m| *m == self.md()).unwrap();
        match self {
            Self::Pkcs1(_) => seq(&[oid(&format!("1.2.840.113549.1.1.{}", [5, 14, 11, 12, 13][n])), null()]),
            Self::BareRsa(_) => seq(&[oid("1.2.840.113549.1.1.1"), null()]),
            Self::Pss(md) => seq(&[
                oid("1.2.840.113549.1.1.10"),
                seq(&[
                    cons(0xa0, &[md.id()]),
                    cons(0xa1, &[seq(&[oid("1.2.840.113549.1.1.8"), md.id()])]),
                    cons(0xa2, &[int(md.of(b"").len() as u64)]),
                ]),
            ]),
            Self::Ecdsa(_) => seq(&[oid([
                "1.2.840.10045.4.1",
                "1.2.840.10045.4.3.1",
                "1.2.840.10045.4.3.2",
                "1.2.840.10045.4.3.3",
                "1.2.840.10045.4.3.4",
            ][n])]),
            Self::Plain(_) => seq(&[oid(&format!("0.4.0.127.0.7.1.1.4.1.{}", n + 1))]),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Key {
    pkey: PKey<Private>,
    explicit: bool,
}

impl Key {
    pub(crate) fn rsa(bits: u32) -> Self {
        Self { pkey: PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(), explicit: false }
    }

    pub(crate) fn ec(curve: Nid) -> Self {
        let group = EcGroup::from_curve_name(curve).unwrap();
        let key = EcKey::generate(&group).unwrap();
        Self { pkey: PKey::from_ec_key(key).unwrap(), explicit: false }
    }

    /// The same key with its curve written out.
    pub(crate) fn explicit(mut self) -> Self {
        self.explicit = true;
        self
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        if !self.explicit {
            return self.pkey.public_key_to_der().unwrap();
        }
        let key = self.pkey.ec_key().unwrap();
        let mut group = EcGroup::from_curve_name(key.group().curve_name().unwrap()).unwrap();
        group.set_asn1_flag(Asn1Flag::EXPLICIT_CURVE);
        let public = EcKey::from_public_key(&group, key.public_key()).unwrap();
        PKey::from_ec_key(public).unwrap().public_key_to_der().unwrap()
    }

    pub(crate) fn id(&self) -> Vec<u8> {
        Md::Sha1.of(&self.spki())
    }

    pub(crate) fn sign(&self, scheme: Scheme, message: &[u8]) -> Vec<u8> {
        match scheme {
            Scheme::Pkcs1(md) | Scheme::BareRsa(md) => {
                let mut signer = Signer::new(md.openssl(), &self.pkey).unwrap();
                signer.sign_oneshot_to_vec(message).unwrap()
            }
            Scheme::Pss(md) => {
                let mut signer = Signer::new(md.openssl(), &self.pkey).unwrap();
                signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
                signer.set_rsa_mgf1_md(md.openssl()).unwrap();
                signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
                signer.sign_oneshot_to_vec(message).unwrap()
            }
            Scheme::Ecdsa(md) => self.ecdsa(md, message).to_der().unwrap(),
            Scheme::Plain(md) => {
                let pair = self.ecdsa(md, message);
                let n = self.pkey.ec_key().unwrap().group().order_bits().div_ceil(8) as i32;
                [pair.r().to_vec_padded(n).unwrap(), pair.s().to_vec_padded(n).unwrap()].concat()
            }
        }
    }

    fn ecdsa(&self, md: Md, message: &[u8]) -> EcdsaSig {
        EcdsaSig::sign(&md.of(message), &self.pkey.ec_key().unwrap()).unwrap()
    }
}

// ---- certificates ----

#[derive(Clone)]
pub(crate) struct Cert {
    pub(crate) subject: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) serial: u64,
    pub(crate) from: &'static str,
    pub(crate) until: &'static str,
    pub(crate) extensions: Vec<Vec<u8>>,
}

pub(crate) fn extension(kind: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(1, &[0xff]) } else { Vec::new() };
    seq(&[oid(kind), critical, octets(value)])
}

pub(crate) fn key_usage(byte: u8) -> Vec<u8> {
    extension("2.5.29.15", true, &tlv(3, &[0, byte]))
}

pub(crate) fn basic_constraints(path: Option<u64>) -> Vec<u8> {
    let path = path.map(int).unwrap_or_default();
    extension("2.5.29.19", true, &seq(&[tlv(1, &[0xff]), path]))
}

pub(crate) fn subject_key(key: &Key) -> Vec<u8> {
    extension("2.5.29.14", false, &octets(&key.id()))
}

pub(crate) fn authority_key(key: &Key) -> Vec<u8> {
    extension("2.5.29.35", false, &seq(&[tlv(0x80, &key.id())]))
}

impl Cert {
    /// A country's own certificate, 2020 to 2035.
    pub(crate) fn csca(common: &str, key: &Key) -> Self {
        Self {
            subject: name(common),
            issuer: name(common),
            serial: 1,
            from: "20200101",
            until: "20350101",
            extensions: vec![
                basic_constraints(Some(0)),
                key_usage(0x06),
                subject_key(key),
                authority_key(key),
            ],
        }
    }

    /// A document signer, 2021 to 2032.
    pub(crate) fn signer(common: &str, issuer: &str, key: &Key, by: &Key) -> Self {
        Self {
            subject: name(common),
            issuer: name(issuer),
            serial: 0x1001,
            from: "20210101",
            until: "20320101",
            extensions: vec![key_usage(0x80), subject_key(key), authority_key(by)],
        }
    }

    pub(crate) fn sign(&self, key: &Key, by: &Key, scheme: Scheme) -> Vec<u8> {
        let extensions = match self.extensions.as_slice() {
            [] => Vec::new(),
            some => cons(0xa3, &[seq(some)]),
        };
        let tbs = seq(&[
            cons(0xa0, &[int(2)]),
            int(self.serial),
            scheme.id(),
            self.issuer.clone(),
            seq(&[time(self.from), time(self.until)]),
            self.subject.clone(),
            key.spki(),
            extensions,
        ]);
        let signature = by.sign(scheme, &tbs);
        seq(&[tbs, scheme.id(), bits(&signature)])
    }
}

/// A revocation list of `issuer` from `from` to `until`.
pub(crate) fn crl(
    issuer: &str,
    by: &Key,
    scheme: Scheme,
    from: &str,
    until: &str,
    revoked: &[u64],
) -> Vec<u8> {
    let entries: Vec<_> = revoked.iter().map(|n| seq(&[int(*n), time("20220101")])).collect();
    let entries = if entries.is_empty() { Vec::new() } else { seq(&entries) };
    let tbs = seq(&[
        int(1),
        scheme.id(),
        name(issuer),
        time(from),
        time(until),
        entries,
        cons(0xa0, &[seq(&[authority_key(by), extension("2.5.29.20", false, &int(7))])]),
    ]);
    let signature = by.sign(scheme, &tbs);
    seq(&[tbs, scheme.id(), bits(&signature)])
}

// ---- signed data ----

pub(crate) const LDS: &str = "2.23.136.1.1.1";
pub(crate) const MASTER_LIST: &str = "2.23.136.1.1.2";

#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) content_type: &'static str,
    pub(crate) content: Vec<u8>,
    pub(crate) scheme: Scheme,
    /// Whether the signer is named by issuer and serial number, or by its key.
    pub(crate) by_serial: bool,
    pub(crate) signing_time: Option<&'static str>,
    pub(crate) attributes: bool,
    pub(crate) certificates: Vec<Vec<u8>>,
}

impl Signed {
    pub(crate) fn new(
        content_type: &'static str,
        content: Vec<u8>,
        scheme: Scheme,
        certificates: Vec<Vec<u8>>,
    ) -> Self {
        Self {
            content_type,
            content,
            scheme,
            by_serial: true,
            signing_time: Some("20210601"),
            attributes: true,
            certificates,
        }
    }

    pub(crate) fn attributes(&self) -> Vec<Vec<u8>> {
        let attribute = |kind, value| seq(&[oid(kind), set(&[value])]);
        let mut out = vec![
            attribute("1.2.840.113549.1.9.3", oid(self.content_type)),
            attribute("1.2.840.113549.1.9.4", octets(&self.scheme.md().of(&self.content))),
        ];
        out.extend(self.signing_time.map(|t| attribute("1.2.840.113549.1.9.5", time(t))));
        out.sort();
        out
    }

    /// The ContentInfo, signed as `cert` with `key`.
    pub(crate) fn sign(&self, cert: &Cert, key: &Key) -> Vec<u8> {
        let attributes = self.attributes();
        let message = if self.attributes { set(&attributes) } else { self.content.clone() };
        self.assemble(cert, key, &attributes, key.sign(self.scheme, &message))
    }

    pub(crate) fn assemble(
        &self,
        cert: &Cert,
        key: &Key,
        attributes: &[Vec<u8>],
        signature: Vec<u8>,
    ) -> Vec<u8> {
        let id =
            if self.by_serial { seq(&[cert.issuer.clone(), int(cert.serial)]) } else { tlv(0x80, &key.id()) };
        let signer = seq(&[
            int(if self.by_serial { 1 } else { 3 }),
            id,
            self.scheme.md().id(),
            if self.attributes { cons(0xa0, attributes) } else { Vec::new() },
            self.scheme.id(),
            octets(&signature),
        ]);
        let certificates =
            if self.certificates.is_empty() { Vec::new() } else { cons(0xa0, &self.certificates) };
        let data = seq(&[
            int(3),
            set(&[self.scheme.md().id()]),
            seq(&[oid(self.content_type), cons(0xa0, &[octets(&self.content)])]),
            certificates,
            set(&[signer]),
        ]);
        seq(&[oid("1.2.840.113549.1.7.2"), cons(0xa0, &[data])])
    }
}

/// The list of hashes: version 0, or 1 with versions.
pub(crate) fn hashes(md: Md, groups: &[(u8, Vec<u8>)], versions: Option<(&str, &str)>) -> Vec<u8> {
    let entries: Vec<_> =
        groups.iter().map(|(n, file)| seq(&[int(u64::from(*n)), octets(&md.of(file))])).collect();
    let info =
        versions.map(|(lds, unicode)| seq(&[tlv(0x13, lds.as_bytes()), tlv(0x13, unicode.as_bytes())]));
    seq(&[int(u64::from(versions.is_some())), md.id(), seq(&entries), info.unwrap_or_default()])
}

pub(crate) fn com(tags: &[u8]) -> Vec<u8> {
    let body = [&[0x5f, 0x01, 4][..], b"0107", &[0x5f, 0x36, 6], b"040000", &tlv(0x5c, tags)].concat();
    tlv(0x60, &body)
}

/// An ICAO master list of `certificates`, signed as `cert`.
pub(crate) fn master_list(
    certificates: &[Vec<u8>],
    cert: &Cert,
    der: Vec<u8>,
    key: &Key,
    scheme: Scheme,
) -> Vec<u8> {
    let content = seq(&[int(0), set(certificates)]);
    Signed::new(MASTER_LIST, content, scheme, vec![der]).sign(cert, key)
}
