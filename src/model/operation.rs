//! Operations by name, as interfaces besides the command line call them, with arguments as JSON.
//!
//! Guarantees that each kind of operation is one enum whose variants, names, argument schemas and reading come from one list.
//! Leaves to others: what an operation does.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::id::quoted;
use crate::model::json::plain_words;

/// Defines an enum of operations: each variant holds the struct of the same name, which is its arguments.
macro_rules! operations {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident = $op:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "each variant is documented on the struct of the same name")]
        pub enum $kind {
            $($variant($variant),)*
        }

        impl $kind {
            /// The names of the operations, each with the schema of its arguments.
            pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
                vec![$(($op, schemars::schema_for!($variant))),*]
            }

            /// The name of this operation.
            pub fn op(&self) -> &'static str {
                match self {
                    $($kind::$variant(_) => $op,)*
                }
            }

            /// Builds an operation from its name and a JSON object of arguments.
            ///
            /// Errors: `ERR_USAGE` for an unknown name or key, `ERR_VALIDATION` for a value that does not fit.
            pub fn from_json(op: &str, args: serde_json::Value) -> $crate::error::Result<Self> {
                match op {
                    $($op => {
                        // A batch may hold thousands of one kind.
                        static SCHEMA: std::sync::OnceLock<schemars::Schema> = std::sync::OnceLock::new();
                        let schema = SCHEMA.get_or_init(|| schemars::schema_for!($variant));
                        $crate::model::operation::read(op, schema, args).map($kind::$variant)
                    })*
                    _ => Err($crate::model::operation::unknown(op, &[$($op),*])),
                }
            }

            /// The arguments as JSON.
            pub fn to_json(&self) -> serde_json::Value {
                match self {
                    // Plain structs with string keys cannot fail to serialize.
                    $($kind::$variant(args) => serde_json::to_value(args).expect("arguments are plain data"),)*
                }
            }
        }
    };
}

pub(crate) use operations;

/// Reads arguments of which the schema knows every key.
pub(crate) fn read<T: serde::de::DeserializeOwned>(op: &str, schema: &schemars::Schema, args: Value) -> Result<T> {
    let mut args = args;
    let Some(given) = args.as_object_mut() else {
        return Err(Error::validation(format!("the arguments of {op} must be an object")));
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let known: Vec<&String> = properties.map(|p| p.keys().collect()).unwrap_or_default();
    // A task may be named alike in every operation.
    let ours = ["task_id", "id"].into_iter().find(|name| known.iter().any(|key| *key == name));
    let theirs = ["task_id", "id", "task"].into_iter().find(|name| given.contains_key(*name));
    if let (Some(ours), Some(theirs)) = (ours, theirs)
        && !given.contains_key(ours)
        && !known.iter().any(|key| *key == theirs)
        && let Some(value) = given.shift_remove(theirs)
    {
        given.insert(ours.to_owned(), value);
    }
    let given = &*given;
    if let Some(key) = given.keys().find(|key| !known.contains(key)) {
        let names: Vec<&str> = known.iter().map(|k| k.as_str()).collect();
        return Err(
            Error::usage(format!("{op} has no key {}", quoted(key))).hint(format!("its keys are {}", names.join(", ")))
        );
    }
    serde_json::from_value(args).map_err(|e| Error::validation(format!("{op}: {}", plain_words(&e.to_string()))))
}

/// The refusal of a name that no operation has.
pub(crate) fn unknown(op: &str, known: &[&str]) -> Error {
    Error::usage(format!("there is no operation {}", quoted(op))).hint(format!("use one of {}", known.join(", ")))
}
