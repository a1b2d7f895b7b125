use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("rust-ota-old-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The facts of a device in the middle of an update that has failed before.
fn make(folder: &std::path::Path, schema: i64, more: &serde_json::Value) -> PathBuf {
    let path = folder.join(format!("{schema}.db"));
    let mut facts = json!({
        "schema": schema,
        "device_id": "device-1",
        "ecus": [["serial-1", "board"], ["serial-2", "sensor"]],
        "key": "private key",
        "tls": {"ca_cert": "ca", "client_cert": "certificate", "client_pkey": "key"},
        "versions": [
            {"sha256": "AA", "name": "board-1", "was_installed": 1},
            {"sha256": "bb", "name": "board-2", "is_current": 1, "was_installed": 1, "custom_meta": "{}"},
            {"sha256": "cc", "name": "board-3", "correlation_id": "c-3"},
            {"sha256": "dd", "name": "board-4", "is_pending": 1, "correlation_id": "c-4"},
            {"sha256": "ee", "name": "sensor-1", "ecu_serial": "serial-2"},
        ],
        "metadata": [
            {"director": true, "role": "root", "version": 10, "content": "{\"root\": 10}"},
            {"director": true, "role": "root", "version": 9, "content": "{\"root\": 9}"},
            {"director": false, "role": "snapshot", "content": "{}"},
        ],
        "ecu_report_counter": [{"ecu_serial": "serial-1", "counter": 77}, {"ecu_serial": "serial-2", "counter": 99}],
        "device_installation_result": [{"unique_mark": 0, "success": 0, "result_code": "INSTALL_FAILED", "description": "no", "correlation_id": "c-3"}],
        "report_events": [{"json_string": "{\"id\": 1}"}],
    });
    facts.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut python = Command::new("python3");
    python.arg("tests/python/old_client.py").arg(&path).arg(facts.to_string());
    let made = python.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

fn state(path: &std::path::Path) -> OldState {
    let before = fs::read(path).unwrap();
    let (state, _) = read(path).unwrap().unwrap();
    assert_eq!(fs::read(path).unwrap(), before, "it stays as it is");
    state
}

#[test]
fn every_schema_reads() {
    let folder = folder("schemas");
    make(&folder, 0, &json!({"schema": "all"}));
    for schema in 0..=NEWEST_SCHEMA {
        let old = state(&folder.join(format!("0.db.{schema}")));
        assert_eq!((old.schema, old.device_id.as_deref(), old.registered), (schema, Some("device-1"), true));
        let ecus: Vec<_> = old.ecus.iter().map(|e| (e.serial.as_str(), e.primary)).collect();
        assert_eq!(ecus, [("serial-1", true), ("serial-2", false)], "{schema}");
        assert_eq!(old.key.as_deref(), Some(&b"private key"[..]));
        assert_eq!(old.tls_key.as_deref(), Some(&b"key"[..]));
        let log: Vec<_> = old
            .versions
            .iter()
            .map(|v| (v.name.as_str(), v.sha256.as_str(), v.current, v.pending, v.installed))
            .collect();
        assert_eq!(log[0], ("board-1", "aa", false, false, true), "{schema}");
        assert_eq!((log[1].2, log[1].3), (schema >= 3, false), "{schema}");
        if schema >= 13 {
            // Until schema 19 the log has what was installed, and what waits for its boot.
            assert_eq!(log[2], ("board-3", "cc", false, false, schema < 20), "{schema}");
            assert_eq!(log[3], ("board-4", "dd", false, true, false), "{schema}");
            assert_eq!(old.versions[3].correlation_id, "c-4");
            assert_eq!(log.len(), 4, "not the Secondary's");
        }
        assert_eq!(old.versions[1].custom, if schema >= 21 { "{}" } else { "" });
        let metadata: Vec<_> = old.metadata.iter().map(|m| (m.director, m.role, m.bytes.len())).collect();
        let mut expected = vec![(false, "snapshot", 2), (true, "root", 11), (true, "root", 12)];
        if schema < 6 {
            expected.remove(1);
            assert_eq!((metadata[0], metadata[1].1), (expected[0], "root"), "one root a repository");
        } else {
            assert_eq!(metadata, expected, "{schema}");
        }
        assert_eq!(old.counter, if schema >= 22 { 77 } else { 0 });
        assert_eq!(old.events.len(), usize::from(schema >= 24));
        assert_eq!(old.result.map(|r| r.code), (schema >= 16).then(|| "INSTALL_FAILED".to_string()));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_not_understood_is_refused_and_what_is_empty_is_none() {
    let folder = folder("refused");
    assert!(read(&folder.join("none.db")).unwrap().is_none());
    fs::write(folder.join("empty.db"), "").unwrap();
    assert!(read(&folder.join("empty.db")).unwrap().is_none());
    let newer = make(&folder, 25, &json!({"schema": 25}));
    let sql = |statement: &str| {
        let script =
            "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute(sys.argv[2])\nc.commit()";
        let run = Command::new("python3").args(["-c", script]).arg(&newer).arg(statement).status().unwrap();
        assert!(run.success());
        read(&newer).unwrap_err().to_string()
    };
    let error = sql("UPDATE version SET version = 26");
    assert!(
        error.contains("its schema is 26; 0 to 25 are known") && error.contains("rust_ota.take_over"),
        "{error}"
    );
    let error = sql("DROP TABLE version");
    assert!(error.contains("no table with its version"), "{error}");
    fs::write(folder.join("junk.db"), vec![7; 5000]).unwrap();
    let error = read(&folder.join("junk.db")).unwrap_err().to_string();
    assert!(
        error.contains("junk.db: the old client's state cannot be read: it is not an SQLite database"),
        "{error}"
    );
    let error = read(&folder).unwrap_err().to_string();
    assert!(error.contains("it is not a file"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn who_uses_it_is_named() {
    let folder = folder("used");
    let path = make(&folder, 25, &json!({}));
    let script = "import fcntl, sqlite3, sys, time\n\
        if sys.argv[2] == 'lock':\n    \
            f = open(sys.argv[1], 'w')\n    \
            fcntl.lockf(f, fcntl.LOCK_EX)\n\
        else:\n    \
            c = sqlite3.connect(sys.argv[1])\n    \
            c.execute('BEGIN EXCLUSIVE')\n\
        print('ready', flush=True)\n\
        time.sleep(60)\n";
    for (file, how) in [(folder.join("storage.lock"), "lock"), (path.clone(), "transaction")] {
        let mut holder = Command::new("python3")
            .args(["-c", script])
            .arg(&file)
            .arg(how)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
        let error = read(&path).unwrap_err();
        let pid = holder.id() as i32;
        holder.kill().unwrap();
        holder.wait().unwrap();
        let OldStateError::InUse { path: named, process } = error else { panic!("{error}") };
        assert_eq!((named, process), (file, Some(pid)));
        assert!(read(&path).unwrap().is_some(), "once it has ended");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_stamp_changes_with_each_transaction_and_not_with_a_reader() {
    let folder = folder("stamp");
    let path = make(&folder, 25, &json!({}));
    let (_, first) = read(&path).unwrap().unwrap();
    assert_eq!(stamp(&path).unwrap(), Some(first.clone()));
    let sql = |statement: &str| {
        let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute(sys.argv[2]).fetchall()\nc.commit()";
        let run = Command::new("python3").args(["-c", script]).arg(&path).arg(statement).status().unwrap();
        assert!(run.success());
        stamp(&path).unwrap()
    };
    assert_eq!(sql("SELECT * FROM version"), Some(first.clone()));
    assert_ne!(sql("UPDATE ecu_report_counter SET counter = counter + 1"), Some(first));
    fs::remove_dir_all(folder).unwrap();
}
