//! The JSON API under `/api/v1`.

pub mod account;
pub mod checkers;
pub mod clients;
pub mod cluster;
pub mod data;
pub mod ending;
pub mod extract;
pub mod guard;
pub mod keys;
pub mod login;
pub mod openapi;
pub mod operator;
pub mod rules;
pub mod session;
pub mod shapes;
pub mod tokens;

use kerria_core::Timestamp;

use crate::{app::App, login::Failure, problem::Problem};

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error.into(),
            Failure::Busy => Self::unavailable(),
            Failure::Keys(error) => error.into(),
        }
    }
}

fn throttled(app: &App, retry_at: Timestamp) -> Problem {
    Problem::too_many_attempts(retry_at, app.clock.now())
}
