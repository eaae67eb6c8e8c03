//! What assignment-service promises while its replicas are killed.

#![cfg(test)]

mod replicas;
