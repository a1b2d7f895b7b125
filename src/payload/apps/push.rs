//! The other direction, for the host tool: what a tag is today, and blobs and manifests into a registry.

use sha2::{Digest as _, Sha256};

use super::error::AppsError;
use super::manifest::MANIFEST_LIMIT;
use super::reference::{Digest, Reference};
use super::source::Registry;
use crate::gateway::Reply;
use crate::tuf::to_hex;

/// A repository in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Host and perhaps port.
    pub registry: String,
    /// Path of the repository within it.
    pub repository: String,
    /// What follows its last colon; `latest` where nothing does.
    pub tag: String,
}

impl Place {
    /// Reads `[REGISTRY/]REPOSITORY[:TAG]`.
    pub fn parse(text: &str) -> Result<Place, String> {
        // A digest makes it a reference, whose rules are these too.
        let pinned = Reference::parse(&format!("{text}@sha256:{}", "0".repeat(64)))?;
        let last = text.rfind('/').map_or(0, |at| at + 1);
        let tag = text[last..].split_once(':').map_or("latest", |(_, tag)| tag);
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if tag.is_empty() || !tag.bytes().all(fits) {
            return Err(format!("has a tag {tag:?} that registries do not know"));
        }
        Ok(Place { registry: pinned.registry, repository: pinned.repository, tag: tag.to_string() })
    }

    /// A digest in it.
    pub fn at(&self, digest: Digest) -> Reference {
        Reference { registry: self.registry.clone(), repository: self.repository.clone(), digest }
    }

    fn url(&self, rest: &str) -> String {
        let hub = self.registry == "docker.io";
        let host = if hub { "registry-1.docker.io" } else { &self.registry };
        format!("https://{host}/v2/{}/{rest}", self.repository)
    }

    fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl Registry {
    /// What a tag means today.
    pub fn pin(&self, place: &Place) -> Result<Reference, AppsError> {
        let url = place.url(&format!("manifests/{}", place.tag));
        let types = super::source::MANIFEST_TYPES;
        let reply = self.asked(place, &url, &|headers| {
            let mut headers = headers;
            headers.push(("Accept".to_string(), types.to_string()));
            self.http.with_headers(headers).get(&url, MANIFEST_LIMIT)
        })?;
        let digest = Digest::from_hex(&to_hex(&Sha256::digest(&reply.body)));
        match (reply.status, digest) {
            (200, Some(digest)) => Ok(place.at(digest)),
            (status, _) => Err(refused(&url, format!("the registry answered {status}"))),
        }
    }

    /// Brings a blob there, unless it is there.
    pub fn push_blob(&self, place: &Place, bytes: &[u8]) -> Result<Digest, AppsError> {
        let digest = digest(bytes)?;
        let begin = place.url("blobs/uploads/");
        let kind = "application/octet-stream";
        let reply = self.asked(place, &begin, &|headers| {
            self.http.with_headers(headers).send("POST", &begin, kind, &[], MANIFEST_LIMIT)
        })?;
        let location = reply.location.filter(|_| reply.status == 202).ok_or_else(|| {
            refused(&begin, format!("the registry does not take blobs here (it answered {})", reply.status))
        })?;
        let absolute = if location.starts_with('/') {
            let root = begin.find("/v2/").map_or("", |at| &begin[..at]);
            format!("{root}{location}")
        } else {
            location
        };
        let separator = if absolute.contains('?') { '&' } else { '?' };
        let url = format!("{absolute}{separator}digest={digest}");
        let reply = self.asked(place, &url, &|headers| {
            self.http.with_headers(headers).send("PUT", &url, kind, bytes, MANIFEST_LIMIT)
        })?;
        created(&url, reply).map(|()| digest)
    }

    /// Brings a manifest there; what it names is there already.
    pub fn push_manifest(&self, place: &Place, kind: &str, bytes: &[u8]) -> Result<Reference, AppsError> {
        let digest = digest(bytes)?;
        let url = place.url(&format!("manifests/{digest}"));
        let reply = self.asked(place, &url, &|headers| {
            self.http.with_headers(headers).send("PUT", &url, kind, bytes, MANIFEST_LIMIT)
        })?;
        created(&url, reply).map(|()| place.at(digest))
    }

    fn asked(
        &self,
        place: &Place,
        url: &str,
        ask: &dyn Fn(Vec<(String, String)>) -> Result<Reply, crate::gateway::HttpError>,
    ) -> Result<Reply, AppsError> {
        let with = |value: Option<String>| {
            let headers = value.into_iter().map(|v| ("Authorization".to_string(), v)).collect();
            ask(headers).map_err(|e| AppsError::Fetch { url: url.to_string(), reason: e.to_string() })
        };
        let reply = with(self.token(&place.name()))?;
        if reply.status != 401 {
            return Ok(reply);
        }
        let header = self.answer(reply.challenge.as_deref().unwrap_or_default(), url, &place.name())?;
        with(Some(header))
    }
}

fn digest(bytes: &[u8]) -> Result<Digest, AppsError> {
    Digest::from_hex(&to_hex(&Sha256::digest(bytes))).ok_or(AppsError::Stopped)
}

fn created(url: &str, reply: Reply) -> Result<(), AppsError> {
    match reply.status {
        201 => Ok(()),
        status => {
            let text = String::from_utf8_lossy(&reply.body).chars().take(300).collect::<String>();
            Err(refused(url, format!("the registry answered {status}: {text}")))
        }
    }
}

fn refused(url: &str, reason: String) -> AppsError {
    AppsError::Refused { url: url.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_their_tags() {
        let read = |text: &str| Place::parse(text).map(|p| (p.name(), p.tag)).map_err(|_| ());
        assert_eq!(read("h.example:5000/f/web"), Ok(("h.example:5000/f/web".into(), "latest".into())));
        assert_eq!(read("nginx:1.27"), Ok(("docker.io/library/nginx".into(), "1.27".into())));
        assert_eq!(read("h.example/Web"), Err(()));
        assert_eq!(read("h.example/web:"), Err(()));
        assert_eq!(read("h.example/web:a b"), Err(()));
    }
}
