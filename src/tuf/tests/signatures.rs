//! 4.2 and the arbitrary-software steps 5.3.4, 5.4.2, 5.5.3, 5.6.3: whose signature counts.

use ed25519_dalek::Signer;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::assert_reason;
use crate::tuf::canonical::Form;
use crate::tuf::testing::{Key, NOW, Repo, canonical, key_id};
use crate::tuf::{
    KeyFault, Limits, Profile, PublicKey, Reason, Rejection, TrustedMetadata, from_hex, to_hex,
};

const PROFILES: [Profile; 2] = [Profile::Tuf, Profile::Ats];

/// Offers a timestamp with these signatures to a client whose root has these keys.
fn offer(repo: &Repo, signatures: Vec<Value>) -> Result<(), Rejection> {
    let document = json!({"signatures": signatures, "signed": repo.roles["timestamp"]});
    let mut trusted = repo.trust_root();
    trusted.update_timestamp(document.to_string().into_bytes(), NOW).map(drop)
}

/// A repository whose timestamp needs `threshold` of `keys`.
fn with_keys(profile: Profile, keys: &[Key], threshold: u64) -> Repo {
    let mut repo = Repo::new(profile);
    repo.signers.insert("timestamp".into(), keys.to_vec());
    repo.write_root();
    repo.role("root")["roles"]["timestamp"]["threshold"] = json!(threshold);
    repo
}

fn keys(profile: Profile, count: u8) -> Vec<Key> {
    (20..20 + count).map(|number| Key::new(number, profile)).collect()
}

fn signatures(repo: &Repo, keys: &[Key]) -> Vec<Value> {
    keys.iter().map(|key| repo.signature(&repo.roles["timestamp"], key)).collect()
}

#[test]
fn a_threshold_of_keys_signs() {
    for profile in PROFILES {
        let keys = keys(profile, 5);
        let repo = with_keys(profile, &keys, 3);
        let all = signatures(&repo, &keys);
        assert!(offer(&repo, all[..3].to_vec()).is_ok());
        assert!(offer(&repo, all[2..].to_vec()).is_ok());
        assert!(offer(&repo, all.clone()).is_ok());
        assert_reason!(offer(&repo, all[..2].to_vec()), Reason::Unsigned { threshold: 3, valid: 2, .. });
        assert_reason!(offer(&repo, vec![]), Reason::Unsigned { valid: 0, .. });
    }
}

#[test]
fn a_threshold_above_the_number_of_keys_is_never_met() {
    let keys = keys(Profile::Tuf, 2);
    let repo = with_keys(Profile::Tuf, &keys, 3);
    assert_reason!(offer(&repo, signatures(&repo, &keys)), Reason::Unsigned { threshold: 3, valid: 2, .. });
}

#[test]
fn keys_of_other_roles_do_not_count() {
    for profile in PROFILES {
        let repo = Repo::new(profile);
        for other in ["root", "snapshot", "targets"] {
            let result = offer(&repo, signatures(&repo, &repo.signers[other]));
            assert_reason!(result, Reason::Unsigned { valid: 0, .. });
        }
        let unknown = signatures(&repo, &[Key::new(99, profile)]);
        assert_reason!(offer(&repo, unknown.clone()), Reason::Unsigned { valid: 0, .. });
        // And they do not disturb.
        let both = [unknown, signatures(&repo, &repo.signers["timestamp"])].concat();
        assert!(offer(&repo, both).is_ok());
    }
}

#[test]
fn a_key_id_that_signs_twice_refuses_the_file() {
    for profile in PROFILES {
        let repo = Repo::new(profile);
        let one = signatures(&repo, &repo.signers["timestamp"]);
        assert_reason!(offer(&repo, [one.clone(), one.clone()].concat()), Reason::DuplicateSignature { .. });
        // Also one that nobody asked.
        let unknown = signatures(&repo, &[Key::new(99, profile)]);
        let result = offer(&repo, [one, unknown.clone(), unknown].concat());
        assert_reason!(result, Reason::DuplicateSignature { .. });
    }
}

#[test]
fn one_key_under_two_ids_counts_once() {
    // In the ATS dialect any id will do.
    let mut twin = Key::new(20, Profile::Ats);
    twin.id = "another".into();
    let twins = [Key::new(20, Profile::Ats), twin];
    let repo = with_keys(Profile::Ats, &twins, 2);
    assert_reason!(offer(&repo, signatures(&repo, &twins)), Reason::Unsigned { threshold: 2, valid: 1, .. });
    // In the TUF dialect an unknown field makes another id for the same key.
    let mut twin = Key::new(20, Profile::Tuf);
    twin.object["x"] = json!(1);
    twin.id = key_id(&twin.object);
    let twins = [Key::new(20, Profile::Tuf), twin];
    let repo = with_keys(Profile::Tuf, &twins, 2);
    assert_reason!(offer(&repo, signatures(&repo, &twins)), Reason::Unsigned { threshold: 2, valid: 1, .. });
    let three = [&twins[..], &[Key::new(21, Profile::Tuf)]].concat();
    let repo = with_keys(Profile::Tuf, &three, 2);
    assert!(offer(&repo, signatures(&repo, &three)).is_ok());
}

