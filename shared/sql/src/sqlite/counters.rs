//! The numbers of new rows.

use sqlx::sqlite::SqliteConnection;

/// The next free numbers. Only the writer gives them out, so it can write all rows of a transaction without asking
/// the database for the number of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    pub(super) invocation: i64,
    pub(super) entry: i64,
    pub(super) message: i64,
}

impl Counters {
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let (invocation, entry, message) = sqlx::query_as(
            "SELECT (SELECT coalesce(max(id), 0) + 1 FROM invocations), \
                    (SELECT coalesce(max(seq), 0) + 1 FROM inbox), \
                    (SELECT coalesce(max(id), 0) + 1 FROM messages)",
        )
        .fetch_one(connection)
        .await?;
        Ok(Self { invocation, entry, message })
    }
}

/// Returns the counter's number and increments the counter.
pub(super) fn next_number(counter: &mut i64) -> i64 {
    let number = *counter;
    *counter += 1;
    number
}
