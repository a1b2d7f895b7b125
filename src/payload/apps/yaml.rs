//! A YAML document as a tree, without anything that could be read in two ways: one document, no tags, no key twice; aliases and
//! merges are expanded here, so that who looks at the tree looks at everything. And the tree as a document again.
//!
//! What is written is the least that YAML has: lines of keys, quoted texts of ASCII, and plain scalars where a type may depend
//! on it. Every parser reads that in the same way, which is not true of what publishers write.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::compose::ComposeError;

mod write;

pub use write::write;

/// Deeper than anybody writes.
const DEEPEST: usize = 32;
/// The most nodes, and bytes of text, when all aliases are expanded.
const MOST_NODES: usize = 50_000;
const MOST_BYTES: usize = 4 << 20;
const TOO_LARGE: &str = "is too large when its aliases are expanded";
/// Parsers look for the colon of a key within 1024 characters.
const LONGEST_KEY: usize = 1000;

/// A node and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Counted from 1.
    pub line: usize,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A scalar.
    Text(Text),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of its keys.
    Map(Vec<(Text, Node)>),
}

/// A scalar. Only a plain one can be anything else than a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Without quotes.
    pub text: String,
    /// Written without quotes.
    pub plain: bool,
}

impl Node {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(&text.text),
            _ => None,
        }
    }

    /// The entries of a mapping; none where it is something else.
    pub fn entries(&self) -> &[(Text, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none where it is something else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// What a key of a mapping has.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => entries.iter_mut().find(|(k, _)| k.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Nothing is there: `~`, `null`, or no value.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Text(t) if t.plain && ["", "~", "null", "Null", "NULL"].contains(&t.text.as_str()))
    }
}

impl Text {
    /// In quotes.
    pub fn quoted(text: impl Into<String>) -> Text {
        Text { text: text.into(), plain: false }
    }
}

/// Reads the one document of a file.
pub fn read(text: &str) -> Result<Node, ComposeError> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| at(e.marker().line(), format!("is no YAML: {}", e.info())))?;
        let line = span.start.line();
        reader.event(event, line).map_err(|reason| at(line, reason))?;
    }
    reader.root.ok_or_else(|| at(0, "has no services"))
}

fn at(line: usize, reason: impl Into<String>) -> ComposeError {
    ComposeError { line, reason: reason.into() }
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    documents: usize,
    root: Option<Node>,
    nodes: usize,
    bytes: usize,
}

