//! Keys and certificates as people have them (`tests/tls`, made by openssl and keytool), and servers that show them.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::format;
use std::io::{BufRead as _, ErrorKind, IoSlice};

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CipherSuiteCommon, ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedCipherSuite,
    Tls12CipherSuite,
};

use super::explain::words;
use super::{Session, client_config, pem};
use crate::config::{StoreType, TlsOptions};

fn path(file: &str) -> String {
    format!("{}/tests/tls/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn bytes(file: &str) -> Vec<u8> {
    std::fs::read(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn text(file: &str) -> String {
    String::from_utf8(bytes(file)).expect("PEM is text")
}

/// Whom a client trusts that is not about trust.
fn options() -> TlsOptions {
    TlsOptions::new().truststore_location(path("ca.crt"))
}

/// What is said of a key with its certificates; nothing if they are taken.
fn refusal(key: &str, chain: &str, password: Option<&str>) -> Option<String> {
    let mut options = options().keystore(key, chain);
    options.key_password = password.map(Into::into);
    refusal_of(&options)
}

fn refusal_of(options: &TlsOptions) -> Option<String> {
    let said = client_config(options).err().map(|error| error.to_string());
    // Whatever is wrong: no line of a key, neither in decimal nor in hexadecimal.
    if let (Some(said), Some(key)) = (&said, &options.key) {
        let lines =
            key.expose().lines().filter(|line| line.len() > 20 && !line.starts_with('-') && !line.contains(':'));
        assert!(!lines.into_iter().any(|line| said.contains(&line[..20])), "{said}");
        assert!(!said.contains("48, 1") && !said.contains("[77, 7"), "{said}");
    }
    said
}

#[test]
fn keys_are_taken_as_openssl_and_keytool_make_them() {
    for (key, chain) in [
        ("ec.key", "ec.crt"),
        ("ec384.key", "ec384.crt"),
        ("rsa.key", "rsa.crt"),
        ("ed25519.key", "ed25519.crt"),
        ("ec-sec1.key", "ec.crt"),
        ("ec-sec1-parameters.key", "ec.crt"),
        ("ec-sec1-no-public.key", "ec.crt"),
        ("rsa-pkcs1.key", "rsa.crt"),
        ("ec.key", "ec-trusted.crt"),
        ("keytool-ec256.pem", "keytool-ec256.pem"),
        ("keytool-ec384.pem", "keytool-ec384.pem"),
        ("keytool-rsa.pem", "keytool-rsa.pem"),
        ("keytool-ec256-pkcs8.key", "keytool-ec256.crt"),
    ] {
        assert_eq!(refusal(&text(key), &text(chain), None), None, "{key}");
        // As one file, and with white space of other kinds.
        let both = [bytes(key), bytes(chain)].concat();
        let file = std::env::temp_dir().join(format!("milena-{}-{key}", std::process::id()));
        let one_file = if key == chain { bytes(key) } else { both };
        std::fs::write(&file, one_file).expect("a file");
        let taken = refusal_of(&options().keystore_location(file.display().to_string()));
        std::fs::remove_file(&file).expect("it was there");
        assert_eq!(taken, None, "{key}");
        for (between, end) in [("\r\n", "\r\n"), (" ", ""), ("", ""), ("\r", "\n")] {
            let joined = |text: &str| format!("{}{end}", text.lines().collect::<Vec<_>>().join(between));
            // Headers of a bag are lines; in one line they are the text around a section.
            assert_eq!(refusal(&joined(&text(key)), &joined(&text(chain)), None), None, "{key} {between:?}");
        }
    }
}

#[test]
fn encrypted_keys_are_opened() {
    let chain = text("ec.crt");
    let pbes2 = ["aes128", "aes192", "aes256", "des3", "hmacWithSHA1", "hmacWithSHA512", "scrypt"];
    let pkcs12 = ["PBE-SHA1-3DES", "PBE-SHA1-RC2-40", "PBE-SHA1-RC2-128"];
    for form in pbes2.into_iter().chain(pkcs12) {
        let key = text(&format!("ec-{form}.key"));
        assert_eq!(refusal(&key, &chain, Some("secret")), None, "{form}");
        // Java cuts off what stands around a password; here it is tried so as well.
        assert_eq!(refusal(&key, &chain, Some(" secret\t")), None, "{form}");
        let wrong = refusal(&key, &chain, Some("hunter2")).unwrap();
        assert!(wrong.contains("ssl.key.password does not open the key") && !wrong.contains("hunter2"), "{wrong}");
        assert!(refusal(&key, &chain, None).unwrap().contains("set ssl.key.password"), "{form}");
    }
    assert_eq!(refusal(&text("ec-blank.key"), &chain, Some("secret ")), None);
    assert!(refusal(&text("ec-blank.key"), &chain, Some("secret")).is_some());
    for form in ["aes256", "PBE-SHA1-3DES"] {
        let key = text(&format!("ec-unicode-{form}.key"));
        assert_eq!(refusal(&key, &chain, Some("sécret€")), None, "{form}");
    }
    // A password for a key that has none is not looked at.
    assert_eq!(refusal(&text("ec.key"), &chain, Some("secret")), None);
}

#[test]
fn no_wrong_password_looks_right_by_chance() {
    let key = pem::sections(&bytes("ec-PBE-SHA1-3DES.key")).expect("a section").remove(0).der;
    for n in 0..600 {
        assert_eq!(super::sealed::open(&key, &format!("wrong{n}").into()), Ok(None));
    }
}

#[test]
fn keys_that_are_not_taken_are_named_with_what_to_do() {
    let openssl = "openssl pkcs8 -topk8";
    for (key, chain, password, words) in [
        ("ec-PBE-MD5-DES.key", "ec.crt", Some("secret"), ["PBES1 with MD5 and DES", openssl]),
        ("ec-PBE-SHA1-DES.key", "ec.crt", Some("secret"), ["PBES1 with SHA-1 and DES", openssl]),
        ("ec-PBE-SHA1-2DES.key", "ec.crt", Some("secret"), ["two-key 3DES", openssl]),
        ("ec-PBE-SHA1-RC4-128.key", "ec.crt", Some("secret"), ["128-bit RC4", "-provider legacy"]),
        ("ec-camellia256.key", "ec.crt", Some("secret"), ["PBES2", openssl]),
        ("ec-aria256.key", "ec.crt", Some("secret"), ["PBES2", openssl]),
        ("ec-old-openssl.key", "ec.crt", Some("secret"), ["Proc-Type: 4,ENCRYPTED", openssl]),
        ("rsa-old-openssl.key", "rsa.crt", None, ["Proc-Type: 4,ENCRYPTED", openssl]),
        ("dsa.key", "dsa.crt", None, ["DSA", "openssl genpkey"]),
        ("dsa-old.key", "dsa.crt", None, ["DSA", "openssl genpkey"]),
        ("rsa1024.key", "rsa1024.crt", None, ["RSA of 1024 bits", "openssl genpkey"]),
        ("rsa-pss.key", "rsa-pss.crt", None, ["PSS", "openssl genpkey"]),
        ("ec521.key", "ec521.crt", None, ["P-521", "openssl genpkey"]),
        ("ec-explicit.key", "ec-explicit.crt", None, ["written out in numbers", "openssl genpkey"]),
        ("ed448.key", "ed448.crt", None, ["Ed448", "openssl genpkey"]),
        ("ec.key", "rsa.crt", None, ["does not belong to the certificate", ""]),
        ("ec.key", "keytool-ec256.crt", None, ["does not belong to the certificate", ""]),
        ("keytool-ec256-pkcs8.key", "ec.crt", None, ["does not belong to the certificate", ""]),
        ("keytool-ec256-pkcs8.key", "rsa.crt", None, ["does not belong to the certificate", ""]),
        ("ec.crt", "ec.crt", None, ["no private key", ""]),
        ("ec.key", "ec.key", None, ["no certificate", ""]),
        ("ec.key", "ec.csr", None, ["request", ""]),
        ("ec.key", "ec.p7b", None, ["openssl pkcs7 -print_certs", ""]),
    ] {
        let said = refusal(&text(key), &text(chain), password).unwrap_or_else(|| panic!("{key} is taken"));
        assert!(words.iter().all(|words| said.contains(words)), "{key}: {said}");
        assert!(said.starts_with("ssl.keystore."), "{key}: {said}");
    }
}

#[test]
fn files_that_are_no_pem_are_recognised() {
    for (file, words) in [
        ("stores/jceks-key.store", "JCEKS store of Java's: keytool -importkeystore"),
        ("ec-der.bin", "openssl pkey -inform DER"),
        ("ec-crt-der.bin", "openssl x509 -inform DER"),
    ] {
        let said = refusal_of(&TlsOptions::new().truststore_location(path(file))).unwrap();
        assert!(said.contains(words) && said.starts_with("ssl.truststore.location: "), "{file}: {said}");
        let said = refusal_of(&options().keystore_location(path(file))).unwrap();
        assert!(said.contains(words) && said.starts_with("ssl.keystore.location: "), "{file}: {said}");
    }
    let missing = refusal_of(&options().keystore_location("/nowhere.pem")).unwrap();
    assert!(missing.contains("can't read /nowhere.pem"), "{missing}");
}

#[test]
fn two_keys_and_certificates_out_of_order_are_refused() {
    let two = [text("ec.key"), text("rsa.key")].concat();
    assert!(refusal(&two, &text("ec.crt"), None).unwrap().contains("2 private keys"));
    for key in ["ec.key", "ec-sec1-no-public.key"] {
        let said = refusal(&text(key), &[text("ca.crt"), text("ec.crt")].concat(), None).unwrap();
        assert!(said.contains("certificate 2 of 2"), "{said}");
    }
    let damaged = text("ec.crt").replacen("MII", "MIA", 1);
    let said = refusal(&text("ec.key"), &[text("ec.crt"), damaged].concat(), None).unwrap();
    assert!(said.contains("certificate 2 of 2 is damaged"), "{said}");
}

/// The whole key in decimal is what a library said of this one.
#[test]
fn damaged_keys_show_nothing_of_themselves() {
    let (key, chain) = (text("rsa.key"), text("rsa.crt"));
    let body = key.lines().nth(3).unwrap();
    for damaged in [
        key.replace('\n', "\\n"),
        key.replace("-----END PRIVATE KEY-----", ""),
        key.replace(body, ""),
        key.replace(body, &body[1..]),
        key.replace("PRIVATE KEY", "EC PRIVATE KEY"),
        key.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
        key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        key.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
        key.replace("PRIVATE KEY", "SOME PRIVATE KEY"),
        key.lines().filter(|line| !line.starts_with('-')).collect(),
    ] {
        assert!(refusal(&damaged, &chain, Some("secret")).is_some(), "{damaged}");
    }
}

fn truststore(text: &str) -> TlsOptions {
    TlsOptions::new().truststore_certificates(text)
}

#[test]
fn a_truststore_says_which_certificate_is_wrong() {
    let damaged = text("self-san.crt").replacen("MII", "MIA", 1);
    let said = refusal_of(&truststore(&[text("ca.crt"), damaged, text("self-cn.crt")].concat())).unwrap();
    assert!(said.contains("certificate 2 of 3 is damaged"), "{said}");
    let cut: String = [text("ca.crt"), text("self-cn.crt").lines().take(5).collect()].concat();
    let said = refusal_of(&truststore(&cut)).unwrap();
    assert!(said.contains("section 2 (CERTIFICATE)") && said.contains("cut off"), "{said}");
    assert_eq!(refusal_of(&truststore(&text("keytool-list.pem"))), None);
    assert!(refusal_of(&truststore("")).unwrap().contains("no PEM"));
}

const FORMS: [&str; 3] = ["modern", "legacy", "jks"];

fn store(name: &str) -> String {
    path(&format!("stores/{name}.store"))
}

fn trusting(name: &str, password: &str) -> TlsOptions {
    TlsOptions::new().truststore_location(store(name)).truststore_password(password)
}

fn showing(name: &str, password: &str) -> TlsOptions {
    options().keystore_location(store(name)).keystore_password(password)
}

/// The certificates in PEM files, as they lie in a store.
fn certificates(names: &[&str]) -> Vec<CertificateDer<'static>> {
    names.iter().flat_map(|name| pem::certificates(&bytes(&format!("stores/{name}.crt"))).expect("PEM")).collect()
}

fn trusted(options: &TlsOptions) -> Vec<CertificateDer<'static>> {
    let verifier = super::trust::Verifier::new(options, Arc::new(ring::default_provider()));
    verifier.unwrap_or_else(|error| panic!("{error}")).trusted().to_vec()
}

#[test]
fn javas_truststores_are_read() {
    for form in FORMS {
        let both = certificates(&["authority-one", "authority-two"]);
        // A JKS store has them in the order of a hash table.
        let mut found = trusted(&trusting(&format!("{form}-trust"), "secret"));
        found.sort_by_key(|certificate| both.iter().position(|one| one == certificate));
        assert_eq!(found, both, "{form}");
        // Java cuts off what stands around a password.
        assert_eq!(trusted(&trusting(&format!("{form}-trust"), " secret\t")).len(), 2, "{form}");
        // Of a store with keys too, what is marked as trusted.
        let several = trusted(&trusting(&format!("{form}-several"), "secret"));
        assert_eq!(several, certificates(&["authority-two"]), "{form}");
        let wrong = refusal_of(&trusting(&format!("{form}-trust"), "hunter2")).unwrap();
        assert!(wrong.contains("ssl.truststore.password is not the store's") && !wrong.contains("hunter2"), "{wrong}");
        let empty = refusal_of(&trusting(&format!("{form}-empty"), "secret")).unwrap();
        assert!(empty.contains("the store is empty"), "{empty}");
        let keys = refusal_of(&trusting(&format!("{form}-key"), "secret")).unwrap();
        assert!(keys.contains("it is a keystore: it has the private key client-one"), "{keys}");
    }
    // Without a password a JKS store is read and not verified, as in Java; one of PKCS12 only where nothing in it is encrypted.
    let open = |name: &str| TlsOptions::new().truststore_location(store(name));
    assert_eq!(trusted(&open("jks-trust")).len(), 2);
    assert_eq!(trusted(&open("open-trust")), certificates(&["authority-one"]));
    assert_eq!(trusted(&trusting("open-trust", "whatever")), certificates(&["authority-one"]));
    for form in ["modern-trust", "legacy-trust"] {
        assert!(refusal_of(&open(form)).unwrap().contains("the store is encrypted: set ssl.truststore.password"));
    }
    // Nothing is marked in one by openssl, which then can be for nothing else.
    assert_eq!(trusted(&trusting("openssl-trust", "secret")), certificates(&["authority-one"]));
}

#[test]
fn javas_keystores_are_read_with_their_chains() {
    for form in FORMS {
        for kind in [None, Some(StoreType::Jks), Some(StoreType::Pkcs12)] {
            let mut options = showing(&format!("{form}-key"), "secret");
            options.keystore_type = kind; // the two may stand for each other, as in Java
            let shown = super::identity::identities(&options).unwrap_or_else(|error| panic!("{error}")).expect("some");
            let chains: Vec<_> = shown.all().iter().map(|identity| identity.cert.clone()).collect();
            assert_eq!(chains, [certificates(&["client-one", "authority-one"])], "{form}");
        }
        let wrong = refusal_of(&showing(&format!("{form}-key"), "hunter2")).unwrap();
        assert!(wrong.contains("ssl.keystore.password is not the store's") && !wrong.contains("hunter2"), "{wrong}");
        let wrong = refusal_of(&showing(&format!("{form}-key"), "secret").key_password("hunter2")).unwrap();
        assert!(wrong.contains("client-one: ssl.key.password does not open the key"), "{wrong}");
        let none = refusal_of(&options().keystore_location(store(&format!("{form}-key")))).unwrap();
        assert!(none.contains("set ssl.keystore.password"), "{none}");
        let empty = refusal_of(&showing(&format!("{form}-empty"), "secret")).unwrap();
        assert!(empty.contains("the store is empty"), "{empty}");
        let trust = refusal_of(&showing(&format!("{form}-trust"), "secret")).unwrap();
        assert!(trust.contains("it is a truststore"), "{trust}");
    }
    for form in ["modern", "jks"] {
        let store = showing(&format!("{form}-other-password"), "secret");
        assert_eq!(refusal_of(&store.clone().key_password("another")), None, "{form}");
        assert!(refusal_of(&store).unwrap().contains("has not the store's password: set ssl.key.password"), "{form}");
    }
}

#[test]
fn types_of_stores_are_held_against_the_files() {
    let pem = path("ca.crt");
    let trust = |path: &str, kind| TlsOptions::new().truststore_location(path).truststore_type(kind);
    for (options, words) in [
        (trust(&pem, StoreType::Jks), "neither a JKS nor a PKCS12 store, as ssl.truststore.type says, but PEM"),
        (trust(&path("ec-der.bin"), StoreType::Pkcs12), "a private key in DER"),
        (trust(&store("jceks-key"), StoreType::Jks), "JCEKS"),
        (trust(&store("jks-trust"), StoreType::Pem), "a JKS store and no PEM: set ssl.truststore.type=JKS"),
        (trust(&store("modern-trust"), StoreType::Pem), "set ssl.truststore.type=PKCS12"),
        (TlsOptions::new().truststore_location(&pem).truststore_password("x"), "PEM has no ssl.truststore.password"),
        (options().keystore_location(&pem).keystore_password("x"), "PEM has no ssl.keystore.password"),
    ] {
        let said = refusal_of(&options).unwrap();
        assert!(said.contains(words), "{said}");
    }
}

/// Servers that trust one authority each are shown the key that it vouches for.
#[test]
fn of_several_keys_the_one_is_shown_that_the_server_asks_for() {
    for form in FORMS {
        for (authority, client) in [("authority-one", "client-one"), ("authority-two", "client-two")] {
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(certificates(&[authority]));
            let provider = Arc::new(ring::default_provider());
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let key = pem::sections(&bytes("rsa.key")).expect("a key").remove(0).der;
            let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let server = builder.expect("versions").with_client_cert_verifier(verifier.build().expect("a root"));
            let chain = pem::certificates(&bytes("self-san.crt")).expect("a certificate");
            let server = server.with_single_cert(chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key)));
            let server = Arc::new(server.expect("a server"));
            let several = TlsOptions::new()
                .truststore_location(path("self-san.crt"))
                .keystore_location(store(&format!("{form}-several")))
                .keystore_password("secret");
            assert_eq!(shake(&several, &server, "localhost"), Ok(()), "{form} {client}");
            let one = several.keystore_location(store(&format!("{form}-key")));
            assert_eq!(shake(&one, &server, "localhost").is_ok(), client == "client-one", "{form} {client}");
        }
    }
}

