//! What the SBOM of the static binary names.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn script(name: &str, args: &[&str]) -> String {
    let output = Command::new(top().join("scripts").join(name)).args(args).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The C libraries as scripts/static-build writes them down: the first line of each.
fn sources() -> (String, BTreeSet<String>) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sbom.sources");
    let text = fs::read_to_string(top().join("scripts/static/sources")).unwrap();
    let mut names = BTreeSet::new();
    let mut lines = String::from("# built with a compiler\n");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if names.insert(words[0].to_string()) {
            lines += &format!("{} {} {}\n", words[0], words[2], words[3]);
        }
    }
    fs::write(&path, lines).unwrap();
    (path.to_str().unwrap().to_string(), names)
}

#[test]
fn every_crate_that_is_linked_and_every_c_library() {
    let (path, libraries) = sources();
    let options = ["--target", "x86_64-unknown-linux-musl", "--rustc", "1.90.0", "--sources", path.as_str()];
    let text = script("sbom", &options);
    assert_eq!(text, script("sbom", &options), "the same inputs, the same bytes");
    let bom: serde_json::Value = serde_json::from_str(&text).unwrap();
    let components = bom["components"].as_array().unwrap();
    let names: BTreeSet<String> =
        components.iter().map(|c| c["name"].as_str().unwrap().to_string()).collect();
    assert!(libraries.len() > 5 && libraries.is_subset(&names), "{libraries:?} {names:?}");
    assert!(components.iter().all(|c| c["licenses"][0]["expression"] != "NOASSERTION"), "{text}");
    let manifest = fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let direct = section.lines().filter(|line| !line.starts_with('#') && !line.contains("optional = true"));
    for name in direct.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name) {
        assert!(names.contains(name), "{name} is not in the SBOM");
    }
    for never in ["rcgen", "syn", "cc", "pkg-config", "rust-ota"] {
        assert!(!names.contains(never), "{never} is linked into no device's binary");
    }
    linked(&names);
}

/// By the linker's map, if there is one.
fn linked(names: &BTreeSet<String>) {
    if !top().join("target/static/rust-ota.map").exists() {
        println!("no target/static/rust-ota.map: what the linker took was not compared");
        return;
    }
    // What is ours, and the parts of the standard library.
    let other = ["rust_ota", "core", "alloc", "std", "std_detect", "panic_abort", "compiler_builtins"];
    let known: BTreeSet<String> = names.iter().map(|name| name.replace('-', "_")).collect();
    let table = script("size-report", &["--crates"]);
    let rows = table.lines().skip(2).filter_map(|line| line.split('|').nth(1)).map(str::trim);
    for name in rows.filter(|name| !name.contains([' ', '*']) && !other.contains(name)) {
        assert!(
            known.contains(name) || known.contains(&format!("rustls_{name}")),
            "{name} is linked and not in the SBOM"
        );
    }
}
