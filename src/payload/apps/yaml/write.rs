//! The tree as a document, in the least of YAML: lines of keys, plain scalars where a type may depend on it, quoted texts of ASCII.

use super::{Node, Text, Value};

/// The tree as a document.
pub fn write(root: &Node) -> String {
    let mut out = String::new();
    lines(root, 0, &mut out);
    out
}

fn lines(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Text(text) => {
            out.push_str(&scalar(text));
            out.push('\n');
        }
        Value::List(items) => {
            for item in items {
                out.push_str(&" ".repeat(indent));
                out.push('-');
                after(item, indent, out);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                out.push_str(&" ".repeat(indent));
                out.push_str(&scalar(key));
                out.push(':');
                after(value, indent, out);
            }
        }
    }
}

/// What comes behind a dash or a colon.
fn after(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::Text(_) => {
            out.push(' ');
            lines(node, indent, out);
        }
        _ => {
            out.push('\n');
            lines(node, indent + 2, out);
        }
    }
}

/// In its own style where that can matter. A plain scalar with other characters than these is a text for everybody.
fn scalar(text: &Text) -> String {
    match text.text.as_str() {
        // Nothing, which is not the text without letters.
        "" if text.plain => "~".to_string(),
        plain if text.plain && stays_plain(plain) => plain.to_string(),
        other => quoted(other),
    }
}

fn stays_plain(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.+-~/: ".contains(&b);
    let bytes = text.as_bytes();
    let begins = match bytes {
        [b'-', second, ..] => second.is_ascii_alphanumeric() || *second == b'.',
        [first, ..] => !b": -".contains(first),
        [] => false,
    };
    begins
        && bytes.iter().copied().all(fits)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !text.starts_with("...")
}

/// In double quotes and ASCII.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}