#[test]
fn a_key_id_listed_twice_is_one_key() {
    let keys = keys(Profile::Tuf, 1);
    let mut repo = with_keys(Profile::Tuf, &keys, 2);
    repo.role("root")["roles"]["timestamp"]["keyids"] = json!([keys[0].id, keys[0].id]);
    assert_reason!(offer(&repo, signatures(&repo, &keys)), Reason::Unsigned { threshold: 2, valid: 1, .. });
}

#[test]
fn a_key_id_is_a_label_and_one_key_under_two_counts_once() {
    for profile in PROFILES {
        let mut key = Key::new(20, profile);
        key.id = "not a hash".into();
        let repo = with_keys(profile, std::slice::from_ref(&key), 1);
        assert!(offer(&repo, signatures(&repo, std::slice::from_ref(&key))).is_ok());
        let mut twin = key.clone();
        twin.id = "another".into();
        let both = [key, twin];
        let repo = with_keys(profile, &both, 2);
        assert_reason!(
            offer(&repo, signatures(&repo, &both)),
            Reason::Unsigned { threshold: 2, valid: 1, .. }
        );
    }
}

#[test]
fn a_key_id_without_a_key_and_keys_of_unknown_type_are_passed_over() {
    for profile in PROFILES {
        let mut keys = keys(profile, 1);
        for object in [
            json!({"keytype": "sigstore-oidc", "scheme": "Fulcio", "keyval": {"identity": "a@b", "issuer": "c"}}),
            json!({"keytype": "rsa", "scheme": "rsa-pkcs1v15-sha256", "keyval": {"public": "x"}}),
            json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {}}),
            json!({"keytype": 7}),
            json!([]),
        ] {
            let mut key = Key::new(30 + u8::try_from(keys.len()).unwrap(), profile);
            (key.id, key.object) = (key_id(&object), object);
            keys.push(key);
        }
        let mut repo = with_keys(profile, &keys, 1);
        repo.role("root")["roles"]["timestamp"]["keyids"].as_array_mut().unwrap().push(json!("nobody"));
        assert!(offer(&repo, signatures(&repo, &keys)).is_ok());
        assert_reason!(offer(&repo, signatures(&repo, &keys[1..])), Reason::Unsigned { valid: 0, .. });
    }
}

#[test]
fn a_broken_signature_does_not_count_and_does_not_disturb() {
    for profile in PROFILES {
        let keys = keys(profile, 2);
        let repo = with_keys(profile, &keys, 1);
        let good = signatures(&repo, &keys);
        let long = "00".repeat(100_000);
        for sig in ["", "00", "zz", "====", "é", long.as_str(), good[1]["sig"].as_str().unwrap()] {
            let mut broken = good[0].clone();
            broken["sig"] = json!(sig);
            assert_reason!(offer_small(&repo, vec![broken.clone()]), Reason::Unsigned { valid: 0, .. });
            assert!(offer_small(&repo, vec![broken, good[1].clone()]).is_ok());
        }
    }
}

/// As [`offer`], for files beyond the usual limit.
fn offer_small(repo: &Repo, signatures: Vec<Value>) -> Result<(), Rejection> {
    let limits = Limits { timestamp_bytes: 1 << 20, ..Limits::default() };
    let document = json!({"signatures": signatures, "signed": repo.roles["timestamp"]});
    let mut trusted = TrustedMetadata::new(repo.file("root"), repo.profile, limits)?;
    trusted.update_timestamp(document.to_string().into_bytes(), NOW).map(drop)
}

