//! The OAuth endpoints: a file per standard.
//!
//! They are for programs. No cookie counts here, so a foreign page that sends a form has nothing that its browser would add;
//! whoever asks proves who they are in the request itself, or is a public client that holds the token it speaks of.

pub mod client_authentication;
pub mod error;
pub mod form;
pub mod introspection;
pub mod metadata;
pub mod presented;
pub mod revocation;
pub mod token;
