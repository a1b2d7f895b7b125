//! The block by bytes, and beside GRUB's own tool.

use super::*;
use std::process::Command;

fn block(lines: &str) -> Vec<u8> {
    let mut bytes = [HEADER, lines.as_bytes()].concat();
    bytes.resize(SIZE, b'#');
    bytes
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("rust-ota-grub-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn what_is_read_is_written_again() {
    let bytes = block("# WARNING: no\nsaved_entry=a=b\nodd=back\\\\slash and \\\nline\nempty=\n");
    let parsed = Block::parse(&bytes).unwrap();
    assert_eq!(parsed.get("saved_entry"), Some("a=b"));
    assert_eq!(parsed.get("odd"), Some("back\\slash and \nline"));
    assert_eq!((parsed.get("empty"), parsed.get("none")), (Some(""), None));
    assert_eq!(parsed.format().unwrap(), bytes);
}

#[test]
fn what_is_no_block_is_refused() {
    let table: Vec<(Vec<u8>, BlockFault)> = vec![
        (vec![], BlockFault::Size(0)),
        (vec![b'#'; LARGEST + 1], BlockFault::Size(LARGEST + 1)),
        (vec![b'#'; SIZE], BlockFault::Header),
        (block("no sign\n"), BlockFault::Line(25)),
        (block("=x\n"), BlockFault::Line(25)),
        (block("a=1\nb=never ends"), BlockFault::Line(29)),
        ([HEADER, b"a=1\\"].concat(), BlockFault::Line(25)),
    ];
    for (bytes, fault) in table {
        assert_eq!(Block::parse(&bytes), Err(fault), "{:?}", String::from_utf8_lossy(&bytes));
    }
    let mut full = Block::parse(&block("")).unwrap();
    full.set("x", &"\\".repeat(500));
    assert_eq!(full.format(), Err(BlockFault::Full(25 + 2 + 1000 + 1)));
}

#[test]
fn a_trial_and_its_end_through_a_symbolic_link() {
    let folder = folder("trial");
    fs::create_dir(folder.join("efi")).unwrap();
    let file = folder.join("efi/grubenv");
    fs::write(&file, block("saved_entry=0\nbootcount=3\nbootlimit=3\n")).unwrap();
    std::os::unix::fs::symlink("efi/grubenv", folder.join("grubenv")).unwrap();
    let grub = Grub::new(folder.join("grubenv"));
    assert!(!grub.state().unwrap().trial);
    grub.arm().unwrap();
    assert!(folder.join("grubenv").is_symlink());
    assert_eq!((grub.state().unwrap().trial, grub.state().unwrap().rolled_back), (true, Some(false)));
    let armed = Block::parse(&fs::read(&file).unwrap()).unwrap();
    assert_eq!((armed.get("saved_entry"), armed.get("bootcount")), (Some("0"), Some("0")));
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    grub.arm().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before, "nothing is written twice");

    let mut gave_up = armed;
    gave_up.set("rollback", "1");
    gave_up.set("upgrade_available", "0");
    fs::write(&file, gave_up.format().unwrap()).unwrap();
    assert_eq!(grub.state().unwrap().rolled_back, Some(true));
    grub.confirm().unwrap();
    assert_eq!((grub.state().unwrap().trial, grub.state().unwrap().rolled_back), (false, Some(false)));
    fs::write(&file, "nonsense").unwrap();
    let error = grub.confirm().unwrap_err().to_string();
    assert!(error.contains("grubenv") && error.contains("8 bytes"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

/// Without the tool there is nothing to compare with; `scripts/install-deps dev` does not need it.
#[test]
fn grubs_own_tool_reads_what_we_write() {
    let Ok(version) = Command::new("grub-editenv").arg("--version").output() else { return };
    assert!(version.status.success());
    let folder = folder("tool");
    let file = folder.join("grubenv");
    let run = |args: &[&str]| {
        let output = Command::new("grub-editenv").arg(&file).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["create"]);
    run(&["set", "bootcount=2", "odd=back\\slash"]);
    let grub = Grub::new(file.clone());
    assert_eq!(grub.state().unwrap().variables, [("bootcount".to_string(), "2".to_string())]);
    grub.arm().unwrap();
    assert_eq!(run(&["list"]), "bootcount=0\nodd=back\\slash\nrollback=0\nupgrade_available=1\n");
    run(&["unset", "odd"]);
    grub.confirm().unwrap();
    assert_eq!(run(&["list"]), "bootcount=0\nrollback=0\nupgrade_available=0\n");
    fs::remove_dir_all(folder).unwrap();
}
