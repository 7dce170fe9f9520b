//! The settings that only Lambda functions have, besides those of [`bk_plugin_service::settings`]. `template.yaml`
//! sets them.

use std::time::Duration;

use bk_plugin_aws::sqs::LONGEST_DELAY;
use bk_plugin_service::settings::Reader;

/// Where invocations are stored and wake-ups are sent.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// BK_PLUGIN_TABLE: name of the invocation table.
    pub table: String,
    /// BK_PLUGIN_QUEUE_URL: URL of the queue of wake-ups.
    pub queue_url: String,
    /// BK_PLUGIN_LONGEST_DELAY: longest delay of one message; a longer wait is made of hops.
    pub longest_delay: Duration,
}

impl StoreSettings {
    /// Reads the settings from `reader`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let longest = LONGEST_DELAY.as_secs();
        Self {
            table: reader
                .required("BK_PLUGIN_TABLE", "the name of the invocation table; template.yaml sets it"),
            queue_url: reader
                .required("BK_PLUGIN_QUEUE_URL", "the URL of the queue of wake-ups; template.yaml sets it"),
            longest_delay: Duration::from_secs(reader.number(
                "BK_PLUGIN_LONGEST_DELAY",
                longest,
                1..=longest,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let lookup = |name: &str| (name == "BK_PLUGIN_LONGEST_DELAY").then(|| "901".to_owned());
        let mut reader = Reader::new(&lookup);
        let settings = StoreSettings::read(&mut reader);
        let said = reader.finish(settings).unwrap_err().to_string();
        for name in ["BK_PLUGIN_TABLE", "BK_PLUGIN_QUEUE_URL", "BK_PLUGIN_LONGEST_DELAY"] {
            assert!(said.contains(name), "{name} in {said}");
        }
    }
}
