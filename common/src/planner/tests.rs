//! What the planner promises, over many shapes of clusters.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::ids::{Incarnation, NodeId};

type Map = BTreeMap<DeviceId, Device>;

fn device(id: u32, weight_bytes: u64, domain: &str) -> (DeviceId, Device) {
    let id = DeviceId::new(id);
    let device = Device {
        id,
        incarnation: Incarnation::new(1),
        server: NodeId::new(1),
        weight_bytes,
        failure_domain: domain.to_owned(),
        disk: domain.to_owned(),
    };
    (id, device)
}

fn loads(rows: &[Row]) -> BTreeMap<DeviceId, usize> {
    let mut loads = BTreeMap::new();
    for id in rows.iter().flatten() {
        *loads.entry(*id).or_insert(0) += 1;
    }
    loads
}

/// The fair share of each device, found the slow way: weights are followed, and whatever is over a cap is handed on, until
/// nothing is.
fn fair(devices: &Map, width: usize, groups: usize) -> BTreeMap<DeviceId, f64> {
    let cap = cap(devices, width);
    let total = width as f64;
    let mut level = 0.0_f64;
    let mut shares;
    let mut step = 1.0 / 1024.0;
    let weight: f64 = devices.values().map(|device| device.weight_bytes as f64).sum();
    // Raises the level of water in finer and finer steps.
    loop {
        let next = level + step;
        shares = at_level(devices, next / weight * total, cap);
        let held: f64 = shares.values().sum();
        if held < total - 1e-9 {
            level = next;
            step *= 2.0;
        } else if step > 1e-13 * (1.0 + level) {
            step /= 4.0;
        } else {
            break;
        }
    }
    shares.values_mut().for_each(|share| *share *= groups as f64);
    shares
}

fn at_level(devices: &Map, level: f64, cap: usize) -> BTreeMap<DeviceId, f64> {
    let domains: BTreeSet<&str> = devices.values().map(|device| device.failure_domain.as_str()).collect();
    let mut shares = BTreeMap::new();
    for domain in domains {
        let members: Vec<&Device> = devices
            .values()
            .filter(|device| device.failure_domain == domain && device.weight_bytes > 0)
            .collect();
        let held = |level: f64| -> f64 {
            members
                .iter()
                .map(|device| (level * device.weight_bytes as f64).min(1.0))
                .sum()
        };
        let mut own = level;
        if held(level) > cap as f64 {
            let (mut low, mut high) = (0.0, level);
            for _ in 0..200 {
                let middle = f64::midpoint(low, high);
                if held(middle) > cap as f64 {
                    high = middle
                } else {
                    low = middle
                }
            }
            own = low;
        }
        shares.extend(
            members
                .iter()
                .map(|device| (device.id, (own * device.weight_bytes as f64).min(1.0))),
        );
    }
    shares
}

/// Slots of a row that a domain may hold: its even part, or more where domains have too few devices.
fn cap(devices: &Map, width: usize) -> usize {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for device in devices.values().filter(|device| device.weight_bytes > 0) {
        *sizes.entry(&device.failure_domain).or_default() += 1;
    }
    let room = |cap: usize| sizes.values().map(|size| (*size).min(cap)).sum::<usize>();
    (width.div_ceil(sizes.len())..=width)
        .find(|cap| room(*cap) >= width)
        .unwrap_or(width)
}

/// Panics where rows break a rule, or a device is further from its share than a slot and 2 %.
fn check(devices: &Map, width: usize, rows: &[Row]) {
    let cap = cap(devices, width);
    for row in rows {
        let distinct: BTreeSet<_> = row.iter().collect();
        assert_eq!((row.len(), distinct.len()), (width, width));
        let mut held: BTreeMap<&str, usize> = BTreeMap::new();
        for id in row {
            assert!(devices[id].weight_bytes > 0, "device {id} is to hold nothing");
            *held.entry(&devices[id].failure_domain).or_default() += 1;
        }
        assert!(
            held.values().all(|held| *held <= cap),
            "{held:?}, at most {cap} of a domain"
        );
    }
    let loads = loads(rows);
    for (id, fair) in fair(devices, width, rows.len()) {
        let load = loads.get(&id).copied().unwrap_or(0) as f64;
        assert!(
            load <= (fair * 1.02).max(fair.ceil()) + 1e-6,
            "device {id} holds {load}, fair is {fair}"
        );
        assert!(
            load >= (fair * 0.98).min(fair.floor()) - 1e-6,
            "device {id} holds {load}, fair is {fair}"
        );
    }
}

