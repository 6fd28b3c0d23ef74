//! `bootstrap.servers`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::config::ConfigError;
use crate::config::build::trim;

const OPTION: &str = "bootstrap.servers";

/// A list of `host:port`, separated by commas, as Java reads it: the last colon comes before the port, brackets around the
/// host may be there, and a protocol before `://` is dropped. Unlike Java this refuses what can't be an address, or is empty.
pub(super) fn parse(list: &str) -> Result<Vec<(String, u16)>, ConfigError> {
    let mut servers: Vec<(String, u16)> = Vec::new();
    for (place, element) in list.split(',').map(trim).enumerate() {
        let server = server(element).map_err(|why| bad(place, element, why))?;
        if servers.contains(&server) {
            log::warn!("{OPTION} names {element} twice");
        } else {
            servers.push(server);
        }
    }
    Ok(servers)
}

fn server(element: &str) -> Result<(String, u16), &'static str> {
    let address = match element.split_once("://") {
        Some((protocol, _)) if !protocol.chars().all(is_of_name) => {
            return Err("what stands before :// is no protocol");
        }
        Some((_, address)) => address,
        None => element,
    };
    let address = address.strip_prefix('[').unwrap_or(address);
    let (host, port) = address.rsplit_once(':').ok_or("a colon and the port are missing")?;
    let host = host.strip_suffix(']').unwrap_or(host);
    if host.is_empty() {
        return Err("the host is missing");
    }
    if !host.chars().all(|c| is_of_name(c) || c == ':') {
        return Err(
            "a host has letters, digits, dots, hyphens and underscores (ASCII); an IPv6 address may have a scope (%)",
        );
    }
    let is_address = |host: &str| host.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    if host.contains(':') && !is_address(host) {
        return Err("a host with colons is an IPv6 address, which this is not");
    }
    if port.is_empty() || !port.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err("after the last colon stands the port, in digits");
    }
    let port = port.parse().map_err(|_| "a port is at most 65535")?;
    Ok((host.to_string(), port))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '%' | '.' | '_')
}

fn bad(place: usize, element: &str, why: &str) -> ConfigError {
    // A URL may have a user and a password in it.
    let value = if element.contains('@') { alloc::format!("[its server {}]", place + 1) } else { element.to_string() };
    let allowed = alloc::format!("{why}; host:port is wanted, separated by commas, such as kafka1:9092,kafka2:9092");
    ConfigError::Invalid { option: OPTION, value, allowed }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    use serde_json::Value;

    use crate::golden::{Difference, Differences, objects};

    fn java(vector: &Value) -> Option<Vec<(&str, u64)>> {
        let servers = vector["servers"].as_array()?.iter();
        let mut different = Vec::new();
        for server in servers.map(|server| Some((server[0].as_str()?, server[1].as_u64()?))) {
            // Java drops elements that are written alike, and asks those twice that are written otherwise.
            different.extend(server.filter(|server| !different.contains(server)));
        }
        Some(different)
    }

    /// The deliberate differences, by their names in docs/differences.md.
    pub(in crate::config) const DIFFERENCES: &[Difference<Value>] = &[
        ("host-required", |vector| java(vector).iter().flatten().any(|(host, _)| host.is_empty())),
        ("no-such-address", |vector| {
            java(vector).iter().flatten().any(|(host, _)| host.contains(':') && host.parse::<Ipv6Addr>().is_err())
        }),
    ];

    #[test]
    fn what_is_wrong_is_said_and_no_password_shown() {
        for (list, words) in [
            ("", "a colon and the port are missing"),
            ("host", "a colon and the port are missing"),
            ("a:1,", "a colon and the port are missing"),
            ("host:", "in digits"),
            ("host:port", "in digits"),
            ("h:+1", "in digits"),
            (":9092", "the host is missing"),
            ("host:70000", "at most 65535"),
            ("a b:1", "a host has letters"),
            ("h/x:1", "a host has letters"),
            ("a:1:2", "an IPv6 address"),
            ("https://alice:hunter2@h:1", "its server 1"),
        ] {
            let error = parse(list).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{list:?}: {error}");
        }
    }

    #[test]
    fn a_server_that_is_named_twice_is_one() {
        let servers = parse("a:1, PLAINTEXT://b:2,[::1]:3,a:1").unwrap();
        assert_eq!(servers, [("a".into(), 1), ("b".into(), 2), ("::1".into(), 3)]);
    }

    /// What Java takes, this takes, but for the named differences; and the other way round.
    #[test]
    fn golden_servers_are_read_as_by_java() {
        let differences = Differences::new(DIFFERENCES);
        let vectors = objects("servers.jsonl");
        let mut wrong = Vec::new();
        for vector in &vectors {
            let ours = parse(vector["list"].as_str().expect("a text")).ok();
            let found =
                ours.as_ref().map(|servers| servers.iter().map(|(host, port)| (&**host, u64::from(*port))).collect());
            if found != java(vector) && !differences.explain(vector) {
                wrong.push(alloc::format!("{vector}: {ours:?}"));
            }
        }
        assert!(!vectors.is_empty());
        assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), vectors.len(), &wrong[..wrong.len().min(20)]);
        differences.are_all_used();
    }
}
