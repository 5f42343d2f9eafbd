//! Readers that type like a keyboard: cards, tags, keypads on a USB cable (Linux evdev).
//!
//! A read is the keys until Enter. Keys further apart than the reader's `frame_ms` do not belong
//! together: what was half typed is forgotten, so that two digits of one person and two of the
//! next are nobody's PIN. The device is grabbed, so that no console hears what was read, and opened
//! again when it was unplugged, as a camera is.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evdev::{Device, EventSummary, KeyCode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zeroize::Zeroize;

use crate::base::backoff::Backoff;
use crate::base::supervise::{End, spawn, supervise};
use crate::base::{Culprit, Error, Kind, Result, Shutdown};
use crate::event::ReadText;

/// Most characters of one read.
pub const MAX_CHARS: usize = 128;
/// Longest wait for a key before looking at the stop signal.
const LOOK: Duration = Duration::from_millis(200);
/// Between two attempts to open a device.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// The end of a read.
    Enter,
    /// Forget what was typed.
    Clear,
}

/// Where keys come from. A device is one; tests script another.
pub trait KeySource: Send {
    /// The next keys, none after `timeout`; an error means that the source is gone.
    fn keys(&mut self, timeout: Duration) -> Result<Vec<Key>>;
}

/// Opens a source anew after each loss.
pub type KeyOpener = dyn Fn() -> Result<Box<dyn KeySource>> + Send;

/// Keys become reads. Pure; what it holds is overwritten.
pub struct Framer {
    gap: Duration,
    text: String,
    last: Option<Instant>,
    /// Too long to be a read: nothing counts until Enter.
    spoilt: bool,
}

impl Framer {
    /// Keys further apart than `gap` do not belong together.
    pub fn new(gap: Duration) -> Self {
        Self { gap, text: String::with_capacity(MAX_CHARS), last: None, spoilt: false }
    }

    /// A key at `now`; the read that it completes.
    pub fn key(&mut self, now: Instant, key: Key) -> Option<ReadText> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > self.gap) {
            self.clear();
        }
        self.last = Some(now);
        match key {
            Key::Char(c) if self.spoilt || self.text.len() >= MAX_CHARS || !c.is_ascii_graphic() => {
                self.spoilt = true;
            }
            Key::Char(c) => self.text.push(c),
            Key::Clear => self.clear(),
            Key::Enter => {
                let whole = !self.spoilt && !self.text.is_empty();
                let read = whole.then(|| ReadText::new(self.text.clone()));
                self.clear();
                return read;
            }
        }
        None
    }

    fn clear(&mut self) {
        self.text.zeroize();
        self.spoilt = false;
        self.last = None;
    }
}

impl Drop for Framer {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

/// A reader on a thread of its own; it ends with the stop.
pub struct Reader {
    name: String,
    down: Arc<Mutex<Option<String>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    /// Reads from `device`, or from what `open` opens in its place.
    pub fn start(
        device: PathBuf,
        gap: Duration,
        open: Box<KeyOpener>,
        read: impl Fn(ReadText) + Send + 'static,
        stop: &Shutdown,
    ) -> Result<Self> {
        let name = device.display().to_string();
        let down = Arc::new(Mutex::new(Some("not opened yet".to_owned())));
        let (told, stop, said) = (down.clone(), stop.clone(), name.clone());
        let backoff = Backoff::try_new(RETRY_MIN, RETRY_MAX)?;
        let note = |down: &Mutex<Option<String>>, why: Option<String>| {
            *down.lock().unwrap_or_else(|e| e.into_inner()) = why;
        };
        let thread = spawn("reader", move || {
            supervise(
                &format!("reader {said}"),
                backoff,
                &stop,
                || {
                    let mut source = open()?;
                    tracing::info!(device = said, "the reader is there");
                    note(&told, None);
                    let mut framer = Framer::new(gap);
                    while !stop.requested() {
                        for key in source.keys(LOOK)? {
                            framer.key(Instant::now(), key).into_iter().for_each(&read);
                        }
                    }
                    Ok(End::Finished)
                },
                |e, _| {
                    // Once per loss, not once per attempt.
                    let mut down = told.lock().unwrap_or_else(|e| e.into_inner());
                    if down.as_deref() != Some(&e.to_string()) {
                        tracing::warn!(device = said, "the reader is gone: {}", e.chain());
                        *down = Some(e.to_string());
                    }
                },
            );
        })?;
        Ok(Self { name, down, thread })
    }