/// A cluster: weights by device, in domains of about equal size.
fn cluster(weights: &[u64], domains: usize) -> Map {
    let named = (1..)
        .zip(weights)
        .map(|(id, weight)| device(id, *weight, &format!("host{}", id as usize % domains)));
    named.collect()
}

#[test]
fn equal_devices_share_many_sets_of_neighbours() {
    let devices = cluster(&[1 << 40; 10], 10);
    let rows = plan_rows(&devices, 6, 1024).expect("ten devices carry six shards");
    check(&devices, 6, &rows);
    let sets: BTreeSet<BTreeSet<DeviceId>> = rows.iter().map(|row| row.iter().copied().collect()).collect();
    assert!(sets.len() > 150, "only {} of 210 sets of devices are used", sets.len());
}

#[test]
fn a_device_holds_one_slot_of_a_row_at_most_and_the_others_share_the_rest() {
    let devices: Map = [(1, 10), (2, 1), (3, 1), (4, 2)]
        .map(|(id, weight)| device(id, weight << 30, &format!("d{id}")))
        .into();
    let rows = plan_rows(&devices, 2, 1000).expect("four devices carry two shards");
    let held: Vec<usize> = loads(&rows).into_values().collect();
    assert_eq!(held, [1000, 250, 250, 500]);
}

#[test]
fn too_few_devices_are_an_error() {
    let mut devices = cluster(&[1; 6], 3);
    let error = PlanError::TooFewDevices { width: 7, devices: 6 };
    assert_eq!(plan_rows(&devices, 7, 1), Err(error));
    devices.extend([device(9, 0, "host9")]);
    assert!(plan_rows(&devices, 7, 1).is_err(), "one without weight does not count");
}

#[test]
fn domains_that_are_too_small_for_their_part_leave_it_to_others() {
    let devices: Map = (1..=5)
        .map(|id| device(id, u64::from(id), if id < 5 { "a" } else { "b" }))
        .collect();
    let rows = plan_rows(&devices, 4, 100).expect("five devices carry four shards");
    check(&devices, 4, &rows);
}

#[test]
fn a_higher_failure_domain_moves_only_what_breaks_its_rule() {
    let disks: Map = (0..12).map(|id| device(id, 1 << 40, &format!("disk{id}"))).collect();
    let hosts: Map = (0..12)
        .map(|id| device(id, 1 << 40, &format!("host{}", id / 2)))
        .collect();
    let before = plan_rows(&disks, 3, 512).expect("twelve devices");
    let after = replan_rows(&before, &hosts).expect("twelve devices");
    check(&hosts, 3, &after);
    let crowded = before.iter().filter(|row| {
        let hosts: BTreeSet<_> = row.iter().map(|id| &hosts[id].failure_domain).collect();
        hosts.len() < 3
    });
    assert!(moved_slots(&before, &after) <= crowded.count() * 105 / 100 + 1);
}

