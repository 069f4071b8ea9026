//! Rules on single lines: headers, markers, allows, words, and what core modules may not mention.

use crate::source::{Finding, Sample, Source, Tree};

pub(crate) fn module_header(tree: &Tree) -> Vec<Finding> {
    tree.sources()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.finding(1, "the file does not open with a `//!` header"))
        .collect()
}

pub(crate) const MODULE_HEADER_BAD: &[Sample] = &[
    &[("common/src/ids.rs", "use std::fmt;\n//! Ids.\n")],
    &[("common/src/ids.rs", "// Ids.\n")],
    &[("tests/tests/sync.rs", "")],
];
pub(crate) const MODULE_HEADER_GOOD: &[Sample] = &[&[("common/src/ids.rs", "//! Ids: what they are.\n")]];

const COMMENT_MARKERS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];
const CODE_MARKERS: &[&str] = &["todo!(", "unimplemented!(", "dbg!("];

pub(crate) fn markers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources() {
        for (index, (code, comment)) in source.code.lines().zip(source.comments.lines()).enumerate() {
            let in_comment = COMMENT_MARKERS.iter().find(|marker| contains_word(comment, marker));
            let in_code = CODE_MARKERS.iter().find(|marker| contains_word(code, marker));
            for marker in in_comment.into_iter().chain(in_code) {
                findings.push(source.finding(index + 1, format!("left-over marker `{marker}`")));
            }
        }
    }
    findings
}

pub(crate) const MARKERS_BAD: &[Sample] = &[
    &[("common/src/ids.rs", "//! Ids.\n// TODO: check\n")],
    &[("common/src/ids.rs", "//! Ids.\nfn f() { /* a HACK */ }\n")],
    &[("common/src/ids.rs", "//! Ids.\nfn f() { todo!() }\n")],
    &[("common/src/ids.rs", "//! Ids.\nfn f() { dbg!(1); }\n")],
];
pub(crate) const MARKERS_GOOD: &[Sample] = &[&[(
    "common/src/ids.rs",
    "//! Ids.\nconst A: &str = \"TODO todo!()\";\n// HACKNEY is a place.\nfn not_todo() {}\n",
)]];

pub(crate) fn bare_allow(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources() {
        for (index, line) in source.code.lines().enumerate() {
            if ["#[allow(", "#![allow(", ", allow("]
                .iter()
                .any(|allow| line.contains(allow))
            {
                findings.push(source.finding(index + 1, "use `#[expect(lint, reason = \"…\")]` instead of an allow"));
            }
        }
        for (offset, _) in source.code.match_indices("[expect(") {
            let end = source.code[offset..]
                .find(']')
                .map_or(source.code.len(), |length| offset + length);
            if !source.code[offset..end].contains("reason") {
                findings.push(source.finding(source.line_of(offset), "an expect without `reason = \"…\"`"));
            }
        }
    }
    findings
}

pub(crate) const BARE_ALLOW_BAD: &[Sample] = &[
    &[("common/src/ids.rs", "//! Ids.\n#[allow(dead_code)]\nfn f() {}\n")],
    &[("common/src/ids.rs", "//! Ids.\n#![allow(dead_code)]\n")],
    &[(
        "common/src/ids.rs",
        "//! Ids.\n#[cfg_attr(test, allow(dead_code))]\nfn f() {}\n",
    )],
    &[("common/src/ids.rs", "//! Ids.\n#[expect(dead_code)]\nfn f() {}\n")],
];
pub(crate) const BARE_ALLOW_GOOD: &[Sample] = &[
    &[(
        "common/src/ids.rs",
        "//! Ids.\n#[expect(\n    dead_code,\n    reason = \"a [sample]\"\n)]\nfn f() {}\n",
    )],
    &[(
        "common/src/ids.rs",
        "//! Ids.\n// #[allow(dead_code)]\nfn f() { x.expect(\"y\") }\n",
    )],
];

/// Names that no crate, folder or file has: (name, what to do instead).
const BANNED_MODULES: &[(&str, &str)] = &[
    ("utils", "name the one thing it holds"),
    ("util", "name the one thing it holds"),
    ("helpers", "name the one thing it holds"),
    ("helper", "name the one thing it holds"),
    ("misc", "name the one thing it holds"),
    ("stuff", "name the one thing it holds"),
    ("shared", "name the one thing it holds"),
    ("prelude", "import what is used"),
];

/// Words that neither names nor comments use: (word, what the field and the glossary say).
const BANNED_WORDS: &[(&str, &str)] = &[
    ("blacklist", "deny list"),
    ("whitelist", "allow list"),
    ("slave", "follower, replica"),
    ("datablock", "block, shard or chunk: see the glossary"),
    ("osd", "device"),
    ("datanode", "chunkserver"),
    ("namenode", "metadata service"),
];

