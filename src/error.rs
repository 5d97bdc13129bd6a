//! Errors: what failed, on what, and what to do next.
//!
//! Guarantees that every failure of the library is an [`Error`] with a stable [`Code`]. Its message names the path or id; its
//! hint names only commands that cannot destroy anything.
//! Leaves to others: how an interface prints it.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

/// Result of every fallible library function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The stable error codes. The process exit code follows from the code alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The arguments are wrong.
    Usage,
    /// No entity, file or name matches.
    NotFound,
    /// A prefix or handle matches more than one id.
    AmbiguousId,
    /// There is no `.agentpm` store.
    NoStore,
    /// A value is not allowed.
    Validation,
    /// The present state does not allow the change.
    InvalidState,
    /// The entity is not at the expected version.
    Conflict,
    /// The store requires a lease for the change.
    LeaseRequired,
    /// Another agent holds the lease.
    LeaseHeld,
    /// The caller's lease expired, and no other agent holds one.
    LeaseExpired,
    /// The caller's lease expired or was overridden, and another agent holds the task.
    LeaseLost,
    /// The roles of the store do not permit the operation.
    Unauthorized,
    /// Too many requests.
    RateLimit,
    /// The lock could not be taken in time; nothing was written.
    Busy,
    /// The store contains bytes that cannot be parsed.
    Corrupt,
    /// The exchange with a remote failed.
    Sync,
    /// Git refused or is missing.
    Git,
    /// The operating system returned an error.
    Io,
    /// The disk is full.
    NoSpace,
}

impl Code {
    /// All codes, in the order of the documentation.
    pub const ALL: [Code; 19] = [
        Code::Usage,
        Code::NotFound,
        Code::AmbiguousId,
        Code::NoStore,
        Code::Validation,
        Code::InvalidState,
        Code::Conflict,
        Code::LeaseRequired,
        Code::LeaseHeld,
        Code::LeaseExpired,
        Code::LeaseLost,
        Code::Unauthorized,
        Code::RateLimit,
        Code::Busy,
        Code::Corrupt,
        Code::Sync,
        Code::Git,
        Code::Io,
        Code::NoSpace,
    ];

    /// The name in JSON and on the terminal, such as `ERR_NOT_FOUND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Usage => "ERR_USAGE",
            Code::NotFound => "ERR_NOT_FOUND",
            Code::AmbiguousId => "ERR_AMBIGUOUS_ID",
            Code::NoStore => "ERR_NO_STORE",
            Code::Validation => "ERR_VALIDATION",
            Code::InvalidState => "ERR_INVALID_STATE",
            Code::Conflict => "ERR_CONFLICT",
            Code::LeaseRequired => "ERR_LEASE_REQUIRED",
            Code::LeaseHeld => "ERR_LEASE_HELD",
            Code::LeaseExpired => "ERR_LEASE_EXPIRED",
            Code::LeaseLost => "ERR_LEASE_LOST",
            Code::Unauthorized => "ERR_UNAUTHORIZED",
            Code::RateLimit => "ERR_RATE_LIMIT",
            Code::Busy => "ERR_BUSY",
            Code::Corrupt => "ERR_CORRUPT",
            Code::Sync => "ERR_SYNC",
            Code::Git => "ERR_GIT",
            Code::Io => "ERR_IO",
            Code::NoSpace => "ERR_NO_SPACE",
        }
    }

    /// The process exit code, 2 to 10. (0 is success, 1 means lint found something.)
    pub fn exit(self) -> u8 {
        match self {
            Code::Usage => 2,
            Code::NotFound | Code::AmbiguousId | Code::NoStore => 3,
            Code::Validation | Code::InvalidState => 4,
            Code::Conflict | Code::LeaseRequired | Code::LeaseHeld | Code::LeaseExpired | Code::LeaseLost => 5,
            Code::Unauthorized => 6,
            Code::RateLimit | Code::Busy => 7,
            Code::Corrupt => 8,
            Code::Sync | Code::Git => 9,
            Code::Io | Code::NoSpace => 10,
        }
    }
}

impl Code {
    /// The status of an HTTP answer.
    pub fn status(self) -> u16 {
        match self {
            Code::Usage => 400,
            Code::NotFound | Code::AmbiguousId | Code::NoStore => 404,
            Code::Validation | Code::InvalidState => 422,
            Code::Conflict | Code::LeaseRequired | Code::LeaseHeld | Code::LeaseExpired | Code::LeaseLost => 409,
            Code::Unauthorized => 403,
            Code::RateLimit => 429,
            Code::Busy => 503,
            Code::Corrupt | Code::Sync | Code::Git | Code::Io | Code::NoSpace => 500,
        }
    }

