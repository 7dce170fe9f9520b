//! The plugin of this project: its versions, and the data that their forms show.
//!
//! A new version is a file in [`versions`], a line in [`project`] and, if people fill it in, a
//! `forms/<version>/form.js` at the root of the repository.

pub mod apis;
pub mod versions;

use bk_plugin_kit::prelude::*;

use crate::versions::{v1_0_0, v1_1_0, v1_2_0, v2_0_0};

/// What the server and the Lambda functions serve.
pub fn project() -> Project {
    Project::new("bk-plugin-framework 示例插件")
        .version(v1_0_0::Echo)
        .version(v1_1_0::CountDown)
        .version(v1_2_0::TwoCallbacks)
        .try_version(v2_0_0::SopsExec::from_env())
        .plugin_api(apis::routes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_its_form_and_every_form_its_version() {
        let registry = project().build().unwrap();
        assert_eq!(registry.versions(), ["2.0.0", "1.2.0", "1.1.0", "1.0.0"]);
        // Version 2.0.0 wants variables that a test does not have.
        let mut warnings = registry.warnings("bk-plugin-demo");
        warnings.retain(|warning| !warning.contains("BKSOPS_"));
        assert_eq!(warnings, Vec::<String>::new());
        for version in registry.versions() {
            let form = registry.form(version).unwrap_or_default();
            let schema = registry.version(version).unwrap().models().inputs.schema();
            for field in schema["properties"].as_object().unwrap().keys() {
                assert!(form.contains(&format!("\"tag_code\": \"{field}\"")), "{version}: {field}");
            }
        }
    }
}
