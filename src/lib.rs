//! rust-ota keeps an OSTree device up to date. This is the map of the crate; `ARCHITECTURE.md` has the picture.
//!
//! Data flows one way: settings and stored facts go in, a plan is made in pure code, the agent carries it out.

// No panic on anything that came from outside; tests may.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod agent;
pub mod boot;
pub mod cli;
pub mod config;
pub mod decide;
pub mod device;
pub mod gateway;
pub mod payload;
pub mod sqlite;
pub mod store;
pub mod tuf;
pub mod uptane;
