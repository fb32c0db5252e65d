"""The stores that come with the package, one module each. `resumption.session.stores.store.open_store` picks by URL."""
