//! Texts on the command line: `@path` reads a file, `-` or `@-` standard input, `@@` is a literal `@`.
//!
//! Only the command line does this; a batch or a request never reads a file because a text says so.

use std::io::Read as _;

use clap::Arg;
use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;

use crate::env::outside;
use crate::model::args::{Patch, Text};
use crate::model::json;
use crate::model::plain::is_blank;

/// Reads a [`Text`] argument of the command line.
#[derive(Clone)]
pub struct TextParser;

impl ValueParserFactory for Text {
    type Parser = TextParser;
    fn value_parser() -> TextParser {
        TextParser
    }
}

impl TypedValueParser for TextParser {
    type Value = Text;

    fn parse_ref(&self, cmd: &clap::Command, _: Option<&Arg>, value: &std::ffi::OsStr) -> Result<Text, clap::Error> {
        let refuse = |why: String| cmd.clone().error(ErrorKind::ValueValidation, why);
        let text = value.to_str().ok_or_else(|| refuse("an argument is not valid UTF-8".into()))?;
        read_text(text).map(Text).map_err(refuse)
    }
}

/// Reads a [`Patch`] argument of the command line: the name of a file, or `-` for standard input.
#[derive(Clone)]
pub struct PatchParser;

impl ValueParserFactory for Patch {
    type Parser = PatchParser;
    fn value_parser() -> PatchParser {
        PatchParser
    }
}

impl TypedValueParser for PatchParser {
    type Value = Patch;

    fn parse_ref(&self, cmd: &clap::Command, _: Option<&Arg>, value: &std::ffi::OsStr) -> Result<Patch, clap::Error> {
        let refuse = |why: String| cmd.clone().error(ErrorKind::ValueValidation, why);
        let path = value.to_str().ok_or_else(|| refuse("an argument is not valid UTF-8".into()))?;
        let path = path.strip_prefix('@').unwrap_or(path);
        let text = read_bytes(path).map_err(|why| refuse(format!("cannot read the patch {path}: {why}")))?;
        let patch = json::parse(&text).map_err(|e| refuse(format!("the patch {path} is not JSON: {e}")))?;
        Ok(Patch(patch))
    }
}

fn read_bytes(path: &str) -> std::io::Result<String> {
    let (mut text, most) = (String::new(), MAX_TEXT + 1);
    match path {
        "-" => std::io::stdin().lock().take(most).read_to_string(&mut text)?,
        path => outside::open(path.as_ref())?.take(most).read_to_string(&mut text)?,
    };
    Ok(text)
}

/// Most bytes taken from a file or standard input for one text.
const MAX_TEXT: u64 = 1024 * 1024;

fn read_text(argument: &str) -> Result<String, String> {
    if let Some(literal) = argument.strip_prefix("@@") {
        return Ok(format!("@{literal}"));
    }
    let mut bytes = Vec::new();
    let read = if matches!(argument, "-" | "@-") {
        std::io::stdin().lock().take(MAX_TEXT + 1).read_to_end(&mut bytes)
    } else if let Some(path) = argument.strip_prefix('@').filter(|path| !path.contains(char::is_whitespace)) {
        outside::open(path.as_ref()).and_then(|file| file.take(MAX_TEXT + 1).read_to_end(&mut bytes))
    } else {
        return not_empty(argument.to_owned(), "the text");
    };
    read.map_err(|e| format!("cannot read the text {argument}: {e} (write @@ for a text that begins with @)"))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(format!("the text {argument} is larger than {MAX_TEXT} bytes"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| format!("the text {argument} is not valid UTF-8"))?;
    if text.ends_with('\n') && text.matches('\n').count() == 1 {
        text.pop();
    }
    not_empty(text, argument)
}

/// An empty text is what a command that failed within `$(…)` leaves behind.
fn not_empty(text: String, what: &str) -> Result<String, String> {
    if is_blank(&text) { Err(format!("{what} is empty")) } else { Ok(text) }
}
