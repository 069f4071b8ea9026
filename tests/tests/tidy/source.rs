//! The tree that the rules look at: every text file of the workspace by its path, and for Rust sources which bytes are
//! code, comment or string. Owns the walk and the lexer; holds no rule.
//!
//! The lexer knows comments (nested), strings (raw, byte), character literals and lifetimes, nothing else of the
//! language. Invariant: a mask has exactly as many bytes and lines as its text.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A tree in a few lines: (path, text) of each file.
pub(crate) type Sample = &'static [(&'static str, &'static str)];

/// Directories that hold no sources of ours.
const SKIPPED: &[&str] = &["target", "cairn-data", "node_modules", "__pycache__"];

pub(crate) struct Tree {
    texts: BTreeMap<String, String>,
    sources: Vec<Source>,
}

/// One Rust file.
pub(crate) struct Source {
    /// From the workspace root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and the insides of literals blanked.
    pub(crate) code: String,
    /// The text with everything but comments blanked.
    pub(crate) comments: String,
    /// For each line, from 0: whether it belongs to a `#[cfg(test)]` module.
    pub(crate) in_test_module: Vec<bool>,
}

#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

impl Tree {
    pub(crate) fn of_workspace() -> Self {
        let root = cairn_tests::place::project();
        let mut texts = BTreeMap::new();
        walk(&root, "", &mut texts);
        Self::of_texts(texts)
    }

    pub(crate) fn of_sample(sample: Sample) -> Self {
        Self::of_texts(
            sample
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }

    fn of_texts(texts: BTreeMap<String, String>) -> Self {
        let sources = texts
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| Source::new(path, text))
            .collect();
        Self { texts, sources }
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// (folder, manifest text) of every crate.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .filter_map(|(path, text)| Some((path.strip_suffix("/Cargo.toml")?, text.as_str())))
    }
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = masks(text);
        let in_test_module = test_lines(&code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            comments,
            in_test_module,
        }
    }

    pub(crate) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            message: message.into(),
        }
    }

    /// The folder of the crate that the file belongs to.
    pub(crate) fn crate_folder(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Whether the whole file is test code: integration tests, benches, and `tests.rs` beside the code.
    pub(crate) fn is_test_file(&self) -> bool {
        let mut parts = self.path.split('/').skip(1);
        let under_tests = parts.any(|part| matches!(part, "tests" | "benches" | "examples"));
        let stem = self
            .path
            .rsplit('/')
            .next()
            .and_then(|name| name.strip_suffix(".rs"))
            .unwrap_or_default();
        under_tests || stem == "tests" || stem.ends_with("_tests")
    }

    /// Lines of production code with their number from 1: neither in a test file nor in a test module.
    pub(crate) fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines(false)
    }

    /// Lines of test code with their number from 1.
    pub(crate) fn test_code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines(true)
    }

    fn code_lines(&self, tests: bool) -> impl Iterator<Item = (usize, &str)> {
        let all_tests = self.is_test_file();
        self.code
            .lines()
            .zip(&self.in_test_module)
            .enumerate()
            .filter(move |(_, (_, in_module))| (all_tests || **in_module) == tests)
            .map(|(index, (line, _))| (index + 1, line))
    }

    /// The line, from 1, that the byte at `offset` stands on.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }
}

fn walk(directory: &Path, prefix: &str, texts: &mut BTreeMap<String, String>) {
    let entries = std::fs::read_dir(directory).expect("the workspace is readable");
    for entry in entries {
        let entry = entry.expect("the workspace is readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        // Another session of work may remove a file under the walk: what is gone is not looked at.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                walk(&entry.path(), &path, texts);
            }
        } else if [".rs", ".toml", ".md"].iter().any(|suffix| name.ends_with(suffix))
            && let Ok(text) = std::fs::read_to_string(entry.path())
        {
            texts.insert(path, text);
        }
    }
}

/// Marks the lines of `#[cfg(test)] mod name { … }`, attribute included.
fn test_lines(code: &str) -> Vec<bool> {
    let lines: Vec<&str> = code.lines().collect();
    let mut marks = vec![false; lines.len()];
    let mut index = 0;
    while index < lines.len() {
        let opens = lines[index].trim_start().starts_with("#[cfg(test)]")
            && lines[index + 1..]
                .iter()
                .take(3)
                .any(|line| line.trim_start().starts_with("mod "));
        let end = if opens { block_end(&lines, index) } else { None };
        let Some(end) = end else {
            index += 1;
            continue;
        };
        marks[index..=end].fill(true);
        index = end + 1;
    }
    marks
}

