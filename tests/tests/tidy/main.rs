//! Tidy: the house rules that a machine can check, as one table. `RULES` names each rule, why it is there, and samples
//! it must and must not object to; a rule whose bad samples pass would be a rule that cannot fail, so that is a test too.
//!
//! Rules read text, never compile it: they run in milliseconds and see every file, whatever features are on.

mod shape;
mod source;
mod text;
mod workspace;

use source::{Finding, Sample, Tree};

struct Rule {
    name: &'static str,
    reason: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
    /// Small trees, each of which must be objected to.
    bad: &'static [Sample],
    /// Small trees that come close and are fine.
    good: &'static [Sample],
}

const RULES: &[Rule] = &[
    Rule {
        name: "module header",
        reason: "a reader learns from `//!` what a file owns and must never do",
        check: text::module_header,
        bad: text::MODULE_HEADER_BAD,
        good: text::MODULE_HEADER_GOOD,
    },
    Rule {
        name: "left-over markers",
        reason: "unfinished work belongs into the tracker, not into the tree",
        check: text::markers,
        bad: text::MARKERS_BAD,
        good: text::MARKERS_GOOD,
    },
    Rule {
        name: "bare allow",
        reason: "`#[expect(lint, reason = \"…\")]` says why and complains when it is no longer needed",
        check: text::bare_allow,
        bad: text::BARE_ALLOW_BAD,
        good: text::BARE_ALLOW_GOOD,
    },
    Rule {
        name: "banned words",
        reason: "one word per thing, and no drawer for everything",
        check: text::banned_words,
        bad: text::BANNED_WORDS_BAD,
        good: text::BANNED_WORDS_GOOD,
    },
    Rule {
        name: "core purity",
        reason: "core modules are functions of (state, event, now): the whole cluster runs in a seeded simulation",
        check: text::core_purity,
        bad: text::CORE_PURITY_BAD,
        good: text::CORE_PURITY_GOOD,
    },
    Rule {
        name: "sleep in tests",
        reason: "a test waits for a condition with a bound; a fixed pause is too short on one machine and too long on all",
        check: text::sleep_in_tests,
        bad: text::SLEEP_IN_TESTS_BAD,
        good: text::SLEEP_IN_TESTS_GOOD,
    },
    Rule {
        name: "file size",
        reason: "small rooms: a file fits one head",
        check: shape::file_size,
        bad: shape::FILE_SIZE_BAD,
        good: shape::FILE_SIZE_GOOD,
    },
    Rule {
        name: "function size",
        reason: "small rooms: a function fits one screen",
        check: shape::function_size,
        bad: shape::FUNCTION_SIZE_BAD,
        good: shape::FUNCTION_SIZE_GOOD,
    },
    Rule {
        name: "lib.rs",
        reason: "the entrance shows the rooms and holds no furniture",
        check: shape::lib_only_modules,
        bad: shape::LIB_BAD,
        good: shape::LIB_GOOD,
    },
    Rule {
        name: "module circles",
        reason: "modules that need each other are one module in two files",
        check: shape::module_circles,
        bad: shape::CIRCLES_BAD,
        good: shape::CIRCLES_GOOD,
    },
    Rule {
        name: "crate arrows",
        reason: "the map of crates is a decision: a new arrow needs a line in ARCHITECTURE.md and one in this table",
        check: workspace::crate_arrows,
        bad: workspace::CRATE_ARROWS_BAD,
        good: workspace::CRATE_ARROWS_GOOD,
    },
    Rule {
        name: "crate manifests",
        reason: "versions, lints and names are kept once, in the workspace",
        check: workspace::crate_manifests,
        bad: workspace::CRATE_MANIFESTS_BAD,
        good: workspace::CRATE_MANIFESTS_GOOD,
    },
    Rule {
        name: "dependencies documented",
        reason: "each dependency earns its place in a line of docs/dependencies.md",
        check: workspace::dependencies_documented,
        bad: workspace::DEPENDENCIES_BAD,
        good: workspace::DEPENDENCIES_GOOD,
    },
    Rule {
        name: "architecture page",
        reason: "a map longer than 300 lines is read by nobody",
        check: workspace::architecture_page,
        bad: workspace::ARCHITECTURE_BAD,
        good: workspace::ARCHITECTURE_GOOD,
    },
];

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::of_workspace();
    let mut report = String::new();
    let mut count = 0;
    for rule in RULES {
        let findings = (rule.check)(&tree);
        if findings.is_empty() {
            continue;
        }
        count += findings.len();
        report.push_str(&format!("\n{}: {}\n", rule.name, rule.reason));
        for finding in findings {
            report.push_str(&format!("  {finding}\n"));
        }
    }
    assert!(report.is_empty(), "{count} findings\n{report}");
}

#[test]
fn the_walk_finds_the_sources() {
    let tree = Tree::of_workspace();
    for expected in ["cairn/src/main.rs", "tests/tests/tidy/main.rs"] {
        assert!(
            tree.sources().any(|source| source.path == expected),
            "{expected} was not walked"
        );
    }
    assert!(
        tree.text("Cargo.toml").is_some(),
        "the workspace manifest was not walked"
    );
}

#[test]
fn every_rule_objects_to_its_bad_samples() {
    for rule in RULES {
        assert!(!rule.bad.is_empty(), "rule {:?} has no bad sample", rule.name);
        for sample in rule.bad {
            let findings = (rule.check)(&Tree::of_sample(sample));
            assert!(
                !findings.is_empty(),
                "rule {:?} accepts its bad sample {sample:?}",
                rule.name
            );
        }
    }
}

#[test]
fn no_rule_objects_to_its_good_samples() {
    for rule in RULES {
        assert!(!rule.good.is_empty(), "rule {:?} has no good sample", rule.name);
        for sample in rule.good {
            let findings = (rule.check)(&Tree::of_sample(sample));
            assert!(
                findings.is_empty(),
                "rule {:?} objects to its good sample: {findings:?}",
                rule.name
            );
        }
    }
}
