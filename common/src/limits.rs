//! Every bound of the system, each with its reason. A limit that is not here does not exist.
//!
//! Invariant: limits that depend on each other are tied by the compile-time assertions at the end.

/// Most bytes of file data in one chunk, unless the bucket says less. Large enough that per-chunk costs vanish, small
/// enough that a handful in flight fit the memory budget.
pub const CHUNK_SIZE_BYTES: usize = 8 << 20;

/// The unit of checksum: a range read costs at most two of these more than asked for at each end of a shard.
pub const BLOCK_SIZE_BYTES: usize = 64 << 10;

/// Up to this many bytes a body lives in its inode record: one synced Raft entry instead of chunk writes.
pub const INLINE_SIZE_BYTES: usize = 4 << 10;

/// Up to this many bytes a chunk is stored as m+1 replicas instead of k+m shards: the same tolerance with fewer I/Os.
pub const SMALL_CHUNK_SIZE_BYTES: usize = 128 << 10;

/// Most shards of a chunk. Reed-Solomon over GF(2^8) allows 255 together; rows wider than this serve no one.
pub const WIDTH_MAX: usize = 32;

/// Placement groups of a store: 2^10 keep tens of devices within 2 % of their fair share at a map of a few KiB.
pub const GROUP_BITS: u8 = 10;

/// Longest S3 key, in bytes, as AWS documents.
pub const KEY_LEN_MAX: usize = 1024;

/// Most components of a key: each costs at least one byte.
pub const KEY_COMPONENTS_MAX: usize = KEY_LEN_MAX + 1;

/// User metadata of an object in bytes (names and values), as AWS documents.
pub const USER_METADATA_BYTES_MAX: usize = 2 << 10;

/// Content headers of an object in bytes (names and values): what a request's head may hold.
pub const CONTENT_HEADER_BYTES_MAX: usize = 8 << 10;

/// Largest object by a single PUT, or part, as AWS documents.
pub const PUT_SIZE_BYTES_MAX: u64 = 5 << 30;

/// Smallest part of a multipart upload but its last, as AWS documents.
pub const PART_SIZE_BYTES_MIN: u64 = 5 << 20;

/// Highest part number, as AWS documents.
pub const PART_NUMBER_MAX: u32 = 10_000;

/// Most entries of a listing page, as AWS documents.
pub const LIST_PAGE_MAX: usize = 1000;

/// Records that one listing query may visit before it answers with a shorter page and where to go on.
pub const LIST_VISITS_MAX: usize = 20_000;

/// Buckets of one store that a listing returns at most; AWS accounts are held to the same by default.
pub const BUCKETS_MAX: usize = 10_000;

/// Keys of one delete-many request, as AWS documents.
pub const DELETE_MANY_MAX: usize = 1000;

/// Commands in one Raft entry: enough to share a sync among all waiting writers, few enough to apply in milliseconds.
pub const ENTRY_COMMANDS_MAX: usize = 512;

/// Bytes of commands in one Raft entry.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;

/// Bytes of entries in one append to a member's log: a few entries, so that a member that is behind catches up in large
/// steps.
pub const APPEND_BYTES_MAX: usize = 16 << 20;

/// What this program understands of commands and limits. Raised with every change that an older one could not apply;
/// what is in force is the replicated level, which is never above that of any member.
pub const FEATURE_LEVEL: u32 = 3;

/// How far the leader's wall clock may be from the median of the voters' before it hands leadership over, or refuses
/// commands: time stamps are for people, who notice half a minute.
pub const CLOCK_SKEW_MAX_MS: u64 = 30_000;

/// Voters of a Raft group at most: with five, two may fail; more only make every command dearer.
pub const VOTERS_MAX: usize = 5;

/// Members of a Raft group at most, learners among them.
pub const MEMBERS_MAX: usize = 16;

/// Commands waiting to be proposed. Beyond it a client is told to slow down.
pub const PROPOSAL_QUEUE_MAX: usize = 4096;

/// Extents that one command may carry: a 5 GiB part in chunks of 1 MiB.
pub const COMMAND_EXTENTS_MAX: usize = 5120;

/// Extents kept in the inode record itself; more go to records of their own.
pub const INODE_EXTENTS_MAX: usize = 4;

