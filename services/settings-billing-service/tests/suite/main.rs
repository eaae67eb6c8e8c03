//! The contract of settings-billing-service, on both engines.

#![cfg(test)]

mod bad_input;
