//! Reads JSON texts of any length: the lists that a format names arrive an item at a time.
//!
//! Guarantees that everything is read as [`json::parse`] reads it: a duplicate key, too deep nesting and a number that would be rounded
//! are refused.
//! Leaves to others: what the items mean.

use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::de::IoRead;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::source::skip_bom;
use crate::error::{Error, Result};
use crate::model::json;

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// The keys that lead to a list; `*` is any key.
pub(super) type Path = &'static [&'static str];

/// Receives an item: the keys that lead to its list, its place there, and the item.
pub(super) type Take<'t> = &'t mut dyn FnMut(&[String], usize, Value) -> Result<()>;

/// JSON texts, one after the other.
pub(super) struct Documents<'a> {
    json: serde_json::Deserializer<IoRead<BufReader<&'a mut dyn Read>>>,
    what: &'static str,
    hint: &'static str,
}

impl<'a> Documents<'a> {
    /// Begins to read. `what` and `hint` say in a refusal what the text is, and what to do about it.
    pub(super) fn open(source: &'a mut dyn Read, what: &'static str, hint: &'static str) -> Result<Self> {
        let mut source = BufReader::with_capacity(BUFFER, source);
        skip_bom(&mut source).map_err(|e| Error::io("read", what.as_ref(), &e))?;
        Ok(Documents { json: serde_json::Deserializer::from_reader(source), what, hint })
    }

    /// Reads the only text there is. Gives `take` each item of the lists that `wanted` names, and returns the rest, with these lists empty.
    ///
    /// Errors: `ERR_VALIDATION` for a text that is not JSON, and those of `take`.
    pub(super) fn only(mut self, wanted: &[Path], take: Take<'_>) -> Result<Value> {
        let rest = self.read(wanted, take)?;
        self.json.end().map_err(|e| self.unreadable(&e))?;
        Ok(rest)
    }

    /// As [`Documents::only`], for the next text; `None` where none follows.
    pub(super) fn next(&mut self, wanted: &[Path], take: Take<'_>) -> Result<Option<Value>> {
        // Text follows as long as this is not its end.
        if self.json.end().is_ok() { Ok(None) } else { self.read(wanted, take).map(Some) }
    }

    fn read(&mut self, wanted: &[Path], take: Take<'_>) -> Result<Value> {
        let mut walk = Walk { wanted, take, path: Vec::new(), refused: None };
        let read = Node(&mut walk).deserialize(&mut self.json);
        let refused = walk.refused;
        read.map_err(|e| refused.unwrap_or_else(|| self.unreadable(&e)))
    }

    fn unreadable(&self, e: &serde_json::Error) -> Error {
        Error::validation(format!("{} is not readable JSON: {e}", self.what)).hint(self.hint)
    }
}

/// The way through a text.
struct Walk<'w, 't> {
    wanted: &'w [Path],
    take: Take<'t>,
    /// The keys that lead to the present value.
    path: Vec<String>,
    /// Why an item was refused.
    refused: Option<Error>,
}

impl Walk<'_, '_> {
    /// Whether the present value is a list that is wanted.
    fn is_wanted(&self) -> bool {
        self.wanted.iter().any(|path| path.len() == self.path.len() && self.is_on(path))
    }

    /// Whether the present value is such a list, or may hold one.
    fn leads_on(&self) -> bool {
        self.wanted.iter().any(|path| path.len() >= self.path.len() && self.is_on(path))
    }

    fn is_on(&self, path: Path) -> bool {
        self.path.iter().zip(path).all(|(key, wanted)| *wanted == "*" || key == wanted)
    }

    /// A value that is held whole. Its errors name its place, since they count their lines from its beginning.
    fn whole<E: serde::de::Error>(&self, place: Option<usize>, text: &RawValue) -> std::result::Result<Value, E> {
        json::parse(text.get()).map_err(|e| {
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            let place = place.map(|n| format!("[{n}]")).unwrap_or_default();
            E::custom(format!("{}{place}: {message}", self.path.join(".")))
        })
    }
}

