//! Runs on object stores: which phases each operation needs, and what they leave to the next.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::facts::complete_facts;
use super::phases::Phases;
use super::{Outcome, fresh_seed};
use crate::args::RunArgs;
use crate::content::Dataset;
use crate::engine::PhaseResult;
use crate::limits::{
    MAX_PARTS, MAX_PREPARED_BYTES, MAX_PREPARED_OBJECTS, MAX_PUT_BYTES, MIN_PART_BYTES, PREPARED_BYTES,
};
use crate::load::{ByteSize, KeyOrder, KeyPicker, OpKind, Operation};
use crate::native::{NativeConnector, NativeStore};
use crate::objects::{Cleanup, Manner, ObjectWork, Pool, Space, Working, Written, delete_earlier};
use crate::s3::S3Store;
use crate::stop::Stop;
use crate::target::ObjectStore;

/// A run on an S3 store.
///
/// # Errors
/// What prevents a beginning.
pub(super) fn run_on_s3(args: &RunArgs, stop: &Stop, out: &mut dyn Write) -> Result<Outcome> {
    let store = S3Store::new(args)?;
    run_on(&store, args, stop, out)
}

/// A run on a cluster, by its native client.
///
/// # Errors
/// What prevents a beginning.
pub(super) fn run_on_native(
    args: &RunArgs,
    node: &Path,
    connector: Option<&dyn NativeConnector>,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let connector = connector.context("this program was built without the native client")?;
    let store = NativeStore::new(connector, node, &args.target)?;
    run_on(&store, args, stop, out)
}

/// A run on any object store.
///
/// # Errors
/// What prevents a beginning.
fn run_on(store: &dyn ObjectStore, args: &RunArgs, stop: &Stop, out: &mut dyn Write) -> Result<Outcome> {
    ensure!(
        !args.work.op.is_on_files(),
        "this operation works on files: give a folder by --mount"
    );
    check_sizes(args)?;
    ensure!(
        store.takes_parts() || !has_parts(args),
        "uploads in parts are measured on S3 endpoints only"
    );
    if args.work.cleanup {
        return clean_up_earlier(store, args, stop, out);
    }
    let seed = args.work.seed.unwrap_or_else(fresh_seed);
    let space = Space::new(Dataset::new(&args.work.prefix, seed, &args.work.sizes()));
    let told = store.prepare(stop.flag())?;
    let facts = complete_facts(told, &args.target)?;
    let mut run = ObjectRun {
        phases: Phases::new(args, seed, stop, facts, out),
        tools: Tools {
            store,
            space: &space,
            manner: manner(args),
        },
    };
    let measured = run.measure();
    let cleaned = if args.work.keep { Ok(()) } else { run.clean_up() };
    Ok(run.phases.conclude(measured, cleaned))
}

/// What every phase's work is made with.
#[derive(Clone, Copy)]
struct Tools<'a> {
    store: &'a dyn ObjectStore,
    space: &'a Space,
    manner: Manner,
}

struct ObjectRun<'a> {
    phases: Phases<'a>,
    tools: Tools<'a>,
}

impl<'a> Tools<'a> {
    fn work(&self, working: Working, pool: Option<(&'a Pool, KeyPicker)>) -> ObjectWork<'a> {
        ObjectWork::new(self.store, self.space, working, self.manner, pool)
    }

    /// Work on objects that exist; shorter-lived than the run, as they are.
    fn work_on<'p>(&self, working: Working, pool: &'p Pool, order: KeyOrder) -> ObjectWork<'p>
    where
        'a: 'p,
    {
        let picker = KeyPicker::new(order, pool.len());
        ObjectWork::new(self.store, self.space, working, self.manner, Some((pool, picker)))
    }
}

impl ObjectRun<'_> {
    fn measure(&mut self) -> Result<()> {
        self.phases.print_facts()?;
        let only = |kind: OpKind| Working::Only(kind);
        match self.phases.args.work.op {
            Operation::Put => self.write(OpKind::Put),
            Operation::Multipart => self.write(OpKind::Multipart),
            Operation::PutGet => self.write_and_read(),
            Operation::Get => self.prepare_and_work(OpKind::Get.label(), only(OpKind::Get)),
            Operation::Stat => self.prepare_and_work(OpKind::Stat.label(), only(OpKind::Stat)),
            Operation::Delete => self.prepare_and_work(OpKind::Delete.label(), only(OpKind::Delete)),
            Operation::List => self.prepare_and_work(OpKind::List.label(), only(OpKind::List)),
            Operation::RangeGet => self.prepare_and_work(OpKind::RangeGet.label(), only(OpKind::RangeGet)),
            Operation::Overwrite => self.prepare_and_work(OpKind::Overwrite.label(), only(OpKind::Overwrite)),
            Operation::Copy => self.prepare_and_work(OpKind::Copy.label(), only(OpKind::Copy)),
            Operation::Mixed => {
                let mix = self.phases.args.work.mix.clone();
                self.prepare_and_work("mixed", Working::Mixed(mix))
            }
            Operation::SeqWrite
            | Operation::SeqRead
            | Operation::RandWrite
            | Operation::RandRead
            | Operation::Fsync
            | Operation::Metadata
            | Operation::Untar => bail!("this operation works on files: give a folder by --mount"),
        }
    }

