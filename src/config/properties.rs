//! The text of a Java properties file, read as `java.util.Properties.load(Reader)` does.

use alloc::collections::TryReserveError;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::planted::planted;

/// Why the text of a properties file can't be read. It shows nothing of the text: values may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct PropertiesError {
    line: usize,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    BadEscape,
    LoneSurrogate,
    NoMemory,
}

impl From<TryReserveError> for What {
    fn from(_: TryReserveError) -> Self {
        Self::NoMemory
    }
}

impl PropertiesError {
    /// Whether there was no memory for what was read.
    pub fn lacks_memory(&self) -> bool {
        self.what == What::NoMemory
    }

    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for PropertiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::BadEscape => {
                "\\u is not followed by four hexadecimal digits (a backslash that is meant as such is written \\\\)"
            }
            What::LoneSurrogate => {
                "\\u with one half of a character: those beyond FFFF are written as two, the first from D800 to DBFF, the \
                 second from DC00 to DFFF"
            }
            What::NoMemory => "there is no memory to read it into; give it a larger heap",
        };
        write!(f, "line {} of the properties: {what}", self.line)
    }
}

impl fmt::Debug for PropertiesError {
    /// As `Display`, so that a `main` that returns it says something.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for PropertiesError {}

/// An option as it was given: by a pair of texts, or by a line of a properties file.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value, which may be a secret.
    pub value: String,
    /// The line that it begins in, counted from 1, if [`parse_properties`] read it.
    pub line: Option<usize>,
}

impl fmt::Debug for Property {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Property").field("name", &self.name).field("line", &self.line).finish_non_exhaustive()
    }
}

impl<N: Into<String>, V: Into<String>> From<(N, V)> for Property {
    fn from((name, value): (N, V)) -> Self {
        Self { name: name.into(), value: value.into(), line: None }
    }
}

/// Reads names and values from the text of a Java properties file, exactly as `java.util.Properties.load(Reader)`: one a
/// line, separated by `=`, `:` or white space; `#` and `!` begin comments; a backslash at the end of a line continues it, and
/// elsewhere escapes one character (`\t`, `\n`, `\r`, `\f`, `\uXXXX`). Lines end with LF, CR or both; white space is a blank,
/// a tab or a form feed, and stays at the end of a value. Names that come twice are given twice: the later one counts.
///
/// The text is Unicode. Java's `load(InputStream)`, which Kafka's own tools use, takes a file's bytes for ISO 8859-1: where a
/// file is one, decode it so (`bytes.iter().map(|byte| char::from(*byte)).collect()`); pure ASCII is the same in both.
///
/// ```
/// let pairs = milena::parse_properties("# where\nbootstrap.servers = localhost:9092\nlinger.ms: 20\n")?;
/// assert_eq!((&*pairs[1].name, &*pairs[1].value, pairs[1].line), ("linger.ms", "20", Some(3)));
/// # Ok::<(), milena::PropertiesError>(())
/// ```
///
/// # Errors
/// If there is no memory for what is read; if `\u` is not followed by four hexadecimal digits (an error in Java too), or by half a
/// surrogate pair, which no Rust text can hold.
pub fn parse_properties(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let mut lines = Lines { chars: text.chars().peekable(), line: 1 };
    let mut pairs = Vec::new();
    while let Some((begins, line)) = lines.next_logical()? {
        let (name, value) = split(&line);
        pairs.try_reserve(1).map_err(|error| PropertiesError { line: lines.line, what: error.into() })?;
        let (name, value) = (unescape(name)?, unescape(value)?);
        pairs.push(Property { name, value, line: Some(begins) });
    }
    Ok(pairs)
}

/// A character, and the line that it stands in.
type Placed = (char, usize);

struct Lines<'a> {
    chars: core::iter::Peekable<core::str::Chars<'a>>,
    line: usize,
}

