//! SQLite, as steps ask it.

use kerria_core::{
    SessionId, Timestamp,
    store::{StoreError, Trouble},
};
use rusqlite::{
    Connection, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::errors::store_error;
use crate::sql::{Ask, Held, Read, Result, Root, Row, Value};

impl Ask for Connection {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        let mut statement = self.prepare_cached(sql).map_err(store_error)?;
        statement.execute(params_from_iter(values)).map(|rows| rows as u64).map_err(store_error)
    }

    fn query(&self, sql: &str, values: &[Value<'_>], read: &mut Read<'_>) -> Result<()> {
        let mut statement = self.prepare_cached(sql).map_err(store_error)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(store_error)?;
        while let Some(row) = rows.next().map_err(store_error)? {
            if !read(row)? {
                break;
            }
        }
        Ok(())
    }

    /// There is one writer, and it runs one step at a time.
    fn hold(&self, _: &Root<'_>) -> Result<()> {
        Ok(())
    }

    fn touch(&self, seen: &[(SessionId, Timestamp)]) -> Result<()> {
        let sql = "UPDATE session SET last_seen_at = ?2 WHERE id = ?1 AND last_seen_at < ?2";
        let mut statement = self.prepare_cached(sql).map_err(store_error)?;
        for (session, at) in seen {
            statement.execute((session.as_bytes(), at.as_millis())).map_err(store_error)?;
        }
        Ok(())
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Row for rusqlite::Row<'_> {
    fn held(&self, at: usize) -> Result<Held<'_>> {
        let unreadable = || StoreError::new(Trouble::Damaged, format!("column {at} cannot be read"));
        Ok(match self.get_ref(at).map_err(store_error)? {
            ValueRef::Null => Held::Null,
            ValueRef::Integer(number) => Held::Integer(number),
            ValueRef::Text(text) => Held::Text(std::str::from_utf8(text).map_err(|_| unreadable())?),
            ValueRef::Blob(bytes) => Held::Bytes(bytes),
            ValueRef::Real(_) => return Err(unreadable()),
        })
    }
}
