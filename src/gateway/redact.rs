//! Text for people and servers, without what an address may carry: a login, and the signature in a query.

const WITHHELD: &str = "(withheld)";

/// One line for a log: the same, without what could move a terminal's cursor or forge another line, and cut to what a
/// person reads.
pub fn redacted(text: &str) -> String {
    const MOST: usize = 4096;
    let shown = without_addresses(text);
    let mut cut: String = shown.chars().take(MOST).map(plain).collect();
    if shown.chars().nth(MOST).is_some() {
        cut.push_str(" ...");
    }
    cut
}

/// A name, a version or an address as one line of a terminal: what could move its cursor or hide text is a space.
pub fn one_line(text: &str) -> String {
    text.chars().map(plain).collect()
}

/// The same for text of several lines, which stay lines.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { plain(c) }).collect()
}

/// JSON that means the same, and that a terminal shows without harm. Beyond ASCII there are only texts in it, which may be escaped.
pub fn harmless_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' || !is_dangerous(c) {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    shown
}

fn plain(c: char) -> char {
    if is_dangerous(c) { ' ' } else { c }
}

/// Takes logins and queries out of every address in a text.
pub fn without_addresses(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| c.is_whitespace() || "\"'<>()".contains(c)).unwrap_or(after.len());
        let (address, tail) = after.split_at(end);
        shown.push_str(before);
        shown.push_str(&without_secrets(address));
        rest = tail;
    }
    shown.push_str(rest);
    shown
}

/// Control characters, those that turn the direction of text round, and those that nobody sees: with them two names look like one.
fn is_dangerous(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let unseen = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || turns || unseen
}

fn without_secrets(address: &str) -> String {
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    let (authority, path) = address.split_at(end);
    let host = authority.rsplit_once('@').map(|(_, host)| format!("{WITHHELD}@{host}"));
    let host = host.as_deref().unwrap_or(authority);
    let Some(at) = path.find(['?', '#']) else { return format!("{host}{path}") };
    let (path, query) = path.split_at(at);
    // The sentence goes on after it.
    let tail = query.len() - query.trim_end_matches([':', ';', ',', '.']).len();
    format!("{host}{path}?{WITHHELD}{}", query.get(query.len() - tail..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_their_secrets() {
        for (text, shown) in [
            ("https://h/p?X-Sig=abc: cut", "https://h/p?(withheld): cut"),
            (
                "to https://u:pw@h:1/p and http://x/y#z.",
                "to https://(withheld)@h:1/p and http://x/y?(withheld).",
            ),
            ("\"https://h/p?a=b\" x", "\"https://h/p?(withheld)\" x"),
            ("https://h?q", "https://h?(withheld)"),
            ("https://h/p/@a: no", "https://h/p/@a: no"),
            ("none here?a=b", "none here?a=b"),
            ("a\nerror: b\x1b[2Jc\u{202e}d", "a error: b [2Jc d"),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
        assert_eq!(redacted(&"x".repeat(10_000)).len(), 4100);
    }

    #[test]
    fn nothing_moves_a_cursor_turns_text_or_hides() {
        let evil = "a\n\r\t\u{1b}[2J\u{9b}31m\u{7f}\u{8}\u{202e}b\u{200f}\u{61c}\u{2067}\u{200b}\u{feff}\u{e0041}\u{2028}\u{ad}c";
        assert!(!one_line(evil).chars().any(is_dangerous));
        assert_eq!(one_line(evil).replace(|c: char| !c.is_alphanumeric(), ""), "a2J31mbc");
        let lines = harmless("a\n\tb\u{1b}c");
        assert_eq!(lines, "a\n\tb c");
        for name in ["Größe 猫 ή 1.0~rc+2", "a/b@sha256:c"] {
            assert_eq!(one_line(name), name);
        }
        let json = serde_json::json!({ evil: [evil, "ü"] });
        let shown = harmless_json(&format!("{json:#}"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), json);
        assert!(!shown.replace('\n', "").chars().any(is_dangerous), "{shown}");
        assert!(shown.contains('ü'));
    }
}