/// Extents in one read plan page: 2 GiB of 8 MiB chunks.
pub const PLAN_EXTENTS_MAX: usize = 256;

/// Inline bytes in one read plan page, beyond which it ends with the extent at hand: small writes to a large file lie inline.
pub const PLAN_INLINE_BYTES_MAX: usize = 256 << 10;

/// Bytes of names and symbolic links' targets in one directory page, beyond which it ends with the entry at hand.
pub const DIRECTORY_PAGE_BYTES_MAX: usize = 512 << 10;

/// Longest name that a mount may give or see, in bytes: NAME_MAX of Linux.
pub const NAME_LEN_MAX: usize = 255;

/// Longest target of a symbolic link, in bytes: PATH_MAX of Linux without its zero byte.
pub const SYMLINK_TARGET_LEN_MAX: usize = 4095;

/// Most names of one file: what ext4 allows, so that tools which probe for the bound find it in time.
pub const LINKS_MAX: u32 = 65_000;

/// Largest file: offsets of Linux are signed.
pub const FILE_SIZE_BYTES_MAX: u64 = i64::MAX as u64;

/// Longest name of an extended attribute, in bytes: XATTR_NAME_MAX of Linux.
pub const XATTR_NAME_LEN_MAX: usize = 255;

/// Bytes of all extended attributes of an inode, names and values, and so of the largest value: XATTR_SIZE_MAX of Linux,
/// and few enough that a list of names is one answer.
pub const XATTRS_BYTES_MAX: usize = 64 << 10;

/// Bytes of a POSIX ACL: what Linux takes from a mount, a page. What a directory hands on, two of them, is then always within the
/// bound above.
pub const ACL_BYTES_MAX: usize = 4096;

/// Stored extents that one command on a file may touch: some 0.5 MiB of records. What covers more is done in smaller steps.
pub const TOUCHED_EXTENTS_MAX: usize = 4096;

/// Truncations of one file that wait for the worker which removes what they cut off; beyond it the sender slows down.
pub const CUTS_MAX: usize = 16;

/// Files without a name that one mount session may hold open.
pub const HELD_FILES_MAX: usize = 4096;

/// Queue entries that one page of files without a name may cover: more than one entry of the log can queue.
pub const ORPHANS_PAGE_MAX: usize = 4096;

/// Levels of directories above a directory that is moved to another parent: the way up is walked to find circles.
pub const RENAME_DEPTH_MAX: usize = 4096;

/// Replies kept for each session so that a repeated command gets its first answer.
pub const REPLY_WINDOW_MAX: usize = 4096;

/// Bytes of a checkpoint's file that one request may ask for: enough to fill a line, few enough that a lost connection
/// costs seconds.
pub const CHECKPOINT_READ_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a checkpoint that are read, sent and written at a time.
pub const CHECKPOINT_PIECE_BYTES: usize = 1 << 20;

/// Checkpoints of one metadata server that readers keep from being removed, whatever they are for: each may hold a whole
/// state's worth of disk.
pub const CHECKPOINTS_PINNED_MAX: usize = 2;

/// How long a checkpoint is kept for a reader that asks nothing.
pub const CHECKPOINT_PIN_MS: u64 = 120_000;

/// How long a session lives without a heartbeat, counted on the leader's monotonic clock.
pub const SESSION_LEASE_MS: u64 = 30_000;

/// Lease of what a mount was told of files: how long a change may have to wait for a mount that is gone. Several polls long, so that a
/// lost one costs nothing.
pub const FILE_LEASE_MS: u64 = 5000;

/// How long a directory that a mount used alone is not given to one alone again, after others asked for it.
pub const ALONE_REST_MS: u64 = 1000;

/// Numbers of inodes that are set aside at a time, at most.
pub const RESERVED_INODES_MAX: u32 = 4096;

/// Changes of attributes that come with a new file, at most.
pub const LATER_ATTRIBUTES_MAX: usize = 16;

/// How long a metadata server keeps a mount's poll for recalled leases before it answers that there are none.
pub const LEASE_POLL_MS: u64 = 1000;

/// Mounts that may have leases at a time: each has a question for recalls under way.
pub const MOUNTS_MAX: usize = 4096;

/// Inodes that one mount has leases of; a mount gives all up before it has so many.
pub const FILE_LEASES_MAX: usize = 1 << 17;

