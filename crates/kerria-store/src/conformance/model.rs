//! Random sequences of steps, compared with a model.

use super::Stage;

pub async fn follows_the_model<S: Stage>(_stage: impl AsyncFn() -> S) {}
