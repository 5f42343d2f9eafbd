//! Keys, digests and signatures: what a security object says about them, handed to OpenSSL's
//! libcrypto piece by piece.
//!
//! Nothing reaches the library before its size has been looked at, so a hostile key costs what an
//! honest one does. Explicit curve parameters (ICAO 9303-12 4.1.6.3 demands them, X.509 libraries
//! refuse them) are compared with the known curves first. Parameters of no known curve are used only
//! if field and order are primes of a sensible size and the key has that order; that they are
//! *good* is what the country that signed the certificate vouches for.

use std::fmt;

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::md::{Md, MdRef};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};
use openssl::sign::RsaPssSaltlen;

use super::oid;
use crate::base::{Culprit, Error, Kind, Result};
use crate::document::tlv::{Oid, Tag, Tlv};

/// RSA moduli from and up to, in bits. ICAO recommends 3072; below 1024 a key can be factored.
const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=8192;
/// RSA exponents up to, in bytes. Verification time grows with them.
const RSA_EXPONENT_BYTES: usize = 8;
/// Explicit fields from and up to, in bits.
const FIELD_BITS: std::ops::RangeInclusive<i32> = 160..=521;
/// An RSA-PSS salt is never longer than the longest digest by much.
const MAX_SALT: u64 = 512;

/// The curves that have a name: OpenSSL's number, the name in a report, the identifier.
const CURVES: [(Nid, &str, Oid<'static>); 17] = [
    (Nid::X9_62_PRIME192V1, "P-192", oid::P192),
    (Nid::SECP224R1, "P-224", oid::P224),
    (Nid::X9_62_PRIME256V1, "P-256", oid::P256),
    (Nid::SECP384R1, "P-384", oid::P384),
    (Nid::SECP521R1, "P-521", oid::P521),
    (Nid::BRAINPOOL_P192R1, "brainpoolP192r1", oid::BRAINPOOL_192R1),
    (Nid::BRAINPOOL_P192T1, "brainpoolP192t1", oid::BRAINPOOL_192T1),
    (Nid::BRAINPOOL_P224R1, "brainpoolP224r1", oid::BRAINPOOL_224R1),
    (Nid::BRAINPOOL_P224T1, "brainpoolP224t1", oid::BRAINPOOL_224T1),
    (Nid::BRAINPOOL_P256R1, "brainpoolP256r1", oid::BRAINPOOL_256R1),
    (Nid::BRAINPOOL_P256T1, "brainpoolP256t1", oid::BRAINPOOL_256T1),
    (Nid::BRAINPOOL_P320R1, "brainpoolP320r1", oid::BRAINPOOL_320R1),
    (Nid::BRAINPOOL_P320T1, "brainpoolP320t1", oid::BRAINPOOL_320T1),
    (Nid::BRAINPOOL_P384R1, "brainpoolP384r1", oid::BRAINPOOL_384R1),
    (Nid::BRAINPOOL_P384T1, "brainpoolP384t1", oid::BRAINPOOL_384T1),
    (Nid::BRAINPOOL_P512R1, "brainpoolP512r1", oid::BRAINPOOL_512R1),
    (Nid::BRAINPOOL_P512T1, "brainpoolP512t1", oid::BRAINPOOL_512T1),
];

pub(super) fn unsupported(message: impl Into<String>) -> Error {
    Error::new(Kind::Unsupported, Culprit::Request, message)
}

fn refused(_: ErrorStack) -> Error {
    // The library's words name its own source files; ours is the better one.
    Error::new(Kind::Malformed, Culprit::Request, "the public key is none of its kind")
}

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    const ALL: [(Self, Oid<'static>, &'static str); 5] = [
        (Self::Sha1, oid::SHA1, "SHA-1"),
        (Self::Sha224, oid::SHA224, "SHA-224"),
        (Self::Sha256, oid::SHA256, "SHA-256"),
        (Self::Sha384, oid::SHA384, "SHA-384"),
        (Self::Sha512, oid::SHA512, "SHA-512"),
    ];

    fn from_oid(oid: Oid<'_>) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, o, _)| *o == oid).map(|(digest, ..)| digest)
    }

    pub(super) fn of(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let digest = match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha224 => MessageDigest::sha224(),
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        };
        let digest = hash(digest, bytes)
            .map_err(|e| Error::internal(format!("libcrypto refused {self}")).with_source(e))?;
        Ok(digest.to_vec())
    }

    fn md(self) -> &'static MdRef {
        match self {
            Self::Sha1 => Md::sha1(),
            Self::Sha224 => Md::sha224(),
            Self::Sha256 => Md::sha256(),
            Self::Sha384 => Md::sha384(),
            Self::Sha512 => Md::sha512(),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(digest, ..)| digest == self).map_or("?", |(.., name)| name);
        f.write_str(name)
    }
}

