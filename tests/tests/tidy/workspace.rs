//! Rules on the workspace as a whole: which crate depends on which, how manifests are written, and the pages that must
//! keep up with them.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::source::{Finding, Sample, Tree};

/// Which crates of the workspace each may depend on, by folder; the map of the design, arrow by arrow.
/// `metadata` and `chunkserver` never depend on each other nor on `client`; on `cairn`, `sim` and `tests` nobody does.
const ARROWS: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("transport", &["common"]),
    ("datapath", &["common", "transport"]),
    ("client", &["common", "transport", "datapath"]),
    ("gateway", &["common", "client"]),
    ("fuse-client", &["common", "client"]),
    ("bench", &["common", "client"]),
    ("metadata", &["common", "transport"]),
    ("chunkserver", &["common", "transport", "datapath"]),
    (
        "cairn",
        &[
            "bench",
            "chunkserver",
            "client",
            "common",
            "datapath",
            "fuse-client",
            "gateway",
            "metadata",
            "transport",
        ],
    ),
    ("etcd-bench", &[]),
    ("fuzz", &["chunkserver", "transport"]),
    ("sim", &[]),
    ("tests", &["bench", "client", "common", "datapath", "transport"]),
];

/// The tables of a manifest that name dependencies.
const DEPENDENCY_TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

pub(crate) fn crate_arrows(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, text) in tree.manifests() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
            findings.push(manifest_finding(
                folder,
                text,
                "",
                "the crate is not in the table of arrows",
            ));
            continue;
        };
        for (name, _) in dependencies(text) {
            let own = if name == "cairn" {
                Some("cairn")
            } else {
                name.strip_prefix("cairn-")
            };
            let Some(target) = own else { continue };
            if !allowed.contains(&target) {
                let message = format!("`{folder}` must not depend on `{target}`; it may on {allowed:?}");
                findings.push(manifest_finding(folder, text, &name, message));
            }
        }
    }
    findings
}

pub(crate) const CRATE_ARROWS_BAD: &[Sample] = &[
    &[(
        "metadata/Cargo.toml",
        "[dependencies]\ncairn-chunkserver.workspace = true\n",
    )],
    &[(
        "chunkserver/Cargo.toml",
        "[dependencies]\ncairn-client = { workspace = true }\n",
    )],
    &[(
        "common/Cargo.toml",
        "[dev-dependencies]\ncairn-transport.workspace = true\n",
    )],
    &[(
        "client/Cargo.toml",
        "[target.'cfg(unix)'.dependencies]\ncairn-tests.workspace = true\n",
    )],
    &[("oracle/Cargo.toml", "[package]\nname = \"cairn-oracle\"\n")],
];
pub(crate) const CRATE_ARROWS_GOOD: &[Sample] = &[
    &[(
        "client/Cargo.toml",
        "[dependencies]\ncairn-common.workspace = true\nbytes.workspace = true\n",
    )],
    &[("common/Cargo.toml", "[package]\nname = \"cairn-common\"\n")],
];

pub(crate) fn crate_manifests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, text) in tree.manifests() {
        let table = parse(text);
        let name = table
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(Value::as_str);
        let expected = if folder == "cairn" {
            "cairn".to_owned()
        } else {
            format!("cairn-{folder}")
        };
        if name != Some(&expected) {
            findings.push(manifest_finding(
                folder,
                text,
                "name",
                format!("the package is named `{expected}`"),
            ));
        }
        let lints = table
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(Value::as_bool);
        if lints != Some(true) {
            findings.push(manifest_finding(
                folder,
                text,
                "lints",
                "`[lints] workspace = true` is missing",
            ));
        }
        for (name, value) in dependencies(text) {
            if value.get("workspace").and_then(Value::as_bool) != Some(true) {
                let message = format!("`{name}` comes by `workspace = true`, so that its version stands in one place");
                findings.push(manifest_finding(folder, text, &name, message));
            }
        }
    }
    findings
}

pub(crate) const CRATE_MANIFESTS_BAD: &[Sample] = &[
    &[(
        "common/Cargo.toml",
        "[package]\nname = \"common\"\n[lints]\nworkspace = true\n",
    )],
    &[("common/Cargo.toml", "[package]\nname = \"cairn-common\"\n")],
    &[(
        "common/Cargo.toml",
        "[package]\nname = \"cairn-common\"\n[lints]\nworkspace = true\n[dependencies]\nbytes = \"1\"\n",
    )],
];
pub(crate) const CRATE_MANIFESTS_GOOD: &[Sample] = &[&[(
    "common/Cargo.toml",
    "[package]\nname = \"cairn-common\"\n[lints]\nworkspace = true\n[dependencies]\nbytes.workspace = true\n",
)]];

const DEPENDENCIES_PAGE: &str = "docs/dependencies.md";

