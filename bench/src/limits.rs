//! Every bound of the benchmark tool, each with its reason. Nothing else belongs here.

use std::time::Duration;

/// More slots than this on one machine measure its scheduler.
pub(crate) const MAX_CONCURRENCY: u32 = 4096;

/// The largest object that S3 knows.
pub(crate) const MAX_OBJECT_BYTES: u64 = 5 << 40;

/// The most S3 accepts in a single PUT, in a part, and in a copy.
pub(crate) const MAX_PUT_BYTES: u64 = 5 << 30;

/// The most parts that S3 lets an upload have.
pub(crate) const MAX_PARTS: u64 = 10_000;

/// The least part that S3 accepts, but for the last.
pub(crate) const MIN_PART_BYTES: u64 = 5 << 20;

/// A distribution of sizes is a page of text.
pub(crate) const MAX_DISTRIBUTION_BYTES: u64 = 1 << 20;

/// A page of 1,000 keys in XML takes a third of this.
pub(crate) const MAX_LISTING_BYTES: usize = 4 << 20;

/// Bytes taken from a socket at a time: large enough that system calls do not show, small enough that the bytes are
/// still in the second-level cache when they are compared.
pub(crate) const MAX_RECEIVE_BUFFER_BYTES: usize = 128 << 10;

/// The least receive buffer; a response head has to fit.
pub(crate) const MIN_RECEIVE_BUFFER_BYTES: usize = 16 << 10;

/// Response headers parsed; S3 servers send about a dozen.
pub(crate) const MAX_RESPONSE_HEADERS: usize = 64;

/// Content blocks handed to the kernel in one vectored write (256 KiB, below the system's limit of 1,024 pieces).
pub(crate) const SEND_WINDOW_BLOCKS: usize = 64;

/// What is kept of an error body; enough for the code and the message.
pub(crate) const MAX_ERROR_BODY_BYTES: usize = 16 << 10;

/// How often a blocked socket wakes to see whether the run was stopped.
pub(crate) const SOCKET_TICK: Duration = Duration::from_millis(250);

/// A server that is there answers a connection at once; a stop must not wait for one that is not.
pub(crate) const MAX_CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How long a half-sent request waits for the answer that explains why the server stopped reading.
pub(crate) const EARLY_ANSWER_WAIT: Duration = Duration::from_secs(1);

/// A request slower than this, beyond its idle limit, has failed even if bytes still trickle.
pub(crate) const MIN_BYTES_PER_SECOND: u64 = 256 << 10;

/// Failures in a row after which a slot gives up.
pub(crate) const MAX_FAILURES_IN_A_ROW: u32 = 20;

/// Waits in a row, each as long as may be waited, after which a slot gives up: a server that is silent for so long is away.
pub(crate) const MAX_STALLS_IN_A_ROW: u32 = 3;

/// At a rate nothing pauses, so that a slot gives up only when failures have lasted as long as they do with pauses.
pub(crate) const MIN_PACED_FAILING_TIME: Duration = Duration::from_secs(15);

/// First and longest pause after a failure that asks for patience.
pub(crate) const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
pub(crate) const MAX_BACK_OFF: Duration = Duration::from_secs(1);

/// Versions of an object that were given up and are kept in mind; a load that fails more often is not worth more precision.
pub(crate) const MAX_STRAGGLERS: usize = 16;

/// Stack of a slot's thread: its largest frame is the piece list of one send window.
pub(crate) const SLOT_STACK_BYTES: usize = 512 << 10;

/// Bytes and objects written ahead of a get run when the number of objects is not given: past the small caches of a
/// server, yet soon written.
pub(crate) const PREPARED_BYTES: u64 = 1 << 30;
pub(crate) const MAX_PREPARED_BYTES: u64 = 4 << 30;
pub(crate) const MAX_PREPARED_OBJECTS: u64 = 4096;

/// Keys in one DeleteObjects request; S3's own limit.
pub(crate) const DELETE_BATCH_KEYS: u64 = 1000;

/// Slots that delete at the end; batches make more of them needless.
pub(crate) const DELETE_SLOTS: u32 = 8;

/// How often the main thread looks at the stop flag.
pub(crate) const SUPERVISION_TICK: Duration = Duration::from_millis(100);

/// Time between two samples of the server's resident memory, and between progress lines on a terminal.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Time between progress lines where standard error is a file or a pipe.
pub(crate) const PLAIN_PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Seconds of a time series that are kept apart: a day.
pub(crate) const MAX_SERIES_SECONDS: usize = 86_400;

/// Longest wait for an admin address, and longest answer taken from it.
pub(crate) const ADMIN_WAIT: Duration = Duration::from_secs(5);
pub(crate) const MAX_ADMIN_ANSWER_BYTES: u64 = 16 << 20;

/// Files that all slots of a load on blocks have open together, but for one each; half of what a process may usually have.
pub(crate) const MAX_OPEN_FILES: usize = 512;

/// Each slot has a block in memory.
pub(crate) const MAX_BLOCK_BYTES: u64 = 64 << 20;

/// The file of a suite is a page of text; its results are a few KiB for each minute of each run.
pub(crate) const MAX_SUITE_BYTES: u64 = 1 << 20;
pub(crate) const MAX_RESULTS_BYTES: u64 = 256 << 20;
