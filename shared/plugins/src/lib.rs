//! The plugin of this project: its versions, their forms, and the data the forms show.
//!
//! A new version is a file in [`versions`], a line in [`project`] and, if people are to fill it in, a
//! `forms/<version>/form.js` at the root of the repository.

pub mod apis;
pub mod versions;

use bk_plugin_kit::prelude::*;
use rust_embed::Embed;

use crate::versions::{v1_0_0, v1_1_0, v1_2_0, v2_0_0};

/// What the server and the Lambda functions serve.
pub fn project() -> Project {
    Project::new("bk-plugin-framework 示例插件")
        .version(v1_0_0::Echo)
        .version(v1_1_0::CountDown)
        .version(v1_2_0::TwoCallbacks)
        .version(v2_0_0::SopsExec::from_env())
        .forms(forms())
        .plugin_api(apis::routes())
}

#[derive(Embed)]
#[folder = "../../forms"]
struct Forms;

/// The forms are part of the binary: version and text of each.
fn forms() -> impl Iterator<Item = (String, String)> {
    Forms::iter().filter_map(|path| {
        let version = path.strip_suffix("/form.js")?.to_owned();
        let text = String::from_utf8_lossy(&Forms::get(&path)?.data).into_owned();
        Some((version, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_its_form_and_every_form_its_version() {
        let registry = project().build().unwrap();
        assert_eq!(registry.versions(), ["2.0.0", "1.2.0", "1.1.0", "1.0.0"]);
        assert_eq!(registry.warnings(), Vec::<String>::new());
        for version in registry.versions() {
            let form = registry.form(version).unwrap_or_default();
            let schema = registry.version(version).unwrap().models().inputs.schema();
            for field in schema["properties"].as_object().unwrap().keys() {
                assert!(form.contains(&format!("\"tag_code\": \"{field}\"")), "{version}: {field}");
            }
        }
    }
}
