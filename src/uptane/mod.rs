//! What the Director says, compared with what the Image repository says.
//!
//! Pure code: no I/O and no clock. The order is that of the Uptane standard (full verification): the Director's
//! roles, then who is assigned what, then the Image repository's roles, then both against each other. Each
//! repository's own rules are in [`crate::tuf`]; the driver is [`crate::agent::uptane`].

mod assignment;
mod campaign;
mod class;
mod cross_check;
mod custom;
mod director;
mod fault;
mod plan;
mod report;
#[cfg(test)]
mod tests;

pub use assignment::{Assignment, Ecu, Installed, assignments};
pub use campaign::{Campaign, Consent, campaigns};
pub use class::Class;
pub use cross_check::{Verified, cross_check};
pub use director::{Directed, Floor, Mode, take_targets};
pub use fault::{Fault, Repository};
pub use plan::{DirectorPlan, FilePlan, FileUpdate, Primary, plan, plan_file};
pub use report::{
    EcuOutcome, EcuReport, InstallationReport, Registrant, Signature, canonical, ecu_manifest, registration,
    signed, vehicle_manifest,
};
