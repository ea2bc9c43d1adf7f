//! The pages: for people, with or without JavaScript.

pub mod account;
pub mod assets;
pub mod confirm;
pub mod form;
pub mod hand_over;
pub mod operator;
pub mod query;
pub mod reply;
pub mod sessions;
pub mod sign_in;
pub mod sign_up;
pub mod views;
pub mod visitor;
pub mod words;