#[test]
fn dialects_are_not_mixed() {
    let repo = Repo::new(Profile::Tuf);
    let key = &repo.signers["timestamp"][0];
    let signed = &repo.roles["timestamp"];
    let ats = Repo { profile: Profile::Ats, ..repo.clone() };
    // Base64 where hex belongs, and the other way round.
    assert_reason!(offer(&repo, vec![ats.signature(signed, key)]), Reason::Unsigned { valid: 0, .. });
    let other = Repo::new(Profile::Ats);
    let tuf = Repo { profile: Profile::Tuf, ..other.clone() };
    let key = &other.signers["timestamp"][0];
    let signature = tuf.signature(&other.roles["timestamp"], key);
    assert_reason!(offer(&other, vec![signature]), Reason::Unsigned { valid: 0, .. });
    // A key without a scheme is none in the TUF dialect; names in capitals are none.
    for object in [
        json!({"keytype": "ed25519", "keyval": {"public": key.object["keyval"]["public"]}}),
        json!({"keytype": "ED25519", "scheme": "ed25519", "keyval": {"public": key.object["keyval"]["public"]}}),
    ] {
        let key = Key { id: key_id(&object), object, pair: key.pair.clone() };
        let repo = with_keys(Profile::Tuf, std::slice::from_ref(&key), 1);
        assert_reason!(offer(&repo, signatures(&repo, &[key])), Reason::Unsigned { valid: 0, .. });
    }
}

#[test]
fn the_ats_method_is_the_keys() {
    let repo = Repo::new(Profile::Ats);
    let mut signature = signatures(&repo, &repo.signers["timestamp"]).remove(0);
    for (method, accepted) in [
        ("ed25519", true),
        ("ED25519", true),
        ("rsassa-pss", false),
        ("rsassa-pss-sha256", false),
        ("x", false),
    ] {
        signature["method"] = json!(method);
        assert_eq!(offer(&repo, vec![signature.clone()]).is_ok(), accepted, "{method}");
    }
    signature.as_object_mut().unwrap().remove("method");
    assert!(offer(&repo, vec![signature]).is_ok());
}

#[test]
fn ats_signers_use_either_canonical_form() {
    let mut repo = Repo::new(Profile::Ats);
    repo.role("timestamp")["x"] = json!("é\n");
    let key = repo.signers["timestamp"][0].clone();
    for form in [Form::Ascii, Form::Olpc] {
        let sig = key.pair.sign(&canonical(&repo.roles["timestamp"], form)).to_bytes();
        let sig = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sig);
        assert!(offer(&repo, vec![json!({"keyid": key.id, "method": "ed25519", "sig": sig})]).is_ok());
    }
    // The TUF dialect knows one.
    let mut repo = Repo::new(Profile::Tuf);
    repo.role("timestamp")["x"] = json!("é\n");
    let key = repo.signers["timestamp"][0].clone();
    let sig = to_hex(&key.pair.sign(&canonical(&repo.roles["timestamp"], Form::Ascii)).to_bytes());
    assert_reason!(
        offer(&repo, vec![json!({"keyid": key.id, "sig": sig})]),
        Reason::Unsigned { valid: 0, .. }
    );
}

#[test]
fn ats_hashes_are_over_the_bytes_or_a_canonical_form() {
    let mut repo = Repo::new(Profile::Ats);
    repo.role("snapshot")["x"] = json!("é\n");
    let document = repo.envelope(&repo.roles["snapshot"], &repo.signers["snapshot"]);
    let pretty = serde_json::to_vec_pretty(&document).unwrap();
    let other = json!({"x": 1}).to_string().into_bytes();
    let forms = [pretty.clone(), canonical(&document, Form::Ascii), canonical(&document, Form::Olpc), other];
    for (index, form) in forms.iter().enumerate() {
        let listed = json!({"version": 1, "length": form.len(), "hashes": {"sha256": crate::tuf::testing::sha256(form)}});
        repo.role("timestamp")["meta"]["snapshot.json"] = listed;
        let mut trusted = repo.trust_root();
        trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
        assert_eq!(trusted.update_snapshot(pretty.clone(), NOW).is_ok(), index < 3, "{index}");
    }
    // TUF: the bytes and nothing else.
    let mut repo = Repo::new(Profile::Tuf);
    let document = repo.envelope(&repo.roles["snapshot"], &repo.signers["snapshot"]);
    let hash = crate::tuf::testing::sha256(&canonical(&document, Form::Olpc));
    repo.role("timestamp")["meta"]["snapshot.json"] = json!({"version": 1, "hashes": {"sha256": hash}});
    let mut trusted = repo.trust_root();
    trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
    let pretty = serde_json::to_vec_pretty(&document).unwrap();
    assert_reason!(trusted.update_snapshot(pretty, NOW), Reason::HashMismatch { .. });
}

fn openssl() -> Value {
    serde_json::from_str(include_str!("../testdata/openssl-keys.json")).unwrap()
}

fn read(object: &Value, profile: Profile) -> Result<PublicKey, KeyFault> {
    let raw = RawValue::from_string(object.to_string()).unwrap();
    PublicKey::read(&raw, profile)
}

