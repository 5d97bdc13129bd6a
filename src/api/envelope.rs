//! The envelope around every answer: whether it succeeded, the data or the error, and what goes with them.
//!
//! Leaves to others: how it travels. The command line writes a success piece by piece, and prints warnings apart from it.

use serde_json::{Value, json};

use super::{Answered, without_empty};
use crate::error::Error;

/// A success with nothing besides its data.
pub fn success(data: &impl serde::Serialize) -> Value {
    json!({ "ok": true, "data": data, "error": Value::Null })
}

/// A refusal.
pub fn refusal(error: &Error) -> Value {
    json!({ "ok": false, "data": Value::Null, "error": error })
}

/// The answer to a call, whose data are given as they are shown, with its notices.
pub fn answered(answered: &Answered, data: &Value, notices: Vec<String>) -> Value {
    let mut envelope = success(data);
    if let Some(reasons) = &answered.reasons {
        envelope["reasons"] = without_empty(reasons);
    }
    if let Some(unread) = answered.unread {
        envelope["unread"] = json!(unread);
    }
    let mut warnings = answered.warnings.clone();
    warnings.extend(notices.into_iter().filter(|notice| !answered.warnings.contains(notice)));
    if !warnings.is_empty() {
        envelope["warnings"] = json!(warnings);
    }
    envelope
}
