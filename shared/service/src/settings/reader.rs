//! Reads environment variables and collects everything that is wrong with them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use reqwest::Url;
use secrecy::SecretString;

/// One variable with a wrong value.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct SettingError {
    /// The variable.
    pub name: &'static str,
    /// What is wrong with its value and what it may be. Never the value of a secret.
    pub problem: String,
}

/// Every variable with a wrong value.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SettingErrors(pub Vec<SettingError>);

/// Reads variables and collects what is wrong with them.
///
/// A method that finds a wrong value notes it and returns a stand-in, so that reading continues to the next
/// mistake; [`finish`](Self::finish) then returns the mistakes instead of the settings.
pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<SettingError>,
}

impl<'a> Reader<'a> {
    /// A reader of the variables that `lookup` knows. An empty value counts as not set.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, errors: Vec::new() }
    }

    /// The text of a variable.
    pub fn text(&self, name: &'static str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The text of a secret variable.
    pub fn secret(&self, name: &'static str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    /// The text of a variable that must be set, or an empty text; `why` ends the message that it is required.
    pub fn required(&mut self, name: &'static str, why: impl Display) -> String {
        self.text(name).unwrap_or_else(|| {
            self.wrong(name, format!("is required: {why}"));
            String::new()
        })
    }

    /// Name and text of the first of these variables that is set.
    pub fn first(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        names.iter().find_map(|name| Some((*name, self.text(name)?)))
    }

    /// The parts of a text that is separated by commas; empty parts are left out.
    pub fn list(&self, name: &'static str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
    }

    /// A whole number within `range`.
    pub fn number<T>(&mut self, name: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.text(name) else { return default };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (least, most) = (range.start(), range.end());
                self.wrong(name, format!("{text:?} is not a whole number from {least} to {most}"));
                default
            }
        }
    }

    /// A boolean: true, yes, on and 1, or false, no, off and 0, in any case.
    pub fn flag(&mut self, name: &'static str, default: bool) -> bool {
        let Some(text) = self.text(name) else { return default };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => true,
            "false" | "no" | "off" | "0" => false,
            _ => {
                self.wrong(name, format!("{text:?} is not true or false (or yes/no, on/off, 1/0)"));
                default
            }
        }
    }

    /// The value that belongs to the variable's text, from the texts it may have.
    pub fn one_of<T: Clone>(&mut self, name: &'static str, default: T, choices: &[(&str, T)]) -> T {
        let Some(text) = self.text(name) else { return default };
        if let Some((_, value)) = choices.iter().find(|(choice, _)| *choice == text) {
            return value.clone();
        }
        let choices: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        self.wrong(name, format!("{text:?} is not one of {}", choices.join(", ")));
        default
    }

    /// Notes that a variable is wrong.
    pub fn wrong(&mut self, name: &'static str, problem: impl Into<String>) {
        self.errors.push(SettingError { name, problem: problem.into() });
    }

    /// The settings, or everything that is wrong.
    pub fn finish<T>(self, settings: T) -> Result<T, SettingErrors> {
        if self.errors.is_empty() { Ok(settings) } else { Err(SettingErrors(self.errors)) }
    }
}

/// The URL in `text`, if it is a valid http or https URL.
pub fn http_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `read` with a reader of these variables; returns what it read or what is wrong.
    fn read<T>(variables: &[(&str, &str)], read: impl FnOnce(&mut Reader<'_>) -> T) -> Result<T, String> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut reader = Reader::new(&lookup);
        let value = read(&mut reader);
        reader.finish(value).map_err(|errors| errors.to_string())
    }

    #[test]
    fn booleans_have_one_dialect() {
        let flag = |text, default| read(&[("A", text)], |reader| reader.flag("A", default));
        for text in ["true", "True", "YES", "on", "1"] {
            assert_eq!(flag(text, false), Ok(true), "{text}");
        }
        for text in ["false", "False", "NO", "off", "0"] {
            assert_eq!(flag(text, true), Ok(false), "{text}");
        }
        assert_eq!((flag(" ", true), flag("", false)), (Ok(true), Ok(false)));
        assert!(flag("perhaps", true).unwrap_err().starts_with("A: \"perhaps\" is not true or false"));
    }

    #[test]
    fn what_is_required_is_named_with_the_reason() {
        assert_eq!(read(&[("A", " x ")], |reader| reader.required("A", "why")), Ok("x".to_owned()));
        let said = read(&[("A", " ")], |reader| reader.required("A", "it is needed")).unwrap_err();
        assert_eq!(said, "A: is required: it is needed");
    }

    #[test]
    fn one_of_a_few_texts() {
        let choices = [("one", 1), ("two", 2)];
        let number = |text| read(&[("A", text)], |reader| reader.one_of("A", 0, &choices));
        assert_eq!((number("one"), number("two"), number("")), (Ok(1), Ok(2), Ok(0)));
        assert_eq!(number("Three").unwrap_err(), "A: \"Three\" is not one of one, two");
    }

    #[test]
    fn the_first_that_is_set_and_lists() {
        let variables = [("A", ""), ("B", "b"), ("C", "x, y,,z ,")];
        assert_eq!(
            read(&variables, |reader| reader.first(&["A", "B", "C"])),
            Ok(Some(("B", "b".to_owned())))
        );
        assert_eq!(read(&variables, |reader| reader.first(&["A"])), Ok(None));
        assert_eq!(read(&variables, |reader| reader.list("C")).unwrap(), ["x", "y", "z"]);
        assert!(read(&variables, |reader| reader.list("A")).unwrap().is_empty());
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let said = read(&[("A", "x"), ("B", "11")], |reader| {
            (reader.flag("A", true), reader.number("B", 1, 0..=10), reader.required("C", "why"))
        });
        assert_eq!(
            said.unwrap_err(),
            "A: \"x\" is not true or false (or yes/no, on/off, 1/0); \
             B: \"11\" is not a whole number from 0 to 10; C: is required: why"
        );
    }

    #[test]
    fn urls_are_of_http_or_https() {
        for (text, is_url) in
            [("http://h", true), ("https://h:1/p", true), ("ftp://h", false), ("h:80", false), ("", false)]
        {
            assert_eq!(http_url(text).is_some(), is_url, "{text}");
        }
    }
}
