//! Deliberate faults in the protocol. The checks must notice each of them.
//!
//! They are made in the adapters around the engine (`ports.rs`): the engine has no hooks.

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The next wake-up is sent after the commit.
    CommitBeforeSend,
    /// A callback's wake-up is sent after the callback is written.
    AppendBeforeSend,
    /// A claim ignores the lease.
    NoLeaseCheck,
    /// A commit ignores the lease.
    CommitIgnoresLease,
    /// A claim ignores the step.
    NoStepCheck,
    /// A lease never expires.
    LeaseNeverExpires,
    /// Commit and create ignore the inbox.
    InboxIgnored,
    /// A callback that comes while a step runs is accepted but not stored.
    CallbackDroppedWhileStepRuns,
    /// A message is deleted when it is received.
    AckBeforeCommit,
    /// A wake-up that meets a lease is dropped.
    DropOnLease,
    /// A wake-up is put back without limit.
    PutBackWithoutBound,
    /// Claim and commit ignore that the end has been written.
    TerminalStateOverwritten,
    /// The finish callback is posted before the end is committed.
    FinishBeforeCommit,
    /// The message that asks for the finish callback is sent after the commit that ends the invocation.
    CommitBeforeFinish,
    /// A message that asks for the finish callback of an end that is not committed yet is dropped.
    EarlyFinishDropped,
    /// A failed finish callback counts as sent.
    FinishNotRetried,
    /// A time-out's wake-up ends any wait for a callback, not only its own.
    TimeOutIgnoresStep,
    /// A wake-up that seems to come early, because clocks differ, is dropped.
    ClockSkewIgnored,
    /// A callback stays in the inbox after a step was given it.
    CallbackNotConsumed,
    /// A step is given the latest callback instead of the oldest.
    LatestCallbackFirst,
    /// The first record does not take over the callbacks in the stub.
    StubForgotten,
    /// A callback is answered before it is written, and may never be written.
    AnswerBeforeAppend,
    /// A message of a newer release is dropped.
    UnreadableDropped,
    /// A message of a newer release ends its invocation at once.
    UnreadableEndsAtOnce,
    /// Receiving a wake-up that is only run alone counts as a death in a run alone.
    ReceiptProves,
    /// The lease of a runner that died is not on the record.
    LeaseForgotten,
    /// Every crash beside others counts.
    EveryCrashCounts,
}

impl Mutation {
    /// All mutations of worlds, each with the number of seeds within which the checks must notice it.
    pub const ALL: [(Self, u64); 25] = [
        (Self::CommitBeforeSend, 2_000),
        (Self::AppendBeforeSend, 2_000),
        (Self::NoLeaseCheck, 2_000),
        (Self::CommitIgnoresLease, 2_000),
        (Self::NoStepCheck, 2_000),
        (Self::LeaseNeverExpires, 2_000),
        (Self::InboxIgnored, 2_000),
        (Self::CallbackDroppedWhileStepRuns, 2_000),
        (Self::AckBeforeCommit, 2_000),
        (Self::DropOnLease, 2_000),
        (Self::PutBackWithoutBound, 2_000),
        (Self::TerminalStateOverwritten, 2_000),
        (Self::FinishBeforeCommit, 2_000),
        (Self::CommitBeforeFinish, 2_000),
        (Self::EarlyFinishDropped, 2_000),
        (Self::FinishNotRetried, 2_000),
        (Self::TimeOutIgnoresStep, 2_000),
        (Self::ClockSkewIgnored, 2_000),
        (Self::CallbackNotConsumed, 2_000),
        (Self::LatestCallbackFirst, 2_000),
        (Self::StubForgotten, 2_000),
        (Self::AnswerBeforeAppend, 2_000),
        (Self::UnreadableDropped, 2_000),
        (Self::UnreadableEndsAtOnce, 2_000),
        (Self::ReceiptProves, 2_000),
    ];

    /// The mutations of crowds.
    pub const OF_CROWDS: [(Self, u64); 3] =
        [(Self::ReceiptProves, 100), (Self::LeaseForgotten, 100), (Self::EveryCrashCounts, 100)];
}
