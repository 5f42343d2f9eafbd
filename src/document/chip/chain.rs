//! From a signer to a country's own certificate (ICAO 9303-12 6, RFC 5280 6).
//!
//! # Rules
//!
//! - **Anchor**: a self-signed certificate of the trust store that says it is a CA. Its own
//!   signature is checked, so that a damaged file is no anchor.
//! - **Links**: a CA certificate of the trust store signed with another key. Certificates that come
//!   with the document are never links. A link whose two names are one, or that carries ICAO's
//!   name-change extension, is a country's old key vouching for its new one and does not count
//!   against a path length (ICAO 9303-12 7.1); any other one does.
//! - **Names** bind as in RFC 5280 7.1. An issuer of another name is accepted if the key identifier
//!   points at it and its key made the signature, and that is told as an irregularity.
//! - **Validity** of the signer is judged at the signing time that the security object states, and at
//!   the present if it states none. An issuer must have been valid when it issued the certificate
//!   below it, that is, at that one's beginning: a passport outlives the certificate of its country.
//! - **Revocation** is judged now: who was revoked after signing stays revoked. A list must be signed
//!   by the issuer or by an anchor of its name (a country's newest key signs the list for all its
//!   keys). What an outdated list revokes is revoked; what it does not name is `stale`.
//!
//! Several issuers of one name are tried, best fit first; the first good chain counts, or else the
//! failure that came furthest.

use jiff::{SignedDuration, Timestamp};

use super::certificate::{Certificate, KeyUsage};
use super::trust::TrustStore;
use crate::base::Error;
use crate::event::{
    ChipChainReason as Reason, ChipChainStatus as Status, ChipIrregularity as Irregularity,
    ChipRevocation as Revocation,
};

/// No chain is longer. Each link is a change of a country's key, every three to five years.
const MAX_LENGTH: usize = 8;
/// Signatures checked for one chain. Two hundred certificates of one name are no reason to check
/// them all.
const MAX_SIGNATURES: usize = 64;
/// Revocation lists tried for one issuer.
const MAX_CRLS: usize = 16;
/// How far a clock may be behind that of whoever signs documents.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// What the signer signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Document,
    MasterList,
}

/// What came of a chain.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub(super) status: Status,
    pub(super) reason: Option<Reason>,
    pub(super) detail: Option<String>,
    pub(super) revocation: Revocation,
    pub(super) irregularities: Vec<Irregularity>,
    /// Which certificate of the store the chain ends at.
    pub(super) anchor: Option<usize>,
}

impl Judgement {
    fn failed(status: Status, reason: Reason) -> Self {
        Self {
            status,
            reason: Some(reason),
            detail: None,
            revocation: Revocation::NotChecked,
            irregularities: Vec::new(),
            anchor: None,
        }
    }

    fn untrusted(reason: Reason) -> Self {
        Self::failed(Status::UntrustedIssuer, reason)
    }

    fn because(error: &Error) -> Self {
        let mut judgement = Self::untrusted(Reason::AlgorithmUnsupported);
        judgement.detail = Some(error.what());
        judgement
    }

    fn detail(mut self, detail: &str) -> Self {
        self.detail = Some(detail.to_owned());
        self
    }

    /// How far it came: of two failures the further one says more.
    fn rank(&self) -> u8 {
        match (self.status, self.reason) {
            (Status::Trusted, _) => 9,
            (Status::Revoked, _) => 8,
            (Status::Expired, _) => 7,
            (_, Some(Reason::IssuerKeyDiffers)) => 1,
            (_, Some(Reason::AlgorithmUnsupported)) => 2,
            (_, Some(Reason::NoAnchor)) => 3,
            (_, Some(Reason::IssuerUnknown)) => 0,
            _ => 4,
        }
    }

    /// The status and reason in the words of the report.
    pub(super) fn why(&self) -> String {
        let word = |value: Result<serde_json::Value, _>| {
            value.ok().as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        let status = word(serde_json::to_value(self.status));
        let reason = self.reason.map(|r| word(serde_json::to_value(r))).unwrap_or_default();
        format!("its signer's chain: {status} ({reason})")
    }
}

/// Where the search stands.
struct Search<'a> {
    store: &'a TrustStore,
    /// Indices of the certificates between the signer and here, the signer's issuer first.
    path: Vec<usize>,
    signatures: usize,
    best: Judgement,
}

