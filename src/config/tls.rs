//! Whom the producer trusts, and with which certificate it shows itself: `ssl.*`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::config::build::{Given, contradiction};
use crate::config::{ConfigError, Secret};

/// `ssl.*`, as far as TLS without a JVM knows it. For hosts, of which the adapters do what it says with feature `tls`; the
/// machine never looks at it. Read from options, or made by the methods here for
/// [`ConfigBuilder::tls`](crate::ConfigBuilder::tls), each named as Java's option.
///
/// ```
/// use milena::{Config, SecurityProtocol, TlsOptions};
///
/// let tls = TlsOptions::new().truststore_location("ca.pem").keystore_location("client.pem").key_password("secret");
/// let config = Config::builder("kafka.example.org:9093").security_protocol(SecurityProtocol::Ssl).tls(tls).build()?;
/// # let _ = config;
/// # Ok::<(), milena::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// `ssl.truststore.location`: a file of certificates to trust.
    pub truststore: Option<String>,
    /// `ssl.truststore.type`; without it the file itself tells.
    pub truststore_type: Option<StoreType>,
    /// `ssl.truststore.password`, for JKS and PKCS12.
    pub truststore_password: Option<Secret>,
    /// `ssl.truststore.certificates`: the same as text.
    pub trusted: Option<Secret>,
    /// `ssl.keystore.location`: a file with the private key and its certificate chain; JKS and PKCS12 may have several.
    pub keystore: Option<String>,
    /// `ssl.keystore.type`; without it the file itself tells.
    pub keystore_type: Option<StoreType>,
    /// `ssl.keystore.password`, for JKS and PKCS12.
    pub keystore_password: Option<Secret>,
    /// `ssl.keystore.key`: the private key as text.
    pub key: Option<Secret>,
    /// `ssl.keystore.certificate.chain`: the certificates as text.
    pub chain: Option<Secret>,
    /// `ssl.key.password`, with the white space around it. (Java cuts it off: where the password does not open the key, it is
    /// tried so as well.)
    pub key_password: Option<Secret>,
    /// Whether TLS 1.2 may be spoken (`ssl.enabled.protocols`, `ssl.protocol`). By default it may.
    pub tls12: bool,
    /// Whether TLS 1.3 may be spoken. By default it may.
    pub tls13: bool,
    /// `ssl.cipher.suites`; empty for the library's.
    pub cipher_suites: Vec<String>,
    /// `ssl.endpoint.identification.algorithm` is empty: any name will do.
    pub any_name: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            truststore: None,
            truststore_type: None,
            truststore_password: None,
            trusted: None,
            keystore: None,
            keystore_type: None,
            keystore_password: None,
            key: None,
            chain: None,
            key_password: None,
            tls12: true,
            tls13: true,
            cipher_suites: Vec::new(),
            any_name: false,
        }
    }
}

impl TlsOptions {
    /// The system's certificates are trusted, no certificate is shown, TLS 1.2 and 1.3 are spoken.
    pub fn new() -> Self {
        Self::default()
    }

    /// `ssl.truststore.location`: a file of certificates to trust, in place of the system's: PEM, PKCS12 or JKS.
    #[must_use]
    pub fn truststore_location(mut self, path: impl Into<String>) -> Self {
        self.truststore = Some(path.into());
        self
    }

    /// `ssl.truststore.password`: what a PKCS12 store is encrypted with, and a JKS store is verified by.
    #[must_use]
    pub fn truststore_password(mut self, password: impl Into<Secret>) -> Self {
        self.truststore_password = Some(password.into());
        self
    }

    /// `ssl.truststore.type`, where the file is not to be taken for what it is.
    #[must_use]
    pub fn truststore_type(mut self, kind: StoreType) -> Self {
        self.truststore_type = Some(kind);
        self
    }

    /// `ssl.truststore.certificates`: certificates to trust, in place of the system's, as PEM.
    #[must_use]
    pub fn truststore_certificates(mut self, pem: impl Into<Secret>) -> Self {
        self.trusted = Some(pem.into());
        self
    }

    /// `ssl.keystore.location`: a file with the client's private key and its certificates: PEM, PKCS12 or JKS.
    #[must_use]
    pub fn keystore_location(mut self, path: impl Into<String>) -> Self {
        self.keystore = Some(path.into());
        self
    }

    /// `ssl.keystore.password`: what a PKCS12 or JKS store is encrypted with; its keys too, without
    /// [`key_password`](Self::key_password).
    #[must_use]
    pub fn keystore_password(mut self, password: impl Into<Secret>) -> Self {
        self.keystore_password = Some(password.into());
        self
    }

    /// `ssl.keystore.type`, where the file is not to be taken for what it is.
    #[must_use]
    pub fn keystore_type(mut self, kind: StoreType) -> Self {
        self.keystore_type = Some(kind);
        self
    }

    /// `ssl.keystore.key` and `ssl.keystore.certificate.chain`: the client's private key and its certificates, as PEM.
    #[must_use]
    pub fn keystore(mut self, key: impl Into<Secret>, chain: impl Into<Secret>) -> Self {
        self.key = Some(key.into());
        self.chain = Some(chain.into());
        self
    }

