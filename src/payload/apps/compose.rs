//! What a Compose file says: its services and their images, each of which must be pinned. And the file for the engine, which is
//! written from what was looked at here and not copied from what came: whatever an engine would have read otherwise is gone.

use std::fmt;
use std::path::Path;

use super::asks::{self, Ask};
use super::reference::Reference;
use super::yaml::{self, Node, Text, Value};

/// The longest Compose file that is read.
pub const COMPOSE_LIMIT: u64 = 1024 * 1024;
/// The name of the file at the top of an app's archive.
pub const COMPOSE_FILE: &str = "docker-compose.yml";
/// What brings in files, images or programs that are not looked at, wherever a service has it.
const BRINGS_IN: [&str; 4] = ["build", "extends", "provider", "include"];

/// A Compose file that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    root: Node,
    /// Its services, as they are written.
    pub services: Vec<Service>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its key.
    pub name: String,
    /// The value of `image`.
    pub image: String,
    /// It has `profiles`, so it runs only when somebody asks.
    pub optional: bool,
    line: usize,
}

/// Why a Compose file is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeError {
    /// Counted from 1; 0 is the whole file.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.reason),
            line => write!(f, "line {line}: {}", self.reason),
        }
    }
}

impl Compose {
    /// Reads it, whether its images are pinned or not.
    pub fn read(text: &str) -> Result<Compose, ComposeError> {
        // What YAML 1.1 takes for the end of a line, and YAML 1.2 does not.
        if text.contains(['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'])
            || text.replace("\r\n", "").contains('\r')
        {
            return Err(error(0, "has line ends of another system in it"));
        }
        let root = yaml::read(text)?;
        if !matches!(root.value, Value::Map(_)) {
            return Err(error(root.line, "is no mapping of services, volumes and so on"));
        }
        for (key, node) in root.entries() {
            if ["include", "extends"].contains(&key.text.as_str()) {
                return Err(brings_in(node.line, &key.text));
            }
        }
        let services = root.get("services").map_or(&[][..], Node::entries);
        let services =
            services.iter().map(|(name, body)| service(&name.text, body)).collect::<Result<Vec<_>, _>>()?;
        if services.is_empty() {
            return Err(error(0, "has no services"));
        }
        Ok(Compose { root, services })
    }

    /// The images, each pinned; the first one that is not ends it.
    pub fn images(&self) -> Result<Vec<Reference>, ComposeError> {
        let pinned = |s: &Service| {
            Reference::parse(&s.image).map_err(|reason| {
                error(s.line, format!("the image {:?} of service {} {reason}", s.image, s.name))
            })
        };
        let mut images = self.services.iter().map(pinned).collect::<Result<Vec<_>, _>>()?;
        images.sort();
        images.dedup();
        Ok(images)
    }

    /// What the app asks of its host, beyond its own containers and the folder `project`.
    pub fn asks(&self, project: &Path) -> Vec<Ask> {
        asks::all(&self.root, project)
    }

    /// Paths in the project's folder that the engine opens for the app, relative to it.
    pub fn own_paths(&self, project: &Path) -> Vec<std::path::PathBuf> {
        asks::own_paths(&self.root, project)
    }

    /// The same with other images, written anew.
    pub fn with_images(&self, image: impl Fn(&Service) -> String) -> String {
        yaml::write(&self.changed(image))
    }

    /// The same, with each path absolute, so that no engine has a folder of its own to begin from.
    pub fn with_images_in(&self, project: &Path, image: impl Fn(&Service) -> String) -> String {
        let mut root = self.changed(image);
        asks::make_absolute(&mut root, project);
        yaml::write(&root)
    }

    fn changed(&self, image: impl Fn(&Service) -> String) -> Node {
        let mut root = self.root.clone();
        for service in &self.services {
            let body = root.get_mut("services").and_then(|s| s.get_mut(&service.name));
            if let Some(node) = body.and_then(|b| b.get_mut("image")) {
                node.value = Value::Text(Text::quoted(image(service)));
            }
        }
        root
    }
}

fn service(name: &str, body: &Node) -> Result<Service, ComposeError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !name.chars().all(fits) {
        return Err(error(body.line, format!("{name:?} is no name of a service")));
    }
    for (key, node) in body.entries() {
        let rootfs =
            key.text.starts_with("x-podman") && (key.text.contains("rootfs") || node.get("rootfs").is_some());
        if BRINGS_IN.contains(&key.text.as_str()) || rootfs {
            return Err(brings_in(node.line, &key.text));
        }
    }
    for volume in body.get("volumes").map_or(&[][..], Node::items) {
        volume_kind(name, volume)?;
    }
    let image = body.get("image").ok_or_else(|| error(body.line, format!("service {name} has no image")))?;
    let text = image.text().filter(|_| !image.is_null());
    let text = text.ok_or_else(|| error(image.line, format!("the image of service {name} is no text")))?;
    let optional = body.get("profiles").is_some_and(|p| !p.items().is_empty());
    Ok(Service { name: name.to_string(), image: text.to_string(), optional, line: image.line })
}

