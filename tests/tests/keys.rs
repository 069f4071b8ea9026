//! Keys are byte-exact: whatever S3 allows as a key is stored under that key and no other, listed in byte order and
//! read back. Signed by hand throughout, because client libraries tidy paths up.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use cairn_tests::content::Sequence;
use cairn_tests::s3::{Client, Request};
use cairn_tests::server::{Options, Server};
use percent_encoding::percent_decode_str;

const BUCKET: &str = "keys";

/// Keys that some system, somewhere, confuses with each other.
const AWKWARD_KEYS: &[&str] = &[
    "a",
    "a/",
    "a/b",
    "a//b",
    "/a",
    "a/./b",
    "a/../b",
    "A",
    "a.",
    "a/b/",
    "a/b/c",
    "a///b",
    "a/.",
    "a/..",
    "a/c",
    ".",
    "..",
    "./",
    "../",
    "/",
    "//",
    "///x",
    "b//",
    "b",
    ".hidden",
    "...",
    "b/...",
    "-",
    "-rf",
    "~",
    "*",
    "?",
    "a b",
    " x",
    "x ",
    "x  y",
    "a+b",
    "a b+c",
    "a%b",
    "a%2Fb",
    "a%2fb",
    "a%20b",
    "%",
    "%%",
    "%00",
    "a\nb",
    "\n",
    "a\rb",
    "a\tb",
    "a\\b",
    "a\"b",
    "a'b",
    "a&b",
    "a<b>",
    "a;b",
    "a=b",
    "a?b",
    "a#b",
    "a:b",
    "a@b",
    "a|b",
    "a,b",
    "[a]",
    "{a}",
    "$a",
    "`a`",
    "ä/ö/ü",
    "日本語/テスト",
    "Ω",
    "𝄞",
    "\u{10ffff}",
    "\u{e9}",
    "e\u{301}",
    "\u{feff}x",
    "\u{200b}",
    "c/\u{fffd}",
    "c/x-amz-meta",
    "uploads",
    "policy?versioning",
];

fn awkward_keys() -> Vec<String> {
    let mut keys: Vec<String> = AWKWARD_KEYS.iter().map(|key| (*key).to_owned()).collect();
    keys.push("k".repeat(1024));
    keys.push(format!("{}zz", "d/".repeat(511)));
    keys.push("é".repeat(512));
    keys.push("/".repeat(1024));
    keys.push(format!("long/{}", "n".repeat(300)));
    keys.push(format!("long/{}/x", "n".repeat(300)));
    keys
}

fn started() -> Result<(Server, Client)> {
    let server = Server::start_with("keys", Options::new(1, "1"))?;
    let mut client = server.client()?;
    client.make_bucket(BUCKET)?;
    Ok((server, client))
}

/// What an object of this key holds: no two alike.
fn body(key: &str) -> Vec<u8> {
    format!("the object {key:?}").into_bytes()
}

#[test]
fn awkward_keys_coexist_and_come_back() -> Result<()> {
    let (mut server, mut client) = started()?;
    let keys: BTreeSet<String> = awkward_keys().into_iter().collect();
    for key in &keys {
        client.put(BUCKET, key, body(key))?;
    }
    assert_exactly(&mut client, &keys)?;

    // And the same after a restart from what is on disk.
    server.kill()?;
    server.start_again()?;
    assert_exactly(&mut server.client()?, &keys)
}

#[test]
fn deleting_a_key_deletes_no_other() -> Result<()> {
    let (_server, mut client) = started()?;
    let mut keys: BTreeSet<String> = awkward_keys().into_iter().collect();
    for key in &keys {
        client.put(BUCKET, key, body(key))?;
    }
    let half: Vec<String> = keys.iter().step_by(2).cloned().collect();
    for key in half {
        client.delete(BUCKET, &key)?;
        keys.remove(&key);
        let gone = client.send(&Request::object("GET", BUCKET, &key))?;
        assert_eq!(gone.verdict(), "404 NoSuchKey", "{key:?}");
    }
    assert_exactly(&mut client, &keys)
}

#[test]
fn every_directory_of_awkward_keys_lists_exactly() -> Result<()> {
    let (_server, mut client) = started()?;
    let keys: BTreeSet<String> = awkward_keys().into_iter().filter(|key| key.len() < 400).collect();
    for key in &keys {
        client.put(BUCKET, key, body(key))?;
    }
    let mut prefixes: BTreeSet<String> = ["", "a/b", "a%", "zzz", "A", "/a"].map(str::to_owned).into();
    for key in &keys {
        prefixes.extend(key.match_indices('/').map(|(end, _)| key[..=end].to_owned()));
    }
    for prefix in &prefixes {
        for delimiter in ["/", "b", "//", "%2", "ö/"] {
            assert_directory(&mut client, &keys, prefix, delimiter)?;
        }
    }
    Ok(())
}

