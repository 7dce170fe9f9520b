//! Unfinished invocations of a Python deployment of the plugin in the same database. They are rows of Django's
//! table `schedule_schedule`, which is only read.

use bk_plugin_core::JsonObject;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::python_json::{self, Parser};
use bk_plugin_core::record::{Record, State};
use bk_plugin_core::store_error::StoreError;
use serde::Deserialize;
use serde_json::Value;

use super::backend::MysqlStore;
use super::recovery::number;
use crate::rows::{Unreadable, unreadable_record};

const UNFINISHED: &str = "\
    SELECT trace_id, plugin_version, state, invoke_count, data, \
           CAST(UNIX_TIMESTAMP(created_at) * 1000 AS SIGNED) AS created_at \
    FROM schedule_schedule WHERE state IN (2, 3) AND finish_at IS NULL ORDER BY created_at";

/// The database's error number for a table that does not exist.
const NO_SUCH_TABLE: u16 = 1146;

/// Why no invocations of a Python deployment can be read.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// No Python deployment uses this database.
    #[error("there is no table schedule_schedule: the database is not that of a Python deployment")]
    NoTable,
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The table is not as Django creates it.
    #[error("the invocations of the Python deployment cannot be read: {0}")]
    Database(#[source] sqlx::Error),
}

/// An invocation as Django keeps it.
#[derive(sqlx::FromRow)]
struct ScheduleRow {
    trace_id: String,
    plugin_version: String,
    state: i64,
    invoke_count: i64,
    data: String,
    created_at: i64,
}

/// The JSON in the column `data`.
#[derive(Deserialize)]
struct ScheduleData {
    inputs: JsonObject,
    context: ScheduleContext,
}

#[derive(Deserialize)]
struct ScheduleContext {
    data: JsonObject,
    storage: Value,
    outputs: Value,
}

impl ScheduleRow {
    fn decode(&self) -> Result<Record, Unreadable> {
        let data = python_json::parse(self.data.as_bytes(), Parser::Loads)?;
        let ScheduleData { inputs, context } = serde_json::from_value(data)?;
        let trace_id = TraceId::parse(&self.trace_id)?;
        Ok(Record {
            plugin_version: self.plugin_version.clone(),
            state: State::try_from(u8::try_from(self.state)?)?,
            invoke_count: u32::try_from(self.invoke_count)?,
            inputs,
            context: context.data,
            storage: if is_empty(&context.storage) { Value::Null } else { context.storage },
            outputs: context.outputs,
            ..Record::stub(trace_id, Timestamp::from_millis(self.created_at))
        })
    }
}

/// In Python, storage is an empty dict until something is stored.
fn is_empty(storage: &Value) -> bool {
    storage.as_object().is_some_and(serde_json::Map::is_empty)
}

impl MysqlStore {
    /// The invocations of a Python deployment that poll or wait for a callback, the oldest first, as records of
    /// this framework. Each one that cannot be read is an error in its place.
    ///
    /// # Errors
    /// See [`PythonError`].
    pub async fn python_invocations(&self) -> Result<Vec<Result<Record, StoreError>>, PythonError> {
        let mut reader = self.backend().readers.lend().await?;
        let rows: Vec<ScheduleRow> = match sqlx::query_as(UNFINISHED).fetch_all(&mut *reader).await {
            Ok(rows) => rows,
            Err(error) if number(&error) == Some(NO_SUCH_TABLE) => return Err(PythonError::NoTable),
            Err(error) => return Err(PythonError::Database(error)),
        };
        reader.give_back();
        let decode =
            |row: ScheduleRow| row.decode().map_err(|source| unreadable_record(&row.trace_id, source));
        Ok(rows.into_iter().map(decode).collect())
    }
}
