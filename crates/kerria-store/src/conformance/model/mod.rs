//! Random sequences of steps, compared with a model in plain collections: every answer, and everything that can be
//! read.
//!
//! A sequence follows from its seed alone. One that fails is made as short as it goes, and printed.

mod play;
mod random;
mod state;

use super::Stage;
use play::play;
use random::Random;

/// Sequences of a run, and steps in each.
const SEQUENCES: u64 = 40;
const STEPS: usize = 100;

/// Plays random sequences on fresh stores.
///
/// # Panics
/// If the store and the model disagree.
pub async fn follows_the_model<S: Stage>(stage: impl AsyncFn() -> S) {
    for seed in 1..=SEQUENCES {
        let mut random = Random::new(seed);
        let steps: Vec<_> = (0..STEPS).map(|serial| random.step(serial)).collect();
        if let Err(disagreement) = play(&mut stage().await, &steps).await {
            let (steps, disagreement) = shortest(&stage, steps, disagreement).await;
            panic!(
                "seed {seed}: {disagreement}\n\nafter these steps, the last of which disagrees:\n{steps:#?}"
            );
        }
    }
}

/// Leaves out what is not needed to disagree.
async fn shortest<S: Stage>(
    stage: &impl AsyncFn() -> S,
    mut steps: Vec<random::Step>,
    mut disagreement: String,
) -> (Vec<random::Step>, String) {
    let mut without = steps.len();
    while without > 0 {
        without -= 1;
        let mut fewer = steps.clone();
        fewer.remove(without);
        if let Err(still) = play(&mut stage().await, &fewer).await {
            (steps, disagreement) = (fewer, still);
        }
    }
    (steps, disagreement)
}
