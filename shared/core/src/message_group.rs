//! The group of a message: for whom the work is that it asks for.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::hex;

/// For whom the work is that a message asks for: a plugin version or, for a finish callback, the host it is posted to.
/// Receivers leave out groups that have enough under way, so that no group waits for another's backlog.
///
/// It is a `MessageGroupId` of SQS: 1 to 128 printable ASCII characters and no space.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct MessageGroup(String);

impl MessageGroup {
    /// Characters that a group has at most.
    const LONGEST: usize = 128;

    /// The group of the later steps of a plugin version.
    pub fn of_version(version: &str) -> Self {
        format!("step:{version}").into()
    }

    /// The group of the finish callbacks that are posted to this URL: they share its host and port.
    pub fn of_finish_callbacks_to(url: &str) -> Self {
        format!("finish:{}", host(url).to_ascii_lowercase()).into()
    }

    /// The group as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for MessageGroup {
    /// A text that cannot be a group becomes its hash.
    fn from(text: String) -> Self {
        let fits =
            (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        Self(if fits { text } else { hex(&Sha256::digest(text.as_bytes())) })
    }
}

/// Host and port of a URL, or all of a text that is not a URL.
fn host(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else { return url };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_hosts_never_share_a_group() {
        assert_eq!(MessageGroup::of_version("1.2.0").as_str(), "step:1.2.0");
        assert_eq!(MessageGroup::of_finish_callbacks_to("http://1.2.0").as_str(), "finish:1.2.0");
    }

    #[test]
    fn finish_callbacks_to_one_host_share_a_group() {
        let group = MessageGroup::of_finish_callbacks_to("https://sops.example.com:8443/callback/1/");
        assert_eq!(group.as_str(), "finish:sops.example.com:8443");
        for same in [
            "https://SOPS.example.com:8443",
            "https://user:secret@sops.example.com:8443/other?at=x@y",
            "http://sops.example.com:8443?a=b",
        ] {
            assert_eq!(MessageGroup::of_finish_callbacks_to(same), group, "{same}");
        }
        assert_ne!(MessageGroup::of_finish_callbacks_to("https://sops.example.com/"), group);
    }

    #[test]
    fn every_text_becomes_a_group_that_sqs_takes() {
        for text in ["", "a b", "输入", "tab\there", &"x".repeat(129), &"x".repeat(128), "1.0.0-rc.1+build"]
        {
            for group in [
                MessageGroup::from(text.to_owned()),
                MessageGroup::of_version(text),
                MessageGroup::of_finish_callbacks_to(text),
            ] {
                assert!((1..=128).contains(&group.as_str().len()), "{group:?}");
                assert!(group.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{group:?}");
                assert_eq!(MessageGroup::from(group.as_str().to_owned()), group, "read back");
            }
        }
    }
}
