//! Compose apps: what to run, fetched by digest into a store, run by an engine.
//!
//! ```text
//!   Target's apps --choose--> wanted --fetch--> store (blobs by digest) --engine--> containers
//!                              registry or folder ^        every blob checked as it arrives
//! ```

mod app;
pub mod archive;
mod asks;
mod choose;
mod compose;
pub mod engine;
mod error;
mod fault;
mod fetch;
mod folder;
mod inspect;
mod manifest;
mod process;
mod proxy;
#[cfg(feature = "host")]
mod push;
mod reference;
mod source;
mod state;
mod store;
mod yaml;

pub use app::{App, Image, Part, whole};
pub use asks::{Ask, Right, not_allowed};
pub use choose::{Apps, Present, Reason, dropped, is_app_name, kept, needs, wanted};
pub use compose::{COMPOSE_FILE, Compose, ComposeError, Service};
pub use engine::{Engine, StartLimits, stranger};
pub use error::{AppsError, AppsErrorClass};
pub use fetch::{Progress, Room, fetch};
pub use manifest::{Blob, MANIFEST_LIMIT, Manifest, Platform, this_platform};
pub use proxy::Proxy;
#[cfg(feature = "host")]
pub use push::Place;
pub use reference::{Digest, Reference};
pub use source::{Body, Credentials, Login, Registry, Source};
pub use state::{Container, Verdict, judge, summary};
pub use store::Store;
