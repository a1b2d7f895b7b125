//! Names that are pinned: a digest, and where in which registry it is.

use std::fmt;

/// SHA-256 of a blob, as 64 lower-case hexadecimal digits. It is a file name and a part of URLs, so nothing else fits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Reads `sha256:HEX`. Other algorithms are not known here.
    pub fn parse(text: &str) -> Option<Digest> {
        Digest::from_hex(text.strip_prefix("sha256:")?)
    }

    /// From the bare digits.
    pub fn from_hex(hex: &str) -> Option<Digest> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (hex.len() == 64 && hex.bytes().all(digit)).then(|| Digest(hex.to_string()))
    }

    /// The digits.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `REGISTRY/REPOSITORY@sha256:HEX`: an app or an image, whatever a tag says today.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host and perhaps port.
    pub registry: String,
    /// Path of the repository within it.
    pub repository: String,
    /// What is meant.
    pub digest: Digest,
}

const DOCKER_HUB: &str = "docker.io";

impl Reference {
    /// Reads a pinned name; the error says what is wrong with it. A tag beside the digest says nothing and is dropped.
    pub fn parse(text: &str) -> Result<Reference, String> {
        let (name, digest) = text.split_once('@').ok_or("is not pinned: it has no @sha256: digest")?;
        let digest =
            Digest::parse(digest).ok_or("has a digest that is not sha256: and 64 hexadecimal digits")?;
        let (registry, repository) = place(without_tag(name));
        let good = !repository.is_empty() && repository.split('/').all(is_part) && is_host(&registry);
        if !good {
            return Err("is no name of a registry and a repository".to_string());
        }
        Ok(Reference { registry, repository, digest })
    }

    /// Without the digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Another blob or manifest of the same repository.
    pub fn with(&self, digest: &Digest) -> Reference {
        Reference { digest: digest.clone(), ..self.clone() }
    }

    /// The host that is asked: Docker Hub's is not the one in its names.
    pub fn host(&self) -> &str {
        if self.registry == DOCKER_HUB { "registry-1.docker.io" } else { &self.registry }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.registry, self.repository, self.digest)
    }
}

/// A tag comes after the last slash; before it, a colon is a port.
fn without_tag(name: &str) -> &str {
    let last = name.rfind('/').map_or(0, |at| at + 1);
    name[last..].find(':').map_or(name, |at| &name[..last + at])
}

/// The first part is a registry if it looks like a host, as Docker has it.
fn place(name: &str) -> (String, String) {
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            (host.to_string(), path.to_string())
        }
        Some(_) => (DOCKER_HUB.to_string(), name.to_string()),
        None => (DOCKER_HUB.to_string(), format!("library/{name}")),
    }
}

fn is_host(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b".-:".contains(&b);
    !text.is_empty() && text.bytes().all(fits)
}

fn is_part(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    text.bytes().all(fits) && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_people_and_servers_write_them() {
        let hex = "a".repeat(64);
        let table = [
            ("hub.example/f/web", Ok("hub.example/f/web")),
            ("hub.example:5000/f/web:latest", Ok("hub.example:5000/f/web")),
            ("localhost/web", Ok("localhost/web")),
            ("nginx", Ok("docker.io/library/nginx")),
            ("nginx:1.27", Ok("docker.io/library/nginx")),
            ("grafana/grafana", Ok("docker.io/grafana/grafana")),
            ("hub.example/", Err(())),
            ("hub.example/../etc", Err(())),
            ("hub.example/F", Err(())),
            ("hub.example/a//b", Err(())),
            ("", Err(())),
        ];
        for (name, expected) in table {
            let read = Reference::parse(&format!("{name}@sha256:{hex}")).map(|r| r.name()).map_err(|_| ());
            assert_eq!(read, expected.map(str::to_string), "{name}");
        }
    }

    #[test]
    fn only_whole_sha256_digests_pin() {
        for text in [
            "hub.example/web",
            "hub.example/web:1",
            "hub.example/web@sha256:abc",
            "hub.example/web@sha512:aa",
            &format!("hub.example/web@sha256:{}", "A".repeat(64)),
            &format!("hub.example/web@sha256:{}", "../".repeat(22)),
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