    /// The code of a name, such as `ERR_NOT_FOUND`.
    pub fn named(name: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == name)
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A failure: its code, what failed, the facts behind it and what to do next.
#[derive(Debug, Clone, Serialize, thiserror::Error)]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// What failed, on which path or id.
    pub message: String,
    /// The facts as JSON: candidates, holder, versions. `null` if there are none.
    pub details: Box<Value>,
    /// What to do next.
    pub hint: Option<String>,
    /// The kind of the hint, where an edit of a file needs another one than a command.
    #[serde(skip)]
    pub remedy: Option<Remedy>,
}

/// What a hint proposes that is of no use to a refused edit of a file as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// A command that changes the same task. It records the edit first, so what refuses the edit refuses the command too.
    Command,
    /// Work on another task. The words before it say what makes this one available.
    OtherWork {
        /// Words of the hint that apply to an edit too, with their separator.
        before: &'static str,
    },
    /// Steps, or a flag that overrides the check with a reason.
    Override {
        /// The steps.
        steps: &'static str,
        /// The flag.
        flag: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl Error {
    /// Creates an error without details or hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: cut(message.into()), details: Box::default(), hint: None, remedy: None }
    }

    /// Adds the facts behind the failure. Facts that hold nothing are left out. A long list is truncated; `<name>_total` holds its
    /// length.
    #[must_use]
    pub fn with(mut self, mut details: Value) -> Self {
        if let Value::Object(facts) = &mut details {
            bound(facts);
        }
        self.details = Box::new(details);
        self
    }

    /// Adds what to do next. A hint names only commands that cannot destroy anything.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self.remedy = None;
        self
    }

    /// As [`Error::hint`], for a hint that names a command which changes the same task.
    #[must_use]
    pub fn hint_command(self, hint: impl Into<String>) -> Self {
        Error { remedy: Some(Remedy::Command), ..self.hint(hint) }
    }

    /// Proposes work on another task, after some words about this one.
    #[must_use]
    pub fn hint_other_work(self, before: &'static str) -> Self {
        let hint = format!("{before}take other work with agentpm next --claim");
        Error { remedy: Some(Remedy::OtherWork { before }), ..self.hint(hint) }
    }

    /// Proposes steps, or else a flag that overrides the check with a reason.
    #[must_use]
    pub fn hint_override(self, steps: &'static str, flag: &'static str) -> Self {
        let hint = format!("{steps}, or pass {flag} REASON");
        Error { remedy: Some(Remedy::Override { steps, flag }), ..self.hint(hint) }
    }

    /// Describes an operating-system error while doing `what` to `path`. A full disk or quota becomes [`Code::NoSpace`].
    pub fn io(what: &str, path: &Path, source: &io::Error) -> Self {
        let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let code = if full { Code::NoSpace } else { Code::Io };
        let error = Error::new(code, format!("could not {what} {}: {source}", path.display()))
            .with(json!({ "path": path.display().to_string() }));
        if full { error.hint("free some space and run the same command again; nothing was changed") } else { error }
    }

    /// Shorthand for [`Code::Validation`].
    pub fn validation(message: impl Into<String>) -> Self {
        Error::new(Code::Validation, message)
    }

    /// Shorthand for [`Code::InvalidState`].
    pub fn state(message: impl Into<String>) -> Self {
        Error::new(Code::InvalidState, message)
    }

    /// Shorthand for [`Code::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(Code::Usage, message)
    }

    /// Shorthand for [`Code::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Error::new(Code::NotFound, message)
    }
}

/// The longest message, in bytes, and the longest list in the details.
const MAX_MESSAGE: usize = 4_000;
const MAX_NAMED: usize = 50;

/// Truncates a message that names thousands of things, and says how much is left out.
fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let left_out = message.len() - MAX_MESSAGE;
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push_str(&format!("… ({left_out} more bytes)"));
    }
    message
}

fn bound(facts: &mut serde_json::Map<String, Value>) {
    facts.retain(|_, fact| match fact {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        _ => true,
    });
    let mut totals = Vec::new();
    for (name, fact) in facts.iter_mut() {
        match fact {
            Value::Array(list) if list.len() > MAX_NAMED => {
                totals.push((format!("{name}_total"), list.len()));
                list.truncate(MAX_NAMED);
            }
            Value::Array(list) => list.iter_mut().filter_map(Value::as_object_mut).for_each(bound),
            Value::Object(inner) => bound(inner),
            _ => {}
        }
    }
    facts.extend(totals.into_iter().map(|(name, total)| (name, json!(total))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_exit_codes_stay_in_their_range() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|c| (2..=10).contains(&c.exit())));
    }

    #[test]
    fn a_full_disk_is_not_any_io_error() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Error::io("write", Path::new("x"), &full).code, Code::NoSpace);
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(Error::io("write", Path::new("x"), &other).code, Code::Io);
    }
}
