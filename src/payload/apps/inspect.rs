//! What `container inspect` of both engines prints.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::state::Container;

const SERVICE_LABEL: &str = "com.docker.compose.service";

/// A container; Podman before 5 has another name for health.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    #[serde(default)]
    id: String,
    state: State,
    #[serde(default)]
    restart_count: i64,
    #[serde(default)]
    image: String,
    config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(default)]
    exit_code: i64,
    #[serde(alias = "Healthcheck")]
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

impl Inspected {
    /// As the rest of this room knows it.
    pub fn container(self) -> Container {
        let labels = self.config.labels.unwrap_or_default();
        let health = self.state.health.map(|h| h.status).filter(|h| !h.is_empty() && h != "none");
        Container {
            id: self.id,
            service: labels.get(SERVICE_LABEL).cloned().unwrap_or_default(),
            status: self.state.status,
            exit_code: self.state.exit_code,
            health,
            restarts: self.restart_count,
            image: self.image,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Container {
        let mut read: Vec<Inspected> = serde_json::from_str(text).unwrap();
        read.remove(0).container()
    }

    #[test]
    fn as_docker_26_and_podman_4_and_5_print_it() {
        let docker = read(
            r#"[{"State":{"Status":"running","ExitCode":0,"Health":{"Status":"starting","Log":null}},"RestartCount":2,
            "Image":"sha256:ab","Config":{"Labels":{"com.docker.compose.service":"web"}}}]"#,
        );
        assert_eq!(
            (docker.service.as_str(), docker.health.as_deref(), docker.restarts),
            ("web", Some("starting"), 2)
        );
        let podman = read(
            r#"[{"State":{"Status":"exited","ExitCode":3,"Health":{"Status":"","FailingStreak":0,"Log":null}},
            "Image":"ab","Config":{"Labels":null}}]"#,
        );
        assert_eq!((podman.status.as_str(), podman.exit_code, podman.health), ("exited", 3, None));
        let older =
            read(r#"[{"State":{"Status":"running","Healthcheck":{"Status":"unhealthy"}},"Config":{}}]"#);
        assert_eq!(older.health.as_deref(), Some("unhealthy"));
    }
}
