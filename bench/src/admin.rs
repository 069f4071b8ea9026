//! The admin address of a Cairn server: plain HTTP, one short answer for each question.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};

use anyhow::{Context, Result, ensure};

use crate::limits::{ADMIN_WAIT, MAX_ADMIN_ANSWER_BYTES};
use crate::url::shown_url;

/// What the server answers at `path`.
///
/// # Errors
/// A server that does not answer, or refuses.
pub(crate) fn fetch(url: &str, path: &str) -> Result<String> {
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let ask = || {
        let address = authority
            .to_socket_addrs()
            .context("it is not http://HOST:PORT")?
            .next()
            .context("it has no address")?;
        let mut stream = TcpStream::connect_timeout(&address, ADMIN_WAIT)?;
        stream.set_read_timeout(Some(ADMIN_WAIT))?;
        stream.set_write_timeout(Some(ADMIN_WAIT))?;
        // The server closes after an answer by HTTP/1.0, so that its end is known.
        let request = format!("GET {path} HTTP/1.0\r\nhost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(MAX_ADMIN_ANSWER_BYTES).read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
        ensure!(
            head.split(' ').nth(1) == Some("200"),
            "it answered: {}",
            body.lines().next().unwrap_or(head)
        );
        Ok(body.to_owned())
    };
    ask().with_context(|| format!("cannot ask the admin address {}", shown_url(url)))
}

/// The value of a metric without labels in the text that Prometheus reads.
pub(crate) fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_show_who_may_ask() {
        let error = fetch("http://me:secret@no-such-host.invalid:1", "/").unwrap_err();
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    }

    #[test]
    fn metrics_are_found_by_their_whole_name() {
        let text = "# HELP cairn_a x\ncairn_a_b 1\ncairn_a 2.5\ncairn_c{x=\"y\"} 3\n";
        assert_eq!(metric(text, "cairn_a"), Some(2.5));
        assert_eq!((metric(text, "cairn"), metric(text, "cairn_c")), (None, None));
    }
}