/// Whatever becomes of a store's bytes: an error or certificates, soon, and no panic.
#[test]
fn damaged_stores_are_errors() {
    for name in ["modern-several", "legacy-several", "jks-several", "open-trust", "openssl-trust"] {
        let whole = bytes(&format!("stores/{name}.store"));
        let read = |bytes: &[u8], password: Option<&str>| {
            let password = password.map(Into::into);
            let store = super::store::read(bytes, None, password.as_ref(), super::store::KEYSTORE);
            store.map(|store| {
                store.map(|store| store.keys.iter().filter(|key| key.open(None, password.as_ref()).is_ok()).count())
            })
        };
        assert!(read(&whole, Some("secret")).is_ok(), "{name}");
        for end in (4..whole.len()).step_by(7) {
            let cut = &whole[..end];
            assert!(!matches!(read(cut, Some("secret")), Ok(Some(_))), "{name} cut at {end}");
            let _ = read(cut, None);
        }
        // Without the password a part of it is not even verified: any byte may be anything.
        for place in 0..whole.len() {
            for other in [0x00, 0x7f, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[place] = other;
                let _ = read(&damaged, None);
            }
        }
        for place in (0..whole.len()).step_by(31) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x10;
            let _ = read(&damaged, Some("secret"));
        }
    }
}

