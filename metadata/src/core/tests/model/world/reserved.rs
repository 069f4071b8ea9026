//! Files whose numbers were set aside.

use cairn_common::{
    limits,
    wire::{
        command::ErrorCode,
        file::{CreateFile, CreateWritten, FileKind, FileOutcome, ReserveInodes, SetAttributes, WriteFile},
    },
};

use super::{Bucket, Inode, Verdict, files::Now, names::ROOT, no};

impl Bucket {
    pub(crate) fn reserve(&mut self, reserve: ReserveInodes) -> Verdict<FileOutcome> {
        if !(1..=limits::RESERVED_INODES_MAX).contains(&reserve.count) {
            return no(ErrorCode::Malformed);
        }
        let first_reserved = self.last_inode + 1;
        self.last_inode += u64::from(reserve.count);
        self.reserved.extend(first_reserved..=self.last_inode);
        Ok(FileOutcome {
            first_reserved,
            ..FileOutcome::default()
        })
    }

    /// Whether a command only tells what it made before.
    pub(crate) fn was_made(&self, made: &CreateWritten) -> bool {
        let create = made.create.as_ref();
        create.is_some_and(|create| self.look_up(create.parent, &create.name) == Ok(made.inode))
    }

    pub(crate) fn create_written(
        &mut self,
        now: Now,
        made: &CreateWritten,
        chunks: Vec<ErrorCode>,
    ) -> Verdict<FileOutcome> {
        let Some(create) = &made.create else {
            return no(ErrorCode::Malformed);
        };
        let is_wrong = create.kind != i32::from(FileKind::File)
            || !create.exclusive
            || made.then.len() > limits::LATER_ATTRIBUTES_MAX
            || made.then.iter().any(|set| set.size.is_some())
            || made.inode <= ROOT
            || made.inode > self.last_inode;
        if is_wrong {
            return no(ErrorCode::Malformed);
        }
        if self.was_made(made) {
            return Ok(FileOutcome {
                created: true,
                ..self.outcome(made.inode)
            });
        }
        if self.inodes.contains_key(&made.inode) {
            let mut codes = self.look_up(create.parent, &create.name).err().unwrap_or_default();
            codes.retain(|code| *code != ErrorCode::NoSuchEntry);
            codes.push(ErrorCode::Exists);
            return Err(codes);
        }
        let last = std::mem::replace(&mut self.last_inode, made.inode - 1);
        let is_recent = (now.time_ns - 10_000_000_000..=now.time_ns + 10_000_000_000).contains(&made.made_ns);
        let then = Now {
            time_ns: if is_recent { made.made_ns } else { now.time_ns },
            ..now
        };
        let before = self.inodes.get(&create.parent).map(Inode::posix);
        self.create(then, &CreateFile { ..create.clone() })?;
        if let Some(before) = before {
            let moved = |before_ns: i64| match before_ns {
                to_come if to_come > now.time_ns => then.time_ns,
                before_ns => before_ns.max(then.time_ns),
            };
            let posix = self.inode_mut(create.parent).posix_mut();
            (posix.mtime_ns, posix.ctime_ns) = (moved(before.mtime_ns), moved(before.ctime_ns));
        }
        self.last_inode = last;
        if !made.extents.is_empty() {
            let write = WriteFile {
                inode: made.inode,
                extents: made.extents.clone(),
                ..WriteFile::default()
            };
            self.write(now, &write, chunks)?;
        }
        for set in &made.then {
            let set = SetAttributes {
                inode: made.inode,
                ..*set
            };
            self.set_attributes(now, &set)?;
        }
        Ok(FileOutcome {
            created: true,
            ..self.outcome(made.inode)
        })
    }
}
