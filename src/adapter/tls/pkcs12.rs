//! PKCS#12 stores (RFC 7292), as keytool and openssl write them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use cms::content_info::ContentInfo;
use cms::encrypted_data::EncryptedData;
use hmac::{Mac, SimpleHmac};
use pkcs8::der::asn1::{BmpString, ContextSpecific, ObjectIdentifier, OctetString};
use pkcs8::der::{Any, Decode, Encode};
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs12::cert_type::CertBag;
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use pkcs12::mac_data::MacData;
use pkcs12::pfx::Pfx;
use pkcs12::safe_bag::{SafeBag, SafeContents};
use rustls::pki_types::CertificateDer;
use sha1::Sha1;
use sha1::digest::core_api::BlockSizeUser;
use sha1::digest::{Digest, FixedOutputReset};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::certificate::Certificate;
use super::sealed::{self, Rounds};
use super::store::{Names, Protected, Store, StoredKey, tries, utf16, wrong_password};
use crate::config::Secret;
use crate::planted::planted;

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const X509_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");
const FRIENDLY_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.20");
const LOCAL_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.21");
/// Java's attribute of a certificate that is trusted, and not one of a key's chain.
const TRUSTED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113894.746875.1.1");

const DAMAGED: &str = "the PKCS12 store is damaged or cut off, or written in BER, as some other programs do: keytool \
                       -importkeystore -srckeystore FILE -srcstoretype PKCS12 -destkeystore NEW -deststoretype PKCS12 writes it anew";

pub(super) fn read(bytes: &[u8], password: Option<&Secret>, names: Names) -> Result<Store, String> {
    let damaged = || DAMAGED.to_string();
    let pfx = Pfx::from_der(bytes).map_err(|_| damaged())?;
    if pfx.auth_safe.content_type != DATA {
        return Err("the PKCS12 store is signed by a key instead of a password, which is not read".to_string());
    }
    let content = octets(&pfx.auth_safe.content).ok_or_else(damaged)?;
    let mut rounds = Rounds::default();
    let tries: Vec<&str> = password.map(|password| tries(password).collect()).unwrap_or_default();
    let password = match &pfx.mac_data {
        None => tries.first().copied(), // nothing to verify it by
        Some(_) if tries.is_empty() => None,
        Some(mac) => Some(verified(mac, &content, &tries, &mut rounds)?.ok_or_else(|| wrong_password(names))?),
    };
    let mut found = Found::default();
    for info in Vec::<ContentInfo>::from_der(&content).map_err(|_| damaged())? {
        let bags = match info.content_type {
            DATA => octets(&info.content).ok_or_else(damaged)?,
            ENCRYPTED_DATA => {
                let data: EncryptedData = info.content.decode_as().map_err(|_| damaged())?;
                let password = password.ok_or_else(|| format!("the store is encrypted: set {}", names.password))?;
                decrypt(&data, password, &mut rounds)?.ok_or_else(|| wrong_password(names))?
            }
            _ => return Err("a part of the PKCS12 store is encrypted for a key, which is not read".to_string()),
        };
        for bag in SafeContents::from_der(&bags).map_err(|_| damaged())? {
            found.take(&bag).ok_or_else(damaged)?;
        }
    }
    Ok(found.store())
}

fn octets(content: &Any) -> Option<Vec<u8>> {
    content.decode_as::<OctetString>().ok().map(OctetString::into_bytes)
}

fn decrypt(data: &EncryptedData, password: &str, rounds: &mut Rounds) -> Result<Option<Vec<u8>>, String> {
    let info = &data.enc_content_info;
    let algorithm = info.content_enc_alg.to_der().map_err(|_| DAMAGED)?;
    let algorithm = AlgorithmIdentifierRef::from_der(&algorithm).map_err(|_| DAMAGED)?;
    let content = info.encrypted_content.as_ref().ok_or(DAMAGED)?;
    sealed::decrypt(&algorithm, password, content.as_bytes(), rounds)
}

/// The password by which the store's content has the code that stands in it.
fn verified<'a>(
    data: &MacData,
    content: &[u8],
    tries: &[&'a str],
    rounds: &mut Rounds,
) -> Result<Option<&'a str>, String> {
    let code = match &*data.mac.algorithm.oid.to_string() {
        "1.3.14.3.2.26" => code::<Sha1>,
        "2.16.840.1.101.3.4.2.4" => code::<Sha224>,
        "2.16.840.1.101.3.4.2.1" => code::<Sha256>,
        "2.16.840.1.101.3.4.2.2" => code::<Sha384>,
        "2.16.840.1.101.3.4.2.3" => code::<Sha512>,
        other => return Err(format!("the PKCS12 store is verified by an algorithm that is not read ({other})")),
    };
    for password in tries {
        rounds.take(u32::try_from(data.iterations).map_err(|_| DAMAGED)?)?;
        if code(password, data.mac_salt.as_bytes(), data.iterations, content) == data.mac.digest.as_bytes() {
            return Ok(Some(password));
        }
    }
    Ok(None)
}

