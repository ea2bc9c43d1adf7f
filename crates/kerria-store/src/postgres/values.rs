//! Values and rows, as PostgreSQL has them.

use std::error::Error;

use kerria_core::store::{StoreError, Trouble};
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use crate::sql::{Held, Result, Row, Value};

/// A value is written as what the statement takes at its place.
impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => match *ty {
                Type::BOOL => (*number != 0).to_sql(ty, out),
                Type::INT2 => i16::try_from(*number)?.to_sql(ty, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
                Type::INT8 => number.to_sql(ty, out),
                _ => Err(format!("{ty} takes no number").into()),
            },
            Self::Text(text) => match *ty {
                Type::TEXT | Type::VARCHAR => (&**text).to_sql(ty, out),
                _ => Err(format!("{ty} takes no text").into()),
            },
            Self::Bytes(bytes) => match *ty {
                Type::BYTEA => (*bytes).to_sql(ty, out),
                _ => Err(format!("{ty} takes no bytes").into()),
            },
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Row for tokio_postgres::Row {
    fn held(&self, at: usize) -> Result<Held<'_>> {
        let unreadable = |error| StoreError::new(Trouble::Damaged, error);
        let ty = self.columns().get(at).map(|column| column.type_().clone());
        let held = match ty {
            Some(Type::BOOL) => {
                self.try_get::<_, Option<bool>>(at).map(|held| held.map(|is| Held::Integer(is.into())))
            }
            Some(Type::INT2) => {
                self.try_get::<_, Option<i16>>(at).map(|held| held.map(|number| Held::Integer(number.into())))
            }
            Some(Type::INT4) => {
                self.try_get::<_, Option<i32>>(at).map(|held| held.map(|number| Held::Integer(number.into())))
            }
            Some(Type::INT8) => self.try_get::<_, Option<i64>>(at).map(|held| held.map(Held::Integer)),
            Some(Type::BYTEA) => self.try_get::<_, Option<&[u8]>>(at).map(|held| held.map(Held::Bytes)),
            _ => self.try_get::<_, Option<&str>>(at).map(|held| held.map(Held::Text)),
        };
        held.map(|held| held.unwrap_or(Held::Null)).map_err(unreadable)
    }
}