#[test]
fn random_puts_and_deletes_equal_a_model() -> Result<()> {
    let (_server, mut client) = started()?;
    let mut sequence = Sequence::new(20);
    let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for step in 0..600 {
        let key = random_key(&mut sequence);
        if sequence.below(3) == 0 {
            client.delete(BUCKET, &key)?;
            model.remove(&key);
        } else {
            let content = format!("{step} {key}").into_bytes();
            client.put(BUCKET, &key, content.clone())?;
            model.insert(key, content);
        }
        if step % 50 == 49 {
            let keys = model.keys().cloned().collect();
            ensure!(
                client.keys(BUCKET)?.iter().eq(model.keys()),
                "the listing differs from the model at step {step}"
            );
            for prefix in ["", "a/", "a//", "/", "b/a", "./", "a/b/"] {
                assert_directory(&mut client, &keys, prefix, "/")?;
            }
        }
    }
    for (key, content) in &model {
        ensure!(client.get(BUCKET, key)? == *content, "{key:?} differs from the model");
    }
    Ok(())
}

/// Few letters and many slashes, so that keys are each other's directories all the time.
fn random_key(sequence: &mut Sequence) -> String {
    let length = 1 + sequence.below(6);
    (0..length)
        .map(|_| *sequence.pick(&["a", "b", "/", "/", "."]))
        .collect()
}

#[test]
fn keys_that_s3_does_not_allow_are_refused() -> Result<()> {
    let (_server, mut client) = started()?;
    let too_long = client.send(&Request::object("PUT", BUCKET, "k".repeat(1025)).body("x"))?;
    assert_eq!(too_long.verdict(), "400 KeyTooLongError");
    let deep = client.send(&Request::object("PUT", BUCKET, format!("{}x", "d/".repeat(512))).body("x"))?;
    assert_eq!(deep.verdict(), "400 KeyTooLongError");
    let not_utf8 = client.send(&Request::object("PUT", BUCKET, b"a\xff\xfeb").body("x"))?;
    assert_eq!(not_utf8.status, 400, "{}", not_utf8.text());
    assert_exactly(&mut client, &BTreeSet::new())
}

/// The bucket holds these keys with their bodies and nothing else.
fn assert_exactly(client: &mut Client, keys: &BTreeSet<String>) -> Result<()> {
    // A `BTreeSet` of strings is in UTF-8 byte order, as a listing must be.
    let plain = client.keys(BUCKET)?;
    let expected: Vec<String> = keys.iter().cloned().collect();
    // XML 1.0 readers turn a bare carriage return into a newline, so keys with one are compared below only.
    assert_eq!(plain.len(), expected.len());
    for (got, expected) in plain.iter().zip(&expected).filter(|(_, key)| !key.contains('\r')) {
        assert_eq!(got, expected, "in a plain listing");
    }

    let page = client
        .send(&Request::bucket("GET", BUCKET).query("encoding-type", "url"))?
        .success()?;
    let decoded: Vec<String> = page.elements("Key").iter().map(|key| decoded(key)).collect();
    assert_eq!(decoded, expected, "in a listing with encoding-type=url");

    for key in keys {
        assert_eq!(client.get(BUCKET, key)?, body(key), "{key:?}");
        let head = client.send(&Request::object("HEAD", BUCKET, key))?.success()?;
        assert_eq!(
            head.header("content-length"),
            Some(body(key).len().to_string().as_str()),
            "{key:?}"
        );
    }
    Ok(())
}

/// One level of the tree equals what the keys say.
fn assert_directory(client: &mut Client, keys: &BTreeSet<String>, prefix: &str, delimiter: &str) -> Result<()> {
    let request = Request::bucket("GET", BUCKET)
        .query("list-type", 2)
        .query("prefix", prefix)
        .query("delimiter", delimiter)
        .query("encoding-type", "url");
    let page = client.send(&request)?.success()?;
    let contents: Vec<String> = page.elements("Key").iter().map(|key| decoded(key)).collect();
    // Each CommonPrefixes element holds one Prefix; the first Prefix of the page is the request's own.
    let common: Vec<String> = page
        .elements("CommonPrefixes")
        .iter()
        .map(|inner| {
            decoded(
                inner
                    .trim()
                    .trim_start_matches("<Prefix>")
                    .trim_end_matches("</Prefix>"),
            )
        })
        .collect();

    let (mut expected, mut expected_common) = (Vec::new(), Vec::new());
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        match key[prefix.len()..].find(delimiter) {
            None => expected.push(key.clone()),
            Some(at) => expected_common.push(key[..prefix.len() + at + delimiter.len()].to_owned()),
        }
    }
    expected_common.dedup();
    assert_eq!(contents, expected, "keys under {prefix:?} by {delimiter:?}");
    assert_eq!(
        common, expected_common,
        "common prefixes under {prefix:?} by {delimiter:?}"
    );
    Ok(())
}

/// Undoes encoding-type=url, in which a space may be a plus.
fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', "%20"))
        .decode_utf8()
        .expect("what was put as UTF-8 is listed as UTF-8")
        .into_owned()
}