/// A volume may be an image that nobody pinned.
fn volume_kind(service: &str, volume: &Node) -> Result<(), ComposeError> {
    let Some(kind) = volume.get("type") else { return Ok(()) };
    match kind.text() {
        Some("bind" | "volume" | "tmpfs" | "cluster" | "npipe") => Ok(()),
        _ => Err(error(
            kind.line,
            format!(
                "a volume of service {service} is neither bind, volume nor tmpfs; what it brings in is not looked at here"
            ),
        )),
    }
}

fn brings_in(line: usize, key: &str) -> ComposeError {
    error(line, format!("{key} brings in what is not looked at here"))
}

fn error(line: usize, reason: impl Into<String>) -> ComposeError {
    ComposeError { line, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digit: &str) -> String {
        digit.repeat(64)
    }

    fn good() -> String {
        format!(
            "# an app\nname: shop\nservices:\n  web:\n    command:\n    - sh\n    - -c\n    - \"x: y\"\n    image: hub.example/f/web:1@sha256:{}   # pinned\n    \
             environment:\n      image: not-this\n  \"db\":\n        image: 'hub.example/f/db@sha256:{}'\n        profiles: [debug]\nvolumes:\n  data: {{}}\n",
            hex("a"),
            hex("b")
        )
    }

    #[test]
    fn the_images_of_the_services() {
        let compose = Compose::read(&good()).unwrap();
        let names: Vec<_> = compose.services.iter().map(|s| (s.name.as_str(), s.optional)).collect();
        assert_eq!(names, [("web", false), ("db", true)]);
        let images: Vec<_> = compose.images().unwrap().iter().map(Reference::name).collect();
        assert_eq!(images, ["hub.example/f/db", "hub.example/f/web"]);
    }

    #[test]
    fn what_the_engine_gets_is_written_anew() {
        let compose = Compose::read(&good()).unwrap();
        let text = compose.with_images(|s| format!("sha256:{}", s.name));
        let expected = "name: shop\nservices:\n  web:\n    command:\n      - sh\n      - -c\n      - \"x: y\"\n    image: \"sha256:web\"\n    \
             environment:\n      image: not-this\n  db:\n    image: \"sha256:db\"\n    profiles:\n      - debug\nvolumes:\n  data: {}\n"
            .replace("  db:", "  \"db\":");
        assert_eq!(text, expected);
        assert_eq!(Compose::read(&text).unwrap().services[1].image, "sha256:db");
    }

    #[test]
    fn common_parts_are_expanded() {
        let text = format!(
            "x-common: &common\n  image: h.example/w@sha256:{}\n  restart: always\n  labels: &l {{a: '1'}}\nservices:\n  web:\n    <<: *common\n    \
             restart: \"no\"\n  db:\n    <<: [{{labels: *l}}, *common]\n    profiles: []\n",
            hex("a")
        );
        let compose = Compose::read(&text).unwrap();
        let written = compose.with_images(|s| s.name.clone());
        let services = &written[written.find("services:").unwrap()..];
        assert_eq!(
            services,
            "services:\n  web:\n    restart: \"no\"\n    image: \"web\"\n    labels:\n      a: \"1\"\n  db:\n    profiles: []\n    labels:\n      \
             a: \"1\"\n    image: \"db\"\n    restart: always\n"
        );
        assert!(!compose.services[1].optional && compose.images().unwrap().len() == 1);
    }

    #[test]
    fn scalars_keep_what_they_are() {
        let text = format!(
            "services:\n  w:\n    image: h.example/w@sha256:{}\n    environment: {{A: yes, B: \"yes\", C: 0123, D: 1e3, E: null, F: ~, G: , H: '1:30', \
             I: 1:30, J: \"a\\tb\", K: $X, L: 2001-12-14 21:59:43.10 -5, M: 'it''s', N: \u{e9}, O: .inf, P: -1, Q: '-1'}}\n    command: |\n      a\n       b\n",
            hex("a")
        );
        let written = Compose::read(&text).unwrap().with_images(|_| "i".into());
        for line in [
            "A: yes",
            "B: \"yes\"",
            "C: 0123",
            "D: 1e3",
            "E: null",
            "F: ~",
            "G: ~",
            "H: \"1:30\"",
            "I: 1:30",
            "J: \"a\\tb\"",
            "K: \"$X\"",
            "L: 2001-12-14 21:59:43.10 -5",
            "M: \"it's\"",
            "O: .inf",
            "P: -1",
            "Q: \"-1\"",
            "command: \"a\\n b\\n\"",
        ] {
            assert!(written.contains(&format!(" {line}\n")), "{line} in {written}");
        }
    }

    #[test]
    fn what_could_be_read_in_another_way_is_refused() {
        let pinned = format!("image: h.example/w@sha256:{}", hex("a"));
        let good = format!("services:\n  web:\n    {pinned}\n");
        let bomb = (1..9)
            .map(|n| format!("x-{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(9)))
            .collect::<String>();
        let table = [
            (String::new(), "no services"),
            ("services: {}\n".into(), "no services"),
            ("services: [web]\n".into(), "no services"),
            ("- a\n".into(), "no mapping"),
            ("services: {web: {command: x}}\n".into(), "has no image"),
            ("services:\n  web:\n    image:\n".into(), "is no text"),
            ("services:\n  web:\n    image: [x]\n".into(), "is no text"),
            (format!("{good}    build: .\n"), "not looked at"),
            (format!("{good}    build:\n"), "not looked at"),
            (format!("{good}    extends: other.yml\n"), "not looked at"),
            (format!("{good}    provider: {{type: x}}\n"), "not looked at"),
            (format!("{good}    x-podman: {{rootfs: /}}\n"), "not looked at"),
            (format!("{good}    volumes: [{{type: image, source: evil, target: /x}}]\n"), "not looked at"),
            (format!("{good}    volumes: [{{type: $T, source: evil, target: /x}}]\n"), "not looked at"),
            (format!("include: [a.yml]\n{good}"), "not looked at"),
            (format!("x-b: &b {{build: .}}\n{good}    <<: *b\n"), "not looked at"),
            (format!("services:\n  <<:\n    {pinned}\n"), "not looked at"),
            (
                format!("x-s: &s {{e: {{{pinned}}}}}\nservices:\n  <<: *s\n  web:\n    {pinned}\n"),
                "not looked at",
            ),
            (format!("x-s: &s {{e: {{{pinned}}}}}\nservices: *s\n"), "not as an alias"),
            (format!("<<: {{services: {{}}}}\n{good}"), "not looked at"),
            (format!("{good}    \"<<\": {{build: .}}\n"), "not looked at"),
            (format!("{good}    <<: x\n"), "else than a mapping"),
            (format!("{good}    <<: {{a: b}}\n    <<: {{c: d}}\n"), "twice"),
            (format!("{good}---\nservices:\n"), "second document"),
            (format!("  services:\n    web:\n      {pinned}\n---\n{good}"), "second document"),
            (format!("{good}services:\n  x:\n"), "twice"),
            (format!("{good}    image: other\n"), "twice"),
            (format!("{good}    \"\\x69mage\": x\n"), "twice"),
            (format!("{good}  web:\n"), "twice"),
            (format!("{good}    ? image\n    : x\n"), "twice"),
            (format!("{good}    ? [a]\n    : x\n"), "key that is no text"),
            (format!("{good}    ? {{a: b}}\n    : x\n"), "key that is no text"),
            (format!("{good}    &k a: x\n"), "anchor at the key"),
            (format!("{good}    ? *k\n    : x\n"), "no YAML"),
            (format!("{good}    x: &k a\n    *k : x\n"), "alias as a key"),
            (format!("{good}    x: &k [*k]\n"), "within what it names"),
            (format!("{good}    '': x\n"), "empty or too long"),
            (format!("{good}    {}: x\n", "k".repeat(1001)), "empty or too long"),
            (format!("{good}    x: !!binary aGk=\n"), "has a tag"),
            (format!("{good}    x: !reset null\n"), "has a tag"),
            (format!("{good}    x: ! a\n"), "has a tag"),
            (format!("{good}    x: !!map {{}}\n"), "has a tag"),
            (format!("x-0: &a0 a\n{bomb}{good}"), "too large"),
            (format!("{good}    x: {}{}\n", "[".repeat(40), "]".repeat(40)), "deeper than"),
            (format!("services:\n  web:\n\timage: x\n    {pinned}\n"), "no YAML"),
            (format!("{good}    x: a\u{2028}    image: b\n"), "line ends"),
            (format!("{good}    x: a\r    image: b\n"), "line ends"),
            (format!("services:\n  'we b':\n    {pinned}\n"), "no name of a service"),
            (format!("{good}    x: \"a\n"), "no YAML"),
            (format!("{good}   db: x\n"), "no YAML"),
        ];
        for (text, expected) in table {
            let error = Compose::read(&text).map(|c| c.services).unwrap_err();
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_tag_is_no_pin() {
        for image in ["nginx", "nginx:1.27", "h.example/w@sha256:12", "${IMAGE}"] {
            let text = format!("services:\n  web:\n    image: {image}\n");
            let error = Compose::read(&text).and_then(|c| c.images()).unwrap_err();
            assert!(error.line == 3 || image.starts_with('$'), "{error}");
        }
    }

    #[test]
    fn a_file_is_no_larger_when_its_aliases_are_expanded() {
        let good = format!("services:\n  web:\n    image: h.example/w@sha256:{}\n", hex("a"));
        let long = format!("x-long: \"{}\"\n{good}", "a".repeat((4 << 20) + 1));
        let many = format!("x-many: [{}]\n{good}", "a, ".repeat(50_001));
        let twice = format!("x-one: &one \"{0}\"\nx-two: [*one, *one]\n{good}", "a".repeat(3 << 19));
        for (text, what) in [(long, "bytes"), (many, "nodes"), (twice, "aliases")] {
            let error = Compose::read(&text).unwrap_err();
            assert!(error.to_string().contains("too large"), "{what}: {error}");
        }
        let fits = format!("x-many: [{}]\n{good}", "a, ".repeat(40_000));
        assert!(Compose::read(&fits).is_ok());
    }
}
