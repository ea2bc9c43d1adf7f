//! Values of a session that have a type and a key of their own.

use std::marker::PhantomData;

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::{Serialize, de::DeserializeOwned};

use super::{MissingLayer, Session, SessionError};

/// A type of which each session holds one value, under one key: a cart, say. As long as nothing was written, that is the default.
pub trait SessionValue: Default + Serialize + DeserializeOwned + Send {
    /// The key: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`.
    const KEY: &'static str;
}

/// The value of this type in the session of a request, as an extractor.
///
/// ```
/// use kerria::{SessionError, SessionValue, Stored};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Cart {
///     items: Vec<String>,
/// }
///
/// impl SessionValue for Cart {
///     const KEY: &'static str = "cart";
/// }
///
/// async fn add(cart: Stored<Cart>) -> Result<String, SessionError> {
///     let cart = cart.update(|cart| cart.items.push("book".to_owned())).await?;
///     Ok(format!("{} in your cart\n", cart.items.len()))
/// }
/// ```
#[derive(Debug)]
pub struct Stored<T> {
    session: Session,
    value: PhantomData<fn() -> T>,
}

impl<T: SessionValue> Stored<T> {
    /// The value, as it is now.
    ///
    /// # Errors
    /// If the store fails, or what is there is no `T`.
    pub async fn get(&self) -> Result<T, SessionError> {
        Ok(self.session.get(T::KEY).await?.unwrap_or_default())
    }

    /// Puts this value in the place of whatever is there.
    ///
    /// # Errors
    /// As with [`Session::insert`].
    pub async fn set(&self, value: &T) -> Result<(), SessionError> {
        self.session.insert(T::KEY, value).await
    }

    /// Changes the value, and returns it. Should somebody else change it meanwhile, `change` is called again, with theirs: of two
    /// who change it at once, neither is lost.
    ///
    /// # Errors
    /// As with [`Session::update`].
    pub async fn update(&self, mut change: impl FnMut(&mut T) + Send) -> Result<T, SessionError> {
        let changed = |value: Option<T>| {
            let mut value = value.unwrap_or_default();
            change(&mut value);
            value
        };
        self.session.update(T::KEY, changed).await
    }

    /// Takes the value away, and returns it: of several who do so at once, one gets it, and the others the default.
    ///
    /// # Errors
    /// As with [`Session::take`].
    pub async fn take(&self) -> Result<T, SessionError> {
        Ok(self.session.take(T::KEY).await?.unwrap_or_default())
    }
}

impl<S: Sync, T> FromRequestParts<S> for Stored<T> {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, MissingLayer> {
        let session = Session::from_request_parts(parts, state).await?;
        Ok(Self { session, value: PhantomData })
    }
}