    /// `ssl.key.password`: what the private key is encrypted with.
    #[must_use]
    pub fn key_password(mut self, password: impl Into<Secret>) -> Self {
        self.key_password = Some(password.into());
        self
    }

    /// `ssl.cipher.suites`: their names.
    #[must_use]
    pub fn cipher_suites<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.cipher_suites = names.into_iter().map(Into::into).collect();
        self
    }

    /// `ssl.enabled.protocols`: which versions may be spoken.
    #[must_use]
    pub fn versions(mut self, tls12: bool, tls13: bool) -> Self {
        (self.tls12, self.tls13) = (tls12, tls13);
        self
    }

    /// `ssl.endpoint.identification.algorithm=`: a trusted certificate will do whatever name it is for.
    #[must_use]
    pub fn any_name(mut self) -> Self {
        self.any_name = true;
        self
    }

    /// The options against each other, as far as that goes without reading files.
    pub(super) fn check(self) -> Result<Self, ConfigError> {
        if self.truststore.is_some() && self.trusted.is_some() {
            return contradiction("ssl.truststore.location and ssl.truststore.certificates exclude each other");
        }
        if self.keystore.is_some() && (self.key.is_some() || self.chain.is_some()) {
            return contradiction("ssl.keystore.location excludes ssl.keystore.key and ssl.keystore.certificate.chain");
        }
        if self.key.is_some() != self.chain.is_some() {
            return contradiction("ssl.keystore.key and ssl.keystore.certificate.chain need each other");
        }
        for (place, kind, password, names) in [
            (&self.truststore, self.truststore_type, &self.truststore_password, "truststore"),
            (&self.keystore, self.keystore_type, &self.keystore_password, "keystore"),
        ] {
            if password.is_some() && kind == Some(StoreType::Pem) {
                let key = if names == "keystore" { "; its key may have ssl.key.password" } else { "" };
                return contradiction(&alloc::format!(
                    "ssl.{names}.password is for stores of the types JKS and PKCS12, one of the type PEM has none{key}"
                ));
            }
            if password.is_some() && place.is_none() {
                return contradiction(&alloc::format!("ssl.{names}.password is given, but no ssl.{names}.location"));
            }
        }
        if !self.tls12 && !self.tls13 {
            return contradiction("ssl.protocol and ssl.enabled.protocols leave no version of TLS");
        }
        Ok(self)
    }
}

/// What kind of file a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreType {
    /// Java's own form, before version 9.
    Jks,
    /// PKCS#12: what keytool makes since then.
    Pkcs12,
    /// Certificates and keys as text.
    Pem,
}

impl StoreType {
    const ALL: [Self; 3] = [Self::Jks, Self::Pkcs12, Self::Pem];

    /// Its name in Java.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jks => "JKS",
            Self::Pkcs12 => "PKCS12",
            Self::Pem => "PEM",
        }
    }
}

impl Given {
    /// Stores and protocols.
    pub(super) fn tls(&self) -> Result<TlsOptions, ConfigError> {
        let truststore = ["ssl.truststore.location", "ssl.truststore.certificates"];
        let keystore = ["ssl.keystore.location", "ssl.keystore.key"];
        let text = |name| Some(self.text(name)).filter(|text| !text.is_empty());
        let owned = |name| text(name).map(ToString::to_string);
        let secret = |name| text(name).map(Secret::from);
        let mut options = TlsOptions {
            truststore: owned("ssl.truststore.location"),
            truststore_type: self.store_type("ssl.truststore.type", truststore)?,
            truststore_password: secret("ssl.truststore.password"),
            trusted: secret("ssl.truststore.certificates"),
            keystore: owned("ssl.keystore.location"),
            keystore_type: self.store_type("ssl.keystore.type", keystore)?,
            keystore_password: secret("ssl.keystore.password"),
            key: secret("ssl.keystore.key"),
            chain: secret("ssl.keystore.certificate.chain"),
            key_password: secret("ssl.key.password"),
            cipher_suites: list(self.text("ssl.cipher.suites")).map(ToString::to_string).collect(),
            any_name: self.text("ssl.endpoint.identification.algorithm").is_empty(),
            tls12: false,
            tls13: false,
        };
        for version in list(self.text("ssl.enabled.protocols")) {
            match version {
                "TLSv1.3" => options.tls13 = true,
                "TLSv1.2" => options.tls12 = true,
                other => {
                    let words =
                        alloc::format!("ssl.enabled.protocols has {other}: only TLSv1.2 and TLSv1.3 are spoken");
                    return contradiction(&words);
                }
            }
        }
        // The newest version to be used.
        if self.text("ssl.protocol") == "TLSv1.2" {
            options.tls13 = false;
        }
        options.check()
    }