/// An AlgorithmIdentifier: `SEQUENCE { OID, parameters OPTIONAL }`.
#[derive(Clone, Copy)]
pub(super) struct Algorithm<'a> {
    pub(super) oid: Oid<'a>,
    pub(super) parameters: Option<Tlv<'a>>,
    raw: &'a [u8],
}

impl<'a> Algorithm<'a> {
    pub(super) fn read(element: Tlv<'a>, what: &str) -> Result<Self> {
        let mut fields = element.expect(Tag::SEQUENCE, what)?.children()?;
        let oid = fields.next_as(what)?.oid()?;
        let parameters = fields.next().transpose()?;
        Ok(Self { oid, parameters, raw: element.raw() })
    }

    /// Whether two say the same; a NULL parameter is as good as none.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.raw == other.raw || (self.oid == other.oid && self.plain() && other.plain())
    }

    /// Whether the parameters are absent or NULL.
    pub(super) fn plain(&self) -> bool {
        self.parameters.is_none_or(|p| p.tag() == Tag::NULL && p.body().is_empty())
    }

    pub(super) fn digest(&self) -> Result<Digest> {
        Digest::from_oid(self.oid).ok_or_else(|| unsupported(format!("digest algorithm {}", self.oid)))
    }
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    RsaPkcs1(Digest),
    RsaPss {
        digest: Digest,
        mask: Digest,
        salt: u16,
    },
    /// `SEQUENCE { r, s }`
    Ecdsa(Digest),
    /// `r ‖ s` (BSI TR-03111 5.2.1)
    EcdsaPlain(Digest),
}

impl Scheme {
    /// Reads a signature algorithm. `separate` is the digest that stands beside it in a signer's
    /// information, for the identifiers that name none.
    pub(super) fn read(algorithm: &Algorithm<'_>, separate: Option<Digest>) -> Result<Self> {
        use Digest::{Sha1, Sha224, Sha256, Sha384, Sha512};
        let unknown = || unsupported(format!("signature algorithm {}", algorithm.oid));
        Ok(match algorithm.oid {
            oid::RSA_ENCRYPTION => Self::RsaPkcs1(separate.ok_or_else(unknown)?),
            oid::RSA_SHA1 | oid::RSA_SHA1_OIW => Self::RsaPkcs1(Sha1),
            oid::RSA_SHA224 => Self::RsaPkcs1(Sha224),
            oid::RSA_SHA256 => Self::RsaPkcs1(Sha256),
            oid::RSA_SHA384 => Self::RsaPkcs1(Sha384),
            oid::RSA_SHA512 => Self::RsaPkcs1(Sha512),
            oid::RSA_PSS => Self::pss(algorithm.parameters)?,
            oid::EC_PUBLIC_KEY | oid::ECDSA_RECOMMENDED => Self::Ecdsa(separate.ok_or_else(unknown)?),
            oid::ECDSA_SPECIFIED => {
                let digest = algorithm.parameters.ok_or_else(unknown)?;
                Self::Ecdsa(Algorithm::read(digest, "the digest of ecdsa-with-Specified")?.digest()?)
            }
            oid::ECDSA_SHA1 => Self::Ecdsa(Sha1),
            oid::ECDSA_SHA224 => Self::Ecdsa(Sha224),
            oid::ECDSA_SHA256 => Self::Ecdsa(Sha256),
            oid::ECDSA_SHA384 => Self::Ecdsa(Sha384),
            oid::ECDSA_SHA512 => Self::Ecdsa(Sha512),
            oid::ECDSA_PLAIN_SHA1 => Self::EcdsaPlain(Sha1),
            oid::ECDSA_PLAIN_SHA224 => Self::EcdsaPlain(Sha224),
            oid::ECDSA_PLAIN_SHA256 => Self::EcdsaPlain(Sha256),
            oid::ECDSA_PLAIN_SHA384 => Self::EcdsaPlain(Sha384),
            oid::ECDSA_PLAIN_SHA512 => Self::EcdsaPlain(Sha512),
            _ => return Err(unknown()),
        })
    }