/// Files that ask for more work or memory than they are worth.
#[test]
fn work_that_a_store_asks_for_is_bounded() {
    let read = |bytes: &[u8]| {
        super::store::read(bytes, None, Some(&"secret".into()), super::store::TRUSTSTORE).err().unwrap_or_default()
    };
    // The count of the MAC's rounds, 10,000 in two bytes, is the last number in the file.
    let mut rounds = bytes("stores/modern-trust.store");
    let length = rounds.len();
    assert_eq!(rounds[length - 4..], [2, 2, 0x27, 0x10]);
    let longer = |at: usize, bytes: &mut [u8]| {
        let [high, low] = (u16::from_be_bytes([bytes[at], bytes[at + 1]]) + 2).to_be_bytes();
        (bytes[at], bytes[at + 1]) = (high, low);
    };
    rounds.truncate(length - 4);
    rounds.extend([2, 4, 0x7f, 0xff, 0xff, 0xff]);
    longer(2, &mut rounds);
    let sequence =
        rounds.windows(3).rposition(|bytes| bytes[..2] == [0x30, 0x4d] && bytes[2] == 0x30).expect("macData");
    rounds[sequence + 1] += 2;
    assert!(read(&rounds).contains("more than 5000000 rounds"), "{}", read(&rounds));
    // In a JKS store: a count of entries, and a length, that nothing is behind.
    let mut entries = bytes("stores/jks-empty.store");
    entries[8..12].copy_from_slice(&[0xff; 4]);
    let open = super::store::read(&entries, None, None, super::store::TRUSTSTORE).err().unwrap_or_default();
    assert!(open.contains("damaged or cut off"), "{open}");
    // A file that has no end worth waiting for.
    let large = std::env::temp_dir().join(format!("milena-large-{}", std::process::id()));
    std::fs::File::create(&large).and_then(|file| file.set_len(1 << 34)).expect("a file of holes");
    let said = refusal_of(&TlsOptions::new().truststore_location(large.display().to_string())).unwrap();
    std::fs::remove_file(&large).expect("it was there");
    assert!(said.contains("more than 16 MiB"), "{said}");
}