/// Weights of disks as they are bought, and a few odd ones.
fn weights(most: usize) -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(
        prop_oneof![4 => Just(4_u64 << 40), 2 => Just(8 << 40), 1 => Just(20 << 40), 1 => (1..16_u64).prop_map(|tib| tib << 40)],
        10..most,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_device_more_or_less_moves_little_else(
        weights in weights(60),
        domains in 3..12_usize,
        width in 2..7_usize,
        added in 1..16_u64,
    ) {
        let groups = 4096;
        let devices = cluster(&weights, domains.min(weights.len()));
        let before = plan_rows(&devices, width, groups).expect("devices enough");
        check(&devices, width, &before);

        let mut more = devices.clone();
        more.extend([device(1000, added << 40, "host0")]);
        let fewer: Map = devices.iter().skip(1).map(|(id, device)| (*id, device.clone())).collect();
        for changed in [more, fewer] {
            let after = replan_rows(&before, &changed).expect("devices enough");
            check(&changed, width, &after);
            // Who is in almost every row cannot take one more from just anybody: the least is more than loads tell then.
            if has_choice(&changed, width) {
                let (moved, least) = (moved_slots(&before, &after), least_moves(&before, &changed, width));
                prop_assert!(moved as f64 <= least * 1.05 + 2.0, "{moved} slots moved, {least} are the least");
            }
        }
    }
}

/// Whether each device is absent from many rows, and each domain could hold more of many.
fn has_choice(devices: &Map, width: usize) -> bool {
    let shares = fair(devices, width, 1);
    let mut domains: BTreeMap<&str, f64> = BTreeMap::new();
    for (id, share) in &shares {
        *domains.entry(&devices[id].failure_domain).or_default() += share;
    }
    let cap = cap(devices, width) as f64;
    shares.values().all(|share| *share < 0.7) && domains.values().all(|share| *share < 0.8 * cap)
}

/// Slots that any plan must move which gives no device more than its share (rounded up).
fn least_moves(before: &[Row], devices: &Map, width: usize) -> f64 {
    let fair = fair(devices, width, before.len());
    let loads = loads(before);
    let over = |(id, load): (&DeviceId, &usize)| (*load as f64 - fair.get(id).map_or(0.0, |fair| fair.ceil())).max(0.0);
    let sheds: f64 = loads.iter().map(over).sum();
    let gain = |id: &DeviceId| (fair[id].floor() - loads.get(id).map_or(0, |load| *load) as f64).max(0.0);
    let gains: BTreeMap<DeviceId, f64> = fair.keys().map(|id| (*id, gain(id))).collect();
    let is_left = |row: &&Row| row.iter().any(|id| !devices.contains_key(id));
    let left: Vec<&Row> = before.iter().filter(is_left).collect();
    let elsewhere = gains_elsewhere(&left, devices, cap(devices, width), &gains);
    sheds.max(gains.values().sum()).max(left.len() as f64 + elsewhere)
}

/// Slots that failure domains must gain outside of the rows that devices have left: such a row is open to a domain that does
/// not fill it already, and what some domains gain beyond the rows that are open to any of them comes from elsewhere (Hall).
fn gains_elsewhere(left: &[&Row], devices: &Map, cap: usize, gains: &BTreeMap<DeviceId, f64>) -> f64 {
    let names: BTreeSet<&String> = devices.values().map(|device| &device.failure_domain).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let domain_of = |id: &DeviceId| {
        names
            .iter()
            .position(|name| devices.get(id).is_some_and(|device| device.failure_domain == **name))
    };
    let mut domain_gains = vec![0.0; names.len()];
    for (id, gain) in gains {
        domain_gains[domain_of(id).expect("all that gain are of the map")] += gain;
    }
    let open_to = |row: &&Row| -> u32 {
        let held = |domain| row.iter().filter(|id| domain_of(id) == Some(domain)).count();
        (0..names.len())
            .filter(|domain| held(*domain) < cap)
            .map(|domain| 1 << domain)
            .sum()
    };
    let open: Vec<u32> = left.iter().map(open_to).collect();
    let beyond = |some: u32| {
        let gains: f64 = (0..names.len())
            .filter(|domain| some & 1 << domain != 0)
            .map(|domain| domain_gains[domain])
            .sum();
        gains - open.iter().filter(|open| *open & some != 0).count() as f64
    };
    (1..1 << names.len()).map(beyond).fold(0.0, f64::max)
}
