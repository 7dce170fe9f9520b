//! The content of a registration: `definition.yaml` and `resources.yaml`, with the settings filled in.

use std::borrow::Cow;
use std::path::Path;

use bk_plugin_core::ids::hex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::Resources;
use crate::settings::SyncSettings;

/// Hexadecimal digits of the hash in a version's number: enough that two contents never get the same number.
const HASH_DIGITS: usize = 12;

/// Why a file cannot be registered.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct DefinitionError {
    file: String,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// The file is not YAML, or a required part is missing.
    #[error("{0}")]
    Invalid(String),
    #[error("${{{0}}} is not filled in; what can be, is: {1}")]
    UnknownName(String, String),
    #[error("${{{0}}} is a list and must stand alone")]
    ListInText(String),
}

impl Problem {
    fn in_file(self, file: &File) -> DefinitionError {
        DefinitionError { file: file.name.clone(), problem: self }
    }
}

/// The two files that a registration is made of. The defaults are in this crate; an author can name others.
#[derive(Debug, Clone)]
pub struct Files {
    definition: File,
    resources: File,
}

#[derive(Debug, Clone)]
struct File {
    /// The name in messages.
    name: String,
    text: Cow<'static, str>,
}

impl Files {
    /// Reads the author's files; a default takes the place of one that is not given.
    pub fn read(definition: Option<&Path>, resources: Option<&Path>) -> Result<Self, DefinitionError> {
        let default = Self::default();
        Ok(Self {
            definition: definition.map_or(Ok(default.definition), File::read)?,
            resources: resources.map_or(Ok(default.resources), File::read)?,
        })
    }
}

impl Default for Files {
    fn default() -> Self {
        Self {
            definition: File::new("definition.yaml", include_str!("../defaults/definition.yaml")),
            resources: File::new("resources.yaml", include_str!("../defaults/resources.yaml")),
        }
    }
}

impl File {
    fn new(name: &str, text: &'static str) -> Self {
        Self { name: name.to_owned(), text: Cow::Borrowed(text) }
    }

    fn read(path: &Path) -> Result<Self, DefinitionError> {
        let mut file = Self { name: path.display().to_string(), text: Cow::Borrowed("") };
        file.text =
            std::fs::read_to_string(path).map_err(|error| Problem::Unreadable(error).in_file(&file))?.into();
        Ok(file)
    }
}

/// Everything that is sent to the gateway: one field per request body.
#[derive(Debug, Clone, Serialize)]
pub struct Registration {
    /// The gateway's properties.
    pub gateway: Value,
    /// The stage's properties.
    pub stage: Value,
    /// The stage's name.
    pub stage_name: String,
    /// The resources that can be called.
    pub resources: Resources,
    /// The ids of the resources.
    pub resource_names: Vec<String>,
    /// Who may call: one entry per app.
    pub grants: Vec<Value>,
    /// The version's number. It ends in a hash of stage and resources, so the same number means the same content.
    pub version: String,
    /// The comment on version and release.
    pub comment: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    gateway: Value,
    stage: Value,
    grant_permissions: Vec<Grants>,
}

#[derive(Deserialize)]
struct Grants {
    target_app_codes: Vec<String>,
    #[serde(flatten)]
    how: Map<String, Value>,
}

impl Registration {
    /// Fills these settings into the files.
    pub fn new(settings: &SyncSettings, files: &Files) -> Result<Self, DefinitionError> {
        let names = names(settings);
        let definition: Definition = parsed(&files.definition, &names)?;
        let resources: Value = parsed(&files.resources, &names)?;
        let resource_names =
            resource_names(&resources).map_err(|problem| problem.in_file(&files.resources))?;
        let stage_name = definition.stage.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = version(settings, &stage_name, &definition.stage, &resources);
        Ok(Self {
            gateway: definition.gateway,
            stage: definition.stage,
            grants: definition.grant_permissions.into_iter().flat_map(Grants::each).collect(),
            resources: Resources {
                // JSON is YAML.
                content: resources.to_string(),
                delete: true,
                doc_language: settings.doc_language.map(ToOwned::to_owned),
            },
            resource_names,
            version,
            stage_name,
            comment: settings.release_comment.clone(),
        })
    }

    /// The apps that get any grant.
    pub(crate) fn granted_apps(&self) -> Vec<String> {
        let apps = self.grants.iter().filter_map(|grant| grant.get("target_app_code")?.as_str());
        apps.map(ToOwned::to_owned).collect()
    }
}

impl Grants {
    /// One grant for each app.
    fn each(self) -> impl Iterator<Item = Value> {
        let Self { target_app_codes, how } = self;
        target_app_codes.into_iter().map(move |app| {
            let mut grant = Map::from_iter([("target_app_code".to_owned(), Value::String(app))]);
            grant.extend(how.clone());
            Value::Object(grant)
        })
    }
}

