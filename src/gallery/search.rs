//! 1:N: who in the gallery is like this face, and what that is worth.
//!
//! A search compares the probe with every template, whoever they belong to; entries of other
//! purposes, expired ones and those out of their hours take part in the arithmetic and cannot be
//! named. The threshold follows from the rate the site set and from how many can be named: of N
//! comparisons with strangers, each false with probability FMR, at least one is with probability
//! FPIR = 1 - (1 - FMR)^N, taken as independent (ISO/IEC 19795-1 calls this the closed-form estimate).
//! So FMR = 1 - (1 - FPIR)^(1/N) has to be kept, and where the calibration has no data for a rate this
//! strict there is no threshold but an error: nothing is extrapolated.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;
use zeroize::Zeroize;

use super::entry::Standing;
use super::{Action, Actor, Gallery, Note, Row};
use crate::base::error::Context as _;
use crate::base::{Error, Result};
use crate::config::{FalseMatchRate, FalsePositiveRate, Purpose, WatchConfig};
use crate::event::{
    Band, Basis, Candidate, IdentifyOutcome, MISSING_PERSON_DAYS, Minute, PersonRef, Reference, SearchTerms,
};
use crate::face::{Calibration, Template, Threshold};
use crate::infer::sface::DIMENSIONS;

/// The best of the fast pass, compared once more in f64: enough that rounding cannot keep one of the
/// first few out.
const SHORT_LIST: usize = 32;
/// Most candidates.
const MAX_CANDIDATES: usize = 10;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct SearchQuery {
    /// Whose entries may be named.
    pub purposes: Vec<Purpose>,
    /// At most so many candidates, 1 to 10.
    pub limit: usize,
    /// The rate; `gallery.fpir` if `None`.
    pub fpir: Option<FalsePositiveRate>,
}

/// Somebody who reaches the threshold.
#[derive(Clone, PartialEq)]
pub struct Hit {
    /// The entry.
    pub entry: Uuid,
    /// The pseudonym.
    pub person: PersonRef,
    /// Why the person is in the gallery.
    pub purpose: Purpose,
    /// Where the score lies.
    pub band: Band,
    score: f64,
}

impl Hit {
    /// Cosine similarity. For evaluation and diagnostics: whoever sees scores can climb them.
    pub fn score(&self) -> f64 {
        self.score
    }

    /// As the desk is told.
    pub fn candidate(&self) -> Candidate {
        Candidate {
            person_ref: self.person.clone(),
            entry: self.entry,
            purpose: self.purpose,
            band: self.band,
        }
    }
}

impl std::fmt::Debug for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hit({}, {:?})", self.entry, self.band)
    }
}

/// Entries of the wanted purposes that could not be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// They have expired and are about to be erased, or do not hold yet.
    pub not_valid: u32,
    /// It is not their hour.
    pub out_of_hours: u32,
    /// They have no template: revoked, or waiting for a photograph.
    pub no_template: u32,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Those who reach the threshold, the likest first.
    pub hits: Vec<Hit>,
    /// Whether the first is as far ahead of the second as `gallery.margin` wants. The second counts
    /// whether it reaches the threshold or not.
    pub clear: bool,
    /// What the search promises. `None` if there was nobody to be compared with.
    pub terms: Option<SearchTerms>,
    /// Entries of the wanted purposes that were left out.
    pub skipped: Skipped,
}

impl Found {
    /// How the search ended, in the contract's words.
    pub fn outcome(&self) -> IdentifyOutcome {
        match (self.hits.is_empty(), self.clear) {
            (true, _) => IdentifyOutcome::NoMatch,
            (false, true) => IdentifyOutcome::Candidates,
            (false, false) => IdentifyOutcome::Ambiguous,
        }
    }
}

