//! JKS, the store of Java before version 9: big-endian numbers and texts, then a SHA-1 hash that the password goes into. As in
//! `sun.security.provider.JavaKeyStore` and `KeyProtector`. No kept library reads it without bringing a PKCS12 library along.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{Decode, Reader as _};
use pkcs8::spki::AlgorithmIdentifierRef;
use rustls::pki_types::CertificateDer;
use sha1::{Digest, Sha1};

use super::store::{Names, Protected, Store, StoredKey, tries, utf16, wrong_password};
use crate::config::Secret;

const HASH: usize = 20;
/// What encrypts keys (Sun's own algorithm).
const KEY_PROTECTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");

pub(super) fn read(bytes: &[u8], password: Option<&Secret>, names: Names) -> Result<Store, String> {
    let cut_off = || "the JKS store is damaged or cut off".to_string();
    let (content, hash) = bytes.split_at(bytes.len().checked_sub(HASH).ok_or_else(cut_off)?);
    // Without a password nothing is verified, as in Java.
    if let Some(password) = password {
        let hash_of = |password: &str| {
            let salted = Sha1::new().chain_update(utf16(password)).chain_update(b"Mighty Aphrodite");
            salted.chain_update(content).finalize()
        };
        if !tries(password).any(|password| *hash_of(password) == *hash) {
            return Err(wrong_password(names));
        }
    }
    let mut rest = Rest(content);
    entries(&mut rest).ok_or_else(cut_off)
}

fn entries(rest: &mut Rest<'_>) -> Option<Store> {
    let (_magic, version, count) = (rest.number()?, rest.number()?, rest.number()?);
    if !matches!(version, 1 | 2) {
        return None;
    }
    let mut store = Store::default();
    for _ in 0..count {
        let tag = rest.number()?;
        let alias = rest.text()?;
        rest.take(8)?; // when it was made
        match tag {
            1 => {
                let key = Protected::Jks(rest.bytes()?.to_vec());
                let certificates = rest.number()?;
                let mut chain = Vec::new();
                for _ in 0..certificates {
                    chain.push(rest.certificate(version)?);
                }
                store.keys.push(StoredKey { alias, key, chain });
            }
            2 => store.trusted.push(rest.certificate(version)?),
            _ => return None,
        }
    }
    rest.0.is_empty().then_some(store)
}

/// What has not been read yet. Whatever lengths stand in it: nothing is taken that is not there.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.take(2)?.try_into().ok().map(u16::from_be_bytes)?;
        self.take(length.into()).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    fn certificate(&mut self, version: u32) -> Option<CertificateDer<'static>> {
        if version == 2 && self.text()? != "X.509" {
            return None;
        }
        self.bytes().map(|der| CertificateDer::from(der.to_vec()))
    }
}

/// Opens a key; `None` if the password is another one.
pub(super) fn open(sealed: &[u8], password: &Secret) -> Result<Option<Vec<u8>>, String> {
    let damaged = || "the private key in the JKS store is damaged".to_string();
    let parts = AnyRef::from_der(sealed).and_then(|any| {
        any.sequence(|reader| {
            let algorithm = AlgorithmIdentifierRef::decode(reader)?;
            Ok((algorithm.oid, OctetStringRef::decode(reader)?.as_bytes(), reader.is_finished()))
        })
    });
    let (algorithm, data, _) = parts.map_err(|_| damaged())?;
    if algorithm != KEY_PROTECTOR {
        return Err(format!("the private key is encrypted by an algorithm that JKS stores do not have ({algorithm})"));
    }
    let inner = data.len().checked_sub(2 * HASH).ok_or_else(damaged)?;
    let (salt, data) = data.split_at(HASH);
    let (encrypted, check) = data.split_at(inner);
    Ok(tries(password).map(utf16).find_map(|password| {
        let mut key = Vec::with_capacity(inner);
        let mut last = Sha1::new().chain_update(&password).chain_update(salt).finalize();
        for block in encrypted.chunks(HASH) {
            key.extend(block.iter().zip(last).map(|(byte, mask)| byte ^ mask));
            last = Sha1::new().chain_update(&password).chain_update(last).finalize();
        }
        let is_right = *Sha1::new().chain_update(&password).chain_update(&key).finalize() == *check;
        is_right.then_some(key)
    }))
}