/// The chain of `signer`, which must have been valid `at` that time; revocation is judged `now`.
pub(super) fn judge(
    signer: &Certificate,
    store: &TrustStore,
    at: Timestamp,
    now: Timestamp,
    purpose: Purpose,
) -> Judgement {
    if store.is_empty() {
        return Judgement::failed(Status::NotChecked, Reason::NoTrustStore);
    }
    let mut search =
        Search { store, path: Vec::new(), signatures: 0, best: Judgement::untrusted(Reason::IssuerUnknown) };
    search.climb(signer, signer, at, now, purpose);
    search.best
}

impl Search<'_> {
    fn keep(&mut self, judgement: Judgement) {
        if judgement.rank() > self.best.rank() {
            self.best = judgement;
        }
    }

    /// Tries every issuer of `below`, until a trusted chain is found.
    fn climb(
        &mut self,
        signer: &Certificate,
        below: &Certificate,
        at: Timestamp,
        now: Timestamp,
        purpose: Purpose,
    ) {
        let store = self.store;
        for n in store.issuers(below) {
            if self.path.contains(&n) || self.signatures >= MAX_SIGNATURES {
                continue;
            }
            self.signatures += 1;
            let issuer = store.certificate(n);
            match issuer.key().and_then(|key| below.signed_by(&key)) {
                Ok(true) => {}
                Ok(false) => {
                    self.keep(Judgement::untrusted(Reason::IssuerKeyDiffers));
                    continue;
                }
                Err(e) => {
                    let judgement = Judgement::because(&e);
                    self.keep(judgement);
                    continue;
                }
            }
            if issuer.ca.is_none() || !issuer.allows(KeyUsage::CERT_SIGN) {
                self.keep(Judgement::untrusted(Reason::IssuerNotCa));
                continue;
            }
            self.path.push(n);
            let anchor = issuer.looks_self_signed() && {
                self.signatures += 1;
                // One that looks so and is not: a link between two keys of one name.
                issuer.key().and_then(|key| issuer.signed_by(&key)).unwrap_or(false)
            };
            if anchor {
                let judgement = self.check(signer, at, now, purpose);
                self.keep(judgement);
            } else {
                // If nothing better is found above, this is how far it went.
                self.keep(Judgement::untrusted(Reason::NoAnchor));
                if self.path.len() < MAX_LENGTH {
                    self.climb(signer, issuer, at, now, purpose);
                }
            }
            self.path.pop();
            if self.best.status == Status::Trusted {
                return;
            }
        }
    }

    /// Everything but signatures, of a chain that leads from `signer` to an anchor.
    fn check(&self, signer: &Certificate, at: Timestamp, now: Timestamp, purpose: Purpose) -> Judgement {
        let issuers: Vec<&Certificate> = self.path.iter().map(|n| self.store.certificate(*n)).collect();
        let all = || std::iter::once(signer).chain(issuers.iter().copied());
        if let Some(unknown) = all().find_map(|c| c.unknown_critical.as_ref()) {
            return Judgement::untrusted(Reason::UnknownCriticalExtension).detail(unknown);
        }
        let list = purpose == Purpose::MasterList;
        if !signer.allows(KeyUsage::DIGITAL_SIGNATURE) || signer.list_signer != list {
            return Judgement::untrusted(Reason::SignerPurpose);
        }
        // RFC 5280 6.1.4 (l): how many that count may stand below each issuer.
        let mut below = 0;
        for issuer in &issuers {
            if issuer.ca.flatten().is_some_and(|limit| below > limit) {
                return Judgement::untrusted(Reason::PathTooLong);
            }
            below += u64::from(!issuer.self_issued() && !issuer.name_change);
        }
        let mut judgement = self.in_time(signer, &issuers, at, now);
        let (revocation, revoked) = self.revocation(signer, &issuers, now);
        judgement.revocation = revocation;
        if let Some(reason) = revoked {
            judgement.status = Status::Revoked;
            judgement.reason = Some(reason);
        }
        for (below, issuer) in all().zip(&issuers) {
            if below.issuer.key != issuer.subject.key {
                judgement.irregularities.push(Irregularity::IssuerName);
            }
            if below
                .subject
                .country
                .as_ref()
                .zip(issuer.subject.country.as_ref())
                .is_some_and(|(a, b)| a != b)
            {
                judgement.irregularities.push(Irregularity::CountryDiffers);
            }
        }
        judgement.anchor = self.path.last().copied();
        judgement
    }

    fn in_time(
        &self,
        signer: &Certificate,
        issuers: &[&Certificate],
        at: Timestamp,
        now: Timestamp,
    ) -> Judgement {
        let expired = |reason| Judgement::failed(Status::Expired, reason);
        if at.duration_since(now) > CLOCK_TOLERANCE {
            return expired(Reason::SignedInFuture);
        }
        if at < signer.not_before {
            return expired(Reason::SignerNotYetValid);
        }
        if at > signer.not_after {
            return expired(Reason::SignerExpired);
        }
        let mut issued = signer.not_before;
        for issuer in issuers {
            if !issuer.valid_at(issued) {
                return expired(Reason::IssuerNotValidAtIssue);
            }
            issued = issuer.not_before;
        }
        Judgement {
            status: Status::Trusted,
            reason: None,
            detail: None,
            revocation: Revocation::NotChecked,
            irregularities: Vec::new(),
            anchor: None,
        }
    }

    /// What the lists say of every certificate on the chain, the worst first.
    fn revocation(
        &self,
        signer: &Certificate,
        issuers: &[&Certificate],
        now: Timestamp,
    ) -> (Revocation, Option<Reason>) {
        let mut worst = Revocation::Good;
        let below = std::iter::once(signer).chain(issuers.iter().copied());
        for (n, (certificate, issuer)) in below.zip(issuers).enumerate() {
            match self.listed(certificate, issuer, now) {
                Revocation::Revoked if n == 0 => return (Revocation::Revoked, Some(Reason::SignerRevoked)),
                Revocation::Revoked => return (Revocation::Revoked, Some(Reason::IssuerRevoked)),
                Revocation::NotChecked => worst = Revocation::NotChecked,
                Revocation::Stale if worst == Revocation::Good => worst = Revocation::Stale,
                Revocation::Stale | Revocation::Good => {}
            }
        }
        // An anchor can be revoked by its own country's list only.
        if let Some(anchor) = issuers.last()
            && self.listed(anchor, anchor, now) == Revocation::Revoked
        {
            return (Revocation::Revoked, Some(Reason::IssuerRevoked));
        }
        (worst, None)
    }

    /// What the lists of `issuer` say of `certificate`.
    fn listed(&self, certificate: &Certificate, issuer: &Certificate, now: Timestamp) -> Revocation {
        let mut found = Revocation::NotChecked;
        let mut lists: Vec<_> = self.store.crls(&issuer.subject.key).collect();
        lists.sort_by_key(|crl| std::cmp::Reverse(crl.this_update));
        for crl in lists.into_iter().take(MAX_CRLS) {
            let signed = || {
                let namesakes = self.store.named(&issuer.subject.key).filter(|c| c.is_anchor());
                std::iter::once(issuer).chain(namesakes).take(MAX_CRLS).any(|by| {
                    by.allows(KeyUsage::CRL_SIGN)
                        && by.key().and_then(|key| crl.signed_by(&key)).unwrap_or(false)
                })
            };
            if !signed() {
                continue;
            }
            if crl.revokes(&certificate.serial) {
                return Revocation::Revoked;
            }
            // With a critical extension that nobody here knows, the list may be only part of one; whom
            // it names is revoked all the same (RFC 5280 5.2).
            if crl.unknown_critical.is_some() || crl.this_update.duration_since(now) > CLOCK_TOLERANCE {
                continue;
            }
            let current = crl.next_update.is_none_or(|next| now <= next);
            if current {
                found = Revocation::Good;
            } else if found == Revocation::NotChecked {
                found = Revocation::Stale;
            }
        }
        found
    }
}
