//! Trust: TUF metadata in, trusted metadata or a named rejection out.
//!
//! Pure code: no I/O and no clock. [`TrustedMetadata`] holds what is trusted and takes one file at a
//! time; `requests` says which file comes next; [`Search`] finds one Target through delegations. The
//! driver that fetches and stores is in the agent. Numbers like 5.4.3 are sections of the TUF
//! specification 1.0, which docs/tuf.md maps to tests.

pub mod canonical;
pub mod glob;
pub mod time;

mod delegation;
mod envelope;
mod error;
mod hashes;
mod keys;
mod names;
mod profile;
mod requests;
mod roles;
mod search;
mod tagged;
mod trusted;

pub use delegation::{Delegation, Delegations, Match};
pub use envelope::Envelope;
pub use error::{Class, Reason, Rejection};
pub use hashes::{Checker, Hashes, Mismatch, from_hex, sha256_hex, to_hex};
pub use keys::{KeyFault, PublicKey, Signers};
pub use names::{listed_name, quote, quote_path, stored_name};
pub use profile::{Limits, Profile};
pub use requests::Request;
pub(crate) use roles::Role;
pub use roles::{Header, MetaFile, Root, Snapshot, TargetInfo, Targets, Timestamp};
pub use search::{Search, Step};
pub use tagged::TOP;
pub use time::Time;
pub use trusted::{Change, Document, RootChange, TrustedMetadata};

#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
#[cfg(test)]
mod tests;
