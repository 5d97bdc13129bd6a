//! A point in the history of the plan, as people name it: a Lamport time, a wall-clock time, or a git revision.
//!
//! Guarantees that every text is a point: digits are a Lamport time, a valid time is a time, and everything else names a
//! revision. Digits and a `d` as long as an abbreviated commit id are one, and not days.
//! Leaves to others: whether the revision exists, and which events had happened by then.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::time::{Time, When};

/// A point in the history of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// After all events up to this Lamport time.
    Lamport(u64),
    /// After all events with at most this time by their authors' clocks.
    Time(Time),
    /// As [`Point::Time`], seen from now: a time today, or a duration before now.
    Past(When),
    /// The state in a git commit: a branch, a tag, a commit id, `HEAD~2`.
    Revision(String),
}

impl FromStr for Point {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // A commit id that consists of digits has many more of them than any honest Lamport time.
        if text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            return Ok(text.parse().map_or_else(|_| Point::Revision(text.to_owned()), Point::Lamport));
        }
        Ok(match text.parse() {
            Ok(When::At(time) | When::Day(time)) => Point::Time(time),
            Ok(When::In(_)) if text.len() >= ABBREVIATED && !text.starts_with('+') => Point::Revision(text.to_owned()),
            Ok(when) => Point::Past(when),
            Err(_) => Point::Revision(text.to_owned()),
        })
    }
}

/// The length from which git abbreviates the id of a commit.
const ABBREVIATED: usize = 7;

impl Point {
    /// The same point, independent of the present time.
    #[must_use]
    pub fn seen_from(&self, now: Time) -> Point {
        match self {
            Point::Past(when) => Point::Time(when.ago(now)),
            Point::Lamport(_) | Point::Time(_) | Point::Revision(_) => self.clone(),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Lamport(lamport) => write!(f, "{lamport}"),
            Point::Time(time) => write!(f, "{time}"),
            Point::Past(when) => write!(f, "{when}"),
            Point::Revision(name) => f.write_str(name),
        }
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a Lamport time, a time, a span such as 2h, or a git revision")]
        enum Spelling {
            Number(u64),
            Text(String),
        }
        Ok(match Spelling::deserialize(deserializer)? {
            Spelling::Number(lamport) => Point::Lamport(lamport),
            Spelling::Text(text) => text.parse().unwrap_or(Point::Revision(text)),
        })
    }
}

impl JsonSchema for Point {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Point".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "integer"], "description": "A Lamport time, a time, a duration before now (2h), a time today in UTC (22:45), or a git revision"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_determines_the_kind_of_point() {
        let read = |text: &str| text.parse::<Point>().unwrap_or(Point::Lamport(0));
        assert_eq!(read("42"), Point::Lamport(42));
        assert!(matches!(read("2026-11-20"), Point::Time(_)));
        assert!(matches!(read("2026-11-20T10:00:00Z"), Point::Time(_)));
        assert_eq!(read("22:45"), Point::Past(When::Today(81_900_000)));
        assert_eq!(read("2h"), Point::Past(When::In(7_200_000)));
        assert_eq!(read("+100000m"), Point::Past(When::In(6_000_000_000)));
        for name in ["1234567d", "HEAD~2", "main", "v1.0", "", "0123456789012345678901234567890123456789"] {
            assert_eq!(read(name), Point::Revision(name.to_owned()));
        }
    }
}
