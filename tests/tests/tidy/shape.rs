//! Rules on the shape of files: their size, the size of functions, what `lib.rs` holds, circles between modules.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Finding, Sample, Source, Tree};

const FILE_LINES: usize = 800;
const INLINE_TEST_LINES: usize = 200;
const FUNCTION_LINES: usize = 70;

pub(crate) fn file_size(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources() {
        let production = source.production_lines().count();
        if production > FILE_LINES {
            findings.push(source.finding(FILE_LINES, format!("{production} lines; at most {FILE_LINES}")));
        }
        let inline = source.in_test_module.iter().filter(|in_test| **in_test).count();
        if !source.is_test_file() && inline > INLINE_TEST_LINES {
            let start = source
                .in_test_module
                .iter()
                .position(|in_test| *in_test)
                .unwrap_or_default()
                + 1;
            let message = format!("{inline} lines of tests; above {INLINE_TEST_LINES} they get a file of their own");
            findings.push(source.finding(start, message));
        }
    }
    findings
}

// 801 lines of code, and 203 lines of inline tests.
const LONG_FILE: &str = include_str!("samples/long_file.txt");
const LONG_TESTS: &str = include_str!("samples/long_tests.txt");
pub(crate) const FILE_SIZE_BAD: &[Sample] = &[
    &[("common/src/map.rs", LONG_FILE)],
    &[("common/src/map.rs", LONG_TESTS)],
];
pub(crate) const FILE_SIZE_GOOD: &[Sample] = &[
    &[("common/src/map/tests.rs", LONG_FILE)],
    &[("tests/tests/sync.rs", LONG_FILE)],
    &[("common/src/map/tests.rs", LONG_TESTS)],
];

pub(crate) fn function_size(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources() {
        for (name, start, end) in functions(source) {
            let length = end - start + 1;
            if length > FUNCTION_LINES {
                findings.push(source.finding(start, format!("`{name}` has {length} lines; at most {FUNCTION_LINES}")));
            }
        }
    }
    findings
}

/// (name, first line, last line) of every function with a body, from `fn` to its closing brace.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (offset, _) in source.code.match_indices("fn ") {
        let before = source.code[..offset].chars().next_back();
        if before.is_some_and(|character| character.is_alphanumeric() || character == '_') {
            continue;
        }
        let rest = &source.code[offset + 3..];
        let name: String = rest
            .chars()
            .take_while(|character| character.is_alphanumeric() || *character == '_')
            .collect();
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&source.code, offset) {
            found.push((name, source.line_of(offset), source.line_of(end)));
        }
    }
    found
}

/// The offset of the brace that closes the first body after `start`; `None` for a declaration.
fn body_end(code: &str, start: usize) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (offset, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others = others.saturating_sub(1),
            b';' if braces == 0 && others == 0 => return None,
            b'{' if braces > 0 || others == 0 => braces += 1,
            b'}' if braces == 1 => return Some(offset),
            b'}' if braces > 1 => braces -= 1,
            _ => {}
        }
    }
    None
}

// A function of 71 lines, and one of 70.
const LONG_FUNCTION: &str = include_str!("samples/long_function.txt");
const FITTING_FUNCTION: &str = include_str!("samples/fitting_function.txt");
pub(crate) const FUNCTION_SIZE_BAD: &[Sample] = &[
    &[("common/src/map.rs", LONG_FUNCTION)],
    &[("tests/tests/sync.rs", LONG_FUNCTION)],
];
pub(crate) const FUNCTION_SIZE_GOOD: &[Sample] = &[&[("common/src/map.rs", FITTING_FUNCTION)]];

pub(crate) fn lib_only_modules(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources().filter(|source| source.path.ends_with("src/lib.rs")) {
        let mut open_use = false;
        for (index, line) in source.code.lines().enumerate() {
            let line = line.trim();
            let starts_use = ["use ", "pub use ", "pub(crate) use "]
                .iter()
                .any(|start| line.starts_with(start));
            let is_module = ["mod ", "pub mod ", "pub(crate) mod "]
                .iter()
                .any(|start| line.starts_with(start));
            let fits = line.is_empty() || line.starts_with('#') || open_use || starts_use;
            if !(fits || is_module && line.ends_with(';')) {
                findings.push(source.finding(
                    index + 1,
                    "lib.rs holds its header, modules and re-exports, nothing else",
                ));
                break;
            }
            open_use = (open_use || starts_use) && !line.ends_with(';');
        }
    }
    findings
}

pub(crate) const LIB_BAD: &[Sample] = &[
    &[("common/src/lib.rs", "//! x\npub fn f() {}\n")],
    &[("common/src/lib.rs", "//! x\nmod a {\n    fn f() {}\n}\n")],
    &[("common/src/lib.rs", "//! x\nmod a;\npub const A: u8 = 1;\n")],
];
pub(crate) const LIB_GOOD: &[Sample] = &[&[(
    "common/src/lib.rs",
    "//! x\n#![forbid(unsafe_code)]\n\nmod a;\npub mod b;\n\n#[cfg(test)]\nmod tests;\npub use a::{\n    A,\n    B,\n};\n",
)]];

