//! The query string of a page.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

/// The query string of a page. What cannot be read is as if it were not there: a mistyped address still shows a page.
pub struct PageQuery<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequestParts<S> for PageQuery<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let query = Query::from_request_parts(parts, state).await;
        Ok(Self(query.map(|Query(value)| value).unwrap_or_default()))
    }
}