/// A server with a certificate and a key, whether rustls would take them or not.
fn server(certificates: &[&str], key: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let key = pem::sections(key.as_bytes()).unwrap_or_default().remove(0).der;
    let key = ring::sign::any_supported_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key))).expect("a good key");
    let chain: Vec<CertificateDer<'static>> =
        certificates.iter().flat_map(|file| pem::certificates(file.as_bytes()).expect("certificates")).collect();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    Arc::new(builder.expect("versions").with_no_client_auth().with_cert_resolver(Arc::new(resolver)))
}

/// Shakes hands with a server, by each version of TLS; what the client says of it.
fn shake(options: &TlsOptions, server: &Arc<ServerConfig>, host: &str) -> Result<(), String> {
    let by_version = [(true, false), (false, true)].map(|(tls12, tls13)| {
        let options = options.clone().versions(tls12, tls13);
        let name = ServerName::try_from(host.to_string()).expect("a name");
        let config = client_config(&options).unwrap_or_else(|error| panic!("{error}"));
        let mut client = ClientConnection::new(config, name).expect("a client");
        let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("memory takes it");
            }
            server.read_tls(&mut &*wire).expect("memory gives it");
            server.process_new_packets().map_err(|error| error.to_string())?;
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("memory takes it");
            }
            client.read_tls(&mut &*wire).expect("memory gives it");
            client.process_new_packets().map_err(|error| words(&error))?;
        }
        Ok(())
    });
    let [first, second] = by_version;
    assert_eq!(first, second, "TLS 1.2 and 1.3");
    first
}

