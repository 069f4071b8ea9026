//! Disks that die and disks that lie: within what the scheme tolerates everything reads byte-exact and writes go on;
//! beyond it an error says so and nothing is invented.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_tests::content::{self, Sequence};
use cairn_tests::s3::{Client, Request};
use cairn_tests::server::{Options, Server};
use cairn_tests::shards::{self, ALL_DAMAGE, Damage};
use cairn_tests::{place, wait};

const BUCKET: &str = "damage";
const DEVICES: usize = 6;
/// Inlined in the metadata; a small chunk, which has three copies; one chunk of 4+2; several, the last one short.
const LENGTHS: &[usize] = &[
    900,
    50_000,
    100_000,
    400_000,
    1 << 20,
    8 << 20,
    (9 << 20) + 1,
    (20 << 20) + 12_345,
];
/// Objects of each length: of the small ones enough that each device holds shards of some, of the others one for each
/// way that their chunks can lie.
const COPIES: usize = 6;
const LARGE_COPIES: usize = 2;
const LARGE: usize = 2 << 20;

/// Key → hash.
type Objects = BTreeMap<String, String>;

fn filled(name: &str) -> Result<(Server, Objects)> {
    // Every shard that cannot be read is told.
    let options = Options::default().environment("CAIRN_LOG", "info,cairn_datapath=debug,cairn_chunkserver=debug");
    let server = Server::start_with(name, options)?;
    let mut client = server.client()?;
    client.make_bucket(BUCKET)?;
    let mut objects = write(&mut client, "before", COPIES)?;
    let parts = [content::bytes(77, 5 << 20), content::bytes(78, 3_000_000)];
    client.put_parts(BUCKET, "before/multipart", &parts)?;
    objects.insert("before/multipart".to_owned(), content::sha256(&parts.concat()));
    Ok((server, objects))
}

fn write(client: &mut Client, prefix: &str, copies: usize) -> Result<Objects> {
    let mut objects = Objects::new();
    for (index, length) in LENGTHS.iter().enumerate() {
        let copies = if *length < LARGE {
            copies
        } else {
            copies.min(LARGE_COPIES)
        };
        for copy in 0..copies {
            let key = format!("{prefix}/{length}-{copy}");
            let body = content::bytes((index * 100 + copy) as u64 ^ prefix.len() as u64, *length);
            objects.insert(key.clone(), content::sha256(&body));
            client.put(BUCKET, &key, body).with_context(|| key)?;
        }
    }
    Ok(objects)
}

fn assert_readable(server: &Server, objects: &Objects) -> Result<()> {
    let mut client = server.client()?;
    for (key, hash) in objects {
        let body = client.get(BUCKET, key);
        let body = body.with_context(|| format!("reading {key}; the server's log ends with\n{}", server.log_end()))?;
        ensure!(content::sha256(&body) == *hash, "{key} differs from what was written");
    }
    // Parts of objects are decoded by another way through the code than whole ones.
    for key in objects.keys().filter(|key| key.contains("20983865")) {
        let whole = client.get(BUCKET, key)?;
        for (start, end) in [
            (0, 0),
            (8_388_600, 8_388_616),
            (16_000_000, 20_983_864),
            (65_530, 65_540),
        ] {
            let request = Request::object("GET", BUCKET, key).header("range", format!("bytes={start}-{end}"));
            let part = client.send(&request)?.success()?;
            ensure!(part.body == whole[start..=end], "{key} bytes {start}-{end} differ");
        }
    }
    Ok(())
}

/// Takes a device's folder away, as if the disk had died.
fn take_away(server: &Server, device: usize) -> Result<()> {
    Ok(fs::rename(
        server.device(device),
        server.folder().join(format!("away{device}")),
    )?)
}

fn put_back(server: &Server, device: usize) -> Result<()> {
    let place = server.device(device);
    // An empty mount point may have been left in its place; anything in it would be a device made up from nothing.
    if place.exists() {
        ensure!(
            fs::read_dir(&place)?.next().is_none(),
            "{} was made anew",
            place.display()
        );
        fs::remove_dir(&place)?;
    }
    Ok(fs::rename(server.folder().join(format!("away{device}")), place)?)
}

#[test]
fn any_two_devices_may_be_gone_at_start() -> Result<()> {
    let (mut server, objects) = filled("damage-two-gone")?;
    let all = (0..DEVICES).flat_map(|first| (first + 1..DEVICES).map(move |second| [first, second]));
    let pairs: Vec<[usize; 2]> = if place::is_long() {
        all.collect()
    } else {
        vec![[0, 1], [2, 4], [3, 5]]
    };
    for pair in pairs {
        server.stop()?;
        for device in pair {
            take_away(&server, device)?;
        }
        server.start_again()?;
        assert_readable(&server, &objects).with_context(|| format!("without devices {pair:?}"))?;
        ensure!(
            server.metric("cairn_datapath_degraded_reads_total")? > 0.0,
            "degraded reads are counted"
        );
        server.stop()?;
        for device in pair {
            put_back(&server, device)?;
        }
        server.start_again()?;
    }
    assert_readable(&server, &objects)
}