/// The line on which the first block that opens at or after `start` closes; `None` for `mod name;`.
fn block_end(lines: &[&str], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, line) in lines.iter().enumerate().skip(start) {
        for character in line.chars() {
            match character {
                ';' if depth == 0 => return None,
                '{' => depth += 1,
                '}' if depth == 1 => return Some(index),
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    None
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// (code, comments): the text twice, with everything else replaced by spaces, byte for byte.
fn masks(text: &str) -> (String, String) {
    let kinds = classify(text.as_bytes());
    let keep = |kind: Kind| {
        let bytes = text
            .bytes()
            .zip(&kinds)
            .map(|(byte, of)| if *of == kind || byte == b'\n' { byte } else { b' ' })
            .collect();
        // A character is of one kind as a whole, so what is kept stays valid UTF-8.
        String::from_utf8(bytes).expect("masks keep whole characters")
    };
    (keep(Kind::Code), keep(Kind::Comment))
}

fn classify(bytes: &[u8]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let (kind, end) = next_token(bytes, at);
        kinds[at..end].fill(kind);
        at = end;
    }
    kinds
}

/// The kind of what starts at `at`, and where it ends.
fn next_token(bytes: &[u8], at: usize) -> (Kind, usize) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        return (Kind::Comment, at + length);
    }
    if rest.starts_with(b"/*") {
        return (Kind::Comment, at + block_comment_length(rest));
    }
    let starts_word = at == 0 || !is_word(bytes[at - 1]);
    if starts_word && let Some(length) = raw_string_length(rest) {
        return (Kind::Literal, at + length);
    }
    match rest[0] {
        b'"' => (Kind::Literal, at + quoted_length(rest, b'"')),
        b'\'' => match character_length(rest) {
            Some(length) => (Kind::Literal, at + length),
            None => (Kind::Code, at + 1),
        },
        _ => (Kind::Code, at + 1),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of `r"…"`, `br#"…"#` and the like, or `None` if `rest` does not start with one.
fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"br"[..], b"cr", b"r"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..].iter().take_while(|byte| **byte == b'#').count();
    let open = prefix.len() + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let body = &rest[open + 1..];
    let length = body.windows(close.len()).position(|window| window == close)?;
    Some(open + 1 + length + close.len())
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a character literal, or `None` where the quote starts a lifetime.
fn character_length(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return Some(quoted_length(rest, b'\''));
    }
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    let valid = match &text {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&rest[1..1 + error.valid_up_to()]).ok()?,
    };
    let width = valid.chars().next()?.len_utf8();
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

#[cfg(test)]
mod tests {
    use super::{Source, masks};

    #[test]
    fn masks_tell_code_comment_and_literal() {
        // (text, code, comments)
        let cases = [
            ("a // b\nc", "a     \nc", "  // b\n "),
            (
                "a /* b /* c */ d */ e",
                "a                   e",
                "  /* b /* c */ d */  ",
            ),
            (r#"f("// no", x)"#, "f(       , x)", "             "),
            (r##"r#"a"b"# + 1"##, "         + 1", "            "),
            (r#"'"' + 'a"#, "    + 'a", "        "),
            (r"'\'' x", "     x", "      "),
            ("for 'a: ", "for 'a: ", "        "),
            ("'ä' y", "     y", "      "),
            ("bar\"x\"", "bar   ", "      "),
        ];
        for (text, code, comments) in cases {
            let (got_code, got_comments) = masks(text);
            assert_eq!(got_code.trim_end(), code.trim_end(), "code of {text:?}");
            assert_eq!(got_comments.trim_end(), comments.trim_end(), "comments of {text:?}");
            assert_eq!(got_code.len(), text.len(), "length of {text:?}");
        }
    }

    #[test]
    fn test_modules_are_told_from_production() {
        let text = "//! x\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { {} }\n}\nfn c() {}\n";
        let source = Source::new("a/src/b.rs", text);
        assert_eq!(source.in_test_module, [false, false, true, true, true, true, false]);
        let declared = Source::new("a/src/b.rs", "#[cfg(test)]\nmod tests;\nfn c() {}\n");
        assert_eq!(declared.in_test_module, [false, false, false]);
    }

    #[test]
    fn test_files_are_known_by_path() {
        let cases = [
            ("common/src/map.rs", false),
            ("common/src/map/tests.rs", true),
            ("common/src/map_tests.rs", true),
            ("tests/src/server.rs", false),
            ("tests/tests/sync.rs", true),
            ("bench/benches/encode.rs", true),
        ];
        for (path, expected) in cases {
            assert_eq!(Source::new(path, "").is_test_file(), expected, "{path}");
        }
    }
}