/// The threshold that keeps `fpir` over `entries` entries, or why there is none.
pub fn identification_threshold(
    calibration: &Calibration,
    fpir: FalsePositiveRate,
    entries: usize,
) -> Result<Threshold> {
    let fpir = fpir.get();
    line(calibration, fpir, entries).map_err(|(fmr, smallest)| {
        let n = entries.max(1) as f64;
        let e = Error::config(format!(
            "the calibration is too small for a false positive identification rate of {fpir} over {entries} entries: one comparison would have to keep {fmr:.1e}"
        ))
        .context("gallery.fpir");
        match smallest {
            Some(s) => {
                let kept = -(n * (-s).ln_1p()).exp_m1();
                let most = most_entries(s, fpir);
                e.remedy(format!(
                    "it supports {s:.1e}, which is {kept:.2} over {entries} entries, or {fpir} over {most} of them: raise gallery.fpir, search fewer purposes, or measure more people with `vigil eval face`"
                ))
            }
            None => e.remedy(NONE_SUPPORTED),
        }
    })?
}

const NONE_SUPPORTED: &str = "it supports none: measure more people with `vigil eval face`";

/// The line for a rate over so many entries; `Err` has the false match rate that would be needed and
/// the smallest one that the calibration supports.
fn line(
    calibration: &Calibration,
    fpir: f64,
    entries: usize,
) -> std::result::Result<Result<Threshold>, (f64, Option<f64>)> {
    let n = entries.max(1) as f64;
    // 1 - (1 - p)^(1/n), exactly for small p and large n.
    let fmr = -((-fpir).ln_1p() / n).exp_m1();
    let smallest = calibration.smallest_fmr();
    if !smallest.is_some_and(|s| fmr >= s * (1.0 - 1e-9)) {
        return Err((fmr, smallest));
    }
    // A threshold for a looser rate than FalseMatchRate takes is the one of its loosest: stricter than
    // promised.
    Ok(FalseMatchRate::try_new(fmr.clamp(1e-7, 0.1)).and_then(|fmr| calibration.threshold(fmr)))
}

/// Over how many entries a comparison at `smallest` keeps `fpir`.
fn most_entries(smallest: f64, fpir: f64) -> f64 {
    ((-fpir).ln_1p() / (-smallest).ln_1p() * (1.0 + 1e-9)).floor()
}

/// The rate of one look at a passer-by: a day's false sightings, divided by the passages of a day and the
/// looks of a passage. An expected number of false sightings is at most the sum over all looks, whatever
/// they have to do with each other.
fn watch_fpir(config: &WatchConfig) -> f64 {
    let looks = f64::from(config.passages_per_day) * f64::from(WATCH_LOOKS);
    (config.false_sightings_per_day / looks).min(0.5)
}

/// How often one passage is looked up at most.
pub const WATCH_LOOKS: u32 = 2;

/// The threshold that keeps `watch.false_sightings_per_day` while so many are missing, or why there is
/// none: nothing is extrapolated.
pub fn watch_threshold(calibration: &Calibration, config: &WatchConfig, missing: usize) -> Result<Threshold> {
    line(calibration, watch_fpir(config), missing).map_err(|(fmr, smallest)| {
        let e = Error::config(format!(
            "the calibration is too small for {} false sightings a day of {} passages and {missing} missing persons: one comparison would have to keep {fmr:.1e}",
            config.false_sightings_per_day, config.passages_per_day
        ))
        .context("watch.false_sightings_per_day");
        match smallest {
            Some(s) => {
                let most = most_entries(s, watch_fpir(config));
                let kept = s * missing as f64 * f64::from(WATCH_LOOKS) * f64::from(config.passages_per_day);
                e.remedy(format!(
                    "it supports {s:.1e}: {kept:.2} false sightings a day, or {most} missing persons; raise the rate, watch fewer cameras, or measure more people with `vigil eval face`"
                ))
            }
            None => e.remedy(NONE_SUPPORTED),
        }
    })?
}

/// How many missing persons can be looked for at the configured rate; 0 if the calibration does not
/// support it even for one.
pub fn watch_capacity(calibration: &Calibration, config: &WatchConfig) -> usize {
    calibration.smallest_fmr().map_or(0, |s| most_entries(s, watch_fpir(config)) as usize)
}

/// A missing person who is like the probe.
#[derive(Clone, PartialEq)]
pub struct MissingHit {
    /// The entry.
    pub entry: Uuid,
    /// The pseudonym.
    pub person: PersonRef,
    /// The reference of the authority's request.
    pub authority: Reference,
    /// Where the score lies.
    pub band: Band,
    /// What the search promises.
    pub terms: SearchTerms,
}

