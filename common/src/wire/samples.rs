//! Stored samples: messages of every type as they were sent when the type, or a field of it, was new. They stand in
//! `common/samples/messages-v1.txt`; the values they decode to are listed here, a file for each of the modules.
//!
//! Invariant: a recorded line is never edited: a change under which it reads as another value, or is written otherwise,
//! breaks nodes of different versions that talk to each other. A new field gets a sample of its own, as `Type/what`.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

mod authorities;
mod checkpoints;
mod commands;
mod families;
mod files;
mod groups;
mod inventories;
mod leases;
mod nodes;
mod objects;
mod queries;
mod rafts;
mod recodes;
mod servers;
mod shards;

const RECORDED: &str = include_str!("../../samples/messages-v1.txt");

/// Stands in a line for the encoding of a message without fields.
const NO_BYTES: &str = "-";

/// Every module beside this one, so that none with messages is forgotten.
const SOURCES: &[(&str, &str)] = &[
    ("about", include_str!("about.rs")),
    ("account", include_str!("account.rs")),
    ("authority", include_str!("authority.rs")),
    ("checkpoint", include_str!("checkpoint.rs")),
    ("chunk", include_str!("chunk.rs")),
    ("command", include_str!("command.rs")),
    ("failure", include_str!("failure.rs")),
    ("feed", include_str!("feed.rs")),
    ("file", include_str!("file.rs")),
    ("gathered", include_str!("gathered.rs")),
    ("group", include_str!("group.rs")),
    ("head", include_str!("head.rs")),
    ("inventory", include_str!("inventory.rs")),
    ("kind", include_str!("kind.rs")),
    ("lease", include_str!("lease.rs")),
    ("lock", include_str!("lock.rs")),
    ("map", include_str!("map.rs")),
    ("node", include_str!("node.rs")),
    ("object", include_str!("object.rs")),
    ("query", include_str!("query.rs")),
    ("raft", include_str!("raft.rs")),
    ("recode", include_str!("recode.rs")),
    ("role", include_str!("role.rs")),
    ("server", include_str!("server.rs")),
    ("shard", include_str!("shard.rs")),
];

type Reading = dyn Fn(&[u8]) -> bool;

/// A value under the name of its line: its type, and behind a `/` what tells it from other samples of the type.
struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
    /// Whether bytes decode to the value.
    is_read_from: Box<Reading>,
}

fn sample<M: Message + Default + PartialEq + 'static>(name: &'static str, value: M) -> Sample {
    let type_name = std::any::type_name::<M>().rsplit("::").next();
    assert_eq!(type_name, name.split('/').next(), "a sample is named after its type");
    Sample {
        name,
        bytes: value.encode_to_vec(),
        is_read_from: Box::new(move |bytes| M::decode(bytes).as_ref() == Ok(&value)),
    }
}

fn samples() -> Vec<Sample> {
    [
        checkpoints::samples(),
        commands::samples(),
        commands::requests(),
        commands::replies(),
        groups::samples(),
        files::commands(),
        files::acls(),
        files::reserved(),
        files::queries(),
        files::answers(),
        families::buckets(),
        families::bucket_infos(),
        families::documents(),
        families::copies(),
        families::locks(),
        families::accounts(),
        families::keys(),
        families::account_questions(),
        authorities::samples(),
        families::account_answers(),
        families::chunks(),
        families::chunk_answers(),
        families::feeds(),
        inventories::samples(),
        leases::samples(),
        nodes::samples(),
        objects::samples(),
        queries::samples(),
        queries::answers(),
        queries::pages(),
        rafts::samples(),
        recodes::samples(),
        servers::samples(),
        shards::samples(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The recorded lines, by name.
fn recorded() -> BTreeMap<&'static str, Vec<u8>> {
    let mut lines = BTreeMap::new();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let (name, hex) = line.split_once(' ').expect("a name and hexadecimal digits");
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
        let hex_len = if hex == NO_BYTES { 0 } else { hex.len() };
        let bytes = (0..hex_len).step_by(2).map(digits).collect();
        assert!(lines.insert(name, bytes).is_none(), "{name} is recorded twice");
    }
    lines
}

/// The line that records a sample.
fn line(sample: &Sample) -> String {
    let hex: String = sample.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {}", sample.name, if hex.is_empty() { NO_BYTES } else { &hex })
}

/// A name and the tags of all its fields, for every struct that derives `Message`.
fn message_types(source: &'static str) -> Vec<(&'static str, BTreeSet<u64>)> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut types = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let derives = line.starts_with("#[derive(") && line.contains("Message");
        let declaration = lines.get(at + 1).and_then(|line| line.strip_prefix("pub struct "));
        let (true, Some(declaration)) = (derives, declaration) else {
            continue;
        };
        let name = declaration.split([' ', '<']).next().expect("a name");
        let empty = declaration.ends_with("{}");
        let fields = lines[at + 2..].iter().take_while(|line| !empty && **line != "}");
        types.push((name, fields.flat_map(|line| tags(line)).collect()));
    }
    types
}