    /// RSASSA-PSS-params (RFC 4055 3.1): what is absent has its default.
    fn pss(parameters: Option<Tlv<'_>>) -> Result<Self> {
        let (mut digest, mut mask, mut salt) = (Digest::Sha1, Digest::Sha1, 20);
        if let Some(parameters) = parameters.filter(|p| p.tag() != Tag::NULL) {
            for field in parameters.expect(Tag::SEQUENCE, "the parameters of RSASSA-PSS")?.children()? {
                let field = field?;
                let inner = field.inner("a parameter of RSASSA-PSS")?;
                match field.tag().0 {
                    0xa0 => digest = Algorithm::read(inner, "the digest of RSASSA-PSS")?.digest()?,
                    0xa1 => {
                        let generator = Algorithm::read(inner, "the mask of RSASSA-PSS")?;
                        if generator.oid != oid::MGF1 {
                            return Err(unsupported(format!("RSASSA-PSS with mask {}", generator.oid)));
                        }
                        let of =
                            generator.parameters.ok_or_else(|| inner.malformed("a mask without a digest"))?;
                        mask = Algorithm::read(of, "the mask's digest")?.digest()?;
                    }
                    0xa2 => salt = inner.expect(Tag::INTEGER, "the salt's length")?.small()?,
                    0xa3 if inner.expect(Tag::INTEGER, "the trailer")?.small()? == 1 => {}
                    _ => return Err(unsupported(format!("RSASSA-PSS with parameter {}", field.tag()))),
                }
            }
        }
        let salt = u16::try_from(salt).ok().filter(|s| u64::from(*s) <= MAX_SALT);
        let salt = salt.ok_or_else(|| unsupported("RSASSA-PSS with an absurd salt"))?;
        Ok(Self::RsaPss { digest, mask, salt })
    }

    /// The digest that is signed.
    pub(super) fn digest(self) -> Digest {
        match self {
            Self::RsaPkcs1(digest) | Self::Ecdsa(digest) | Self::EcdsaPlain(digest) => digest,
            Self::RsaPss { digest, .. } => digest,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RsaPkcs1(digest) => write!(f, "RSA {digest}"),
            Self::RsaPss { digest, .. } => write!(f, "RSA-PSS {digest}"),
            Self::Ecdsa(digest) => write!(f, "ECDSA {digest}"),
            Self::EcdsaPlain(digest) => write!(f, "plain ECDSA {digest}"),
        }
    }
}

/// A public key, checked and ready.
pub(super) struct PublicKey {
    kind: KeyKind,
    /// For a report: `RSA 2048`, `brainpoolP224r1 (explicit)`.
    name: String,
}

