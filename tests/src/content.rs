//! Content to store: reproducible bytes of any length, trees of files, and their digests.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use crate::process;

/// A small generator (SplitMix64): one seed, one sequence, on every machine.
#[derive(Clone, Debug)]
pub struct Sequence(u64);

impl Sequence {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// One of several.
    ///
    /// # Panics
    /// There is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = self.below(of.len() as u64);
        &of[usize::try_from(index).expect("an index fits")]
    }
}

/// `length` bytes that no other seed gives and no compressor shrinks.
#[must_use]
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut sequence = Sequence::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&sequence.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Writes a file of `length` bytes, piece by piece.
///
/// # Errors
/// The file cannot be written.
pub fn write_file(path: &Path, seed: u64, length: u64) -> Result<()> {
    const PIECE: u64 = 4 << 20;
    let mut file = BufWriter::new(File::create(path)?);
    let mut written = 0;
    while written < length {
        let piece = PIECE.min(length - written);
        file.write_all(&bytes(seed ^ written, usize::try_from(piece)?))?;
        written += piece;
    }
    file.flush()?;
    Ok(())
}

/// A real tree: the Rust toolchain's documentation, or its subfolders named by `parts`. Where the toolchain has none,
/// a generated tree of as many files.
///
/// # Errors
/// No tree can be made.
pub fn documentation_tree(destination: &Path, parts: Option<&[&str]>) -> Result<usize> {
    let sysroot = process::run(Command::new("rustc").args(["--print", "sysroot"]))?;
    let source = Path::new(sysroot.stdout.trim()).join("share/doc/rust/html");
    if !source.is_dir() {
        return generated_tree(destination, 5_200);
    }
    fs::create_dir_all(destination)?;
    let sources: Vec<PathBuf> = match parts {
        Some(parts) => parts.iter().map(|part| source.join(part)).collect(),
        None => vec![source],
    };
    process::run(Command::new("cp").arg("-r").args(sources).arg(destination))?;
    count_files(destination)
}

/// Files of all kinds of sizes in folders of all kinds of depths.
fn generated_tree(destination: &Path, count: usize) -> Result<usize> {
    let mut sequence = Sequence::new(7);
    for index in 0..count {
        let folder = destination.join(format!("{}/{}", index % 37, index % 11));
        fs::create_dir_all(&folder)?;
        let length = match sequence.below(100) {
            0 => 0,
            1..=60 => sequence.below(8 << 10),
            61..=98 => sequence.below(128 << 10),
            _ => sequence.below(4 << 20),
        };
        write_file(&folder.join(format!("page {index}.html")), index as u64, length)?;
    }
    Ok(count)
}

/// How many files are under a folder.
///
/// # Errors
/// The folder cannot be read.
pub fn count_files(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() {
            count_files(&entry.path())?
        } else {
            1
        };
    }
    Ok(count)
}

/// `diff -r`: every file of both trees, byte by byte.
///
/// # Errors
/// They differ; the error names where.
pub fn assert_same_trees(left: &Path, right: &Path) -> Result<()> {
    let (same, printed) = process::run_any(Command::new("diff").arg("-rq").args([left, right]))?;
    let first: Vec<&str> = printed.stdout.lines().take(20).collect();
    ensure!(same, "the trees differ:\n{}\n{}", first.join("\n"), printed.stderr);
    Ok(())
}