    /// The device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why nothing can be read now.
    pub fn trouble(&self) -> Option<String> {
        self.down.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// After the stop: whether the thread has ended.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Opens an evdev device and takes it for this process alone.
pub fn open_device(path: &Path) -> Result<Box<dyn KeySource>> {
    let place = format!("reader {}", path.display());
    let cannot = |what: &str, e| Error::io(Culprit::Host, what, e).context(place.clone());
    let mut device = Device::open(path).map_err(|e| {
        cannot("cannot be opened", e)
            .remedy("is it plugged in, and may the daemon's user read it (group input)?")
    })?;
    let digits = device.supported_keys().is_some_and(|keys| keys.contains(KeyCode::KEY_1));
    if !digits {
        return Err(Error::new(Kind::Unsupported, Culprit::Config, "is no reader that types digits")
            .remedy("name the reader's event device; ls -l /dev/input/by-id")
            .context(place));
    }
    device.grab().map_err(|e| {
        cannot("cannot be taken for the box alone", e).remedy("another program reads from it: stop that")
    })?;
    device.set_nonblocking(true).map_err(|e| cannot("cannot be read", e))?;
    Ok(Box::new(Evdev { device, shift: false, place }))
}

struct Evdev {
    device: Device,
    shift: bool,
    place: String,
}

impl KeySource for Evdev {
    fn keys(&mut self, timeout: Duration) -> Result<Vec<Key>> {
        let place = self.place.clone();
        let gone = |e: std::io::Error| {
            Error::new(Kind::Unavailable, Culprit::Host, "was unplugged").with_source(e).context(place)
        };
        {
            let fd: BorrowedFd<'_> = self.device.as_fd();
            let wait = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
            match poll(&mut fds, wait) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(Vec::new()),
                Ok(_) => {}
                Err(e) => return Err(gone(e.into())),
            }
        }
        let mut keys = Vec::new();
        let mut shift = self.shift;
        let events = match self.device.fetch_events() {
            Ok(events) => events,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(keys),
            Err(e) => return Err(gone(e)),
        };
        for event in events {
            if let EventSummary::Key(_, code, value) = event.destructure() {
                if matches!(code, KeyCode::KEY_LEFTSHIFT | KeyCode::KEY_RIGHTSHIFT) {
                    shift = value != 0;
                } else if value == 1 {
                    keys.extend(meaning(code, shift));
                }
            }
        }
        self.shift = shift;
        Ok(keys)
    }
}

/// What a key means on a keyboard of the United States' layout, which is what readers pretend to be.
pub fn meaning(code: KeyCode, shift: bool) -> Option<Key> {
    use KeyCode as K;
    const DIGITS: [(KeyCode, KeyCode, char); 10] = [
        (K::KEY_0, K::KEY_KP0, '0'),
        (K::KEY_1, K::KEY_KP1, '1'),
        (K::KEY_2, K::KEY_KP2, '2'),
        (K::KEY_3, K::KEY_KP3, '3'),
        (K::KEY_4, K::KEY_KP4, '4'),
        (K::KEY_5, K::KEY_KP5, '5'),
        (K::KEY_6, K::KEY_KP6, '6'),
        (K::KEY_7, K::KEY_KP7, '7'),
        (K::KEY_8, K::KEY_KP8, '8'),
        (K::KEY_9, K::KEY_KP9, '9'),
    ];
    const LETTERS: [(KeyCode, char); 26] = [
        (K::KEY_A, 'a'),
        (K::KEY_B, 'b'),
        (K::KEY_C, 'c'),
        (K::KEY_D, 'd'),
        (K::KEY_E, 'e'),
        (K::KEY_F, 'f'),
        (K::KEY_G, 'g'),
        (K::KEY_H, 'h'),
        (K::KEY_I, 'i'),
        (K::KEY_J, 'j'),
        (K::KEY_K, 'k'),
        (K::KEY_L, 'l'),
        (K::KEY_M, 'm'),
        (K::KEY_N, 'n'),
        (K::KEY_O, 'o'),
        (K::KEY_P, 'p'),
        (K::KEY_Q, 'q'),
        (K::KEY_R, 'r'),
        (K::KEY_S, 's'),
        (K::KEY_T, 't'),
        (K::KEY_U, 'u'),
        (K::KEY_V, 'v'),
        (K::KEY_W, 'w'),
        (K::KEY_X, 'x'),
        (K::KEY_Y, 'y'),
        (K::KEY_Z, 'z'),
    ];
    match code {
        K::KEY_ENTER | K::KEY_KPENTER => return Some(Key::Enter),
        K::KEY_ESC | K::KEY_BACKSPACE | K::KEY_DELETE => return Some(Key::Clear),
        K::KEY_8 if shift => return Some(Key::Char('*')),
        K::KEY_3 if shift => return Some(Key::Char('#')),
        K::KEY_KPASTERISK => return Some(Key::Char('*')),
        K::KEY_MINUS | K::KEY_KPMINUS => return Some(Key::Char(if shift { '_' } else { '-' })),
        K::KEY_SEMICOLON => return Some(Key::Char(if shift { ':' } else { ';' })),
        K::KEY_SLASH => return Some(Key::Char(if shift { '?' } else { '/' })),
        K::KEY_EQUAL => return Some(Key::Char(if shift { '+' } else { '=' })),
        _ => {}
    }
    if let Some((.., digit)) = DIGITS.iter().find(|(row, pad, _)| *row == code || *pad == code) {
        // Another sign of the upper row is no part of a number; it spoils the read.
        return Some(Key::Char(if shift && DIGITS.iter().any(|(row, ..)| *row == code) {
            ' '
        } else {
            *digit
        }));
    }
    LETTERS
        .iter()
        .find(|(k, _)| *k == code)
        .map(|(_, c)| Key::Char(if shift { c.to_ascii_uppercase() } else { *c }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(gap_ms: u64, keys: &[(u64, Key)]) -> Vec<String> {
        let mut framer = Framer::new(Duration::from_millis(gap_ms));
        let start = Instant::now();
        keys.iter()
            .filter_map(|(ms, key)| framer.key(start + Duration::from_millis(*ms), *key))
            .map(|read| read.expose().to_owned())
            .collect()
    }

    fn typed(text: &str, every: u64) -> Vec<(u64, Key)> {
        let keys = text.chars().map(|c| match c {
            '\n' => Key::Enter,
            '\x1b' => Key::Clear,
            c => Key::Char(c),
        });
        keys.enumerate().map(|(n, key)| (n as u64 * every, key)).collect()
    }

    #[test]
    fn a_read_is_the_keys_until_enter() {
        assert_eq!(frames(500, &typed("0012345678\n\n04A1\n", 5)), ["0012345678", "04A1"]);
        assert_eq!(frames(500, &typed("12\x1b34\n", 5)), ["34"], "cleared");
        assert_eq!(frames(500, &typed("12 34\n56\n", 5)), ["56"], "a sign that is none spoils the read");
    }

    #[test]
    fn what_was_half_typed_is_nobodys() {
        let mut keys = typed("12", 5);
        keys.extend(typed("34\n", 5).into_iter().map(|(ms, k)| (ms + 600, k)));
        assert_eq!(frames(500, &keys), ["34"]);
        // A lone Enter long after is not the end of anything.
        let mut keys = typed("1234", 5);
        keys.push((2_000, Key::Enter));
        assert!(frames(500, &keys).is_empty());
        assert_eq!(frames(5_000, &keys), ["1234"], "people type slowly");
    }

    #[test]
    fn too_long_a_read_is_dropped_whole() {
        let long = "9".repeat(MAX_CHARS + 1);
        assert_eq!(frames(500, &typed(&format!("{long}\n77\n"), 1)), ["77"]);
        let fits = "9".repeat(MAX_CHARS);
        assert_eq!(frames(500, &typed(&format!("{fits}\n"), 1)), [fits]);
    }

    #[test]
    fn keys_mean_what_is_printed_on_them() {
        use KeyCode as K;
        for (code, shift, key) in [
            (K::KEY_7, false, Some(Key::Char('7'))),
            (K::KEY_KP7, false, Some(Key::Char('7'))),
            (K::KEY_A, true, Some(Key::Char('A'))),
            (K::KEY_F, false, Some(Key::Char('f'))),
            (K::KEY_KPASTERISK, false, Some(Key::Char('*'))),
            (K::KEY_8, true, Some(Key::Char('*'))),
            (K::KEY_KPENTER, false, Some(Key::Enter)),
            (K::KEY_ESC, false, Some(Key::Clear)),
            (K::KEY_F1, false, None),
        ] {
            assert_eq!(meaning(code, shift), key, "{code:?}");
        }
        assert_ne!(meaning(K::KEY_1, true), Some(Key::Char('1')), "an exclamation mark is no one");
    }

    /// What a device does: types, is pulled out, is plugged in again, types.
    #[test]
    fn a_reader_that_was_unplugged_is_opened_again() {
        struct Script(Vec<Result<Vec<Key>>>);
        impl KeySource for Script {
            fn keys(&mut self, timeout: Duration) -> Result<Vec<Key>> {
                match self.0.pop() {
                    Some(next) => next,
                    None => {
                        std::thread::sleep(timeout.min(Duration::from_millis(5)));
                        Ok(Vec::new())
                    }
                }
            }
        }
        let keys = |text: &str| typed(text, 0).into_iter().map(|(_, k)| k).collect::<Vec<_>>();
        let gone = || Error::new(Kind::Unavailable, Culprit::Host, "was unplugged");
        let first = Script(vec![Err(gone()), Ok(keys("22\n9")), Ok(keys("11\n"))]);
        let second = Script(vec![Ok(keys("33\n"))]);
        let scripts = Mutex::new(vec![Ok(second), Err(gone()), Ok(first)]);
        let open = move || -> Result<Box<dyn KeySource>> {
            let next = scripts.lock().unwrap().pop().unwrap_or_else(|| Err(gone()))?;
            Ok(Box::new(next))
        };
        let (tx, rx) = std::sync::mpsc::channel();
        let stop = Shutdown::new();
        let read = move |read: ReadText| tx.send(read.expose().to_owned()).unwrap();
        let reader =
            Reader::start("script".into(), Duration::from_secs(5), Box::new(open), read, &stop).unwrap();
        let patience = Duration::from_secs(30);
        let heard: Vec<_> = (0..3).map(|_| rx.recv_timeout(patience).unwrap()).collect();
        // The 9 that was typed before it was pulled out belongs to nothing.
        assert_eq!(heard, ["11", "22", "33"]);
        assert_eq!(reader.trouble(), None);
        stop.request();
        let end = Instant::now() + patience;
        while !reader.ended() {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(open_device(Path::new("/dev/null")).is_err_and(|e| e.to_string().contains("/dev/null")));
    }

    proptest! {
        #[test]
        fn no_course_of_keys_breaks_the_framer(
            keys in proptest::collection::vec((0u64..2_000, 0u8..4, any::<char>()), 0..400),
        ) {
            let mut framer = Framer::new(Duration::from_millis(500));
            let mut now = Instant::now();
            for (ms, kind, c) in keys {
                now += Duration::from_millis(ms / 4);
                let key = match kind { 0 => Key::Enter, 1 => Key::Clear, _ => Key::Char(c) };
                if let Some(read) = framer.key(now, key) {
                    prop_assert!((1..=MAX_CHARS).contains(&read.expose().len()));
                    prop_assert!(read.expose().bytes().all(|b| b.is_ascii_graphic()));
                }
            }
        }
    }
}
