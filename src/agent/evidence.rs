//! What a person wants to see beside a decision: what runs, what was offered, the clock, the space, the record.

use super::director::{self, Assignment};
use super::{Agent, AgentError, trust};
use crate::config::Trust;
use crate::decide::{Facts, Request, Target, visible};
use crate::store::Last;
use crate::tuf::Time;

/// Facts for a person. Gathering them never fails: what cannot be known is left out.
#[derive(Debug)]
pub struct Evidence {
    /// What this device is and remembers; why that is not known otherwise.
    pub facts: Result<Facts, String>,
    /// The Targets that this device may see, oldest first.
    pub visible: Vec<Target>,
    /// With a Director: each ECU's serial, and what is assigned to it. Nothing otherwise.
    pub assigned: Result<Vec<(String, Assignment)>, AgentError>,
    /// What happened last.
    pub last: Option<Last>,
    /// Targets of this hardware id, or none, that it may not see: name and why.
    pub hidden: Vec<(String, String)>,
    /// Roles of the stored metadata: name, version, expiry.
    pub roles: Vec<(String, u64, Time)>,
    /// The system's clock.
    pub clock: Time,
    /// The time that expiry is judged by.
    pub now: Time,
    /// Bytes that may be used on the sysroot's volume, and bytes that must stay free.
    pub space: Option<(u64, u64)>,
}

impl Agent {
    /// Gathers what explains a decision about the metadata of the last check.
    pub fn evidence(&self, request: Request<'_>) -> Evidence {
        let directed = self.settings.director.trust == Trust::Director;
        // What a repository offers to all is nothing that a Director assigned.
        let trust::Overview { offered, unusable, roles } = if directed {
            trust::Overview { roles: director::roles(&self.settings), ..trust::Overview::default() }
        } else {
            trust::overview(&self.settings)
        };
        let facts = self.facts(&offered).map_err(|e| e.to_string());
        let (seen, hidden) = match &facts {
            Ok(facts) => {
                let seen: Vec<Target> = visible(facts, &offered).into_iter().cloned().collect();
                let mut hidden = hidden(facts, &offered, request);
                let named = |name: &str| matches!(request, Request::Named(wanted) if wanted == name);
                let nothing = seen.is_empty() && matches!(request, Request::Latest);
                hidden.extend(unusable.into_iter().filter(|(name, _)| nothing || named(name)));
                hidden.truncate(MOST_HIDDEN);
                (seen, hidden)
            }
            Err(_) => (Vec::new(), Vec::new()),
        };
        Evidence {
            facts,
            visible: seen,
            hidden,
            assigned: if directed { director::assigned(self) } else { Ok(Vec::new()) },
            last: self.last(),
            roles,
            clock: Time(super::clock()),
            now: Time(self.now().unwrap_or_default()),
            space: self.content().and_then(|c| c.space()).ok(),
        }
    }
}

const MOST_HIDDEN: usize = 5;

/// Why a Target that was asked for, or any where none is visible, may not be seen.
pub(crate) fn hidden(facts: &Facts, offered: &[Target], request: Request<'_>) -> Vec<(String, String)> {
    let any_visible = offered.iter().any(|t| t.fits(&facts.hardware_id, &facts.tags));
    let wanted = |t: &&Target| match request {
        Request::Named(name) => t.name == name || name.parse() == Ok(t.version),
        Request::Latest => !any_visible,
    };
    let reasons = offered.iter().filter(wanted).filter_map(|t| {
        let list = |words: &[String]| if words.is_empty() { "none".into() } else { words.join(",") };
        if t.fits(&facts.hardware_id, &facts.tags) {
            return None;
        }
        let why = if t.hardware_ids.len() > 1 {
            format!(
                "it names more than one hardware id, {}; one is what this client takes",
                list(&t.hardware_ids)
            )
        } else if t.hardware_ids != [facts.hardware_id.clone()] {
            format!("it is for hardware id {}", list(&t.hardware_ids))
        } else {
            format!("its tags are {}", list(&t.tags))
        };
        Some((t.name.clone(), why))
    });
    reasons.take(MOST_HIDDEN).collect()
}
