//! The S3 operations that every client needs, through boto3: the checks are in `tests/clients`, one group per test.

use anyhow::{Result, ensure};
use cairn_tests::clients::Clients;
use cairn_tests::content::Sequence;
use cairn_tests::process;
use cairn_tests::server::{Options, Server};
use std::collections::BTreeSet;
use std::thread;

const SCRIPT: &str = "s3_api.py";

/// Runs all checks of the script whose names start with the group's.
fn run_group(group: &str) -> Result<()> {
    let server = Server::start_with(&format!("s3-{group}"), Options::new(3, "2+1"))?;
    let printed = process::run(Clients::ready()?.script(&server, SCRIPT)?.arg(group))?;
    ensure!(printed.stdout.contains("checks passed"), "{}", printed.stdout);
    Ok(())
}

/// One test per group, and the list of groups for the test that none is forgotten.
macro_rules! groups {
    ($($group:ident),+ $(,)?) => {
        const GROUPS: &[&str] = &[$(stringify!($group)),+];
        $(
            #[test]
            fn $group() -> Result<()> {
                run_group(stringify!($group))
            }
        )+
    };
}

groups!(
    bucket,
    object,
    metadata,
    conditional,
    range,
    copy,
    multipart,
    delete,
    checksum,
    presigned,
    keys,
    list
);

#[test]
fn no_check_is_forgotten() -> Result<()> {
    let server = Server::start_with("s3-checks", Options::new(1, "1"))?;
    let listed = process::run(Clients::ready()?.script(&server, SCRIPT)?.arg("--list"))?.stdout;
    ensure!(listed.lines().count() > 40, "{listed}");
    for check in listed.lines() {
        ensure!(
            GROUPS.iter().any(|group| check.starts_with(group)),
            "no group runs {check}"
        );
    }
    Ok(())
}

/// 10,000 keys put by the raw client, then listed by boto3 in every way and compared with what the keys say.
#[test]
fn ten_thousand_keys_list_like_a_reference() -> Result<()> {
    const BUCKET: &str = "listing";
    const COUNT: usize = 10_000;
    let server = Server::start_with("s3-listing", Options::new(3, "2+1"))?;
    server.client()?.make_bucket(BUCKET)?;
    let keys: Vec<String> = listing_keys(COUNT).into_iter().collect();
    let threads: Vec<_> = keys
        .chunks(COUNT / 4)
        .map(|part| {
            let (mut client, part) = (server.client()?, part.to_vec());
            Ok(thread::spawn(move || {
                part.iter()
                    .try_for_each(|key| client.put(BUCKET, key, key.as_str()).map(drop))
            }))
        })
        .collect::<Result<_>>()?;
    for thread in threads {
        thread.join().expect("a client does not panic")?;
    }
    let file = server.folder().join("keys.json");
    std::fs::write(&file, serde_json::to_vec(&keys)?)?;
    let printed = process::run(Clients::ready()?.script(&server, "listing.py")?.arg(BUCKET).arg(file))?;
    ensure!(printed.stdout.contains("checks passed"), "{}", printed.stdout);
    Ok(())
}

/// Deep and flat, common prefixes of one key and of thousands, characters on both sides of the slash in byte order.
fn listing_keys(count: usize) -> BTreeSet<String> {
    let mut sequence = Sequence::new(10);
    let parts = [
        "a", "b", "photos", "2024", "x y", "ä", "a.b", "a-b", "a+b", "é%", "日本", "0", "~", "!", "",
    ];
    let mut keys: BTreeSet<String> = (0..count / 3)
        .map(|index| format!("logs/{:03}/{index:05}", index % 97))
        .collect();
    keys.extend((0..count / 5).map(|index| format!("flat-{index:06}")));
    while keys.len() < count {
        let depth = 1 + sequence.below(6);
        let mut key = String::new();
        for _ in 0..depth {
            key.push_str(sequence.pick::<&str>(&parts));
            key.push('/');
        }
        key.push_str(&sequence.below(1000).to_string());
        keys.insert(key);
    }
    keys
}