/// A value that may hold a wanted list, or is one.
struct Node<'n, 'w, 't>(&'n mut Walk<'w, 't>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let Node(walk) = self;
        let is_wanted = walk.is_wanted();
        let (mut place, mut rest) = (0, Vec::new());
        while let Some(text) = seq.next_element::<Box<RawValue>>()? {
            let item = walk.whole(Some(place), &text)?;
            if is_wanted {
                (walk.take)(&walk.path, place, item).map_err(|e| {
                    walk.refused = Some(e);
                    A::Error::custom("an item is refused")
                })?;
            } else {
                rest.push(item);
            }
            place += 1;
        }
        Ok(Value::Array(rest))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> std::result::Result<Value, A::Error> {
        let Node(walk) = self;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key {key:?}")));
            }
            walk.path.push(key.clone());
            let value = if walk.leads_on() {
                access.next_value_seed(Node(walk))?
            } else {
                walk.whole(None, &access.next_value::<Box<RawValue>>()?)?
            };
            walk.path.pop();
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        json::exact(value)
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The items of a text with their places, and the rest of it.
    fn read(text: &str) -> Result<(Vec<String>, Value)> {
        let mut items = Vec::new();
        let mut source = text.as_bytes();
        let rest = Documents::open(&mut source, "the plan", "")?.only(
            &[&["list"], &["*", "list"]],
            &mut |path, n, item| {
                if item == "bad" {
                    return Err(Error::validation("an item is bad"));
                }
                items.push(format!("{}[{n}] {item}", path.join(".")));
                Ok(())
            },
        )?;
        Ok((items, rest))
    }

    #[test]
    fn items_of_lists_arrive_and_the_rest_is_returned() {
        let text =
            r#" {"a":{"list":[1,{"list":[2]}],"b":"c"},"list":[3],"d":{"e":{"list":[4]}},"f":[5],"g":null,"h":1.5} "#;
        let (items, rest) = read(&format!("\u{feff}{text}")).unwrap();
        assert_eq!(items, ["a.list[0] 1", r#"a.list[1] {"list":[2]}"#, "list[0] 3"]);
        let expected =
            json!({"a": {"list": [], "b": "c"}, "list": [], "d": {"e": {"list": [4]}}, "f": [5], "g": null, "h": 1.5});
        assert_eq!(rest, expected);
        assert_eq!(rest.to_string(), expected.to_string(), "in the order of the text");
        for (text, rest) in
            [("[1]", json!([1])), ("7", json!(7)), (r#"{"list":{"list":[1]}}"#, json!({"list": {"list": []}}))]
        {
            assert_eq!(read(text).unwrap().1, rest);
        }
    }

    #[test]
    fn texts_follow_each_other() {
        let mut source = "[1,2]\n{\"a\":[3]} [4]\n".as_bytes();
        let mut file = Documents::open(&mut source, "the list", "").unwrap();
        let (mut items, mut rests) = (Vec::new(), Vec::new());
        while let Some(rest) = file
            .next(&[&[]], &mut |_, _, item| {
                items.push(item);
                Ok(())
            })
            .unwrap()
        {
            rests.push(rest);
        }
        assert_eq!((items, rests), (vec![json!(1), json!(2), json!(4)], vec![json!([]), json!({"a": [3]}), json!([])]));
    }

    #[test]
    fn refusals_name_the_place() {
        let deep = format!(r#"{{"list":[{}1{}]}}"#, "[".repeat(40), "]".repeat(40));
        for (text, expected) in [
            ("", "the plan is not readable JSON: EOF while parsing a value at line 1 column 0"),
            ("{\n} x", "the plan is not readable JSON: trailing characters at line 2 column 3"),
            ("{\"list\":[\n{]}", "the plan is not readable JSON: key must be a string at line 2 column 2"),
            (r#"{"list":[],"list":[]}"#, r#"the plan is not readable JSON: duplicate key "list" at line 1 column 18"#),
            (r#"{"list":[0,{"b":1,"b":2}]}"#, r#"list[1]: duplicate key "b""#),
            (r#"{"a":{"x":{"b":1,"b":2}}}"#, r#"a.x: duplicate key "b""#),
            (r#"{"list":[18446744073709551616]}"#, "list[0]: the number 18446744073709551616 is too large"),
            (r#"{"a":18446744073709551616}"#, "is too large to be kept exactly"),
            (&deep, "list[0]: nested deeper than 32 levels"),
            (r#"{"list":["bad",]}"#, "an item is bad"),
        ] {
            let message = read(text).unwrap_err().message;
            assert!(message.contains(expected), "{text}: {message}");
        }
        assert!(
            Documents::open(&mut &b"{\"list\":[\"\xff\"]}"[..], "the plan", "")
                .unwrap()
                .only(&[&["list"]], &mut |_, _, _| Ok(()))
                .is_err()
        );
    }
}
