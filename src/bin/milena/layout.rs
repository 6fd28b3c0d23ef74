//! How a line is a record: what of it is headers, key and value. As Java's console producer has it (`LineMessageReader`).

use clap::Args;
use milena::{Header, Record};
use thiserror::Error;

use crate::Failure;

/// What is in a line, and what all records have in common.
#[derive(Debug, Args)]
pub(crate) struct LayoutArguments {
    /// The topic
    #[arg(long)]
    topic: String,
    /// What stands between key and value in a line; without it lines have no key
    #[arg(long, value_name = "S")]
    key_separator: Option<String>,
    /// Lines begin with headers: h1:v1,h2:v2<TAB>value, or h1:v1,h2:v2<TAB>key<separator>value
    #[arg(long)]
    headers: bool,
    /// What ends the headers of a line [default: a tab]
    #[arg(long, value_name = "S", default_value = "\t", hide_default_value = true, requires = "headers")]
    headers_delimiter: String,
    /// What stands between two headers of a line
    #[arg(long, value_name = "S", default_value = ",", requires = "headers")]
    headers_separator: String,
    /// What stands between name and value of a header in a line
    #[arg(long, value_name = "S", default_value = ":", requires = "headers")]
    headers_key_separator: String,
    /// Keys, values and values of headers that are this text are null; a null value is a tombstone
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// A header for every record; may be given several times
    #[arg(long, value_name = "name=value")]
    header: Vec<String>,
    /// The partition for every record
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// The timestamp for every record, in milliseconds since 1970
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(0..))]
    timestamp: Option<i64>,
    /// Take a line without key separator for a value without key, one without headers delimiter for one without headers,
    /// and a header without separator for a name whose value is null
    #[arg(long)]
    ignore_error: bool,
}

impl LayoutArguments {
    /// # Errors
    /// If a separator is empty, or two that have to be told apart are equal.
    pub(crate) fn layout(&self) -> Result<Layout<'_>, Failure> {
        let mut marks: Vec<(&str, &str)> = Vec::new();
        if let Some(separator) = &self.key_separator {
            marks.push(("--key-separator", separator));
        }
        if self.headers {
            marks.push(("--headers-delimiter", &self.headers_delimiter));
            marks.push(("--headers-separator", &self.headers_separator));
            marks.push(("--headers-key-separator", &self.headers_key_separator));
        }
        for (place, (name, mark)) in marks.iter().enumerate() {
            if mark.is_empty() || mark.contains('\n') {
                let what = if mark.is_empty() { "empty" } else { "a line's end" };
                return Err(Failure::Usage(format!("{name} can't be {what}")));
            }
            if self.null.as_deref() == Some(mark) {
                return Err(Failure::Usage(format!("{name} and --null can't be equal")));
            }
            // A key's separator may be anything: it is looked for behind the headers only.
            let others = marks[..place].iter().filter(|(other, _)| *other != "--key-separator");
            if let Some((other, _)) = others.into_iter().find(|(_, other)| other == mark) {
                return Err(Failure::Usage(format!("{other} and {name} can't be equal")));
            }
        }
        let null = self.null.as_deref().map(str::as_bytes);
        let mut fixed = Vec::new();
        for header in &self.header {
            let pair = header.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, value) = pair.ok_or_else(|| Failure::Usage("--header wants name=value".into()))?;
            fixed.push(header_of(name, value.as_bytes(), null));
        }
        Ok(Layout { arguments: self, null, fixed })
    }
}

/// How lines are taken apart.
pub(crate) struct Layout<'a> {
    arguments: &'a LayoutArguments,
    null: Option<&'a [u8]>,
    fixed: Vec<Header<'a>>,
}

/// What is in one line.
pub(crate) struct Parts<'a> {
    record: Record<'a>,
    headers: Vec<Header<'a>>,
}

impl Parts<'_> {
    pub(crate) fn record(&self) -> Record<'_> {
        self.record.headers(&self.headers)
    }
}