/// What a client whom `connected_by` gives a server is set up with.
fn client() -> Arc<ClientConfig> {
    client_config(&truststore(&text("self-san.crt"))).expect("a truststore")
}

/// A session, and a server with which it has shaken hands.
fn connected() -> (Session, ServerConnection) {
    connected_by(client())
}

fn connected_by(config: Arc<ClientConfig>) -> (Session, ServerConnection) {
    let mut session = Session::new(config, "localhost").expect("a name");
    let config = server(&[&text("self-san.crt")], &text("rsa.key"));
    let mut server = ServerConnection::new(config).expect("a server");
    while session.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        let write = |slices: &[IoSlice<'_>]| {
            slices.iter().for_each(|slice| wire.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        };
        session.flush(write, &mut 0).expect("memory takes it");
        server.read_tls(&mut &*wire).expect("memory gives it");
        server.process_new_packets().expect("a client");
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory takes it");
        }
        session.received(&wire, |_| ()).expect("a server");
    }
    (session, server)
}

/// However the application's bytes are cut up and whatever the socket takes: they arrive in order, in as few records as can be, and
/// what is said to have left can be read, all but a record's worth of what has.
#[test]
fn what_has_left_is_told_and_little_of_it_late() {
    let mut state = 9u32;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let (mut session, mut server) = connected();
    let mut partly = 0;
    for round in 0..60 {
        let segments: Vec<Vec<u8>> = (0..1 + draw(150))
            .map(|n| {
                let length = if n % 2 == 0 { draw(60) } else { draw(30_000) };
                (0..length).map(|place| (place / 7 + n + round) as u8).collect()
            })
            .collect();
        let all = segments.concat();
        let (mut sent, mut left, mut arrived, mut records) = (0_usize, 0, Vec::new(), 0);
        while arrived.len() < all.len() {
            if !session.wants_write() {
                assert_eq!(left, sent, "all of it has left");
                let mut passed = 0;
                let rest = segments.iter().map(|segment| {
                    let from = sent.saturating_sub(passed).min(segment.len());
                    passed += segment.len();
                    &segment[from..]
                });
                sent += session.send(rest).expect("rustls takes it");
                assert!(sent - left <= super::AHEAD + super::RECORD);
                assert_eq!(session.outgoing.pieces.len(), (sent - left).div_ceil(super::RECORD), "no short records");
                records += session.outgoing.pieces.len();
            }
            let mut wire = Vec::new();
            let mut takes = if draw(4) == 0 { usize::MAX } else { draw(100_000) };
            let write = |slices: &[IoSlice<'_>]| {
                let before = wire.len();
                for slice in slices {
                    let n = slice.len().min(takes);
                    takes -= n;
                    wire.extend_from_slice(&slice[..n]);
                }
                if wire.len() == before { Err(ErrorKind::WouldBlock.into()) } else { Ok(wire.len() - before) }
            };
            let done = session.flush(write, &mut left).expect("memory takes it");
            assert_eq!(done, !session.wants_write());
            let mut wire = &wire[..];
            while !wire.is_empty() {
                server.read_tls(&mut wire).expect("memory gives it");
                server.process_new_packets().expect("what was encrypted");
                let mut reader = server.reader();
                while let Ok(bytes) = reader.fill_buf() {
                    let read = bytes.len();
                    arrived.extend_from_slice(bytes);
                    reader.consume(read);
                }
            }
            assert_eq!(arrived.len(), left, "round {round}: whole records are what can be read");
            partly += usize::from(!done && left > 0);
        }
        assert!(arrived == all && records <= all.len().div_ceil(super::RECORD) + all.len() / super::AHEAD + 1);
    }
    assert!(partly > 50, "{partly}");
}

