//! The text of a Java properties file.

use alloc::string::String;
use alloc::vec::Vec;

/// Reads names and values from the text of a Java properties file: one a line, separated by `=`, `:` or white space;
/// `#` and `!` begin comments; a backslash at the end of a line continues it, and elsewhere escapes one character
/// (`\t`, `\n`, `\r`, `\f`, `\uXXXX`).
///
/// ```
/// let pairs = milena::parse_properties("# where\nbootstrap.servers = localhost:9092\nlinger.ms: 20\n");
/// assert_eq!(pairs[1], ("linger.ms".to_string(), "20".to_string()));
/// ```
pub fn parse_properties(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = String::from(line.trim_start());
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while line.ends_with('\\') && line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
            line.pop();
            match lines.next() {
                Some(next) => line.push_str(next.trim_start()),
                None => break,
            }
        }
        pairs.push(split(&line));
    }
    pairs
}

fn split(line: &str) -> (String, String) {
    let mut chars = line.chars().peekable();
    let mut name = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => name.extend(unescape(&mut chars)),
            '=' | ':' => break,
            c if c.is_whitespace() => {
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                chars.next_if(|c| matches!(c, '=' | ':'));
                break;
            }
            c => name.push(c),
        }
    }
    while chars.next_if(|c| c.is_whitespace()).is_some() {}
    let mut value = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => value.extend(unescape(&mut chars)),
            c => value.push(c),
        }
    }
    (name, value)
}

fn unescape(chars: &mut core::iter::Peekable<core::str::Chars<'_>>) -> Option<char> {
    Some(match chars.next()? {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\u{c}',
        'u' => {
            let digits: String = core::iter::from_fn(|| chars.next_if(char::is_ascii_hexdigit)).take(4).collect();
            u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        c => c,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn one(text: &str) -> (String, String) {
        let pairs = parse_properties(text);
        assert_eq!(pairs.len(), 1, "{pairs:?}");
        pairs[0].clone()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_string(), value.to_string())
    }

    #[test]
    fn all_three_separators_separate() {
        for text in ["a=b", "a:b", "a b", "  a = b", "a\t:\tb"] {
            assert_eq!(one(text), pair("a", "b"), "{text:?}");
        }
    }

    #[test]
    fn only_the_first_separator_separates() {
        assert_eq!(one("jaas=a user=\"b\";"), pair("jaas", "a user=\"b\";"));
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        assert_eq!(one("\n# x=1\n  ! y=2\n\na=b\n"), pair("a", "b"));
    }

    #[test]
    fn a_backslash_continues_a_line_and_two_do_not() {
        assert_eq!(one("a=b\\\n   c"), pair("a", "bc"));
        assert_eq!(parse_properties("a=b\\\\\nc=d").len(), 2);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(one(r"a\ b=\u00e9\tx\=y"), pair("a b", "é\tx=y"));
    }
}
