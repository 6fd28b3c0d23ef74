//! Private keys, and parts of stores, that are encrypted with a password.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, InnerIvInit, KeyIvInit};
use pkcs8::PrivateKeyInfo;
use pkcs8::der::Decode;
use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use sha1::Sha1;

use super::store::{tries, utf16};
use crate::config::Secret;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PKCS12_3DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const PKCS12_RC2_128: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.5");
const PKCS12_RC2_40: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");

/// What encrypts a key anew, in a way that is understood here and by Java.
const AGAIN: &str = "encrypt it anew by openssl pkcs8 -topk8 -v2 aes256 -in OLD -out NEW (PBES2; where Java has to read it too: -v1 \
                     PBE-SHA1-3DES)";

/// The forms that are not decrypted.
const OTHERS: [(&str, &str); 9] = [
    ("1.2.840.113549.1.5.1", "PBES1 with MD2 and DES"),
    ("1.2.840.113549.1.5.3", "PBES1 with MD5 and DES"),
    ("1.2.840.113549.1.5.4", "PBES1 with MD2 and RC2"),
    ("1.2.840.113549.1.5.6", "PBES1 with MD5 and RC2"),
    ("1.2.840.113549.1.5.10", "PBES1 with SHA-1 and DES"),
    ("1.2.840.113549.1.5.11", "PBES1 with SHA-1 and RC2"),
    ("1.2.840.113549.1.12.1.1", "PKCS#12's encryption with 128-bit RC4"),
    ("1.2.840.113549.1.12.1.2", "PKCS#12's encryption with 40-bit RC4"),
    ("1.2.840.113549.1.12.1.4", "PKCS#12's encryption with two-key 3DES"),
];

/// For a section with `Proc-Type: 4,ENCRYPTED`.
pub(super) fn old_openssl() -> String {
    format!("the key is encrypted the way of old OpenSSL versions (Proc-Type: 4,ENCRYPTED), which is not read: {AGAIN}")
}

/// How often a hash may be computed to open a store or a key: a file must not keep the program busy. The JDK has the same limit
/// for one password.
#[derive(Default)]
pub(super) struct Rounds(u32);

impl Rounds {
    const MOST: u32 = 5_000_000;

    pub(super) fn take(&mut self, rounds: u32) -> Result<(), String> {
        self.0 = self.0.saturating_add(rounds);
        if self.0 > Self::MOST {
            return Err(format!("its encryption takes more than {} rounds, which is no good sign", Self::MOST));
        }
        Ok(())
    }
}

/// Bytes that scrypt may need.
const SCRYPT_MOST: u64 = 64 << 20;

