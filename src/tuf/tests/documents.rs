//! Sections 4.2 to 4.6: what a role must look like.

use serde_json::{Value, json};

use super::assert_reason;
use crate::tuf::testing::{NOW, Repo};
use crate::tuf::{Class, Limits, Profile, Reason, Rejection, TrustedMetadata};

const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// Spoils one role of an honest repository (its signature stays right) and offers it.
fn spoiled(profile: Profile, name: &str, spoil: impl Fn(&mut Value)) -> Result<(), Rejection> {
    let mut repo = Repo::new(profile);
    spoil(repo.role(name));
    if name == "targets" {
        repo.publish();
    }
    if name == "snapshot" {
        let meta = repo.roles["snapshot"].get("meta").cloned();
        repo.publish();
        if let Some(meta) = meta {
            repo.role("snapshot")["meta"] = meta;
        } else {
            repo.role("snapshot").as_object_mut().unwrap().remove("meta");
        }
        relist_snapshot(&mut repo);
    }
    let mut trusted = TrustedMetadata::new(repo.file("root"), profile, Limits::default())?;
    repo.refresh(&mut trusted)
}

fn relist_snapshot(repo: &mut Repo) {
    let bytes = repo.file("snapshot");
    repo.role("timestamp")["meta"]["snapshot.json"]["length"] = json!(bytes.len());
    repo.role("timestamp")["meta"]["snapshot.json"]["hashes"]["sha256"] =
        json!(crate::tuf::testing::sha256(&bytes));
}

fn without(field: &'static str) -> impl Fn(&mut Value) {
    move |role| drop(role.as_object_mut().unwrap().remove(field))
}

#[test]
fn every_required_field_is_required() {
    for profile in [Profile::Tuf, Profile::Ats] {
        for name in ROLES {
            for field in ["_type", "version", "expires"] {
                assert_reason!(spoiled(profile, name, without(field)), Reason::Shape { .. });
            }
        }
        for (name, field) in
            [("root", "keys"), ("root", "roles"), ("timestamp", "meta"), ("targets", "targets")]
        {
            assert_reason!(spoiled(profile, name, without(field)), Reason::Shape { .. });
        }
        assert_reason!(spoiled(profile, "snapshot", without("meta")), Reason::Shape { .. });
        assert_reason!(spoiled(profile, "timestamp", |role| role["meta"] = json!({})), Reason::Shape { .. });
        assert_reason!(
            spoiled(profile, "snapshot", |role| role["meta"] = json!({})),
            Reason::NotListed { parent: "snapshot.json" }
        );
        for role in ROLES {
            let left_out =
                spoiled(profile, "root", |root| drop(root["roles"].as_object_mut().unwrap().remove(role)));
            // A Director's root has no timestamp and snapshot: nobody can sign them.
            if profile == Profile::Ats && matches!(role, "timestamp" | "snapshot") {
                assert_reason!(left_out, Reason::Unsigned { valid: 0, .. });
            } else {
                assert_reason!(left_out, Reason::RoleMissing { .. });
            }
        }
    }
}

#[test]
fn the_type_is_the_roles() {
    for name in ROLES {
        for other in ROLES.iter().filter(|other| **other != name) {
            for profile in [Profile::Tuf, Profile::Ats] {
                assert_reason!(
                    spoiled(profile, name, |role| role["_type"] = json!(other)),
                    Reason::WrongType { .. }
                );
            }
        }
        let upper = |role: &mut Value| role["_type"] = json!(name.to_uppercase());
        assert_reason!(spoiled(Profile::Tuf, name, upper), Reason::WrongType { .. });
        assert!(spoiled(Profile::Ats, name, upper).is_ok());
    }
}

#[test]
fn the_spec_version_is_1() {
    for name in ROLES {
        for version in ["2.0.0", "0.9", "1", "11.0", "1.x", "1.", ""] {
            let set = |role: &mut Value| role["spec_version"] = json!(version);
            assert_reason!(spoiled(Profile::Tuf, name, set), Reason::SpecVersion { .. });
            assert!(spoiled(Profile::Ats, name, set).is_ok());
        }
        assert_reason!(spoiled(Profile::Tuf, name, without("spec_version")), Reason::SpecVersion { .. });
        for version in ["1.0", "1.0.0", "1.0.99", "1.1.0"] {
            assert!(spoiled(Profile::Tuf, name, |role| role["spec_version"] = json!(version)).is_ok());
        }
    }
}