    /// A type, where there is a store of which it could be.
    fn store_type(&self, option: &'static str, texts: [&'static str; 2]) -> Result<Option<StoreType>, ConfigError> {
        let given = self.text(option);
        let is_text = texts[1..].iter().any(|name| !self.text(name).is_empty());
        if given.is_empty() || texts.iter().all(|name| self.text(name).is_empty()) {
            return Ok(None);
        }
        match StoreType::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(given)) {
            Some(StoreType::Jks | StoreType::Pkcs12) if is_text => {
                contradiction(&alloc::format!("{option}={given} is a file, and no text: {} needs PEM", texts[1]))
            }
            Some(kind) => Ok(Some(kind)),
            None => {
                let allowed = "JKS, PKCS12 and PEM are read (other stores are converted by keytool -importkeystore)";
                Err(ConfigError::Invalid { option, value: given.to_string(), allowed: allowed.to_string() })
            }
        }
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SecurityProtocol};

    fn with(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let all = [("bootstrap.servers", "h:1"), ("security.protocol", "SSL")];
        Config::from_properties(all.iter().chain(pairs).copied())
    }

    #[test]
    fn they_may_be_given_as_they_are() {
        let build = |tls| Config::builder("h:1").security_protocol(SecurityProtocol::Ssl).tls(tls).build();
        let tls = TlsOptions::new().truststore_location("ca.pem").keystore("key", "chain").key_password("hunter2 ");
        let config = build(tls.clone()).unwrap();
        assert_eq!(config.tls(), &tls);
        assert!(config.tls().tls12 && config.tls().tls13 && !alloc::format!("{config:?}").contains("hunter2"));
        for (tls, words) in [
            (TlsOptions::new().truststore_location("a").truststore_certificates("b"), "exclude each other"),
            (tls.keystore_location("client.pem"), "excludes"),
            (TlsOptions::new().versions(false, false), "no version"),
        ] {
            let error = build(tls).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn white_space_of_secrets_is_kept() {
        let config = with(&[("ssl.key.password", " pw "), ("ssl.truststore.location", " /a.pem ")]).unwrap();
        assert_eq!(config.tls().key_password, Some(" pw ".into()));
        assert_eq!(config.tls().truststore.as_deref(), Some("/a.pem"));
    }

    #[test]
    fn stores_have_types_and_passwords() {
        let jks =
            [("ssl.truststore.type", "jks"), ("ssl.truststore.location", "/a.jks"), ("ssl.truststore.password", " x")];
        let tls = with(&jks).unwrap().tls;
        assert_eq!((tls.truststore_type, tls.truststore_password), (Some(StoreType::Jks), Some(" x".into())));
        let key = [("ssl.keystore.type", "PKCS12"), ("ssl.keystore.location", "/a"), ("ssl.keystore.password", "x")];
        let tls = with(&key).unwrap().tls;
        assert_eq!((tls.keystore_type, tls.keystore_password), (Some(StoreType::Pkcs12), Some("x".into())));
        for (pairs, words) in [
            (&[("ssl.truststore.password", "hunter2")][..], "no ssl.truststore.location"),
            (&[("ssl.keystore.password", "hunter2")], "no ssl.keystore.location"),
            (
                &[("ssl.truststore.type", "PEM"), jks[1], ("ssl.truststore.password", "hunter2")],
                "the type PEM has none",
            ),
            (&[("ssl.keystore.type", "PEM"), key[1], ("ssl.keystore.password", "hunter2")], "ssl.key.password"),
            (&[("ssl.truststore.type", "BCFKS"), jks[1]], "JKS, PKCS12 and PEM are read"),
            (&[jks[0], ("ssl.truststore.certificates", "x")], "needs PEM"),
            (&[key[0], ("ssl.keystore.key", "x"), ("ssl.keystore.certificate.chain", "x")], "needs PEM"),
            (&[("ssl.keystore.key", "k")], "need each other"),
        ] {
            let error = with(pairs).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
        // A type without a store is nothing, and without TLS nobody looks at it: as in Java.
        assert!(with(&jks[..1]).is_ok());
        assert!(with(&[("ssl.truststore.type", "BCFKS")]).is_ok());
        assert!(Config::builder("h:1").properties(jks).build().is_ok());
        let pem = with(&[("ssl.truststore.type", "PEM"), ("ssl.truststore.location", "/a.pem")]).unwrap();
        assert_eq!(pem.tls.truststore.as_deref(), Some("/a.pem"));
    }

    #[test]
    fn versions_of_tls_are_those_enabled_up_to_the_protocol() {
        let versions = |pairs: &[(&str, &str)]| with(pairs).map(|config| (config.tls.tls12, config.tls.tls13)).ok();
        assert_eq!(versions(&[]), Some((true, true)));
        assert_eq!(versions(&[("ssl.protocol", "TLSv1.2")]), Some((true, false)));
        assert_eq!(versions(&[("ssl.enabled.protocols", "TLSv1.3")]), Some((false, true)));
        assert_eq!(versions(&[("ssl.enabled.protocols", "TLSv1.1,TLSv1.2")]), None);
        assert_eq!(versions(&[("ssl.enabled.protocols", "TLSv1.3"), ("ssl.protocol", "TLSv1.2")]), None);
    }
}