/// Recalls in one answer to a mount's poll.
pub const LEASE_RECALLS_MAX: usize = 4096;

/// Time between a session's heartbeats: six chances within a lease.
pub const SESSION_HEARTBEAT_MS: u64 = 5_000;

/// Steps of garbage work taken by one command.
pub const GARBAGE_STEP_MAX: usize = 128;

/// Shards in one page of a device's inventory.
pub const INVENTORY_PAGE_MAX: usize = 1000;

/// Messages that travel together in one request at most.
pub const GATHERED_MAX: usize = 256;

/// Bytes that they have at most where there are several: a request stays far below the largest header.
pub const GATHERED_BYTES_MAX: usize = 256 << 10;

/// Messages that wait to be sent to one node, at most.
pub const GATHERING_MAX: usize = 4096;

/// Largest message header on the wire, bulk bytes not counted: the commit of a part with 5,120 extents fits.
pub const HEADER_BYTES_MAX: usize = 1 << 20;

/// Chunk ids that a writer tries for a group whose devices are all healthy before it places explicitly.
pub const PLACEMENT_TRIES_MAX: usize = 256;

/// Times a chunk's write is tried anew, each under a new id, before the error is the caller's.
pub const CHUNK_WRITE_TRIES_MAX: usize = 4;

/// How long a device that failed a request is avoided by writers before it is tried again.
pub const DEVICE_SUSPECT_MS: u64 = 10_000;

/// How long, after the first shard of a chunk failed, the others are awaited, so that one try learns of all that fail.
pub const WRITE_SETTLE_MS: u64 = 250;

/// Shortest time without an acknowledgement, while other shards of the chunk have theirs, after which a writer goes elsewhere: a
/// disk that syncs much beside is no reason, and going elsewhere may cost copies that are coded again later.
pub const WRITE_LATE_MS_MIN: u64 = 1_500;

/// Longest such time: by then a connection that fell silent is known to be dead.
pub const WRITE_LATE_MS_MAX: u64 = 10_000;

/// How long a device that was only busy is avoided: long enough to spread a burst, too short to turn it into replicas.
pub const DEVICE_BUSY_MS: u64 = 1_000;

/// First pause before a chunk is sent again to devices that were busy; doubled with each try.
pub const BUSY_BACKOFF_MS: u64 = 20;

/// Deadline of one shard write, sync included.
pub const SHARD_WRITE_DEADLINE_MS: u64 = 30_000;

/// Deadline of one shard read.
pub const SHARD_READ_DEADLINE_MS: u64 = 10_000;

/// How long a reader asks again for shards that were late and that no others can stand in for: with the deadline of the last asking
/// it is the half minute for which the kernel waits for a disk.
pub const READ_PATIENCE_MS: u64 = 25_000;

/// Shortest time without an answer after which a reader asks other shards too: syncs and a busy processor beside the read
/// are no reason, and asking costs a decode.
pub const READ_HEDGE_MS_MIN: u64 = 250;

/// Longest such time: a reader must not wait for a dying disk's own retries.
pub const READ_HEDGE_MS_MAX: u64 = 1_000;

/// Deadline of one metadata request, retries included.
pub const METADATA_DEADLINE_MS: u64 = 15_000;

/// Bytes of chunk buffers in one process unless it is told otherwise.
pub const CHUNK_BUDGET_BYTES: usize = 256 << 20;

/// Memory of a metadata server unless it is told otherwise: the hot part of ten million objects.
pub const METADATA_MEMORY_BYTES: usize = 512 << 20;

/// First step of a chunk buffer: a body of a few KiB pins no more than this of the budget.
pub const BUFFER_FIRST_STEP_BYTES: usize = 64 << 10;

/// Second step of a chunk buffer, before the whole chunk: a slow or middling upload pins no more.
pub const BUFFER_SECOND_STEP_BYTES: usize = 1 << 20;

/// How long a chunk buffer waits for each of its steps before its upload is told to slow down.
pub const BUFFER_STEP_DEADLINE_MS: u64 = 30_000;

/// Up to this many bytes are hashed and coded on the task's own thread: some 50 µs, cheaper than a change of threads.
pub const INLINE_COMPUTE_BYTES: usize = 256 << 10;

/// Chunks of one upload being stored while the next is received.
pub const UPLOAD_PIPELINE_CHUNKS: usize = 2;

