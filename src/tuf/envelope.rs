//! A signed file as it came: checked JSON, signatures, and the canonical bytes that they are over.

use std::collections::BTreeSet;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::canonical::{Canonical, Form};
use super::error::Reason;
use super::hashes::{Hashes, from_hex};
use super::keys::{PublicKey, Signers};
use super::profile::{Limits, Profile};
use super::roles::MetaFile;

/// A file that was read and not yet trusted.
#[derive(Debug)]
pub struct Envelope<'b> {
    profile: Profile,
    bytes: &'b [u8],
    canonical: Canonical,
    /// ATS only: the second form that signers of this dialect use, where it differs from the first.
    other_form: Option<Canonical>,
    signatures: Vec<SignatureWire>,
    signed: &'b RawValue,
}

#[derive(Deserialize)]
struct EnvelopeWire<'b> {
    #[serde(borrow)]
    signed: &'b RawValue,
    signatures: Vec<SignatureWire>,
}

#[derive(Debug, Deserialize)]
struct SignatureWire {
    keyid: String,
    sig: String,
    method: Option<String>,
}

impl<'b> Envelope<'b> {
    /// Reads a file, with everything that can be refused before a signature is looked at.
    pub fn open(bytes: &'b [u8], profile: Profile, limits: &Limits) -> Result<Envelope<'b>, Reason> {
        let canonical = Canonical::new(bytes, form(profile)).map_err(json)?;
        let wire: EnvelopeWire<'b> = serde_json::from_slice(bytes).map_err(shape)?;
        if wire.signatures.len() > limits.signatures {
            return Err(Reason::TooManySignatures { limit: limits.signatures, got: wire.signatures.len() });
        }
        check_unique(&wire.signatures)?;
        let other_form = match profile {
            Profile::Tuf => None,
            Profile::Ats => Some(Canonical::new(bytes, Form::Olpc).map_err(json)?),
        };
        let other_form = other_form.filter(|other| other.document() != canonical.document());
        Ok(Envelope {
            profile,
            bytes,
            canonical,
            other_form,
            signatures: wire.signatures,
            signed: wire.signed,
        })
    }

    /// The text of `signed`, as it came.
    pub(crate) fn signed(&self) -> &'b str {
        self.signed.get()
    }

    /// Checks that a threshold of distinct keys signed (5.3.4, 5.4.2, 5.5.3, 5.6.3). `signer` is for the message.
    ///
    /// Key ids that are not of the role are passed over before any mathematics; a key that has
    /// counted is not verified again.
    pub fn verify(&self, signer: &str, signers: &Signers) -> Result<(), Reason> {
        let mut valid = BTreeSet::new();
        for signature in &self.signatures {
            if let Some(key) = signers.key(&signature.keyid)
                && !valid.contains(&key.identity())
                && self.is_valid(signature, key)
            {
                valid.insert(key.identity());
            }
        }
        if valid.len() >= signers.threshold as usize {
            return Ok(());
        }
        Err(Reason::Unsigned {
            signer: signer.to_owned(),
            threshold: signers.threshold,
            valid: valid.len(),
            signatures: self.signatures.len(),
            detail: signers.describe_faults(),
        })
    }

    /// Compares the file with what its parent role lists (5.5.2, 5.6.2): length, then every known hash.
    pub(super) fn check_listed(&self, parent: &'static str, listed: &MetaFile) -> Result<(), Reason> {
        if !listed.hashes.is_empty() && !listed.hashes.usable() {
            return Err(Reason::NoUsableHash { parent });
        }
        let (got, forms) = (self.bytes.len() as u64, self.forms_for_hashes());
        if let Some(expected) = listed.length
            && !forms.iter().any(|form| form.len() as u64 == expected)
        {
            return Err(Reason::LengthMismatch { parent, expected, got });
        }
        check_any(&listed.hashes, &forms).map_err(|mismatch| mismatch.reason(parent))
    }

    /// TUF: the bytes. ATS: some servers hash the canonical form of the whole document, whatever they send.
    fn forms_for_hashes(&self) -> Vec<&[u8]> {
        let mut forms = vec![self.bytes];
        if self.profile == Profile::Ats {
            forms.push(self.canonical.document());
            forms.extend(self.other_form.as_ref().map(Canonical::document));
        }
        forms
    }

    fn is_valid(&self, signature: &SignatureWire, key: &PublicKey) -> bool {
        let Some(sig) = decode_signature(&signature.sig, self.profile) else {
            return false;
        };
        if self.profile == Profile::Ats
            && signature.method.as_deref().is_some_and(|method| !key.allows_method(method))
        {
            return false;
        }
        let forms = [Some(&self.canonical), self.other_form.as_ref()];
        forms.into_iter().flatten().filter_map(Canonical::signed).any(|message| key.verify(message, &sig))
    }
}

fn form(profile: Profile) -> Form {
    match profile {
        Profile::Tuf => Form::Olpc,
        Profile::Ats => Form::Ascii,
    }
}

/// 4.2.1: the key id MUST be unique in the signatures, also where the threshold is met without.
fn check_unique(signatures: &[SignatureWire]) -> Result<(), Reason> {
    let mut seen = BTreeSet::new();
    match signatures.iter().find(|signature| !seen.insert(signature.keyid.as_str())) {
        Some(twice) => Err(Reason::DuplicateSignature { keyid: twice.keyid.clone() }),
        None => Ok(()),
    }
}

fn check_any(hashes: &Hashes, forms: &[&[u8]]) -> Result<(), super::hashes::Mismatch> {
    let mut first = Ok(());
    for form in forms {
        match hashes.check(form) {
            Ok(()) => return Ok(()),
            mismatch if first.is_ok() => first = mismatch,
            _ => {}
        }
    }
    first
}

fn decode_signature(text: &str, profile: Profile) -> Option<Vec<u8>> {
    match profile {
        Profile::Tuf => from_hex(text),
        Profile::Ats => decode_base64(text),
    }
}

/// Standard base64, with or without padding, with or without line breaks: signers of this dialect differ.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
    let compact: String = text.split_ascii_whitespace().collect();
    ENGINE.decode(compact).ok()
}

fn json(error: serde_json::Error) -> Reason {
    Reason::Json { detail: error.to_string() }
}

/// What serde says of a document that is JSON and not of the wanted form.
pub(super) fn shape(error: serde_json::Error) -> Reason {
    Reason::Shape { detail: error.to_string() }
}
