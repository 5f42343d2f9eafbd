//! One signal that ends everything, visible to threads and to tasks.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

#[derive(Debug)]
struct Shared {
    stopped: Mutex<bool>,
    changed: Condvar,
    watch: watch::Sender<bool>,
}

/// A cloneable stop signal. Once requested it stays requested.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<Shared>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Not requested yet.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            stopped: Mutex::new(false),
            changed: Condvar::new(),
            watch: watch::Sender::new(false),
        }))
    }

    /// Requests the stop.
    pub fn request(&self) {
        *self.0.stopped.lock().unwrap_or_else(|e| e.into_inner()) = true;
        self.0.changed.notify_all();
        self.0.watch.send_replace(true);
    }

    /// Whether the stop was requested.
    pub fn requested(&self) -> bool {
        *self.0.stopped.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Sleeps on a thread; true if the stop came first.
    pub fn sleep(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut stopped = self.0.stopped.lock().unwrap_or_else(|e| e.into_inner());
        while !*stopped {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else {
                return false;
            };
            stopped = self.0.changed.wait_timeout(stopped, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        true
    }

    /// Waits in a task until the stop is requested.
    pub async fn wait(&self) {
        let mut rx = self.0.watch.subscribe();
        // The sender lives in `self`, so the only way out of wait_for is the value.
        let _ = rx.wait_for(|stopped| *stopped).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_tasks_both_wake() {
        let stop = Shutdown::new();
        assert!(!stop.sleep(Duration::from_millis(1)));
        let other = stop.clone();
        let t = std::thread::spawn(move || other.sleep(Duration::from_secs(60)));
        stop.request();
        assert!(t.join().unwrap());
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(stop.wait());
    }
}
