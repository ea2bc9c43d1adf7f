//! How an engine is asked: statements and values go in, rows come out.
//!
//! Statements are written once, for every engine: with `?1` for the first value, and in the words that all of them
//! understand.

use std::borrow::Cow;

use kerria_core::{
    SessionId, Timestamp,
    store::{StoreError, Trouble},
};

use super::hold::Root;

/// A connection to an engine, inside a transaction or not.
pub trait Ask {
    /// Runs a statement, and says how many rows it changed.
    ///
    /// # Errors
    /// What the engine said.
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError>;

    /// Runs a statement, and shows `read` its rows until that says it has seen enough.
    ///
    /// # Errors
    /// What the engine said, or `read`.
    fn query(&self, sql: &str, values: &[Value<'_>], read: &mut Read<'_>) -> Result<(), StoreError>;

    /// Waits until nobody else holds `root`, and holds it until the transaction is over.
    ///
    /// # Errors
    /// What the engine said.
    fn hold(&self, root: &Root<'_>) -> Result<(), StoreError>;

    /// Moves the time of last use of each of these sessions forward, if it is behind. No session is named twice.
    ///
    /// # Errors
    /// What the engine said.
    fn touch(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError>;
}

/// Reads a row, and says whether it wants another one.
pub(crate) type Read<'r> = dyn FnMut(&dyn Row) -> Result<bool, StoreError> + 'r;

impl dyn Ask + '_ {
    /// Runs a statement, and says how many rows it changed.
    pub(crate) fn change<'v>(&self, sql: &str, values: impl Into<Values<'v>>) -> Result<u64, StoreError> {
        self.execute(sql, &values.into().0)
    }

    /// The first row, if there is one.
    pub(crate) fn one<'v, T>(
        &self,
        sql: &str,
        values: impl Into<Values<'v>>,
        read: impl FnOnce(&dyn Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let (mut read, mut first) = (Some(read), None);
        self.query(sql, &values.into().0, &mut |row| {
            first = read.take().map(|read| read(row)).transpose()?;
            Ok(false)
        })?;
        Ok(first)
    }

    /// The row that is always there.
    pub(crate) fn the<'v, T>(
        &self,
        sql: &str,
        values: impl Into<Values<'v>>,
        read: impl FnOnce(&dyn Row) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.one(sql, values, read)?.ok_or_else(|| StoreError::new(Trouble::Failed, "a row is missing"))
    }

    /// All rows.
    pub(crate) fn all<'v, T>(
        &self,
        sql: &str,
        values: impl Into<Values<'v>>,
        mut read: impl FnMut(&dyn Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        self.query(sql, &values.into().0, &mut |row| {
            all.push(read(row)?);
            Ok(true)
        })?;
        Ok(all)
    }
}

/// A value on its way to an engine.
#[derive(Clone, Debug)]
pub enum Value<'v> {
    /// None.
    Null,
    /// A number, or 0 and 1 for false and true.
    Integer(i64),
    /// A text without a NUL: PostgreSQL cannot hold one, so no engine gets to see any.
    Text(Cow<'v, str>),
    /// An identifier or a hash.
    Bytes(&'v [u8]),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

/// A number that no engine can hold comes after every other one.
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value<'_> {
    fn from(is: bool) -> Self {
        Self::Integer(is.into())
    }
}

/// NUL is the one character that PostgreSQL cannot hold. In its place stands the one for what cannot be represented,
/// whichever the engine, so that all of them hold the same.
impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        if text.contains('\0') { text.to_owned().into() } else { Self::Text(Cow::Borrowed(text)) }
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        let text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
        Self::Text(Cow::Owned(text))
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        text.as_str().into()
    }
}

impl<'v, const N: usize> From<&'v [u8; N]> for Value<'v> {
    fn from(bytes: &'v [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(bytes: &'v [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'v, T: Into<Value<'v>>> From<Option<T>> for Value<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

/// The values of a statement, in the order of their numbers.
pub(crate) struct Values<'v>(pub(crate) Vec<Value<'v>>);

impl From<()> for Values<'_> {
    fn from((): ()) -> Self {
        Self(Vec::new())
    }
}

