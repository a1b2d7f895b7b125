//! Files as OpenSSL makes them, in each way that it knows.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::gateway::identity::common_name_of;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn openssl(folder: &Path, args: &str) {
    let output = Command::new("openssl").args(args.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `key.pem`, `own.pem` (device-3) and `ca.pem`.
fn folder(name: &str, key: &str) -> Folder {
    let path = std::env::temp_dir().join(format!("rust-ota-p12-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    openssl(
        &path,
        &format!("req -x509 -newkey {key} -nodes -keyout ca.key -out ca.pem -subj /CN=authority -days 9"),
    );
    openssl(&path, &format!("req -newkey {key} -nodes -keyout key.pem -out own.csr -subj /CN=device-3"));
    openssl(&path, "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -days 9");
    Folder(path)
}

fn made(folder: &Folder, how: &str) -> Vec<u8> {
    openssl(&folder.0, &format!("pkcs12 -export -inkey key.pem -in own.pem -out x.p12 {how}"));
    std::fs::read(folder.0.join("x.p12")).unwrap()
}

const EC: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

#[test]
fn every_way_of_openssl() {
    let folder = folder("ways", EC);
    openssl(&folder.0, "pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out key.der");
    openssl(&folder.0, "x509 -in own.pem -outform DER -out own.der");
    openssl(&folder.0, "x509 -in ca.pem -outform DER -out ca.der");
    let der = |name: &str| std::fs::read(folder.0.join(name)).unwrap();
    for (how, password) in [
        ("-certfile ca.pem -passout pass:secret", "secret"),
        ("-certfile ca.pem -passout pass:", ""),
        ("-certfile ca.pem -passout pass:s\u{e9}\u{1F512}", "s\u{e9}\u{1F512}"),
        ("-certfile ca.pem -passout pass:secret -legacy", "secret"),
        ("-certfile ca.pem -passout pass: -legacy", ""),
        (
            "-certfile ca.pem -passout pass:secret -keypbe aes-128-cbc -certpbe aes-192-cbc -macalg sha512",
            "secret",
        ),
        (
            "-certfile ca.pem -passout pass:secret -keypbe des-ede3-cbc -certpbe PBE-SHA1-RC2-128 -macalg sha384 -legacy",
            "secret",
        ),
        ("-certfile ca.pem -passout pass:secret -keypbe NONE -certpbe NONE", "secret"),
        ("-certfile ca.pem -passout pass: -nomac", ""),
        ("-certfile ca.pem -passout pass:secret -noiter -nomaciter -name friendly", "secret"),
    ] {
        let file = made(&folder, how);
        let found = open(&file, password).unwrap_or_else(|e| panic!("{how}: {e}"));
        assert_eq!(*found.key, der("key.der"), "{how}");
        assert_eq!(found.chain, [der("own.der")], "{how}");
        assert_eq!(found.authorities, [der("ca.der")], "{how}");
        // Without a code over it, a wrong key shows in the padding, or in what it makes of the content.
        let wrong = open(&file, "wrong").unwrap_err();
        assert!(wrong == Pkcs12Error::Password || how.contains("nomac"), "{how}: {wrong}");
        // Each byte is under the code.
        let mut changed = file.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        assert!(open(&changed, password).is_err() || how.contains("nomac"), "{how}");
        for end in (0..file.len()).step_by(7) {
            assert!(open(&file[..end], password).is_err(), "{how}: {end} bytes of it");
        }
    }
}

#[test]
fn rsa_keys_and_what_is_missing() {
    let folder = folder("rsa", "rsa:2048");
    let found = open(&made(&folder, "-certfile ca.pem -passout pass: -legacy"), "").unwrap();
    assert_eq!(common_name_of(&found.chain[0]).as_deref(), Some("device-3"));
    openssl(&folder.0, "pkcs12 -export -nokeys -in ca.pem -out x.p12 -passout pass:");
    let file = std::fs::read(folder.0.join("x.p12")).unwrap();
    assert_eq!(open(&file, ""), Err(Pkcs12Error::NoKey));
    assert_eq!(open(b"not at all", ""), Err(Pkcs12Error::Broken("its outermost part")));
    assert_eq!(open(&vec![0x30; LARGEST + 1], ""), Err(Pkcs12Error::Broken("its size")));
    let unknown = made(&folder, "-passout pass:secret -keypbe PBE-SHA1-RC4-128 -legacy");
    let error = open(&unknown, "secret").unwrap_err();
    assert_eq!(error, Pkcs12Error::Unsupported("1.2.840.113549.1.12.1.1".to_string()));
    assert!(found.authorities.len() == 1 && !format!("{found:?}").contains('['), "{found:?}");
}