/// A PKCS#8 key out of an encrypted one; `None` if the password is another one. The errors are of our own: a library's might
/// show what it read.
pub(super) fn open(sealed: &[u8], password: &Secret) -> Result<Option<Vec<u8>>, String> {
    let parts = AnyRef::from_der(sealed).and_then(|any| {
        any.sequence(|reader| Ok((AlgorithmIdentifierRef::decode(reader)?, OctetStringRef::decode(reader)?.as_bytes())))
    });
    let (algorithm, data) = parts.map_err(|_| "the encrypted key is damaged: it is no PKCS#8".to_string())?;
    let mut rounds = Rounds::default();
    for password in tries(password) {
        let opened = decrypt(&algorithm, password, data, &mut rounds)?;
        // With a wrong password, one in 256 looks decrypted.
        if let Some(key) = opened.filter(|key| PrivateKeyInfo::try_from(&**key).is_ok()) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// What a password opens, of a key or of a part of a store; `None` if it is another one.
pub(super) fn decrypt(
    algorithm: &AlgorithmIdentifierRef<'_>,
    password: &str,
    data: &[u8],
    rounds: &mut Rounds,
) -> Result<Option<Vec<u8>>, String> {
    match algorithm.oid {
        PBES2 => {
            let scheme = EncryptionScheme::try_from(*algorithm).map_err(|_| unknown_cipher(algorithm))?;
            if let EncryptionScheme::Pbes2(parameters) = &scheme {
                bounded(&parameters.kdf, rounds)?;
            }
            Ok(scheme.decrypt(password, data).ok())
        }
        PKCS12_3DES => {
            let (key, iv) = derived(algorithm, password, 24, rounds)?;
            let cipher = cbc::Decryptor::<des::TdesEde3>::new_from_slices(&key, &iv).expect(LENGTHS);
            Ok(cipher.decrypt_padded_vec_mut::<Pkcs7>(data).ok())
        }
        PKCS12_RC2_40 | PKCS12_RC2_128 => {
            let length = if algorithm.oid == PKCS12_RC2_40 { 5 } else { 16 };
            let (key, iv) = derived(algorithm, password, length, rounds)?;
            let cipher = rc2::Rc2::new_with_eff_key_len(&key, 8 * length);
            let cipher = cbc::Decryptor::inner_iv_slice_init(cipher, &iv).expect(LENGTHS);
            Ok(cipher.decrypt_padded_vec_mut::<Pkcs7>(data).ok())
        }
        other => Err(not_read(other)),
    }
}

const LENGTHS: &str = "keys and vectors are made of that length";

/// Neither time nor memory without end.
fn bounded(kdf: &Kdf<'_>, rounds: &mut Rounds) -> Result<(), String> {
    match kdf {
        Kdf::Pbkdf2(parameters) => rounds.take(parameters.iteration_count),
        Kdf::Scrypt(parameters) => {
            let block = 128 * u64::from(parameters.block_size);
            let needed =
                block.saturating_mul(parameters.cost_parameter).saturating_mul(parameters.parallelization.into());
            if needed > SCRYPT_MOST {
                return Err(format!("its encryption by scrypt takes more than {} MiB", SCRYPT_MOST >> 20));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn not_read(algorithm: ObjectIdentifier) -> String {
    let name = OTHERS.iter().find(|(oid, _)| ObjectIdentifier::new_unwrap(oid) == algorithm).map(|(_, name)| *name);
    let legacy = "; OpenSSL 3 reads some old forms with -provider legacy -provider default";
    match name {
        Some(name) => format!("it is encrypted by {name}, which is not read: {AGAIN}{legacy}"),
        None => format!("it is encrypted by an algorithm that is not known ({algorithm}): {AGAIN}"),
    }
}

/// PBES2 with something in it that is not understood.
fn unknown_cipher(algorithm: &AlgorithmIdentifierRef<'_>) -> String {
    let parts = algorithm.parameters.and_then(|parameters| {
        let parts = parameters.sequence(|reader| {
            Ok((AlgorithmIdentifierRef::decode(reader)?.oid, AlgorithmIdentifierRef::decode(reader)?.oid))
        });
        parts.ok()
    });
    match parts {
        Some((kdf, cipher)) => format!(
            "it is encrypted by PBES2 with an algorithm that is not read (derivation {kdf}, cipher {cipher}; AES and 3DES \
             are): {AGAIN}"
        ),
        None => format!("it is encrypted by PBES2 in a form that is not read: {AGAIN}"),
    }
}

/// Key and initial vector of PKCS#12's password-based encryption with SHA-1 (RFC 7292, appendix C): with 3DES the one that Java's
/// client reads in PEM, with RC2 what stores of older versions have around certificates.
fn derived(
    algorithm: &AlgorithmIdentifierRef<'_>,
    password: &str,
    length: usize,
    rounds: &mut Rounds,
) -> Result<(Vec<u8>, Vec<u8>), String> {
    let parameters = algorithm.parameters.and_then(|parameters| {
        let parts =
            parameters.sequence(|reader| Ok((OctetStringRef::decode(reader)?.as_bytes(), u32::decode(reader)?)));
        parts.ok()
    });
    let (salt, count) = parameters.ok_or("what is encrypted is damaged: its salt and rounds can't be read")?;
    rounds.take(count)?;
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    let password = [utf16(password), Vec::from([0; 2])].concat();
    let derive = |kind, length| derive_key::<Sha1>(&password, salt, kind, count, length);
    Ok((derive(Pkcs12KeyType::EncryptionKey, length), derive(Pkcs12KeyType::Iv, 8)))
}