#[test]
fn versions_are_from_1_to_2_pow_63() {
    for name in ROLES {
        for version in [0, 1 << 63, u64::MAX] {
            assert_reason!(
                spoiled(Profile::Tuf, name, |role| role["version"] = json!(version)),
                Reason::VersionRange { .. }
            );
        }
        for version in [json!(-1), json!("1"), json!(null), json!([1])] {
            assert_reason!(
                spoiled(Profile::Tuf, name, |role| role["version"] = version.clone()),
                Reason::Shape { .. }
            );
        }
    }
    for (name, file) in [("timestamp", "snapshot.json"), ("snapshot", "targets.json")] {
        assert_reason!(
            spoiled(Profile::Tuf, name, |role| role["meta"][file]["version"] = json!(0)),
            Reason::VersionRange { got: 0 }
        );
    }
}

#[test]
fn an_expiry_that_is_no_date_is_refused() {
    for name in ROLES {
        for date in ["zzzzzzzzzzzzzzzzzzzZ", "", "2030-02-30T00:00:00Z", "9999"] {
            assert_reason!(
                spoiled(Profile::Tuf, name, |role| role["expires"] = json!(date)),
                Reason::ExpiresFormat { .. }
            );
        }
    }
}

#[test]
fn thresholds_are_from_1_to_1000() {
    for (threshold, accepted) in
        [(0u64, false), (1, true), (1001, false), (1 << 32, false), (u64::MAX, false)]
    {
        for name in ROLES {
            let result =
                spoiled(Profile::Tuf, "root", |root| root["roles"][name]["threshold"] = json!(threshold));
            if accepted {
                assert!(result.is_ok());
            } else {
                assert_reason!(result, Reason::ThresholdRange { .. });
            }
        }
    }
    assert_reason!(
        spoiled(Profile::Tuf, "root", |root| root["roles"]["targets"]["threshold"] = json!(-1)),
        Reason::Shape { .. }
    );
}

#[test]
fn keys_and_signatures_are_limited() {
    assert_reason!(
        spoiled(Profile::Tuf, "root", |root| {
            for number in 0..2000 {
                root["keys"][number.to_string()] = json!({});
            }
        }),
        Reason::TooManyKeys { limit: 1024, .. }
    );
    assert_reason!(
        spoiled(Profile::Tuf, "root", |root| root["roles"]["targets"]["keyids"] = json!(vec!["a"; 65])),
        Reason::TooManyKeys { limit: 64, .. }
    );
    let repo = Repo::new(Profile::Tuf);
    let mut document = repo.envelope(&repo.roles["timestamp"], &repo.signers["timestamp"]);
    for number in 0..64 {
        let signatures = document["signatures"].as_array_mut().unwrap();
        signatures.push(json!({"keyid": number.to_string(), "sig": "00"}));
    }
    let result = repo.trust_root().update_timestamp(document.to_string().into_bytes(), NOW);
    assert_reason!(result, Reason::TooManySignatures { limit: 64, got: 65 });
}

#[test]
fn unknown_fields_are_part_of_what_is_signed() {
    for name in ROLES {
        let add = |role: &mut Value| role["x-changelog"] = json!({"é": [1, {"b": null, "a": true}]});
        assert!(spoiled(Profile::Tuf, name, add).is_ok());
        assert!(spoiled(Profile::Ats, name, add).is_ok());
    }
    let repo = Repo::new(Profile::Tuf);
    let mut document = repo.envelope(&repo.roles["timestamp"], &repo.signers["timestamp"]);
    document["signed"]["x"] = json!(1);
    let result = repo.trust_root().update_timestamp(document.to_string().into_bytes(), NOW);
    assert_reason!(result, Reason::Unsigned { .. });
}

