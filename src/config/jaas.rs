//! `sasl.jaas.config`: a login module's entry in Java's syntax.

use alloc::string::String;
use alloc::vec::Vec;

/// One entry: `module.Class flag name="value" name=value;`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The login module's class.
    pub(super) module: String,
    pub(super) options: Vec<(String, String)>,
}

impl Entry {
    /// The value of the option with this name.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rfind(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];

/// Reads the one entry that a client has. The error says what is wrong, without any value: they are secrets.
pub(super) fn parse(text: &str) -> Result<Entry, &'static str> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    let Some(Token::Word(module)) = tokens.next() else {
        return Err("it begins with the class of a login module");
    };
    match tokens.next() {
        Some(Token::Word(flag)) if FLAGS.iter().any(|known| known.eq_ignore_ascii_case(&flag)) => {}
        _ => return Err("after the class of the login module stands «required»"),
    }
    let mut options = Vec::new();
    loop {
        match tokens.next() {
            Some(Token::End) => break,
            Some(Token::Word(name)) => {
                if tokens.next() != Some(Token::Equals) {
                    return Err("after the name of an option stands «=»");
                }
                match tokens.next() {
                    Some(Token::Word(value) | Token::Quoted(value)) => options.push((name, value)),
                    _ => return Err("after «=» stands a value, in quotes where it is more than letters and digits"),
                }
            }
            None => return Err("it ends with a semicolon"),
            Some(Token::Equals | Token::Quoted(_)) => return Err("a value has no name"),
        }
    }
    if tokens.next().is_some() {
        return Err("it has one login module");
    }
    Ok(Entry { module, options })
}

#[derive(Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Equals,
    End,
}

/// As Java's stream tokenizer is set up for it: words, quoted strings with escapes, comments.
fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '=' => tokens.push(Token::Equals),
            ';' => tokens.push(Token::End),
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|c| *c != '\n').is_some() {},
            '/' if chars.peek() == Some(&'*') => {
                let mut before = ' ';
                for c in chars.by_ref() {
                    if (before, c) == ('*', '/') {
                        break;
                    }
                    before = c;
                }
            }
            quote @ ('"' | '\'') => {
                let mut value = String::new();
                loop {
                    match chars.next() {
                        Some(c) if c == quote => break,
                        Some('\\') => match chars.next() {
                            Some('n') => value.push('\n'),
                            Some('t') => value.push('\t'),
                            Some('r') => value.push('\r'),
                            Some(c) => value.push(c),
                            None => return Err("a quote is not closed"),
                        },
                        Some(c) => value.push(c),
                        None => return Err("a quote is not closed"),
                    }
                }
                tokens.push(Token::Quoted(value));
            }
            c => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !matches!(c, '=' | ';' | '"' | '\'')) {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap_or_else(|error| panic!("{error}")).options
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn an_entry_as_kafkas_documentation_has_it_is_read() {
        let text = "org.apache.kafka.common.security.plain.PlainLoginModule required \\\n username=\"alice\"   password=\"a b;=\\\"c\\\\\";";
        let entry = parse(&text.replace("\\\n", "\n")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(entry.module, "org.apache.kafka.common.security.plain.PlainLoginModule");
        assert_eq!(entry.option("username"), Some("alice"));
        assert_eq!(entry.option("password"), Some("a b;=\"c\\"));
    }

    #[test]
    fn values_need_no_quotes_and_comments_are_skipped() {
        assert_eq!(options("M REQUIRED a=b /* c=d */ e='f g' // h\n;"), [pair("a", "b"), pair("e", "f g")]);
        assert_eq!(options("M required;"), []);
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, words) in [
            ("", "class of a login module"),
            ("M", "required"),
            ("M a=b;", "required"),
            ("M required a=b", "semicolon"),
            ("M required a=\"b;", "quote"),
            ("M required a b;", "«=»"),
            ("M required =b;", "no name"),
            ("M required; N required;", "one login module"),
        ] {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
