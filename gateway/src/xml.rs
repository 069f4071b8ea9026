//! The little that s3s leaves to do with texts in XML and in URLs.
//!
//! Pure functions of strings. Invariant: what they return is well-formed wherever XML 1.0 has a form for the input at all.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What `encoding-type=url` leaves as it is: the unreserved characters and the slash.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// The text of the first element of this name, as it stands.
pub(crate) fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// A text as the content of an element.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

/// The document with its entity tag freed of quotes.
pub(crate) fn with_bare_etag(document: String) -> String {
    let Some(quoted) = element(&document, "ETag") else {
        return document;
    };
    let bare = quoted.replace("&quot;", "").replace('"', "");
    document.replacen(&format!("<ETag>{quoted}</ETag>"), &format!("<ETag>{bare}</ETag>"), 1)
}

fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\n' && byte != b'\t'
}

/// Whether a document holds control characters that a reader would lose or choke on.
pub(crate) fn has_controls(document: &[u8]) -> bool {
    document.iter().copied().any(is_control)
}

/// Writes control characters as references. A carriage return survives so; of the others XML 1.0 has no form at all, and
/// lenient readers take the reference, as with AWS.
pub(crate) fn escape_controls(document: String) -> String {
    if !has_controls(document.as_bytes()) {
        return document;
    }
    let mut escaped = String::with_capacity(document.len() + 64);
    for character in document.chars() {
        match u8::try_from(character) {
            Ok(byte) if is_control(byte) => escaped.push_str(&format!("&#{byte};")),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A key as `encoding-type=url` sends it.
pub(crate) fn url_encode(key: &str) -> String {
    utf8_percent_encode(key, KEY).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_become_references() {
        assert_eq!(escape_controls("a\r\n\t\u{1}ä".to_owned()), "a&#13;\n\t&#1;ä");
        assert_eq!(escape_controls("plain\n".to_owned()), "plain\n");
    }

    #[test]
    fn an_etag_is_freed_of_its_quotes() {
        for quoted in ["<A><ETag>&quot;ab&quot;</ETag></A>", "<A><ETag>\"ab\"</ETag></A>"] {
            assert_eq!(with_bare_etag(quoted.to_owned()), "<A><ETag>ab</ETag></A>");
        }
        assert_eq!(with_bare_etag("<A/>".to_owned()), "<A/>");
    }

    #[test]
    fn keys_are_encoded_for_every_decoder() {
        assert_eq!(url_encode("a/b c+d%\n~ä"), "a/b%20c%2Bd%25%0A~%C3%A4");
    }

    #[test]
    fn elements_are_found_and_texts_escaped() {
        assert_eq!(element("<Error><Code>X</Code></Error>", "Code"), Some("X"));
        assert_eq!(element("<Error></Error>", "Code"), None);
        assert_eq!(escape("a<b>&c"), "a&lt;b&gt;&amp;c");
    }
}
