//! Every rule of the workflow, each with a file that breaks it and nothing else.

mod delegations;
mod documents;
mod signatures;
mod stored;
mod tagged;
mod workflow;

use super::{Reason, Rejection};

/// The reason of a refusal.
#[track_caller]
fn reason<T>(result: Result<T, Rejection>) -> Reason {
    match result {
        Ok(_) => panic!("accepted"),
        Err(rejection) => {
            assert!(rejection.to_string().starts_with(&format!("{}: ", rejection.file)));
            rejection.reason
        }
    }
}

macro_rules! assert_reason {
    ($result:expr, $pattern:pat) => {
        let reason = $crate::tuf::tests::reason($result);
        assert!(matches!(reason, $pattern), "{reason:?}");
    };
}
use assert_reason;
