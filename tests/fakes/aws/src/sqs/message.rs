//! Messages, and the limits of SQS on them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{self, Error};
use super::range;

/// The largest size of a message, and of all messages of a batch together, in bytes.
pub(crate) const LARGEST: usize = 1024 * 1024;
const MOST_ATTRIBUTES: usize = 10;

/// An attribute that the sender gave a message. Binary values stay in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Attribute {
    pub(crate) data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) string_value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) binary_value: Option<String>,
}

/// A message, as its sender gives it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Message {
    #[serde(rename = "MessageBody", default)]
    pub(crate) body: String,
    #[serde(default)]
    delay_seconds: Option<i64>,
    /// Makes the queue fair to groups. A standard queue delays and delivers messages of one group as any others.
    #[serde(rename = "MessageGroupId", default)]
    pub(crate) group: Option<String>,
    #[serde(rename = "MessageAttributes", default)]
    pub(crate) attributes: BTreeMap<String, Attribute>,
    #[serde(rename = "MessageSystemAttributes", default)]
    system_attributes: BTreeMap<String, Attribute>,
}

impl Message {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.body.is_empty() {
            return Err(Error::missing("MessageBody"));
        }
        if !self.body.chars().all(is_allowed) {
            let text = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF \
                        | #xE000 to #xFFFD | #x10000 to #x10FFFF";
            return Err(Error::new(error::INVALID_MESSAGE_CONTENTS, text));
        }
        if self.size() > LARGEST {
            let text = format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {LARGEST} bytes."
            );
            return Err(Error::new(error::INVALID_PARAMETER_VALUE, text));
        }
        let count = self.attributes.len();
        if count > MOST_ATTRIBUTES {
            let text = format!(
                "Number of message attributes [{count}] exceeds the allowed maximum [{MOST_ATTRIBUTES}]."
            );
            return Err(Error::new(error::INVALID_PARAMETER_VALUE, text));
        }
        for (name, attribute) in self.attributes.iter().chain(&self.system_attributes) {
            attribute.check(name)?;
        }
        if let Some(name) = self.system_attributes.keys().find(|name| *name != "AWSTraceHeader") {
            return Err(Error::invalid(name, "MessageSystemAttributes", "Unknown system attribute."));
        }
        if let Some(group) = self.group.as_deref().filter(|group| !is_group(group)) {
            let reason = "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.";
            return Err(Error::invalid(group, "MessageGroupId", reason));
        }
        self.delay()?;
        Ok(())
    }

    /// The message's own delay, if it has one instead of the queue's.
    pub(crate) fn delay(&self) -> Result<Option<Duration>, Error> {
        self.delay_seconds.map(|delay| range("DelaySeconds", delay, 0, 900)).transpose()
    }

    /// The size that SQS counts, in bytes: body and attributes.
    pub(crate) fn size(&self) -> usize {
        self.body.len() + self.attributes.iter().map(|(name, value)| name.len() + value.size()).sum::<usize>()
    }

    pub(crate) fn trace_header(&self) -> Option<&str> {
        self.system_attributes.get("AWSTraceHeader")?.string_value.as_deref()
    }
}

impl Attribute {
    fn check(&self, name: &str) -> Result<(), Error> {
        let invalid = |text: String| Err(Error::new(error::INVALID_PARAMETER_VALUE, text));
        let value = match self.data_type.split('.').next() {
            Some("String" | "Number") => &self.string_value,
            Some("Binary") => &self.binary_value,
            _ => {
                return invalid(format!(
                    "The type of message (user) attribute '{name}' is invalid. You must use only the following \
                     supported type prefixes: Binary, Number, String."
                ));
            }
        };
        if value.as_ref().is_none_or(String::is_empty) {
            return invalid(format!(
                "Message (user) attribute '{name}' must contain a non-empty value of type '{}'.",
                self.data_type
            ));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let binary = self.binary_value.as_ref().map_or(0, |base64| base64.len() / 4 * 3);
        self.data_type.len() + self.string_value.as_ref().map_or(0, String::len) + binary
    }
}

/// Whether SQS allows the text as a `MessageGroupId`.
fn is_group(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether SQS allows the character in a body.
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}