/// Takes `takes` bytes of what the session has to write to the server. How many bytes of the application's are said to have left, and
/// how many came.
fn pass(session: &mut Session, server: &mut ServerConnection, mut takes: usize) -> (usize, usize) {
    let (mut wire, mut left, mut arrived) = (Vec::new(), 0, 0);
    let write = |slices: &[IoSlice<'_>]| {
        let before = wire.len();
        for slice in slices {
            let n = slice.len().min(takes);
            takes -= n;
            wire.extend_from_slice(&slice[..n]);
        }
        if wire.len() == before { Err(ErrorKind::WouldBlock.into()) } else { Ok(wire.len() - before) }
    };
    session.flush(write, &mut left).expect("memory takes it");
    let mut wire = &wire[..];
    while !wire.is_empty() {
        server.read_tls(&mut wire).expect("memory gives it");
        server.process_new_packets().expect("what was encrypted");
        let mut reader = server.reader();
        while let Ok(bytes @ [_, ..]) = reader.fill_buf() {
            let read = bytes.len();
            arrived += read;
            reader.consume(read);
        }
    }
    (left, arrived)
}

/// rustls shows no more than 64 of them.
#[test]
fn of_many_short_records_none_has_left_too_early() {
    let mut config = (*client()).clone();
    config.max_fragment_size = Some(512);
    let (mut session, mut server) = connected_by(Arc::new(config));
    let bytes = [7; super::AHEAD];
    for takes in [100, 700, 30_000, usize::MAX] {
        assert_eq!(session.send([&bytes[..]]).expect("rustls takes it"), bytes.len());
        let (mut left, mut arrived) = (0, 0);
        while session.wants_write() {
            let (more_left, more_arrived) = pass(&mut session, &mut server, takes);
            (left, arrived) = (left + more_left, arrived + more_arrived);
            assert!(left <= arrived, "{left} of {arrived}");
        }
        assert_eq!((left, arrived), (bytes.len(), bytes.len()));
    }
}