impl std::fmt::Debug for MissingHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MissingHit({}, {:?})", self.entry, self.band)
    }
}

/// The reference under which somebody may be looked for now; `None` if nobody may. The terms were checked
/// when the entry was made; they are what makes the search lawful, so they are checked each time.
fn authority(row: &Row, now: Timestamp, minute: Minute) -> Option<&Reference> {
    let r = &row.record;
    let longest = SignedDuration::from_hours(24 * MISSING_PERSON_DAYS);
    let lawful = r.purpose == Purpose::MissingPerson
        && r.until.duration_since(r.created) <= longest
        && row.standing(now, minute) == Standing::Valid;
    match &r.basis {
        Basis::Authority(reference) if lawful => Some(reference),
        _ => None,
    }
}

impl Gallery {
    /// Looks a face up for somebody, and writes so into the audit log: without the record there is no
    /// answer. Waits for the disk.
    pub fn identify(&self, probe: &Template, query: &SearchQuery, by: &Actor) -> Result<Found> {
        let found = self.search(probe, query)?;
        let mut note = Note::new(Action::Search, by).count(found.hits.len() as u64);
        if let [purpose] = query.purposes.as_slice() {
            note = note.purpose(*purpose);
        }
        let searched = found.terms.as_ref().map_or(0, |t| t.searched);
        let outcome = match found.outcome() {
            IdentifyOutcome::NoMatch => "no_match",
            IdentifyOutcome::Ambiguous => "ambiguous",
            _ => "candidates",
        };
        self.record(note.note(format!("{outcome} among {searched}")))?;
        Ok(found)
    }

    /// Looks a face up. Reads memory only, and takes as long for everybody.
    pub fn search(&self, probe: &Template, query: &SearchQuery) -> Result<Found> {
        let now = self.0.clock.now();
        let minute = self.minute(now);
        let index = self.index();
        let mut skipped = Skipped::default();
        let mut eligible = Vec::with_capacity(index.len());
        let now_s = now.as_second();
        for (at, brief) in index.briefs().iter().enumerate() {
            let wanted = query.purposes.contains(&brief.purpose());
            let valid = brief.plainly_valid(now_s);
            eligible.push(wanted & valid);
            if wanted && !valid {
                match index.rows()[at].standing(now, minute) {
                    Standing::Valid => eligible[at] = true,
                    Standing::Expired | Standing::NotYet => skipped.not_valid += 1,
                    Standing::OutOfHours => skipped.out_of_hours += 1,
                    Standing::Revoked | Standing::Awaiting => skipped.no_template += 1,
                }
            }
        }
        let searched = eligible.iter().filter(|e| **e).count();
        if searched == 0 {
            return Ok(Found { hits: Vec::new(), clear: true, terms: None, skipped });
        }
        let fpir = query.fpir.unwrap_or(self.0.config.fpir);
        let threshold =
            identification_threshold(&self.0.calibration, fpir, searched).context(|| "gallery search")?;
        let mut scores = Vec::with_capacity(index.len());
        index.matrix().scores(probe.values(), &mut scores);
        let best = short_list(&scores, &eligible);
        scores.zeroize();
        let ranked = rank(probe.values(), &best, |at| index.matrix().row(at));
        let limit = query.limit.clamp(1, MAX_CANDIDATES);
        let clear = match ranked.as_slice() {
            [first, second, ..] => first.1 - second.1 >= f64::from(self.0.config.margin),
            _ => true,
        };
        let hits = ranked.iter().take(limit).filter(|(_, score)| threshold.accepts(*score as f32));
        let hits = hits
            .map(|(at, score)| {
                let row: &Row = &index.rows()[*at];
                Hit {
                    entry: row.id,
                    person: row.record.person.clone(),
                    purpose: row.record.purpose,
                    band: threshold.band(*score as f32),
                    score: *score,
                }
            })
            .collect();
        Ok(Found {
            hits,
            clear,
            terms: Some(SearchTerms {
                searched: u32::try_from(searched).unwrap_or(u32::MAX),
                fpir: fpir.get(),
                fmr: threshold.fmr,
                population: threshold.population,
            }),
            skipped,
        })
    }
}

