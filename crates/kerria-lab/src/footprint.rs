//! How much memory a cached session takes.

use anyhow::ensure;
use kerria::Check;
use kerria_core::Transport;

use crate::{checks::checker, process::own_resident, world};

/// Caches sessions, uses each once, and prints what one of them takes, all told. In a process of its own: memory that was
/// freed before would be used again.
#[expect(clippy::print_stdout, reason = "the one who started this process reads it")]
pub(crate) async fn print(sessions: u32) -> anyhow::Result<()> {
    let (checker, key, now) = checker(sessions).await?;
    let before = own_resident()?;
    for number in 0..sessions {
        let (token, found) = world::found(number, now);
        checker.keep(&token.hash(), &found);
        let check =
            checker.check(token.write(&key).expose().as_bytes(), Transport::Cookie, None, now).await?;
        ensure!(matches!(check, Check::Good(_)), "a session that was just opened is good");
    }
    println!("{:.1}", (own_resident()? - before) as f64 / checker.cached() as f64);
    Ok(())
}