/// The tags in `tag = "1"` or `tags = "2, 3"`.
fn tags(line: &str) -> Vec<u64> {
    let quoted = line
        .split_once("tag = \"")
        .or_else(|| line.split_once("tags = \""))
        .and_then(|(_, rest)| rest.split_once('"'));
    quoted.map_or_else(Vec::new, |(list, _)| {
        list.split(", ").map(|tag| tag.parse().expect("a number")).collect()
    })
}

/// The tags of the fields at the top of an encoded message.
fn tags_within(mut bytes: &[u8]) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    while !bytes.is_empty() {
        let key = prost::decode_length_delimiter(&mut bytes).expect("a key");
        found.insert(key as u64 >> 3);
        let skipped = match key & 7 {
            0 => {
                prost::decode_length_delimiter(&mut bytes).expect("a number");
                0
            }
            1 => 8,
            2 => prost::decode_length_delimiter(&mut bytes).expect("a length"),
            5 => 4,
            other => panic!("no field has wire type {other}"),
        };
        bytes = &bytes[skipped..];
    }
    found
}

#[test]
fn recorded_messages_are_read_and_written_as_they_were() {
    let (samples, recorded) = (samples(), recorded());
    let names: BTreeSet<&str> = samples.iter().map(|sample| sample.name).collect();
    assert_eq!(names.len(), samples.len(), "two samples have one name");
    let stale: Vec<_> = recorded.keys().filter(|name| !names.contains(*name)).collect();
    assert!(stale.is_empty(), "lines without a value: {stale:?}");
    let new: Vec<_> = samples
        .iter()
        .filter(|sample| !recorded.contains_key(sample.name))
        .collect();
    let lines: Vec<String> = new.into_iter().map(line).collect();
    assert!(lines.is_empty(), "lines to record:\n{}", lines.join("\n"));
    for sample in samples {
        let line = &recorded[sample.name];
        assert!((sample.is_read_from)(line), "{} is read as another value", sample.name);
        assert_eq!(sample.bytes, *line, "{} is written otherwise", sample.name);
    }
}

#[test]
fn every_message_type_has_samples_that_fill_all_its_fields() {
    let mut sampled: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for (name, bytes) in recorded() {
        let type_name = name.split('/').next().expect("split gives one part at least");
        sampled.entry(type_name).or_default().extend(tags_within(&bytes));
    }
    let types: Vec<_> = SOURCES.iter().flat_map(|(_, source)| message_types(source)).collect();
    assert!(types.len() > 70, "only {} message types were found", types.len());
    for (name, tags) in types {
        assert_eq!(
            sampled.get(name),
            Some(&tags),
            "tags in the samples of {name}, and its own"
        );
    }
}

#[test]
fn every_module_is_looked_through() {
    let modules = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let looked_through = SOURCES.iter().map(|(module, _)| *module);
    assert!(modules.eq(looked_through));
}

#[test]
fn fields_of_a_newer_sender_are_ignored() {
    // Tag 2000 with each wire type: a number, eight bytes, a length and its bytes, four bytes.
    let newer: [&[u8]; 4] = [
        &[0x80, 0x7d, 1],
        &[0x81, 0x7d, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x82, 0x7d, 2, 1, 2],
        &[0x85, 0x7d, 1, 2, 3, 4],
    ];
    for sample in samples() {
        for field in newer {
            let before = [field, &sample.bytes].concat();
            let behind = [&sample.bytes, field].concat();
            assert!((sample.is_read_from)(&before), "{} behind {field:?}", sample.name);
            assert!((sample.is_read_from)(&behind), "{} before {field:?}", sample.name);
        }
    }
}
