//! Records for a person's eyes: what a key says, what a value holds.
//!
//! It must never fail on any bytes: what cannot be read is told as such. Invariant: a description is one line, and bytes that
//! are no text stand in it as hexadecimal digits.

use std::fmt::Write as _;

use cairn_common::envelope::{self, Record};

/// A record for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// The parts of the key, as `name=value`.
    pub(crate) key: String,
    /// The name in the key: a component, an object's key, a bucket's name; empty where it has none.
    pub(crate) name: Vec<u8>,
    /// The value.
    pub(crate) value: String,
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(pub(crate) String);

/// Takes a key apart, from its start.
pub(crate) struct KeyReader<'k> {
    rest: &'k [u8],
    text: String,
    name: Vec<u8>,
}

impl<'k> KeyReader<'k> {
    pub(crate) fn new(key: &'k [u8]) -> Self {
        Self {
            rest: key,
            text: String::new(),
            name: Vec::new(),
        }
    }

    /// One byte that tells the kind of the key.
    pub(crate) fn tag(&mut self) -> Result<u8, Unreadable> {
        let (tag, rest) = self.rest.split_first().ok_or_else(|| too_short("a tag"))?;
        self.rest = rest;
        Ok(*tag)
    }

    pub(crate) fn u8(mut self, what: &str) -> Result<Self, Unreadable> {
        let tag = self.tag()?;
        self.add(what, &tag.to_string());
        Ok(self)
    }

    pub(crate) fn u16(mut self, what: &str) -> Result<Self, Unreadable> {
        let (number, rest) = self.rest.split_first_chunk().ok_or_else(|| too_short(what))?;
        self.rest = rest;
        self.add(what, &u16::from_be_bytes(*number).to_string());
        Ok(self)
    }

    pub(crate) fn u32(mut self, what: &str) -> Result<Self, Unreadable> {
        let (number, rest) = self.rest.split_first_chunk().ok_or_else(|| too_short(what))?;
        self.rest = rest;
        self.add(what, &u32::from_be_bytes(*number).to_string());
        Ok(self)
    }

    pub(crate) fn u64(mut self, what: &str) -> Result<Self, Unreadable> {
        let (number, rest) = self.rest.split_first_chunk().ok_or_else(|| too_short(what))?;
        self.rest = rest;
        self.add(what, &u64::from_be_bytes(*number).to_string());
        Ok(self)
    }

    /// Bytes as `KeyWriter::bytes` escapes them.
    pub(crate) fn escaped(mut self, what: &str) -> Result<Self, Unreadable> {
        loop {
            match self.rest {
                [0, 1, rest @ ..] => {
                    self.rest = rest;
                    break;
                }
                [0, 0xff, rest @ ..] => {
                    self.name.push(0);
                    self.rest = rest;
                }
                [byte, rest @ ..] if *byte != 0 => {
                    self.name.push(*byte);
                    self.rest = rest;
                }
                _ => return Err(too_short(what)),
            }
        }
        let shown = text_of(&self.name);
        self.add(what, &shown);
        Ok(self)
    }

    /// All that is left, as a name.
    pub(crate) fn name(mut self, what: &str) -> Self {
        self.name = self.rest.to_vec();
        self.rest = &[];
        let shown = text_of(&self.name);
        self.add(what, &shown);
        self
    }

    /// A chunk id.
    pub(crate) fn chunk_id(mut self) -> Result<Self, Unreadable> {
        let (id, rest) = self
            .rest
            .split_first_chunk::<16>()
            .ok_or_else(|| too_short("a chunk id"))?;
        self.rest = rest;
        self.add("chunk", &hex(id));
        Ok(self)
    }

    /// What the record of this key holds.
    pub(crate) fn with<R: Record + std::fmt::Debug>(self, value: &[u8]) -> Result<Description, Unreadable> {
        let record: R = envelope::open(value).map_err(|error| Unreadable(error.to_string()))?;
        self.with_text(readable(&format!("{record:?}")))
    }

    /// The record of this key, whose value is told as `value`.
    pub(crate) fn with_text(self, value: String) -> Result<Description, Unreadable> {
        if !self.rest.is_empty() {
            return Err(Unreadable(format!(
                "the key goes on behind its end: {}",
                hex(self.rest)
            )));
        }
        Ok(Description {
            key: self.text,
            name: self.name,
            value,
        })
    }

    fn add(&mut self, what: &str, value: &str) {
        let space = if self.text.is_empty() { "" } else { " " };
        write!(self.text, "{space}{what}={value}").expect("a string grows as needed");
    }
}

fn too_short(what: &str) -> Unreadable {
    Unreadable(format!("the key is too short for {what}"))
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string grows as needed");
            text
        })
}

/// Text in quotes, or digits where it is none.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text:?}"),
        Ok(_) | Err(_) => format!("0x{}", hex(bytes)),
    }
}

/// The text of a value, with byte strings that are no text as digits.
fn readable(debug: &str) -> String {
    let mut out = String::with_capacity(debug.len());
    let mut rest = debug;
    while let Some(at) = rest.find("b\"") {
        let (before, quoted) = rest.split_at(at);
        out.push_str(before);
        let is_start = !before.ends_with(|character: char| character.is_alphanumeric() || character == '_');
        match byte_string(&quoted[2..]).filter(|_| is_start) {
            Some((bytes, length)) => {
                out.push_str(&text_of(&bytes));
                rest = &quoted[2 + length..];
            }
            None => {
                out.push_str("b\"");
                rest = &quoted[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The bytes of a byte string that has begun, and the length of its text with the closing quote.
fn byte_string(text: &str) -> Option<(Vec<u8>, usize)> {
    let raw = text.as_bytes();
    let (mut bytes, mut at) = (Vec::new(), 0);
    loop {
        let (byte, length) = match raw.get(at)? {
            b'"' => return Some((bytes, at + 1)),
            b'\\' => match raw.get(at + 1)? {
                b'x' => (u8::from_str_radix(text.get(at + 2..at + 4)?, 16).ok()?, 4),
                b'n' => (b'\n', 2),
                b'r' => (b'\r', 2),
                b't' => (b'\t', 2),
                b'0' => (0, 2),
                other => (*other, 2),
            },
            other => (*other, 1),
        };
        bytes.push(byte);
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::key::KeyWriter;

    #[test]
    fn keys_are_taken_apart_and_bad_ones_told() {
        let key = KeyWriter::new().u64(7).bytes(b"a\0b").u32(9).finish();
        let read = |key| KeyReader::new(key).u64("bucket")?.escaped("key")?.u32("number");
        let described = read(&key)
            .and_then(|reader| reader.with_text(String::new()))
            .expect("read");
        assert_eq!(described.key, "bucket=7 key=0x610062 number=9");
        assert_eq!(described.name, b"a\0b");
        for length in 0..key.len() {
            assert!(read(&key[..length]).is_err(), "{length} bytes");
        }
        let longer = [key.as_slice(), b"x"].concat();
        assert!(
            read(&longer)
                .and_then(|reader| reader.with_text(String::new()))
                .is_err()
        );
    }

    #[test]
    fn byte_strings_are_shown_as_text_or_digits() {
        let shown = |bytes: &'static [u8]| readable(&format!("{:?}", Bytes::from_static(bytes)));
        assert_eq!(shown(b"plain \"text\""), r#""plain \"text\"""#);
        assert_eq!(shown(&[0, 1, 255, b'\n', b'\\']), "0x0001ff0a5c");
        assert_eq!(readable(r#"X { b"open"#), r#"X { b"open"#);
        assert_eq!(readable(r#"X { name: "b" }"#), r#"X { name: "b" }"#);
    }
}
