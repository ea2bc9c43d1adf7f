//! Sessions for axum and tower that are checked in memory and ended at once.

mod binding;

pub use binding::Binding;