enum KeyKind {
    Rsa(PKey<Public>),
    Ec { key: EcKey<Public>, order_bytes: usize },
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 5280 4.1.2.7).
    pub(super) fn read(spki: &[u8]) -> Result<Self> {
        let mut fields = Tlv::first(spki)?.expect(Tag::SEQUENCE, "the public key")?.children()?;
        let algorithm = Algorithm::read(fields.next_as("the key's algorithm")?, "the key's algorithm")?;
        let (bits, unused) = fields.expect(Tag::BIT_STRING, "the key's bits")?.bits()?;
        if unused != 0 {
            return Err(unsupported("a public key that is no whole number of bytes"));
        }
        match algorithm.oid {
            oid::RSA_ENCRYPTION | oid::RSA_PSS => Self::rsa(bits),
            oid::EC_PUBLIC_KEY => Self::ec(algorithm.parameters, bits),
            other => Err(unsupported(format!("public key algorithm {other}"))),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn rsa(bits: &[u8]) -> Result<Self> {
        let mut fields = Tlv::first(bits)?.expect(Tag::SEQUENCE, "the RSA key")?.children()?;
        let modulus = fields.expect(Tag::INTEGER, "the RSA modulus")?.unsigned()?;
        let exponent = fields.expect(Tag::INTEGER, "the RSA exponent")?.unsigned()?;
        let size = modulus.len() * 8 - modulus.first().map_or(0, |b| b.leading_zeros() as usize);
        if !RSA_BITS.contains(&size) {
            return Err(unsupported(format!(
                "RSA of {size} bits, where {} to {} are accepted",
                RSA_BITS.start(),
                RSA_BITS.end()
            )));
        }
        let odd = |n: &[u8]| n.last().is_some_and(|b| b & 1 == 1);
        if exponent.len() > RSA_EXPONENT_BYTES || exponent == [1] || !odd(exponent) || !odd(modulus) {
            return Err(unsupported("RSA with an absurd exponent or an even modulus"));
        }
        let key = BigNum::from_slice(modulus)
            .and_then(|n| Rsa::from_public_components(n, BigNum::from_slice(exponent)?))
            .and_then(PKey::from_rsa)
            .map_err(refused)?;
        Ok(Self { kind: KeyKind::Rsa(key), name: format!("RSA {size}") })
    }

    fn ec(parameters: Option<Tlv<'_>>, bits: &[u8]) -> Result<Self> {
        let parameters = parameters.ok_or_else(|| unsupported("an elliptic key without a curve"))?;
        let (group, name, known) = match parameters.tag() {
            Tag::OID => {
                let oid = parameters.oid()?;
                let (nid, name, _) = CURVES
                    .into_iter()
                    .find(|(.., o)| *o == oid)
                    .ok_or_else(|| unsupported(format!("elliptic curve {oid}")))?;
                (EcGroup::from_curve_name(nid).map_err(refused)?, name.to_owned(), true)
            }
            Tag::SEQUENCE => Explicit::read(parameters)?.group()?,
            _ => return Err(unsupported("an elliptic key whose curve is implied")),
        };
        // Longer than an uncompressed point of the largest field there is no point.
        if bits.len() > 1 + 2 * (*FIELD_BITS.end() as usize).div_ceil(8) {
            return Err(unsupported("an elliptic key of absurd length"));
        }
        let order_bytes = (group.order_bits() as usize).div_ceil(8);
        let key = BigNumContext::new()
            // Refuses what does not lie on the curve.
            .and_then(|mut context| EcPoint::from_bytes(&group, bits, &mut context))
            .and_then(|point| {
                let finite = !point.is_infinity(&group);
                finite.then(|| EcKey::from_public_key(&group, &point)).transpose()
            })
            .map_err(refused)?
            .ok_or_else(|| unsupported("an elliptic key that is the point at infinity"))?;
        if !known {
            // Known curves have cofactor 1, so a point on one has the right order.
            key.check_key().map_err(refused)?;
        }
        Ok(Self { kind: KeyKind::Ec { key, order_bytes }, name })
    }

    /// Whether `signature` over `message` was made with this key. A signature that is not even
    /// well formed is a wrong one.
    pub(super) fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<bool> {
        let digest = scheme.digest().of(message)?;
        match (&self.kind, scheme) {
            (KeyKind::Rsa(key), Scheme::RsaPkcs1(of)) => Ok(rsa(key, of, None, &digest, signature)),
            (KeyKind::Rsa(key), Scheme::RsaPss { digest: of, mask, salt }) => {
                Ok(rsa(key, of, Some((mask, salt)), &digest, signature))
            }
            (KeyKind::Ec { key, order_bytes }, Scheme::Ecdsa(_) | Scheme::EcdsaPlain(_)) => {
                // Some signers announce the pair and write the plain form: the lengths tell them apart.
                let plain = || (signature.len() == 2 * order_bytes).then(|| signature.split_at(*order_bytes));
                let pair = match scheme {
                    Scheme::Ecdsa(_) => pair(signature).or_else(plain),
                    _ => plain(),
                };
                let too_long = |(r, s): &(&[u8], &[u8])| r.len().max(s.len()) <= order_bytes + 1;
                let Some((r, s)) = pair.filter(too_long) else { return Ok(false) };
                let valid = BigNum::from_slice(r)
                    .and_then(|r| EcdsaSig::from_private_components(r, BigNum::from_slice(s)?))
                    .and_then(|pair| pair.verify(&digest, key));
                Ok(valid.unwrap_or(false))
            }
            _ => Err(unsupported(format!("{scheme} with a key of kind {}", self.name))),
        }
    }
}

fn rsa(key: &PKey<Public>, of: Digest, pss: Option<(Digest, u16)>, digest: &[u8], signature: &[u8]) -> bool {
    let attempt = || -> Result<bool, ErrorStack> {
        let mut context = PkeyCtx::new(key)?;
        context.verify_init()?;
        context.set_rsa_padding(if pss.is_some() { Padding::PKCS1_PSS } else { Padding::PKCS1 })?;
        context.set_signature_md(of.md())?;
        if let Some((mask, salt)) = pss {
            context.set_rsa_mgf1_md(mask.md())?;
            context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(i32::from(salt)))?;
        }
        context.verify(digest, signature)
    };
    // The library reports some wrong signatures as errors; all of them have been taken off its stack.
    attempt().unwrap_or(false)
}