/// Why a line is no record. Says nothing of what is in it.
#[derive(Debug, Error)]
pub(crate) enum LineError {
    #[error("{length} bytes, more than the {most} that max.request.size allows")]
    TooLong { length: u64, most: usize },
    #[error("no {0} in it; with --ignore-error it would be taken without")]
    NoMark(&'static str),
    #[error("a header without headers key separator; with --ignore-error its value would be null")]
    NoHeaderValue,
    #[error("a header's name is not UTF-8")]
    NameNotText,
    #[error("a header's name is the text of --null, and names can't be null")]
    NameNull,
}

impl<'a> Layout<'a> {
    /// Takes a line apart.
    pub(crate) fn parts(&'a self, line: &'a [u8]) -> Result<Parts<'a>, LineError> {
        let arguments = self.arguments;
        let delimiter = arguments.headers.then_some(&arguments.headers_delimiter);
        let (headers, line) = self.cut(line, delimiter, "headers delimiter")?;
        let (key, value) = self.cut(line, arguments.key_separator.as_ref(), "key separator")?;
        let mut record = Record::new(&arguments.topic);
        record.partition = arguments.partition;
        record.timestamp = arguments.timestamp;
        record.key = key.filter(|key| Some(*key) != self.null);
        record.value = Some(value).filter(|value| Some(*value) != self.null);
        let mut all = self.fixed.clone();
        if let Some(headers) = headers.filter(|headers| Some(*headers) != self.null) {
            self.split_headers(headers, &mut all)?;
        }
        Ok(Parts { record, headers: all })
    }

    /// What stands before and after the mark, if one is looked for.
    fn cut<'l>(
        &self,
        line: &'l [u8],
        mark: Option<&String>,
        name: &'static str,
    ) -> Result<(Option<&'l [u8]>, &'l [u8]), LineError> {
        let Some(mark) = mark else { return Ok((None, line)) };
        match split_once(line, mark.as_bytes()) {
            Some((before, after)) => Ok((Some(before), after)),
            None if self.arguments.ignore_error => Ok((None, line)),
            None => Err(LineError::NoMark(name)),
        }
    }

    /// As Java splits them: empty ones at the end are none.
    fn split_headers(&self, mut text: &'a [u8], all: &mut Vec<Header<'a>>) -> Result<(), LineError> {
        let separator = self.arguments.headers_separator.as_bytes();
        while let Some(shorter) = text.strip_suffix(separator) {
            text = shorter;
        }
        while !text.is_empty() {
            let (pair, rest) = split_once(text, separator).unwrap_or((text, &[]));
            text = rest;
            let name_and_value = split_once(pair, self.arguments.headers_key_separator.as_bytes());
            let name = name_and_value.map_or(pair, |(name, _)| name);
            if Some(name) == self.null {
                return Err(LineError::NameNull);
            }
            let name = std::str::from_utf8(name).map_err(|_| LineError::NameNotText)?;
            all.push(match name_and_value {
                Some((_, value)) => header_of(name, value, self.null),
                None if self.arguments.ignore_error => Header::null(name),
                None => return Err(LineError::NoHeaderValue),
            });
        }
        Ok(())
    }
}

fn header_of<'a>(name: &'a str, value: &'a [u8], null: Option<&[u8]>) -> Header<'a> {
    if Some(value) == null { Header::null(name) } else { Header::new(name, value) }
}

