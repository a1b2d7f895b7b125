//! The servers' HTTP interfaces.

pub mod http;

pub use http::{ClientIdentity, Http, HttpError, HttpSettings, Reply, Stream};