impl Lines<'_> {
    fn next(&mut self) -> Option<Placed> {
        let c = self.chars.next()?;
        let line = self.line;
        let both = self.chars.peek() == Some(&'\n') && !planted("each-of-both-ends-a-line");
        let ends = c == '\n' || (c == '\r' && !both);
        self.line += usize::from(ends);
        Some((c, line))
    }

    /// Lines that continue each other, without comments, empty lines, and white space at their beginnings; and where they begin.
    fn next_logical(&mut self) -> Result<Option<(usize, Vec<Placed>)>, PropertiesError> {
        let mut line: Vec<Placed> = Vec::new();
        let (mut at_beginning, mut continues, mut escaped) = (true, false, false);
        while let Some((c, place)) = self.next() {
            if at_beginning {
                if is_blank(c) || (!continues && is_end(c)) {
                    continue;
                }
                (at_beginning, continues) = (false, false);
            }
            if line.is_empty() && matches!(c, '#' | '!') {
                while self.next().is_some_and(|(c, _)| !is_end(c)) {}
                at_beginning = true;
            } else if !is_end(c) {
                line.try_reserve(1).map_err(|error| PropertiesError { line: place, what: error.into() })?;
                line.push((c, place));
                escaped = c == '\\' && !escaped;
            } else if line.is_empty() {
                at_beginning = true;
            } else if escaped && self.chars.peek().is_some() {
                line.pop();
                if c == '\r' && self.chars.peek() == Some(&'\n') {
                    self.next();
                }
                (at_beginning, continues, escaped) = (true, true, false);
            } else {
                break;
            }
        }
        let Some((_, begins)) = line.first().copied() else { return Ok(None) };
        if escaped {
            line.pop(); // the end of the text: nothing continues it, and to Java it is a pair even if nothing is left
        }
        Ok(Some((begins, line)))
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn is_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// Name and value, before escapes are undone.
fn split(line: &[Placed]) -> (&[Placed], &[Placed]) {
    let mut escaped = false;
    let end = line.iter().position(|(c, _)| {
        let ends = !escaped && (matches!(c, '=' | ':') || is_blank(*c));
        escaped = *c == '\\' && !escaped;
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let blanks = |text: &[Placed]| text.iter().take_while(|(c, _)| is_blank(*c)).count();
    let mut value = &rest[blanks(rest)..];
    if let [('=' | ':', _), after @ ..] = value {
        value = &after[blanks(after)..];
    }
    (name, value)
}

fn unescape(text: &[Placed]) -> Result<String, PropertiesError> {
    let mut chars = text.iter().copied();
    let mut out = String::new();
    // An escape is as long as the character that it stands for, or longer.
    let bytes = text.iter().map(|(c, _)| c.len_utf8()).sum();
    let line = text.first().map_or(0, |(_, line)| *line);
    out.try_reserve_exact(bytes).map_err(|error| PropertiesError { line, what: error.into() })?;
    while let Some((c, line)) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(('u', _)) => {
                let unit = hexadecimal(&mut chars, line)?;
                out.push(match unit {
                    0xd800..=0xdbff => {
                        let lone = PropertiesError { line, what: What::LoneSurrogate };
                        let next = (chars.next(), chars.next());
                        let (Some(('\\', _)), Some(('u', line))) = next else { return Err(lone) };
                        match hexadecimal(&mut chars, line)? {
                            low @ 0xdc00..=0xdfff => {
                                let point = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                                char::from_u32(point).expect("a surrogate pair is a character")
                            }
                            _ => return Err(lone),
                        }
                    }
                    unit => char::from_u32(unit).ok_or(PropertiesError { line, what: What::LoneSurrogate })?,
                });
            }
            Some(('t', _)) => out.push('\t'),
            Some(('n', _)) => out.push('\n'),
            Some(('r', _)) => out.push('\r'),
            Some(('f', _)) => out.push('\u{c}'),
            Some((c, _)) => out.push(c),
            None => {}
        }
    }
    Ok(out)
}

/// A UTF-16 unit in four digits.
fn hexadecimal(chars: &mut impl Iterator<Item = Placed>, line: usize) -> Result<u32, PropertiesError> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next().and_then(|(c, _)| c.to_digit(16));
        unit = unit << 4 | digit.ok_or(PropertiesError { line, what: What::BadEscape })?;
    }
    Ok(unit)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use alloc::string::ToString;

    use serde_json::Value;

    use crate::golden::{Difference, Differences, objects};

    /// The deliberate differences, by their names in docs/differences.md.
    pub(in crate::config) const DIFFERENCES: &[Difference<Value>] =
        &[("lone-surrogates", |vector| vector["outcome"] == "lone-surrogates")];

    fn one(text: &str) -> (String, String) {
        let pairs = parse_properties(text).unwrap();
        assert_eq!(pairs.len(), 1, "{pairs:?}");
        pair(&pairs[0].name, &pairs[0].value)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_string(), value.to_string())
    }

    #[test]
    fn all_three_separators_separate() {
        for text in ["a=b", "a:b", "a b", "  a = b", "a\t:\tb", "a\u{c}b"] {
            assert_eq!(one(text), pair("a", "b"), "{text:?}");
        }
    }

    #[test]
    fn only_the_first_separator_separates() {
        assert_eq!(one("jaas=a user=\"b\";"), pair("jaas", "a user=\"b\";"));
    }

    #[test]
    fn comments_and_empty_lines_are_skipped_and_comments_do_not_continue() {
        assert_eq!(one("\n# x=1\\\n  ! y=2\\\n\na=b\n"), pair("a", "b"));
    }

    #[test]
    fn a_backslash_continues_a_line_and_two_do_not() {
        assert_eq!(one("a=b\\\n   c"), pair("a", "bc"));
        assert_eq!(parse_properties("a=b\\\\\nc=d").unwrap().len(), 2);
    }

    #[test]
    fn a_text_that_ends_where_a_line_should_go_on_ends_with_a_pair() {
        for text in ["a=b\n\\", "a=b\n\\\n", "a=b\r\n \\\r"] {
            let read = parse_properties(text).unwrap();
            let last = read.last().map(|last| (&*last.name, &*last.value, last.line));
            assert_eq!((read.len(), last), (2, Some(("", "", Some(2)))), "{text:?}");
        }
        // But not behind both, in Java either.
        assert_eq!(parse_properties("a=b\r\n\\\r\n").unwrap().len(), 1);
    }

    #[test]
    fn lines_end_with_lf_or_cr_or_both() {
        for end in ["\n", "\r", "\r\n", "\n\n", "\r\r"] {
            let read = parse_properties(&["linger.ms=5", "client.id=x", "a=b\\", "  c", ""].join(end)).unwrap();
            let pairs: Vec<_> = read.iter().map(|read| pair(&read.name, &read.value)).collect();
            let lines: Vec<_> = read.iter().take(3).filter_map(|read| read.line).collect();
            let each = if end.len() == 2 && end != "\r\n" { 2 } else { 1 };
            assert_eq!(lines, [1, 1 + each, 1 + 2 * each], "{end:?}");
            let continued = if end.len() == 2 && end != "\r\n" { pair("a", "b") } else { pair("a", "bc") };
            assert_eq!(pairs[..3], [pair("linger.ms", "5"), pair("client.id", "x"), continued], "{end:?}");
        }
    }

    #[test]
    fn escapes_are_undone_and_pairs_of_them_are_one_character() {
        assert_eq!(one(r"a\ b=\u00e9\tx\=y"), pair("a b", "é\tx=y"));
        assert_eq!(one(r"a=\uD83D\uDE00."), pair("a", "😀."));
    }

    #[test]
    fn white_space_is_what_java_takes_for_it() {
        assert_eq!(one("a\u{a0}b=\u{a0}c \t"), pair("a\u{a0}b", "\u{a0}c \t"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_the_value() {
        for (text, line, words) in [
            ("a=hunter2\\u00zz", 1, "four hexadecimal digits"),
            ("# \\u\na=b\n\nc=hunter2\\\r\n d\\u12", 5, "four hexadecimal digits"),
            ("a=1\rpath=C:\\users\\hunter2", 2, "a backslash that is meant as such"),
            ("a=hunter2\\uD83D", 1, "one half of a character"),
            ("a=\\uDE00hunter2", 1, "one half of a character"),
            ("a=\\uD83D\\u0041hunter2", 1, "one half of a character"),
            ("a\\uD83D=\\uDE00", 1, "one half of a character"),
        ] {
            let error = parse_properties(text).unwrap_err();
            let said = error.to_string();
            assert_eq!(error.line(), line, "{text:?}: {said}");
            assert!(said.contains(words) && !said.contains("hunter2"), "{text:?}: {said}");
            assert_eq!(alloc::format!("{error:?}"), said);
        }
    }

    /// Texts that `tests/golden/Vectors.java` made up, and what `java.util.Properties` makes of them.
    #[test]
    fn golden_properties_are_read_as_by_java() {
        let differences = Differences::new(DIFFERENCES);
        let vectors = objects("properties.jsonl");
        let mut wrong = Vec::new();
        for vector in &vectors {
            let ours = parse_properties(vector["text"].as_str().expect("a text"));
            let ours = ours.map(|read| read.iter().map(|read| pair(&read.name, &read.value)).collect::<Vec<_>>());
            let java: Option<Vec<(String, String)>> = vector["pairs"].as_array().map(|pairs| {
                let text = |value: &Value| value.as_str().expect("a text").to_string();
                pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
            });
            let same = ours.clone().ok() == java && ours.is_ok() == (vector["outcome"] != "error");
            let explained = || ours.is_err() && differences.explain(vector);
            if !same && !explained() {
                wrong.push(alloc::format!("{vector}: {ours:?}"));
            }
        }
        assert!(!vectors.is_empty());
        assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), vectors.len(), &wrong[..wrong.len().min(20)]);
        differences.are_all_used();
    }
}
