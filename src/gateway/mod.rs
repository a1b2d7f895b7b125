//! The servers' HTTP interfaces.

pub mod http;

pub use http::{Http, HttpError, HttpSettings, Reply, Stream};