#[test]
fn documents_that_two_parsers_read_differently_are_refused() {
    let repo = Repo::new(Profile::Tuf);
    let honest = String::from_utf8(repo.file("timestamp")).unwrap();
    let offer = |bytes: Vec<u8>| repo.trust_root().update_timestamp(bytes, NOW);
    let replaced = |from: &str, to: &str| honest.replacen(from, to, 1).into_bytes();
    for bytes in [
        replaced("\"version\":1", "\"version\":1,\"version\":1"),
        replaced("\"version\":1", "\"version\":1.0"),
        replaced("\"signed\":", "\"signed\":{},\"signed\":"),
        [honest.as_bytes(), b"{}"].concat(),
        honest.as_bytes()[..honest.len() - 1].to_vec(),
        replaced("1.0.31", "\\ud800").to_vec(),
        honest.as_bytes().iter().map(|b| if *b == b'3' { 0xff } else { *b }).collect(),
        Vec::new(),
        "[".repeat(60_000).into_bytes(),
        [b"\xef\xbb\xbf", honest.as_bytes()].concat(),
    ] {
        assert_reason!(offer(bytes), Reason::Json { .. });
    }
    for text in
        ["[]", "{}", "null", "1", r#"{"signed":{},"signatures":{}}"#, r#"{"signed":[],"signatures":[{}]}"#]
    {
        assert_reason!(offer(text.into()), Reason::Shape { .. });
    }
    // White space and order of keys are free: the canonical form is what is signed.
    let spaced = format!(" {}\n ", honest.replace(":{", " : {\n"));
    assert!(offer(spaced.into_bytes()).is_ok());
}

#[test]
fn a_listed_hash_must_be_checkable() {
    let unknown = json!({"md5": "00"});
    assert_reason!(
        spoiled(Profile::Tuf, "timestamp", |role| role["meta"]["snapshot.json"]["hashes"] = unknown.clone()),
        Reason::NoUsableHash { .. }
    );
    assert_reason!(
        spoiled(Profile::Tuf, "snapshot", |role| role["meta"]["targets.json"]["hashes"] = unknown.clone()),
        Reason::NoUsableHash { .. }
    );
    let none = |role: &mut Value| role["meta"]["snapshot.json"] = json!({"version": 1});
    assert!(spoiled(Profile::Tuf, "timestamp", none).is_ok());
    assert_reason!(spoiled(Profile::Ats, "timestamp", none), Reason::NoUsableHash { .. });
}

#[test]
fn a_rejection_names_the_file_and_what_to_do() {
    let rejection = spoiled(Profile::Tuf, "targets", |role| role["expires"] = json!("2020-01-01T00:00:00Z"));
    let rejection = rejection.unwrap_err();
    assert_eq!(rejection.class(), Class::Expired);
    assert_eq!(
        rejection.to_string(),
        "targets.json: a date after 2026-01-01T00:00:00Z expected, got expires 2020-01-01T00:00:00Z; \
         check this device's clock, then ask for the repository to be signed afresh"
    );
    let long = spoiled(Profile::Tuf, "targets", |role| role["_type"] = json!("é\u{1b}".repeat(10_000)));
    let text = long.unwrap_err().to_string();
    assert!(text.len() < 4000 && !text.contains('\u{1b}'), "{}", text.len());
}

#[test]
fn raw_control_characters_are_the_ats_dialects_only() {
    for (profile, accepted) in [(Profile::Tuf, false), (Profile::Ats, true)] {
        let mut repo = Repo::new(profile);
        repo.role("timestamp")["x"] = json!("a\\\n\t\"b\n");
        let honest = String::from_utf8(repo.file("timestamp")).unwrap();
        assert!(repo.trust_root().update_timestamp(honest.clone().into_bytes(), NOW).is_ok());
        let raw = honest.replace("\\n", "\n").replace("\\t", "\t");
        assert_ne!(raw, honest);
        let result = repo.trust_root().update_timestamp(raw.clone().into_bytes(), NOW);
        assert_eq!(result.is_ok(), accepted);
        // A backslash before one is no escape of JSON.
        let broken = honest.replacen("\\n", "\\\n", 1);
        assert_reason!(repo.trust_root().update_timestamp(broken.into_bytes(), NOW), Reason::Json { .. });
        // They are signed, too.
        let other = raw.replace('\t', "\r");
        assert!(repo.trust_root().update_timestamp(other.into_bytes(), NOW).is_err());
    }
}
