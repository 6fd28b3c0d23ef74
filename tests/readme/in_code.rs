fn secured_in_code(servers: &str, password: &str, authority: &str) -> Result<milena::threads::Producer, Box<dyn std::error::Error>> {
    use milena::{Config, Sasl, SecurityProtocol, TlsOptions, threads::Producer};
    let config = Config::builder(servers)
        .security_protocol(SecurityProtocol::SaslSsl)
        .sasl(Sasl::scram_sha_512("alice", password))
        .tls(TlsOptions::new().truststore_location(authority)) // PEM, PKCS12 or JKS
        .build()?;
    Ok(Producer::new(config)?)
}
