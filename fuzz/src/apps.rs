//! What Compose apps bring along: their Compose file, manifests of a registry, the archive of a project.

use std::path::{Component, Path};

use rust_ota::payload::apps::archive::{self, Kind};
use rust_ota::payload::apps::{Compose, Digest, Manifest, Reference, Right};
use serde_json::Value as Json;
use serde_yaml::Value as Yaml;

/// What a Compose file that deceives is made of.
const WORDS: [&str; 48] = [
    "\n",
    "\n  ",
    "\n    ",
    "\n      ",
    "\n\n",
    " ",
    "  ",
    "\t",
    ":",
    ": ",
    "- ",
    "? ",
    "#",
    " # ",
    "|",
    ">-",
    "\"",
    "'",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "---",
    "...",
    "%YAML 1.1",
    "services:",
    "x-a:",
    "web:",
    "db:",
    "image: ",
    "image",
    "build: .",
    "extends: web",
    "include: b",
    "profiles: [a]",
    "\"image\": ",
    "'services':",
    "PINNED",
    "OTHER",
    "volumes:",
    "null",
    "\r\n",
];

/// A text of such words, where the input begins with a byte that no text begins with; otherwise the input itself.
fn compose_text(data: &[u8]) -> Option<String> {
    let Some((0xff, choices)) = data.split_first() else {
        return std::str::from_utf8(data).ok().map(str::to_string);
    };
    let word = |choice: &u8| match WORDS[usize::from(*choice) % WORDS.len()] {
        "PINNED" => format!("h.example/a@sha256:{}", "a".repeat(64)),
        "OTHER" => format!("h.example/b@sha256:{}", "b".repeat(64)),
        word => word.to_string(),
    };
    let good = format!("services:\n  web:\n    image: h.example/a@sha256:{}", "a".repeat(64));
    // Most texts of random words are refused at their first line: these come before, within or behind a good one.
    let (at, choices) = choices.split_first()?;
    let words: String = choices.iter().map(word).collect();
    let places: Vec<usize> =
        [0].into_iter().chain(good.match_indices('\n').map(|(i, _)| i)).chain([good.len()]).collect();
    let (before, behind) = good.split_at(places[usize::from(*at) % places.len()]);
    Some(format!("{before}{words}{behind}\n"))
}

/// Any text as a Compose file. What passes is written anew for the engine; a YAML parser of another family (libyaml's, of which those of
/// Docker and podman-compose are kin) reads it, sees the same services and images, and nothing that was not looked at. And it says what
/// the first text said, where that parser reads it at all.
pub fn compose_file(data: &[u8]) {
    let Some(text) = compose_text(data) else { return };
    let text = text.as_str();
    let Ok(compose) = Compose::read(text) else { return };
    let Ok(images) = compose.images() else { return };
    let asks = compose.asks(Path::new("/p/web"));
    let written = compose.with_images(|s| format!("sha256:of-{}", s.name));
    let seen: Yaml = match serde_yaml::from_str(&written) {
        Ok(seen) => seen,
        // Keys that are one number, as 1 and 0x1, are twice for that parser in both.
        Err(_) if serde_yaml::from_str::<Yaml>(text).is_err() => return,
        Err(e) => panic!("{e}: {text:?} became {written}"),
    };
    for key in ["include", "extends", "<<"] {
        assert!(seen.get(key).is_none(), "{key} in {written}");
    }
    let services = seen.get("services").and_then(Yaml::as_mapping).unwrap();
    assert_eq!(services.len(), compose.services.len(), "{written}");
    for service in &compose.services {
        let body = &services[&Yaml::from(service.name.as_str())];
        assert_eq!(body["image"].as_str(), Some(format!("sha256:of-{}", service.name).as_str()), "{written}");
        assert!(images.contains(&Reference::parse(&service.image).unwrap()));
        for key in ["build", "extends", "<<"] {
            assert!(body.get(key).is_none(), "{key} in {written}");
        }
        let privileged = body.get("privileged").is_some_and(|p| p.as_bool() == Some(true));
        assert!(!privileged || asks.iter().any(|a| a.right == Right::Privileged), "{written}");
    }
    let again = Compose::read(&written).unwrap();
    assert_eq!(again.with_images(|s| s.image.clone()), written);
    same_as_before(text, seen, &compose);
}

