//! What is wrong with a configuration file: each problem one line that names file, line, key and
//! remedy.

use std::fmt;

use serde::Serialize;

use crate::base::Error;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was named to Vigil.
    pub file: String,
    /// The line of the key, or of the table that lacks it, from 1.
    pub line: usize,
    /// The key, `camera[0].url`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration: never empty, in the order of the file's lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts the problems by line; `None` if there are none.
    pub(super) fn from_list(mut list: Vec<Problem>) -> Option<Self> {
        list.sort_by_key(|p| p.line);
        (!list.is_empty()).then_some(Self(list))
    }

    /// The problems, in the order of the file's lines.
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    /// One problem is the error's line; several follow a line that counts them.
    fn from(problems: Problems) -> Self {
        match problems.list() {
            [one] => Error::config(one.to_string()),
            many => Error::config(format!("the configuration has {} problems\n{problems}", many.len())),
        }
    }
}