fn rsa(public: &Value) -> Value {
    json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": public}})
}

fn ecdsa(public: &Value) -> Value {
    json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": public}})
}

#[test]
fn verifies_what_openssl_signs() {
    let vectors = openssl();
    let message = vectors["message"].as_str().unwrap().as_bytes();
    let sig = |name: &str, kind: &str| from_hex(vectors[name][kind].as_str().unwrap()).unwrap();
    for profile in PROFILES {
        for name in ["rsa2048", "rsa3072"] {
            let key = read(&rsa(&vectors[name]["public"]), profile).unwrap();
            assert!(key.verify(message, &sig(name, "pss32")));
            assert!(!key.verify(b"what is signee", &sig(name, "pss32")));
        }
        let key = read(&rsa(&vectors["rsa2048"]["public"]), profile).unwrap();
        assert!(!key.verify(message, &sig("rsa2048", "pkcs1")), "PKCS #1 v1.5 is another scheme");
        assert!(!key.verify(message, &sig("rsa2048", "pss0")), "the salt has 32 bytes");
        assert!(!key.verify(message, &sig("rsa3072", "pss32")));
        let key = read(&ecdsa(&vectors["p256"]["public"]), profile).unwrap();
        assert!(key.verify(message, &sig("p256", "der")));
        assert!(!key.verify(b"", &sig("p256", "der")));
    }
}

#[test]
fn weak_and_foreign_keys_are_unusable() {
    let vectors = openssl();
    let ed25519 =
        |public: &str| json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}});
    for object in [
        rsa(&vectors["rsa1024"]["public"]),
        rsa(&vectors["p256"]["public"]),
        rsa(&vectors["ed25519"]["public"]),
        rsa(&json!("")),
        rsa(&json!("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")),
        ecdsa(&vectors["p256"]["compressed"]),
        ecdsa(&vectors["p384"]["public"]),
        ecdsa(&vectors["k256"]["public"]),
        rsa(&vectors["rsa-pss-only"]["public"]),
        rsa(&vectors["rsa-trailing"]["public"]),
        ecdsa(&vectors["rsa2048"]["public"]),
        ecdsa(&json!("04")),
        ed25519(""),
        ed25519(&"00".repeat(31)),
        ed25519(&"00".repeat(33)),
        // Not on the curve; the neutral element; a point of small order.
        ed25519(&format!("02{}", "00".repeat(31))),
        ed25519(&format!("01{}", "00".repeat(31))),
        ed25519("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ] {
        for profile in PROFILES {
            let fault = read(&object, profile).unwrap_err();
            assert!(matches!(fault, KeyFault::Malformed(_)), "{object}: {fault}");
        }
    }
}

#[test]
fn key_types_by_dialect() {
    let vectors = openssl();
    let public = &vectors["p256"]["public"];
    let rsa_public = &vectors["rsa2048"]["public"];
    let point = match read(&ecdsa(public), Profile::Tuf).unwrap() {
        PublicKey::EcdsaP256(point) => to_hex(&point),
        other => panic!("{other:?}"),
    };
    for (object, tuf, ats) in [
        (
            json!({"keytype": "ecdsa-sha2-nistp256", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": public}}),
            true,
            true,
        ),
        (
            json!({"keytype": "ecdsa-sha2-nistp256", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": point}}),
            true,
            true,
        ),
        (json!({"keytype": "ECPRIME256V1", "keyval": {"public": public}}), false, true),
        (json!({"keytype": "RSA", "keyval": {"public": rsa_public}}), false, true),
        (json!({"keytype": "Rsa", "keyval": {"public": rsa_public}}), false, true),
        (
            json!({"keytype": "rsa", "scheme": "rsassa-pss-sha512", "keyval": {"public": rsa_public}}),
            false,
            true,
        ),
        (json!({"keytype": "dsa", "scheme": "dsa", "keyval": {"public": rsa_public}}), false, false),
    ] {
        for (profile, accepted) in [(Profile::Tuf, tuf), (Profile::Ats, ats)] {
            let result = read(&object, profile);
            assert_eq!(result.is_ok(), accepted, "{object} {profile:?}");
            if !accepted {
                assert!(matches!(result, Err(KeyFault::UnknownType(_))));
            }
        }
    }
}

#[test]
fn one_modulus_is_one_key_whatever_the_exponent() {
    let Ok(PublicKey::Rsa { n, e }) = read(&rsa(&openssl()["rsa2048"]["public"]), Profile::Tuf) else {
        panic!();
    };
    let other = PublicKey::Rsa { n: n.clone(), e: vec![3] };
    assert_eq!(other.identity(), PublicKey::Rsa { n, e }.identity());
}
