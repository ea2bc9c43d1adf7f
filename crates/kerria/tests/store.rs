//! The suite of rules for stores, from outside of the crate that has it: on a store that wraps another one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::sync::Arc;

use async_trait::async_trait;
use kerria::{Store, testing::FaultyStore};
use kerria_store::{SqliteStore, conformance::Stage};

kerria_store::conformance!(Memory::new());

/// A fresh, empty store.
struct Memory(Arc<FaultyStore>);

impl Memory {
    fn new() -> Self {
        Self(Arc::new(FaultyStore::new(Arc::new(SqliteStore::open_in_memory().unwrap()))))
    }
}

#[async_trait]
impl Stage for Memory {
    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }
}
