//! How PKCS#12 files are locked: keys made of a password, ciphers, and the code over it all.

use std::num::NonZeroU32;

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use super::ber::Reader;
use super::{Pkcs12Error, oid_text};

/// RFC 7292, appendix C, after 1.2.840.113549.1.12.1: triple DES and RC2 with 128 and 40 bits.
const PBE: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 12, 1];
/// RFC 8018, appendix A: 1.2.840.113549.1.5.13 and .12.
const PBES2: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 5, 13];
const PBKDF2: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 5, 12];
/// 1.2.840.113549.2: HMAC with SHA-1 is 7 below it, with SHA-2 9 and what follows.
const HMAC: [u8; 7] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 2];
/// 1.2.840.113549.3.7
const TRIPLE_DES: [u8; 8] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 3, 7];
/// 2.16.840.1.101.3.4.1: CBC with 128, 192 and 256 bits are 2, 22 and 42 below it.
const AES: [u8; 8] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1];
/// 1.3.14.3.2.26
const SHA1: [u8; 5] = [0x2B, 0x0E, 3, 2, 0x1A];
/// 2.16.840.1.101.3.4.2: SHA-256, -384 and -512 are 1, 2 and 3 below it.
const SHA2: [u8; 8] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];
/// Usual are 2048 to 600,000. A file must not keep a device busy for ever.
const MOST_ITERATIONS: u32 = 2_000_000;
const OCTETS: u8 = 0x04;

/// What the key is made for (RFC 7292, B.3).
#[derive(Clone, Copy)]
enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// A password in both forms that these files know: UTF-8, and UTF-16 with a zero at its end.
#[derive(Clone)]
pub struct Password {
    utf8: Zeroizing<Vec<u8>>,
    utf16: Zeroizing<Vec<u8>>,
}

impl Password {
    /// The forms to try: an empty password is written as its final zero by some programs, and as nothing by others.
    pub fn forms(password: &str) -> Vec<Password> {
        let mut utf16 = Zeroizing::new(Vec::with_capacity(2 * password.len() + 2));
        utf16.extend(password.encode_utf16().flat_map(u16::to_be_bytes));
        utf16.extend([0, 0]);
        let utf8 = Zeroizing::new(password.as_bytes().to_vec());
        let mut forms = vec![Password { utf8: utf8.clone(), utf16 }];
        if password.is_empty() {
            forms.push(Password { utf8, utf16: Zeroizing::default() });
        }
        forms
    }