/// Getters carry the bare noun; what S3 itself calls `Get…` keeps its name.
const GETTERS_OF_S3: &[&str] = &["get_object", "get_bucket", "get_public_access"];

pub(crate) fn banned_words(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources() {
        findings.extend(banned_path(source));
        for (index, line) in source.text.lines().enumerate() {
            if source.path.starts_with("tests/tests/tidy/") {
                break;
            }
            // Words inside of names count too.
            let words = line.to_lowercase().replace('_', " ");
            for (word, instead) in BANNED_WORDS {
                if contains_word(&words, word) {
                    findings.push(source.finding(index + 1, format!("`{word}`: say {instead}")));
                }
            }
        }
        for (line_number, line) in source.production_lines() {
            let Some((_, name)) = line.split_once("fn get_") else {
                continue;
            };
            let is_own = !name.starts_with("mut") && !is_in_trait_impl(source, line_number);
            if is_own && !GETTERS_OF_S3.iter().any(|s3| format!("get_{name}").starts_with(s3)) {
                findings.push(source.finding(line_number, "no `get_`: a getter carries the bare noun"));
            }
        }
    }
    findings
}

/// Whether a function stands in an `impl Trait for Type`: then the trait has named it.
fn is_in_trait_impl(source: &Source, line_number: usize) -> bool {
    let lines: Vec<&str> = source.code.lines().take(line_number).collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let own = indent(lines[line_number - 1]);
    let opens = |line: &&str| {
        indent(line) < own
            && ["impl", "unsafe impl"]
                .iter()
                .any(|start| line.trim_start().starts_with(start))
    };
    let Some(start) = lines.iter().rposition(opens) else {
        return false;
    };
    let head = lines[start..].join(" ");
    head.split('{').next().is_some_and(|head| head.contains(" for "))
}

fn banned_path(source: &Source) -> Option<Finding> {
    let stems = source
        .path
        .split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let hit = stems
        .flat_map(|stem| BANNED_MODULES.iter().filter(move |(word, _)| *word == stem))
        .next();
    hit.map(|(word, instead)| source.finding(1, format!("a module or crate named `{word}`: {instead}")))
}

pub(crate) const BANNED_WORDS_BAD: &[Sample] = &[
    &[("common/src/utils.rs", "//! x\n")],
    &[("helpers/src/ids.rs", "//! x\n")],
    &[("common/src/misc/ids.rs", "//! x\n")],
    &[("common/src/ids.rs", "//! x\n// the slave copies\n")],
    &[("common/src/ids.rs", "//! x\nfn is_on_whitelist() {}\n")],
    &[("common/src/ids.rs", "//! x\npub fn get_epoch() {}\n")],
    &[("common/src/ids.rs", "//! x\nimpl Map {\n    pub fn get_epoch() {}\n}\n")],
];
pub(crate) const BANNED_WORDS_GOOD: &[Sample] = &[
    &[(
        "gateway/src/object.rs",
        "//! x\nasync fn get_object() {}\nfn get_mut() {}\nfn target() {}\n",
    )],
    &[("common/src/sharedness.rs", "//! enslaved, utils\n")],
    &[(
        "metadata/src/raft.rs",
        "//! x\nimpl LogReader\n    for Log\n{\n    async fn get_log_state() {}\n}\n",
    )],
];

/// What core modules may not mention, and why.
const IMPURE: &[(&str, &str)] = &[
    ("async", "decisions are synchronous; a shell awaits"),
    (".await", "decisions are synchronous; a shell awaits"),
    ("tokio::", "the runtime belongs to shells"),
    ("futures::", "the runtime belongs to shells"),
    ("std::fs", "disks are reached by shells, through a trait"),
    ("TcpStream", "sockets belong to shells"),
    ("TcpListener", "sockets belong to shells"),
    ("UdpSocket", "sockets belong to shells"),
    ("std::thread", "threads belong to shells"),
    ("std::env", "configuration comes in as values"),
    ("std::process", "processes belong to shells"),
    ("Instant::now", "the caller passes `now`"),
    ("SystemTime::now", "the caller passes `now`"),
    ("getrandom", "randomness comes in as a value, so that a seed replays it"),
    ("rand::", "randomness comes in as a value, so that a seed replays it"),
    ("RandomState", "its order differs between replicas"),
    ("rocksdb::", "the state machine sees a key-value view"),
    ("println!", "a core returns what happened"),
    ("eprintln!", "a core returns what happened"),
];

