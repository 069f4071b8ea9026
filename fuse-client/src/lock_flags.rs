//! Which kind of lock the kernel asks for.
//!
//! fuser 0.18 hands on all of a lock request but the flag that tells `flock` from `fcntl`; to Linux these are locks that do not
//! see each other. The request's header, which it does hand on, is the beginning of the kernel's message, so the flag is found
//! behind it. The version of fuser is pinned in the workspace's manifest because of this, and a test takes both kinds.

#![expect(unsafe_code, reason = "the flag lies in memory that fuser has no function for")]

use cairn_common::wire::lock::LockKind;
use fuser::Request;

/// `struct fuse_in_header`: its own length, then other fields.
const HEADER_BYTES: usize = 40;

/// `struct fuse_lk_in`: a handle, an owner, two ends, a type and a process.
const FLAGS_OFFSET: usize = HEADER_BYTES + 8 + 8 + 8 + 8 + 4 + 4;

/// A lock request: header, the above, the flags, four bytes of padding.
const MESSAGE_BYTES: u32 = FLAGS_OFFSET as u32 + 8;

/// `FUSE_LK_FLOCK`.
const IS_FLOCK: u32 = 1;

const _: () = assert!(size_of::<Request>() == HEADER_BYTES);

/// The kind of lock that a lock request is about.
pub(crate) fn lock_kind(request: &Request) -> LockKind {
    let message = std::ptr::from_ref(request).cast::<u8>();
    // SAFETY: the header is 40 bytes, which is checked above, and its first four are the length of the whole message.
    let length = unsafe { message.cast::<u32>().read_unaligned() };
    if length != MESSAGE_BYTES {
        return LockKind::Range;
    }
    // SAFETY: fuser checked that the message, of which the header is the beginning and which lies in one buffer, is as long
    // as its length says; the flags end before that. The buffer is not written while the request is handled.
    let flags = unsafe { message.add(FLAGS_OFFSET).cast::<u32>().read_unaligned() };
    if flags & IS_FLOCK != 0 {
        LockKind::WholeFile
    } else {
        LockKind::Range
    }
}