/// `SEQUENCE { r INTEGER, s INTEGER }`. Some signers forget the zero before a high bit.
fn pair(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    let all = Tlv::first(signature).ok()?;
    let mut fields = all.expect(Tag::SEQUENCE, "").ok()?.children().ok()?;
    let r = fields.expect(Tag::INTEGER, "").ok()?;
    let s = fields.expect(Tag::INTEGER, "").ok()?;
    (fields.rest().is_empty() && all.raw().len() == signature.len()).then_some((r.body(), s.body()))
}

/// SpecifiedECDomain (SEC 1 C.2) over a prime field.
struct Explicit<'a> {
    p: &'a [u8],
    a: &'a [u8],
    b: &'a [u8],
    generator: &'a [u8],
    order: &'a [u8],
}

impl<'a> Explicit<'a> {
    fn read(parameters: Tlv<'a>) -> Result<Self> {
        let mut fields = parameters.children()?;
        fields.expect(Tag::INTEGER, "the version of the curve")?;
        let mut field = fields.expect(Tag::SEQUENCE, "the field")?.children()?;
        let kind = field.next_as("the kind of field")?.oid()?;
        if kind != oid::PRIME_FIELD {
            return Err(unsupported(format!("elliptic curve over field {kind}")));
        }
        let p = field.expect(Tag::INTEGER, "the field's prime")?.unsigned()?;
        let mut curve = fields.expect(Tag::SEQUENCE, "the curve")?.children()?;
        let a = curve.expect(Tag::OCTET_STRING, "the curve's a")?.body();
        let b = curve.expect(Tag::OCTET_STRING, "the curve's b")?.body();
        let generator = fields.expect(Tag::OCTET_STRING, "the generator")?.body();
        let order = fields.expect(Tag::INTEGER, "the order")?.unsigned()?;
        if let Some(cofactor) = fields.optional(Tag::INTEGER)?
            && cofactor.unsigned()? != [1]
        {
            return Err(unsupported("an explicit curve with a cofactor"));
        }
        let limit = (*FIELD_BITS.end() as usize).div_ceil(8);
        if p.len().max(a.len()).max(b.len()).max(order.len()) > limit || generator.len() > 2 * limit + 1 {
            return Err(unsupported("an explicit curve of absurd size"));
        }
        Ok(Self { p, a, b, generator, order })
    }

