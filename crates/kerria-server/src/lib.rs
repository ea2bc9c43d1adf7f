//! The Kerria server: pages, API, operation and command line over the `kerria` library.

pub mod account;
pub mod api;
pub mod app;
pub mod cli;
pub mod client;
pub mod config;
pub mod events;
pub mod field;
pub mod forward_auth;
pub mod front;
pub mod keys;
pub mod login;
pub mod logs;
pub mod maintenance;
pub mod metrics;
pub mod news;
pub mod oauth;
pub mod operation;
pub mod pages;
pub mod passwords;
pub mod problem;
pub mod registration;
pub mod routes;
pub mod serve;
pub mod sign_up;
pub mod tokens;
