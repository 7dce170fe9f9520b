//! What can go wrong with a table or a queue.

/// What can go wrong with a table or a queue.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer, or answered that it is unavailable. Worth a retry; the change may or may not have been
    /// made.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The record or message is larger than the store takes. A retry does not help.
    #[error("the state is too large: {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest size in bytes.
        limit: usize,
    },
    /// The most callbacks that may wait ([`Record::LARGEST_INBOX`](crate::record::Record::LARGEST_INBOX)) are waiting.
    /// Worth a retry when some were handed to steps.
    #[error("the inbox is full: {limit} callbacks wait for their steps")]
    InboxFull {
        /// How many callbacks may wait.
        limit: usize,
    },
    /// A stored record or message cannot be read back: it was written by a newer version, or is damaged.
    #[error("a stored {what} cannot be read: {source}")]
    Unreadable {
        /// Kind and name of the stored thing.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
