//! Deliberate faults of the protocol, each of which the checks must notice.
//!
//! They are made in the adapters around the engine (`ports.rs`): the engine has no hooks.

/// One thing that is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The next wake-up is sent after the commit.
    CommitBeforeSend,
    /// A callback's wake-up is sent after the callback is written.
    AppendBeforeSend,
    /// A claim does not look at the lease.
    NoLeaseCheck,
    /// A commit does not look at the lease.
    CommitIgnoresLease,
    /// A claim does not look at the step.
    NoStepCheck,
    /// A lease outlives its end.
    LeaseNeverExpires,
    /// Commit and create do not look at the inbox.
    InboxIgnored,
    /// A callback that comes while a step runs is accepted and not kept.
    CallbackDroppedWhileStepRuns,
    /// A message is deleted when it is received.
    AckBeforeCommit,
    /// A message is deleted although its runner lost the lease.
    DeleteOnLostLease,
    /// A wake-up that meets a lease is dropped.
    DropOnLease,
    /// A wake-up is put back for ever.
    PutBackWithoutBound,
    /// Neither claim nor commit looks whether the end has been written.
    TerminalStateOverwritten,
    /// The finish callback is posted before the end is committed.
    FinishBeforeCommit,
    /// Whoever meets a finished record that owes its finish callback does nothing.
    OwedNotSentAgain,
    /// A finish callback that failed is taken for sent.
    FinishNotRetried,
    /// A time-out's wake-up ends whichever wait for a callback it meets.
    TimeOutIgnoresStep,
    /// A wake-up that seems to come early, for the clocks differ, is dropped.
    ClockSkewIgnored,
    /// A callback that was handed over stays in the inbox.
    CallbackNotConsumed,
    /// The latest callback is handed over first.
    LatestCallbackFirst,
    /// The first record does not take over what waits in the stub.
    StubForgotten,
    /// A callback is answered before it is written, and may not be.
    AnswerBeforeAppend,
}

impl Mutation {
    /// All of them, with the number of seeds within which each must be noticed.
    pub const ALL: [(Self, u64); 22] = [
        (Self::CommitBeforeSend, 2_000),
        (Self::AppendBeforeSend, 2_000),
        (Self::NoLeaseCheck, 2_000),
        (Self::CommitIgnoresLease, 2_000),
        (Self::NoStepCheck, 2_000),
        (Self::LeaseNeverExpires, 2_000),
        (Self::InboxIgnored, 2_000),
        (Self::CallbackDroppedWhileStepRuns, 2_000),
        (Self::AckBeforeCommit, 2_000),
        (Self::DeleteOnLostLease, 20_000),
        (Self::DropOnLease, 2_000),
        (Self::PutBackWithoutBound, 2_000),
        (Self::TerminalStateOverwritten, 2_000),
        (Self::FinishBeforeCommit, 2_000),
        (Self::OwedNotSentAgain, 2_000),
        (Self::FinishNotRetried, 2_000),
        (Self::TimeOutIgnoresStep, 2_000),
        (Self::ClockSkewIgnored, 2_000),
        (Self::CallbackNotConsumed, 2_000),
        (Self::LatestCallbackFirst, 2_000),
        (Self::StubForgotten, 2_000),
        (Self::AnswerBeforeAppend, 2_000),
    ];
}
