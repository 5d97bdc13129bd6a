//! Texts of others as HTML and SVG.
//!
//! Guarantees that no text is markup, and that control, bidirectional and invisible characters are shown as escapes.
//! Leaves to others: what the board shows.

use crate::error::Result;
use crate::model::plain::escape;
use crate::model::task::Status;

/// A text on one line, for elements and for attributes in double quotes.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No document of XML may hold them.
            '\u{FFFE}' | '\u{FFFF}' => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// A status as people read it.
pub fn status_words(status: Status) -> &'static str {
    match status {
        Status::InProgress => "in progress",
        other => other.as_str(),
    }
}

/// Receives a page piece by piece.
pub type Take<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Fills the places `{{name}}` of a template: `write` gives what stands there, which is not looked at again.
pub fn fill(template: &str, take: Take<'_>, write: impl Fn(&str, Take<'_>) -> Result<()>) -> Result<()> {
    let mut parts = template.split("{{");
    take(parts.next().unwrap_or_default())?;
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        write(name, take)?;
        take(rest)?;
    }
    Ok(())
}

/// Bytes in base 64, as a Content-Security-Policy has them.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| bits << 8 | u32::from(three.get(n).copied().unwrap_or(0)));
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n)) as usize & 63];
            out.push(if n <= three.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        assert_eq!(text("<b a=\"'\">&\u{202e}\u{ffff}\n"), "&lt;b a=&quot;&#39;&quot;&gt;&amp;\\u{202e}\\u{ffff}⏎");
    }

    #[test]
    fn a_place_in_a_value_is_not_filled() {
        let mut text = String::new();
        let mut take = |piece: &str| {
            text.push_str(piece);
            Ok(())
        };
        fill("1{{a}}2{{b}}3", &mut take, |name, take| take(if name == "a" { "{{b}}" } else { "x" })).unwrap();
        assert_eq!(text, "1{{b}}2x3");
    }

    #[test]
    fn base_64_is_that_of_the_standard() {
        for (bytes, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("fooba", "Zm9vYmE=")] {
            assert_eq!(base64(bytes.as_bytes()), encoded);
        }
    }
}
