//! A slot that holds one thing, the freshest: the only way a frame changes threads.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    closed: bool,
}

#[derive(Debug)]
struct Shared<T> {
    slot: Mutex<Slot<T>>,
    filled: Condvar,
}

impl<T> Shared<T> {
    // The lock is held for a move of one value, never across I/O, and a panic cannot leave the
    // slot half-written: recovering from poison is sound.
    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        self.slot.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What [`Receiver::recv`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The freshest value.
    Value(T),
    /// Nothing came within the timeout.
    Empty,
    /// The last sender is gone and the slot is empty.
    Closed,
}

/// Puts values into the slot. Never blocks on the receiver.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Takes values out of the slot.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

/// A new slot: a value sent while the previous one is untouched replaces it, and the sender is told.
pub fn freshest<T>() -> (Sender<T>, Receiver<T>) {
    let shared =
        Arc::new(Shared { slot: Mutex::new(Slot { value: None, closed: false }), filled: Condvar::new() });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Puts `value` in the slot; true if it replaced one nobody took. The replaced value is
    /// dropped after the lock is released.
    pub fn send(&self, value: T) -> bool {
        let old = {
            let mut slot = self.0.lock();
            slot.value.replace(value)
        };
        self.0.filled.notify_one();
        old.is_some()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_all();
    }
}

impl<T> Receiver<T> {
    /// Waits up to `timeout` for a value.
    pub fn recv(&self, timeout: Duration) -> Received<T> {
        let deadline = Instant::now() + timeout;
        let mut slot = self.0.lock();
        loop {
            if let Some(value) = slot.value.take() {
                return Received::Value(value);
            }
            if slot.closed {
                return Received::Closed;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else {
                return Received::Empty;
            };
            slot = self.0.filled.wait_timeout(slot, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// Takes what is in the slot without waiting.
    pub fn try_recv(&self) -> Option<T> {
        self.0.lock().value.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_freshest_wins_and_the_sender_is_told_of_the_loss() {
        let (tx, rx) = freshest();
        assert!(!tx.send(1));
        assert!(tx.send(2));
        assert_eq!(rx.recv(Duration::ZERO), Received::Value(2));
        assert_eq!(rx.recv(Duration::ZERO), Received::Empty);
        tx.send(3);
        drop(tx);
        assert_eq!(rx.recv(Duration::ZERO), Received::Value(3));
        assert_eq!(rx.recv(Duration::from_secs(9)), Received::Closed);
    }
}
