//! Recorded events on their way to open pages: the last few are kept, the next ones are fanned out.
//! Prompts go the same way and are not kept: yesterday's "turn your head" is for nobody. Of a search the
//! newest word on each candidate and on the ground is kept apart: a page that is opened in mid-flight shows
//! what was found before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::broadcast;
use uuid::Uuid;

use crate::event::{Envelope, EventKind};
use crate::gate::Prompt;

/// Events kept for `/v1/status` and for a page that comes back after a lost connection.
const KEPT: usize = 32;
/// Candidates of a search whose newest event is kept; the one that was silent for the longest goes.
const FINDS_KEPT: usize = 200;
/// Events a slow page may lag behind before it is told that it missed some.
const LAG: usize = 64;

/// What an open page is told.
#[derive(Clone, Debug)]
pub(super) enum News {
    Event(Arc<Envelope>),
    Prompt(Arc<Prompt>),
}

#[derive(Debug)]
struct Inner {
    kept: VecDeque<Arc<Envelope>>,
    finds: VecDeque<Arc<Envelope>>,
    ground: Option<Arc<Envelope>>,
    /// Gone once the room stops, which ends every stream.
    sender: Option<broadcast::Sender<News>>,
}

/// The fan-out.
#[derive(Debug)]
pub(super) struct Feed(Mutex<Inner>);

impl Feed {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner {
            kept: VecDeque::with_capacity(KEPT),
            finds: VecDeque::new(),
            ground: None,
            sender: Some(broadcast::Sender::new(LAG)),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn push(&self, envelope: Envelope) {
        let envelope = Arc::new(envelope);
        let mut inner = self.lock();
        if envelope.ty == EventKind::SearchDetection.cloud_event_type() {
            // The subject is the candidate.
            inner.finds.retain(|e| e.subject != envelope.subject);
            if inner.finds.len() == FINDS_KEPT {
                inner.finds.pop_front();
            }
            inner.finds.push_back(envelope.clone());
        } else if envelope.ty == EventKind::SearchCoverage.cloud_event_type() {
            inner.ground = Some(envelope.clone());
        }
        if inner.kept.len() == KEPT {
            inner.kept.pop_front();
        }
        inner.kept.push_back(envelope.clone());
        if let Some(sender) = &inner.sender {
            // No page is open: nobody to tell.
            let _ = sender.send(News::Event(envelope));
        }
    }

    pub(super) fn prompt(&self, prompt: Prompt) {
        if let Some(sender) = &self.lock().sender {
            let _ = sender.send(News::Prompt(Arc::new(prompt)));
        }
    }

    /// The events kept, newest first.
    pub(super) fn last(&self) -> Vec<Arc<Envelope>> {
        self.lock().kept.iter().rev().cloned().collect()
    }

    /// The newest event of each candidate of a search, and of the ground that was looked at, in the order
    /// in which they came.
    pub(super) fn search(&self) -> Vec<Arc<Envelope>> {
        let inner = self.lock();
        let mut all: Vec<_> = inner.finds.iter().chain(&inner.ground).cloned().collect();
        all.sort_by_key(|e| e.seq);
        all
    }

    /// What came after the event `after`, as far as it is kept, and everything from now on.
    pub(super) fn follow(
        &self,
        after: Option<Uuid>,
    ) -> (Vec<Arc<Envelope>>, Option<broadcast::Receiver<News>>) {
        let inner = self.lock();
        let backlog = match after {
            None => Vec::new(),
            Some(id) => {
                let from = inner.kept.iter().position(|e| e.id == id).map_or(0, |at| at + 1);
                inner.kept.iter().skip(from).cloned().collect()
            }
        };
        (backlog, inner.sender.as_ref().map(broadcast::Sender::subscribe))
    }

    /// Ends every stream.
    pub(super) fn close(&self) {
        self.lock().sender = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimeQuality;

    fn event(kind: EventKind, subject: &str, seq: u64) -> Envelope {
        let mut value = serde_json::json!({
            "specversion": "1.0", "id": Uuid::from_u128(u128::from(seq)), "source": "/vigil/v1/it/gate",
            "type": kind.cloud_event_type(), "subject": subject, "time": "2026-11-24T00:00:00Z",
            "datacontenttype": "application/json", "seq": seq, "bootid": Uuid::nil(),
            "timequality": TimeQuality::Synced, "replayed": false, "data": {},
        });
        serde_json::from_value(value.take()).unwrap()
    }

    #[test]
    fn of_a_search_the_newest_of_each_candidate_is_kept_however_much_follows() {
        let feed = Feed::new();
        for seq in 1..=100 {
            let subject = ["a", "b", "c"][usize::try_from(seq % 3).unwrap()];
            feed.push(event(EventKind::SearchDetection, subject, seq));
        }
        feed.push(event(EventKind::SearchCoverage, "m", 101));
        feed.push(event(EventKind::SearchCoverage, "m", 102));
        for seq in 103..200 {
            feed.push(event(EventKind::BoxAlarm, "x", seq));
        }
        assert_eq!(feed.search().iter().map(|e| e.seq).collect::<Vec<_>>(), [98, 99, 100, 102]);
        for n in 0..1_000 {
            feed.push(event(EventKind::SearchDetection, &n.to_string(), 200 + n));
        }
        assert_eq!(feed.search().len(), FINDS_KEPT + 1);
    }
}
