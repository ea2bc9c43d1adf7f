//! The server, as browsers and programs meet it: over real connections, on a real database, with a clock that moves.

mod api;
mod cast;
mod openapi;
mod sessions;