#[test]
fn two_devices_may_vanish_while_it_runs() -> Result<()> {
    let (server, mut objects) = filled("damage-vanish")?;
    take_away(&server, 1)?;
    assert_readable(&server, &objects)?;
    take_away(&server, 4)?;
    assert_readable(&server, &objects)?;
    objects.extend(write(&mut server.client()?, "after", 2)?);
    assert_readable(&server, &objects)
}

#[test]
fn writes_with_two_devices_gone_survive_two_more_losses() -> Result<()> {
    let (mut server, objects) = filled("damage-write-degraded")?;
    server.stop()?;
    take_away(&server, 0)?;
    take_away(&server, 3)?;
    server.start_again()?;
    let written = write(&mut server.client()?, "degraded", 3)?;
    assert_readable(&server, &written)?;

    for more in [[1, 2], [2, 5], [1, 4]] {
        server.stop()?;
        take_away(&server, more[0])?;
        take_away(&server, more[1])?;
        server.start_again()?;
        assert_readable(&server, &written).with_context(|| format!("without devices 0, 3 and {more:?}"))?;
        server.stop()?;
        put_back(&server, more[0])?;
        put_back(&server, more[1])?;
        server.start_again()?;
    }
    put_back_all(&mut server, &[0, 3])?;
    assert_readable(&server, &written)?;
    assert_readable(&server, &objects)
}

/// Whether a key names an object beyond the small ones, which are inlined or have a few copies.
fn is_erasure_coded(key: &str) -> bool {
    let length = key
        .split(['/', '-'])
        .nth(1)
        .and_then(|length| length.parse::<usize>().ok());
    length.is_none_or(|length| length > 128 << 10)
}

fn put_back_all(server: &mut Server, devices: &[usize]) -> Result<()> {
    server.stop()?;
    for device in devices {
        put_back(server, *device)?;
    }
    server.start_again()
}

#[test]
fn three_devices_gone_is_an_error_that_says_so() -> Result<()> {
    let (mut server, objects) = filled("damage-three-gone")?;
    server.stop()?;
    for device in [0, 2, 5] {
        take_away(&server, device)?;
    }
    server.start_again()?;
    let mut client = server.client()?;
    let mut refused = 0;
    for (key, hash) in &objects {
        // A connection that ends in the middle of a body is an error too, as long as it ends before the body does.
        let Ok(response) = client.send(&Request::object("GET", BUCKET, key)) else {
            refused += 1;
            continue;
        };
        if response.status == 200 {
            ensure!(content::sha256(&response.body) == *hash, "{key} was invented");
            continue;
        }
        refused += 1;
        ensure!(matches!(response.status, 500 | 503), "{key}: {}", response.verdict());
        let message = response.element("Message").unwrap_or_default().to_lowercase();
        ensure!(
            ["device", "shard", "unavailable", "lost", "damaged"]
                .iter()
                .any(|word| message.contains(word)),
            "the message does not say what is wrong: {message:?}"
        );
        let head = client.send(&Request::object("HEAD", BUCKET, key))?;
        ensure!(head.status == 200, "the metadata of {key} is not affected");
    }
    let erasure_coded = objects.keys().filter(|key| is_erasure_coded(key)).count();
    ensure!(
        refused >= erasure_coded,
        "only {refused} of {erasure_coded} objects with three shards gone were refused"
    );
    ensure!(
        client.keys(BUCKET)?.len() == objects.len(),
        "the listing is not affected"
    );

    put_back_all(&mut server, &[0, 2, 5])?;
    assert_readable(&server, &objects)
}

#[test]
fn damaged_shards_are_found_counted_and_decoded_around() -> Result<()> {
    let (mut server, objects) = filled("damage-flips")?;
    let mut sequence = Sequence::new(4);
    // Two devices lie about all that they hold, each shard in a way of its own.
    for device in [2, 3] {
        let places = shards::places(&server, device)?;
        ensure!(!places.is_empty(), "device {device} holds shards");
        for (place, damage) in places.iter().zip(ALL_DAMAGE.iter().cycle()) {
            place.damage(*damage, &mut sequence)?;
        }
    }
    assert_readable(&server, &objects).context("while it runs")?;
    assert_damage_is_told(&server)?;

    server.kill()?;
    server.start_again()?;
    assert_readable(&server, &objects).context("after a restart")?;
    assert_damage_is_told(&server)
}