/// With TLS 1.2 no keys follow those that have encrypted what they may. (With AES-GCM 16,777,216 records: hours.) What rustls throws
/// away then has not left, and is not offered to it for ever.
#[test]
fn a_session_whose_keys_are_used_up_is_broken() {
    let SupportedCipherSuite::Tls12(suite) = ring::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 else {
        panic!("it is of TLS 1.2");
    };
    let CipherSuiteCommon { suite: name, hash_provider, .. } = suite.common;
    let common = CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit: 10 };
    let &Tls12CipherSuite { prf_provider, kx, sign, aead_alg, .. } = suite;
    let suite = &*Box::leak(Box::new(Tls12CipherSuite { common, prf_provider, kx, sign, aead_alg }));
    let mut provider = ring::default_provider();
    provider.cipher_suites = Vec::from([SupportedCipherSuite::Tls12(suite)]);
    let provider = Arc::new(provider);
    let verifier = super::trust::Verifier::new(&truststore(&text("self-san.crt")), Arc::clone(&provider));
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]);
    let builder = builder.expect("a version").dangerous().with_custom_certificate_verifier(Arc::new(verifier.unwrap()));
    let (mut session, mut server) = connected_by(Arc::new(builder.with_no_client_auth()));
    let sent = (0..100).take_while(|_| match session.send([&[7; 100][..]]) {
        Err(error) => {
            assert!(error.to_string().contains("used up"), "{error}");
            false
        }
        Ok(taken) => {
            assert_eq!((taken, taken), pass(&mut session, &mut server, usize::MAX));
            true
        }
    });
    assert_eq!(sent.count(), 9, "one was the handshake's");
}

/// A record that can't be decrypted ends a connection, but what came before it, maybe in the same read, was said.
#[test]
fn what_came_before_a_broken_record_is_heard() {
    use std::io::Write as _;
    let (mut session, mut server) = connected();
    let mut wire = Vec::new();
    server.writer().write_all(b"answer").expect("there is room");
    while server.wants_write() {
        server.write_tls(&mut wire).expect("memory takes it");
    }
    wire.extend_from_slice(&[0x17, 3, 3, 0, 32]);
    wire.extend_from_slice(&[0; 32]);
    let mut heard = Vec::new();
    assert!(session.received(&wire, |plain| heard.extend_from_slice(plain)).is_err());
    assert_eq!(heard, b"answer");
}

fn shake_with(trusted: &str, certificate: &str, host: &str) -> Result<(), String> {
    shake(&truststore(&text(trusted)), &server(&[&text(certificate)], &text("rsa.key")), host)
}

/// As a JDK's PKIX trust manager, which was asked about each of these (`tests/kafka`, trust).
#[test]
fn a_certificate_that_is_in_the_truststore_itself_is_trusted_but_for_its_name() {
    for certificate in [
        "self-v1.crt",
        "self-cn.crt",
        "self-san.crt",
        "server-v1.crt",
        "server-cn.crt",
        "server-authority.crt",
        "server-client-only.crt",
        "server-sha1.crt",
        "server-expired.crt",
        "server-future.crt",
        "server-by-ca1024.crt",
    ] {
        assert_eq!(shake_with(certificate, certificate, "localhost"), Ok(()), "{certificate}");
        assert_eq!(shake_with(certificate, certificate, "LOCALHOST"), Ok(()), "{certificate}");
        let other = shake_with(certificate, certificate, "example.net").unwrap_err();
        assert!(other.contains("name") && other.contains("example.net"), "{certificate}: {other}");
        assert!(shake_with(certificate, certificate, "127.0.0.1").is_err(), "{certificate}");
        let any_name = truststore(&text(certificate)).any_name();
        assert_eq!(shake(&any_name, &server(&[&text(certificate)], &text("rsa.key")), "example.net"), Ok(()));
    }
    let said = shake_with("self-cn.crt", "self-cn.crt", "example.net").unwrap_err();
    assert!(said.contains("its common name is localhost") && !said.contains("Java"), "{said}");
    // DNS names come before the common name.
    assert!(shake_with("self-other.crt", "self-other.crt", "localhost").unwrap_err().contains("example.org"));
}

#[test]
fn a_trusted_certificate_without_its_key_is_worth_nothing() {
    for certificate in ["self-v1.crt", "self-cn.crt", "self-san.crt", "server-v1.crt"] {
        let trust = truststore(&text(certificate)).any_name();
        // Another key of the same kind.
        let thief = server(&[&text(certificate)], &text("keytool-rsa.pem"));
        let said = shake(&trust, &thief, "localhost").unwrap_err();
        assert!(said.contains("has not its private key"), "{certificate}: {said}");
        // And one of another kind.
        assert!(shake(&trust, &server(&[&text(certificate)], &text("ec.key")), "localhost").is_err());
    }
}

