//! Graphs of delegations against a recursive search that is written from the specification.

use std::collections::{BTreeMap, BTreeSet};

use rust_ota::tuf::testing::{NOW, Repo};
use rust_ota::tuf::{Profile, Reason, Search, Step};
use serde_json::json;

use crate::Bytes;

struct Edge {
    role: String,
    paths: Vec<&'static str>,
    terminating: bool,
}

const PATHS: [&str; 5] = ["*", "a*", "b", "?", "x/*"];
const TARGETS: [&str; 4] = ["a", "b", "x/a", "none"];

/// The roles that are visited, their order and the one that speaks are those of the specification.
pub fn search(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut repo = Repo::new(Profile::Tuf);
    repo.hashes = false;
    let mut graph: BTreeMap<String, Vec<Edge>> = BTreeMap::new();
    let mut roles = vec!["targets".to_owned()];
    for _ in 0..bytes.below(24) {
        let delegator = bytes.pick(&roles).clone();
        let role = format!("r{}", bytes.below(10));
        if graph.get(&delegator).is_some_and(|edges| edges.iter().any(|edge| edge.role == role)) {
            continue;
        }
        let paths = vec![*bytes.pick(&PATHS), *bytes.pick(&PATHS)];
        let terminating = bytes.below(5) == 0;
        if !repo.roles.contains_key(&role) {
            roles.push(role.clone());
        }
        repo.delegate(&delegator, &role, &paths, terminating);
        graph.entry(delegator).or_default().push(Edge { role, paths, terminating });
    }
    for role in &roles[1..] {
        if bytes.below(4) == 0 {
            let target = *bytes.pick::<&str>(&TARGETS[..3]);
            repo.add_target(role, target, b"");
        }
    }
    repo.publish();
    for target in TARGETS {
        check(&repo, &graph, target);
    }
}

fn check(repo: &Repo, graph: &BTreeMap<String, Vec<Edge>>, target: &str) {
    let mut expected =
        Model { repo, graph, target, visited: Vec::new(), seen: BTreeSet::new(), too_deep: false };
    let found = match expected.visit("targets", 0) {
        End::Found(role) => Some(role),
        _ => None,
    };
    let mut trusted = repo.trust();
    let mut search = Search::new(target, NOW);
    let mut visited = vec!["targets".to_owned()];
    let got = loop {
        match search.step(&trusted) {
            Ok(Step::Found { role, .. }) => break Some(role),
            Ok(Step::NotFound) => break None,
            Ok(Step::Need { role, delegator }) => {
                trusted.update_delegated(&delegator, &role, repo.file(&role), NOW).unwrap();
                visited.push(role);
            }
            Err(rejection) => {
                assert!(matches!(rejection.reason, Reason::DelegationDepth { .. }), "{rejection}");
                assert!(expected.too_deep);
                return;
            }
        }
    };
    if !expected.too_deep {
        assert_eq!((got, visited), (found, expected.visited));
    }
}

enum End {
    Found(String),
    /// A terminating delegation ends the whole search.
    Stop,
    GoOn,
}

struct Model<'m> {
    repo: &'m Repo,
    graph: &'m BTreeMap<String, Vec<Edge>>,
    target: &'m str,
    visited: Vec<String>,
    seen: BTreeSet<String>,
    too_deep: bool,
}

impl Model<'_> {
    fn visit(&mut self, role: &str, depth: usize) -> End {
        if !self.seen.insert(role.to_owned()) {
            return End::GoOn;
        }
        self.too_deep |= depth > 8;
        self.visited.push(role.to_owned());
        if self.repo.roles[role]["targets"].get(self.target).is_some_and(|info| *info != json!(null)) {
            return End::Found(role.to_owned());
        }
        for edge in self.graph.get(role).into_iter().flatten() {
            if !edge.paths.iter().any(|path| matches(path, self.target)) {
                continue;
            }
            match self.visit(&edge.role, depth + 1) {
                End::GoOn if edge.terminating => return End::Stop,
                End::GoOn => {}
                end => return end,
            }
        }
        End::GoOn
    }
}

/// The few patterns of this test, by hand.
fn matches(pattern: &str, target: &str) -> bool {
    match pattern {
        "*" => !target.contains('/'),
        "a*" => target.starts_with('a') && !target.contains('/'),
        "?" => target.len() == 1 && target != "/",
        "x/*" => target.starts_with("x/"),
        plain => plain == target,
    }
}
