//! What the Director says, compared with what the Image repository says.
//!
//! Pure code: no I/O and no clock. The order is that of the Uptane standard (full verification): the Director's
//! roles, then who is assigned what, then the Image repository's roles, then both against each other. Each
//! repository's own rules are in [`crate::tuf`]; the driver is [`crate::agent::uptane`].

mod assignment;
mod class;
mod cross_check;
mod custom;
mod director;
mod fault;

pub use assignment::{Assignment, Ecu, Installed, assignments};
pub use class::Class;
pub use cross_check::{Verified, cross_check};
pub use director::{Directed, Floor, Mode, take_targets};
pub use fault::{Fault, Repository};
