//! The servers' HTTP interfaces.

pub mod device;
mod error;
pub mod events;
pub mod headers;
pub mod http;
pub mod identity;
pub mod pkcs12;
mod proxy;
pub mod redact;
pub mod remotes;
mod resolver;
mod retry_after;
mod stream;
pub mod tls;
mod watch;

pub use error::HttpError;
pub use http::{ClientIdentity, Http, HttpSettings, PlainHttp, Reply};
pub use stream::Stream;
