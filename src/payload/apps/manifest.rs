//! The documents of an OCI registry: manifests of apps and images, and indexes of images for several platforms.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::reference::Digest;

/// The longest manifest that is read. Registries allow more; nothing that runs on a device needs it.
pub const MANIFEST_LIMIT: u64 = 512 * 1024;

/// What a manifest names, with what is known of it before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name and check.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
}

/// A manifest, read by what it has and not by the media type that a server claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// A config and layers: an image, or an app (its first layer is the archive).
    Single {
        /// An image's configuration.
        config: Blob,
        /// In order.
        layers: Vec<Blob>,
        /// Which of an app's layers is [`Usage`].
        usage: Option<Blob>,
    },
    /// One manifest for each platform.
    Index(Vec<(Platform, Blob)>),
}

/// What an image runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// As Go names it: `amd64`, `arm64`, `arm`, `riscv64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v7` of `arm`, for example.
    pub variant: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    platform: Option<Platform>,
    /// Of these only one matters, and the others may be anything.
    #[serde(default)]
    annotations: serde_json::Value,
}

impl Descriptor {
    fn is_usage(&self) -> bool {
        self.annotations.get("layers-meta").and_then(|version| version.as_str()) == Some("v1")
    }
}

/// What layers take on a disk, as who published the app had measured it: for each architecture, by digest.
#[derive(Debug, Deserialize)]
pub struct Usage(BTreeMap<String, Layers>);

#[derive(Debug, Deserialize)]
struct Layers {
    layers: BTreeMap<String, Taken>,
}

#[derive(Debug, Deserialize)]
struct Taken {
    usage: u64,
}

impl Usage {
    /// Bytes of each layer on a device like this one; nothing where nobody measured.
    pub fn on(self, device: &Platform) -> BTreeMap<Digest, u64> {
        let layers = self.0.into_iter().find(|(a, _)| *a == device.architecture).map(|(_, l)| l.layers);
        let known = layers.into_iter().flatten();
        known.filter_map(|(digest, taken)| Some((Digest::parse(&digest)?, taken.usage))).collect()
    }
}

impl Manifest {
    /// Reads it; the error says what it lacks.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let document: Document = serde_json::from_slice(bytes).map_err(|e| format!("is no manifest: {e}"))?;
        match document.config {
            Some(config) => Ok(Manifest::Single {
                config: blob(&config)?,
                layers: document.layers.iter().map(blob).collect::<Result<_, _>>()?,
                usage: document.layers.iter().find(|d| d.is_usage()).map(blob).transpose()?,
            }),
            None if !document.manifests.is_empty() => Ok(Manifest::Index(
                document
                    .manifests
                    .into_iter()
                    .map(|d| Ok((d.platform.clone().unwrap_or_default(), blob(&d)?)))
                    .collect::<Result<_, String>>()?,
            )),
            None => Err("is neither a manifest (config, layers) nor an index (manifests)".to_string()),
        }
    }
}

/// The entry of an index for a device: the same architecture; of several variants the device's own, or the first.
pub fn choose<'a>(index: &'a [(Platform, Blob)], device: &Platform) -> Option<&'a Blob> {
    let fits = |p: &&(Platform, Blob)| p.0.os == device.os && p.0.architecture == device.architecture;
    let same = index.iter().filter(fits).find(|p| p.0.variant == device.variant);
    same.or_else(|| index.iter().find(fits)).map(|(_, blob)| blob)
}

/// What this binary runs on.
pub fn this_platform() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "x86" => ("386", ""),
        "aarch64" => ("arm64", "v8"),
        "arm" => ("arm", "v7"),
        other => (other, ""),
    };
    Platform { architecture: architecture.into(), os: "linux".into(), variant: variant.into() }
}

fn blob(descriptor: &Descriptor) -> Result<Blob, String> {
    let digest = Digest::parse(&descriptor.digest)
        .ok_or_else(|| format!("names a blob by {:?}, which is no sha256 digest", descriptor.digest))?;
    Ok(Blob { digest, size: descriptor.size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(digit: &str, platform: &str) -> String {
        format!(r#"{{"digest":"sha256:{}","size":7{platform}}}"#, digit.repeat(64))
    }

    #[test]
    fn what_registries_serve() {
        let single = format!(r#"{{"config":{},"layers":[{}]}}"#, named("a", ""), named("b", ""));
        let Manifest::Single { config, layers, usage } = Manifest::parse(single.as_bytes()).unwrap() else {
            panic!()
        };
        assert_eq!((config.digest.hex().len(), layers.len(), layers[0].size, usage), (64, 1, 7, None));
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"config":{"digest":"sha256:../../etc","size":1}}"#,
            r#"{"config":{"digest":"sha256:aa","size":-1}}"#,
            r#"{"manifests":[]}"#,
        ] {
            assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_layers_take_on_a_disk() {
        let usage = |annotations: &str| {
            let blob = named("b", &format!(r#","annotations":{annotations}"#));
            let text = format!(r#"{{"config":{blob},"layers":[{blob},{blob}]}}"#);
            match Manifest::parse(text.as_bytes()).unwrap() {
                Manifest::Single { usage, .. } => usage,
                Manifest::Index(_) => panic!(),
            }
        };
        assert_eq!(usage(r#"{"layers-meta":"v1"}"#).unwrap().size, 7);
        for other in [r#"{"layers-meta":"v2"}"#, r#"{"layers-meta":1,"a":[]}"#, "{}", "null"] {
            assert_eq!(usage(other), None, "{other}");
        }

        let digest = format!("sha256:{}", "c".repeat(64));
        let text = format!(
            r#"{{"arm64":{{"fs_block_size":4096,"layers":{{"{digest}":{{"size":5,"usage":9,"archive_size":3}},"odd":{{"size":1,"usage":1}}}}}}}}"#
        );
        let on = |architecture: &str| {
            let device = Platform { architecture: architecture.into(), ..Platform::default() };
            serde_json::from_str::<Usage>(&text).unwrap().on(&device)
        };
        assert_eq!(on("arm64"), BTreeMap::from([(Digest::parse(&digest).unwrap(), 9)]));
        assert_eq!(on("amd64"), BTreeMap::new());
        assert!(serde_json::from_str::<Usage>(r#"{"arm64":{"layers":{"x":{"usage":-1}}}}"#).is_err());
    }

    #[test]
    fn the_platform_of_the_device() {
        let platform = |a: &str, v: &str| {
            format!(r#","platform":{{"architecture":"{a}","os":"linux","variant":"{v}"}}"#)
        };
        let entries = [
            named("1", &platform("amd64", "")),
            named("2", &platform("arm", "v6")),
            named("3", &platform("arm", "v7")),
            named("4", &platform("arm64", "")),
            named("5", ""),
        ];
        let text = format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
        let Manifest::Index(index) = Manifest::parse(text.as_bytes()).unwrap() else { panic!() };
        let chosen = |architecture: &str, variant: &str| {
            let device =
                Platform { architecture: architecture.into(), os: "linux".into(), variant: variant.into() };
            choose(&index, &device).map(|b| b.digest.hex()[..1].to_string())
        };
        assert_eq!(chosen("amd64", "").as_deref(), Some("1"));
        assert_eq!(chosen("arm", "v7").as_deref(), Some("3"));
        assert_eq!(chosen("arm", "v5").as_deref(), Some("2"));
        assert_eq!(chosen("arm64", "v8").as_deref(), Some("4"));
        assert_eq!(chosen("riscv64", ""), None);
    }
}
