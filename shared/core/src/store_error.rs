//! What can go wrong with a table or a queue.

/// What can go wrong with a table or a queue.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer, or answered that it cannot now. Worth trying again; the change may or may
    /// not have been made.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The record or message is larger than the store takes. Trying again does not help.
    #[error("the state is too large: {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes there are.
        size: usize,
        /// Bytes there may be.
        limit: usize,
    },
    /// As many callbacks wait as may ([`Record::LARGEST_INBOX`](crate::record::Record::LARGEST_INBOX)). Worth trying again when some were handed over.
    #[error("the inbox is full: {limit} callbacks wait for their steps")]
    InboxFull {
        /// Callbacks there may be.
        limit: usize,
    },
    /// What is stored cannot be read back: written by a newer version or damaged.
    #[error("a stored {what} cannot be read: {source}")]
    Unreadable {
        /// Kind and name of the stored thing.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
