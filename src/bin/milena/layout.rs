//! How a line is a record: what of it is headers, key and value. As Java's console producer has it (`LineMessageReader`).

use base64ct::{Base64, Encoding};
use clap::{Args, ValueEnum};
use milena::{Header, Record, RecordBuf};
use serde_json::Value;
use thiserror::Error;

use crate::Failure;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Lines,
    Json,
}

/// What is in a line, and what all records have in common.
#[derive(Debug, Args)]
pub(crate) struct LayoutArguments {
    /// The topic
    #[arg(long)]
    topic: String,
    /// What a line is: `lines` for text as below, or `json` for an object with key, value, headers, partition, timestamp
    #[arg(long, value_enum, default_value_t = Format::Lines)]
    input_format: Format,
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
        let of_lines = self.key_separator.is_some() || self.headers || self.null.is_some() || self.ignore_error;
        if self.input_format == Format::Json && of_lines {
            let words = "--input-format json goes without --key-separator, --headers, --null and --ignore-error";
            return Err(Failure::Usage(words.to_string()));
        }
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
pub(crate) enum Parts<'a> {
    /// As it stands there.
    Of(Record<'a>, Vec<Header<'a>>),
    /// What JSON says.
    Read(RecordBuf),
}

impl Parts<'_> {
    /// Hands the record on.
    pub(crate) fn with<T>(&self, take: impl FnOnce(&Record<'_>) -> T) -> T {
        match self {
            Self::Of(record, headers) => take(&record.headers(headers)),
            Self::Read(record) => take(&record.record(&record.headers())),
        }
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
    #[error("no JSON object: {0} at column {1}")]
    NotJson(&'static str, usize),
    #[error("{0}")]
    Field(&'static str),
}

impl<'a> Layout<'a> {
    /// Takes a line apart.
    pub(crate) fn parts(&'a self, line: &'a [u8]) -> Result<Parts<'a>, LineError> {
        let arguments = self.arguments;
        if arguments.input_format == Format::Json {
            return self.read(line).map(Parts::Read);
        }
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
        Ok(Parts::Of(record, all))
    }

    /// Reads a JSON object.
    fn read(&self, line: &[u8]) -> Result<RecordBuf, LineError> {
        let value = serde_json::from_slice(line).map_err(|error| {
            // Its own words may have something of the line.
            let what = if error.is_eof() { "it ends too early" } else { "wrong syntax" };
            LineError::NotJson(what, error.column())
        })?;
        let Value::Object(fields) = value else { return Err(LineError::NotJson("another value", 1)) };
        let mut record = RecordBuf::new(&self.arguments.topic);
        (record.partition, record.timestamp) = (self.arguments.partition, self.arguments.timestamp);
        record.headers = self.fixed.iter().map(|h| (h.key.to_string(), h.value.map(<[u8]>::to_vec))).collect();
        let twice = |one: &str, other: &str| fields.contains_key(one) && fields.contains_key(other);
        if twice("key", "key_base64") || twice("value", "value_base64") {
            return Err(LineError::Field("a key or a value is there twice, as text and in base64"));
        }
        for (name, value) in fields {
            match &*name {
                "key" => record.key = bytes(value),
                "value" => record.value = bytes(value),
                "key_base64" => record.key = from_base64(value)?,
                "value_base64" => record.value = from_base64(value)?,
                "headers" => read_headers(value, &mut record.headers)?,
                "partition" if value.is_null() => {}
                "partition" => {
                    let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
                    let number = number.filter(|number| *number >= 0);
                    record.partition = Some(number.ok_or(LineError::Field("the partition is no number from 0 on"))?);
                }
                "timestamp" if value.is_null() => {}
                "timestamp" => {
                    let number = value.as_i64().filter(|number| *number >= 0);
                    record.timestamp = Some(number.ok_or(LineError::Field("the timestamp is no number from 0 on"))?);
                }
                _ => return Err(LineError::Field(FIELDS)),
            }
        }
        Ok(record)
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

const FIELDS: &str = "a field that is none of key, key_base64, value, value_base64, headers, partition, timestamp";

const HEADERS: &str = "headers are no object of texts, nor a list of pairs of name and value";

/// A text's bytes; null is null; anything else is the JSON that it is.
fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes()),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Some(other.to_string().into_bytes())
        }
    }
}

