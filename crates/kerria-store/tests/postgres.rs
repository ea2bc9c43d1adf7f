//! The conformance suite, on PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use kerria_core::Store;
use kerria_store::{
    Nobody, PostgresOptions, PostgresStore,
    conformance::Stage,
    testing::{self, TestDatabase},
};

kerria_store::conformance!(Database::new().await);

struct Database {
    // The store lets go of the database before that is dropped.
    store: Option<Arc<PostgresStore>>,
    database: TestDatabase,
}

impl Database {
    async fn new() -> Self {
        let mut database = Self { store: None, database: TestDatabase::create() };
        database.open().await;
        database
    }

    async fn open(&mut self) {
        let options = PostgresOptions::parse(&self.database.url()).unwrap();
        self.store =
            Some(Arc::new(PostgresStore::connect(options, testing::node(), Arc::new(Nobody)).await.unwrap()));
    }
}

#[async_trait]
impl Stage for Database {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap()
    }

    async fn reopen(&mut self) {
        let store = self.store.take().unwrap();
        store.leave().await.unwrap();
        Arc::try_unwrap(store).expect("nobody else holds the store");
        self.open().await;
    }
}
