//! Everything of `rust_ota::tuf` that reads what others wrote.

mod search;
mod workflow;

pub use search::search;
pub use workflow::workflow;

use rust_ota::tuf::canonical::{Canonical, Form};
use rust_ota::tuf::glob::{self, Rules};
use rust_ota::tuf::testing::{NOW, Repo};
use rust_ota::tuf::{Limits, Profile, Time, TrustedMetadata};
use serde_json::{Value, json};

const PROFILES: [Profile; 2] = [Profile::Tuf, Profile::Ats];

/// Canonical forms: both refuse the same documents but for fractions, mean the same, and are their own canonical form.
pub fn canonical(data: &[u8]) {
    let (ascii, olpc) = (Canonical::new(data, Form::Ascii), Canonical::new(data, Form::Olpc));
    let (Ok(ascii), Ok(olpc)) = (&ascii, &olpc) else {
        assert!(olpc.is_err());
        if let Ok(ascii) = &ascii {
            let again = Canonical::new(ascii.document(), Form::Ascii).unwrap();
            assert_eq!(again.document(), ascii.document());
        }
        return;
    };
    assert!(ascii.document().is_ascii());
    let again = Canonical::new(ascii.document(), Form::Ascii).unwrap();
    assert_eq!(again.document(), ascii.document());
    let again = Canonical::new(ascii.document(), Form::Olpc).unwrap();
    assert_eq!(again.document(), olpc.document());
    let (meant, written): (Value, Value) =
        (serde_json::from_slice(data).unwrap(), serde_json::from_slice(ascii.document()).unwrap());
    assert_eq!(meant, written);
    assert_eq!(ascii.signed().is_some(), meant.get("signed").is_some());
    if let Some(signed) = ascii.signed() {
        assert_eq!(Some(&serde_json::from_slice::<Value>(signed).unwrap()), meant.get("signed"));
    }
}

/// Any bytes as any file: nothing that nobody signed is taken, and nothing changes by a refusal.
pub fn files(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    let profile = PROFILES[usize::from(which & 1)];
    let _ = TrustedMetadata::new(data.to_vec(), profile, Limits::default());
    let mut repo = Repo::new(profile);
    repo.delegate("targets", "d", &["*"], false);
    repo.update(&["targets"]);
    let mut trusted = repo.trust();
    repo.update(&["targets"]);
    let honest = match which >> 1 & 7 {
        0 => offer(&mut trusted, data, repo.file("root"), |t, b| t.update_root(b).is_ok()),
        1 => offer(&mut trusted, data, repo.file("timestamp"), |t, b| t.update_timestamp(b, NOW).is_ok()),
        2 => offer(&mut trusted, data, repo.file("snapshot"), |t, b| t.update_snapshot(b, NOW).is_ok()),
        3 => offer(&mut trusted, data, repo.file("targets"), |t, b| t.update_targets(b, NOW).is_ok()),
        4 => offer(&mut trusted, data, repo.file("d"), |t, b| {
            t.update_delegated("targets", "d", b, NOW).is_ok()
        }),
        5 => offer(&mut trusted, data, repo.file("timestamp"), |t, b| t.restore_timestamp(b).is_ok()),
        _ => offer(&mut trusted, data, repo.file("snapshot"), |t, b| t.restore_snapshot(b).is_ok()),
    };
    if !honest {
        let _ = repo.refresh(&mut trusted);
        trusted.check(NOW).unwrap();
    }
}

/// Takes the input as it is, and as a change of an honest file; tells whether anything was taken.
fn offer(
    trusted: &mut TrustedMetadata,
    data: &[u8],
    honest: Vec<u8>,
    take: fn(&mut TrustedMetadata, Vec<u8>) -> bool,
) -> bool {
    let before = format!("{trusted:?}");
    let mut changed = honest.clone();
    for pair in data.chunks_exact(3).take(8) {
        let at = usize::from(pair[0]) << 8 | usize::from(pair[1]);
        let at = at % changed.len();
        changed[at] = pair[2];
    }
    let mut taken = false;
    for bytes in [data.to_vec(), changed] {
        let same = same_signed(&mended(&bytes), &mended(&honest));
        if take(trusted, bytes) {
            assert!(same, "taken, and not what was signed");
            taken = true;
        } else if !taken {
            assert_eq!(format!("{trusted:?}"), before);
        }
    }
    taken
}