    /// Whether the code over the content was made with this password. `mac` is what is in MacData.
    pub fn fits(&self, mut mac: Reader<'_>, content: &[u8]) -> Result<bool, Pkcs12Error> {
        let broken = || Pkcs12Error::Broken("its code");
        let mut info = mac.sequence().ok_or_else(broken)?;
        let kind = info.sequence().and_then(|mut algorithm| algorithm.oid()).ok_or_else(broken)?;
        let expected = info.octets().ok_or_else(broken)?;
        let salt = mac.octets().ok_or_else(broken)?;
        let iterations = if mac.is_empty() { 1 } else { mac.number().ok_or_else(broken)? };
        let (hash, code) = match kind.split_last() {
            _ if kind == SHA1 => (&digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Some((1, prefix)) if prefix == SHA2 => (&digest::SHA256, hmac::HMAC_SHA256),
            Some((2, prefix)) if prefix == SHA2 => (&digest::SHA384, hmac::HMAC_SHA384),
            Some((3, prefix)) if prefix == SHA2 => (&digest::SHA512, hmac::HMAC_SHA512),
            _ => return Err(Pkcs12Error::Unsupported(oid_text(kind))),
        };
        let key = self.derive(hash, Purpose::Mac, &salt, checked(iterations)?, hash.output_len());
        Ok(hmac::verify(&hmac::Key::new(code, &key), content, &expected).is_ok())
    }

    /// Unlocks what was locked as `algorithm` says: an identifier and its parameters.
    pub fn decrypt(
        &self,
        mut algorithm: Reader<'_>,
        locked: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
        let broken = || Pkcs12Error::Broken("its cipher");
        let kind = algorithm.oid().ok_or_else(broken)?;
        let mut parameters = algorithm.sequence().ok_or_else(broken)?;
        if kind == PBES2 {
            return self.pbes2(parameters, locked);
        }
        let salt = parameters.octets().ok_or_else(broken)?;
        let iterations = checked(parameters.number().ok_or_else(broken)?)?;
        let hash = &digest::SHA1_FOR_LEGACY_USE_ONLY;
        let key = |length| self.derive(hash, Purpose::Key, &salt, iterations, length);
        let iv = self.derive(hash, Purpose::Iv, &salt, iterations, 8);
        match kind.split_last() {
            Some((3, prefix)) if prefix == PBE => cbc::<des::TdesEde3>(&key(24), &iv, locked),
            Some((5, prefix)) if prefix == PBE => cbc::<rc2::Rc2>(&key(16), &iv, locked),
            Some((6, prefix)) if prefix == PBE => cbc::<rc2::Rc2>(&key(5), &iv, locked),
            _ => Err(Pkcs12Error::Unsupported(oid_text(kind))),
        }
    }

    fn pbes2(&self, mut parameters: Reader<'_>, locked: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
        let broken = || Pkcs12Error::Broken("its cipher");
        let mut derivation = parameters.sequence().ok_or_else(broken)?;
        let kind = derivation.oid().ok_or_else(broken)?;
        if kind != PBKDF2 {
            return Err(Pkcs12Error::Unsupported(oid_text(kind)));
        }
        let (salt, iterations, function) =
            pbkdf2_parameters(derivation.sequence().ok_or_else(broken)?).ok_or_else(broken)?;
        let function = match function.as_deref().map(<[u8]>::split_last) {
            None => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(Some((7, prefix))) if prefix == HMAC => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(Some((9, prefix))) if prefix == HMAC => pbkdf2::PBKDF2_HMAC_SHA256,
            Some(Some((10, prefix))) if prefix == HMAC => pbkdf2::PBKDF2_HMAC_SHA384,
            Some(Some((11, prefix))) if prefix == HMAC => pbkdf2::PBKDF2_HMAC_SHA512,
            Some(_) => return Err(Pkcs12Error::Unsupported(oid_text(&function.unwrap_or_default()))),
        };
        let iterations = NonZeroU32::new(checked(iterations)?).ok_or_else(broken)?;
        let key = |length| {
            let mut key = Zeroizing::new(vec![0; length]);
            pbkdf2::derive(function, iterations, &salt, &self.utf8, &mut key);
            key
        };
        let mut cipher = parameters.sequence().ok_or_else(broken)?;
        let kind = cipher.oid().ok_or_else(broken)?;
        let iv = cipher.octets().ok_or_else(broken)?;
        match kind.split_last() {
            _ if kind == TRIPLE_DES => cbc::<des::TdesEde3>(&key(24), &iv, locked),
            Some((2, prefix)) if prefix == AES => cbc::<aes::Aes128>(&key(16), &iv, locked),
            Some((22, prefix)) if prefix == AES => cbc::<aes::Aes192>(&key(24), &iv, locked),
            Some((42, prefix)) if prefix == AES => cbc::<aes::Aes256>(&key(32), &iv, locked),
            _ => Err(Pkcs12Error::Unsupported(oid_text(kind))),
        }
    }

    /// RFC 7292, B.2.
    fn derive(
        &self,
        hash: &'static digest::Algorithm,
        purpose: Purpose,
        salt: &[u8],
        iterations: u32,
        length: usize,
    ) -> Zeroizing<Vec<u8>> {
        let block = hash.block_len();
        let rounded = |bytes: &[u8]| bytes.len().div_ceil(block) * block;
        let mut input = Zeroizing::new(Vec::with_capacity(rounded(salt) + rounded(&self.utf16)));
        for bytes in [salt, &self.utf16] {
            input.extend(bytes.iter().copied().cycle().take(rounded(bytes)));
        }
        let mut key = Zeroizing::new(Vec::with_capacity(length + hash.output_len()));
        while key.len() < length {
            let mut sum =
                digest::digest(hash, &Zeroizing::new([&vec![purpose as u8; block][..], &input].concat()));
            for _ in 1..iterations {
                sum = digest::digest(hash, sum.as_ref());
            }
            key.extend_from_slice(sum.as_ref());
            for part in input.chunks_mut(block) {
                add_one_and(part, sum.as_ref());
            }
        }
        key.truncate(length);
        key
    }
}

type Parameters = (Vec<u8>, u32, Option<Vec<u8>>);

/// Salt, iterations, and the function where it is not the default one.
fn pbkdf2_parameters(mut parameters: Reader<'_>) -> Option<Parameters> {
    let salt = parameters.octets_as(OCTETS)?;
    let iterations = parameters.number()?;
    let mut function = None;
    while !parameters.is_empty() {
        // A length of the key may stand before it; the cipher says the same.
        if let Some(mut algorithm) = parameters.sequence() {
            function = Some(algorithm.oid()?.to_vec());
        }
    }
    Some((salt, iterations, function))
}

fn checked(iterations: u32) -> Result<u32, Pkcs12Error> {
    match iterations {
        0 | MOST_ITERATIONS.. => Err(Pkcs12Error::Broken("the number of its iterations")),
        _ => Ok(iterations),
    }
}

/// Adds `sum`, repeated, and 1 to a number of the length of `part`.
fn add_one_and(part: &mut [u8], sum: &[u8]) {
    let repeated: Vec<u8> = sum.iter().copied().cycle().take(part.len()).collect();
    let mut carry = 1;
    for (digit, added) in part.iter_mut().zip(repeated).rev() {
        carry += u16::from(*digit) + u16::from(added);
        *digit = carry as u8;
        carry >>= 8;
    }
}

fn cbc<C>(key: &[u8], iv: &[u8], locked: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error>
where
    C: KeyInit + BlockCipherDecrypt,
{
    let broken = |_| Pkcs12Error::Broken("its cipher");
    let cipher = C::new_from_slice(key).map_err(broken)?;
    let decryptor = cbc::Decryptor::inner_iv_slice_init(cipher, iv).map_err(broken)?;
    let mut bytes = Zeroizing::new(locked.to_vec());
    let length = decryptor.decrypt_padded::<Pkcs7>(&mut bytes).map_err(|_| Pkcs12Error::Password)?.len();
    bytes.truncate(length);
    Ok(bytes)
}
