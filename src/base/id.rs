//! Names that appear in topics, and how they are checked.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Error;

/// A site, box or camera name: `[a-z0-9-]{1,32}`, safe in a topic, a file name and a metric label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = r"^[a-z0-9-]{1,32}$"))]
pub struct Name(String);

impl Name {
    /// Checks and wraps a name.
    pub fn new(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let ok = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if ok {
            Ok(Self(name))
        } else {
            // What is too long to be one may be something else altogether, and is not repeated.
            let what = if name.len() > 32 { "too long a text".to_owned() } else { format!("{name:?}") };
            Err(Error::config(format!("{what} is not a name"))
                .remedy("use 1 to 32 characters out of a-z, 0-9 and -"))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = Error;
    fn try_from(s: String) -> Result<Self, Error> {
        Self::new(s)
    }
}

impl FromStr for Name {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        Self::new(s)
    }
}

impl From<Name> for String {
    fn from(n: Name) -> String {
        n.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_a_topic() {
        for bad in ["", "Lobby", "a/b", "a+b", "#", "a b", &"x".repeat(33), "ü"] {
            assert!(Name::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(Name::new("front-desk-2").is_ok());
    }
}
