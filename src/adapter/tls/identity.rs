//! The client's private key and its certificates. No error shows anything of the key.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use pkcs8::der::{Decode, Encode};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{ObjectIdentifier, PrivateKeyInfo};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use sec1::{EcParameters, EcPrivateKey};

use super::certificate::{Certificate, EC, RSA, rsa_bits};
use super::pem::{self, Section};
use super::{read, sealed, store, unusable};
use crate::config::{ConfigError, Secret, TlsOptions};

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// Curves, and the bytes of a private key on them. They are those that ring signs with.
const CURVES: [(ObjectIdentifier, usize); 2] =
    [(ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), 32), (ObjectIdentifier::new_unwrap("1.3.132.0.34"), 48)];

const OTHER_KEYS: [(&str, &str); 8] = [
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.113549.1.1.10", "RSA for PSS only"),
    ("1.3.101.110", "X25519, which can't sign"),
    ("1.3.101.111", "X448, which can't sign"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.10046.2.1", "DH, which can't sign"),
    ("1.3.132.0.35", "EC on the curve P-521"),
    ("1.3.132.0.10", "EC on the curve secp256k1"),
];

const SUPPORTED: &str = "a client's key is RSA of 2048 to 4096 bits, EC on P-256 or P-384, or Ed25519; such as by openssl genpkey \
                         -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW, and a certificate for it";

/// What the client may show itself with, at least one.
#[derive(Debug)]
pub(super) struct Identities(Vec<Arc<CertifiedKey>>);

#[cfg(test)]
impl Identities {
    pub(super) fn all(&self) -> &[Arc<CertifiedKey>] {
        &self.0
    }
}

impl ResolvesClientCert for Identities {
    /// The first that can sign as the server wants and that one of the issuers which it names vouches for; if there is none, the
    /// first that can sign.
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let can_sign = || self.0.iter().filter(|identity| identity.key.choose_scheme(schemes).is_some());
        let is_vouched_for = |identity: &&Arc<CertifiedKey>| {
            let issuer = |der: &CertificateDer<'_>| Certificate::read(der)?.issuer_der();
            identity.cert.iter().filter_map(issuer).any(|issuer| issuers.contains(&&*issuer))
        };
        can_sign().find(is_vouched_for).or_else(|| can_sign().next()).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The keys and chains that `ssl.keystore.*` name; `None` if they name none.
pub(super) fn identities(options: &TlsOptions) -> Result<Option<Identities>, ConfigError> {
    let (key, chain, key_option, chain_option) = match (&options.keystore, &options.key, &options.chain) {
        (Some(path), ..) => {
            let text = read(path, "ssl.keystore.location")?;
            if let Some(found) = of_store(options, &text).map_err(|why| unusable("ssl.keystore.location", why))? {
                return Ok(Some(found));
            }
            (text.clone(), text, "ssl.keystore.location", "ssl.keystore.location")
        }
        (None, Some(key), Some(chain)) => {
            let bytes = |secret: &Secret| secret.expose().as_bytes().to_vec();
            (bytes(key), bytes(chain), "ssl.keystore.key", "ssl.keystore.certificate.chain")
        }
        (None, ..) => return Ok(None),
    };
    let chain = pem::certificates(&chain).map_err(|why| unusable(chain_option, why))?;
    let certificates = read_all(&chain).map_err(|why| unusable(chain_option, why))?;
    let key = private_key(&key, options.key_password.as_ref()).map_err(|why| unusable(key_option, why))?;
    let key = signing_key(&key, &certificates).map_err(|why| unusable(key_option, why))?;
    Ok(Some(Identities(Vec::from([Arc::new(CertifiedKey::new(chain, key))]))))
}

fn read_all(chain: &[CertificateDer<'_>]) -> Result<Vec<Certificate>, String> {
    let certificates = chain.iter().enumerate().map(|(place, der)| {
        Certificate::read(der).ok_or_else(|| format!("certificate {} of {} is damaged", place + 1, chain.len()))
    });
    certificates.collect()
}

/// All keys of a store of Java's; `None` if the file is PEM. What can't be used is left out with a warning, as long as another can.
fn of_store(options: &TlsOptions, bytes: &[u8]) -> Result<Option<Identities>, String> {
    let store_password = options.keystore_password.as_ref();
    let Some(store) = store::read(bytes, options.keystore_type, store_password, store::KEYSTORE)? else {
        return Ok(None);
    };
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for stored in store.keys {
        let used = stored.open(options.key_password.as_ref(), store_password).and_then(|key| {
            let certificates = read_all(&stored.chain)?;
            if certificates.is_empty() {
                return Err("it has no certificate".to_string());
            }
            signing_key(&Key::Pkcs8(key), &certificates)
        });
        match used {
            Ok(key) => found.push(Arc::new(CertifiedKey::new(stored.chain, key))),
            Err(why) => refused.push(format!("{}: {why}", stored.alias)),
        }
    }
    if !found.is_empty() {
        refused.iter().for_each(|why| log::warn!("ssl.keystore.location: left out: {why}"));
        return Ok(Some(Identities(found)));
    }
    Err(match refused.into_iter().next() {
        Some(why) => why,
        None if store.trusted.is_empty() => "the store is empty: it has no private key".to_string(),
        None => "it is a truststore: it has certificates to trust and no private key".to_string(),
    })
}

/// A key that is not encrypted (any more).
enum Key {
    Pkcs8(Vec<u8>),
    Pkcs1(Vec<u8>),
    Sec1(Vec<u8>),
}

/// The one private key in a text.
fn private_key(bytes: &[u8], password: Option<&Secret>) -> Result<Key, String> {
    let sections = pem::sections(bytes)?;
    let keys: Vec<&Section> = sections.iter().filter(|section| section.is_key()).collect();
    let key = match keys[..] {
        [] if sections.iter().any(Section::is_certificate) => {
            return Err("it has certificates and no private key; both are wanted".to_string());
        }
        [] => return Err(pem::none(bytes, &sections, "PRIVATE KEY")),
        [key] => key,
        _ => return Err(format!("it has {} private keys, and one is wanted", keys.len())),
    };
    if key.has_headers {
        return Err(sealed::old_openssl());
    }
    match &*key.label {
        "ENCRYPTED PRIVATE KEY" => match password {
            Some(password) => match sealed::open(&key.der, password)? {
                Some(key) => Ok(Key::Pkcs8(key)),
                None => Err("ssl.key.password does not open the key: it is the password of another one".to_string()),
            },
            None => Err("the private key is encrypted: set ssl.key.password".to_string()),
        },
        "PRIVATE KEY" => Ok(Key::Pkcs8(key.der.clone())),
        "RSA PRIVATE KEY" => Ok(Key::Pkcs1(key.der.clone())),
        "EC PRIVATE KEY" => Ok(Key::Sec1(key.der.clone())),
        "OPENSSH PRIVATE KEY" => {
            Err("the private key is in OpenSSH's own form: ssh-keygen -p -m PKCS8 -f FILE converts it".to_string())
        }
        "DSA PRIVATE KEY" => Err(format!("the private key is DSA, which TLS knows no more: {SUPPORTED}")),
        other => Err(format!(
            "a section {other} is not read: openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW makes PKCS#8 of it (PRIVATE KEY)"
        )),
    }
}

/// What signs, if it belongs to the first certificate.
fn signing_key(key: &Key, chain: &[Certificate]) -> Result<Arc<dyn SigningKey>, String> {
    let damaged = || "the private key is damaged: it is not what its BEGIN line says".to_string();
    let loaded = match key {
        Key::Pkcs1(der) => rsa(der)?,
        Key::Sec1(der) => {
            let key = EcPrivateKey::from_der(der).map_err(|_| damaged())?;
            let curve = key.parameters.and_then(EcParameters::named_curve);
            // Without one it is that of the certificate.
            let curve = curve.or_else(|| chain.first()?.curve()).ok_or_else(damaged)?;
            ec(&key, curve, chain)?
        }
        Key::Pkcs8(der) => {
            let info = PrivateKeyInfo::try_from(&**der).map_err(|_| damaged())?;
            match info.algorithm.oid {
                RSA => rsa(info.private_key)?,
                EC => {
                    let key = EcPrivateKey::from_der(info.private_key).map_err(|_| damaged())?;
                    let curve = info.algorithm.parameters_oid();
                    let curve = curve.map_err(|_| {
                        format!("the private key's curve is written out in numbers, which is not read: {SUPPORTED}")
                    })?;
                    ec(&key, curve, chain)?
                }
                ED25519 => load(PrivatePkcs8KeyDer::from(der.clone()).into()).ok_or_else(damaged)?,
                other => return Err(unsupported(other)),
            }
        }
    };
    belongs(&*loaded, chain)?;
    Ok(loaded)
}

fn load(key: PrivateKeyDer<'_>) -> Option<Arc<dyn SigningKey>> {
    any_supported_type(&key).ok()
}

fn rsa(pkcs1: &[u8]) -> Result<Arc<dyn SigningKey>, String> {
    load(PrivatePkcs1KeyDer::from(pkcs1.to_vec()).into()).ok_or_else(|| match rsa_bits(pkcs1, 1) {
        Some(bits) if !(2048..=4096).contains(&bits) => {
            format!("the private key is RSA of {bits} bits: {SUPPORTED}")
        }
        Some(_) => {
            format!("the private key is RSA with numbers that ring does not take (an exponent of 3?): {SUPPORTED}")
        }
        None => "the private key is damaged: it is no RSA key".to_string(),
    })
}

/// An EC key. keytool writes it without the public key, which ring wants; that stands in the certificate.
fn ec(key: &EcPrivateKey<'_>, curve: ObjectIdentifier, chain: &[Certificate]) -> Result<Arc<dyn SigningKey>, String> {
    let Some((_, length)) = CURVES.iter().find(|(known, _)| *known == curve) else {
        return Err(unsupported(curve));
    };
    // Some write the number with fewer or more leading zeros than its field has bytes.
    let number = &key.private_key[key.private_key.iter().take_while(|byte| **byte == 0).count()..];
    let missing = length.checked_sub(number.len()).ok_or("the private key is damaged: it is too long for its curve")?;
    let number = [&[0; 48][..missing], number].concat();
    let on_curve = chain.iter().filter(|certificate| certificate.curve() == Some(curve));
    let candidates: Vec<&[u8]> = match key.public_key {
        Some(public) => Vec::from([public]),
        None => on_curve.map(Certificate::public_key).collect(),
    };
    let loaded = candidates.into_iter().find_map(|public| {
        let whole = EcPrivateKey { private_key: &number, parameters: None, public_key: Some(public) }.to_der().ok()?;
        let parameters = (&curve).into();
        let algorithm = AlgorithmIdentifierRef { oid: EC, parameters: Some(parameters) };
        let pkcs8 = PrivateKeyInfo::new(algorithm, &whole).to_der().ok()?;
        load(PrivatePkcs8KeyDer::from(pkcs8).into())
    });
    loaded.ok_or_else(|| match key.public_key {
        Some(_) => "the private key is damaged: its public key is not its own".to_string(),
        None => STRANGER.to_string(),
    })
}

const STRANGER: &str = "the private key does not belong to the certificate: they are of different pairs";

/// Whether the key is that of the first certificate.
fn belongs(key: &dyn SigningKey, chain: &[Certificate]) -> Result<(), String> {
    let Some(public) = key.public_key() else { return Ok(()) };
    let Ok(public) = SubjectPublicKeyInfoRef::from_der(&public) else { return Ok(()) };
    let is_of = |certificate: &Certificate| {
        certificate.key_algorithm() == public.algorithm.oid
            && certificate.public_key() == public.subject_public_key.raw_bytes()
    };
    match chain.iter().position(is_of) {
        Some(0) => Ok(()),
        Some(place) => Err(format!(
            "the private key belongs to certificate {} of {}: that one has to be the first, and each of the others its issuer",
            place + 1,
            chain.len()
        )),
        None => Err(STRANGER.to_string()),
    }
}

fn unsupported(algorithm: ObjectIdentifier) -> String {
    match OTHER_KEYS.iter().find(|(oid, _)| ObjectIdentifier::new_unwrap(oid) == algorithm) {
        Some((_, name)) => format!("the private key is {name}: {SUPPORTED}"),
        None => format!("the private key is of a kind that is not known ({algorithm}): {SUPPORTED}"),
    }
}
