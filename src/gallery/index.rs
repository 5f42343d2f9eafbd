//! What is in memory: every entry's terms, and every template in one block. Nothing here waits for a
//! disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::entry::{Digest, Record, Row, Standing};
use super::matrix::Matrix;
use crate::event::{EntryState, PersonRef, Purpose};
use crate::infer::sface::DIMENSIONS;

/// A template on its way.
pub(super) type Values = Box<zeroize::Zeroizing<[f32; DIMENSIONS]>>;

/// A change that is on disk and has to reach memory.
#[derive(Debug)]
pub(super) enum Delta {
    /// An entry is there, new or changed. Without values it has no template.
    Put(Box<Row>, Option<Values>),
    /// An entry is gone.
    Gone(Uuid),
}

/// What a search asks of every entry, apart from the rest so that it reads little memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brief {
    from_s: i64,
    until_s: i64,
    purpose: Purpose,
    state: EntryState,
    hours: bool,
}

impl Brief {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            from_s: record.from.as_second(),
            until_s: record.until.as_second(),
            purpose: record.purpose,
            state: record.state,
            hours: record.hours.is_some(),
        }
    }

    pub(super) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whether it holds at a second and at every hour: what nearly all entries of a gallery answer.
    pub(super) fn plainly_valid(&self, now_s: i64) -> bool {
        (self.state == EntryState::Active) & (self.from_s <= now_s) & (now_s < self.until_s) & !self.hours
    }

    /// How the entry stands at a second, whatever its hours; validity is kept in whole seconds.
    pub(super) fn standing(&self, now_s: i64) -> Standing {
        match self.state {
            EntryState::Revoked => Standing::Revoked,
            _ if now_s >= self.until_s => Standing::Expired,
            _ if now_s < self.from_s => Standing::NotYet,
            EntryState::Awaiting => Standing::Awaiting,
            EntryState::Active => Standing::Valid,
        }
    }
}

/// Entries and templates, row for row.
pub(super) struct Index {
    rows: Vec<Row>,
    briefs: Vec<Brief>,
    matrix: Matrix,
    by_id: HashMap<Uuid, usize>,
    by_person: BTreeMap<PersonRef, usize>,
    by_credential: HashMap<Digest, usize>,
}

impl Index {
    pub(super) fn with_rows(rows: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows),
            briefs: Vec::with_capacity(rows),
            matrix: Matrix::with_rows(rows),
            by_id: HashMap::new(),
            by_person: BTreeMap::new(),
            by_credential: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn briefs(&self) -> &[Brief] {
        &self.briefs
    }

    pub(super) fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    pub(super) fn by_id(&self, id: Uuid) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn by_person(&self, person: &PersonRef) -> Option<usize> {
        self.by_person.get(person).copied()
    }

    pub(super) fn by_credential(&self, lookup: &Digest) -> Option<usize> {
        self.by_credential.get(lookup).copied()
    }

    /// Places in the order of their references, after `after`.
    pub(super) fn in_order(&self, after: Option<&PersonRef>) -> impl Iterator<Item = &Row> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |p| Excluded(p.clone()));
        self.by_person.range((from, Unbounded)).map(|(_, at)| &self.rows[*at])
    }

    pub(super) fn apply(&mut self, delta: Delta) {
        match delta {
            Delta::Put(row, values) => {
                self.remove(row.id);
                debug_assert_eq!(values.is_some(), row.record.state == EntryState::Active);
                let at = self.rows.len();
                self.by_id.insert(row.id, at);
                self.by_person.insert(row.record.person.clone(), at);
                for credential in &row.record.credentials {
                    self.by_credential.insert(credential.lookup, at);
                }
                match &values {
                    Some(values) => self.matrix.push(values),
                    // A row of zeros has no direction: its cosine with everybody is 0.
                    None => self.matrix.push(&[0.0; DIMENSIONS]),
                }
                self.briefs.push(Brief::of(&row.record));
                self.rows.push(*row);
            }
            Delta::Gone(id) => self.remove(id),
        }
    }

    fn remove(&mut self, id: Uuid) {
        let Some(at) = self.by_id.remove(&id) else { return };
        let row = self.rows.swap_remove(at);
        self.briefs.swap_remove(at);
        self.matrix.swap_remove(at);
        // The references and credentials may already belong to the entry that replaces this one.
        if self.by_person.get(&row.record.person) == Some(&at) {
            self.by_person.remove(&row.record.person);
        }
        for credential in &row.record.credentials {
            if self.by_credential.get(&credential.lookup) == Some(&at) {
                self.by_credential.remove(&credential.lookup);
            }
        }
        if let Some(moved) = self.rows.get(at) {
            let from = self.rows.len();
            self.by_id.insert(moved.id, at);
            if let Some(place) = self.by_person.get_mut(&moved.record.person)
                && *place == from
            {
                *place = at;
            }
            for credential in &moved.record.credentials {
                if let Some(place) = self.by_credential.get_mut(&credential.lookup)
                    && *place == from
                {
                    *place = at;
                }
            }
        }
    }

    /// The slots on disk that are not in use below the highest one, and the one after that.
    pub(super) fn free_slots(&self) -> FreeSlots {
        FreeSlots::from_used(self.rows.iter().map(|r| r.slot))
    }
}

/// Which slots may be written.
#[derive(Debug, Default)]
pub(super) struct FreeSlots {
    free: BTreeSet<u32>,
    next: u32,
}

impl FreeSlots {
    pub(super) fn from_used(used: impl IntoIterator<Item = u32>) -> Self {
        let used: BTreeSet<u32> = used.into_iter().collect();
        let next = used.last().map_or(0, |last| last + 1);
        Self { free: (0..next).filter(|s| !used.contains(s)).collect(), next }
    }

    pub(super) fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.insert(slot);
    }
}