/// A list or a mapping that is not at its end.
struct Open {
    anchor: usize,
    line: usize,
    value: Value,
    /// The key whose value comes next.
    key: Option<Text>,
    merges: Vec<Node>,
    merged: bool,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("has a second document, which engines read each in their own way".to_string());
                }
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, line),
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag, line),
            Event::SequenceStart(anchor, tag) => self.begin(Value::List(Vec::new()), anchor, tag, line),
            Event::MappingStart(anchor, tag) => self.begin(Value::Map(Vec::new()), anchor, tag, line),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        line: usize,
    ) -> Result<(), String> {
        untagged(tag)?;
        let text = Text { text: text.into_owned(), plain: style == ScalarStyle::Plain };
        if self.wants_key() {
            return self.key(text, anchor);
        }
        let node = Node { line, value: Value::Text(text) };
        self.count(&node)?;
        self.put(node, anchor)
    }

    /// An anchor's node, copied. One that is not at its end would be in itself.
    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), String> {
        if self.wants_key() {
            return Err("has an alias as a key".to_string());
        }
        if self.place() == Some("services") {
            return Err("services must be written where they are, not as an alias".to_string());
        }
        let known = self.anchors.get(&anchor).ok_or("has an alias within what it names")?;
        let (nodes, bytes) = weight(known);
        if nodes + self.nodes > MOST_NODES || bytes + self.bytes > MOST_BYTES {
            return Err(TOO_LARGE.to_string());
        }
        let node = Node { line, value: known.value.clone() };
        self.spend(nodes, bytes)?;
        self.put(node, 0)
    }

    fn begin(
        &mut self,
        value: Value,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        line: usize,
    ) -> Result<(), String> {
        untagged(tag)?;
        if self.wants_key() {
            return Err("has a key that is no text".to_string());
        }
        if self.open.len() >= DEEPEST {
            return Err(format!("is nested deeper than {DEEPEST} levels"));
        }
        self.spend(1, 0)?;
        self.open.push(Open { anchor, line, value, key: None, merges: Vec::new(), merged: false });
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let mut value = open.value;
        if let Value::Map(entries) = &mut value {
            merge(entries, open.merges)?;
        }
        self.put(Node { line: open.line, value }, open.anchor)
    }

    fn key(&mut self, key: Text, anchor: usize) -> Result<(), String> {
        let services =
            self.open.len() <= 1 || (self.open.len() == 2 && self.place_above() == Some("services"));
        self.spend(1, key.text.len())?;
        let Some(Open { value: Value::Map(entries), key: next, merged, .. }) = self.open.last_mut() else {
            return Ok(());
        };
        if anchor != 0 {
            return Err(format!("has an anchor at the key {:?}", key.text));
        }
        if key.text == "<<" && (services || !key.plain) {
            return Err("<< brings in what is not looked at here".to_string());
        }
        if key.text.is_empty()
            || (key.plain && key.text == "~")
            || write::quoted(&key.text).len() > LONGEST_KEY
        {
            return Err("has a key that is empty or too long".to_string());
        }
        let twice = (key.text == "<<" && std::mem::replace(merged, true))
            || entries.iter().any(|(known, _)| known.text == key.text);
        if twice {
            return Err(format!("{} is there twice", key.text));
        }
        *next = Some(key);
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            let (nodes, bytes) = weight(&node);
            self.spend(nodes, bytes)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(_), Some(key)) if key.text == "<<" => open.merges.push(node),
            (Value::Map(entries), Some(key)) => entries.push((key, node)),
            _ => return Err("has a value without a key".to_string()),
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        self.open.last().is_some_and(|o| matches!(o.value, Value::Map(_)) && o.key.is_none())
    }

    /// The key at the top whose value comes now.
    fn place(&self) -> Option<&str> {
        let [open] = self.open.as_slice() else { return None };
        open.key.as_ref().map(|k| k.text.as_str())
    }

    fn place_above(&self) -> Option<&str> {
        self.open.first().and_then(|o| o.key.as_ref()).map(|k| k.text.as_str())
    }

    fn count(&mut self, node: &Node) -> Result<(), String> {
        let (nodes, bytes) = weight(node);
        self.spend(nodes, bytes)
    }

    fn spend(&mut self, nodes: usize, bytes: usize) -> Result<(), String> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > MOST_NODES || self.bytes > MOST_BYTES {
            return Err(TOO_LARGE.to_string());
        }
        Ok(())
    }
}

/// What is written in the mapping itself counts; of several merges, the earlier one.
fn merge(entries: &mut Vec<(Text, Node)>, merges: Vec<Node>) -> Result<(), String> {
    for node in merges {
        let sources = match node.value {
            Value::List(items) => items,
            _ => vec![node],
        };
        for source in sources {
            let Value::Map(brought) = source.value else {
                return Err("<< names something else than a mapping".to_string());
            };
            for (key, value) in brought {
                if !entries.iter().any(|(known, _)| known.text == key.text) {
                    entries.push((key, value));
                }
            }
        }
    }
    Ok(())
}

fn untagged(tag: Option<Cow<'_, Tag>>) -> Result<(), String> {
    match tag {
        Some(tag) => {
            Err(format!("has a tag ({}{}), which engines read each in their own way", tag.handle, tag.suffix))
        }
        None => Ok(()),
    }
}

fn weight(node: &Node) -> (usize, usize) {
    let add = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
    match &node.value {
        Value::Text(text) => (1, text.text.len()),
        Value::List(items) => items.iter().map(weight).fold((1, 0), add),
        Value::Map(entries) => {
            entries.iter().map(|(key, node)| add((1, key.text.len()), weight(node))).fold((1, 0), add)
        }
    }
}
