//! What the writer asks of a database.

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::Selection;
use bk_plugin_core::store_error::StoreError;

use crate::change::{Change, ChangeAnswer};
use crate::message::MessageRow;
use crate::reply::Reply;
use crate::request::{DeleteExpired, DeleteMessage, MoveToDeadLetters, SendMessage};

/// Requests that are made in one transaction at most. It bounds how long the first one waits for the last.
pub(crate) const MOST_REQUESTS: usize = 512;

/// A database with one connection that writes.
pub(crate) trait Database: Send + 'static {
    /// When the next look for messages of a selection is worthwhile, by what this process knows; `None`: there are none.
    fn next_look(&self, selection: &Selection) -> Option<Timestamp>;

    /// Makes a batch in one transaction at `now`. `wanted`: what receivers wait for.
    fn transact(
        &mut self,
        batch: &Batch,
        wanted: &[Wanted],
        now: Timestamp,
    ) -> impl Future<Output = Result<Done, Failure>> + Send;

    /// Closes the connection, on which nothing is under way.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Messages that receivers wait for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) selection: Selection,
    /// How many, of all receivers that take this selection.
    pub(crate) count: usize,
}

/// The requests of one transaction, by kind. The callers asked concurrently, so any order of their requests is
/// allowed; by kind they take the fewest statements.
#[derive(Default)]
pub(crate) struct Batch {
    /// Callers that want to know whether the database can be written.
    pub(crate) pings: Vec<Reply<()>>,
    pub(crate) expiries: Vec<DeleteExpired>,
    pub(crate) changes: Vec<Change>,
    pub(crate) sends: Vec<SendMessage>,
    pub(crate) deletes: Vec<DeleteMessage>,
    pub(crate) dead_letters: Vec<MoveToDeadLetters>,
}

impl Batch {
    /// The replies to the requests that are only told whether the batch was done. The rest of the batch is dropped.
    pub(crate) fn acknowledged(self) -> impl Iterator<Item = Reply<()>> {
        let sent = self.sends.into_iter().map(|send| send.reply);
        let deleted = self.deletes.into_iter().map(|delete| delete.reply);
        let moved = self.dead_letters.into_iter().map(|dead_letter| dead_letter.reply);
        self.pings.into_iter().chain(sent).chain(deleted).chain(moved)
    }
}

/// The results of a batch. Its `pings`, `sends`, `deletes` and `dead_letters` have no result of their own.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) expired: Vec<u64>,
    pub(crate) changes: Vec<Result<ChangeAnswer, StoreError>>,
    /// Of each selection that was wanted.
    pub(crate) received: Vec<Vec<MessageRow>>,
}

/// Why a batch failed. Nothing of it was written, or, if the COMMIT failed, all of it may have been.
pub(crate) enum Failure {
    /// A statement failed: one of the requests may be the cause.
    Statement(sqlx::Error),
    /// The database accepts no transaction now, or could not end this one.
    Transaction(sqlx::Error),
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        let Self { pings, expiries, changes, sends, deletes, dead_letters } = self;
        pings.len() + expiries.len() + changes.len() + sends.len() + deletes.len() + dead_letters.len()
    }

    /// Batches of one request each.
    pub(crate) fn into_singles(self) -> impl Iterator<Item = Self> {
        let Self { pings, expiries, changes, sends, deletes, dead_letters } = self;
        let pings = pings.into_iter().map(|one| Self { pings: vec![one], ..Self::default() });
        let expiries = expiries.into_iter().map(|one| Self { expiries: vec![one], ..Self::default() });
        let changes = changes.into_iter().map(|one| Self { changes: vec![one], ..Self::default() });
        let sends = sends.into_iter().map(|one| Self { sends: vec![one], ..Self::default() });
        let deletes = deletes.into_iter().map(|one| Self { deletes: vec![one], ..Self::default() });
        let dead_letters =
            dead_letters.into_iter().map(|one| Self { dead_letters: vec![one], ..Self::default() });
        pings.chain(expiries).chain(changes).chain(sends).chain(deletes).chain(dead_letters)
    }
}
