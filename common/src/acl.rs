//! POSIX access control lists, in the bytes of Linux's extended attributes.
//!
//! ```text
//! version u32 = 2, then for each entry: tag u16 · permissions u16 · id u32, all little-endian
//! ```
//!
//! The rules are those of acl(5) and of Linux's fs/posix_acl.c. Invariant: a list has an entry each for the owner, the owning
//! group and others, one for the mask where it names a user or a group, and its entries in the order of their tags.

use bytes::{BufMut, Bytes, BytesMut};

/// Name of the extended attribute that says who may do what with an inode.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// Name of the one that says what is made in a directory begins with.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Permission bits of owner, group and others: what of a mode a list says.
pub const PERMISSIONS: u32 = 0o777;

const VERSION: u32 = 2;
const HEAD_LEN: usize = 4;
const ENTRY_LEN: usize = 8;
/// The id of an entry that needs none.
const NO_ID: u32 = u32::MAX;

/// Whether an extended attribute of this name is a list.
pub fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

/// Whom an entry is about, in the order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// The owner.
    Owner,
    /// A user by number.
    User,
    /// The owning group.
    OwningGroup,
    /// A group by number.
    Group,
    /// What users and groups by number, and the owning group, get at most.
    Mask,
    /// Everybody else.
    Other,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whom it is about.
    pub tag: Tag,
    /// Read 4, write 2, execute 1.
    pub permissions: u16,
    /// The user or group, where the tag says that it is by number.
    pub id: u32,
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<Entry>);

/// Bytes that are no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a POSIX access control list")]
pub struct MalformedAcl;

/// What something is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// Its mode.
    pub mode: u32,
    /// Its list, where the mode does not say all of it.
    pub access: Option<Acl>,
}

impl Tag {
    const fn of(number: u16) -> Option<Self> {
        match number {
            0x01 => Some(Self::Owner),
            0x02 => Some(Self::User),
            0x04 => Some(Self::OwningGroup),
            0x08 => Some(Self::Group),
            0x10 => Some(Self::Mask),
            0x20 => Some(Self::Other),
            _ => None,
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::Owner => 0x01,
            Self::User => 0x02,
            Self::OwningGroup => 0x04,
            Self::Group => 0x08,
            Self::Mask => 0x10,
            Self::Other => 0x20,
        }
    }

    const fn is_by_number(self) -> bool {
        matches!(self, Self::User | Self::Group)
    }
}

