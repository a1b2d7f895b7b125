//! Path patterns of delegations.

/// Which characters a wildcard matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// TUF 4.5: a wildcard does not match `/`.
    #[default]
    Components,
    /// The ATS dialect: `fnmatch` without flags, so a wildcard matches `/` and `\` quotes.
    Fnmatch,
}

/// Whether the pattern (`*`, `?`, `[a-z]`, `[!a-z]`) matches the whole text.
///
/// Time is bounded by the product of both lengths: only the last `*` is ever taken back, and in
/// [`Rules::Components`] never beyond a `/`.
pub fn matches(pattern: &str, text: &str, rules: Rules) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    match rules {
        Rules::Fnmatch => match_part(&pattern, &text, rules),
        Rules::Components => {
            let mut parts = (pattern.split(|c| *c == '/'), text.split(|c| *c == '/'));
            loop {
                match (parts.0.next(), parts.1.next()) {
                    (Some(pattern), Some(text)) if match_part(pattern, text, rules) => {}
                    (None, None) => return true,
                    _ => return false,
                }
            }
        }
    }
}

fn match_part(pattern: &[char], text: &[char], rules: Rules) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if what follows the last star does not match: one character later.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some('*') => {
                p += 1;
                retry = Some((p, t));
                continue;
            }
            Some(_) => text.get(t).and_then(|c| match_one(pattern.get(p..).unwrap_or_default(), *c, rules)),
            None if t == text.len() => return true,
            None => None,
        };
        match (step, retry) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((star, from))) if from < text.len() => {
                (p, t) = (star, from + 1);
                retry = Some((star, from + 1));
            }
            _ => return false,
        }
    }
}

/// How many characters of the pattern match this one character.
fn match_one(pattern: &[char], c: char, rules: Rules) -> Option<usize> {
    match *pattern {
        ['?', ..] => Some(1),
        ['[', ..] => match bracket(pattern, c, rules) {
            Some((matched, length)) => matched.then_some(length),
            // Without an end it is an ordinary character.
            None => (c == '[').then_some(1),
        },
        ['\\', quoted, ..] if rules == Rules::Fnmatch => (c == quoted).then_some(2),
        [plain, ..] => (c == plain).then_some(1),
        [] => None,
    }
}

/// Whether a bracket expression has the character, and its length. `]` may be its first member.
fn bracket(pattern: &[char], c: char, rules: Rules) -> Option<(bool, usize)> {
    let negated = match pattern.get(1) {
        Some('!') => true,
        Some('^') => rules == Rules::Fnmatch,
        _ => false,
    };
    let first = if negated { 2 } else { 1 };
    let end = first + 1 + pattern.get(first + 1..)?.iter().position(|p| *p == ']')?;
    let mut members = pattern.get(first..end)?;
    let mut found = false;
    while let [low, rest @ ..] = members {
        members = rest;
        let mut high = low;
        if let ['-', last, rest @ ..] = rest {
            (high, members) = (last, rest);
        }
        found |= (*low..=*high).contains(&c);
    }
    Some((found != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_by_component() {
        for (pattern, text, expected) in [
            ("targets/*.tgz", "targets/foo.tgz", true),
            ("targets/*.tgz", "targets/foo.txt", false),
            ("foo-version-?.tgz", "foo-version-2.tgz", true),
            ("foo-version-?.tgz", "foo-version-alpha.tgz", false),
            ("*.tgz", "foo.tgz", true),
            ("*.tgz", "targets/foo.tgz", false),
            ("foo.tgz", "foo.tgz", true),
            ("foo.tgz", "foo.tgz2", false),
            ("*", "", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("?", "/", false),
            ("[./]", "/", false),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxbxx", false),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]x]", "]", true),
            ("[a", "[a", true),
            ("a\\*", "a\\b", true),
            ("README.md", "README.MD", false),
            ("é?", "éé", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text, Rules::Components), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn matches_as_fnmatch() {
        for (pattern, text, expected) in [
            ("*.tgz", "targets/foo.tgz", true),
            ("*", "a/b/c", true),
            ("a?b", "a/b", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a/*", "b/a", false),
        ] {
            assert_eq!(matches(pattern, text, Rules::Fnmatch), expected, "{pattern} {text}");
        }
    }
}
