//! The conformance suite, on SQLite.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use kerria_core::Store;
use kerria_store::{Nobody, SqliteStore, conformance::Stage};
use tempfile::TempDir;

mod file {
    use super::*;

    kerria_store::conformance!(File::new());
}

mod memory {
    use super::*;

    kerria_store::conformance!(Memory::new());
}

/// Through this process, checkers in others follow the log.
#[cfg(feature = "testing")]
mod followed {
    use kerria_store::{
        conformance::revocation::{
            an_end_names_those_whose_leases_had_to_run_out,
            an_end_says_for_whom_it_has_waited_and_is_true_here_in_any_case,
        },
        testing,
    };

    use super::*;

    async fn store(folder: &TempDir) -> Arc<SqliteStore> {
        let path = folder.path().join("kerria.db");
        Arc::new(SqliteStore::open_for_checkers(&path, testing::node(), Arc::new(Nobody)).await.unwrap())
    }

    #[tokio::test]
    async fn an_end_says_for_whom_it_has_waited() {
        let folder = TempDir::new().unwrap();
        an_end_says_for_whom_it_has_waited_and_is_true_here_in_any_case(store(&folder).await).await;
    }

    #[tokio::test]
    async fn it_names_those_whose_leases_had_to_run_out() {
        let folder = TempDir::new().unwrap();
        an_end_names_those_whose_leases_had_to_run_out(store(&folder).await).await;
    }
}

struct File {
    store: Option<Arc<SqliteStore>>,
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut file = Self { store: None, folder };
        file.open();
        file
    }

    fn open(&mut self) {
        let store = SqliteStore::open(&self.folder.path().join("kerria.db")).unwrap();
        self.store = Some(Arc::new(store));
    }
}

#[async_trait]
impl Stage for File {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap()
    }

    async fn reopen(&mut self) {
        let store = self.store.take().unwrap();
        Arc::try_unwrap(store).expect("nobody else holds the store");
        self.open();
    }
}

struct Memory(Arc<SqliteStore>);

impl Memory {
    fn new() -> Self {
        Self(Arc::new(SqliteStore::open_in_memory().unwrap()))
    }
}

#[async_trait]
impl Stage for Memory {
    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }
}