pub(crate) fn module_circles(tree: &Tree) -> Vec<Finding> {
    let mut crates: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in tree
        .sources()
        .filter(|source| !source.is_test_file() && source.path.contains("/src/"))
    {
        crates.entry(source.crate_folder()).or_default().push(source);
    }
    let mut findings = Vec::new();
    for sources in crates.values() {
        let arrows = module_arrows(sources);
        if let Some(circle) = circle(&arrows) {
            let message = format!("modules in a circle: {}", circle.join(" -> "));
            let first = sources
                .iter()
                .find(|source| top_module(source).as_deref() == Some(&circle[0]));
            findings.extend(first.map(|source| source.finding(1, message)));
        }
    }
    findings
}

/// Top-level module → the top-level modules it mentions as `crate::name`, through re-exports too.
fn module_arrows(sources: &[&Source]) -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeSet<String> = sources.iter().filter_map(|source| top_module(source)).collect();
    let exports = reexports(sources, &modules);
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(from) = top_module(source) else { continue };
        let code: String = source.production_lines().flat_map(|(_, line)| [line, "\n"]).collect();
        for name in mentions(&code, "crate::") {
            let to = if modules.contains(&name) {
                Some(&name)
            } else {
                exports.get(&name)
            };
            if let Some(to) = to.filter(|to| **to != from) {
                arrows.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    arrows
}

/// The module right under the crate root that the file belongs to; `None` for the root itself.
fn top_module(source: &Source) -> Option<String> {
    let (_, in_src) = source.path.split_once("/src/")?;
    let first = in_src.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main" | "bin")).then(|| name.to_owned())
}

/// Name → module, for what lib.rs re-exports from its modules.
fn reexports(sources: &[&Source], modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    let Some(root) = sources.iter().find(|source| source.path.ends_with("src/lib.rs")) else {
        return exports;
    };
    for statement in root.code.split(';') {
        let Some((_, path)) = statement.split_once("use ") else {
            continue;
        };
        let path = path.trim().trim_start_matches("crate::").trim_start_matches("self::");
        let Some((module, names)) = path.split_once("::") else {
            continue;
        };
        if modules.contains(module) {
            let names = names.split(|character: char| !character.is_alphanumeric() && character != '_');
            exports.extend(
                names
                    .filter(|name| !name.is_empty())
                    .map(|name| (name.to_owned(), module.to_owned())),
            );
        }
    }
    exports
}

/// The first path segments that follow `prefix`, also inside one level of braces: `crate::{a::B, c}` gives a and c.
fn mentions(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (offset, _) in code.match_indices(prefix) {
        let rest = &code[offset + prefix.len()..];
        if let Some(inner) = rest.strip_prefix('{') {
            names.extend(group_heads(inner));
        } else {
            names.insert(leading_name(rest));
        }
    }
    names.remove("");
    names
}

fn group_heads(inner: &str) -> Vec<String> {
    let mut heads = vec![leading_name(inner.trim_start())];
    let mut depth = 0_usize;
    for (offset, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b',' if depth == 0 => heads.push(leading_name(inner[offset + 1..].trim_start())),
            _ => {}
        }
    }
    heads
}

fn leading_name(text: &str) -> String {
    text.chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

/// One circle of the graph, its first module repeated at the end.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    arrows
        .keys()
        .find_map(|start| visit(start, arrows, &mut Vec::new(), &mut done))
}

/// Depth-first; the recursion is bounded by the number of modules.
fn visit(
    module: &str,
    arrows: &BTreeMap<String, BTreeSet<String>>,
    path: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(start) = path.iter().position(|on_path| on_path == module) {
        let mut found = path[start..].to_vec();
        found.push(module.to_owned());
        return Some(found);
    }
    if !done.insert(module.to_owned()) {
        return None;
    }
    path.push(module.to_owned());
    let found = arrows
        .get(module)
        .into_iter()
        .flatten()
        .find_map(|next| visit(next, arrows, path, done));
    path.pop();
    found
}

pub(crate) const CIRCLES_BAD: &[Sample] = &[
    &[
        ("a/src/b.rs", "//! x\nuse crate::c::C;\n"),
        ("a/src/c.rs", "//! x\nuse crate::b::B;\n"),
    ],
    &[
        ("a/src/b/inner.rs", "//! x\nuse crate::{c::C, d};\n"),
        ("a/src/c.rs", "//! x\nfn f() {}\n"),
        ("a/src/d.rs", "//! x\nfn f() { crate::e::g() }\n"),
        ("a/src/e.rs", "//! x\nuse crate::b::inner::B;\n"),
    ],
    &[
        ("a/src/lib.rs", "//! x\nmod b;\nmod c;\npub use b::{B, B2};\n"),
        ("a/src/b.rs", "//! x\nuse crate::c::C;\n"),
        ("a/src/c.rs", "//! x\nuse crate::B2;\n"),
    ],
];
pub(crate) const CIRCLES_GOOD: &[Sample] = &[
    &[
        ("a/src/b.rs", "//! crate::c\nuse crate::c::C;\nuse crate::d::D;\n"),
        (
            "a/src/c.rs",
            "//! x\nuse crate::d::D;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n",
        ),
        ("a/src/d.rs", "//! x\nuse crate::d::inner::E;\n"),
    ],
    &[
        ("a/src/b.rs", "//! x\nuse crate::c::C;\n"),
        ("z/src/c.rs", "//! x\nuse crate::b::B;\n"),
    ],
];
