//! A signed file as it came: checked JSON, signatures, and the canonical bytes that they are over.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeSet;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::canonical::{Canonical, Form};
use super::error::Reason;
use super::hashes::from_hex;
use super::keys::{PublicKey, Signers};
use super::profile::{Limits, Profile};
use super::roles::MetaFile;

/// A file that was read and not yet trusted.
#[derive(Debug)]
pub struct Envelope<'b> {
    profile: Profile,
    bytes: &'b [u8],
    /// The bytes as JSON, see [`escape_control_characters`].
    json: Cow<'b, [u8]>,
    canonical: Canonical,
    /// ATS only: the second form that signers of this dialect use. Made when the first does not do.
    other_form: OnceCell<Option<Canonical>>,
    signatures: Vec<SignatureWire>,
    signed: Cow<'b, str>,
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
        let json = match profile {
            Profile::Tuf => Cow::Borrowed(bytes),
            Profile::Ats => escape_control_characters(bytes),
        };
        let canonical = Canonical::new(&json, form(profile)).map_err(not_json)?;
        let (signed, signatures) = split(&json)?;
        if signatures.len() > limits.signatures {
            return Err(Reason::TooManySignatures { limit: limits.signatures, got: signatures.len() });
        }
        check_unique(&signatures)?;
        Ok(Envelope { profile, bytes, json, canonical, other_form: OnceCell::new(), signatures, signed })
    }

    /// The text of `signed`, as it came.
    pub(crate) fn signed(&self) -> &str {
        &self.signed
    }

    /// The same, giving back the memory of the canonical form: for a role that is large.
    pub(super) fn into_signed(self) -> Cow<'b, str> {
        self.signed
    }

    /// Checks that a threshold of distinct keys signed (5.3.4, 5.4.2, 5.5.3, 5.6.3). `signer` is for the message.
    ///
    /// Key ids that are not of the role are passed over before any mathematics; a key that has
    /// counted is not verified again.
    pub fn verify(&self, signer: &str, signers: &Signers) -> Result<(), Reason> {
        let valid = self.valid_keys(signers);
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

    /// The keys of the role that signed, by what makes them the same signer.
    pub(crate) fn valid_keys<'k>(&self, signers: &'k Signers) -> BTreeSet<(u8, &'k [u8])> {
        let mut valid = BTreeSet::new();
        for signature in &self.signatures {
            if let Some(key) = signers.key(&signature.keyid)
                && !valid.contains(&key.identity())
                && self.is_valid(signature, key)
            {
                valid.insert(key.identity());
            }
        }
        valid
    }

    /// Compares the file with what its parent role lists (5.5.2, 5.6.2): length, then every known hash.
    ///
    /// TUF: the bytes. ATS: some servers hash the canonical form of the whole document, whatever they send.
    pub(super) fn check_listed(&self, parent: &'static str, listed: &MetaFile) -> Result<(), Reason> {
        if !listed.hashes.is_empty() && !listed.hashes.usable() {
            return Err(Reason::NoUsableHash { parent });
        }
        let bytes = check_length(self.bytes, parent, listed).and(check_hashes(self.bytes, parent, listed));
        if bytes.is_ok() || self.profile == Profile::Tuf {
            return bytes;
        }
        // Some list the length of what they send beside the hash of the canonical form.
        let forms = || std::iter::once(self.bytes).chain(self.forms().map(Canonical::document));
        let length = forms().any(|form| check_length(form, parent, listed).is_ok());
        let hashes = forms().any(|form| check_hashes(form, parent, listed).is_ok());
        if length && hashes { Ok(()) } else { bytes }
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
        self.forms().filter_map(Canonical::signed).any(|message| key.verify(message, &sig))
    }

    /// The canonical form of the dialect; in the ATS dialect also the other one, if it differs.
    fn forms(&self) -> impl Iterator<Item = &Canonical> {
        let other = || match self.profile {
            Profile::Tuf => None,
            Profile::Ats => self.other_form.get_or_init(|| self.make_other_form()).as_ref(),
        };
        std::iter::once(&self.canonical).chain(std::iter::once_with(other).flatten())
    }

    fn make_other_form(&self) -> Option<Canonical> {
        let other = Canonical::new(&self.json, Form::Olpc).ok()?;
        (other.document() != self.canonical.document()).then_some(other)
    }
}

/// The text of `signed`, without a copy where the document is as it came.
fn split<'b>(json: &Cow<'b, [u8]>) -> Result<(Cow<'b, str>, Vec<SignatureWire>), Reason> {
    let (signed, signatures) = match json {
        Cow::Borrowed(bytes) => {
            let wire: EnvelopeWire<'b> = serde_json::from_slice(bytes).map_err(shape)?;
            (Cow::Borrowed(wire.signed.get()), wire.signatures)
        }
        Cow::Owned(bytes) => {
            let wire: EnvelopeWire<'_> = serde_json::from_slice(bytes).map_err(shape)?;
            (Cow::Owned(wire.signed.get().to_owned()), wire.signatures)
        }
    };
    Ok((signed, signatures))
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

fn check_length(form: &[u8], parent: &'static str, listed: &MetaFile) -> Result<(), Reason> {
    let got = form.len() as u64;
    match listed.length {
        Some(expected) if expected != got => Err(Reason::LengthMismatch { parent, expected, got }),
        _ => Ok(()),
    }
}

fn check_hashes(form: &[u8], parent: &'static str, listed: &MetaFile) -> Result<(), Reason> {
    listed.hashes.check(form).map_err(|mismatch| mismatch.reason(parent))
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

/// Foundries' tools write roots in OLPC form as they are, with raw newlines inside the PEM of RSA keys. That is
/// no JSON, and their clients read it. A raw control character in a string means what its escape means.
fn escape_control_characters(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut escaped = Vec::new();
    let (mut copied, mut in_string, mut after_backslash) = (0, false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        if in_string && byte < 0x20 && !after_backslash {
            escaped.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
            escaped.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            copied = at + 1;
        }
        if byte == b'"' && !after_backslash {
            in_string = !in_string;
        }
        after_backslash = byte == b'\\' && !after_backslash;
    }
    if escaped.is_empty() {
        return Cow::Borrowed(bytes);
    }
    escaped.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    Cow::Owned(escaped)
}

fn not_json(error: serde_json::Error) -> Reason {
    Reason::Json { detail: error.to_string() }
}

/// What serde says of a document that is JSON and not of the wanted form.
pub(super) fn shape(error: serde_json::Error) -> Reason {
    Reason::Shape { detail: error.to_string() }
}
