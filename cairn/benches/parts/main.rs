//! What a PUT and a GET cannot do without, each part measured alone: HTTP, digests, block hashes, coding, disk and, in a
//! cluster, the network between its servers.
//!
//! `scripts/bench` holds the sums against what a whole server, or all servers of a cluster, use. Figures are CPU seconds, the kernel's included, per GB
//! of object bytes: parity is work, not throughput. Invariant: a part does nothing but its part, with the settings and the
//! crates of the server, from memory that is already there; copies, hand-overs and clearing of memory are the difference
//! that the comparison is to show.

mod compute;
mod cpu;
mod disk;
mod http;
mod transport;

use anyhow::Result;
use cairn_common::redundancy::Redundancy;

/// As in the server, whose HTTP takes its buffers from it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Bytes of an object.
const OBJECT_SIZE_BYTES: usize = 16 << 20;

/// Operation and scheme; the last two are those of a cluster of processes.
const PATHS: [&str; 6] = ["put_1", "put_4+2", "get_1", "get_4+2", "put_net_4+2", "get_net_4+2"];

/// One part, with those of [`PATHS`] that it belongs to.
struct Part {
    name: &'static str,
    cpu_s_per_gb: f64,
    paths: &'static [&'static str],
}

fn main() -> Result<()> {
    report(&parts()?);
    Ok(())
}

fn parts() -> Result<Vec<Part>> {
    let (one, coded): (Redundancy, Redundancy) = ("1".parse()?, "4+2".parse()?);
    let mut parts = Vec::new();
    let mut add = |name, cpu_s_per_gb, paths| {
        parts.push(Part {
            name,
            cpu_s_per_gb,
            paths,
        });
    };
    let puts = &["put_1", "put_4+2", "put_net_4+2"][..];
    let (coded_puts, gets) = (
        &["put_4+2", "put_net_4+2"][..],
        &["get_1", "get_4+2", "get_net_4+2"][..],
    );
    add("http_put", http::put()?, puts);
    add("http_get", http::get()?, gets);
    add("md5", compute::md5()?, puts);
    add("crc64nvme", compute::crc64nvme()?, puts);
    // A reader verifies the blocks of the data shards only, whatever the scheme.
    add(
        "blake3_1",
        compute::blake3(one)?,
        &["put_1", "get_1", "get_4+2", "get_net_4+2"],
    );
    add("blake3_4+2", compute::blake3(coded)?, coded_puts);
    add("coding_4+2", compute::coding(coded)?, coded_puts);
    add("disk_put_1", disk::put(one)?, &["put_1"]);
    add("disk_put_4+2", disk::put(coded)?, coded_puts);
    add("disk_get", disk::get()?, gets);
    add("net_put_4+2", transport::put(coded)?, &["put_net_4+2"]);
    add("net_get_4+2", transport::get(coded)?, &["get_net_4+2"]);
    Ok(parts)
}

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is run for")]
fn report(parts: &[Part]) {
    println!("parts alone: CPU s per GB of object bytes");
    let heads: String = PATHS.iter().map(|path| format!("{path:>12}")).collect();
    println!("  {:<14}{heads}", "part");
    let row = |name, cell: &dyn Fn(&str) -> String| {
        let cells: String = PATHS.iter().map(|path| format!("{:>12}", cell(path))).collect();
        println!("  {name:<14}{cells}");
    };
    for part in parts {
        row(part.name, &|path| {
            if part.paths.contains(&path) {
                format!("{:.3}", part.cpu_s_per_gb)
            } else {
                String::new()
            }
        });
    }
    row("sum", &|path| format!("{:.3}", sum(parts, path)));
    for part in parts {
        println!("BENCH part_{} {:.4} cpu_s_per_GB", part.name, part.cpu_s_per_gb);
    }
    for path in PATHS {
        println!("BENCH parts_{path} {:.4} cpu_s_per_GB", sum(parts, path));
    }
}

fn sum(parts: &[Part], path: &str) -> f64 {
    let of_path = parts.iter().filter(|part| part.paths.contains(&path));
    of_path.map(|part| part.cpu_s_per_gb).sum()
}
