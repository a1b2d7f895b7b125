use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::config::load;
use crate::tuf::Envelope;

fn settings(name: &str, more: &str) -> (PathBuf, Settings) {
    let folder = std::env::temp_dir().join(format!("rust-ota-device-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("import")).unwrap();
    let file = folder.join("a.toml");
    let text = format!(
        "[storage]\npath = {}\n[provision]\nprimary_ecu_hardware_id = board\n{more}",
        folder.display()
    );
    fs::write(&file, text).unwrap();
    let settings = load(&[file]).unwrap().1;
    (folder, settings)
}

fn openssl(folder: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn made_once_and_kept_from_others() {
    let (folder, settings) = settings("once", "");
    let first = identity(&settings).unwrap();
    let path = settings.state.join("ecu-key.pem");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(first.record.serial, first.key.id(), "the serial is the key's id by default");
    assert_eq!(first.key.public(), first.key.public().to_ascii_uppercase());
    let second = identity(&settings).unwrap();
    assert_eq!((second.key.public(), &second.record), (first.key.public(), &first.record));

    // What the configuration says later changes nothing: the server knows the first.
    let changed = Settings { ecu_serial: Some("other".into()), hardware_id: "other".into(), ..settings };
    assert_eq!(identity(&changed).unwrap().record, first.record);

    let pem = folder.join("rust-ota/ecu-key.pem");
    openssl(&folder, &["pkey", "-in", pem.to_str().unwrap(), "-noout"]);
    fs::write(&pem, "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n").unwrap();
    let error = identity(&changed).unwrap_err().to_string();
    assert!(error.contains("ecu-key.pem"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn rsa_keys_are_brought_along() {
    let import = "[uptane]\nkey_type = RSA2048\n";
    let (folder, without) = settings("rsa-none", import);
    assert!(matches!(identity(&without), Err(DeviceError::NoRsaKey)));
    assert!(!without.state.join("ecu.json").exists(), "no serial without a key");
    fs::remove_dir_all(folder).unwrap();

    let (folder, with) = settings("rsa", &format!("{import}[import]\nuptane_private_key_path = key.pem\n"));
    assert!(matches!(identity(&with), Err(DeviceError::Key { .. })), "it is not there");
    openssl(
        &folder,
        &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "import/key.pem"],
    );
    let rsa = identity(&with).unwrap();
    let public = openssl(&folder, &["pkey", "-in", "import/key.pem", "-pubout"]);
    assert_eq!(rsa.key.public(), String::from_utf8(public).unwrap(), "as OpenSSL writes it");
    assert_eq!(rsa.key.kind(), "RSA");
    let mode = fs::metadata(with.state.join("ecu-key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The older form too.
    fs::remove_file(with.state.join("ecu-key.pem")).unwrap();
    openssl(&folder, &["rsa", "-in", "import/key.pem", "-traditional", "-out", "import/key.pem"]);
    assert_eq!(identity(&with).unwrap().key.public(), rsa.key.public());

    // Signed as the metadata of this dialect is, so the same code must take it.
    let signature = rsa.key.sign(b"{\"a\":1}").unwrap();
    assert_eq!(signature.method, "rsassa-pss");
    fs::write(
        folder.join("sig"),
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &signature.sig).unwrap(),
    )
    .unwrap();
    fs::write(folder.join("message"), "{\"a\":1}").unwrap();
    fs::write(folder.join("public.pem"), rsa.key.public()).unwrap();
    openssl(
        &folder,
        &[
            "dgst",
            "-sha256",
            "-sigopt",
            "rsa_padding_mode:pss",
            "-sigopt",
            "rsa_pss_saltlen:32",
            "-verify",
            "public.pem",
            "-signature",
            "sig",
            "message",
        ],
    );
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn hex_of_the_other_client_and_keys_of_no_use() {
    let more = "[import]\nuptane_private_key_path = key\n[provision]\nprimary_ecu_serial = S1\n";
    let (folder, settings) = settings("hex", more);
    // The first key pair of RFC 8032, 7.1.
    let secret = "9D61B19DEFFD5A60BA844AF492EC2CC44449C5697B326919703BAC031CAE7F60";
    let public = "D75A980182B10AB7D54BFED3C964073A0EE172F3DAA62325AF021A68F707511A";
    fs::write(folder.join("import/key"), format!("{secret}{public}\n")).unwrap();
    let own = identity(&settings).unwrap();
    assert_eq!((own.key.public(), own.record.serial.as_str()), (public, "S1"));
    // Over the text in quotes, by `printf '"D75A..."' | sha256sum`.
    assert_eq!(own.key.id(), "cb189cfe1530d8f74be62a0ba7304fad8ed41f642164e1dfb155d83156871f48");
    fs::remove_dir_all(&settings.state).unwrap();
    for (content, why) in [
        ("", "neither"),
        ("00", "neither"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n", "elliptic"),
    ] {
        fs::write(folder.join("import/key"), content).unwrap();
        let error = identity(&settings).unwrap_err().to_string();
        assert!(error.contains("import/key") && error.contains(why), "{error}");
        assert!(!settings.state.join("ecu-key.pem").exists());
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn names_that_no_server_takes() {
    let (folder, settings) = settings("names", "");
    let long = "x".repeat(201);
    for (serial, hardware_id) in [(long.as_str(), "board"), ("s", long.as_str()), ("s", ""), ("s\n", "board")]
    {
        let bad = Settings {
            ecu_serial: Some(serial.to_string()),
            hardware_id: hardware_id.to_string(),
            ..settings.clone()
        };
        assert!(matches!(identity(&bad), Err(DeviceError::Name { .. })), "{serial:?} {hardware_id:?}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn signatures_are_those_of_the_dialect() {
    let (folder, settings) = settings("sign", "");
    let own = identity(&settings).unwrap();
    let report =
        crate::uptane::signed(&serde_json::json!({"b": "é\n", "a": 1}), &|m| own.key.sign(m)).unwrap();
    let bytes = serde_json::to_vec(&report).unwrap();
    let limits = crate::tuf::Limits::default();
    Envelope::open(&bytes, crate::tuf::Profile::Ats, &limits).unwrap();
    fs::remove_dir_all(folder).unwrap();
}