pub(crate) fn dependencies_documented(tree: &Tree) -> Vec<Finding> {
    let Some(manifest) = tree.text("Cargo.toml") else {
        return Vec::new();
    };
    let Some(page) = tree.text(DEPENDENCIES_PAGE) else {
        return vec![finding(DEPENDENCIES_PAGE, 1, "is missing")];
    };
    let used = workspace_dependencies(manifest);
    let mut findings = Vec::new();
    let mut documented = BTreeSet::new();
    for (index, line) in page.lines().enumerate() {
        let Some((name, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |")) else {
            continue;
        };
        if !used.contains(name) {
            findings.push(finding(
                DEPENDENCIES_PAGE,
                index + 1,
                format!("`{name}` is no dependency of the workspace"),
            ));
        }
        documented.insert(name.to_owned());
    }
    for name in used.difference(&documented) {
        findings.push(finding(
            "Cargo.toml",
            line_naming(manifest, name),
            format!("`{name}` has no row in {DEPENDENCIES_PAGE}"),
        ));
    }
    findings
}

fn workspace_dependencies(manifest: &str) -> BTreeSet<String> {
    let table = parse(manifest);
    let dependencies = table
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"));
    let names = dependencies.and_then(Value::as_table).into_iter().flat_map(Table::keys);
    names.filter(|name| !name.starts_with("cairn-")).cloned().collect()
}

pub(crate) const DEPENDENCIES_BAD: &[Sample] = &[
    &[("Cargo.toml", "[workspace.dependencies]\nbytes = \"1\"\n")],
    &[
        ("Cargo.toml", "[workspace.dependencies]\nbytes = \"1\"\n"),
        ("docs/dependencies.md", "bytes are fine\n"),
    ],
    &[
        ("Cargo.toml", "[workspace.dependencies]\n"),
        ("docs/dependencies.md", "| `bytes` | gone |\n"),
    ],
];
pub(crate) const DEPENDENCIES_GOOD: &[Sample] = &[&[
    (
        "Cargo.toml",
        "[workspace.dependencies]\nbytes = \"1\"\ncairn-common = { path = \"common\" }\n",
    ),
    (
        "docs/dependencies.md",
        "| crate | why |\n|---|---|\n| `bytes` | buffers |\n",
    ),
]];

const ARCHITECTURE_LINES: usize = 300;

pub(crate) fn architecture_page(tree: &Tree) -> Vec<Finding> {
    if tree.text("Cargo.toml").is_none() {
        return Vec::new();
    }
    let Some(page) = tree.text("ARCHITECTURE.md") else {
        return vec![finding("ARCHITECTURE.md", 1, "is missing")];
    };
    let lines = page.lines().count();
    let mut findings = Vec::new();
    if lines > ARCHITECTURE_LINES {
        let message = format!("{lines} lines; at most {ARCHITECTURE_LINES}");
        findings.push(finding("ARCHITECTURE.md", ARCHITECTURE_LINES, message));
    }
    for (folder, _) in tree.manifests() {
        if !page.contains(&format!("`{folder}")) && !page.contains(&format!("{folder}/")) {
            findings.push(finding(
                "ARCHITECTURE.md",
                1,
                format!("does not say what `{folder}/` owns"),
            ));
        }
    }
    findings
}

pub(crate) const ARCHITECTURE_BAD: &[Sample] = &[
    &[("Cargo.toml", "[workspace]\n")],
    &[
        ("Cargo.toml", "[workspace]\n"),
        ("ARCHITECTURE.md", include_str!("samples/long_file.txt")),
    ],
    &[
        ("Cargo.toml", "[workspace]\n"),
        ("ARCHITECTURE.md", "# Map\n"),
        ("common/Cargo.toml", "[package]\n"),
    ],
];
pub(crate) const ARCHITECTURE_GOOD: &[Sample] = &[&[
    ("Cargo.toml", "[workspace]\n"),
    ("ARCHITECTURE.md", "# Map\n`common`: pure.\n"),
    ("common/Cargo.toml", "[package]\n"),
]];

/// (name, value) of everything a manifest depends on, target tables included.
fn dependencies(text: &str) -> Vec<(String, Value)> {
    let manifest = parse(text);
    let targets = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values);
    let tables = std::iter::once(&manifest).chain(targets.filter_map(Value::as_table));
    let named = tables.flat_map(|table| DEPENDENCY_TABLES.iter().filter_map(|name| table.get(*name)?.as_table()));
    named
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn parse(text: &str) -> Table {
    text.parse().expect("cargo has parsed the manifest already")
}

fn manifest_finding(folder: &str, text: &str, name: &str, message: impl Into<String>) -> Finding {
    finding(&format!("{folder}/Cargo.toml"), line_naming(text, name), message)
}

/// The line, from 1, that starts with `name`; the first where none does.
fn line_naming(text: &str, name: &str) -> usize {
    text.lines()
        .position(|line| line.trim_start_matches('[').starts_with(name))
        .unwrap_or_default()
        + 1
}

fn finding(path: &str, line: usize, message: impl Into<String>) -> Finding {
    Finding {
        path: path.to_owned(),
        line,
        message: message.into(),
    }
}
