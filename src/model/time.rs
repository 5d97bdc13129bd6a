//! Wall-clock time: for people to read, never for ordering.
//!
//! Guarantees that a [`Time`] prints as RFC 3339 in UTC with a `Z`, to the millisecond and without a fraction of zero. Any
//! RFC 3339 instant can be parsed.
//! Leaves to others: the present time (`Env`).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::model::id::quoted;

/// An instant, in whole milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;

impl Time {
    /// The earliest instant whose year prints with four digits.
    const MIN: i64 = -62_167_219_200_000;
    /// The latest instant whose year prints with four digits.
    const MAX: i64 = 253_402_207_200_000;

    /// Converts from milliseconds since 1970, clamped to the years 0000 to 9999.
    pub fn from_millis(millis: i64) -> Self {
        Time(millis.clamp(Self::MIN, Self::MAX))
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// This instant moved by `millis`, clamped to the years 0000 to 9999.
    #[must_use]
    pub fn plus(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this instant; negative if `earlier` is later.
    pub fn since(self, earlier: Time) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zoned =
            jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?.to_zoned(jiff::tz::TimeZone::UTC);
        let (d, t, ms) = (zoned.date(), zoned.time(), self.0.rem_euclid(1000));
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            d.year(),
            d.month(),
            d.day(),
            t.hour(),
            t.minute(),
            t.second()
        )?;
        if ms != 0 {
            write!(f, ".{ms:03}")?;
        }
        f.write_str("Z")
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Time {
    type Err = Error;

    /// Parses an RFC 3339 instant, or a plain date as its first moment in UTC.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Ok(Time::from_millis(instant.as_millisecond()));
        }
        // The last hours of the year 9999 exceed jiff's instants; they are clamped to its end.
        let plain = text.strip_suffix('Z').filter(|_| text.len() > 10).unwrap_or(text);
        if plain.starts_with("9999-12-3")
            && (plain.len() == 10 || plain.len() < text.len())
            && plain.parse::<jiff::civil::DateTime>().is_ok()
        {
            return Ok(Time(Self::MAX));
        }
        text.parse::<jiff::civil::Date>()
            .ok()
            .filter(|_| text.len() == 10)
            .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
            .map(|zoned| Time::from_millis(zoned.timestamp().as_millisecond()))
            .ok_or_else(|| {
                Error::validation(format!("{} is not a time", quoted(text)))
                    .hint("write it as 2026-11-20T10:00:00Z or 2026-11-20")
            })
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| {
            serde::de::Error::custom(format!("{}; {}", e.message, e.hint.as_deref().unwrap_or_default()))
        })
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time", "description": "RFC 3339, in UTC"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_utc() {
        let time: Time = "2026-11-20T11:00:00.250+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-20T10:00:00.250Z");
        assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        assert_eq!("2026-11-20".parse::<Time>().unwrap().to_string(), "2026-11-20T00:00:00Z");
        assert!("yesterday".parse::<Time>().is_err());
    }

    #[test]
    fn no_arithmetic_leaves_the_calendar() {
        for millis in [i64::MIN, i64::MAX] {
            let time = Time::default().plus(millis).plus(millis);
            assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }
    }
}
