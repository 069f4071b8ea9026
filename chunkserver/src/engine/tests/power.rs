//! A disk in memory that loses power.
//!
//! It counts the operations that change something. At the one it is told, power goes: that operation and all later ones fail.
//! When it comes back, what was synced is there; of every write that was not, each sector is there or not, as the draw wants;
//! of the changes of names since the last sync of the directory, the first few.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::Errno;

use crate::{
    core::holdings::Space,
    engine::disk::{Disk, SegmentFile},
};

/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draw {
    Nothing,
    Everything,
    /// Each sector and each name by chance.
    Some(u64),
}

/// A disk that can lose power.
#[derive(Clone)]
pub(super) struct PowerDisk {
    world: Arc<Mutex<World>>,
    room_bytes: u64,
}

#[derive(Default)]
struct World {
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    operations: u64,
    cut_at: Option<u64>,
}

#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Bytes)>,
}

#[derive(Clone)]
enum NameChange {
    Add(String, usize),
    Remove(String),
    Rename(String, String),
}

struct PowerFile {
    world: Arc<Mutex<World>>,
    file: usize,
}

/// Numbers that look random and are always the same.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

impl PowerDisk {
    pub(super) fn new(room_bytes: u64) -> Self {
        Self {
            world: Arc::default(),
            room_bytes,
        }
    }

    /// Cuts the power at operation `number`, from 0.
    pub(super) fn cut_at(&self, number: u64) {
        self.world.lock().cut_at = Some(number);
    }

    /// Operations so far.
    pub(super) fn operations(&self) -> u64 {
        self.world.lock().operations
    }

    /// The disk when power is back.
    pub(super) fn after_the_cut(&self, draw: Draw) -> Self {
        let world = self.world.lock();
        let mut chance = Chance::new(match draw {
            Draw::Some(seed) => seed,
            Draw::Nothing | Draw::Everything => 0,
        });
        let takes = |chance: &mut Chance| match draw {
            Draw::Nothing => false,
            Draw::Everything => true,
            Draw::Some(_) => chance.below(2) == 0,
        };
        let mut names = world.durable_names.clone();
        for change in &world.name_changes {
            if !takes(&mut chance) {
                break;
            }
            change.apply(&mut names);
        }
        let files = world.files.iter().map(|file| {
            let mut bytes = file.durable.clone();
            for (offset, written) in &file.unsynced {
                for (index, sector) in written.chunks(SECTOR).enumerate() {
                    let at = offset + index * SECTOR;
                    if takes(&mut chance) {
                        bytes[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            Contents {
                durable: bytes.clone(),
                bytes,
                unsynced: Vec::new(),
            }
        });
        let world = World {
            files: files.collect(),
            durable_names: names.clone(),
            names,
            ..World::default()
        };
        Self {
            world: Arc::new(Mutex::new(world)),
            room_bytes: self.room_bytes,
        }
    }

    /// Changes bytes behind everybody's back.
    pub(super) fn flip(&self, name: &str, offset: usize, mask: u8) {
        let mut world = self.world.lock();
        let file = world.names[name];
        world.files[file].bytes[offset] ^= mask;
        world.files[file].durable[offset] ^= mask;
    }

    /// The bytes of a file.
    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let world = self.world.lock();
        world.files[world.names[name]].bytes.clone()
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, file) => _ = names.insert(name.clone(), *file),
            Self::Remove(name) => _ = names.remove(name),
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl World {
    /// Counts an operation that changes something; fails once the power has gone.
    fn step(&mut self) -> Result<(), Errno> {
        let number = self.operations;
        self.operations += 1;
        match self.cut_at {
            Some(cut) if number >= cut => Err(Errno::IO),
            _ => Ok(()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }
}

impl Disk for PowerDisk {
    fn names(&self) -> Result<Vec<String>, Errno> {
        Ok(self.world.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str, size_bytes: u32) -> Result<Arc<dyn SegmentFile>, Errno> {
        let mut world = self.world.lock();
        world.step()?;
        if world.names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        let zeros = vec![0; size_bytes as usize];
        world.files.push(Contents {
            bytes: zeros.clone(),
            durable: zeros,
            unsynced: Vec::new(),
        });
        let file = world.files.len() - 1;
        world.change_name(NameChange::Add(name.to_owned(), file));
        drop(world);
        self.open(name)
    }

    fn open(&self, name: &str) -> Result<Arc<dyn SegmentFile>, Errno> {
        let file = *self.world.lock().names.get(name).ok_or(Errno::NOENT)?;
        Ok(Arc::new(PowerFile {
            world: Arc::clone(&self.world),
            file,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let mut world = self.world.lock();
        world.step()?;
        world.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        let mut world = self.world.lock();
        world.step()?;
        world.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), Errno> {
        let mut world = self.world.lock();
        world.step()?;
        world.durable_names = world.names.clone();
        world.name_changes.clear();
        Ok(())
    }

    fn space(&self) -> Result<Space, Errno> {
        let world = self.world.lock();
        let taken: usize = world.names.values().map(|file| world.files[*file].bytes.len()).sum();
        Ok(Space {
            total_bytes: self.room_bytes,
            free_bytes: self.room_bytes.saturating_sub(taken as u64),
        })
    }

    fn is_there(&self) -> bool {
        true
    }
}

impl SegmentFile for PowerFile {
    fn len(&self) -> Result<u64, Errno> {
        Ok(self.world.lock().files[self.file].bytes.len() as u64)
    }

    fn write_at(&self, offset: u32, pieces: &[Bytes]) -> Result<(), Errno> {
        let mut world = self.world.lock();
        let is_cut_here = world.cut_at == Some(world.operations);
        let stepped = world.step();
        // The one that the power went in may have got somewhere; later ones never began.
        if stepped.is_err() && !is_cut_here {
            return stepped;
        }
        let file = &mut world.files[self.file];
        let mut at = offset as usize;
        for piece in pieces {
            file.bytes[at..at + piece.len()].copy_from_slice(piece);
            file.unsynced.push((at, piece.clone()));
            at += piece.len();
        }
        stepped
    }

    fn read_at(&self, offset: u32, len: usize) -> Result<Bytes, Errno> {
        let world = self.world.lock();
        let bytes = &world.files[self.file].bytes;
        let from = (offset as usize).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[from..bytes.len().min(from + len)]))
    }

    fn read_cached(&self, offset: u32, len: usize) -> Result<Option<Bytes>, Errno> {
        self.read_at(offset, len).map(Some)
    }

    fn next_data(&self, offset: u32) -> Result<Option<u32>, Errno> {
        Ok(Some(offset))
    }

    fn sync(&self) -> Result<(), Errno> {
        let mut world = self.world.lock();
        world.step()?;
        let file = &mut world.files[self.file];
        file.durable = file.bytes.clone();
        file.unsynced.clear();
        Ok(())
    }

    fn shorten(&self, len: u32) -> Result<(), Errno> {
        let mut world = self.world.lock();
        world.step()?;
        let file = &mut world.files[self.file];
        file.bytes.truncate(len as usize);
        file.durable.truncate(len as usize);
        Ok(())
    }
}