/// The names that `${...}` in the files can refer to, and their values.
fn names(settings: &SyncSettings) -> Map<String, Value> {
    // The gateway replaces the variable with the stage's value.
    let backend = if settings.backend.sub_path.is_empty() { "" } else { "/{env.api_sub_path}" };
    let names = [
        ("app_code", json!(settings.connection.app_code)),
        ("environment", json!(settings.environment.name())),
        ("maintainers", json!(settings.maintainers)),
        ("is_public", json!(settings.is_public)),
        ("api_type", json!(if settings.is_official { 1 } else { 10 })),
        ("stage", json!(settings.stage)),
        ("timeout", json!(settings.timeout)),
        ("backend_host", json!(settings.backend.host)),
        ("sub_path", json!(settings.backend.sub_path)),
        ("backend", json!(backend)),
        ("granted_apps", json!(settings.granted_apps)),
    ];
    names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Parses the YAML first and fills in the names afterwards, so that no value can become syntax.
fn parsed<T: DeserializeOwned>(file: &File, names: &Map<String, Value>) -> Result<T, DefinitionError> {
    let invalid = |reason: String| Problem::Invalid(reason).in_file(file);
    let value: Value = serde_saphyr::from_str(&file.text).map_err(|error| invalid(error.to_string()))?;
    let value = filled_in(value, names).map_err(|problem| problem.in_file(file))?;
    serde_json::from_value(value).map_err(|error| invalid(error.to_string()))
}

fn filled_in(value: Value, names: &Map<String, Value>) -> Result<Value, Problem> {
    Ok(match value {
        Value::String(text) => text_filled_in(&text, names)?,
        Value::Array(values) => {
            values.into_iter().map(|value| filled_in(value, names)).collect::<Result<_, _>>()?
        }
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| Ok((key, filled_in(value, names)?)))
            .collect::<Result<_, Problem>>()?,
        other => other,
    })
}

fn text_filled_in(text: &str, names: &Map<String, Value>) -> Result<Value, Problem> {
    let value_of = |name: &str| {
        names.get(name).ok_or_else(|| {
            let known: Vec<&str> = names.keys().map(String::as_str).collect();
            Problem::UnknownName(name.to_owned(), known.join(", "))
        })
    };
    let mut pieces = text.split("${");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once('}').unwrap_or((piece, ""));
        let value = value_of(name)?;
        if text.len() == name.len() + "${}".len() {
            return Ok(value.clone());
        }
        match value {
            Value::String(value) => filled.push_str(value),
            Value::Array(_) => return Err(Problem::ListInText(name.to_owned())),
            other => filled.push_str(&other.to_string()),
        }
        filled.push_str(rest);
    }
    Ok(Value::String(filled))
}

fn resource_names(resources: &Value) -> Result<Vec<String>, Problem> {
    let operations = resources
        .get("paths")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::values)
        .filter_map(Value::as_object)
        .flat_map(Map::values);
    let names: Option<Vec<String>> =
        operations.map(|operation| Some(operation.get("operationId")?.as_str()?.to_owned())).collect();
    names
        .filter(|names| !names.is_empty())
        .ok_or_else(|| Problem::Invalid("paths must have operations, each with an operationId".to_owned()))
}

/// The version's number: the configured version, the stage, and a hash of everything that the release depends on.
fn version(settings: &SyncSettings, stage_name: &str, stage: &Value, resources: &Value) -> String {
    let mut content = serde_json::json!([stage, resources, settings.doc_language]);
    // The order of keys has no meaning.
    content.sort_all_objects();
    let hash = hex(&Sha256::digest(content.to_string()));
    let base = &settings.release_version;
    let separator = if base.build.is_empty() { '+' } else { '.' };
    // Build metadata cannot contain underscores.
    let stage = stage_name.replace('_', "-");
    format!("{base}{separator}{stage}.{}", &hash[..HASH_DIGITS])
}

#[cfg(test)]
mod tests {
    use bk_plugin_service::settings::Reader;

    use super::*;

