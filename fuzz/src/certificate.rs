//! A device's certificate, which a provisioning service wrote.

use rust_ota::device::zip::{Zip, pack};
use rust_ota::gateway::identity::{common_name_of, not_after};
use rust_ota::gateway::pkcs12;

/// Any bytes as a certificate: its end is a moment that can be written, and its name is a part of the bytes.
pub fn certificate(data: &[u8]) {
    if let Some(end) = not_after(data) {
        assert!((1950..=9999).contains(&end.to_string()[..4].parse::<u32>().unwrap()), "{end}");
    }
    if let Some(name) = common_name_of(data) {
        assert!(data.windows(name.len().max(1)).any(|part| part == name.as_bytes()) || name.is_empty());
    }
}

/// Any bytes as PKCS#12, which a server sends: what opens has a key and a certificate.
pub fn pkcs12(data: &[u8]) {
    if let Ok(found) = pkcs12::open(data, "") {
        assert!(!found.chain.is_empty());
        assert!(found.authorities.iter().chain(&found.chain).all(|der| der.len() < data.len()));
    }
}

/// Any bytes as the zip of a fleet: without some of its members, the others are what they were.
pub fn credentials_zip(data: &[u8]) {
    let names = ["autoprov.url", "autoprov_credentials.p12", "root.json"];
    let Ok(zip) = Zip::read(data) else { return };
    let before = names.map(|name| zip.member(name));
    if let Ok(less) = zip.without(&[names[1]]) {
        let zip = Zip::read(&less).unwrap();
        assert!(!zip.has(names[1]));
        assert_eq!([zip.member(names[0]), zip.member(names[2])], [before[0].clone(), before[2].clone()]);
    }
    let members: Vec<_> =
        names.iter().zip(&before).filter_map(|(n, m)| Some((n.as_bytes(), m.clone().ok()??))).collect();
    let packed = pack(&members);
    let zip = Zip::read(&packed).unwrap();
    assert!(members.iter().all(|(name, content)| {
        zip.member(std::str::from_utf8(name).unwrap()).unwrap().as_ref() == Some(content)
    }));
}
