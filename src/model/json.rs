//! JSON with duplicate keys and unbounded nesting refused.
//!
//! Guarantees that [`parse`] and [`strict`] refuse what `serde_json::Value` would silently merge, and that [`too_deep`] reads
//! only the bytes.
//! Leaves to others: what the values mean.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// The deepest nesting of arrays and objects that is read, in levels.
pub const MAX_DEPTH: usize = 32;

/// Whether the nesting of a JSON text exceeds [`MAX_DEPTH`]. Counts only brackets outside strings.
pub fn too_deep(text: &str) -> bool {
    // Nearly every text has fewer brackets than that, wherever they stand.
    let opening = memchr::memchr2_iter(b'{', b'[', text.as_bytes());
    opening.take(MAX_DEPTH + 1).count() > MAX_DEPTH && is_nested_too_deep(text)
}

fn is_nested_too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'"' => in_string = !in_string,
            b'\\' if in_string => is_escaped = true,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Parses one JSON document, refusing duplicate keys, nesting beyond [`MAX_DEPTH`] and numbers that would be rounded.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    if too_deep(text) {
        return Err(serde_json::Error::custom(format!("nested deeper than {MAX_DEPTH} levels")));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = strict(&mut reader)?;
    reader.end()?;
    refuse_rounded(text)?;
    Ok(value)
}

/// Reads a value from any format, refusing duplicate keys. For `#[serde(deserialize_with)]`.
pub fn strict<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Seed(MAX_DEPTH).deserialize(deserializer)
}

/// Reads an object from any format, refusing duplicate keys. For `#[serde(deserialize_with)]`.
pub fn strict_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    match strict(deserializer)? {
        Value::Object(map) => Ok(map),
        other => Err(D::Error::custom(format!("expected an object, found {other}"))),
    }
}

/// Checks a JSON text for duplicate keys and depth without interpreting its numbers.
///
/// Errors: what is wrong with it.
pub fn check(text: &str) -> Result<(), serde_json::Error> {
    if too_deep(text) {
        return Err(serde_json::Error::custom(format!("nested deeper than {MAX_DEPTH} levels")));
    }
    check_part(text.trim_start())
}

fn check_part(text: &str) -> Result<(), serde_json::Error> {
    if text.starts_with('{') {
        let Pairs(pairs) = serde_json::from_str(text)?;
        let mut seen = std::collections::BTreeSet::new();
        for (key, value) in &pairs {
            if !seen.insert(key) {
                return Err(serde_json::Error::custom(format!("duplicate key {key:?}")));
            }
            check_part(value.get())?;
        }
    } else if text.starts_with('[') {
        for item in serde_json::from_str::<Vec<&RawValue>>(text)? {
            check_part(item.get())?;
        }
    }
    Ok(())
}

/// The least floating-point number for which the next whole number is not representable: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Refuses a number that would be rounded: one beyond 2^53 in plain digits that is not a whole number of 64 bits.
fn refuse_rounded(text: &str) -> Result<(), serde_json::Error> {
    // Every second part is a string; a quote within a string follows a backslash.
    let unescaped = text.replace("\\\\", "").replace("\\\"", "");
    for part in unescaped.split('"').step_by(2) {
        let words = part.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+')));
        for word in words.filter(|word| !word.contains(['e', 'E'])) {
            let is_whole = word.parse::<i64>().is_ok() || word.parse::<u64>().is_ok();
            if !is_whole && word.parse::<f64>().is_ok_and(|number| number.is_finite() && number.abs() >= EXACT) {
                return Err(serde_json::Error::custom(too_large(word)));
            }
        }
    }
    Ok(())
}

fn too_large(number: &str) -> String {
    format!("the number {number} is too large to be kept exactly; write it as a text, in quotes")
}

/// As [`strict_object`], refusing numbers that may have been rounded. For formats whose text is not at hand.
pub fn exact_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let map = strict_object(deserializer)?;
    let mut open: Vec<&Value> = map.values().collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Number(number) if number.is_f64() => exact(number.as_f64().unwrap_or_default()).map(drop)?,
            Value::Array(items) => open.extend(items),
            Value::Object(entries) => open.extend(entries.values()),
            _ => {}
        }
    }
    Ok(map)
}

