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
use crate::model::args::Duration;
use crate::model::id::quoted;

/// An instant, in whole milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds in a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

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

/// A time as a caller gives it, perhaps relative to the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A given instant.
    At(Time),
    /// A day in UTC, by its first moment.
    Day(Time),
    /// So many milliseconds from now.
    In(i64),
    /// So many milliseconds after the beginning of the present day in UTC.
    Today(i64),
}

impl When {
    /// The accepted forms, for hints and schemas.
    pub const FORMS: &str = "a date (2026-11-20), a time with an offset (2026-11-20T10:00:00Z, 2026-11-20T11:00:00+01:00), a span from now (+3d, 2h) or a time today in UTC (22:45)";

    /// The instant, seen from `now`, of one who asks about the past: a span is one before now.
    pub fn ago(self, now: Time) -> Time {
        match self {
            When::In(millis) => now.plus(-millis),
            When::At(_) | When::Day(_) | When::Today(_) => self.from(now),
        }
    }

    /// How long it lasts, in milliseconds: a day is a span of time, all else a single moment.
    pub fn length(self) -> i64 {
        if matches!(self, When::Day(_)) { DAY_MS } else { 1 }
    }

    /// The instant, seen from `now`.
    pub fn from(self, now: Time) -> Time {
        match self {
            When::At(time) | When::Day(time) => time,
            When::In(millis) => now.plus(millis),
            When::Today(millis) => now.plus(millis - now.millis().rem_euclid(DAY_MS)),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::At(time) => time.fmt(f),
            When::Day(day) => f.write_str(&day.to_string()[..10]),
            When::In(millis) => write!(f, "+{}", Duration { millis: *millis }),
            When::Today(millis) => write!(f, "{:02}:{:02}", millis / HOUR_MS, millis % HOUR_MS / 60_000),
        }
    }
}

impl FromStr for When {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(time) = text.parse() {
            return Ok(if text.len() == 10 { When::Day(time) } else { When::At(time) });
        }
        // A bare number could be a number of seconds, of days, or a year.
        let span = text.strip_prefix('+').unwrap_or(text);
        if span.ends_with(|c: char| c.is_ascii_lowercase())
            && let Ok(span) = span.parse::<Duration>()
        {
            return Ok(When::In(span.millis));
        }
        let digits = |text: &str| {
            let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<i64>().ok()).flatten()
        };
        match text.split_once(':').map(|(hour, minute)| (digits(hour), digits(minute))) {
            Some((Some(hour @ 0..24), Some(minute @ 0..60))) => Ok(When::Today(hour * HOUR_MS + minute * 60_000)),
            _ => Err(Error::validation(format!("{} is not a time; write {}", quoted(text), When::FORMS))),
        }
    }
}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| serde::de::Error::custom(e.message))
    }
}

impl JsonSchema for When {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "When".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "description": When::FORMS})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_relative_to_the_present_one() {
        let now: Time = "2026-11-20T10:00:00.250Z".parse().unwrap();
        for (text, wanted) in [
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T11:00:00+01:00", "2026-11-20T10:00:00Z"),
            ("+3d", "2026-11-23T10:00:00.250Z"),
            ("2h", "2026-11-20T12:00:00.250Z"),
            ("22:45", "2026-11-20T22:45:00Z"),
            ("00:00", "2026-11-20T00:00:00Z"),
        ] {
            let when: When = text.parse().unwrap();
            assert_eq!(when.from(now).to_string(), wanted, "{text}");
            assert_eq!(when.to_string().parse::<When>().unwrap(), when, "{text}");
        }
        for text in ["", "soon", "24:00", "9:5", "3", "+3", "-3d", "2026", "+1:00", "2w"] {
            let refused = text.parse::<When>().unwrap_err().message;
            assert!(refused.contains("+3d") && refused.contains("22:45"), "{refused}");
        }
    }

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
