//! The images of a Compose file: each must be pinned, and for the engine each is named by what was verified.
//!
//! Not a YAML parser. It knows the block style that publishers write, and refuses whatever could make an engine read
//! something else than what is seen here: anchors, merges, flow style, includes, further documents. So a file passes only when
//! the lines that are looked at are all that there is to look at. `docker compose config` writes any file this way.

use std::fmt;
use std::ops::Range;

use super::lines::Lines;
use super::reference::Reference;

/// The longest Compose file that is read.
pub const COMPOSE_LIMIT: u64 = 1024 * 1024;
/// The name of the file at the top of an app's archive.
pub const COMPOSE_FILE: &str = "docker-compose.yml";

/// A Compose file that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    text: String,
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
    place: Range<usize>,
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
        // What YAML takes for the end of a line, and `lines` does not.
        if text.contains(['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'])
            || text.replace("\r\n", "").contains('\r')
        {
            return Err(ComposeError {
                line: 0,
                reason: "has line ends of another system in it".to_string(),
            });
        }
        let mut reader = Reader::default();
        let mut start = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let content = line.trim_end();
            let read = reader.line(content, start);
            read.map_err(|reason| ComposeError { line: number + 1, reason })?;
            start += line.len();
        }
        let services = reader.end().map_err(|reason| ComposeError { line: 0, reason })?;
        Ok(Compose { text: text.to_string(), services })
    }

    /// The images, each pinned; the first one that is not ends it.
    pub fn images(&self) -> Result<Vec<Reference>, ComposeError> {
        let pinned = |s: &Service| {
            Reference::parse(&s.image).map_err(|reason| ComposeError {
                line: self.text[..s.place.start].matches('\n').count() + 1,
                reason: format!("the image {:?} of service {} {reason}", s.image, s.name),
            })
        };
        let mut images = self.services.iter().map(pinned).collect::<Result<Vec<_>, _>>()?;
        images.sort();
        images.dedup();
        Ok(images)
    }

    /// The same file with other images; all else stays as it is, byte for byte.
    pub fn with_images(&self, image: impl Fn(&Service) -> String) -> String {
        let mut text = self.text.clone();
        for service in self.services.iter().rev() {
            text.replace_range(service.place.clone(), &format!("\"{}\"", image(service)));
        }
        text
    }
}

#[derive(Default)]
struct Reader {
    lines: Lines,
    began: bool,
    section: Option<String>,
    seen_services: bool,
    service_indent: usize,
    key_indent: usize,
    current: Option<Draft>,
    done: Vec<Service>,
}

struct Draft {
    name: String,
    image: Option<(String, Range<usize>)>,
    optional: bool,
    keys: Vec<String>,
}

impl Reader {
    fn line(&mut self, line: &str, start: usize) -> Result<(), String> {
        let content = line.trim_start_matches(' ');
        if content.is_empty() {
            return Ok(());
        }
        let indent = line.len() - content.len();
        if content.starts_with('\t') {
            return Err("is indented with a tab".to_string());
        }
        if self.lines.inside(content, indent)? {
            return Ok(());
        }
        if indent == 0 {
            return self.top(content);
        }
        if self.section.as_deref() != Some("services") {
            return Ok(());
        }
        if self.service_indent == 0 {
            self.service_indent = indent;
        }
        if indent == self.service_indent {
            return self.service(content);
        }
        if indent < self.service_indent {
            return Err("is indented less than the first service".to_string());
        }
        self.within(content, indent, start + indent)
    }

    fn top(&mut self, content: &str) -> Result<(), String> {
        if content == "---" && !self.began {
            self.began = true;
            return Ok(());
        }
        self.began = true;
        if content.starts_with("- ") || content == "-" {
            return match self.section.as_deref() {
                None | Some("services") => Err("a list where a key should be".to_string()),
                Some(_) => Ok(()),
            };
        }
        let (key, value) = key(content)?;
        self.finish()?;
        match key {
            "include" | "extends" | "<<" => {
                return Err(format!("{key} brings in what is not looked at here"));
            }
            "services" if self.seen_services => return Err("services is there twice".to_string()),
            "services" if !nothing(value) => {
                return Err("services must be written in lines of their own".to_string());
            }
            "services" => self.seen_services = true,
            _ => {}
        }
        self.section = Some(key.to_string());
        Ok(())
    }

