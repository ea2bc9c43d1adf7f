//! The server, as browsers and programs meet it: over real connections, on a real database, with a clock that moves.
#![expect(unreachable_pub, reason = "what the cast can do is for every module of this one binary")]
#![expect(clippy::unwrap_used, reason = "a play that cannot go on may panic")]

mod accounts;
mod api;
mod cast;
mod checkers;
mod clients;
mod cluster;
mod cookies;
mod csrf;
mod data;
mod demo;
mod devices;
mod documents;
mod doors;
mod durability;
mod expiry;
mod forward_auth;
mod headers;
mod limits;
mod manifests;
mod moving;
mod nodes;
mod oauth;
mod openapi;
mod operators;
mod outage;
mod program;
mod rotation;
mod sessions;
mod throttling;
mod tokens;