fn from_base64(value: Value) -> Result<Option<Vec<u8>>, LineError> {
    let wrong = LineError::Field("a field that should be base64 is not");
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Base64::decode_vec(&text).map(Some).map_err(|_| wrong),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(wrong),
    }
}

/// An object, or, where names repeat, a list of pairs.
fn read_headers(value: Value, headers: &mut Vec<(String, Option<Vec<u8>>)>) -> Result<(), LineError> {
    match value {
        Value::Null => {}
        Value::Object(pairs) => headers.extend(pairs.into_iter().map(|(name, value)| (name, bytes(value)))),
        Value::Array(pairs) => {
            for pair in pairs {
                let pair: (String, Value) = serde_json::from_value(pair).map_err(|_| LineError::Field(HEADERS))?;
                headers.push((pair.0, bytes(pair.1)));
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(LineError::Field(HEADERS)),
    }
    Ok(())
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
                parts.with(|record| {
                    let headers: Vec<_> =
                        record.headers.iter().map(|header| format!("{}={}", header.key, text(header.value))).collect();
                    let place = record.partition.map_or_else(String::new, |partition| format!(" to {partition}"));
                    let at = record.timestamp.map_or_else(String::new, |at| format!(" at {at}"));
                    format!("{} {} [{}]{place}{at}", text(record.key), text(record.value), headers.join(" "))
                })
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
    fn objects_are_records() {
        let json: &[&str] = &["--input-format", "json"];
        assert_eq!(taken(json, b"{}"), "null null []");
        let whole =
            br#"{"key":"k","value":{"b":[1,null],"a":"z"},"headers":{"h":"1","n":null},"partition":2,"timestamp":7}"#;
        assert_eq!(taken(json, whole), r#""k" "{\"b\":[1,null],\"a\":\"z\"}" [h="1" n=null] to 2 at 7"#);
        let pairs = br#" {"headers":[["h","1"],["h",2]],"value":"","key_base64":"AGs=","partition":null} "#;
        assert_eq!(taken(json, pairs), "\"\\0k\" \"\" [h=\"1\" h=\"2\"]");
        let more: &[&str] = &[json, &["--header", "x=y", "--partition", "1"]].concat();
        assert_eq!(taken(more, br#"{"value_base64":null,"headers":{"z":"1"}}"#), r#"null null [x="y" z="1"] to 1"#);
        assert_eq!(taken(more, br#"{"partition":3}"#), r#"null null [x="y"] to 3"#);
        for (line, words) in [
            (&b"secret"[..], "no JSON object: wrong syntax at column 1"),
            (b"", "no JSON object: it ends too early at column 0"),
            (b"[]", "no JSON object: another value"),
            (br#"{"value":"secret""#, "it ends too early"),
            (br#"{"secret":1}"#, "a field that is none of"),
            (br#"{"value_base64":"secret"}"#, "should be base64"),
            (br#"{"partition":-1}"#, "the partition is no number"),
            (br#"{"timestamp":"secret"}"#, "the timestamp is no number"),
            (br#"{"headers":[["secret"]]}"#, "headers are no object"),
            (br#"{"key":"secret","key_base64":""}"#, "there twice"),
        ] {
            let said = taken(json, line);
            assert!(said.contains(words) && !said.contains("secret"), "{said}");
        }
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
            (&["--input-format", "json", "--headers"], "--input-format json goes without"),
        ] {
            let arguments = arguments(more);
            let Err(Failure::Usage(said)) = arguments.layout() else { panic!("{more:?} is taken") };
            assert!(said.contains(words) && !said.contains("secret"), "{said}");
        }
        arguments(&["--headers", "--key-separator", "\t"]).layout().unwrap();
        arguments(&["--headers", "--key-separator", ":"]).layout().unwrap();
    }
}