    fn write(&mut self, kind: OpKind) -> Result<()> {
        let work = self.tools.work(Working::Only(kind), None);
        let written = self.phases.measure(kind.label(), &work)?;
        if written.interrupted {
            return Ok(());
        }
        self.read_back(None, work.into_written())
    }

    fn write_and_read(&mut self) -> Result<()> {
        let work = self.tools.work(Working::Only(OpKind::Put), None);
        let put = self.phases.measure(OpKind::Put.label(), &work)?;
        let Some(pool) = self.pool_of(&put, work)? else {
            return Ok(());
        };
        let order = self.phases.args.work.key_order();
        let work = self.tools.work_on(Working::Only(OpKind::Get), &pool, order);
        self.phases.measure(OpKind::Get.label(), &work)?;
        Ok(())
    }

    /// Writes objects, and then works on them.
    fn prepare_and_work(&mut self, label: &'static str, working: Working) -> Result<()> {
        let args = self.phases.args;
        let deletes_all = matches!(working, Working::Only(OpKind::Delete));
        let prepare = self.tools.work(Working::Only(OpKind::Put), None);
        let prepared = self.phases.prepare(&prepare, prepared_objects(args))?;
        let Some(pool) = self.pool_of(&prepared, prepare)? else {
            return Ok(());
        };
        let slots = u64::from(args.load.concurrency);
        ensure!(
            !matches!(working, Working::Only(OpKind::Overwrite)) || pool.len() >= slots,
            "only {} objects were written for {slots} slots, each of which overwrites one of its own",
            pool.len()
        );
        let work = self.tools.work_on(working, &pool, args.work.key_order());
        let worked = self.phases.measure(label, &work)?;
        if worked.interrupted || deletes_all {
            return Ok(());
        }
        let written = work.into_written();
        self.read_back(Some(pool), written)
    }

    /// What was written, where there is any and somebody to read it from.
    fn pool_of(&self, written: &PhaseResult, work: ObjectWork<'_>) -> Result<Option<Pool>> {
        let all_gave_up = written.slots.gave_up == self.phases.args.load.concurrency;
        if written.interrupted || all_gave_up {
            return Ok(None);
        }
        let written = work.into_written();
        if written.stored.is_empty() {
            ensure!(
                self.phases.has_failures(),
                "no object was written in the time given, so none can be read"
            );
            return Ok(None);
        }
        Ok(Some(Pool::new(&self.tools.space.dataset, written.stored)))
    }

    /// Verifies everything that the load has left, where that was asked for.
    fn read_back(&mut self, pool: Option<Pool>, written: Written) -> Result<()> {
        if !self.phases.args.work.read_back {
            return Ok(());
        }
        let dataset = &self.tools.space.dataset;
        let mut pool = pool.unwrap_or_else(|| Pool::new(dataset, []));
        pool.add(dataset, written.stored, written.copies);
        if pool.len() == 0 {
            return Ok(());
        }
        let work = self.tools.work_on(Working::Only(OpKind::Get), &pool, KeyOrder::Turn);
        self.phases.aside("read-back", &work, pool.len())?;
        Ok(())
    }