pub(crate) fn core_purity(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources().filter(|source| is_core(source)) {
        for (line_number, line) in source.production_lines() {
            for (token, reason) in IMPURE {
                if contains_word(line, token) {
                    findings.push(source.finding(line_number, format!("`{token}` in a core module: {reason}")));
                }
            }
        }
    }
    findings
}

/// Core are all of `common` and what a crate keeps under `src/core`.
fn is_core(source: &Source) -> bool {
    let in_crate = source.path.split_once('/').map_or("", |(_, rest)| rest);
    (source.crate_folder() == "common" && in_crate.starts_with("src/"))
        || in_crate.starts_with("src/core/")
        || in_crate == "src/core.rs"
}

pub(crate) const CORE_PURITY_BAD: &[Sample] = &[
    &[("common/src/map.rs", "//! x\nasync fn f() {}\n")],
    &[("metadata/src/core.rs", "//! x\nfn f() { let now = Instant::now(); }\n")],
    &[("metadata/src/core/put.rs", "//! x\nuse std::fs;\n")],
    &[("metadata/src/core/put.rs", "//! x\nuse tokio::sync::mpsc;\n")],
    &[("common/src/map.rs", "//! x\nfn f() { getrandom::fill(&mut b); }\n")],
];
pub(crate) const CORE_PURITY_GOOD: &[Sample] = &[
    &[(
        "metadata/src/raft.rs",
        "//! x\nuse tokio::sync::mpsc;\nasync fn f() {}\n",
    )],
    &[(
        "common/src/map.rs",
        "//! not async\nuse std::fmt;\nfn asynchronous(operand: u8) { b.operand::<u8>() }\n",
    )],
    &[(
        "common/src/map.rs",
        "//! x\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n",
    )],
    &[("metadata/src/store/core_view.rs", "//! x\nuse std::fs;\n")],
];

/// The one place in tests where time passes: the wait for a condition.
const WAIT_FILE: &str = "tests/src/wait.rs";

pub(crate) fn sleep_in_tests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A benchmark measures over a stretch of time: pauses are its business.
    let sources = tree.sources().filter(|source| !source.path.contains("/benches/"));
    for source in sources {
        let harness = source.path.starts_with("tests/src/") && source.path != WAIT_FILE;
        let own = source.production_lines().filter(|_| harness);
        for (line_number, line) in source.test_code_lines().chain(own) {
            if ["sleep(", "sleep_until("]
                .iter()
                .any(|sleep| contains_word(line, sleep))
            {
                findings.push(source.finding(line_number, "a fixed pause: wait for a condition, with a bound"));
            }
        }
    }
    findings
}

pub(crate) const SLEEP_IN_TESTS_BAD: &[Sample] = &[
    &[("tests/tests/sync.rs", "//! x\nfn f() { thread::sleep(d); }\n")],
    &[("tests/src/server.rs", "//! x\nfn f() { thread::sleep(d); }\n")],
    &[(
        "client/src/session.rs",
        "//! x\n#[cfg(test)]\nmod tests {\n    async fn f() { time::sleep(d).await; }\n}\n",
    )],
];
pub(crate) const SLEEP_IN_TESTS_GOOD: &[Sample] = &[
    &[(
        "transport/benches/carry.rs",
        "//! x\nasync fn f() { time::sleep(d).await; }\n",
    )],
    &[(
        "client/src/session.rs",
        "//! x\nasync fn f() { tokio::time::sleep(d).await; }\n",
    )],
    &[("tests/src/wait.rs", "//! x\nfn until() { std::thread::sleep(d); }\n")],
    &[("tests/tests/sync.rs", "//! x\nfn f() { no_sleep(d); }\n")],
];

/// Whether `needle` stands in `line` and is not part of a longer word on a side where it itself ends in a letter.
fn contains_word(line: &str, needle: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(needle).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + needle.len()..].chars().next();
        let open = needle.starts_with(is_word) && before.is_some_and(is_word);
        let close = needle.ends_with(is_word) && after.is_some_and(is_word);
        !open && !close
    })
}

#[cfg(test)]
mod tests {
    use super::contains_word;

    #[test]
    fn words_end_at_word_borders() {
        let cases = [
            ("async fn", "async", true),
            ("asynchronous", "async", false),
            ("an_async", "async", false),
            ("operand::<u8>", "rand::", false),
            ("rand::random", "rand::", true),
            ("f().await?", ".await", true),
            ("std::fs::read", "std::fs", true),
        ];
        for (line, needle, expected) in cases {
            assert_eq!(contains_word(line, needle), expected, "{needle} in {line}");
        }
    }
}
