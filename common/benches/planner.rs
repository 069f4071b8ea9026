//! How long the planner takes for the largest clusters, what it moves when a device comes or goes, and how large a map is.
//!
//! Ratios are to what is fair, or to the least that can be moved.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::collections::BTreeMap;
use std::time::Instant;

use cairn_common::cluster_map::{ClusterMap, Device, Row};
use cairn_common::ids::{DeviceId, Incarnation, NodeId};
use cairn_common::planner::{change_map, plan_rows, replan_rows};
use cairn_common::wire::map::MapMessage;
use prost::Message as _;

const GROUP_BITS: u8 = 14;
const DEVICES: u32 = 1000;
const DEVICES_PER_HOST: u32 = 10;
const WIDTHS: [usize; 3] = [3, 6, 11];

type Devices = BTreeMap<DeviceId, Device>;

/// Disks of four sizes, ten to a machine.
fn devices(count: u32) -> Devices {
    let device = |number: u32| Device {
        id: DeviceId::new(number),
        incarnation: Incarnation::new(1),
        server: NodeId::new((number / DEVICES_PER_HOST).into()),
        weight_bytes: u64::from(4 + 4 * (number % 4)) << 40,
        failure_domain: format!("host:{}", number / DEVICES_PER_HOST),
        disk: number.to_string(),
    };
    (1..=count)
        .map(|number| (DeviceId::new(number), device(number)))
        .collect()
}

fn timed<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = work();
    println!("BENCH planner_{name} {:.3} s", started.elapsed().as_secs_f64());
    done
}

/// The largest load of a device to its share by weight: no share is capped here.
fn fullest(rows: &[Row], devices: &Devices) -> f64 {
    let mut slots: BTreeMap<DeviceId, f64> = BTreeMap::new();
    for id in rows.iter().flatten() {
        *slots.entry(*id).or_default() += 1.0;
    }
    let weight: u64 = devices.values().map(|device| device.weight_bytes).sum();
    let all: f64 = slots.values().sum();
    let share = |id: &DeviceId| all * devices[id].weight_bytes as f64 / weight as f64;
    slots.iter().map(|(id, slots)| slots / share(id)).fold(0.0, f64::max)
}

fn moved(before: &[Row], after: &[Row]) -> f64 {
    let slots = before.iter().flatten().zip(after.iter().flatten());
    slots.filter(|(old, new)| old != new).count() as f64
}

fn slots_of(rows: &[Row], id: DeviceId) -> f64 {
    rows.iter().flatten().filter(|holder| **holder == id).count() as f64
}

fn main() {
    let groups = 1 << GROUP_BITS;
    let (all, more) = (devices(DEVICES), devices(DEVICES + 1));
    let (gone, new) = (DeviceId::new(500), DeviceId::new(DEVICES + 1));
    let mut fewer = all.clone();
    fewer.remove(&gone);
    for width in WIDTHS {
        let rows = timed(&format!("{width}_first"), || plan_rows(&all, width, groups)).expect("devices enough");
        println!("BENCH planner_{width}_first_fullest {:.4} x", fullest(&rows, &all));
        let without = timed(&format!("{width}_gone"), || replan_rows(&rows, &fewer)).expect("devices enough");
        let least = slots_of(&rows, gone);
        println!(
            "BENCH planner_{width}_gone_moved {:.4} x",
            moved(&rows, &without) / least
        );
        println!("BENCH planner_{width}_gone_fullest {:.4} x", fullest(&without, &fewer));
        let with = timed(&format!("{width}_come"), || replan_rows(&rows, &more)).expect("devices enough");
        let least = slots_of(&with, new);
        println!("BENCH planner_{width}_come_moved {:.4} x", moved(&rows, &with) / least);
        println!("BENCH planner_{width}_come_fullest {:.4} x", fullest(&with, &more));
    }
    let empty = ClusterMap {
        group_bits: GROUP_BITS,
        ..ClusterMap::default()
    };
    let map = timed("map", || change_map(&empty, all, &WIDTHS.into())).expect("devices enough");
    let bytes = MapMessage::from(&map).encoded_len();
    println!("BENCH planner_map_size {:.0} KiB", bytes as f64 / 1024.0);
}