    fn settings(changes: &[(&str, &str)]) -> SyncSettings {
        let lookup = |name: &str| {
            let known = [
                ("BKPAAS_APP_ID", "demo"),
                ("BKPAAS_APP_SECRET", "hunter2"),
                ("BKPAAS_ENVIRONMENT", "prod"),
                ("BK_API_URL_TMPL", "http://bkapi.example.com/api/{api_name}"),
                ("BKPAAS_DEFAULT_PREALLOCATED_URLS", r#"{"prod": "http://demo.apps.example.com"}"#),
            ];
            let mut known = changes.iter().chain(&known);
            known.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        SyncSettings::read(&mut Reader::new(&lookup)).unwrap()
    }

    fn registration(changes: &[(&str, &str)]) -> Registration {
        Registration::new(&settings(changes), &Files::default()).unwrap()
    }

    fn backend_paths(registration: &Registration) -> Vec<String> {
        let resources: Value = serde_json::from_str(&registration.resources.content).unwrap();
        let operations = resources["paths"].as_object().unwrap().values();
        operations
            .flat_map(|path| path.as_object().unwrap().values())
            .map(|operation| {
                operation["x-bk-apigateway-resource"]["backend"]["path"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    #[test]
    fn what_the_gateway_is_told() {
        let mut registration = registration(&[("BK_SOPS_APP_CODE", "bk_sops")]);
        // The content is readable, and without the parts that change with every change of the files.
        let content: Value = serde_json::from_str(&registration.resources.content).unwrap();
        registration.resources.content = "(below)".to_owned();
        let hash = registration.version.rsplit('.').next().unwrap().to_owned();
        registration.version = registration.version.replace(&hash, "<hash>");
        insta::assert_json_snapshot!("registration", registration);
        insta::assert_json_snapshot!("resources", content);
    }

    #[test]
    fn a_path_in_front_of_the_plugin_is_a_variable_of_the_stage() {
        let urls = r#"{"prod": "http://apps.example.com/prod--demo/"}"#;
        let below = registration(&[("BKPAAS_DEFAULT_PREALLOCATED_URLS", urls)]);
        assert_eq!(below.stage["vars"]["api_sub_path"], "prod--demo");
        assert_eq!(below.stage["backends"][0]["config"]["hosts"][0]["host"], "http://apps.example.com");
        for (path, in_front) in backend_paths(&registration(&[])).iter().zip(backend_paths(&below)) {
            assert!(path.starts_with("/bk_plugin/"), "{path}");
            assert_eq!(in_front, format!("/{{env.api_sub_path}}{path}"));
        }
    }

    #[test]
    fn a_version_tells_contents_and_stages_apart_and_nothing_else() {
        let version = |changes: &[(&str, &str)]| registration(changes).version;
        let usual = version(&[]);
        assert!(usual.starts_with("1.0.0+prod.") && semver::Version::parse(&usual).is_ok(), "{usual}");
        // A setting that is not part of a version does not change its number.
        assert_eq!(version(&[("BK_APIGW_MAINTAINERS", "ann"), ("BK_APIGW_GRANTED_APPS", "bk_flow")]), usual);
        for change in [
            ("BK_APIGW_DEFAULT_TIMEOUT", "61"),
            ("BK_APIGW_STAGE_NAME", "test_1"),
            ("BK_APIGW_RELEASE_DOC_LANGUAGE", "en"),
            ("BK_APIGW_RELEASE_VERSION", "1.1.0"),
            ("BK_APIGW_RELEASE_VERSION", "1.0.0+build.7"),
        ] {
            let other = version(&[change]);
            assert!(other != usual && semver::Version::parse(&other).is_ok(), "{change:?} {other}");
        }
        let longest = version(&[
            ("BK_APIGW_RELEASE_VERSION", "1.0.0-alpha.20261124191100.00"),
            ("BK_APIGW_STAGE_NAME", "abcdefghijklmnopqrst"),
        ]);
        assert!(longest.len() <= 64, "{longest}");
    }

    #[test]
    fn no_value_becomes_syntax() {
        let name = "x\", \"is_public\": false\n- ${maintainers}";
        let settings = SyncSettings { maintainers: vec![name.to_owned()], ..settings(&[]) };
        let registration = Registration::new(&settings, &Files::default()).unwrap();
        assert_eq!(registration.gateway["maintainers"], serde_json::json!([name]));
        assert_eq!(registration.gateway["is_public"], true);
    }

    #[test]
    fn files_that_cannot_be_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["definition.yaml", "resources.yaml"].map(|name| folder.path().join(name));
        let said = |definition: &str, resources: &str| {
            std::fs::write(&paths[0], definition).unwrap();
            std::fs::write(&paths[1], resources).unwrap();
            let files = Files::read(Some(&paths[0]), Some(&paths[1])).unwrap();
            Registration::new(&settings(&[]), &files).unwrap_err().to_string()
        };
        let definition = "gateway: {}\nstage: {}\ngrant_permissions: []\n";
        for (definition, resources, words) in [
            ("gateway: [", "", "definition.yaml"),
            ("gateway: {}", "", "stage"),
            ("gateway: {}\nstage: {}\ngrant_permissions: []\nstages: []", "", "stages"),
            ("gateway: ${nothing}", "", "${nothing}"),
            ("gateway: by ${maintainers}", "", "${maintainers} is a list"),
            (definition, "paths: {}", "resources.yaml"),
            (definition, "paths:\n  /a:\n    get: {}", "operationId"),
        ] {
            let said = said(definition, resources);
            assert!(said.contains(words), "{words} in {said}");
        }
        let missing = folder.path().join("missing.yaml");
        let said = Files::read(Some(&missing), None).unwrap_err().to_string();
        assert!(said.contains("missing.yaml: cannot be read"), "{said}");
    }

    #[test]
    fn an_author_replaces_one_file_and_keeps_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ours.yaml");
        let definition = "gateway: {description: ours}\nstage: {name: \"${stage}\"}\ngrant_permissions: []\n";
        std::fs::write(&path, definition).unwrap();
        let ours = Registration::new(&settings(&[]), &Files::read(Some(&path), None).unwrap()).unwrap();
        assert_eq!((&ours.gateway["description"], ours.stage_name.as_str()), (&json!("ours"), "prod"));
        assert_eq!(ours.resource_names, registration(&[]).resource_names);
    }
}