    fn service(&mut self, content: &str) -> Result<(), String> {
        let (name, value) = key(content)?;
        self.finish()?;
        if !nothing(value) {
            return Err(format!("service {name} must be written in lines of its own, without anchors"));
        }
        if self.done.iter().any(|s| s.name == name) {
            return Err(format!("service {name} is there twice"));
        }
        self.key_indent = 0;
        self.current = Some(Draft { name: name.to_string(), image: None, optional: false, keys: Vec::new() });
        Ok(())
    }

    /// A key of a service, or something deeper, which is the engine's.
    fn within(&mut self, content: &str, indent: usize, start: usize) -> Result<(), String> {
        let draft = self.current.as_mut().ok_or("comes before the first service")?;
        if self.key_indent == 0 {
            self.key_indent = indent;
        }
        if indent > self.key_indent
            || (indent == self.key_indent && (content.starts_with("- ") || content == "-"))
        {
            if draft.keys.last().is_some_and(|key| key == "image") {
                return Err("the image goes on in another line".to_string());
            }
            return Ok(());
        }
        if indent < self.key_indent {
            return Err("is indented less than the first key of its service".to_string());
        }
        let (key, value) = key(content)?;
        if draft.keys.iter().any(|k| k == key) {
            return Err(format!("{key} is there twice"));
        }
        draft.keys.push(key.to_string());
        match key {
            "image" => {
                let (image, at) =
                    scalar(value).ok_or("the image is not a plain or quoted text on its line")?;
                let begin = start + (content.len() - value.len()) + at.start;
                draft.image = Some((image.to_string(), begin..begin + at.len()));
            }
            "build" | "extends" | "<<" => {
                return Err(format!("{key} brings in what is not looked at here"));
            }
            "profiles" => draft.optional = true,
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        let Some(draft) = self.current.take() else { return Ok(()) };
        let (image, place) = draft.image.ok_or_else(|| format!("service {} has no image", draft.name))?;
        self.done.push(Service { name: draft.name, image, optional: draft.optional, place });
        Ok(())
    }

    fn end(mut self) -> Result<Vec<Service>, String> {
        self.finish()?;
        if self.done.is_empty() {
            return Err("has no services".to_string());
        }
        Ok(self.done)
    }
}

/// `key:` or `key: value`; the key plain or simply quoted.
fn key(content: &str) -> Result<(&str, &str), String> {
    let unclear = || format!("{content:?} is no key: write the file as `docker compose config` does");
    let (key, rest) = match content.chars().next() {
        Some(quote @ ('"' | '\'')) => content[1..].split_once(quote).ok_or_else(unclear)?,
        _ => {
            let end =
                content.find(": ").or_else(|| content.strip_suffix(':').map(str::len)).ok_or_else(unclear)?;
            content.split_at(end)
        }
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.<".contains(c);
    let value = rest.strip_prefix(':').ok_or_else(unclear)?;
    if key.is_empty() || !key.chars().all(fits) || !(value.is_empty() || value.starts_with(' ')) {
        return Err(unclear());
    }
    Ok((key, value))
}

fn nothing(value: &str) -> bool {
    let value = value.trim_start();
    value.is_empty() || value.starts_with('#')
}

/// A text on one line, and where in `value` it is, quotes and all.
fn scalar(value: &str) -> Option<(&str, Range<usize>)> {
    let text = value.trim_start();
    let begin = value.len() - text.len();
    let first = text.chars().next()?;
    if first == '"' || first == '\'' {
        let (inner, rest) = text[1..].split_once(first)?;
        let good =
            !inner.contains('\\') && nothing(rest) && (rest.is_empty() || rest.starts_with([' ', '\t']));
        return good.then_some((inner, begin..begin + inner.len() + 2));
    }
    if !first.is_ascii_alphanumeric() {
        return None;
    }
    let plain = text.find(" #").map_or(text, |at| &text[..at]).trim_end();
    (!plain.contains([' ', '"', '\''])).then_some((plain, begin..begin + plain.len()))
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
    fn only_the_images_change() {
        let compose = Compose::read(&good()).unwrap();
        let text = compose.with_images(|s| format!("sha256:{}", s.name));
        let expected = good()
            .replace(&format!("hub.example/f/web:1@sha256:{}", hex("a")), "\"sha256:web\"")
            .replace(&format!("'hub.example/f/db@sha256:{}'", hex("b")), "\"sha256:db\"");
        assert_eq!(text, expected);
        assert_eq!(Compose::read(&text).unwrap().services[1].image, "sha256:db");
    }

    #[test]
    fn what_could_be_read_in_another_way_is_refused() {
        let pinned = format!("image: h.example/w@sha256:{}", hex("a"));
        let table = [
            (String::new(), "no services"),
            ("services: {web: {image: x}}\n".into(), "lines of their own"),
            ("{\"services\": {}}\n".into(), "is no key"),
            ("services:\n  web: &a\n    image: x\n".into(), "without anchors"),
            (format!("services:\n  web:\n    <<: *x\n    {pinned}\n"), "not looked at"),
            (format!("services:\n  web:\n    {pinned}\n    build: .\n"), "not looked at"),
            (format!("services:\n  web:\n    {pinned}\n    extends: other.yml\n"), "not looked at"),
            (format!("include: [a.yml]\nservices:\n  web:\n    {pinned}\n"), "not looked at"),
            (format!("services:\n  web:\n    {pinned}\n---\nservices:\n"), "is no key"),
            (format!("services:\n  web:\n    {pinned}\nservices:\n  x:\n"), "twice"),
            (format!("services:\n  web:\n    {pinned}\n    image: other\n"), "twice"),
            (format!("services:\n  web:\n    {pinned}\n  web:\n"), "twice"),
            ("services:\n  web:\n    command: x\n".into(), "has no image"),
            ("services:\n  web:\n    image:\n      x\n".into(), "plain or quoted"),
            ("services:\n  web:\n    image: *x\n".into(), "plain or quoted"),
            ("services:\n  web:\n    image: \"a\\x20b\"\n".into(), "plain or quoted"),
            (format!("services:\n  web:\n    ? image\n    : x\n    {pinned}\n"), "is no key"),
            (format!("services:\n  web:\n    \"\\x69mage\": x\n    {pinned}\n"), "is no key"),
            (format!("services:\n  web:\n\timage: x\n    {pinned}\n"), "tab"),
            (format!("services:\n  web:\n    {pinned}\n    x: a\u{2028}    image: b\n"), "line ends"),
            (format!("services:\n  web:\n    {pinned}\n    x: a\r    image: b\n"), "line ends"),
            (format!("services:\n  web:\n    {pinned}\n      more\n"), "another line"),
            (
                format!(
                    "services:\n  web:\n    {pinned}\n    x: [\"a\nvolumes:\n  b\"]\n  db:\n    image: evil\n"
                ),
                "may go on here",
            ),
            (
                format!("services:\n  web:\n    {pinned}\n    x:\n    - y: |\n      z: \"\nvolumes:\n"),
                "may go on here",
            ),
            (
                format!("services:\n  web:\n    {pinned}\n    x:\n      it 's: \"op'en\n    y: 1\n"),
                "may go on here",
            ),
            (format!("services:\n    web:\n      {pinned}\n  other:\n    image: x\n"), "indented less"),
        ];
        for (text, expected) in table {
            let error = Compose::read(&text).map(|c| c.services).unwrap_err();
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn texts_over_several_lines() {
        let more = "    command:\n    - sh\n    - -c\n    - |\n      echo \"it's\n        [ a\n    - >-\n      x\n    labels:\n      \
            one: \"a long\n        text\"\n      two: 'it''s \"'\n      three: \"a \"\n      four: don't\n      five: \"say \\\"hi\\\": [\"\n    \
            test: [\"CMD\", \"a b \", '{\"a\": []}']\n    x: {a: b, c: [d]} # it 's\n    y: |-\n      \"\n\n       '\n    ports:\n      - \"80:80\"\n";
        let image = format!("image: h.example/w@sha256:{}", hex("a"));
        let text = format!("services:\n  web:\n    {image}\n{more}  db:\n    {image}\nvolumes:\n  b: {{}}\n");
        let compose = Compose::read(&text).unwrap();
        assert_eq!(compose.services.len(), 2);
    }

    #[test]
    fn a_tab_before_a_comment_stays_readable_with_another_image() {
        let text = format!("services:\n  web:\n    image: h.example/w@sha256:{}\t # pinned\n", hex("a"));
        let changed = Compose::read(&text).unwrap().with_images(|_| "sha256:of-web".into());
        assert_eq!(Compose::read(&changed).unwrap().services[0].image, "sha256:of-web");
    }

    #[test]
    fn a_tag_is_no_pin() {
        for image in ["nginx", "nginx:1.27", "h.example/w@sha256:12", "${IMAGE}"] {
            let text = format!("services:\n  web:\n    image: {image}\n");
            let error = Compose::read(&text).and_then(|c| c.images()).unwrap_err();
            assert!(error.line == 3 || image.starts_with('$'), "{error}");
        }
    }
}
