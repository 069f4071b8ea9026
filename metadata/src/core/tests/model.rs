//! Random commands against a plain map of keys: same contents, same listings.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::harness::Machine;

/// What S3 says a listing is, computed from all keys.
fn reference(keys: &BTreeSet<Vec<u8>>, prefix: &[u8], delimiter: &[u8], from: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let mut listing: Vec<(Vec<u8>, bool)> = Vec::new();
    for key in keys
        .iter()
        .filter(|key| key.starts_with(prefix) && key.as_slice() >= from)
    {
        let tail = &key[prefix.len()..];
        let at = tail
            .windows(delimiter.len().max(1))
            .position(|window| !delimiter.is_empty() && window == delimiter);
        let entry = match at {
            Some(at) => (key[..prefix.len() + at + delimiter.len()].to_vec(), true),
            None => (key.clone(), false),
        };
        if listing.last() != Some(&entry) {
            listing.push(entry);
        }
    }
    listing
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ab/]{1,6}".prop_map(String::into_bytes),
        "[a-c/+. ]{1,12}".prop_map(String::into_bytes),
        proptest::collection::vec(prop_oneof![Just(b'/'), any::<u8>()], 1..8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn contents_and_listings_equal_the_model(
        commands in proptest::collection::vec((any::<u8>(), key()), 1..120),
        prefixes in proptest::collection::vec("[ab/]{0,3}", 4),
        froms in proptest::collection::vec(key(), 4),
    ) {
        let mut machine = Machine::new();
        let mut model: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for (choice, key) in &commands {
            if choice % 4 == 0 {
                prop_assert!(machine.delete(key).is_ok());
                model.remove(key);
            } else {
                let chunks = u64::from(choice % 3);
                prop_assert!(machine.put(key, chunks).is_ok());
                let size = if chunks == 0 { key.len().min(100) } else { chunks as usize * 100 };
                model.insert(key.clone(), size);
            }
        }
        let keys: BTreeSet<Vec<u8>> = model.keys().cloned().collect();
        for (prefix, from) in prefixes.iter().zip(&froms) {
            for delimiter in [b"".as_slice(), b"/", b"a", b"/a", b"b/"] {
                for limit in [1, 3, 1000] {
                    let listed = machine.list(prefix.as_bytes(), delimiter, b"", limit);
                    prop_assert_eq!(&listed, &reference(&keys, prefix.as_bytes(), delimiter, b""));
                    let listed = machine.list(b"", delimiter, from, limit);
                    prop_assert_eq!(&listed, &reference(&keys, b"", delimiter, from));
                }
            }
        }
        for (key, size) in &model {
            let object = machine.object(key).expect("a key of the model");
            prop_assert_eq!(object.info.expect("an info").size, *size as u64);
        }
        for key in &keys {
            prop_assert!(machine.delete(key).is_ok());
        }
        prop_assert!(machine.list(b"", b"", b"", 10).is_empty());
    }
}
