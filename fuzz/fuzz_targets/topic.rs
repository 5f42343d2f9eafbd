//! The first line is the topic a message came on, the second where its sender wants the reply, the
//! third its correlation: a command is one to this box, and the box is never made to speak as
//! itself or to another box.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::base::Name;
use vigil::bus::ReplyTo;
use vigil::event::topic::{ROOT, Topics, valid_correlation};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (topic, reply, correlation) = (line(), line(), line());

    let topics = Topics::new(&Name::new("s").unwrap(), &Name::new("b").unwrap());
    if let Some(name) = topics.command_name(topic) {
        assert!(!name.is_empty());
        assert_eq!(topic, format!("{ROOT}/s/b/cmd/{name}"));
    }
    if let Some(to) = ReplyTo::checked(&topics, reply.to_owned(), None) {
        assert_eq!(to.topic(), reply);
        let levels: Vec<_> = reply.split('/').collect();
        assert!(!levels.iter().any(|l| l.contains(['+', '#', '\0'])), "{reply:?}");
        assert!((1..=256).contains(&reply.len()) && !reply.starts_with('$'), "{reply:?}");
        if levels.len() >= 2 && levels[..2].join("/") == ROOT {
            assert_eq!(levels[2..5], ["s", "b", "reply"], "{reply:?}");
        }
    }
    if valid_correlation(correlation) {
        let own = topics.reply(correlation);
        assert_eq!(own.split('/').count(), 6);
        assert!(ReplyTo::checked(&topics, own, None).is_some());
    }
    if let Ok(name) = Name::new(topic) {
        assert_eq!(topics.camera(&name).split('/').count(), 6);
    }
});
