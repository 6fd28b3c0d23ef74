//! Properties files, read here and by a model of Java's reader.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::config::{Config, parse_properties};

/// A secret that no error may show.
const SECRET: &str = "hunter2";

/// What `java.util.Properties.load(Reader)` says that a text holds is what is read; and whatever it holds, a configuration of it is
/// a configuration or an error, without its secrets.
pub fn properties(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let read = parse_properties(&text);
    match (&read, model(&text)) {
        (Ok(read), Ok(pairs)) => {
            let ours: Vec<(&str, &str)> = read.iter().map(|pair| (&*pair.name, &*pair.value)).collect();
            let theirs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(ours, theirs);
            let lines: Vec<usize> = read.iter().filter_map(|pair| pair.line).collect();
            assert!(lines.len() == read.len() && lines.is_sorted(), "each pair has its line: {lines:?}");
        }
        (Err(error), Err(())) => assert!((1..=text.len()).contains(&error.line()), "{error}"),
        (ours, theirs) => panic!("{ours:?} for {theirs:?}"),
    }
    let Ok(read) = read else { return };
    if text.contains(SECRET) {
        return;
    }
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hunter2\";";
    let mut pairs: Vec<(String, String)> = read.into_iter().map(|pair| (pair.name, pair.value)).collect();
    let secret = ["sasl.jaas.config", "ssl.key.password", "ssl.keystore.key", "ssl.keystore.password"];
    pairs.extend(secret.map(|name| (name.to_string(), jaas.to_string())));
    for said in [Config::from_properties(pairs.clone()).err(), Config::from_properties_lenient(pairs).err()] {
        let said = said.map(|error| error.to_string()).unwrap_or_default();
        assert!(!said.contains(SECRET), "{said}");
    }
}

/// The pairs of a text, as the documentation of `java.util.Properties.load(Reader)` has it (Java 17); an error where that throws, or
/// where the text says half a character, which Rust can't hold.
fn model(text: &str) -> Result<Vec<(String, String)>, ()> {
    let mut pairs = Vec::new();
    let mut lines = natural_lines(text).into_iter();
    while let Some((line, mut end)) = lines.next() {
        let mut logical = line.trim_start_matches(WHITE).to_string();
        let mut cut_short = false;
        // Java goes on in a line that so far holds nothing but its continuation, and there comments begin as anywhere.
        while !logical.starts_with(['#', '!']) && is_continued(&logical) {
            logical.pop();
            match lines.next() {
                Some((next, ends)) if !next.is_empty() || !lines.as_slice().is_empty() => {
                    logical.push_str(next.trim_start_matches(WHITE));
                    end = ends;
                }
                // The text ends where a line should go on. To Java that is a pair, even without a name, but not behind \r\n.
                Some(_) | None => {
                    cut_short = end != "\r\n";
                    break;
                }
            }
        }
        if (logical.is_empty() && !cut_short) || logical.starts_with(['#', '!']) {
            continue;
        }
        let (key, element) = split(&logical);
        pairs.push((unescaped(key)?, unescaped(element)?));
    }
    Ok(pairs)
}

/// "The white space characters space, tab and form feed."
const WHITE: [char; 3] = [' ', '\t', '\u{c}'];

/// Lines with their ends. "Terminated either by a set of line terminator characters (\n or \r or \r\n) or by the end of the stream."
fn natural_lines(text: &str) -> Vec<(&str, &str)> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\n', '\r']) {
        let (line, behind) = rest.split_at(at);
        let (end, behind) = behind.split_at(if behind.starts_with("\r\n") { 2 } else { 1 });
        lines.push((line, end));
        rest = behind;
    }
    lines.push((rest, ""));
    lines
}

/// "A \ that is preceded by an even number of others": the terminator behind it is escaped.
fn is_continued(line: &str) -> bool {
    (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
}

/// "The key contains all of the characters starting with the first non-white space character and up to, but not including, the first
/// unescaped =, :, or white space character." What follows, without white space, one = or :, and white space, is the element.
fn split(line: &str) -> (&str, &str) {
    let unescaped = |at: usize| !is_continued(&line[..at]);
    let end = line
        .match_indices(|c| WHITE.contains(&c) || matches!(c, '=' | ':'))
        .map(|(at, _)| at)
        .find(|at| unescaped(*at));
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(WHITE);
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(WHITE))
}

/// Escapes undone, by way of UTF-16, which Java's strings are.
fn unescaped(text: &str) -> Result<String, ()> {
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            units.extend(c.encode_utf16(&mut [0; 2]).iter());
            continue;
        }
        let Some(escaped) = rest.chars().next() else { break };
        rest = &rest[escaped.len_utf8()..];
        match escaped {
            'u' => {
                let digits = rest.get(..4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                units.push(u16::from_str_radix(digits.ok_or(())?, 16).map_err(|_| ())?);
                rest = &rest[4..];
            }
            't' => units.push(9),
            'n' => units.push(10),
            'f' => units.push(12),
            'r' => units.push(13),
            other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    String::from_utf16(&units).map_err(|_| ())
}