/// A floating-point number as a value; one that may have been rounded is refused.
pub fn exact<E: serde::de::Error>(number: f64) -> Result<Value, E> {
    if number.abs() >= EXACT { Err(E::custom(too_large(&number.to_string()))) } else { Ok(number.into()) }
}

/// The members of an object in order, with duplicates.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = access.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Members).map(Pairs)
    }
}

struct Seed(usize);

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value without duplicate keys")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.0.checked_sub(1).ok_or_else(|| A::Error::custom("nested too deep"))?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Seed(below))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let below = self.0.checked_sub(1).ok_or_else(|| A::Error::custom("nested too deep"))?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(Seed(below))?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key {key:?}")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Rewrites a parser's message about a value of the wrong type in plain words; leaves any other message unchanged.
pub fn plain_words(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let kind = |begin: &str| message.find(begin).map(|at| (&message[..at], &message[at + begin.len()..]));
    let Some((before, (found, wanted))) = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|begin| kind(begin))
        .and_then(|(before, rest)| Some((before, rest.split_once(", expected ")?)))
    else {
        return message.replace("unknown variant", "unknown word");
    };
    let (word, rest) = found.split_once(' ').map_or((found, ""), |(word, rest)| (word, rest));
    let found = match (word, rest) {
        ("string", text) => format!("the text {text}"),
        ("integer", number) => format!("the number {number}"),
        ("floating", _) => format!("the fraction {}", rest.trim_start_matches("point ")),
        ("boolean", truth) => format!("the boolean {truth}"),
        ("sequence", _) => "a list".to_owned(),
        ("map", _) => "a mapping of keys to values".to_owned(),
        ("null" | "unit" | "Option", _) => "nothing".to_owned(),
        _ => found.to_owned(),
    };
    // A position may follow what was expected.
    let (wanted, place) = wanted.find(" at line ").map_or((wanted, ""), |at| wanted.split_at(at));
    let wanted = match wanted {
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "string" | "a borrowed string" => "a text",
        "a sequence" => "a list",
        "a map" => "a mapping of keys to values",
        struct_ if struct_.starts_with("struct ") => "a mapping of keys to values",
        other => other,
    };
    format!("{before}expected {wanted}, found {found}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_depth_are_refused() {
        assert!(parse(r#"{"a":1,"b":{"a":2}}"#).is_ok());
        assert!(parse(r#"{"a":1,"a":2}"#).is_err());
        assert!(parse(r#"[{"x":{"a":1,"a":2}}]"#).is_err());
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(parse(&nested(1_000_000)).is_err());
        let brackets = "[".repeat(100);
        for string in
            [&brackets, &format!("\\\"{brackets}"), &format!("\\\\\\\"{brackets}"), &format!("{brackets}\\\\")]
        {
            assert!(!too_deep(&format!("\"{string}\"")), "{string}");
            assert!(too_deep(&format!("\"{string}\"{brackets}")), "{string}");
        }
        assert!(too_deep(&format!("\"\\\\\"{brackets}\"")), "the string ended before");
    }

    #[test]
    fn a_number_is_exact_or_refused() {
        for text in [
            "[9007199254740993,18446744073709551615]",
            "-9223372036854775808",
            "1e300",
            "0.1",
            "\"99999999999999999999\"",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
        let escaped = r#"{"a\\":"\" 99999999999999999999","b":"x\\\\"}"#;
        assert!(parse(escaped).is_ok(), "{escaped}");
        for text in [
            "18446744073709551616",
            "-9223372036854775809",
            "[9007199254740993.0]",
            r#"{"a":"\\","b":99999999999999999999}"#,
        ] {
            assert!(parse(text).unwrap_err().to_string().contains("too large to be kept exactly"), "{text}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_reported_without_rust_type_names() {
        let said = |text: &str| plain_words(&serde_json::from_str::<Vec<i64>>(text).unwrap_err().to_string());
        assert!(said("[\"high\"]").starts_with("expected a whole number, found the text \"high\" at line 1"));
        assert!(said("[1.5]").starts_with("expected a whole number, found the fraction `1.5`"));
        assert!(said("{}").starts_with("expected a list, found a mapping of keys to values"));
        assert_eq!(plain_words("task.update: something else"), "task.update: something else");
    }
}