/// What stands before and after the first `mark`, which is not empty.
fn split_once<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = text.windows(mark.len()).position(|window| window == mark)?;
    Some((&text[..place], &text[place + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        layout: LayoutArguments,
    }

    fn arguments(more: &[&str]) -> LayoutArguments {
        Cli::parse_from([&["test", "--topic", "t"], more].concat()).layout
    }

    /// Key, value and headers, in a form that is easily compared.
    fn taken(more: &[&str], line: &[u8]) -> String {
        let arguments = arguments(more);
        let layout = arguments.layout().unwrap();
        match layout.parts(line) {
            Err(error) => error.to_string(),
            Ok(parts) => {
                let text = |bytes: Option<&[u8]>| {
                    bytes.map_or("null".to_string(), |bytes| format!("{:?}", String::from_utf8_lossy(bytes)))
                };
                let record = parts.record();
                let headers: Vec<_> =
                    record.headers.iter().map(|header| format!("{}={}", header.key, text(header.value))).collect();
                format!("{} {} [{}]", text(record.key), text(record.value), headers.join(" "))
            }
        }
    }

    #[test]
    fn lines_are_taken_apart_as_java_does() {
        let keyed: &[&str] = &["--key-separator", "::"];
        assert_eq!(taken(&[], b"a:b\tc"), r#"null "a:b\tc" []"#);
        assert_eq!(taken(keyed, b"k::v::w"), r#""k" "v::w" []"#);
        assert_eq!(taken(keyed, b"::"), r#""" "" []"#);
        assert_eq!(taken(keyed, b":::"), r#""" ":" []"#);
        assert!(taken(keyed, b"k:v").starts_with("no key separator"));
        assert!(taken(keyed, b":").starts_with("no key separator"));
        assert_eq!(taken(&["--key-separator", "::", "--ignore-error"], b"k:v"), r#"null "k:v" []"#);

        let all: &[&str] = &["--headers", "--key-separator", "\t", "--null", "NULL"];
        assert_eq!(taken(all, b"a:1,b:2\tk\tv\tw"), r#""k" "v\tw" [a="1" b="2"]"#);
        assert_eq!(taken(all, b"a:1:2,b:,c:NULL\tNULL\tNULL"), r#"null null [a="1:2" b="" c=null]"#);
        assert_eq!(taken(all, b"NULL\tk\tv"), r#""k" "v" []"#);
        assert_eq!(taken(all, b"\tk\tv"), r#""k" "v" []"#);
        assert_eq!(taken(all, b"a:1,,\tk\tv"), r#""k" "v" [a="1"]"#);
        assert!(taken(all, b"a:1,,b:2\tk\tv").starts_with("a header without"));
        assert!(taken(all, b"a:1\tk").starts_with("no key separator"));
        assert!(taken(all, b"a:1").starts_with("no headers delimiter"));
        assert!(taken(all, b"NULL:1\tk\tv").contains("can't be null"));
        assert!(taken(all, b"\xff:1\tk\tv").contains("UTF-8"));
        assert_eq!(taken(&["--headers", "--ignore-error"], b"a,b:2\tv"), r#"null "v" [a=null b="2"]"#);
        assert_eq!(taken(&["--headers", "--ignore-error"], b"v"), r#"null "v" []"#);

        let other =
            ["--headers", "--headers-delimiter", "|", "--headers-separator", "; ", "--headers-key-separator", "="];
        assert_eq!(taken(&other, b"a=1; b=2|v"), r#"null "v" [a="1" b="2"]"#);
        assert_eq!(
            taken(&["--header", "x=1=2", "--header", "x=", "--headers"], b"x:3\tv"),
            r#"null "v" [x="1=2" x="" x="3"]"#
        );
        assert_eq!(taken(&["--null", ""], b""), "null null []");
        assert_eq!(taken(&["--null", "-", "--header", "x=-"], b"v"), r#"null "v" [x=null]"#);
    }

    #[test]
    fn marks_that_can_t_be_told_apart_are_refused() {
        for (more, words) in [
            (&["--key-separator", ""][..], "--key-separator can't be empty"),
            (&["--headers", "--headers-separator", ""], "--headers-separator can't be empty"),
            (&["--headers", "--headers-delimiter", ","], "--headers-delimiter and --headers-separator can't be equal"),
            (&["--headers", "--headers-key-separator", ","], "can't be equal"),
            (&["--key-separator", "-", "--null", "-"], "--key-separator and --null"),
            (&["--key-separator", "\n"], "line's end"),
            (&["--header", "secret"], "--header wants name=value"),
        ] {
            let arguments = arguments(more);
            let Err(Failure::Usage(said)) = arguments.layout() else { panic!("{more:?} is taken") };
            assert!(said.contains(words) && !said.contains("secret"), "{said}");
        }
        arguments(&["--headers", "--key-separator", "\t"]).layout().unwrap();
        arguments(&["--headers", "--key-separator", ":"]).layout().unwrap();
    }
}