fn same_as_before(text: &str, seen: Yaml, compose: &Compose) {
    let Ok(mut before) = serde_yaml::from_str::<Yaml>(text) else { return };
    if before.apply_merge().is_err() {
        return;
    }
    for service in &compose.services {
        let body = before.get_mut("services").and_then(|s| s.get_mut(service.name.as_str()));
        if let Some(image) = body.and_then(|b| b.get_mut("image")) {
            *image = Yaml::from(format!("sha256:of-{}", service.name));
        }
    }
    assert_eq!(before, seen, "{text}");
}

/// Any bytes as a manifest or an index: what is read is what a JSON parser sees, and only digests that are names of files.
pub fn app_manifest(data: &[u8]) {
    reference(&String::from_utf8_lossy(data));
    let Ok(manifest) = Manifest::parse(data) else { return };
    // In members that nobody reads, there may be what is no text.
    let Ok(seen) = serde_json::from_slice::<Json>(data) else { return };
    let same = |digest: &Digest, size: u64, seen: &Json| {
        assert!(digest.hex().len() == 64 && digest.hex().bytes().all(|b| b.is_ascii_hexdigit()));
        // As a list, in the order of the fields: this reader takes it, and registries never write it.
        if seen.is_object() {
            assert_eq!(
                (seen["digest"].as_str(), seen["size"].as_u64()),
                (Some(digest.to_string().as_str()), Some(size))
            );
        }
    };
    if !seen.is_object() {
        return;
    }
    match manifest {
        Manifest::Single { config, layers, usage } => {
            assert!(usage.is_none_or(|usage| layers.contains(&usage)));
            same(&config.digest, config.size, &seen["config"]);
            assert_eq!(layers.len(), seen["layers"].as_array().map_or(0, Vec::len));
            layers.iter().enumerate().for_each(|(i, l)| same(&l.digest, l.size, &seen["layers"][i]));
        }
        Manifest::Index(entries) => {
            assert!(seen["config"].is_null());
            assert_eq!(Some(entries.len()), seen["manifests"].as_array().map(Vec::len));
            entries.iter().enumerate().for_each(|(i, (_, b))| same(&b.digest, b.size, &seen["manifests"][i]));
        }
    }
}

/// A pinned name is a part of URLs: it stays the same when it is read again, and leads nowhere else.
fn reference(text: &str) {
    let Ok(read) = Reference::parse(text) else { return };
    assert_eq!(Reference::parse(&read.to_string()).as_ref(), Ok(&read), "{text}");
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    assert!(read.name().chars().all(plain) && !read.host().contains('/'), "{text}");
    assert!(!read.repository.split('/').any(|p| p.is_empty() || p == "." || p == ".."), "{text}");
}

/// Any bytes as a project's archive: no entry leads outside, and what is written with the same files is read as the same.
pub fn app_archive(data: &[u8]) {
    let mut files = Vec::new();
    let mut whole = 0;
    let end = archive::entries(data, &mut |entry, body| {
        assert!(entry.path.components().all(|c| matches!(c, Component::Normal(_))), "{entry:?}");
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        whole += bytes.len();
        if let Kind::File(size) = entry.kind {
            assert!(bytes.len() as u64 <= size, "{entry:?}");
            if bytes.len() as u64 == size {
                files.push((entry.path.clone(), bytes));
            }
        } else {
            assert!(bytes.is_empty(), "{entry:?}");
        }
        Ok(())
    });
    assert!(whole <= data.len());
    if end.is_err() {
        return;
    }
    let (mut out, mut written) = (Vec::new(), Vec::new());
    for (path, bytes) in files {
        let Some(name) = path.to_str().filter(|n| !n.is_empty()) else { continue };
        if archive::put(&mut out, name, 0o644, bytes.len() as u64, &mut bytes.as_slice()).is_ok() {
            written.push((path, bytes));
        }
    }
    archive::end(&mut out).unwrap();
    let mut read = written.iter();
    archive::entries(out.as_slice(), &mut |entry, body| {
        let (path, bytes) = read.next().unwrap();
        let mut again = Vec::new();
        body.read_to_end(&mut again)?;
        assert_eq!((entry.path.as_path(), &again), (path.as_path() as &Path, bytes));
        Ok(())
    })
    .unwrap();
    assert!(read.next().is_none());
}