impl<'v, T: Into<Value<'v>>, const N: usize> From<[T; N]> for Values<'v> {
    fn from(values: [T; N]) -> Self {
        Self(values.into_iter().map(T::into).collect())
    }
}

macro_rules! values_of_tuples {
    ($($name:ident)*) => {
        impl<'v, $($name: Into<Value<'v>>),*> From<($($name,)*)> for Values<'v> {
            #[expect(non_snake_case, reason = "a type and its value have one name here")]
            fn from(($($name,)*): ($($name,)*)) -> Self {
                Self(vec![$($name.into()),*])
            }
        }
    };
}
values_of_tuples!(A B);
values_of_tuples!(A B C);
values_of_tuples!(A B C D);
values_of_tuples!(A B C D E);
values_of_tuples!(A B C D E F);
values_of_tuples!(A B C D E F G);
values_of_tuples!(A B C D E F G H);
values_of_tuples!(A B C D E F G H I);
values_of_tuples!(A B C D E F G H I J);
values_of_tuples!(A B C D E F G H I J K);
values_of_tuples!(A B C D E F G H I J K L);

/// A row, as an engine gives it.
pub trait Row {
    /// What stands in a column, counted from 0.
    ///
    /// # Errors
    /// If nothing that is understood stands there.
    fn held(&self, at: usize) -> Result<Held<'_>, StoreError>;
}

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Held<'r> {
    /// Nothing.
    Null,
    /// A number, or 0 and 1 for false and true.
    Integer(i64),
    /// A text.
    Text(&'r str),
    /// An identifier or a hash.
    Bytes(&'r [u8]),
}

impl dyn Row + '_ {
    /// What stands in a column, as what it has to be.
    pub(crate) fn get<T: FromHeld>(&self, at: usize) -> Result<T, StoreError> {
        T::from_held(self.held(at)?).ok_or_else(|| {
            let expected = std::any::type_name::<T>();
            StoreError::new(Trouble::Damaged, format!("what stands in column {at} is no {expected}"))
        })
    }

    pub(crate) fn text(&self, at: usize) -> Result<&str, StoreError> {
        match self.held(at)? {
            Held::Text(text) => Ok(text),
            _ => Err(StoreError::new(Trouble::Damaged, format!("what stands in column {at} is no text"))),
        }
    }

    pub(crate) fn is_null(&self, at: usize) -> Result<bool, StoreError> {
        Ok(self.held(at)? == Held::Null)
    }
}

/// What can be read from a column.
pub(crate) trait FromHeld: Sized {
    /// `None` if something else stands there.
    fn from_held(held: Held<'_>) -> Option<Self>;
}

impl FromHeld for i64 {
    fn from_held(held: Held<'_>) -> Option<Self> {
        if let Held::Integer(number) = held { Some(number) } else { None }
    }
}

impl FromHeld for u64 {
    fn from_held(held: Held<'_>) -> Option<Self> {
        i64::from_held(held)?.try_into().ok()
    }
}

impl FromHeld for u32 {
    fn from_held(held: Held<'_>) -> Option<Self> {
        i64::from_held(held)?.try_into().ok()
    }
}

impl FromHeld for bool {
    fn from_held(held: Held<'_>) -> Option<Self> {
        i64::from_held(held).map(|number| number != 0)
    }
}

impl FromHeld for String {
    fn from_held(held: Held<'_>) -> Option<Self> {
        if let Held::Text(text) = held { Some(text.to_owned()) } else { None }
    }
}

impl FromHeld for Box<str> {
    fn from_held(held: Held<'_>) -> Option<Self> {
        if let Held::Text(text) = held { Some(text.into()) } else { None }
    }
}

impl FromHeld for Vec<u8> {
    fn from_held(held: Held<'_>) -> Option<Self> {
        if let Held::Bytes(bytes) = held { Some(bytes.to_owned()) } else { None }
    }
}

impl<const N: usize> FromHeld for [u8; N] {
    fn from_held(held: Held<'_>) -> Option<Self> {
        if let Held::Bytes(bytes) = held { bytes.try_into().ok() } else { None }
    }
}

impl<T: FromHeld> FromHeld for Option<T> {
    fn from_held(held: Held<'_>) -> Option<Self> {
        if held == Held::Null { Some(None) } else { T::from_held(held).map(Some) }
    }
}
