//! One error type: what kind, who is to blame, can a retry help, and the context that finds it.

use std::fmt;

/// Shorthand used across the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, as a decision for the caller rather than a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller's words are wrong: a flag, a request field.
    Usage,
    /// The configuration is wrong; running again without editing it cannot help.
    Config,
    /// The bytes are not what they claim to be: torn, lying, of an unknown format.
    Malformed,
    /// Within the format, but larger than this box accepts.
    TooLarge,
    /// Understood and well formed, but not something this build or model does.
    Unsupported,
    /// A named thing does not exist.
    NotFound,
    /// The peer or resource is not there now.
    Unavailable,
    /// It did not answer in time.
    Timeout,
    /// The peer answered and said no: credentials, policy.
    Refused,
    /// The operating system denied access.
    Permission,
    /// The disk is full.
    NoSpace,
    /// Stored data fails its own check.
    Corrupt,
    /// Two things that must agree do not: a hash, a model, a tensor shape.
    Mismatch,
    /// Work was abandoned because it is no longer wanted.
    Cancelled,
    /// A bug in Vigil.
    Internal,
}

impl Kind {
    /// The kind as one word for programs: `too_large`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Config => "config",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Permission => "permission",
            Self::NoSpace => "no_space",
            Self::Corrupt => "corrupt",
            Self::Mismatch => "mismatch",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Culprit {
    /// Whoever wrote the configuration.
    Config,
    /// Whoever sent this request.
    Request,
    /// The camera or the network path to it.
    Camera,
    /// The broker or the network path to it.
    Broker,
    /// The disk under the state directory.
    Disk,
    /// A model file or its manifest.
    Model,
    /// The machine: packages, permissions, memory.
    Host,
    /// This program.
    Vigil,
}

/// An error with everything an operator or a retry loop needs.
///
/// `Display` prints one line: the contexts from the outermost inwards, then the message, then the
/// remedy. [`Error::chain`] adds the underlying causes.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    culprit: Culprit,
    message: String,
    remedy: Option<String>,
    contexts: Vec<String>,
    source: Option<Source>,
}

impl Error {
    /// A new error. `message` says what happened without a trailing full stop.
    pub fn new(kind: Kind, culprit: Culprit, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            culprit,
            message: message.into(),
            remedy: None,
            contexts: Vec::new(),
            source: None,
        }))
    }

    /// The configuration is wrong.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, Culprit::Config, message)
    }

    /// A bug in Vigil, reported instead of panicking.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, Culprit::Vigil, message)
    }

    /// Wraps an operating system error, turning its code into a [`Kind`].
    pub fn io(culprit: Culprit, message: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::NotFound => Kind::NotFound,
            Io::PermissionDenied => Kind::Permission,
            Io::StorageFull | Io::QuotaExceeded => Kind::NoSpace,
            Io::TimedOut | Io::WouldBlock => Kind::Timeout,
            Io::InvalidData | Io::UnexpectedEof => Kind::Malformed,
            _ => Kind::Unavailable,
        };
        Self::new(kind, culprit, message).with_source(source)
    }

    /// What the reader should do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Where it happened: which camera, file, row, byte. The outermost context prints first.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.0.contexts.push(context.into());
        self
    }

    /// The cause below this error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Who has to act.
    pub fn culprit(&self) -> Culprit {
        self.0.culprit
    }

    /// What happened, with its contexts but without the remedy.
    pub fn what(&self) -> String {
        let mut out = String::new();
        for context in self.0.contexts.iter().rev() {
            out.push_str(context);
            out.push_str(": ");
        }
        out.push_str(&self.0.message);
        out
    }

    /// What the reader should do about it, if that is known.
    pub fn advice(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// Whether the same call may succeed later with nothing changed by a person.
    pub fn retryable(&self) -> bool {
        matches!(self.0.kind, Kind::Unavailable | Kind::Timeout | Kind::NoSpace)
    }

    /// The message and all its causes, for the log.
    pub fn chain(&self) -> String {
        self.with_causes(self.to_string())
    }

    /// The message and all its causes without the remedy, for a report that tells the remedy apart.
    pub fn chain_without_remedy(&self) -> String {
        self.with_causes(self.what())
    }

    fn with_causes(&self, mut out: String) -> String {
        let mut cause = std::error::Error::source(self);
        while let Some(c) = cause {
            let text = c.to_string();
            if !out.contains(&text) {
                out.push_str(": ");
                out.push_str(&text);
            }
            cause = c.source();
        }
        out
    }

    /// The exit code of a command that ends with this error (sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self.0.kind {
            Kind::Usage => 64,
            Kind::Malformed | Kind::TooLarge | Kind::Unsupported => 65,
            Kind::NotFound => 66,
            Kind::Unavailable | Kind::Refused => 69,
            Kind::Internal => 70,
            Kind::NoSpace | Kind::Corrupt => 74,
            Kind::Timeout | Kind::Cancelled => 75,
            Kind::Permission => 77,
            Kind::Config | Kind::Mismatch => 78,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        if let Some(remedy) = &self.0.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| &**s as _)
    }
}

/// Adds context to the error inside a result.
pub trait Context<T> {
    /// Adds a context computed only on failure.
    fn context<S: Into<String>>(self, f: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<S: Into<String>>(self, f: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.context(f()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_names_place_fault_and_remedy() {
        let e = Error::new(Kind::Mismatch, Culprit::Model, "sha256 differs")
            .remedy("run `make models`")
            .context("sface.onnx")
            .context("models");
        assert_eq!(e.to_string(), "models: sface.onnx: sha256 differs; run `make models`");
        assert!(!e.retryable());
        assert_eq!(e.exit_code(), 78);
    }

    #[test]
    fn a_full_disk_is_its_own_kind() {
        let io = std::io::Error::from_raw_os_error(28);
        assert_eq!(Error::io(Culprit::Disk, "write", io).kind(), Kind::NoSpace);
    }
}
