use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("rust-ota-archive-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("in")).unwrap();
    folder
}

fn tar(folder: &Path, args: &[&str]) -> PathBuf {
    let out = folder.join("a.tgz");
    let status = Command::new("tar").arg("-czf").arg(&out).args(args).current_dir(folder).status().unwrap();
    assert!(status.success());
    out
}

#[test]
fn what_gnu_tar_packs_is_unpacked() {
    let dir = folder("gnu");
    let deep = "d/".repeat(60) + &"n".repeat(120);
    let path = dir.join("in").join(&deep);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "deep").unwrap();
    fs::write(dir.join("in/docker-compose.yml"), "services:\n").unwrap();
    fs::write(dir.join("in/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(dir.join("in/run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("run.sh", dir.join("in/link")).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        if format == "ustar" {
            fs::remove_dir_all(dir.join("in/d")).unwrap();
        }
        let out = dir.join(format);
        let packed = tar(&dir, &["--format", format, "-C", "in", "."]);
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("data"), "the app's own").unwrap();
        unpack(gunzip(&packed).unwrap(), &out).unwrap();
        unpack(gunzip(&packed).unwrap(), &out).unwrap();
        assert_eq!(fs::read_to_string(out.join("docker-compose.yml")).unwrap(), "services:\n");
        assert_eq!(fs::metadata(out.join("link")).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(fs::read_to_string(out.join("data")).unwrap(), "the app's own");
        assert_eq!(out.join(&deep).exists(), format != "ustar", "{format}");
        let found = find(gunzip(&packed).unwrap(), "docker-compose.yml", 100).unwrap();
        assert_eq!(found.as_deref(), Some(&b"services:\n"[..]), "{format}");
        assert!(find(gunzip(&packed).unwrap(), "docker-compose.yml", 5).is_err());
    }
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn nothing_is_written_outside() {
    let dir = folder("outside");
    fs::write(dir.join("in/x"), "x").unwrap();
    let up = tar(&dir, &["-P", "in/../in/x"]);
    let out = dir.join("out");
    assert!(unpack(gunzip(&up).unwrap(), &out).unwrap_err().to_string().contains("leads outside"));
    let absolute = tar(&dir, &["-P", dir.join("in/x").to_str().unwrap()]);
    assert!(unpack(gunzip(&absolute).unwrap(), &out).unwrap_err().to_string().contains("leads outside"));
    // A link first, then a file through it.
    symlink(dir.join("elsewhere"), dir.join("in/a")).unwrap();
    fs::create_dir(dir.join("elsewhere")).unwrap();
    let link = tar(&dir, &["-C", "in", "a"]);
    unpack(gunzip(&link).unwrap(), &out).unwrap();
    fs::remove_file(dir.join("in/a")).unwrap();
    fs::create_dir(dir.join("in/a")).unwrap();
    fs::write(dir.join("in/a/x"), "x").unwrap();
    let through = tar(&dir, &["-C", "in", "a/x"]);
    assert!(unpack(gunzip(&through).unwrap(), &out).unwrap_err().to_string().contains("write through"));
    assert!(!dir.join("elsewhere/x").exists());
    fs::remove_dir_all(&dir).unwrap();
}

/// Only a PAX record can have one: a header's field ends there.
#[test]
fn a_zero_byte_in_a_name_is_refused() {
    for record in ["12 path=a\0b\n", "16 linkpath=a\0b\n"] {
        let mut bytes = Vec::new();
        put(&mut bytes, "p", 0o644, record.len() as u64, &mut record.as_bytes()).unwrap();
        bytes[156] = b'x';
        let sum = octal(&bytes[148..156]).unwrap() + u64::from(b'x' - b'0');
        bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        put(&mut bytes, "f", 0o644, 0, &mut io::empty()).unwrap();
        end(&mut bytes).unwrap();
        let refused = entries(&bytes[..], &mut |_, _| Ok(())).unwrap_err().to_string();
        assert!(refused.contains("zero byte"), "{refused}");
    }
}

#[test]
fn gnu_tar_reads_what_is_written_and_a_cut_is_seen() {
    let dir = folder("own");
    let mut bytes = Vec::new();
    let long = format!("{}/{}", "p".repeat(90), "q".repeat(90));
    for name in ["a", long.as_str()] {
        put(&mut bytes, name, 0o644, 3, &mut &b"abc"[..]).unwrap();
    }
    end(&mut bytes).unwrap();
    assert!(put(&mut Vec::new(), &"x".repeat(101), 0, 0, &mut io::empty()).is_err());
    fs::write(dir.join("a.tgz"), gzip(&bytes).unwrap()).unwrap();
    let listing = Command::new("tar").args(["-tzf", "a.tgz"]).current_dir(&dir).output().unwrap();
    assert_eq!(String::from_utf8(listing.stdout).unwrap(), format!("a\n{long}\n"));
    let mut seen = 0;
    entries(&bytes[..], &mut |_, _| {
        seen += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, 2);
    for cut in [0, 100, 513, 1024] {
        assert!(entries(&bytes[..cut], &mut |_, _| Ok(())).is_err(), "{cut}");
    }
    bytes[0] = b'z';
    assert!(entries(&bytes[..], &mut |_, _| Ok(())).unwrap_err().to_string().contains("damaged"));
    fs::remove_dir_all(&dir).unwrap();
}

/// A tar stream of one entry of this kind, which says that it has so many bytes.
fn entry_of(kind: u8, size: u64) -> Vec<u8> {
    let mut header = header("f", 0o644, size).unwrap();
    let sum = octal(&header[148..156]).unwrap() + u64::from(kind) - u64::from(b'0');
    header[156] = kind;
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.to_vec()
}

fn refused(bytes: &[u8]) -> String {
    entries(bytes, &mut |_, _| Ok(())).unwrap_err().to_string()
}

#[test]
fn an_archive_has_limits() {
    // It unpacks to a byte too much, which its first entry alone does not.
    let one = [&entry_of(b'0', BLOCK as u64)[..], &[0; BLOCK]].concat();
    let most = UNPACKED_LIMIT - BLOCK as u64;
    let said = refused(&[one.clone(), entry_of(b'0', most + 1)].concat());
    assert!(said.contains("unpacks to more than"), "{said}");
    let said = refused(&[one, entry_of(b'0', most)].concat());
    assert!(!said.contains("unpacks to more than"), "{said}");
    for kind in [b'x', b'L', b'K'] {
        let said = refused(&entry_of(kind, NAME_LIMIT + 1));
        assert!(said.contains("a name that is too long"), "{said}");
    }
    let said = refused(&entry_of(b'0', 0).repeat(MOST_ENTRIES + 1));
    assert!(said.contains("has more than"), "{said}");
}

#[test]
fn only_files_folders_and_links_are_in_an_archive() {
    // Hard link, character and block device, pipe, and what nobody knows.
    for kind in [b'1', b'3', b'4', b'6', b'7', b'Z'] {
        let said = refused(&entry_of(kind, 0));
        assert!(said.contains("no file, folder or symbolic link"), "{}: {said}", char::from(kind));
    }
}