fn assert_damage_is_told(server: &Server) -> Result<()> {
    wait::until("the damage is counted", Duration::from_secs(10), || {
        let corrupt = server.metric("cairn_datapath_corrupt_shards_total")?;
        let degraded = server.metric("cairn_datapath_degraded_reads_total")?;
        Ok((corrupt > 0.0 && degraded > 0.0).then_some(()))
    })?;
    let log = server.log();
    ensure!(
        log.lines()
            .any(|line| line.contains("WARN") && line.contains("damaged")),
        "no line of the log tells of a damaged shard"
    );
    Ok(())
}

/// Each record is intact but for where it lies, and yet not what was asked for.
#[test]
fn shards_in_each_others_place_are_found_out() -> Result<()> {
    let (server, objects) = filled("damage-swapped")?;
    for device in [0, 5] {
        let places = shards::places(&server, device)?;
        let contents: Vec<Vec<u8>> = places.iter().map(shards::Place::read).collect::<Result<_>>()?;
        for (index, place) in places.iter().enumerate() {
            let mut other = contents[(index + 1) % contents.len()].clone();
            other.truncate(contents[index].len());
            place.write(0, &other)?;
        }
    }
    assert_readable(&server, &objects)
}

/// What such devices send is whole by all hashes that come with it, but not what was committed: readers find out, tell of each shard
/// once, and go around.
#[test]
fn devices_that_lie_with_hashes_to_match_are_found_out() -> Result<()> {
    let (server, objects) = filled("damage-lies")?;
    let mut lies = 0;
    for device in [1, 4] {
        let places = shards::places(&server, device)?;
        places.iter().try_for_each(shards::Place::lie)?;
        lies += places.len();
    }
    assert_readable(&server, &objects)?;
    assert_damage_is_told(&server)?;
    assert_readable(&server, &objects)?;
    let log = server.log();
    let told = log.lines().filter(|line| line.contains("a shard is damaged")).count();
    ensure!(
        (1..=lies).contains(&told),
        "{told} lines tell of the {lies} shards that are wrong"
    );
    Ok(())
}

#[test]
fn segments_that_are_gone_or_cut_short_cost_their_shards_and_no_more() -> Result<()> {
    let (mut server, objects) = filled("damage-segments")?;
    server.kill()?;
    for (device, cut) in [(1, true), (4, false)] {
        for segment in shards::segments(&server, device)? {
            if cut {
                let length = fs::metadata(&segment)?.len();
                fs::OpenOptions::new()
                    .write(true)
                    .open(&segment)?
                    .set_len(length / 1000)?;
            } else {
                fs::remove_file(&segment)?;
            }
        }
    }
    server.start_again()?;
    assert_readable(&server, &objects)?;
    let mut client = server.client()?;
    client.put(BUCKET, "afterwards", content::bytes(5, 3 << 20))?;
    ensure!(
        client.get(BUCKET, "afterwards")? == content::bytes(5, 3 << 20),
        "it works on"
    );
    server.kill()?;
    server.start_again()?;
    assert_readable(&server, &objects)
}

#[test]
fn more_damage_than_parity_is_an_error() -> Result<()> {
    let (server, objects) = filled("damage-too-much")?;
    let mut sequence = Sequence::new(6);
    for device in [0, 1, 2] {
        for place in shards::places(&server, device)? {
            place.damage(Damage::FlipEnd, &mut sequence)?;
        }
    }
    let mut client = server.client()?;
    let mut refused = 0;
    for (key, hash) in &objects {
        match client.get(BUCKET, key) {
            Ok(body) => ensure!(content::sha256(&body) == *hash, "{key} was invented"),
            Err(_) => refused += 1,
        }
    }
    ensure!(refused > 0, "three damaged shards of six were not noticed");
    Ok(())
}

#[test]
fn a_wiped_device_stays_down() -> Result<()> {
    let (mut server, objects) = filled("damage-wiped")?;
    server.stop()?;
    fs::remove_dir_all(server.device(2))?;
    fs::create_dir(server.device(2))?;
    server.start_again()?;
    assert_readable(&server, &objects)?;
    let made = fs::read_dir(server.device(2))?.count();
    ensure!(
        made == 0,
        "the wiped device was taken into use as if it were the old one"
    );
    let status = cairn_tests::process::run(&mut server.subcommand("status")?)?.stdout;
    ensure!(
        status.contains("down"),
        "the status does not tell of the device that is down:\n{status}"
    );
    Ok(())
}