    fn clean_up(&self) -> Result<()> {
        let args = self.phases.args;
        let cleanup = Cleanup {
            store: self.tools.store,
            dataset: &self.tools.space.dataset,
            bucket: &args.target.bucket,
            concurrency: args.load.concurrency,
            stop: self.phases.stop,
        };
        let deleted = cleanup.delete_objects(self.tools.space.begun());
        if has_parts(args) {
            // Those that an interrupt or a failure has left.
            let aborted = cleanup.abort_uploads();
            return deleted.and(aborted);
        }
        deleted
    }
}

/// Deletes what earlier runs have left.
fn clean_up_earlier(store: &dyn ObjectStore, args: &RunArgs, stop: &Stop, out: &mut dyn Write) -> Result<Outcome> {
    let prefix = &args.work.prefix;
    ensure!(
        !prefix.is_empty(),
        "--cleanup deletes under a prefix only: give it by --prefix"
    );
    let (deleted, aborted) = delete_earlier(store, prefix, args.work.seed, stop)
        .with_context(|| format!("cannot delete what is under {prefix} in {}", args.target.bucket))?;
    writeln!(
        out,
        "{deleted} objects and {aborted} unfinished uploads under {prefix} were deleted"
    )
    .context("cannot print the results")?;
    Ok(Outcome {
        report: None,
        result: Ok(()),
    })
}

/// Whether it may leave unfinished uploads.
fn has_parts(args: &RunArgs) -> bool {
    match args.work.op {
        Operation::Multipart => true,
        Operation::Mixed => args.work.mix.has(OpKind::Multipart),
        _ => false,
    }
}

fn manner(args: &RunArgs) -> Manner {
    Manner {
        part_bytes: args.work.part_size.0,
        range_bytes: args.work.range_size.0,
        page: args.work.page,
        verify: !args.work.no_verify,
    }
}

/// Refuses what no S3 store does.
fn check_sizes(args: &RunArgs) -> Result<()> {
    let (largest, parts) = (args.work.sizes().largest(), args.work.part_size);
    let has = |kind| match args.work.op {
        Operation::Multipart => kind == OpKind::Multipart,
        Operation::Mixed => args.work.mix.has(kind) || kind == OpKind::Put,
        _ => kind == OpKind::Put,
    };
    ensure!(
        !has(OpKind::Put) || largest <= MAX_PUT_BYTES,
        "an object can have at most {} in one PUT",
        ByteSize(MAX_PUT_BYTES)
    );
    if has(OpKind::Multipart) {
        ensure!(
            (MIN_PART_BYTES..=MAX_PUT_BYTES).contains(&parts.0),
            "a part has from {} to {}",
            ByteSize(MIN_PART_BYTES),
            ByteSize(MAX_PUT_BYTES)
        );
        ensure!(
            largest.div_ceil(parts.0) <= MAX_PARTS,
            "an upload has at most {MAX_PARTS} parts: give larger ones by --part-size"
        );
    }
    ensure!(
        args.work.op != Operation::Overwrite
            || args
                .work
                .objects
                .is_none_or(|objects| objects >= u64::from(args.load.concurrency)),
        "each slot overwrites an object of its own: give at least as many by --objects as by --concurrency"
    );
    ensure!(
        args.work.op != Operation::Delete || args.load.warm_up == 0,
        "each object is deleted once, so that a --warm-up would take those that are to be measured"
    );
    ensure!(
        args.work.range_size.0 > 0 || args.work.op != Operation::RangeGet,
        "a range has at least one byte"
    );
    Ok(())
}

/// How many objects a run writes before it works on them.
fn prepared_objects(args: &RunArgs) -> u64 {
    let size = args.work.sizes().mean().max(1.0) as u64;
    let slots = u64::from(args.load.concurrency);
    let usual = (PREPARED_BYTES / size).min(MAX_PREPARED_OBJECTS).max(slots);
    let affordable = (MAX_PREPARED_BYTES / size).max(1);
    match (args.work.objects, args.work.op, args.load.count) {
        (Some(objects), ..) => objects,
        (None, Operation::Overwrite, _) => usual.min(affordable).max(slots),
        // Each is deleted once.
        (None, Operation::Delete, Some(count)) => count,
        _ => usual.min(affordable),
    }
}