#[test]
fn what_is_wrong_with_a_servers_certificate_is_said_with_what_to_do() {
    for (trusted, certificate, words) in [
        ("ca.crt", "server-v1.crt", ["version 1", "-extfile", "Java"]),
        ("ca.crt", "server-cn.crt", ["common name only", "subjectAltName=DNS:localhost", "Java"]),
        ("ca.crt", "server-authority.crt", ["CA:TRUE", "basicConstraints=CA:FALSE", "Java"]),
        ("ca.crt", "server-client-only.crt", ["extendedKeyUsage", "serverAuth", ""]),
        ("ca.crt", "server-sha1.crt", ["SHA-1", "-sha256", "Java"]),
        ("ca.crt", "server-expired.crt", ["expired", "2021-01-01", "clock"]),
        ("ca.crt", "server-future.crt", ["not valid yet", "2120-01-01", "clock"]),
        ("ca1024.crt", "server-by-ca1024.crt", ["RSA key of 1024 bits", "a small authority", "Java"]),
        ("ca.crt", "self-san.crt", ["unknown issuer", "self-signed", "ssl.truststore.certificates"]),
        ("self-san.crt", "server-good.crt", ["unknown issuer", "CN=an authority", "whole chain"]),
        ("self-cn.crt", "self-san.crt", ["CA:TRUE", "put this very certificate into ssl.truststore", "Java"]),
    ] {
        let said = shake_with(trusted, certificate, "localhost").unwrap_err();
        assert!(words.iter().all(|words| said.contains(words)), "{certificate}: {said}");
    }
    assert_eq!(shake_with("ca.crt", "server-good.crt", "localhost"), Ok(()));
    assert_eq!(shake_with("ca-v1.crt", "server-by-ca-v1.crt", "localhost"), Ok(()), "an issuer may be of version 1");
    let other = shake_with("ca.crt", "server-good.crt", "kafka.example.net").unwrap_err();
    assert!(other.contains("localhost") && other.contains("advertised.listeners"), "{other}");
}

#[test]
fn chains_are_followed_to_tell_who_is_not_trusted() {
    // An authority, one that it vouches for, and a server of that one.
    let issuer = |name: &str, by: Option<&rcgen::Issuer<'_, rcgen::KeyPair>>| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new([]).expect("no names");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = match by {
            Some(by) => parameters.signed_by(&key, by),
            None => parameters.self_signed(&key),
        };
        (certificate.expect("a certificate").pem(), rcgen::Issuer::new(parameters, key))
    };
    let (root_pem, root) = issuer("the root", None);
    let (middle_pem, middle) = issuer("in between", Some(&root));
    let (namesake, _) = issuer("the root", None);
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(["localhost".to_string()]).expect("a name").signed_by(&key, &middle);
    let leaf = leaf.expect("a certificate").pem();
    let said = |trusted: &str, shown: &[&str]| {
        let shown = [&[&*leaf], shown].concat();
        shake(&truststore(trusted), &server(&shown, &key.serialize_pem()), "localhost")
    };
    assert_eq!(said(&root_pem, &[&middle_pem]), Ok(()));
    assert_eq!(said(&middle_pem, &[]), Ok(()), "an issuer in between is trusted where it is in the store");
    let words = said(&root_pem, &[]).unwrap_err();
    assert!(words.contains("in between") && words.contains("nor did the server send"), "{words}");
    let words = said(&text("ca.crt"), &[&middle_pem]).unwrap_err();
    assert!(words.contains("the root") && words.contains("is not in"), "{words}");
    let words = said(&text("ca.crt"), &[&middle_pem, &root_pem]).unwrap_err();
    assert!(words.contains("ends at") && words.contains("the root"), "{words}");
    let words = said(&namesake, &[&middle_pem]).unwrap_err();
    assert!(words.contains("another key"), "{words}");
}

#[test]
fn keys_that_are_not_verified_are_named() {
    use rustls::CertificateError;
    for (certificate, words) in [("server-rsa1024.crt", "RSA key of 1024 bits"), ("server-p521.crt", "P-521")] {
        let der = pem::certificates(text(certificate).as_bytes()).expect("a certificate").remove(0);
        let said = super::explain::of_key(CertificateError::BadSignature.into(), &der);
        assert!(super::explain::words(&said).contains(words), "{said}");
    }
}

#[test]
fn cipher_suites_that_are_not_known_are_named() {
    let known = "TLS_AES_128_GCM_SHA256";
    assert_eq!(refusal_of(&options().cipher_suites([known])), None);
    assert_eq!(refusal_of(&options().cipher_suites([known, "TLS_RSA_WITH_AES_128_CBC_SHA"])), None);
    let some = options().cipher_suites([known, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV", "NONSENSE"]);
    assert_eq!(super::unknown_suites(&some, &[known.to_string()]), ["NONSENSE"], "those are warned of");
    let said = refusal_of(&options().cipher_suites(["TLS_RSA_WITH_AES_128_CBC_SHA", "NONSENSE"])).unwrap();
    assert!(said.contains("TLS_RSA_WITH_AES_128_CBC_SHA, NONSENSE") && said.contains(known), "{said}");
    let said = refusal_of(&options().cipher_suites([known]).versions(true, false)).unwrap();
    assert!(said.contains("ssl.enabled.protocols"), "{said}");
    let many: Vec<String> = (0..200).map(|n| format!("TLS_{n}")).chain([known.to_string()]).collect();
    assert_eq!(refusal_of(&options().cipher_suites(many)), None);
}
