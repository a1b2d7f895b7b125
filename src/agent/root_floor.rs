//! The highest version of the root that this device ever took, in a file of its own: where `root.json` is damaged, trust
//! starts again from the image's root, and a server that keeps the newer ones back must not gain by that.

use serde::{Deserialize, Serialize};

use super::refresh::{Persist, RefreshError};
use crate::store::StoreError;
use crate::tuf::TrustedMetadata;

const NAME: &str = "root-floor";

#[derive(Serialize, Deserialize)]
struct Floor {
    root: u64,
}

/// Notes a root that is stored.
pub(super) fn raise(persist: &mut dyn Persist, root: u64) -> Result<(), StoreError> {
    if read(persist)?.is_some_and(|known| known >= root) {
        return Ok(());
    }
    persist.write(NAME, &serde_json::to_vec(&Floor { root }).unwrap_or_default())
}

/// After the walk of roots.
pub(super) fn check(persist: &mut dyn Persist, trusted: &TrustedMetadata) -> Result<(), RefreshError> {
    let got = trusted.root().role.header.version;
    match read(persist)? {
        Some(known) if known > got => Err(RefreshError::RootRollback { trusted: known, got }),
        _ => Ok(()),
    }
}

fn read(persist: &mut dyn Persist) -> Result<Option<u64>, StoreError> {
    let Some(bytes) = persist.read(NAME)? else { return Ok(None) };
    match serde_json::from_slice::<Floor>(&bytes) {
        Ok(floor) => Ok(Some(floor.root)),
        Err(error) => persist.set_aside(NAME, &error.to_string()).map(|()| None),
    }
}
