//! How a command ends when it does not do what was asked.

use std::{io, process::ExitCode};

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be done. The message says why, and what to do.
    Failed(anyhow::Error),
    /// What was typed asks for something else beside it.
    Usage(String),
    /// Something was found to be wrong, and has been printed.
    Found,
    /// Nobody reads the output any more. That is no failure.
    ReaderGone,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Failure {
    /// Why something could not be printed.
    pub(super) fn of_output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(anyhow::Error::new(error).context("cannot print")),
        }
    }

    /// What there is to say about it.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            Self::Failed(error) => Some(format!("{error:#}")),
            Self::Usage(message) => Some(message.clone()),
            Self::Found | Self::ReaderGone => None,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::ReaderGone => ExitCode::SUCCESS,
            Self::Failed(_) | Self::Found => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
        }
    }
}
