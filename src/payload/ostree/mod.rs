//! OSTree Targets: what is missing, how it is fetched, and how it becomes a deployment.
//!
//! libostree owns the repository and the sysroot and verifies every object as it writes it. It has no network
//! code here: the client walks commit -> dirtree, dirmeta -> file itself and fetches with its own HTTP client,
//! so that there is one TLS stack, exact progress, resume inside an object, and a plan before the first byte.
//!
//! The commit hash always comes from signed metadata. No ref of a server is ever read.

mod ahead;
mod deploy;
mod error;
mod etc;
mod heal;
mod loose;
mod object;
#[cfg(not(feature = "testing"))]
mod parse;
#[cfg(feature = "testing")]
pub mod parse;
mod plan;
mod pull;
mod root_kind;
mod shadow;
mod source;
mod space;
mod sysroot;
mod unseal;

pub use error::{OstreeError, OstreeErrorClass};
pub use object::{Limits, ObjectId, ObjectKind};
pub use plan::{Plan, Sizes, plan};
pub use pull::apply;
pub use pull::superblock::Superblock;
pub use pull::{Progress, PullOptions, PullReport, StatsFile, pull};
pub use source::{FolderSource, HttpSource, ObjectSource, Opened, SourceError};
pub use sysroot::{Booted, Deployment, OstreeSettings, Sysroot};
