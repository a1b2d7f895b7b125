//! What is taken back from this device's own disk: verified like anything else, but for its expiry.

use super::assert_reason;
use crate::tuf::testing::{Key, Repo};
use crate::tuf::{Limits, Profile, Reason, TrustedMetadata};

#[test]
fn a_stored_role_is_verified_again() {
    for profile in [Profile::Tuf, Profile::Ats] {
        let repo = Repo::new(profile);
        let stranger = [Key::new(99, profile)];
        let mut trusted = repo.trust_root();
        let forged = |name: &str| repo.file_by(name, &stranger);
        assert_reason!(trusted.restore_timestamp(forged("timestamp")), Reason::Unsigned { .. });
        assert_reason!(trusted.restore_snapshot(forged("snapshot")), Reason::Unsigned { .. });
        assert!(trusted.restore_timestamp(repo.file("timestamp")).is_ok());
        assert!(trusted.restore_snapshot(repo.file("snapshot")).is_ok());

        let limits = Limits { targets_bytes: 10, ..Limits::default() };
        let mut small = TrustedMetadata::new(repo.file("root"), profile, limits).unwrap();
        assert_reason!(small.restore_snapshot(repo.file("snapshot")), Reason::TooLarge { limit: 10, .. });
    }
}
