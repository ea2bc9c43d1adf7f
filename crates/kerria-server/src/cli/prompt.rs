//! Asking the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::Context;
use kerria_core::Secret;

use super::failure::Failure;

/// The longest password that is read, in bytes, the line end included. The server refuses much shorter ones.
const PASSWORD_BYTES: u64 = 64 * 1024;

/// The longest token that is read, in bytes.
const TOKEN_BYTES: u64 = 16 * 1024;

/// Asks for a new password twice, without showing it; or reads it from the first line of standard input.
pub(super) fn new_password(from_stdin: bool) -> Result<Secret<String>, Failure> {
    if from_stdin {
        return read_password(&mut io::stdin().lock());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal to ask for the password on: add --password-stdin and send it as a line"
                .to_owned(),
        ));
    }
    let ask = |what| rpassword::prompt_password(what).map(Secret::new).context("cannot ask for the password");
    let password = ask("New password: ")?;
    let again = ask("Once more: ")?;
    if password.expose() != again.expose() {
        return Err(anyhow::anyhow!("the two passwords differ; nothing was changed").into());
    }
    Ok(password)
}

/// Reads a token from the first line of standard input.
pub(super) fn token() -> Result<Secret<String>, Failure> {
    if io::stdin().is_terminal() {
        return Ok(rpassword::prompt_password("Token (it is not shown): ").map(Secret::new)?);
    }
    let mut line = String::new();
    io::Read::take(&mut io::stdin().lock(), TOKEN_BYTES)
        .read_line(&mut line)
        .context("cannot read the token")?;
    let line = Secret::new(line);
    match line.expose().trim() {
        "" => Err(anyhow::anyhow!("standard input held no token: send it as a line").into()),
        token => Ok(Secret::from(token)),
    }
}

/// Asks whether to go on. `what` is what will happen, in a sentence.
pub(super) fn confirm(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "{what} There is no terminal to ask on: add --yes if you mean it."
        )));
    }
    let mut stderr = io::stderr();
    write!(stderr, "{what} Type yes to go on: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "yes" | "y" => Ok(()),
        _ => Err(anyhow::anyhow!("nothing was changed").into()),
    }
}

fn read_password(input: &mut dyn BufRead) -> Result<Secret<String>, Failure> {
    let mut line = String::new();
    io::Read::take(input, PASSWORD_BYTES).read_line(&mut line).context("cannot read the password")?;
    let line = Secret::new(line);
    let password = line.expose().strip_suffix('\n').unwrap_or(line.expose());
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(anyhow::anyhow!("standard input held no password: send it as a line").into());
    }
    Ok(Secret::from(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_without_its_end() {
        for (input, password) in [("a b \n", "a b "), ("a\r\nb\n", "a"), ("ö", "ö")] {
            assert_eq!(read_password(&mut input.as_bytes()).unwrap().expose(), password);
        }
        for input in ["", "\n", "\nlater"] {
            assert!(read_password(&mut input.as_bytes()).is_err(), "{input:?}");
        }
    }
}
