//! The rules that can be switched off, one by one.
//!
//! Invariant: each is tried by a test, which shows what goes wrong without the rule, or that nothing does.

/// A rule left out. Each says what goes wrong then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakening {
    /// A commit is accepted before all shards are acknowledged.
    CommitBeforeDurable,
    /// A commit is accepted though its session has ended: the inventory may have taken its shards.
    CommitAfterSessionEnd,
    /// A commit is accepted though its counter was reported settled.
    CommitBelowSettled,
    /// A repeated command is carried out again: its chunk may have been deleted and forgotten.
    CommitTwice,
    /// The queue is released without asking who reads.
    ReleaseUnderReaders,
    /// A heartbeat reports what is known, whatever reads are running.
    HeartbeatWithoutReads,
    /// A chunk is forgotten before every shard is confirmed deleted.
    ForgetUnconfirmed,
    /// A shard without a record is deleted though its session may yet commit it: by its age, say.
    OrphansByGuess,
    /// The inventory leaves orphans alone.
    OrphansKept,
    /// The inventory leaves shards of known chunks alone, wherever they lie.
    StraysKept,
    /// The old device of a moving slot counts as left.
    OldShardsDeletedWhileMoving,
    /// A move is over before everything was copied.
    DoneBeforeCopied,
    /// "The move is done" ends whatever move it meets.
    DoneOfAnotherMove,
    /// A commit by an older row is taken as if it were by the present one.
    MisplacedNotMarked,
    /// A repair's report is taken though the row has changed since its copy was made.
    RepairOfAnotherRow,
    /// A device deletes a stray by a judgement older than the copy it was given since.
    StraysUnfenced,
    /// The inventory judges by a state that may be older than the page.
    JudgedBeforeListed,
    /// Sessions of the backup live on after its restore, and with them commits that happened in the time that is undone.
    SessionsSurviveRestore,
    /// Sessions opened in the time that is undone count as never opened.
    UndoneSessionsUnknown,
    /// Epochs go on from the backup's, so that two maps have the same.
    EpochsReusedAfterRestore,
    /// A mover leaves out chunks that are marked misplaced, as the repair's business.
    MarksTrustedByMover,
    /// A stray is deleted without asking whether the shard is where the map wants it.
    StraysDeletedUnseen,
    /// Deletes sent in the time that is undone still count.
    DeletesSurviveRestore,
    /// A commit by a map from before a device's loss counts the shards that went there as stored.
    LossesUnseenByCommit,
    /// A commit is accepted whatever number of its shards was lost since it was written.
    CommitWithTooFewShards,
    /// A device takes shards that are meant for another life of it.
    PutsOfAnotherLife,
    /// A device heeds deletes that are meant for another life of it.
    DeletesOfAnotherLife,
    /// A repair's report is taken though the device has lost everything since.
    RepairOfAnotherLife,
    /// A shard comes to lie on a device where another of its chunk still lies.
    ShardsMeetOnDevices,
    /// The state says "full redundancy" while it is not known what a device has lost.
    FullBeforeSurveyed,
    /// "Surveyed" counts for whatever life the device is in.
    SurveyedOfAnotherLife,
    /// "Surveyed" is said before what is missing was noted.
    SurveyedBeforeNoted,
    /// That a device is to be surveyed is remembered by the leader alone.
    SurveyKeptByLeader,
    /// What is missing is asked before the device lists what it has.
    MissingAskedBeforeListed,
}
