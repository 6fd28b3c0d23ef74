//! Private keys that are encrypted with a password.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, KeyIvInit};
use pkcs8::PrivateKeyInfo;
use pkcs8::der::Decode;
use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::spki::AlgorithmIdentifierRef;
use sha1::{Digest, Sha1};

use crate::config::Secret;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PKCS12_3DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");

/// What encrypts a key anew, in a way that is understood here and by Java.
const AGAIN: &str = "encrypt it anew by openssl pkcs8 -topk8 -v2 aes256 -in OLD -out NEW (PBES2; where Java has to read it too: -v1 \
                     PBE-SHA1-3DES)";

/// The forms that are not decrypted.
const OTHERS: [(&str, &str); 11] = [
    ("1.2.840.113549.1.5.1", "PBES1 with MD2 and DES"),
    ("1.2.840.113549.1.5.3", "PBES1 with MD5 and DES"),
    ("1.2.840.113549.1.5.4", "PBES1 with MD2 and RC2"),
    ("1.2.840.113549.1.5.6", "PBES1 with MD5 and RC2"),
    ("1.2.840.113549.1.5.10", "PBES1 with SHA-1 and DES"),
    ("1.2.840.113549.1.5.11", "PBES1 with SHA-1 and RC2"),
    ("1.2.840.113549.1.12.1.1", "PKCS#12's encryption with 128-bit RC4"),
    ("1.2.840.113549.1.12.1.2", "PKCS#12's encryption with 40-bit RC4"),
    ("1.2.840.113549.1.12.1.4", "PKCS#12's encryption with two-key 3DES"),
    ("1.2.840.113549.1.12.1.5", "PKCS#12's encryption with 128-bit RC2"),
    ("1.2.840.113549.1.12.1.6", "PKCS#12's encryption with 40-bit RC2"),
];

/// For a section with `Proc-Type: 4,ENCRYPTED`.
pub(super) fn old_openssl() -> String {
    format!("the key is encrypted the way of old OpenSSL versions (Proc-Type: 4,ENCRYPTED), which is not read: {AGAIN}")
}

/// A PKCS#8 key out of an encrypted one. The errors are of our own: a library's might show what it read.
pub(super) fn open(sealed: &[u8], password: &Secret) -> Result<Vec<u8>, String> {
    let parts = AnyRef::from_der(sealed).and_then(|any| {
        any.sequence(|reader| Ok((AlgorithmIdentifierRef::decode(reader)?, OctetStringRef::decode(reader)?.as_bytes())))
    });
    let (algorithm, data) = parts.map_err(|_| "the encrypted key is damaged: it is no PKCS#8".to_string())?;
    let password = password.expose();
    // Java cuts off what stands around a password.
    let cut = password.trim_matches(|c| c <= ' ');
    let mut tries = Vec::from([password]);
    tries.extend(Some(cut).filter(|cut| *cut != password));
    for password in tries {
        let opened = match algorithm.oid {
            PBES2 => {
                let scheme = EncryptionScheme::try_from(algorithm).map_err(|_| unknown_cipher(&algorithm))?;
                scheme.decrypt(password, data).ok()
            }
            PKCS12_3DES => pkcs12_3des(&algorithm, password, data)?,
            other => return Err(not_read(other)),
        };
        // With a wrong password, one in 256 looks decrypted.
        if let Some(key) = opened.filter(|key| PrivateKeyInfo::try_from(&**key).is_ok()) {
            return Ok(key);
        }
    }
    Err("ssl.key.password does not open the key: it is the password of another one".to_string())
}

fn not_read(algorithm: ObjectIdentifier) -> String {
    let name = OTHERS.iter().find(|(oid, _)| ObjectIdentifier::new_unwrap(oid) == algorithm).map(|(_, name)| *name);
    let legacy = "; OpenSSL 3 reads some old forms with -provider legacy -provider default";
    match name {
        Some(name) => format!("the key is encrypted by {name}, which is not read: {AGAIN}{legacy}"),
        None => format!("the key is encrypted by an algorithm that is not known ({algorithm}): {AGAIN}"),
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
            "the key is encrypted by PBES2 with an algorithm that is not read (derivation {kdf}, cipher {cipher}; AES and 3DES \
             are): {AGAIN}"
        ),
        None => format!("the key is encrypted by PBES2 in a form that is not read: {AGAIN}"),
    }
}

/// PKCS#12's password-based encryption with SHA-1 and 3DES (RFC 7292, appendix C): the one that Java's client reads, of those
/// that OpenSSL still writes. `None` if the password is another one.
fn pkcs12_3des(algorithm: &AlgorithmIdentifierRef<'_>, password: &str, data: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let parameters = algorithm.parameters.and_then(|parameters| {
        let parts =
            parameters.sequence(|reader| Ok((OctetStringRef::decode(reader)?.as_bytes(), u32::decode(reader)?)));
        parts.ok()
    });
    let (salt, rounds) = parameters.ok_or("the encrypted key is damaged: its salt and rounds can't be read")?;
    // BMPString, and its end.
    let password: Vec<u8> = password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let (mut key, mut iv) = ([0; 24], [0; 8]);
    derive(1, &password, salt, rounds, &mut key);
    derive(2, &password, salt, rounds, &mut iv);
    let cipher = cbc::Decryptor::<des::TdesEde3>::new(&key.into(), &iv.into());
    Ok(cipher.decrypt_padded_vec_mut::<Pkcs7>(data).ok())
}

/// RFC 7292, appendix B.2, with SHA-1: `id` is 1 for a key, 2 for an initial vector.
fn derive(id: u8, password: &[u8], salt: &[u8], rounds: u32, out: &mut [u8]) {
    const BLOCK: usize = 64;
    let repeated =
        |text: &[u8]| -> Vec<u8> { text.iter().copied().cycle().take(BLOCK * text.len().div_ceil(BLOCK)).collect() };
    let mut input = [repeated(salt), repeated(password)].concat();
    for chunk in out.chunks_mut(20) {
        let mut hash = Sha1::new().chain_update([id; BLOCK]).chain_update(&input).finalize();
        for _ in 1..rounds {
            hash = Sha1::digest(hash);
        }
        chunk.copy_from_slice(&hash[..chunk.len()]);
        // The input, block by block, plus the hash repeated, plus one.
        for block in input.chunks_mut(BLOCK) {
            let mut carry = 1;
            for (place, byte) in block.iter_mut().enumerate().rev() {
                carry += u16::from(*byte) + u16::from(hash[place % 20]);
                *byte = carry as u8;
                carry >>= 8;
            }
        }
    }
}
