//! What the documentation names is there: commands and their options, files, tests.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each program by the name that it is called by, and the file that it is.
const PROGRAMS: [(&str, &str); 6] = [
    ("rust-ota", env!("CARGO_BIN_EXE_rust-ota")),
    ("aktualizr", env!("CARGO_BIN_EXE_rust-ota")),
    ("aktualizr-lite", env!("CARGO_BIN_EXE_rust-ota")),
    ("aktualizr-info", env!("CARGO_BIN_EXE_rust-ota")),
    ("aktualizr-get", env!("CARGO_BIN_EXE_rust-ota")),
    ("ota-repo", env!("CARGO_BIN_EXE_ota-repo")),
];

#[test]
fn every_command_is_one_that_the_program_has() {
    let mut seen = 0;
    for (page, text) in pages() {
        for line in commands(&text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some((name, file)) = PROGRAMS.iter().find(|(name, _)| *name == words[0]) else { continue };
            check(&page, &line, name, file, &words[1..]);
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} commands were found");
}

#[test]
fn every_file_is_there() {
    let mut seen = 0;
    for (page, text) in pages() {
        let folder = page.parent().unwrap();
        for link in between(&text, "](", ")").filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            assert!(folder.join(file).exists(), "{}: links to {link}", page.display());
            seen += 1;
        }
        for path in between(&text, "`", "`").filter(|path| is_path(path)) {
            assert!(top().join(path).exists(), "{}: names {path}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 80, "only {seen} files were found");
}

#[test]
fn every_test_is_there() {
    let sources: Vec<String> =
        ["src", "tests", "qemu-tests/tests"].iter().flat_map(|folder| files(&top().join(folder))).collect();
    let functions: BTreeSet<&str> = sources.iter().flat_map(|source| names(source)).collect();
    let mut seen = 0;
    for page in ["docs/tuf.md", "docs/uptane.md"] {
        let text = fs::read_to_string(top().join(page)).unwrap();
        for line in text.lines().filter(|line| line.starts_with('|')) {
            for name in between(line, "`", "`").map(|name| name.rsplit("::").next().unwrap()) {
                // Tests have names of several words; what else stands in the tables has not.
                if name.matches('_').count() >= 2
                    && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                {
                    assert!(functions.contains(name), "{page}: there is no test {name}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 80, "only {seen} tests were found");
}

#[test]
fn every_answer_of_explain_is_what_the_table_says() {
    let text = fs::read_to_string(top().join("docs/explain.md")).unwrap();
    let mut rows = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| ") && line.contains("`explain-")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (sentence, output) = (cells[2].trim_matches('`'), cells[3].trim_matches('`'));
        let golden = fs::read_to_string(top().join("tests/golden").join(output));
        let golden = golden.unwrap_or_else(|e| panic!("docs/explain.md names {output}: {e}"));
        let answer = golden.lines().next().unwrap_or_default();
        assert!(answer.contains(sentence), "{output}: {answer:?} is not {sentence:?}");
        rows.insert(output.to_string());
    }
    for entry in fs::read_dir(top().join("tests/golden")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            !name.starts_with("explain-") || rows.contains(&name),
            "docs/explain.md has no row for {name}"
        );
    }
}

/// Subcommands come first, for as long as the program's help lists them; then each option must be in the help of the last.
fn check(page: &Path, line: &str, name: &str, file: &str, words: &[&str]) {
    let mut path: Vec<&str> = Vec::new();
    let mut text = help(name, file, &path);
    for word in words {
        let listed = |text: &str| text.lines().any(|l| l.split_whitespace().next() == Some(word));
        if !word.starts_with('-') && text.contains("Commands:") && listed(&text) {
            path.push(word);
            // What stands before a subcommand is told by the help of what has it: `tuf --metadata-dir D init`.
            text = format!("{}\n{text}", help(name, file, &path));
        } else if let Some(option) = word.strip_prefix("--") {
            let option = option.split(['=', ']']).next().unwrap();
            let known = text
                .split(|c: char| c.is_whitespace() || "[],".contains(c))
                .any(|w| w == format!("--{option}"));
            assert!(known, "{}: {name} has no --{option}: {line}", page.display());
        }
    }
    let takes_commands = help(name, file, &[]).contains("Commands:");
    assert!(!takes_commands || !path.is_empty(), "{}: {name} has no such command: {line}", page.display());
}

fn help(name: &str, file: &str, path: &[&str]) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("docs-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let link = folder.join(name);
    let _ = std::os::unix::fs::symlink(file, &link);
    // `tuf` and `uptane` want their options before they say what their commands are; only the parsers are asked here.
    let output = Command::new(&link)
        .args(path.iter().take(1))
        .args(needed(path))
        .args(path.iter().skip(1))
        .arg("--help")
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn needed<'a>(path: &[&str]) -> &'a [&'a str] {
    match path {
        ["tuf", _, ..] => &["--metadata-dir", "D"],
        ["uptane", _, ..] => {
            &["--state-dir", "D", "--director-url", "U", "--image-url", "U", "--download-dir", "D"]
        }
        _ => &[],
    }
}

/// The lines of the code blocks that begin with a program of ours, continued ones joined, comments cut off.
fn commands(text: &str) -> Vec<String> {
    let (mut found, mut fenced, mut open) = (Vec::new(), false, String::new());
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if !fenced && !line.starts_with("    ") {
            open.clear();
            continue;
        }
        let code = line.split(" #").next().unwrap().trim();
        open.push_str(code.trim_end_matches('\\'));
        open.push(' ');
        if !code.ends_with('\\') {
            let command = open.trim().trim_start_matches("$ ").trim_start_matches("sudo ").to_string();
            if PROGRAMS.iter().any(|(name, _)| command.split_whitespace().next() == Some(name)) {
                found.push(command);
            }
            open.clear();
        }
    }
    found
}

/// Paths of this repository, as they stand in running text: from its top, without a placeholder.
fn is_path(text: &str) -> bool {
    let rooms =
        ["src/", "tests/", "docs/", "scripts/", "kas/", "qemu-tests/", "meta-rust-ota/", "fuzz/", "benches/"];
    rooms.iter().any(|room| text.starts_with(room))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        // The reader makes it.
        && text != "kas/local.yml"
}

fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    // Code blocks have their own marks.
    let outside = text.split("```").step_by(2);
    outside.flat_map(move |part| {
        let mut rest = part;
        std::iter::from_fn(move || {
            let from = rest.find(open)? + open.len();
            let to = from + rest[from..].find(close)?;
            let found = &rest[from..to];
            rest = &rest[to + close.len()..];
            Some(found)
        })
    })
}

fn names(source: &str) -> impl Iterator<Item = &str> {
    ["fn ", "def ", "mod "].into_iter().flat_map(move |word| {
        source
            .split(word)
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or(""))
    })
}

fn pages() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["", "docs", "docs/yocto", "meta-rust-ota", "qemu-tests"] {
        for entry in fs::read_dir(top().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            // What has changed once may be gone by now.
            if path.extension().is_some_and(|e| e == "md") && !path.ends_with("CHANGELOG.md") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs" || e == "py") {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
    found
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
