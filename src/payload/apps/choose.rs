//! Pure: which apps of a Target this device is to run, which it only keeps, and why one needs work.

use std::collections::BTreeMap;
use std::fmt;

/// Apps by name, each with its pinned URI.
pub type Apps = BTreeMap<String, String>;

/// Those of a Target's apps that run here: all of them without a list, none with an empty one.
pub fn wanted(apps: &Apps, list: Option<&[String]>) -> Apps {
    let on = |name: &String| list.is_none_or(|list| list.contains(name));
    apps.iter().filter(|(name, _)| on(name)).map(|(n, u)| (n.clone(), u.clone())).collect()
}

/// Those that are fetched and kept, so that a factory reset needs no network; `*` is all of them.
pub fn kept(apps: &Apps, list: Option<&[String]>) -> Apps {
    let all = list.is_some_and(|list| list.iter().any(|name| name == "*"));
    if all { apps.clone() } else { wanted(apps, Some(list.unwrap_or_default())) }
}

/// Why an app needs work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A person insists.
    Forced,
    /// What runs does not have it.
    New,
    /// What runs has another version of it.
    NewVersion,
    /// It should run, and does not.
    NotRunning,
    /// A part of it is not on the device.
    NotFetched,
}

/// As aktualizr-lite says it, so that logs and events stay searchable.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Forced => "forced update",
            Reason::New => "new app in target",
            Reason::NewVersion => "new version in target",
            Reason::NotRunning => "not running",
            Reason::NotFetched => "not fetched",
        })
    }
}

/// What is known of one app on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// All of its blobs are there.
    pub fetched: bool,
    /// All of its services run.
    pub running: bool,
}

/// Why each app of `wanted` needs work; what needs none is left out. `present` is asked only where it matters, since
/// it costs a question to the engine.
pub fn needs(
    wanted: &Apps,
    current: &Apps,
    forced: bool,
    mut present: impl FnMut(&str, &str) -> Present,
) -> Vec<(String, Reason)> {
    let reason = |(name, uri): (&String, &String)| {
        let reason = match current.get(name) {
            _ if forced => Reason::Forced,
            None => Reason::New,
            Some(current) if current != uri => Reason::NewVersion,
            Some(_) => match present(name, uri) {
                Present { running: false, .. } => Reason::NotRunning,
                Present { fetched: false, .. } => Reason::NotFetched,
                _ => return None,
            },
        };
        Some((name.clone(), reason))
    };
    wanted.iter().filter_map(reason).collect()
}

/// The apps that run and are not wanted any more.
pub fn dropped(current: &Apps, wanted: &Apps) -> Vec<String> {
    current.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect()
}

/// A project's name is a name of containers, networks and folders.
pub fn is_app_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first && name.len() <= 63 && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps(text: &str) -> Apps {
        text.split_whitespace()
            .map(|w| w.split_once('=').unwrap())
            .map(|(n, u)| (n.to_string(), u.to_string()))
            .collect()
    }

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn no_list_is_all_and_an_empty_one_is_none() {
        let target = apps("db=1 ui=1 web=1");
        let names = |a: Apps| a.into_keys().collect::<Vec<_>>().join(" ");
        assert_eq!(names(wanted(&target, None)), "db ui web");
        assert_eq!(names(wanted(&target, Some(&[]))), "");
        assert_eq!(names(wanted(&target, Some(&list("web other")))), "web");
        assert_eq!(names(kept(&target, None)), "");
        assert_eq!(names(kept(&target, Some(&[]))), "");
        assert_eq!(names(kept(&target, Some(&list("db")))), "db");
        assert_eq!(names(kept(&target, Some(&list("*")))), "db ui web");
    }

    #[test]
    fn why_an_app_needs_work() {
        let (good, stopped, torn) = (
            Present { fetched: true, running: true },
            Present { fetched: true, running: false },
            Present { fetched: false, running: true },
        );
        let table = [
            ("web=1", "web=1", false, good, None),
            ("web=1", "web=1", true, good, Some(Reason::Forced)),
            ("web=2", "web=1", false, good, Some(Reason::NewVersion)),
            ("web=1", "", false, good, Some(Reason::New)),
            ("web=1", "db=1", false, good, Some(Reason::New)),
            ("web=1", "web=1", false, stopped, Some(Reason::NotRunning)),
            ("web=1", "web=1", false, torn, Some(Reason::NotFetched)),
        ];
        for (target, current, forced, present, expected) in table {
            let found = needs(&apps(target), &apps(current), forced, |_, _| present);
            assert_eq!(found.first().map(|n| n.1), expected, "{target} on {current}");
        }
        let asked = |_: &str, _: &str| -> Present { panic!("the engine is asked for nothing") };
        assert_eq!(needs(&apps("web=2"), &apps("web=1"), false, asked).len(), 1);
        assert_eq!(dropped(&apps("a=1 b=1"), &apps("b=2 c=1")), ["a"]);
    }

    #[test]
    fn names_of_projects() {
        for good in ["web", "web-2", "0x", "a_b"] {
            assert!(is_app_name(good), "{good}");
        }
        for bad in ["", "-web", "_web", "Web", "we.b", "../web", "web/x", &"a".repeat(64)] {
            assert!(!is_app_name(bad), "{bad}");
        }
    }
}
