//! Listings, and the little of XML that they need: elements by name, in order, with the five entities of XML. Enough for
//! what S3 servers answer, and no parser of XML.

use crate::failure::OpError;
use crate::s3::client::Client;
use crate::s3::request::{Request, encoded};
use crate::target::Page;

/// Up to `limit` keys that begin with `prefix` and come after `after`.
pub(crate) fn list(client: &mut Client<'_>, prefix: &str, after: &str, limit: u32) -> Result<Page, OpError> {
    let (prefix, after) = (encoded(prefix), encoded(after));
    // Names in ascending order, as they are signed.
    let mut query = format!("list-type=2&max-keys={limit}&prefix={prefix}");
    if !after.is_empty() {
        query.push_str("&start-after=");
        query.push_str(&after);
    }
    let request = Request {
        query: &query,
        ..Request::of("GET", None)
    };
    let answer = client.page(&request, None)?;
    if first_element(&answer, "ListBucketResult").is_none() {
        return Err(OpError::Protocol("the answer is no listing".to_owned()));
    }
    let keys = elements(&answer, "Contents").map(|object| first_element(object, "Key").map(unescaped));
    let keys: Option<Vec<_>> = keys.collect();
    let keys = keys.ok_or_else(|| OpError::Protocol("an object is listed without its key".to_owned()))?;
    // S3 always says it; without a word, a full page is taken for one of several.
    let is_truncated = match first_element(&answer, "IsTruncated") {
        Some(said) => said == "true",
        None => keys.len() as u64 >= u64::from(limit),
    };
    Ok(Page {
        keys,
        bytes: answer.len() as u64,
        is_truncated,
    })
}

/// What stands in the elements of that name, one after the other; none is within another of its name.
pub(crate) fn elements<'a>(text: &'a str, name: &'static str) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find('<')?;
            rest = &rest[start + 1..];
            let Some(after) = rest.strip_prefix(name) else { continue };
            if !after.starts_with(['>', ' ', '\n', '\t']) {
                continue;
            }
            let inner = &after[after.find('>')? + 1..];
            let close = format!("</{name}>");
            let end = inner.find(&close)?;
            rest = &inner[end + close.len()..];
            return Some(&inner[..end]);
        }
    })
}

pub(crate) fn first_element<'a>(text: &'a str, name: &'static str) -> Option<&'a str> {
    elements(text, name).next()
}

/// Text without entities.
pub(crate) fn unescaped(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_whole_name() {
        let text = "<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><KeyCount>2</KeyCount><Contents><Key>a&amp;b</Key></Contents>\
                    <Contents>\n<Size>1</Size><Key>c</Key></Contents><Contents/></R>";
        let keys: Vec<_> = elements(text, "Contents")
            .map(|object| first_element(object, "Key"))
            .collect();
        assert_eq!(keys, [Some("a&amp;b"), Some("c")]);
        assert_eq!(unescaped(keys[0].unwrap()), "a&b");
        assert_eq!(first_element(text, "Missing"), None);
        assert_eq!(elements("<Key>cut", "Key").count(), 0);
    }
}
