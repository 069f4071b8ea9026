//! Runs on a mount: which phases each operation needs.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::facts::complete_facts;
use super::phases::Phases;
use super::{Outcome, fresh_seed};
use crate::args::RunArgs;
use crate::engine::PhaseResult;
use crate::files::{
    ArchiveWork, BlockCheck, BlockPlan, BlockWork, Place, Preparation, Tree, TreeStep, TreeWork, WholeFiles,
    delete_earlier,
};
use crate::limits::MAX_BLOCK_BYTES;
use crate::load::{ByteSize, Operation};
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
    ensure!(
        args.work.op.is_on_files(),
        "this operation works on objects: give an endpoint by --s3, or another operation by --op"
    );
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
            Operation::SeqWrite => self.write_in_sequence(0),
            Operation::Fsync => self.write_in_sequence(1),
            Operation::SeqRead => self.on_files("seq-read", false, false),
            Operation::RandRead => self.on_files("rand-read", false, true),
            Operation::RandWrite => self.on_files("rand-write", true, true),
            Operation::Metadata => self.tree(),
            Operation::Untar => self.unpack(),
            _ => bail!("this operation works on objects"),
        }
    }

    fn plan(&self, writes: bool, is_random: bool) -> Result<BlockPlan> {
        let args = self.phases.args;
        let usual = args.work.op.usual_block().unwrap_or(ByteSize(1 << 20));
        let block = args.work.block_size.unwrap_or(usual);
        ensure!(
            (1..=MAX_BLOCK_BYTES).contains(&block.0),
            "a block has from 1 byte to {}",
            ByteSize(MAX_BLOCK_BYTES)
        );
        Ok(BlockPlan {
            writes,
            is_random,
            block_bytes: block.0,
            fsync_every: args.work.fsync_every,
            concurrency: args.load.concurrency,
        })
    }

    /// `fsync_every`: at least so often, where it is not 0.
    fn write_in_sequence(&mut self, fsync_every: u32) -> Result<()> {
        let mut plan = self.plan(true, false)?;
        if fsync_every > 0 {
            plan.fsync_every = fsync_every;
        }
        let label = if fsync_every > 0 { "fsync" } else { "seq-write" };
        let files = WholeFiles::default();
        let work = BlockWork::new(self.place, plan, &files);
        let written = self.phases.measure(label, &work)?;
        self.read_back(&written, plan, &files)
    }

    /// Writes files, and then works on their blocks.
    fn on_files(&mut self, label: &'static str, writes: bool, is_random: bool) -> Result<()> {
        let args = self.phases.args;
        let plan = self.plan(writes, is_random)?;
        let slots = u64::from(args.load.concurrency);
        let count = args.work.objects.unwrap_or(slots).max(slots);
        let place = self.place;
        let prepared = self.phases.aside("prepare", &Preparation { place, count }, count)?;
        if prepared.interrupted || self.phases.has_failures() {
            return Ok(());
        }
        let files = WholeFiles::prepared(place, count, plan.block_bytes);
        let worked = self.phases.measure(label, &BlockWork::new(place, plan, &files))?;
        if writes {
            return self.read_back(&worked, plan, &files);
        }
        Ok(())
    }

    /// Verifies everything that the load has left, where that was asked for.
    fn read_back(&mut self, worked: &PhaseResult, plan: BlockPlan, files: &WholeFiles) -> Result<()> {
        if worked.interrupted || !self.phases.args.work.read_back {
            return Ok(());
        }
        let check = BlockCheck::new(self.place, files, plan.block_bytes);
        self.phases.aside("read-back", &check, check.count())?;
        Ok(())
    }

    fn tree(&mut self) -> Result<()> {
        let load = &self.phases.args.load;
        ensure!(
            load.duration.is_none() && load.count.is_none() && load.warm_up == 0,
            "metadata goes once over the files that --objects counts: no --duration, --count or --warm-up"
        );
        let tree = Tree {
            place: self.place,
            files: self.phases.args.work.objects.unwrap_or(TREE_FILES),
        };
        tree.make_top()?;
        for step in TreeStep::ALL {
            let tree = &tree;
            let done = self
                .phases
                .once(step.label(), &TreeWork { tree, step }, tree.count(step))?;
            // What a step has not made the next one cannot find.
            if done.interrupted || self.phases.has_failures() {
                break;
            }
        }
        Ok(())
    }

    fn unpack(&mut self) -> Result<()> {
        let work = ArchiveWork::new(self.place);
        let unpacked = self.phases.measure("untar", &work)?;
        if unpacked.interrupted || !self.phases.args.work.read_back {
            return Ok(());
        }
        let check = work.into_check();
        self.phases.aside("read-back", &check, check.count())?;
        Ok(())
    }
}
