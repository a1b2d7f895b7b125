//! What the engine is given says what the publisher's Compose file said, in the eyes of another YAML parser.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use rust_ota::payload::apps::Compose;

fn oracle(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/compose_oracle.py");
    let done = Command::new("/usr/bin/python3").arg(script).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_engine_reads_what_was_published() {
    let dir = std::env::temp_dir().join(format!("rust-ota-compose-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let folder = dir.to_str().unwrap();
    let count = 1500;
    oracle(&["make", folder, "20261130", &count.to_string()]);
    let mut taken = 0;
    for number in 0..count {
        let text = std::fs::read_to_string(dir.join(format!("{number}.yml"))).unwrap();
        match Compose::read(&text) {
            Ok(compose) => {
                assert_eq!(compose.images().unwrap().len(), 1, "{text}");
                let written = compose.with_images(|service| service.image.clone());
                assert_eq!(
                    Compose::read(&written).unwrap().with_images(|s| s.image.clone()),
                    written,
                    "what is written stays the same when it is read again"
                );
                std::fs::write(dir.join(format!("{number}.out")), written).unwrap();
                taken += 1;
            }
            // Files as publishers write them are taken.
            Err(error) => assert!(number >= 2, "{error}: {text}"),
        }
    }
    assert!(taken > count / 2, "only {taken} of {count} were taken: the comparison says too little");
    assert_eq!(oracle(&["compare", folder]).trim(), taken.to_string());
    std::fs::remove_dir_all(&dir).unwrap();
}
