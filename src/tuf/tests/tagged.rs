//! Delegated roles that are of a tag: which a device reads, and what it hears of them.

use serde_json::json;

use super::assert_reason;
use super::delegations::search;
use crate::tuf::testing::{NOW, Repo};
use crate::tuf::{Profile, Reason, Time, TrustedMetadata};

/// A repository whose top-level role delegates these roles by tag, with these paths, and their Targets.
fn tagged(profile: Profile, roles: &[(&str, &[&str], &str, &[&str])]) -> Repo {
    let mut repo = Repo::new(profile);
    for (index, (name, tags, path, targets)) in roles.iter().enumerate() {
        repo.delegate("targets", name, &[path], false);
        repo.role("targets")["delegations"]["roles"][index]["custom"] = json!({"tags": tags});
        for target in *targets {
            repo.add_target(name, target, name.as_bytes());
        }
    }
    repo.update(&["targets"]);
    repo
}

fn seen(trusted: &TrustedMetadata, tags: &[&str]) -> Vec<String> {
    let tags: Vec<String> = tags.iter().map(|tag| tag.to_string()).collect();
    let all = trusted.tagged_targets(&tags, NOW);
    all.iter().map(|(role, name, _)| format!("{}:{name}", role.name)).collect()
}

fn take(repo: &Repo, roles: &[&str]) -> TrustedMetadata {
    let mut trusted = repo.trust();
    for role in roles {
        trusted.update_delegated("targets", role, repo.file(role), NOW).unwrap();
    }
    trusted
}

#[test]
fn tags_choose_roles_in_the_order_of_their_delegations() {
    for profile in [Profile::Tuf, Profile::Ats] {
        let repo =
            tagged(profile, &[("a", &["x"], "*", &[]), ("b", &["y", "z"], "*", &[]), ("c", &[], "*", &[])]);
        let trusted = repo.trust();
        for (tags, roles) in [
            (&[][..], &["a", "b"][..]),
            (&["x"], &["a"]),
            (&["z", "x"], &["a", "b"]),
            (&["z"], &["b"]),
            (&["other", ""], &[]),
        ] {
            let tags: Vec<String> = tags.iter().map(|tag| tag.to_string()).collect();
            assert_eq!(trusted.tagged_roles(&tags).unwrap(), roles, "{tags:?}");
        }
    }
}

#[test]
fn a_custom_field_of_somebody_else_is_no_tag_and_no_fault() {
    for custom in [json!(null), json!("x"), json!([1]), json!({"tags": "x"}), json!({"tags": [1]}), json!({})]
    {
        let mut repo = tagged(Profile::Tuf, &[("a", &["x"], "*", &["t"])]);
        repo.role("targets")["delegations"]["roles"][0]["custom"] = custom.clone();
        repo.update(&["targets"]);
        assert_eq!(repo.trust().tagged_roles(&[]).unwrap(), Vec::<String>::new(), "{custom}");
        assert_eq!(search(&repo, &mut repo.trust(), "t").unwrap().found, Some("a".into()));
    }
}

#[test]
fn a_role_of_a_tag_speaks_where_a_search_would_hear_it() {
    let mut repo = tagged(
        Profile::Tuf,
        &[
            ("a", &["x"], "a-*", &["a-1", "b-1", "a-2"]),
            ("b", &["y"], "*", &["a-1", "b-1", "c-1", "file", "d/1"]),
        ],
    );
    let trusted = take(&repo, &["a", "b"]);
    // Outside of its paths; said before by another; the top-level role's; a wildcard is no way through a slash.
    assert_eq!(seen(&trusted, &[]), ["a:a-1", "a:a-2", "b:b-1", "b:c-1"]);
    assert_eq!(seen(&trusted, &["y"]), ["b:a-1", "b:b-1", "b:c-1"]);
    for (role, name) in trusted.tagged_targets(&[], NOW).iter().map(|(role, name, _)| (&role.name, name)) {
        assert_eq!(search(&repo, &mut trusted.clone(), name).unwrap().found.as_ref(), Some(role));
    }
    // A terminating role keeps those after it quiet, also for a device that does not read it.
    repo.role("targets")["delegations"]["roles"][0]["terminating"] = json!(true);
    repo.update(&["targets"]);
    let trusted = take(&repo, &["b"]);
    assert_eq!(seen(&trusted, &["y"]), ["b:b-1", "b:c-1"]);
}

#[test]
fn a_role_of_a_tag_that_is_not_current_says_nothing() {
    let mut repo = tagged(Profile::Tuf, &[("a", &["x"], "*", &["t"])]);
    assert_eq!(seen(&repo.trust(), &[]), Vec::<String>::new());
    let mut trusted = take(&repo, &["a"]);
    assert_eq!(seen(&trusted, &[]), ["a:t"]);
    assert_eq!(trusted.tagged_targets(&[], Time(NOW.0 * 2)).len(), 0, "it has expired then");
    repo.update(&["a"]);
    repo.refresh(&mut trusted).unwrap();
    assert_eq!(seen(&trusted, &[]), Vec::<String>::new(), "the snapshot lists another one");
    assert_reason!(
        trusted.update_delegated("targets", "a", repo.file_by("a", &repo.signers["targets"]), NOW),
        Reason::HashMismatch { .. }
    );
}

#[test]
fn the_roles_of_tags_are_limited() {
    let names: Vec<String> = (0..33).map(|number| format!("r{number:02}")).collect();
    let roles: Vec<(&str, &[&str], &str, &[&str])> =
        names.iter().map(|name| (name.as_str(), &["x"][..], "*", &[][..])).collect();
    let limit = |number: usize| tagged(Profile::Tuf, &roles[..number]).trust().tagged_roles(&[]);
    assert_eq!(limit(32).unwrap().len(), 32);
    assert_reason!(limit(33), Reason::DelegationCount { limit: 32 });
}
