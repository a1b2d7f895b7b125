//! The servers' HTTP interfaces.

pub mod device;
pub mod events;
pub mod headers;
pub mod http;
pub mod identity;
pub mod pkcs12;
pub mod remotes;
mod resolver;
mod retry_after;
pub mod tls;

pub use http::{ClientIdentity, Http, HttpError, HttpSettings, Reply, Stream};
