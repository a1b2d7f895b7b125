//! Every target for a moment, without libFuzzer: seeds, and what a simple generator makes of them.

use std::fs;
use std::path::Path;

/// A target, its name, and how many inputs it gets of a hundred: what makes repositories and signs them is slow.
const TARGETS: [(&str, usize, fn(&[u8])); 27] = [
    ("app_archive", 100, rust_ota_fuzz::apps::app_archive),
    ("app_manifest", 100, rust_ota_fuzz::apps::app_manifest),
    ("certificate", 100, rust_ota_fuzz::certificate::certificate),
    ("compose_file", 100, rust_ota_fuzz::apps::compose_file),
    ("pkcs12", 10, rust_ota_fuzz::certificate::pkcs12),
    ("credentials_zip", 100, rust_ota_fuzz::certificate::credentials_zip),
    ("config", 100, rust_ota_fuzz::config::config),
    ("old_database", 100, rust_ota_fuzz::old::old_database),
    ("grub_block", 100, rust_ota_fuzz::boot::grub_block),
    ("uboot_environment", 100, rust_ota_fuzz::boot::uboot_environment),
    ("ostree_commit", 100, rust_ota_fuzz::ostree::commit),
    ("ostree_dirmeta", 100, rust_ota_fuzz::ostree::dirmeta),
    ("ostree_dirtree", 100, rust_ota_fuzz::ostree::dirtree),
    ("ostree_filez", 100, rust_ota_fuzz::ostree::filez),
    ("ostree_sizes", 100, rust_ota_fuzz::ostree::sizes),
    ("ostree_superblock", 100, rust_ota_fuzz::ostree::superblock),
    ("state_director", 10, rust_ota_fuzz::state::director),
    ("state_events", 10, rust_ota_fuzz::state::events),
    ("state_installed", 10, rust_ota_fuzz::state::installed),
    ("state_small", 10, rust_ota_fuzz::state::small),
    ("tuf_canonical", 100, rust_ota_fuzz::tuf::canonical),
    ("tuf_files", 10, rust_ota_fuzz::tuf::files),
    ("tuf_workflow", 2, rust_ota_fuzz::tuf::workflow),
    ("tuf_search", 10, rust_ota_fuzz::tuf::search),
    ("tuf_keys", 5, rust_ota_fuzz::tuf::keys),
    ("tuf_glob", 100, rust_ota_fuzz::tuf::glob),
    ("tuf_time", 100, rust_ota_fuzz::tuf::time),
];

#[test]
fn every_target_for_a_moment() {
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    // Only this one, for who looks closer at it.
    let wanted = std::env::var("FUZZ_TARGET").ok();
    for (name, share, target) in TARGETS.into_iter().filter(|t| wanted.as_deref().is_none_or(|w| w == t.0)) {
        let began = std::time::Instant::now();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let mut entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        let seeds: Vec<Vec<u8>> = entries.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(!seeds.is_empty(), "{name}");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for seed in &seeds {
            target(seed);
        }
        for round in 0..rounds * share / 100 {
            let mut input = seeds[random.below(seeds.len())].clone();
            for _ in 0..=random.below(6) {
                mutate(&mut input, &seeds, &mut random);
            }
            if let Err(panic) = std::panic::catch_unwind(|| target(&input)) {
                println!("{name}, round {round}: {input:?}");
                std::panic::resume_unwind(panic);
            }
        }
        println!("{name}: {} seeds, {} inputs, {:?}", seeds.len(), rounds * share / 100, began.elapsed());
    }
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(5) {
        0 if at < input.len() => input[at] = random.below(256) as u8,
        1 if at < input.len() => drop(input.remove(at)),
        2 => input.insert(at, random.below(256) as u8),
        3 => input.truncate(at),
        _ => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let length = random.below(other.len() - from + 1).min(64);
            input.splice(at..at, other[from..from + length].iter().copied());
        }
    }
}

/// xorshift64: the same on each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}
