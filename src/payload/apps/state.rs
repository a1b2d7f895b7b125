//! Pure: whether an app is up, from what the engine says of its containers.

/// One container of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's name for it.
    pub id: String,
    /// Its service in the Compose file.
    pub service: String,
    /// The engine's word: `running`, `exited`, `restarting` and so on.
    pub status: String,
    /// Of its last end.
    pub exit_code: i64,
    /// `healthy`, `unhealthy`, `starting`; none without a health check.
    pub health: Option<String>,
    /// How often the engine started it again.
    pub restarts: i64,
    /// The image that it runs, as the engine names it.
    pub image: String,
}

impl Container {
    /// Whether the engine ever started it.
    pub fn was_started(&self) -> bool {
        !["created", "configured", "initialized"].contains(&self.status.as_str())
    }
}

/// What the containers of an app come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every service runs and is healthy where it can tell, or has done its work.
    Up,
    /// It may come up.
    NotYet(String),
    /// It will not come up by itself.
    Failed(String),
}

/// The rule. A service that ended well has done its work: Compose files have such ones to prepare others.
pub fn judge(expected: &[&str], containers: &[Container]) -> Verdict {
    let mut waiting = None;
    for container in containers {
        match one(container) {
            Verdict::Failed(reason) => return Verdict::Failed(reason),
            Verdict::NotYet(reason) => waiting = waiting.or(Some(reason)),
            Verdict::Up => {}
        }
    }
    let missing = expected.iter().find(|name| !containers.iter().any(|c| c.service == **name));
    let missing = missing.map(|name| format!("service {name} has no container"));
    waiting.or(missing).map_or(Verdict::Up, Verdict::NotYet)
}

fn one(container: &Container) -> Verdict {
    let name = &container.service;
    match (container.status.as_str(), container.health.as_deref()) {
        (_, Some("unhealthy")) => Verdict::Failed(format!("service {name} is unhealthy")),
        ("running", Some("starting")) => Verdict::NotYet(format!("service {name} is not healthy yet")),
        ("running", _) => Verdict::Up,
        ("exited" | "stopped", _) if container.exit_code == 0 => Verdict::Up,
        ("exited" | "stopped" | "dead", _) => {
            Verdict::Failed(format!("service {name} ended with exit code {}", container.exit_code))
        }
        (status, _) => Verdict::NotYet(format!("service {name} is {status}")),
    }
}

/// One word for an app, as servers know it.
pub fn summary(expected: &[&str], containers: &[Container]) -> &'static str {
    match judge(expected, containers) {
        Verdict::Up => "healthy",
        Verdict::NotYet(_) if containers.is_empty() => "missing",
        Verdict::NotYet(_) => "starting",
        Verdict::Failed(_) => "unhealthy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `service status[:exit code] [health]`
    fn container(text: &str) -> Container {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (status, code) = words[1].split_once(':').unwrap_or((words[1], "0"));
        Container {
            id: String::new(),
            service: words[0].into(),
            status: status.into(),
            exit_code: code.parse().unwrap(),
            health: words.get(2).map(|h| h.to_string()),
            restarts: 0,
            image: String::new(),
        }
    }

    #[test]
    fn what_the_containers_come_to() {
        let table: [(&[&str], &str, &str); 12] = [
            (&["web running"], "web", "up"),
            (&["web running healthy"], "web", "up"),
            (&["web running starting"], "web", "not healthy yet"),
            (&["web running unhealthy"], "web", "failed"),
            (&["web exited:0"], "web", "up"),
            (&["web exited:1"], "web", "failed"),
            (&["web exited:137", "db running"], "web db", "failed"),
            (&["web created"], "web", "web is created"),
            (&["web restarting:1"], "web", "web is restarting"),
            (&["web dead"], "web", "failed"),
            (&["web running"], "web db", "db has no container"),
            (&["web running", "db restarting:1", "job exited:2"], "web db job", "failed"),
        ];
        for (containers, expected, outcome) in table {
            let containers: Vec<Container> = containers.iter().map(|t| container(t)).collect();
            let expected: Vec<&str> = expected.split(' ').collect();
            let found = match judge(&expected, &containers) {
                Verdict::Up => "up".to_string(),
                Verdict::NotYet(reason) => reason,
                Verdict::Failed(_) => "failed".to_string(),
            };
            assert!(found.contains(outcome), "{containers:?}: {found}");
        }
        assert_eq!(summary(&["web"], &[]), "missing");
    }
}
