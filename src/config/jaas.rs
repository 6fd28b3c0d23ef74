//! `sasl.jaas.config`: a login module's entry, read as Java reads it (with its `StreamTokenizer`).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// One entry: `module.Class flag name="value" name=value;`. It has no `Debug`: its values are secrets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The login module's class.
    pub(crate) module: String,
    pub(crate) options: Vec<(String, String)>,
}

impl Entry {
    /// The value of the option with this name.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rfind(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];

/// How an entry for a mechanism looks.
pub(super) fn example(mechanism: &str) -> &'static str {
    match mechanism {
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"...\" password=\"...\";"
        }
        "OAUTHBEARER" => "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
        _ => "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"...\" password=\"...\";",
    }
}

/// Reads the one entry that a client has. The error says what is wrong, without any value: they are secrets.
pub(crate) fn parse(text: &str) -> Result<Entry, &'static str> {
    let mut tokens = Tokens { chars: text.chars().peekable() };
    let mut entries = Vec::new();
    while let Some(first) = tokens.next() {
        entries.push(entry(first, &mut tokens)?);
    }
    match entries.len() {
        0 => Err("it begins with the class of a login module"),
        1 => Ok(entries.remove(0)),
        _ => Err("it has one login module, and nothing after its semicolon"),
    }
}

fn entry(first: Token, tokens: &mut Tokens<'_>) -> Result<Entry, &'static str> {
    let module =
        first.text().filter(|module| !module.is_empty()).ok_or("it begins with the class of a login module")?;
    let flag = tokens.next().and_then(Token::text);
    if !flag.is_some_and(|flag| FLAGS.iter().any(|known| known.eq_ignore_ascii_case(&flag))) {
        return Err("after the class of the login module stands \"required\"");
    }
    let mut options = Vec::new();
    loop {
        let name = match tokens.next() {
            None => return Err("it ends with a semicolon (and quotes are closed in the line where they begin)"),
            Some(Token::Sign(';')) => return Ok(Entry { module, options }),
            Some(name) => name.text(),
        };
        if tokens.next() != Some(Token::Sign('=')) {
            return Err(
                "after the name of an option stands \"=\", and a value that is more than letters and digits is in quotes",
            );
        }
        let value = tokens.next().and_then(Token::text);
        let value = value.ok_or("after \"=\" stands a value, in quotes where it is more than letters and digits")?;
        // A sign in place of a name is a name that nobody asks for.
        options.extend(name.map(|name| (name, value)));
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Token {
    /// A word, or what stands in quotes.
    Text(String),
    /// Any other character.
    Sign(char),
    /// Digits, which are a number to Java, and so no text.
    Number,
}

impl Token {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Sign(_) | Self::Number => None,
        }
    }
}

struct Tokens<'a> {
    chars: core::iter::Peekable<core::str::Chars<'a>>,
}

impl Tokens<'_> {
    fn next(&mut self) -> Option<Token> {
        loop {
            let c = self.chars.next()?;
            return Some(match c {
                '\0'..=' ' => continue,
                '/' => {
                    self.skip_comment();
                    continue;
                }
                '0'..='9' | '.' => self.number(c),
                '-' if self.chars.peek().is_some_and(|c| matches!(c, '0'..='9' | '.')) => self.number(' '),
                '"' | '\'' => Token::Text(self.quoted(c)),
                c if c != '-' && is_of_word(c) => {
                    let mut word = c.to_string();
                    while let Some(c) = self.chars.next_if(|c| is_of_word(*c) || matches!(c, '0'..='9' | '.')) {
                        word.push(c);
                    }
                    Token::Text(word)
                }
                c => Token::Sign(c),
            });
        }
    }

    /// `/* */`, or to the end of the line, of which any slash is a beginning.
    fn skip_comment(&mut self) {
        if self.chars.next_if_eq(&'*').is_none() {
            while self.chars.next_if(|c| !matches!(c, '\n' | '\r')).is_some() {}
            return;
        }
        let mut before = ' ';
        for c in self.chars.by_ref() {
            if (before, c) == ('*', '/') {
                break;
            }
            before = c;
        }
    }

    fn number(&mut self, first: char) -> Token {
        let mut has_dot = first == '.';
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_digit() || (*c == '.' && !has_dot)) {
            has_dot |= c == '.';
        }
        Token::Number
    }

    /// To the closing quote, or to the end of the line.
    fn quoted(&mut self, quote: char) -> String {
        let mut text = String::new();
        while let Some(c) = self.chars.next_if(|c| *c != quote && !matches!(c, '\n' | '\r')) {
            match (c, self.chars.peek().copied()) {
                ('\\', Some(first @ '0'..='7')) => {
                    let most = if first <= '3' { 3 } else { 2 };
                    let mut code = 0;
                    for _ in 0..most {
                        let digit = self.chars.next_if(|c| matches!(c, '0'..='7')).and_then(|c| c.to_digit(8));
                        let Some(digit) = digit else { break };
                        code = code * 8 + digit;
                    }
                    text.extend(char::from_u32(code));
                }
                ('\\', Some(escaped)) => {
                    self.chars.next();
                    text.push(match escaped {
                        'a' => '\u{7}',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'v' => '\u{b}',
                        other => other,
                    });
                }
                (c, _) => text.push(c),
            }
        }
        self.chars.next_if_eq(&quote);
        text
    }
}