/// Bytes that a reader asks for at a time: whole blocks, and few enough that many readers fit in memory.
pub const READ_PIECE_BYTES: usize = 1 << 20;

/// What readers keep for their clients is this part of the budget of chunk buffers, beside it; and so is what is being decoded.
pub const READ_MEMORY_PART: usize = 2;

/// Pieces that one reader fetches ahead: enough to keep several shards busy.
pub const READ_AHEAD_PIECES: usize = 4;

/// How long a gateway goes by what it was told of an access key, from the moment it asked: a key or right that is taken away
/// ends everywhere within it.
pub const KEY_KNOWN_MS: u64 = 5_000;

/// How long a gateway refuses an access key that was not there when it asked. Requests with invented keys are not to become
/// as many questions.
pub const KEY_UNKNOWN_MS: u64 = 1_000;

/// Access keys that a gateway keeps at hand; each may have rights in a thousand buckets.
pub const KEYS_KNOWN_MAX: usize = 4096;

/// Buckets whose settings a client keeps at hand.
pub const BUCKET_CACHE_MAX: usize = 1024;

/// Free bytes below which a device refuses shards, so that deletes and compaction keep room to work.
pub const DEVICE_RESERVE_BYTES: u64 = 64 << 20;

/// Threads of a device that write large shards: what keeps a fast disk's queue full.
pub const DEVICE_WRITES_MAX: usize = 16;

/// Threads of a device that read, apart from those that write so that reads never wait behind syncs.
pub const DEVICE_READS_MAX: usize = 16;

/// Requests waiting for one device's threads beyond those running; above it the device is busy.
pub const DEVICE_QUEUE_MAX: usize = 1024;

/// Free bytes on the metadata store's disk below which it takes no more data, so that deletes, the log and flushes of what
/// is in memory have room. Below the devices' own reserve: where they share a disk, they stop first.
pub const METADATA_RESERVE_BYTES: u64 = 48 << 20;

/// Extents that a copy by one command shares: a GiB in chunks of 8 MiB. What is larger is copied in ranges.
pub const COPY_EXTENTS_MAX: usize = 128;

/// Extents that a copied part shares: what a part that was sent may have.
pub const COPY_PART_EXTENTS_MAX: usize = COMMAND_EXTENTS_MAX;

/// Days after its last part when an upload of a new bucket is given up: long enough for a week's pause, short enough that
/// what crashed clients left behind does not fill the store.
pub const ABANDONED_UPLOADS_DAYS: u32 = 7;

/// Uploads that one command gives up: each costs a handful of records, its parts are released by the worker.
pub const EXPIRE_UPLOADS_MAX: usize = 128;

/// Settings documents of a bucket: S3 has a dozen kinds.
pub const BUCKET_DOCUMENTS_MAX: usize = 16;

/// Longest name of a settings document.
pub const BUCKET_DOCUMENT_NAME_LEN_MAX: usize = 64;

/// Largest settings document; S3's largest, a policy, is 20 KiB.
pub const BUCKET_DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// Most changes that a feed keeps: some GiB of them. A reader that is further behind starts anew.
pub const FEED_ENTRIES_MAX: u64 = 1 << 24;

/// Locks of one kind on one inode: each command looks at all of them.
pub const LOCKS_PER_INODE_MAX: usize = 4096;

/// Locks of one session: what a host with many processes holds, and a bound on what its end leaves to release.
pub const LOCKS_PER_SESSION_MAX: u64 = 1 << 16;

/// Certificate, sealed key and ledger of the cluster's authority together, so that they fit a request: thousands of nodes.
pub const AUTHORITY_BYTES_MAX: usize = 512 << 10;

/// Users of a store.
pub const USERS_MAX: u64 = 10_000;

/// Access keys of a user, so that it can be deleted in one command. Each service of a user has its own, and one more while
/// it is replaced.
pub const KEYS_PER_USER_MAX: u32 = 16;

/// Buckets in which an access key has rights, so that it can be deleted in one command.
pub const GRANTS_PER_KEY_MAX: u32 = 1000;

/// Access keys that have rights in a bucket, so that it can be deleted in one command.
pub const GRANTS_PER_BUCKET_MAX: usize = 1000;

/// Chunkservers of a cluster.
pub const SERVERS_MAX: usize = 1024;

