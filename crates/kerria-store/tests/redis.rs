//! The conformance suite, on sessions in Redis beside either directory.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use kerria_core::{Store, Timestamp};
use kerria_store::{
    Nobody, PostgresOptions, RedisOptions, SplitStore,
    conformance::Stage,
    testing::{self, TestDatabase, TestSessions},
};
use tempfile::TempDir;

mod beside_a_file {
    use super::*;

    kerria_store::conformance!(Split::new(File(TempDir::new().unwrap())).await);
}

mod beside_postgres {
    use super::*;

    kerria_store::conformance!(Split::new(Database(TestDatabase::create())).await);
}

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Where accounts are kept.
#[async_trait]
trait Directory: Send {
    async fn open(&self, redis: RedisOptions) -> Arc<dyn Store>;
}

struct File(TempDir);

#[async_trait]
impl Directory for File {
    async fn open(&self, redis: RedisOptions) -> Arc<dyn Store> {
        let path = self.0.path().join("kerria.db");
        Arc::new(SplitStore::on_sqlite(&path, redis, testing::node(), Arc::new(Nobody), NOW).await.unwrap())
    }
}

struct Database(TestDatabase);

#[async_trait]
impl Directory for Database {
    async fn open(&self, redis: RedisOptions) -> Arc<dyn Store> {
        let options = PostgresOptions::parse(&self.0.url()).unwrap();
        Arc::new(
            SplitStore::on_postgres(options, redis, testing::node(), Arc::new(Nobody), NOW).await.unwrap(),
        )
    }
}

struct Split<D> {
    // The store lets go of both before they are dropped.
    store: Option<Arc<dyn Store>>,
    directory: D,
    sessions: TestSessions,
}

impl<D: Directory> Split<D> {
    async fn new(directory: D) -> Self {
        let sessions = TestSessions::create();
        let mut split = Self { store: None, directory, sessions };
        // The first start ends what Redis may have held before. What follows is as if it had been long ago.
        split.open().await;
        split.close().await;
        split.sessions.ask::<()>(&["FLUSHDB"]);
        split.sessions.begin_with_one();
        split.open().await;
        split
    }

    async fn open(&mut self) {
        let redis = RedisOptions::from_url(&self.sessions.url()).unwrap();
        self.store = Some(self.directory.open(redis).await);
    }

    async fn close(&mut self) {
        let store = self.store.take().unwrap();
        store.leave().await.unwrap();
        assert_eq!(Arc::strong_count(&store), 1, "nobody else holds the store");
    }
}

#[async_trait]
impl<D: Directory + Sync> Stage for Split<D> {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap()
    }

    async fn reopen(&mut self) {
        self.close().await;
        self.open().await;
    }
}