impl Gallery {
    /// How many people are looked for now: entries of missing persons with an authority's reference and at
    /// most 90 days, that hold.
    pub fn missing(&self) -> usize {
        let now = self.0.clock.now();
        let minute = self.minute(now);
        self.index().rows().iter().filter(|row| authority(row, now, minute).is_some()).count()
    }

    /// Compares a passer-by with the missing persons and with nobody else. Reads memory only, notes
    /// nothing: of whoever is none of them nothing remains.
    pub fn search_missing(&self, probe: &Template, config: &WatchConfig) -> Result<Option<MissingHit>> {
        let now = self.0.clock.now();
        let minute = self.minute(now);
        let index = self.index();
        let (mut missing, mut best) = (0, None::<(f64, &Row, &Reference)>);
        for (at, row) in index.rows().iter().enumerate() {
            let Some(reference) = authority(row, now, minute) else { continue };
            missing += 1;
            let Some(values) = index.matrix().row(at) else { continue };
            let score = dot64(values, probe.values());
            if best.as_ref().is_none_or(|(known, ..)| score > *known) {
                best = Some((score, row, reference));
            }
        }
        let Some((score, row, reference)) = best else { return Ok(None) };
        let threshold = watch_threshold(&self.0.calibration, config, missing)?;
        let score = score as f32;
        Ok(threshold.accepts(score).then(|| MissingHit {
            entry: row.id,
            person: row.record.person.clone(),
            authority: reference.clone(),
            band: threshold.band(score),
            terms: SearchTerms {
                searched: u32::try_from(missing).unwrap_or(u32::MAX),
                fpir: watch_fpir(config),
                fmr: threshold.fmr,
                population: threshold.population,
            },
        }))
    }
}

/// Scores whose best is kept, so that the best of all is found among these.
const BLOCK: usize = 64;

/// The places of the [`SHORT_LIST`] best eligible scores, the best first. The number of steps depends
/// on how many scores there are and on nothing else.
fn short_list(scores: &[f32], eligible: &[bool]) -> Vec<usize> {
    let mut masked: Vec<f32> =
        scores.iter().zip(eligible).map(|(s, e)| if *e { *s } else { f32::NEG_INFINITY }).collect();
    let best_of = |block: &[f32]| block.iter().fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
    let mut blocks: Vec<f32> = masked.chunks(BLOCK).map(best_of).collect();
    let mut places = Vec::with_capacity(SHORT_LIST);
    for _ in 0..SHORT_LIST.min(masked.len()) {
        let block = position_of_best(&blocks);
        let within = &mut masked[block * BLOCK..((block + 1) * BLOCK).min(scores.len())];
        let at = position_of_best(within);
        // After the last eligible one nothing but minus infinity is left.
        if within[at] > f32::NEG_INFINITY {
            places.push(block * BLOCK + at);
        }
        within[at] = f32::NEG_INFINITY;
        blocks[block] = best_of(within);
    }
    masked.zeroize();
    blocks.zeroize();
    places
}

/// The first place of the largest value.
fn position_of_best(values: &[f32]) -> usize {
    let (mut best, mut at) = (f32::NEG_INFINITY, 0);
    for (place, value) in values.iter().enumerate() {
        let better = *value > best;
        best = if better { *value } else { best };
        at = if better { place } else { at };
    }
    at
}

/// The short list compared in f64, the likest first; of equals, the earlier place.
fn rank<'m>(
    probe: &[f32; DIMENSIONS],
    places: &[usize],
    row: impl Fn(usize) -> Option<&'m [f32; DIMENSIONS]>,
) -> Vec<(usize, f64)> {
    let mut out: Vec<(usize, f64)> =
        places.iter().filter_map(|at| Some((*at, dot64(row(*at)?, probe)))).collect();
    out.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    out
}

fn dot64(a: &[f32; DIMENSIONS], b: &[f32; DIMENSIONS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