impl Acl {
    /// Reads the value of an extended attribute.
    ///
    /// # Errors
    /// It is no list, or one that breaks the rules.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedAcl> {
        let (head, entries) = bytes.split_first_chunk::<HEAD_LEN>().ok_or(MalformedAcl)?;
        if u32::from_le_bytes(*head) != VERSION || entries.len() % ENTRY_LEN != 0 {
            return Err(MalformedAcl);
        }
        let entries = entries.as_chunks::<ENTRY_LEN>().0.iter().map(decode_entry);
        let list = Self(entries.collect::<Option<_>>().ok_or(MalformedAcl)?);
        if list.is_valid() { Ok(list) } else { Err(MalformedAcl) }
    }

    /// The value of an extended attribute.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD_LEN + self.0.len() * ENTRY_LEN);
        bytes.put_u32_le(VERSION);
        for entry in &self.0 {
            bytes.put_u16_le(entry.tag.number());
            bytes.put_u16_le(entry.permissions);
            bytes.put_u32_le(if entry.tag.is_by_number() { entry.id } else { NO_ID });
        }
        bytes.freeze()
    }

    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|entry| entry.tag == tag).count();
        let names_some = self.0.iter().any(|entry| entry.tag.is_by_number());
        self.0.is_sorted_by_key(|entry| entry.tag)
            && [Tag::Owner, Tag::OwningGroup, Tag::Other].map(count) == [1, 1, 1]
            && (count(Tag::Mask) == 1 || (count(Tag::Mask) == 0 && !names_some))
    }

    /// Its entries.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The same list with other numbers of users and groups.
    ///
    /// # Errors
    /// That of `change`.
    pub fn try_map_ids<E>(mut self, mut change: impl FnMut(Tag, u32) -> Result<u32, E>) -> Result<Self, E> {
        for entry in self.0.iter_mut().filter(|entry| entry.tag.is_by_number()) {
            entry.id = change(entry.tag, entry.id)?;
        }
        Ok(self)
    }

    /// Permission bits of a mode that say the same, or what of it a mode can say.
    pub fn mode(&self) -> u32 {
        let group = self.get(Tag::Mask).or_else(|| self.get(Tag::OwningGroup));
        let bits = |permissions: Option<u16>| u32::from(permissions.unwrap_or_default());
        bits(self.get(Tag::Owner)) << 6 | bits(group) << 3 | bits(self.get(Tag::Other))
    }

    /// Whether a mode says all of it.
    pub fn is_mode(&self) -> bool {
        !self.0.iter().any(|entry| entry.tag == Tag::Mask)
    }

    /// What chmod to `mode` makes of it.
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        for (tag, shift) in self.classes() {
            self.set(tag, permissions(mode, shift));
        }
        self
    }

    /// What is made with `mode` in a directory whose default list this is; umask has no part in it.
    pub fn inherited(mut self, mode: u32) -> Inherited {
        let mut granted = 0;
        for (tag, shift) in self.classes() {
            let both = self.get(tag).unwrap_or_default() & permissions(mode, shift);
            self.set(tag, both);
            granted |= u32::from(both) << shift;
        }
        Inherited {
            mode: mode & !PERMISSIONS | granted,
            access: (!self.is_mode()).then_some(self),
        }
    }

    /// The entries that a mode's three classes stand for, and where those have their bits.
    fn classes(&self) -> [(Tag, u32); 3] {
        let group = if self.is_mode() { Tag::OwningGroup } else { Tag::Mask };
        [(Tag::Owner, 6), (group, 3), (Tag::Other, 0)]
    }

    fn get(&self, tag: Tag) -> Option<u16> {
        let found = self.0.iter().find(|entry| entry.tag == tag);
        found.map(|entry| entry.permissions)
    }

    fn set(&mut self, tag: Tag, permissions: u16) {
        for entry in self.0.iter_mut().filter(|entry| entry.tag == tag) {
            entry.permissions = permissions;
        }
    }
}

fn permissions(mode: u32, shift: u32) -> u16 {
    u16::try_from(mode >> shift & 7).expect("three bits")
}