/// Letters, and what Java takes for them: most of Latin-1, and all beyond it.
fn is_of_word(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '-' | '_' | '$' | '\u{a0}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::golden::objects;

    fn options(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap_or_else(|error| panic!("{error}")).options
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn an_entry_as_kafkas_documentation_has_it_is_read() {
        let text = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                    username=\"alice\"\n   password=\"a b;=\\\"c\\\\\";";
        let entry = parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(entry.module, "org.apache.kafka.common.security.plain.PlainLoginModule");
        assert_eq!(entry.option("username"), Some("alice"));
        assert_eq!(entry.option("password"), Some("a b;=\"c\\"));
    }

    #[test]
    fn the_examples_are_entries() {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            assert!(parse(example(mechanism)).is_ok(), "{mechanism}");
        }
    }

    #[test]
    fn words_need_no_quotes_and_comments_are_skipped() {
        assert_eq!(options("M REQUIRED a=b /* c=d */ e='f g' // h\n;"), [pair("a", "b"), pair("e", "f g")]);
        assert_eq!(options("M required;"), []);
    }

    #[test]
    fn a_number_in_place_of_a_name_is_a_name_that_nobody_asks_for() {
        for number in ["5", ".5", "-5", "-.5", "1.5"] {
            let text = alloc::format!("M required {number}=x a=b;");
            assert_eq!(options(&text), [pair("a", "b")], "{number}");
        }
        assert!(parse("M required 1.5.5=x a=b;").is_err(), "that is two numbers");
        assert!(parse("M required -a=x;").is_err(), "that is a sign and a word");
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, words) in [
            ("", "class of a login module"),
            ("M", "required"),
            ("M a=b;", "required"),
            ("M required a=b", "semicolon"),
            ("M required a=\"b;", "semicolon"),
            ("M required a b;", "\"=\""),
            ("M required a=1234;", "in quotes"),
            ("M required a=p@ss;", "in quotes"),
            ("M required; N required;", "one login module"),
        ] {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    /// Entries that `tests/golden/Vectors.java` made up, and what Kafka's `JaasContext` makes of them.
    #[test]
    fn golden_entries_are_read_as_by_java() {
        let vectors = objects("jaas.jsonl");
        let mut wrong = Vec::new();
        for vector in &vectors {
            let text = |value: &serde_json::Value| value.as_str().map(ToString::to_string);
            let java = text(&vector["module"]).map(|module| {
                let pairs = vector["options"].as_array().expect("options");
                (module, pairs.iter().filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect::<Vec<_>>())
            });
            let ours = parse(vector["text"].as_str().expect("a text")).ok().map(|entry| {
                let mut options: Vec<(String, String)> = Vec::new();
                for (name, value) in entry.options {
                    options.retain(|(known, _)| *known != name);
                    options.push((name, value));
                }
                options.sort();
                (entry.module, options)
            });
            if ours != java {
                wrong.push(alloc::format!("{vector}: {ours:?}"));
            }
        }
        assert!(!vectors.is_empty());
        assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), vectors.len(), &wrong[..wrong.len().min(20)]);
    }
}
