//! Which lines of a YAML file are what they look like, and which are the inside of a text that began before them.
//!
//! A text in quotes, or a list in brackets, may go on over lines that look like keys, and YAML's parsers do not mind how they are
//! indented: what seems to end `services` may be a part of a text. So what may be open at the end of a line must go on in lines that are
//! indented deeper, which nobody takes for keys. Where it is not plain whether a quote opens a text, it may be both.

/// Deeper lists than anybody writes.
const DEEPEST: usize = 32;

/// What a place in a line may be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Quote {
    None,
    Single,
    /// Behind a `'` within such a text: it ends it, unless another one follows.
    Ended,
    Double,
    Comment,
}

/// In what quotes, and in how many brackets.
type State = (Quote, usize);
const CLOSED: State = (Quote::None, 0);

/// Follows the lines of a file.
#[derive(Debug, Default)]
pub struct Lines {
    /// A text by indentation (`|`, `>`) goes on in lines that are indented deeper than this.
    block: Option<usize>,
    /// What may be open, and the indentation of the line where it began.
    open: Option<(usize, Vec<State>)>,
}

impl Lines {
    /// Takes the next line that is not empty: whether it is the inside of a text. `content` is the line without `indent` blanks.
    pub fn inside(&mut self, content: &str, indent: usize) -> Result<bool, String> {
        if let Some(parent) = self.block {
            if indent > parent {
                return Ok(true);
            }
            self.block = None;
        }
        if content.starts_with('#') && self.open.is_none() {
            return Ok(true);
        }
        let (first, inside, states) = match self.open.take() {
            Some((first, _)) if indent <= first => {
                return Err(
                    "a text in quotes or brackets of a line before may go on here: end it on its line"
                        .to_string(),
                );
            }
            Some((first, states)) => (first, true, scan(content, states, None)?),
            None => (indent, false, scan(content, vec![CLOSED], Some(start(content)?))?),
        };
        if states != [CLOSED] {
            self.open = Some((first, states));
        } else if !inside && is_header(content) {
            self.block = Some(indent + parent(content));
        }
        Ok(inside)
    }
}

/// Where the value of a line begins: behind its dashes, and behind a plain key.
fn start(content: &str) -> Result<usize, String> {
    let at = dashes(content);
    let rest = &content[at..];
    if rest == "?" || rest.starts_with("? ") || rest.starts_with('\t') || rest.starts_with("-\t") {
        return Err(format!("{content:?} is no key: write the file as `docker compose config` does"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let key = rest.find(": ").filter(|end| rest[..*end].chars().all(plain));
    Ok(at
        + key.map_or(0, |end| {
            end + 2 + (rest[end + 2..].len() - rest[end + 2..].trim_start_matches(' ').len())
        }))
}

/// Bytes of `- - `.
fn dashes(content: &str) -> usize {
    let mut at = 0;
    while let Some(rest) = content[at..].strip_prefix("- ") {
        at = content.len() - rest.trim_start_matches(' ').len();
    }
    at
}

/// A line that ends with `|`, `>` and their modifiers, before any comment.
fn is_header(content: &str) -> bool {
    let text = content.find(" #").map_or(content, |at| &content[..at]).trim_end();
    let text = text.trim_end_matches(|c: char| c.is_ascii_digit() || "+-".contains(c));
    let before = text.strip_suffix(['|', '>']);
    before.is_some_and(|before| before.is_empty() || before.ends_with(' '))
}

/// The column, counted from the line's first character, that a text by indentation is indented deeper than.
fn parent(content: &str) -> usize {
    let at = dashes(content);
    if content[at..].starts_with(['|', '>', '!', '&']) && at >= 2 {
        content[..at].rfind('-').unwrap_or(0)
    } else {
        at
    }
}

/// Every state that a line may end in. A quote at `definite` opens a text, whatever else is possible.
fn scan(content: &str, mut states: Vec<State>, definite: Option<usize>) -> Result<Vec<State>, String> {
    let bytes = content.as_bytes();
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|i| bytes.get(i));
        let begins = before.is_none_or(|b| b" \t[]{},:?-!".contains(b));
        let mut next = Vec::new();
        for (quote, depth) in states {
            let quote = match quote {
                Quote::Ended if *byte == b'\'' => {
                    next.push((Quote::Single, depth));
                    continue;
                }
                Quote::Ended => Quote::None,
                other => other,
            };
            let one = match (quote, byte) {
                (Quote::None, b'#') if before.is_none_or(|b| b" \t".contains(b)) => (Quote::Comment, depth),
                (Quote::None, b'"' | b'\'') if begins => {
                    if definite != Some(at) && !(depth > 0 && is_next(&bytes[..at])) {
                        next.push((Quote::None, depth));
                    }
                    (if *byte == b'"' { Quote::Double } else { Quote::Single }, depth)
                }
                (Quote::None, b'[' | b'{') if depth > 0 => (Quote::None, depth + 1),
                (Quote::None, b'[' | b'{') if definite == Some(at) => (Quote::None, 1),
                (Quote::None, b'[' | b'{') if begins => {
                    next.push((Quote::None, 1));
                    (Quote::None, 0)
                }
                (Quote::None, b']' | b'}') => (Quote::None, depth.saturating_sub(1)),
                (Quote::Single, b'\'') => (Quote::Ended, depth),
                (Quote::Double, b'"') if !escaped => (Quote::None, depth),
                same => (same.0, depth),
            };
            next.push(one);
        }
        escaped = *byte == b'\\' && !escaped;
        next.sort_unstable();
        next.dedup();
        if next.iter().any(|(_, depth)| *depth > DEEPEST) {
            return Err("has too many lists in lists".to_string());
        }
        states = next;
    }
    let mut end: Vec<State> = states
        .into_iter()
        .map(|(quote, depth)| {
            (if matches!(quote, Quote::Comment | Quote::Ended) { Quote::None } else { quote }, depth)
        })
        .collect();
    end.sort_unstable();
    end.dedup();
    Ok(end)
}

/// Within brackets: whether something new begins behind this.
fn is_next(before: &[u8]) -> bool {
    let text = before.trim_ascii_end();
    text.ends_with(b"[")
        || text.ends_with(b"{")
        || text.ends_with(b",")
        || (text.ends_with(b":") && text.len() < before.len())
}