fn decode_entry(bytes: &[u8; ENTRY_LEN]) -> Option<Entry> {
    let [tag_low, tag_high, low, high, id @ ..] = *bytes;
    let tag = Tag::of(u16::from_le_bytes([tag_low, tag_high]))?;
    let permissions = u16::from_le_bytes([low, high]);
    let id = if tag.is_by_number() {
        u32::from_le_bytes(id)
    } else {
        NO_ID
    };
    let is_possible = permissions <= 7 && (!tag.is_by_number() || id != NO_ID);
    is_possible.then_some(Entry { tag, permissions, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(Tag, u16, u32)]) -> Acl {
        let entry = |&(tag, permissions, id)| Entry { tag, permissions, id };
        Acl(entries.iter().map(entry).collect())
    }

    fn minimal(owner: u16, group: u16, other: u16) -> Acl {
        list(&[
            (Tag::Owner, owner, NO_ID),
            (Tag::OwningGroup, group, NO_ID),
            (Tag::Other, other, NO_ID),
        ])
    }

    fn with_user(mask: u16) -> Acl {
        list(&[
            (Tag::Owner, 7, NO_ID),
            (Tag::User, 6, 1000),
            (Tag::OwningGroup, 5, NO_ID),
            (Tag::Group, 7, 50),
            (Tag::Mask, mask, NO_ID),
            (Tag::Other, 4, NO_ID),
        ])
    }

    #[test]
    fn lists_are_read_as_they_were_written() {
        for acl in [minimal(7, 5, 0), with_user(6)] {
            assert_eq!(Acl::decode(&acl.encode()), Ok(acl));
        }
        // As `setfacl -m u:1000:r` writes it.
        let bytes = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\
            \x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
        let read = Acl::decode(bytes).expect("a list");
        assert_eq!(read.entries()[1].id, 1000);
        assert_eq!(read.encode(), bytes[..]);
    }

    #[test]
    fn what_breaks_the_rules_is_no_list() {
        let whole = with_user(7).encode();
        for len in 0..whole.len() {
            assert_eq!(Acl::decode(&whole[..len]), Err(MalformedAcl), "{len} bytes");
        }
        let others_version = [&[3, 0, 0, 0], &whole[4..]].concat();
        assert_eq!(Acl::decode(&others_version), Err(MalformedAcl));
        let broken: [&[(Tag, u16, u32)]; 6] = [
            &[(Tag::Owner, 7, NO_ID), (Tag::Other, 7, NO_ID)],
            &[
                (Tag::OwningGroup, 7, NO_ID),
                (Tag::Owner, 7, NO_ID),
                (Tag::Other, 7, NO_ID),
            ],
            &[
                (Tag::Owner, 8, NO_ID),
                (Tag::OwningGroup, 7, NO_ID),
                (Tag::Other, 7, NO_ID),
            ],
            &[
                (Tag::Owner, 7, NO_ID),
                (Tag::Owner, 7, NO_ID),
                (Tag::OwningGroup, 7, NO_ID),
                (Tag::Other, 7, NO_ID),
            ],
            // A name without a mask, and nobody's.
            &[
                (Tag::Owner, 7, NO_ID),
                (Tag::User, 7, 1),
                (Tag::OwningGroup, 7, NO_ID),
                (Tag::Other, 7, NO_ID),
            ],
            &[
                (Tag::Owner, 7, NO_ID),
                (Tag::User, 7, NO_ID),
                (Tag::OwningGroup, 7, NO_ID),
                (Tag::Mask, 7, NO_ID),
                (Tag::Other, 7, NO_ID),
            ],
        ];
        for entries in broken {
            assert_eq!(Acl::decode(&list(entries).encode()), Err(MalformedAcl), "{entries:?}");
        }
    }

    #[test]
    fn a_mode_says_what_it_can_of_a_list() {
        assert_eq!(minimal(7, 5, 0).mode(), 0o750);
        assert!(minimal(7, 5, 0).is_mode());
        assert_eq!(with_user(6).mode(), 0o764);
        assert!(!with_user(6).is_mode());
    }

    #[test]
    fn chmod_sets_the_mask_where_there_is_one() {
        assert_eq!(minimal(7, 5, 0).with_mode(0o4640), minimal(6, 4, 0));
        let changed = with_user(7).with_mode(0o610);
        assert_eq!(changed.mode(), 0o610);
        assert_eq!(changed.get(Tag::OwningGroup), Some(5));
        assert_eq!(changed.get(Tag::User), Some(6));
    }

    #[test]
    fn what_is_made_gets_what_both_the_default_and_its_maker_grant() {
        let made = minimal(7, 5, 0).inherited(0o2666);
        assert_eq!((made.mode, made.access), (0o2640, None));
        let made = with_user(7).inherited(0o644);
        assert_eq!(made.mode, 0o644);
        let access = made.access.expect("a list");
        assert_eq!(
            (access.get(Tag::Mask), access.get(Tag::OwningGroup)),
            (Some(4), Some(5))
        );
        assert_eq!(access.mode(), 0o644);
    }

    #[test]
    fn numbers_of_users_and_groups_are_changed_and_no_others() {
        let shifted = with_user(7).try_map_ids(|tag, id| if tag == Tag::User { Ok(id + 1) } else { Ok::<_, ()>(id) });
        let ids: Vec<u32> = shifted
            .expect("no error")
            .entries()
            .iter()
            .map(|entry| entry.id)
            .collect();
        assert_eq!(ids, [NO_ID, 1001, NO_ID, 50, NO_ID, NO_ID]);
        assert_eq!(with_user(7).try_map_ids(|_, _| Err("none")), Err("none"));
    }
}