/// Control characters in strings as their escapes: the ATS dialect has them raw, and means the same.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut mended = Vec::new();
    let (mut in_string, mut escape) = (false, false);
    for &byte in bytes {
        match byte {
            0..0x20 if in_string && !escape => mended.extend(format!("\\u{byte:04x}").bytes()),
            _ => mended.push(byte),
        }
        in_string ^= byte == b'"' && !escape;
        escape = byte == b'\\' && !escape;
    }
    mended
}

/// Whether two files say the same in `signed`: what is beside it (spaces, order, other signatures) is free.
fn same_signed(a: &[u8], b: &[u8]) -> bool {
    let signed = |bytes| Canonical::new(bytes, Form::Ascii).ok().and_then(|c| c.signed().map(<[u8]>::to_vec));
    signed(a).is_some_and(|a| Some(a) == signed(b))
}

/// Key objects with any text in them: none of them signs.
pub fn keys(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for profile in PROFILES {
        let mut repo = Repo::new(profile);
        let objects = [
            json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": text}}),
            json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": text}}),
            json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": text}}),
            serde_json::from_slice(data).unwrap_or(json!({"keytype": text})),
        ];
        let root = repo.role("root");
        for object in objects {
            let id = rust_ota::tuf::testing::key_id_of(&object).unwrap_or_default();
            root["keys"][&id] = object;
            root["roles"]["timestamp"]["keyids"].as_array_mut().unwrap().push(json!(id));
        }
        repo.publish();
        let Ok(mut trusted) = TrustedMetadata::new(repo.file("root"), profile, Limits::default()) else {
            // Only a document that cannot be signed at all is refused for its keys.
            assert!(
                Canonical::new(data, Form::Olpc).is_err() || serde_json::from_slice::<Value>(data).is_ok()
            );
            return;
        };
        repo.refresh(&mut trusted).unwrap();
    }
}

/// Patterns against a slow and simple matcher.
pub fn glob(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((pattern, name)) = text.split_once('\n') else { return };
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().take(12).collect(), name.chars().take(12).collect());
    // Brackets are left to the crash oracle: their reading is the matcher's own business.
    let simple = !pattern.contains(&'[') && !pattern.contains(&'\\');
    let (p, n): (String, String) = (pattern.iter().collect(), name.iter().collect());
    for rules in [Rules::Components, Rules::Fnmatch] {
        let fast = glob::matches(&p, &n, rules);
        if simple {
            assert_eq!(fast, slow_match(&pattern, &name, rules), "{p:?} {n:?} {rules:?}");
        }
    }
}

fn slow_match(pattern: &[char], name: &[char], rules: Rules) -> bool {
    let wild = |c: char| rules == Rules::Fnmatch || c != '/';
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            slow_match(rest, name, rules)
                || name.split_first().is_some_and(|(c, after)| wild(*c) && slow_match(pattern, after, rules))
        }
        (['?', p @ ..], [c, n @ ..]) => wild(*c) && slow_match(p, n, rules),
        ([a, p @ ..], [b, n @ ..]) => a == b && slow_match(p, n, rules),
        _ => false,
    }
}

/// Dates: what is read is written back as the same moment.
pub fn time(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(time) = Time::parse(&text) {
        let written = time.to_string();
        // An offset can lead out of the four-digit years, which only writing shows.
        if written.len() == 20 && !written.starts_with('-') {
            assert_eq!(Time::parse(&written), Some(time), "{text}");
        }
    }
}
