//! How many shards any chunk may still lose, by the devices that are up now.
//!
//! A chunk lies on a row of the map, and a row's devices that are down are shards that cannot be read. What is known to be missing
//! besides stands in the repair queue.

use std::collections::BTreeSet;

use cairn_common::{cluster_map::ClusterMap, ids::DeviceId};

/// Data and parity shards of the buckets' chunks; 1 and the copies beyond the first where they are replicated.
pub(super) type Schemes = BTreeSet<(usize, usize)>;

/// The least over all rows that chunks of `schemes` lie on, with the devices in `down`: negative where not all can be read. None where
/// there are no such rows. Schemes that tolerate nothing count only where they have lost something: they are no news.
pub(super) fn left(map: &ClusterMap, down: &BTreeSet<DeviceId>, schemes: &Schemes) -> Option<i64> {
    let of_scheme = |(data, parity): &(usize, usize)| {
        // Small chunks are copies, of the same tolerance.
        let widths = BTreeSet::from([data + parity, parity + 1]);
        let rows = widths.iter().filter_map(|width| map.rows.get(width)).flatten();
        let lost = rows
            .map(|row| row.iter().filter(|device| down.contains(device)).count())
            .max()?;
        let left = shown(*parity) - shown(lost);
        (*parity > 0 || left < 0).then_some(left)
    };
    schemes.iter().filter_map(of_scheme).min()
}

fn shown(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_row_of_the_worst_scheme_counts() {
        let device = DeviceId::new;
        let rows: Vec<Vec<DeviceId>> = vec![
            vec![device(1), device(2), device(3)],
            vec![device(2), device(3), device(4)],
        ];
        let pairs: Vec<Vec<DeviceId>> = vec![vec![device(1), device(2)], vec![device(3), device(4)]];
        let mut map = ClusterMap::default();
        map.rows.insert(3, rows);
        map.rows.insert(2, pairs);
        map.rows.insert(1, (1..=4).map(|id| vec![device(id)]).collect());
        let left = |down: &[u32], schemes: &[(usize, usize)]| {
            let down = down.iter().map(|id| device(*id)).collect();
            left(&map, &down, &schemes.iter().copied().collect())
        };
        for (down, schemes, wanted) in [
            (&[][..], &[(2, 1)][..], Some(1)),
            (&[4], &[(2, 1)], Some(0)),
            (&[1, 4], &[(2, 1)], Some(0)),
            (&[2, 3], &[(2, 1)], Some(-1)),
            (&[3, 4], &[(2, 1)], Some(-1)),
            (&[2, 3], &[(1, 2)], Some(0)),
            (&[], &[(1, 0)], None),
            (&[4], &[(1, 0), (2, 1)], Some(-1)),
            (&[1], &[], None),
        ] {
            assert_eq!(left(down, schemes), wanted, "{down:?} of {schemes:?}");
        }
    }
}