fn code<D: Digest + FixedOutputReset + BlockSizeUser>(
    password: &str,
    salt: &[u8],
    rounds: i32,
    content: &[u8],
) -> Vec<u8> {
    let password = [utf16(password), Vec::from([0; 2])].concat();
    let key = derive_key::<D>(&password, salt, Pkcs12KeyType::Mac, rounds, <D as Digest>::output_size());
    let mac = SimpleHmac::<D>::new_from_slice(&key).expect("any length will do");
    mac.chain_update(content).finalize().into_bytes().to_vec()
}

/// What is in the store, before keys and certificates are put together.
#[derive(Default)]
struct Found {
    keys: Vec<(Attributes, Protected)>,
    certificates: Vec<(Attributes, CertificateDer<'static>)>,
}

#[derive(Default)]
struct Attributes {
    alias: String,
    key_id: Option<Vec<u8>>,
    is_trusted: bool,
}

impl Found {
    /// Takes what is of use; `None` if it is damaged.
    fn take(&mut self, bag: &SafeBag) -> Option<()> {
        let attributes = attributes(bag);
        let content = || ContextSpecific::<Any>::from_der(&bag.bag_value).ok()?.value.to_der().ok();
        match bag.bag_id {
            pkcs12::PKCS_12_KEY_BAG_OID => self.keys.push((attributes, Protected::Open(content()?))),
            pkcs12::PKCS_12_PKCS8_KEY_BAG_OID => self.keys.push((attributes, Protected::Pkcs8(content()?))),
            pkcs12::PKCS_12_CERT_BAG_OID => {
                let bag = ContextSpecific::<CertBag>::from_der(&bag.bag_value).ok()?.value;
                if bag.cert_id == X509_CERTIFICATE {
                    self.certificates.push((attributes, CertificateDer::from(bag.cert_value.into_bytes())));
                }
            }
            _ => {} // secrets, revocations: nothing that TLS needs
        }
        Some(())
    }

    fn store(self) -> Store {
        // Java trusts those alone that it marked so. Where there are neither marks nor keys, the store can be for nothing else.
        let no_marks = self.keys.is_empty() && !self.certificates.iter().any(|(is, _)| is.is_trusted);
        let is_trusted =
            |is: &&(Attributes, CertificateDer<'static>)| is.0.is_trusted || no_marks || planted("chain-is-trusted");
        let trusted = self.certificates.iter().filter(is_trusted).map(|(_, certificate)| certificate.clone()).collect();
        let chains = Chains::new(&self.certificates);
        let keys = self.keys.into_iter().map(|(is, key)| StoredKey {
            chain: chains.of(is.key_id.as_deref()),
            alias: is.alias,
            key,
        });
        Store { trusted, keys: keys.collect() }
    }
}

/// The certificates of a store by whom they are for.
struct Chains<'a> {
    all: Vec<(&'a Attributes, &'a CertificateDer<'static>, Option<Certificate>)>,
    by_subject: BTreeMap<Vec<u8>, usize>,
}

impl<'a> Chains<'a> {
    fn new(certificates: &'a [(Attributes, CertificateDer<'static>)]) -> Self {
        let all: Vec<_> = certificates.iter().map(|(is, der)| (is, der, Certificate::read(der))).collect();
        let mut by_subject = BTreeMap::new();
        for (place, (_, _, certificate)) in all.iter().enumerate() {
            if let Some(subject) = certificate.as_ref().and_then(Certificate::subject_der) {
                by_subject.entry(subject).or_insert(place);
            }
        }
        Self { all, by_subject }
    }

    /// The certificate of a key, and then each one's issuer as far as the store has it. A key without an id has the first that
    /// is not marked as trusted.
    fn of(&self, key_id: Option<&[u8]>) -> Vec<CertificateDer<'static>> {
        let own = match key_id {
            Some(id) => self.all.iter().position(|(is, ..)| is.key_id.as_deref() == Some(id)),
            None => self.all.iter().position(|(is, ..)| !is.is_trusted),
        };
        let mut places = Vec::new();
        let mut next = own;
        // Each once: issuers may go round in a circle.
        while let Some(place) = next.filter(|place| !places.contains(place) && places.len() < 16) {
            places.push(place);
            let issuer = self.all[place].2.as_ref().and_then(Certificate::issuer_der);
            next = issuer.and_then(|issuer| self.by_subject.get(&issuer).copied());
        }
        places.into_iter().map(|place| self.all[place].1.clone()).collect()
    }
}

fn attributes(bag: &SafeBag) -> Attributes {
    let mut found = Attributes::default();
    for attribute in bag.bag_attributes.iter().flat_map(|all| all.iter()) {
        let first = attribute.values.iter().next();
        match attribute.oid {
            FRIENDLY_NAME => {
                let name = first.and_then(|value| value.decode_as::<BmpString>().ok());
                found.alias = name.map(|name| name.to_string()).unwrap_or_default();
            }
            LOCAL_KEY_ID => found.key_id = first.and_then(octets),
            TRUSTED_KEY_USAGE => found.is_trusted = true,
            _ => {}
        }
    }
    found
}
