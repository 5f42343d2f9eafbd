//! Which alarms are raised now, and when one is news.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::event::{AlarmCode, AlarmState, BoxAlarm};

struct Standing {
    since: Instant,
    raised: bool,
}

/// Turns conditions that are observed again and again into alarms that are told twice: when a
/// condition has lasted, and when it is over. What flickers is not told at all.
pub(super) struct Alarms {
    hold: Duration,
    standing: HashMap<(AlarmCode, Option<String>), Standing>,
}

impl Alarms {
    /// A condition has to last for `hold` before it is an alarm.
    pub(super) fn new(hold: Duration) -> Self {
        Self { hold, standing: HashMap::new() }
    }

    /// One observation: `wrong` says what is wrong now, `None` that nothing is.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        code: AlarmCode,
        about: Option<&str>,
        wrong: Option<String>,
    ) -> Option<BoxAlarm> {
        let key = (code, about.map(str::to_owned));
        let alarm = |state, message| BoxAlarm { code, state, about: about.map(str::to_owned), message };
        match wrong {
            Some(message) => {
                let standing = self.standing.entry(key).or_insert(Standing { since: now, raised: false });
                if standing.raised || now.duration_since(standing.since) < self.hold {
                    return None;
                }
                standing.raised = true;
                Some(alarm(AlarmState::Raised, message))
            }
            None => {
                let standing = self.standing.remove(&key)?;
                let lasted = now.duration_since(standing.since).as_secs();
                standing.raised.then(|| alarm(AlarmState::Cleared, format!("over after {lasted} s")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_told_once_raised_and_once_cleared_and_flicker_is_silent() {
        let mut alarms = Alarms::new(Duration::from_secs(10));
        let t0 = Instant::now();
        let mut see = |s: u64, wrong: bool| {
            let about = Some("desk");
            let wrong = wrong.then(|| "gone".to_owned());
            alarms.observe(t0 + Duration::from_secs(s), AlarmCode::CameraLost, about, wrong).map(|a| a.state)
        };
        assert_eq!(see(0, true), None);
        assert_eq!(see(5, false), None, "it flickered");
        assert_eq!(see(6, true), None);
        assert_eq!(see(17, true), Some(AlarmState::Raised));
        assert_eq!(see(18, true), None, "told once");
        assert_eq!(see(40, false), Some(AlarmState::Cleared));
        assert_eq!(see(41, false), None);
    }
}
