//! Every target for a moment, without libFuzzer: seeds, and what a simple generator makes of them.

use std::fs;
use std::path::Path;

/// A target and its name.
const TARGETS: [(&str, fn(&[u8])); 7] = [
    ("tuf_canonical", rust_ota_fuzz::tuf::canonical),
    ("tuf_files", rust_ota_fuzz::tuf::files),
    ("tuf_workflow", rust_ota_fuzz::tuf::workflow),
    ("tuf_search", rust_ota_fuzz::tuf::search),
    ("tuf_keys", rust_ota_fuzz::tuf::keys),
    ("tuf_glob", rust_ota_fuzz::tuf::glob),
    ("tuf_time", rust_ota_fuzz::tuf::time),
];

#[test]
fn every_target_for_a_moment() {
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let mut entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        let seeds: Vec<Vec<u8>> = entries.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(!seeds.is_empty(), "{name}");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for seed in &seeds {
            target(seed);
        }
        for round in 0..rounds {
            let mut input = seeds[random.below(seeds.len())].clone();
            for _ in 0..=random.below(6) {
                mutate(&mut input, &seeds, &mut random);
            }
            if let Err(panic) = std::panic::catch_unwind(|| target(&input)) {
                println!("{name}, round {round}: {input:?}");
                std::panic::resume_unwind(panic);
            }
        }
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
