//! URLs as messages and results may have them. Opens nothing.

/// The URL without the user and the password that it may hold.
pub(crate) fn shown_url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    match rest.rsplit_once('@') {
        None => url.to_owned(),
        Some((_, host)) => format!("{scheme}…@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_ask_is_not_shown() {
        for (url, shown) in [
            ("http://me:secret@h:1/x", "http://…@h:1/x"),
            ("me:se@cret@h", "…@h"),
            ("https://h:1", "https://h:1"),
            ("h:1", "h:1"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}
