//! What figures are to be read by: asked of the server where it tells, else taken from flags.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::admin::fetch;
use crate::args::TargetArgs;
use crate::target::{Fact, Facts};
use crate::url::shown_url;

/// What a Cairn server's admin address says.
#[derive(Debug, Default, Deserialize)]
struct Status {
    version: Option<String>,
    redundancy: Option<String>,
    sync_mode: Option<String>,
}

/// Adds to what the target has told of itself.
///
/// # Errors
/// An admin address that does not answer.
pub(super) fn complete_facts(told: Facts, target: &TargetArgs) -> Result<Facts> {
    let status = match &target.admin {
        Some(url) => {
            let status = fetch(url, "/status")?;
            serde_json::from_str(&status)
                .with_context(|| format!("{} is not a Cairn server's admin address", shown_url(url)))?
        }
        None => Status::default(),
    };
    let version = status.version.map(|version| format!("cairn {version}"));
    let value = |fact: &Option<Fact>| fact.as_ref().map(|fact| fact.value.clone());
    // The way to the data knows the bucket; the admin address knows what buckets get that are made now.
    let of_new_buckets = status
        .redundancy
        .map(|redundancy| format!("{redundancy} (of new buckets)"));
    let redundancy = value(&told.redundancy).or(of_new_buckets);
    Ok(Facts {
        version: Fact::first(
            version.or_else(|| value(&told.version)),
            target.server_version.as_deref(),
        ),
        redundancy: Fact::first(redundancy, target.redundancy.as_deref()),
        sync_mode: Fact::first(
            status.sync_mode.filter(|mode| !mode.is_empty()),
            target.sync_mode.as_deref(),
        ),
        ..told
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        target: TargetArgs,
    }

    /// An admin address that answers once.
    fn admin() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // The request is one piece.
            let _ = stream.read(&mut [0; 1024]).unwrap();
            let status = "{\"version\":\"1\",\"redundancy\":\"4+2\",\"sync_mode\":\"all\"}";
            write!(stream, "HTTP/1.0 200 OK\r\n\r\n{status}").unwrap();
        });
        format!("http://{address}")
    }

    #[test]
    fn what_the_bucket_is_known_to_have_wins_over_what_new_ones_get() {
        let facts = |told: Option<&str>| {
            let target = Line::parse_from(["x", "--admin", &admin(), "--redundancy", "said"]).target;
            let told = Facts {
                redundancy: Fact::first(told.map(str::to_owned), None),
                ..Facts::default()
            };
            complete_facts(told, &target).unwrap()
        };
        assert_eq!(facts(Some("2+1")).redundancy.unwrap().value, "2+1");
        let facts = facts(None);
        assert_eq!(facts.redundancy.unwrap().value, "4+2 (of new buckets)");
        assert_eq!(facts.version.unwrap().value, "cairn 1");
    }
}
