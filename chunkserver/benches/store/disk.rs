//! The ways to a disk that the store could take, compared: through the page cache, around it, and by io_uring.
//!
//! All by fio, each size at the depth that the store uses; every write is followed by its sync, as a single writer's would be.
//! docs/decisions/0006-ways-to-the-disk.md draws the conclusion.

use std::path::Path;

use anyhow::Result;

use crate::{fio, report};

/// Name, engine and how it opens its file.
const WAYS: [(&str, &[&str]); 3] = [
    ("buffered", &["--ioengine=psync"]),
    ("direct", &["--ioengine=psync", "--direct=1"]),
    (
        "io_uring",
        &[
            "--ioengine=io_uring",
            "--direct=1",
            "--registerfiles=1",
            "--fixedbufs=1",
        ],
    ),
];

/// Size of a transfer, and how many are on their way.
const SIZES: [(&str, u32); 4] = [("4k", 1), ("64k", 8), ("256k", 8), ("1m", 8)];

pub(crate) fn run(folder: &Path, seconds: u64) -> Result<()> {
    for (kind, rule) in [("write", "--fdatasync=1"), ("randread", "--invalidate=1")] {
        for (size, depth) in SIZES {
            for (way, arguments) in WAYS {
                let mut arguments = arguments.to_vec();
                let (rw, bs, iodepth) = (
                    format!("--rw={kind}"),
                    format!("--bs={size}"),
                    format!("--iodepth={depth}"),
                );
                arguments.extend([rw.as_str(), bs.as_str(), rule]);
                // One thread of io_uring has as many on their way as the others have threads.
                let jobs = if way == "io_uring" {
                    arguments.push(&iodepth);
                    1
                } else {
                    depth
                };
                let Some(bare) = fio::run(folder, &arguments, jobs, seconds)? else {
                    return Ok(());
                };
                let name = format!("disk_{kind}_{size}_q{depth}_{way}");
                report(&name, bare.rate, "ops/s");
                report(&format!("{name}_cpu"), bare.cpu_seconds * 1e6, "us");
            }
        }
    }
    Ok(())
}
