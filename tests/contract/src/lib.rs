//! The contract of the ports `Table` and `Queue`: one suite that every store passes.
//!
//! A store plugs in with a [`TableStore`], a [`QueueStore`] or both, and registers the cases in a file of
//! its own with `contract::table_cases!(MyStore)` and `contract::queue_cases!(MyStore)`, so that a failure names
//! the store and the case; `tests/memory.rs` is such a file. A queue that selects by message group also registers
//! `contract::group_cases!(MyStore)`.
//!
//! [`table`], [`queue`] and [`groups`] hold the cases. [`concurrency`] has many clients change one record at the same
//! time. [`checker`] then says whether the store could have given the same answers to the same calls made one at a
//! time, by the rules in [`specification`].
#![allow(clippy::unwrap_used, reason = "a case that panics has failed, which is what is wanted")]
#![allow(clippy::missing_panics_doc, reason = "every case panics when it fails")]
#![allow(clippy::needless_pass_by_value, reason = "checks read better around the call they check")]
#![allow(clippy::print_stdout, reason = "what was checked is told")]

pub mod checker;
pub mod concurrency;
pub mod groups;
pub mod queue;
pub mod sample;
pub mod specification;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::Queue;
use bk_plugin_core::table::Table;

/// A table that the suite is run on.
#[async_trait]
pub trait TableStore: Send + Sync {
    /// A new empty table. It is kept until the case is over.
    fn open() -> impl Future<Output = Self>
    where
        Self: Sized;

    /// The table.
    fn table(&self) -> Arc<dyn Table>;

    /// The largest record the store takes, in bytes. Cases stay more than a tenth away from it, because
    /// stores count differently and may compress. A small limit makes the cases fast.
    fn largest_record(&self) -> usize;

    /// Whether it tells the group of an invocation's wake-ups.
    fn tells_groups(&self) -> bool {
        true
    }

    /// Deletes every record that may be deleted at `now`. Returns `false` if the store has no way to do so;
    /// the cases about expiry then check nothing.
    async fn delete_expired(&self, _now: Timestamp) -> bool {
        false
    }
}

/// A queue that the suite is run on.
#[async_trait]
pub trait QueueStore: Send + Sync {
    /// A new empty queue. It is kept until the case is over.
    fn open() -> impl Future<Output = Self>
    where
        Self: Sized;

    /// The queue.
    fn queue(&self) -> Arc<dyn Queue>;

    /// Lets `duration` pass: moves the clock that the queue uses, or waits.
    async fn advance(&self, duration: Duration);

    /// How long a received message is hidden.
    fn visibility_timeout(&self) -> Duration;

    /// Whether the queue promises more than the port does: it never delivers a message to two receivers at
    /// once, and the handle of an earlier delivery removes nothing. SQS promises neither.
    fn is_strict(&self) -> bool {
        true
    }

    /// The longest time a case may let pass. A queue that uses the machine's clock sets it low; cases that
    /// need longer (those about the longest delay) then check nothing.
    fn longest_advance(&self) -> Duration {
        Duration::MAX
    }
}

/// Registers cases as tests, given the store, the trait that opens it, the module and the names of the cases.
#[doc(hidden)]
#[macro_export]
macro_rules! register {
    ($store:ty, $trait:ident, $module:ident, [$($case:ident)*]) => {
        mod $module {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let store = <$store as $crate::$trait>::open().await;
                    $crate::$module::$case(&store).await;
                }
            )*
        }
    };
}

#[cfg(test)]
mod tests {
    /// Each file's macro registers exactly the case functions that the file defines.
    #[test]
    fn every_case_is_registered() {
        let registered = |source: &str, module: &str| -> Vec<String> {
            let list = source.split(&format!(", {module}, [")).nth(1).unwrap().split(']').next().unwrap();
            list.split_whitespace().map(ToOwned::to_owned).collect()
        };
        let defined = |source: &str, store: &str| -> Vec<String> {
            let cases = source.split("pub async fn ").skip(1);
            let of_a_store = cases.filter(|case| case.contains(&format!("(store: &dyn {store}) {{")));
            of_a_store.map(|case| case.split('(').next().unwrap().to_owned()).collect()
        };
        let (table, queue) = (include_str!("table.rs"), include_str!("queue.rs"));
        let concurrency = include_str!("concurrency.rs");
        let cases_of_table = concat!(
            include_str!("table/reading.rs"),
            include_str!("table/create.rs"),
            include_str!("table/claim.rs"),
            include_str!("table/commit.rs"),
            include_str!("table/append.rs"),
            include_str!("table/size.rs"),
            include_str!("table/expiry.rs"),
        );
        assert_eq!(registered(table, "table"), defined(cases_of_table, "TableStore"));
        assert_eq!(registered(queue, "queue"), defined(queue, "QueueStore"));
        assert_eq!(registered(table, "concurrency"), defined(concurrency, "TableStore"));
    }
}
