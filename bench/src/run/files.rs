//! Runs on a mount: which phases each operation needs.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::facts::complete_facts;
use super::phases::Phases;
use super::{Outcome, fresh_seed};
use crate::args::RunArgs;
use crate::engine::PhaseResult;
use crate::files::{Archive, BlockFiles, BlockPlan, BlockWork, Each, Place, Tree, TreeStep, delete_earlier, prepare};
use crate::limits::MAX_BLOCK_BYTES;
use crate::load::{ByteSize, KeyOrder, Operation};
use crate::stop::Stop;

/// Files of `metadata` where their number is not given.
const TREE_FILES: u64 = 5000;

/// A run on files under `mount`.
///
/// # Errors
/// What prevents a beginning.
pub(super) fn run_on_mount(args: &RunArgs, mount: &Path, stop: &Stop, out: &mut dyn Write) -> Result<Outcome> {
    if args.work.cleanup {
        let deleted = delete_earlier(mount, &args.work.prefix, args.work.seed)?;
        let place = mount.join(&args.work.prefix);
        writeln!(
            out,
            "the files of {deleted} runs under {} were deleted",
            place.display()
        )
        .context("cannot print the results")?;
        return Ok(Outcome {
            report: None,
            result: Ok(()),
        });
    }
    check_flags(args)?;
    let seed = args.work.seed.unwrap_or_else(fresh_seed);
    let (work, sizes) = (&args.work, args.work.sizes());
    let place = Place::new(mount, &work.prefix, seed, &sizes, !work.no_verify)?;
    let facts = complete_facts(place.facts(), &args.target)?;
    place.make()?;
    let mut run = FileRun {
        phases: Phases::new(args, seed, stop, facts, out),
        place: &place,
    };
    let measured = run.measure();
    let cleaned = if args.work.keep { Ok(()) } else { place.remove() };
    Ok(run.phases.conclude(measured, cleaned))
}

struct FileRun<'a> {
    phases: Phases<'a>,
    place: &'a Place,
}

impl FileRun<'_> {
    fn measure(&mut self) -> Result<()> {
        self.phases.print_facts()?;
        match self.phases.args.work.op {
            Operation::SeqWrite => self.write_in_sequence("seq-write"),
            Operation::Fsync => self.write_in_sequence("fsync"),
            Operation::SeqRead => self.on_files("seq-read", false),
            Operation::RandRead => self.on_files("rand-read", false),
            Operation::RandWrite => self.on_files("rand-write", true),
            Operation::Metadata => self.tree(),
            Operation::Untar => self.unpack(),
            _ => bail!("this operation works on objects"),
        }
    }

    fn plan(&self, writes: bool) -> BlockPlan {
        let args = self.phases.args;
        let is_random = args.work.op.is_random();
        BlockPlan {
            writes,
            order: is_random.then(|| args.work.key_order()),
            fsync_every: args.work.syncs_every(),
            concurrency: args.load.concurrency,
        }
    }

    fn block_bytes(&self) -> Result<u64> {
        let block = self.phases.args.work.block().unwrap_or(ByteSize(1 << 20));
        ensure!(
            (1..=MAX_BLOCK_BYTES).contains(&block.0),
            "a block has from 1 byte to {}",
            ByteSize(MAX_BLOCK_BYTES)
        );
        Ok(block.0)
    }

    fn write_in_sequence(&mut self, label: &'static str) -> Result<()> {
        let files = BlockFiles::none(self.place, self.block_bytes()?);
        let work = BlockWork::new(self.plan(true), &files);
        let written = self.phases.measure(label, &work)?;
        drop(work);
        self.read_back(&written, &files)
    }

    /// Writes files, and then works on their blocks.
    fn on_files(&mut self, label: &'static str, writes: bool) -> Result<()> {
        let args = self.phases.args;
        let block_bytes = self.block_bytes()?;
        let slots = u64::from(args.load.concurrency);
        let count = args.work.objects.unwrap_or(slots).max(slots);
        let place = self.place;
        let work = Each::of("write", count, |number| prepare(place, number));
        let prepared = self.phases.prepare(&work, count)?;
        if prepared.interrupted || self.phases.has_failures() {
            return Ok(());
        }
        let files = BlockFiles::prepared(place, count, block_bytes);
        let work = BlockWork::new(self.plan(writes), &files);
        let worked = self.phases.measure(label, &work)?;
        drop(work);
        if writes {
            return self.read_back(&worked, &files);
        }
        Ok(())
    }

    /// Verifies everything that the load has left, where that was asked for.
    fn read_back(&mut self, worked: &PhaseResult, files: &BlockFiles<'_>) -> Result<()> {
        if worked.interrupted || !self.phases.args.work.read_back {
            return Ok(());
        }
        let written = files.written();
        let count = written.len() as u64;
        let check = Each::of("check", count, |number| files.check(written[number as usize]));
        self.phases.aside("read-back", &check, count)?;
        Ok(())
    }

    fn tree(&mut self) -> Result<()> {
        let load = &self.phases.args.load;
        ensure!(
            load.duration.is_none() && load.count.is_none() && load.warm_up == 0,
            "metadata goes once over the files that --objects counts: no --duration, --count or --warm-up"
        );
        let files = self.phases.args.work.objects.unwrap_or(TREE_FILES);
        self.phases.note_objects(files);
        let tree = Tree {
            place: self.place,
            files,
        };
        tree.make_top()?;
        for step in TreeStep::ALL {
            let count = tree.count(step);
            let work = Each::of(step.label(), count, |number| tree.perform(step, number));
            let done = self.phases.once(step.label(), &work, count)?;
            // What a step has not made the next one cannot find.
            if done.interrupted || self.phases.has_failures() {
                break;
            }
        }
        Ok(())
    }

    fn unpack(&mut self) -> Result<()> {
        let archive = Archive::new(self.place);
        let work = Each::endless("extract", |number| archive.unpack(number));
        let unpacked = self.phases.measure("untar", &work)?;
        if unpacked.interrupted || !self.phases.args.work.read_back {
            return Ok(());
        }
        let files = archive.unpacked();
        let count = files.len() as u64;
        let check = Each::of("check", count, |number| archive.check(files[number as usize]));
        self.phases.aside("read-back", &check, count)?;
        Ok(())
    }
}

/// Refuses what has no meaning for files.
fn check_flags(args: &RunArgs) -> Result<()> {
    let work = &args.work;
    ensure!(
        work.op.is_on_files(),
        "this operation works on objects: give an endpoint by --s3, or another operation by --op"
    );
    ensure!(
        work.op.is_random() || work.keys.is_none(),
        "--keys chooses among the blocks of rand-read and rand-write; this operation takes files in order"
    );
    ensure!(
        !work.op.is_random() || work.keys != Some(KeyOrder::Turn),
        "blocks in turn are what seq-read and seq-write are for: give uniform or zipf by --keys"
    );
    Ok(())
}