    /// The group, its name, and whether it is a known one.
    fn group(&self) -> Result<(EcGroup, String, bool)> {
        self.known().map_err(refused)?.map_or_else(|| self.unknown(), Ok)
    }

    fn known(&self) -> Result<Option<(EcGroup, String, bool)>, ErrorStack> {
        let mut context = BigNumContext::new()?;
        let [p, a, b, order] = [self.p, self.a, self.b, self.order].map(BigNum::from_slice);
        let (p, a, b, order) = (p?, a?, b?, order?);
        for (nid, name, _) in CURVES {
            let group = EcGroup::from_curve_name(nid)?;
            if i64::from(group.degree()) != i64::from(p.num_bits()) {
                continue;
            }
            let (mut p2, mut a2, mut b2, mut order2) =
                (BigNum::new()?, BigNum::new()?, BigNum::new()?, BigNum::new()?);
            group.components_gfp(&mut p2, &mut a2, &mut b2, &mut context)?;
            group.order(&mut order2, &mut context)?;
            if (&p, &a, &b, &order) != (&p2, &a2, &b2, &order2) {
                continue;
            }
            // The field is a known prime by now, so opening a compressed point is bounded.
            let point = EcPoint::from_bytes(&group, self.generator, &mut context);
            let same = match (point, group.generator_opt()) {
                (Ok(point), Some(generator)) => point.eq(&group, generator, &mut context)?,
                _ => false,
            };
            if same {
                return Ok(Some((group, format!("{name} (explicit)"), true)));
            }
        }
        Ok(None)
    }

    fn unknown(&self) -> Result<(EcGroup, String, bool)> {
        let attempt = || -> Result<Option<EcGroup>, ErrorStack> {
            let mut context = BigNumContext::new()?;
            let [p, a, b, order] = [self.p, self.a, self.b, self.order].map(BigNum::from_slice);
            let (p, a, b, order) = (p?, a?, b?, order?);
            let sizes = FIELD_BITS.contains(&p.num_bits()) && (p.num_bits() - order.num_bits()).abs() <= 1;
            // An order that equals the field makes the curve trivial (Smart's attack).
            if !sizes || a >= p || b >= p || order == p {
                return Ok(None);
            }
            if !p.is_prime(64, &mut context)? || !order.is_prime(64, &mut context)? {
                return Ok(None);
            }
            let mut group = EcGroup::from_components(p, a, b, &mut context)?;
            let generator = EcPoint::from_bytes(&group, self.generator, &mut context)?;
            if generator.is_infinity(&group) {
                return Ok(None);
            }
            group.set_generator(generator, order, BigNum::from_u32(1)?)?;
            Ok(Some(group))
        };
        let group = attempt().map_err(refused)?.ok_or_else(|| {
            unsupported("explicit parameters that are no elliptic curve of a sensible size")
        })?;
        let name = format!("an unnamed curve of {} bits", group.degree());
        Ok((group, name, false))
    }
}
