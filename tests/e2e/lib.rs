//! Flows over several services; see `tests/`.
