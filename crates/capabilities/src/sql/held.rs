//! A connection as other platforms' guests know it: what one statement sets, begins or inserts is there
//! for the next. `dhow:sql` has transactions instead, and a session for each statement.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};
use wasmtime::component::{Accessor, Lift, Lower, Resource, StreamReader};

use super::{
    database::{Column, Control, Database, Error, Native, Query, Row, Session, Value},
    serve::{Sql, View},
};
use crate::{
    operate::operate,
    reading::{self, Batches, Ended},
};

/// A statement waits so long for the one before: its rows may never be read.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of all rows that are given at once, and not as a stream.
const MAX_LIST: usize = 16 << 20;

/// A connection: one session, from its first statement until it is dropped.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Connection {
    database: Arc<dyn Database>,
    session: Arc<Mutex<Option<Box<dyn Session>>>>,
    native: Option<Native>,
}

impl Connection {
    pub(super) fn new(database: &Arc<dyn Database>, native: Option<Native>) -> Self {
        Self { database: database.clone(), session: Arc::default(), native }
    }

    /// Runs a statement: how many rows it has changed.
    pub(super) async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<u64, Error> {
        let mut held = self.session().await?;
        let session = held.as_mut().ok_or(Error::Unreachable)?;
        match control(&statement) {
            Some(control) => {
                operate("sql", "transaction", session.control(control)).await.map(|()| 0)
            }
            None => operate("sql", "execute", session.execute(statement, parameters)).await,
        }
    }

    /// Runs a statement that may give rows. One that gives none is done when this returns, whoever
    /// asks how it has ended.
    pub(super) async fn query(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Query, Error> {
        let mut held = self.session().await?;
        let session = held.as_mut().ok_or(Error::Unreachable)?;
        let nothing = || Query { columns: Vec::new(), rows: stream::empty().boxed() };
        if let Some(control) = control(&statement) {
            operate("sql", "transaction", session.control(control)).await?;
            return Ok(nothing());
        }
        let queried = session.query(statement, parameters);
        let Query { columns, mut rows } = operate("sql", "query", queried).await?;
        if columns.is_empty() {
            while rows.next().await.transpose()?.is_some() {}
            return Ok(nothing());
        }
        Ok(Query { columns, rows: reading::keeping(rows, held) })
    }

    /// Runs a statement, and gives all of its rows.
    pub(super) async fn list(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<(Vec<Column>, Vec<Row>), Error> {
        let excess = "all rows together have at most 16 MiB";
        self.query(statement, parameters).await?.all(MAX_LIST, excess).await
    }

    /// The session, which is begun by the first who needs it.
    async fn session(&self) -> Result<OwnedMutexGuard<Option<Box<dyn Session>>>, Error> {
        let held = timeout(PATIENCE, self.session.clone().lock_owned()).await;
        let mut held = held.map_err(|_| {
            let unread = "the rows of the statement before have to be read, or dropped, first";
            Error::Other(unread.to_owned())
        })?;
        if held.is_none() {
            let mut session = self.database.session().await?;
            if let Some(native) = self.native {
                session.give_native(native);
            }
            *held = Some(session);
        }
        Ok(held)
    }
}

/// What a statement does with a transaction. Sessions do that themselves, so that they know which they
/// have; with more words than these (an isolation level) it is a statement like any other.
fn control(statement: &str) -> Option<Control> {
    let words = statement.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
    let words: Vec<_> =
        words.split_ascii_whitespace().take(4).map(str::to_ascii_uppercase).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["BEGIN"]
        | ["BEGIN", "TRANSACTION" | "WORK" | "DEFERRED" | "IMMEDIATE" | "EXCLUSIVE"]
        | ["BEGIN", "DEFERRED" | "IMMEDIATE" | "EXCLUSIVE", "TRANSACTION"]
        | ["START", "TRANSACTION"] => Some(Control::Begin),
        ["COMMIT" | "END"] | ["COMMIT" | "END", "TRANSACTION" | "WORK"] => Some(Control::Commit),
        ["ROLLBACK"] | ["ROLLBACK", "TRANSACTION" | "WORK"] => Some(Control::Rollback),
        _ => None,
    }
}

/// What the table has for `resource`.
pub(super) fn cloned<T, R: Clone + Send + Sync + 'static>(
    accessor: &Accessor<T, Sql>,
    resource: &Resource<R>,
) -> wasmtime::Result<R> {
    accessor.with(|mut store| Ok(store.get().table.get(resource)?.clone()))
}

/// Puts `resource` into the table, or gives what is wrong.
pub(super) fn put<R: Send + 'static, E>(
    view: &mut View<'_>,
    resource: Result<R, E>,
) -> wasmtime::Result<Result<Resource<R>, E>> {
    match resource {
        Ok(resource) => Ok(Ok(view.table.push(resource)?)),
        Err(error) => Ok(Err(error)),
    }
}

/// Gives a guest the rows, each as `row` has it, and how they have ended, which is well where the guest
/// wants no more of them.
pub(super) fn give<T, R, E>(
    accessor: &Accessor<T, Sql>,
    rows: Batches<Row, Error>,
    row: impl Fn(Row) -> R + Send + 'static,
    error: fn(Error) -> E,
) -> wasmtime::Result<(StreamReader<R>, Ended<E>)>
where
    R: Lower + Lift + Send + Sync + 'static,
    E: Lower + Lift + Send + Sync + 'static,
{
    let rows = rows.map(move |batch| match batch {
        Ok(batch) => Ok(batch.into_iter().map(&row).collect::<Vec<_>>()),
        Err(found) => Err(error(found)),
    });
    accessor.with(|store| reading::give(store, rows.boxed(), Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_by_statements() {
        for (statement, expected) in [
            ("BEGIN", Some(Control::Begin)),
            (" begin;\n", Some(Control::Begin)),
            ("BEGIN IMMEDIATE TRANSACTION", Some(Control::Begin)),
            ("start transaction ;", Some(Control::Begin)),
            ("COMMIT", Some(Control::Commit)),
            ("END TRANSACTION;", Some(Control::Commit)),
            ("Rollback work", Some(Control::Rollback)),
            ("ROLLBACK TO a", None),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", None),
            ("BEGIN; DROP TABLE t", None),
            ("", None),
            ("SELECT 1", None),
        ] {
            assert_eq!(control(statement), expected, "{statement}");
        }
    }
}
