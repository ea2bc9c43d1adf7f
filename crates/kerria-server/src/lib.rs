//! The Kerria server: pages, API, operation and command line over the `kerria` library.

pub mod app;
pub mod config;
pub mod logs;
pub mod metrics;
pub mod passwords;
pub mod routes;
