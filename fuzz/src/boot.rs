//! What bootloaders leave behind.

use rust_ota::boot::firmware::{Firmware, version_in};
use rust_ota::boot::grub::Block;
use rust_ota::boot::uboot;

const KNOWN: [&str; 7] = [
    "bootcount",
    "bootlimit",
    "upgrade_available",
    "rollback",
    "bootfirmware_version",
    "bootupgrade_available",
    "rollback_protection",
];

/// What `fw_printenv` prints: nothing but known variables comes out, each as a line says; and the file of a deployment
/// that names its firmware.
pub fn uboot_environment(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables = uboot::parse(&text);
    for (name, value) in &variables {
        assert!(KNOWN.contains(&name.as_str()), "{name}");
        assert!(text.lines().any(|line| line.split_once('=') == Some((name, value))), "{name}={value}");
    }
    let running = Firmware::of(&variables.into_iter().collect::<Vec<_>>());
    let offered = version_in(&text);
    if let Some(version) = &offered {
        assert!(!version.is_empty() && text.contains(version.as_str()));
    }
    if let Ok(true) = running.changes(offered.as_deref()) {
        assert!(offered.is_some() && offered != running.version);
    }
}

/// GRUB's block: what is read is written as the same variables and the same size, and one variable changes alone.
pub fn grub_block(data: &[u8]) {
    // With and without the first line, which random bytes seldom have.
    for bytes in [data.to_vec(), [b"# GRUB Environment Block\n", data].concat()] {
        let Ok(block) = Block::parse(&bytes) else { continue };
        let Ok(written) = block.format() else { continue };
        assert_eq!(written.len(), bytes.len().max(1024));
        let again = Block::parse(&written).unwrap();
        assert_eq!((&again.variables, &again.remarks), (&block.variables, &block.remarks));
        let mut changed = again.clone();
        changed.set("upgrade_available", "1");
        if let Ok(written) = changed.format() {
            let read = Block::parse(&written).unwrap();
            assert_eq!(read.get("upgrade_available"), Some("1"));
            let others = |b: &Block| {
                b.variables.iter().filter(|(n, _)| n != b"upgrade_available").cloned().collect::<Vec<_>>()
            };
            assert_eq!(others(&read), others(&again));
        }
    }
}
