//! What every kind of database does.

use async_trait::async_trait;
use futures_util::StreamExt as _;

pub(super) use super::bindings::dhow::sql::types::{
    Column, DatabaseError, Date, Error, Instant, ParameterCount, Time, Timestamp, Value,
};
use crate::reading::Batches;

/// One row's values, in the order of the columns.
pub(super) type Row = Vec<Value>;

/// A database that components can be granted: its connections are shared by all requests.
#[async_trait]
pub(crate) trait Database: Send + Sync {
    /// A connection to it for one caller; waits while all are in use.
    async fn session(&self) -> Result<Box<dyn Session>, Error>;
}

/// A connection, for one caller. What it has begun and not ended is undone when it is dropped.
#[async_trait]
pub(crate) trait Session: Send {
    /// Runs a statement: how many rows it has changed.
    async fn execute(&mut self, statement: String, parameters: Vec<Value>) -> Result<u64, Error>;

    /// Runs a statement that gives rows, which have to be read before the next statement.
    async fn query(&mut self, statement: String, parameters: Vec<Value>) -> Result<Query, Error>;

    /// Begins a transaction, or ends it.
    async fn control(&mut self, control: Control) -> Result<(), Error>;

    /// From now on rows have what that database keeps, for guests that are made for it. Others go on
    /// as before.
    fn give_native(&mut self, _: Native) {}
}

/// What happens to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Begin,
    Commit,
    Rollback,
}

/// A database whose own values are more than [`Value`] says of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Native {
    /// What is stored, whatever its column was declared as.
    Sqlite,
    /// Intervals and ranges as text, arrays of decimals as texts, and of what else there is the
    /// bytes that the server sends.
    Postgres,
}

/// The answer to a query.
pub(crate) struct Query {
    pub(super) columns: Vec<Column>,
    /// Rows as they are read.
    pub(super) rows: Batches<Row, Error>,
}

impl Query {
    /// All of its rows, or as `excess` says where they have more bytes than `most`.
    pub(super) async fn all(
        self,
        most: usize,
        excess: &str,
    ) -> Result<(Vec<Column>, Vec<Row>), Error> {
        let Self { columns, mut rows } = self;
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = rows.next().await.transpose()? {
            bytes += size_of_rows(&batch);
            if bytes > most {
                return Err(Error::Other(excess.to_owned()));
            }
            if all.is_empty() { all = batch } else { all.extend(batch) }
        }
        Ok((columns, all))
    }
}

/// What is wrong with a statement, in our own words.
pub(super) fn wrong(message: &str) -> Error {
    Error::Statement(DatabaseError { code: String::new(), message: message.to_owned() })
}

/// `given` parameters, where the statement has `expected`.
pub(super) fn parameter_count(given: usize, expected: usize) -> Error {
    let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Error::ParameterCount(ParameterCount { given: number(given), expected: number(expected) })
}

/// An error in words, for interfaces that have no more.
pub(super) fn words(error: Error) -> String {
    match error {
        Error::AccessDenied => "no database of that name is granted".to_owned(),
        Error::Unreachable => "the database can't be reached".to_owned(),
        Error::Statement(said) | Error::Constraint(said) | Error::Conflict(said) => {
            match said.code.is_empty() {
                true => said.message,
                false => format!("{} ({})", said.message, said.code),
            }
        }
        Error::ParameterCount(ParameterCount { given, expected }) => {
            format!("the statement takes {expected} parameters, and was given {given}")
        }
        Error::ParameterType(why) | Error::ColumnType(why) | Error::Other(why) => why,
    }
}

/// As many rows are given at a time, or fewer of more bytes than this.
pub(super) const ROWS_AT_A_TIME: usize = 128;
pub(super) const BYTES_AT_A_TIME: usize = 64 << 10;
/// As many batches wait for their reader.
pub(super) const BATCHES: usize = 2;

/// What a value takes of a batch, roughly.
pub(super) fn size_of(value: &Value) -> usize {
    16 + match value {
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// What rows take, roughly: those without columns, too.
pub(super) fn size_of_rows(rows: &[Row]) -> usize {
    rows.iter().map(|row| std::mem::size_of::<Row>() + row.iter().map(size_of).sum::<usize>()).sum()
}

/// Rows until there are enough for a batch.
#[derive(Default)]
pub(super) struct Batch {
    rows: Vec<Row>,
    bytes: usize,
}

impl Batch {
    /// Adds a row, and gives all of them where they are enough.
    pub(super) fn add(&mut self, row: Row) -> Option<Vec<Row>> {
        self.bytes += size_of_rows(std::slice::from_ref(&row));
        self.rows.push(row);
        if self.rows.len() < ROWS_AT_A_TIME && self.bytes < BYTES_AT_A_TIME {
            return None;
        }
        Some(self.take())
    }

    pub(super) fn take(&mut self) -> Vec<Row> {
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }
}