/// Devices of a chunkserver.
pub const DEVICES_PER_SERVER_MAX: usize = 255;

/// Time between a chunkserver's signs of life.
pub const SERVER_REPORT_MS: u64 = 1_000;

/// How long a chunkserver may be silent before it counts as down: five signs of life.
pub const SERVER_SILENT_MS: u64 = 5_000;

/// Seconds after which a device that stays down is put out, where an operator says nothing: longer than a restart of its machine.
pub const DEVICE_OUT_AFTER_S: u32 = 600;

/// MiB a second that a chunkserver reads for repairs and moves, where an operator says nothing: a part of what any network does.
pub const REPAIR_RATE_MIB: u32 = 128;

/// Former rows of a placement group that may still hold chunks. Beyond it a map waits until they are settled.
pub const FORMER_ROWS_MAX: usize = 8;

/// Former rows of a placement group that stay known once nothing lies on them, for what is written under them still: a client that
/// takes longer than so many changes of its group's row has to send its data again.
pub const SETTLED_ROWS_KEPT: usize = 4;

/// Shards that one command reports or says to be repaired.
pub const REPAIR_BATCH_MAX: usize = 1000;

/// Chunk records that one step of a group's move looks at.
pub const MOVE_STEP_MAX: usize = 1000;

const _: () = assert!(ORPHANS_PAGE_MAX >= 4 * ENTRY_COMMANDS_MAX);
const _: () = assert!(RENAME_DEPTH_MAX >= KEY_COMPONENTS_MAX);
const _: () = assert!(METADATA_RESERVE_BYTES < DEVICE_RESERVE_BYTES);
const _: () = assert!(ENTRY_BYTES_MAX * 2 <= APPEND_BYTES_MAX);
const _: () = assert!(CHECKPOINT_PIECE_BYTES as u64 <= CHECKPOINT_READ_BYTES_MAX);
const _: () = assert!(CHUNK_SIZE_BYTES.is_multiple_of(BLOCK_SIZE_BYTES));
const _: () = assert!(READ_PIECE_BYTES.is_multiple_of(BLOCK_SIZE_BYTES));
const _: () = assert!(INLINE_SIZE_BYTES <= SMALL_CHUNK_SIZE_BYTES);
const _: () = assert!(SMALL_CHUNK_SIZE_BYTES <= CHUNK_SIZE_BYTES);
const _: () = assert!(SESSION_HEARTBEAT_MS * 3 <= SESSION_LEASE_MS);
const _: () = assert!(LEASE_POLL_MS * 3 <= FILE_LEASE_MS && FILE_LEASE_MS * 2 <= METADATA_DEADLINE_MS);
const _: () = assert!(SERVER_REPORT_MS * 3 <= SERVER_SILENT_MS);
const _: () = assert!(COMMAND_EXTENTS_MAX * 128 <= HEADER_BYTES_MAX);
const _: () = assert!(PLAN_INLINE_BYTES_MAX + INLINE_SIZE_BYTES + COMMAND_EXTENTS_MAX * 128 <= HEADER_BYTES_MAX);
const _: () = assert!(DIRECTORY_PAGE_BYTES_MAX + LIST_PAGE_MAX * 256 <= HEADER_BYTES_MAX);
const _: () = assert!(WIDTH_MAX <= 255);
const _: () = assert!(
    WIDTH_MAX <= u32::BITS as usize,
    "a chunk's missing shards are a bitmap of 32 bits"
);
const _: () = assert!(BUCKET_DOCUMENT_BYTES_MAX < HEADER_BYTES_MAX);
const _: () = assert!(UPLOAD_PIPELINE_CHUNKS * CHUNK_SIZE_BYTES * 2 <= CHUNK_BUDGET_BYTES);
const _: () = assert!(BUFFER_FIRST_STEP_BYTES <= SMALL_CHUNK_SIZE_BYTES);
const _: () =
    assert!(BUFFER_FIRST_STEP_BYTES < BUFFER_SECOND_STEP_BYTES && BUFFER_SECOND_STEP_BYTES < CHUNK_SIZE_BYTES);
const _: () = assert!(READ_HEDGE_MS_MIN <= READ_HEDGE_MS_MAX && READ_HEDGE_MS_MAX < SHARD_READ_DEADLINE_MS);
