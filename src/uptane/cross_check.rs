//! One Target in both repositories: whoever holds the keys of one alone can install nothing.

use std::collections::BTreeMap;

use super::assignment::{Assignment, Ecu};
use super::custom::{DirectorCustom, ImageCustom, read};
use super::fault::{Fault, Repository};
use crate::decide::SignedDelta;
use crate::tuf::{Hashes, TargetInfo};

/// A Target that both repositories agree on. Nothing else may be downloaded.
#[derive(Clone, Debug)]
pub struct Verified<'e> {
    /// Its name.
    pub target: String,
    /// `custom.version` as a number, -1 where it has none.
    pub version: i64,
    /// The ECUs that are to have it.
    pub ecus: Vec<&'e Ecu>,
    /// Its length and every hash that either repository gives.
    pub info: TargetInfo,
    /// Where the content is, if not in the Image repository. The Director's word goes first.
    pub uri: Option<String>,
    /// The static deltas to it that the Image repository signs.
    pub deltas: BTreeMap<String, SignedDelta>,
    /// Whether it is an OSTree commit.
    pub is_ostree: bool,
    /// Its release counter; 0 if it has none.
    pub release_counter: u64,
}

/// Compares an assignment with what the Image repository has under that name.
pub fn cross_check<'e>(
    assignment: &Assignment<'e>,
    image: Option<&TargetInfo>,
) -> Result<Verified<'e>, Fault> {
    let target = assignment.target.as_str();
    let director = &assignment.info;
    let image = image.ok_or_else(|| Fault::NotInImageRepository { target: target.to_owned() })?;
    if director.length != image.length {
        return Err(Fault::LengthDiffers {
            target: target.to_owned(),
            director: director.length,
            image: image.length,
        });
    }
    let hashes = shared_hashes(target, &director.hashes, &image.hashes)?;
    let director_custom: DirectorCustom = read(Repository::Director, target, director)?;
    let image_custom: ImageCustom = read(Repository::Image, target, image)?;
    check_hardware(target, &assignment.ecus, &image_custom)?;
    let (ordered, made) = (&director_custom.both, &image_custom.both);
    let release_counter = counter(target, ordered.release_counter, made.release_counter)?;
    check_counter(target, &assignment.ecus, release_counter)?;
    Ok(Verified {
        target: target.to_owned(),
        version: made.version(),
        ecus: assignment.ecus.clone(),
        info: TargetInfo { length: director.length, hashes, custom: director.custom.clone() },
        uri: ordered.uri().or_else(|| made.uri()),
        deltas: made.deltas(),
        is_ostree: ordered.is_ostree(made, director.length),
        release_counter,
    })
}

/// Every hash that both give has to be equal, and the SHA-256 has to be given by both.
fn shared_hashes(target: &str, director: &Hashes, image: &Hashes) -> Result<Hashes, Fault> {
    for (repository, hashes) in [(Repository::Director, director), (Repository::Image, image)] {
        if hashes.sha256.is_none() {
            return Err(Fault::NoSha256 { target: target.to_owned(), repository });
        }
    }
    let differs = |algorithm: &str| {
        Err(Fault::HashDiffers { target: target.to_owned(), algorithm: algorithm.to_owned() })
    };
    if director.sha256 != image.sha256 {
        return differs("sha256");
    }
    if let (Some(ordered), Some(made)) = (&director.sha512, &image.sha512)
        && ordered != made
    {
        return differs("sha512");
    }
    for (algorithm, hash) in &director.other {
        let made = image.other.iter().find(|(name, _)| name == algorithm);
        if made.is_some_and(|(_, made)| !made.eq_ignore_ascii_case(hash)) {
            return differs(algorithm);
        }
    }
    let sha512 = director.sha512.clone().or_else(|| image.sha512.clone());
    Ok(Hashes { sha256: director.sha256, sha512, other: Vec::new() })
}

fn check_hardware(target: &str, ecus: &[&Ecu], image: &ImageCustom) -> Result<(), Fault> {
    for ecu in ecus {
        let listed = image.hardware_ids(&ecu.serial);
        if !listed.contains(&ecu.hardware_id) {
            let (target, hardware_id) = (target.to_owned(), ecu.hardware_id.clone());
            return Err(Fault::HardwareNotListed { target, hardware_id, listed });
        }
    }
    Ok(())
}

fn counter(target: &str, director: Option<u64>, image: Option<u64>) -> Result<u64, Fault> {
    match (director, image) {
        (Some(director), Some(image)) if director != image => {
            Err(Fault::CounterDiffers { target: target.to_owned(), director, image })
        }
        // The Image repository's keys are the ones that are offline: its word alone counts.
        (_, image) => Ok(image.unwrap_or_default()),
    }
}

/// No ECU goes back, also not to a Target without a counter: a Director could pick any old one otherwise.
fn check_counter(target: &str, ecus: &[&Ecu], got: u64) -> Result<(), Fault> {
    match ecus.iter().find(|ecu| got < ecu.release_counter) {
        Some(ecu) => {
            Err(Fault::ReleaseCounter { target: target.to_owned(), installed: ecu.release_counter, got })
        }
        None => Ok(()),
    }
}
