//! The settings of a sync, with the reference's names and defaults.

use std::collections::HashMap;

use bk_plugin_service::settings::{self, Environment, Reader, http_url};
use bk_plugin_service::tls::Authorities;
use secrecy::SecretString;
use semver::Version;

/// Where the gateway's API is, the name of the gateway, and the app that calls.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The beginning of the API's URLs, to which all paths of `bk-apigateway` are appended.
    pub endpoint: String,
    /// BK_APIGW_NAME, BKPAAS_BK_PLUGIN_APIGW_NAME or `bp-<app code>`.
    pub gateway: String,
    /// BKPAAS_APP_ID.
    pub app_code: String,
    /// BKPAAS_APP_SECRET.
    pub app_secret: SecretString,
    /// BKPAAS_APP_TENANT_ID, BK_APP_TENANT_ID or `system`, which stands for all tenants.
    pub tenant: String,
    /// BK_PLUGIN_CA_FILE: the certificate authorities that are trusted besides the machine's own.
    pub authorities: Authorities,
}

impl Connection {
    /// Reads the connection; `None` if no variable says where the API is.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let endpoint = endpoint(reader)?;
        let app_code = reader.required("BKPAAS_APP_ID", "it is the plugin's code");
        let app_secret = reader.required("BKPAAS_APP_SECRET", "the gateway is asked with it");
        Some(Self {
            endpoint,
            gateway: gateway(reader, &app_code),
            app_code,
            app_secret: app_secret.into(),
            authorities: settings::authorities(reader),
            tenant: reader
                .first(&["BKPAAS_APP_TENANT_ID", "BK_APP_TENANT_ID"])
                .map_or_else(|| "system".to_owned(), |(_, tenant)| tenant),
        })
    }

    /// Reads the connection, and notes a mistake if no variable says where the API is.
    pub fn required(reader: &mut Reader<'_>) -> Option<Self> {
        let connection = Self::read(reader);
        if connection.is_none() {
            let problem =
                "is required: the address of gateways, with {api_name} where the gateway's name belongs";
            reader.wrong("BK_API_URL_TMPL", problem);
        }
        connection
    }
}

/// All settings of `apigw sync`.
#[derive(Debug, Clone)]
pub struct SyncSettings {
    /// The API, the gateway and the app that calls.
    pub connection: Connection,
    /// BKPAAS_ENVIRONMENT.
    pub environment: Environment,
    /// BK_APIGW_STAGE_NAME: the gateway's stage that belongs to the environment.
    pub stage: String,
    /// From BKPAAS_DEFAULT_PREALLOCATED_URLS: the address at which the gateway reaches the plugin.
    pub backend: Backend,
    /// BK_APIGW_MAINTAINERS.
    pub maintainers: Vec<String>,
    /// BK_APIGW_IS_PUBLIC: whether others see the gateway and may apply for permissions.
    pub is_public: bool,
    /// BK_APIGW_IS_OFFICIAL.
    pub is_official: bool,
    /// BK_APIGW_DEFAULT_TIMEOUT: seconds for which the gateway waits for the plugin.
    pub timeout: u32,
    /// The app itself, BK_SOPS_APP_CODE and BK_APIGW_GRANTED_APPS.
    pub granted_apps: Vec<String>,
    /// BK_APIGW_RELEASE_VERSION: the beginning of version numbers.
    pub release_version: Version,
    /// BK_APIGW_RELEASE_COMMENT.
    pub release_comment: String,
    /// BK_APIGW_RELEASE_DOC_LANGUAGE: the language in which the gateway documents the resources.
    pub doc_language: Option<&'static str>,
}

/// The address at which the gateway reaches the plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// Scheme, host and port.
    pub host: String,
    /// The path below which the plugin is served, without slashes around it; usually empty.
    pub sub_path: String,
}

const TEMPLATES: [&str; 3] = ["BK_APIGW_MANAGER_URL_TMPL", "BK_APIGW_MANAGER_URL_TEMPL", "BK_API_URL_TMPL"];
const PREALLOCATED_URLS: &str = "BKPAAS_DEFAULT_PREALLOCATED_URLS";

impl SyncSettings {
    /// Reads the settings from `reader`; `None` if the connection is missing, which the reader has noted.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let environment = Environment::read(reader);
        let stage = stage(reader, environment);
        let backend = backend(reader, environment);
        let connection = Connection::required(reader);
        let maintainers = reader.list("BK_APIGW_MAINTAINERS");
        let is_public = reader.flag("BK_APIGW_IS_PUBLIC", true);
        let timeout = reader.number("BK_APIGW_DEFAULT_TIMEOUT", 60, 1..=600);
        let release_version = release_version(reader);
        let doc_language =
            reader.one_of("BK_APIGW_RELEASE_DOC_LANGUAGE", None, &[("zh", Some("zh")), ("en", Some("en"))]);
        let connection = connection?;
        Some(Self {
            is_official: is_official(reader, &connection.gateway),
            granted_apps: granted_apps(reader, &connection.app_code),
            release_comment: reader
                .text("BK_APIGW_RELEASE_COMMENT")
                .unwrap_or_else(|| format!("auto release by bk-plugin-framework-rust (stage={stage})")),
            maintainers: if maintainers.is_empty() { vec!["admin".to_owned()] } else { maintainers },
            connection,
            environment,
            stage,
            backend,
            is_public,
            timeout,
            release_version,
            doc_language,
        })
    }
}

/// The URL of the API `bk-apigateway`, at its stage `prod`.
fn endpoint(reader: &mut Reader<'_>) -> Option<String> {
    let (name, template) = reader.first(&TEMPLATES)?;
    let url = settings::gateway_url(&template, "bk-apigateway");
    if url == template || http_url(&url).is_none() {
        let example = "http://bkapi.example.com/api/{api_name}";
        reader.wrong(name, format!("{template:?} is not a URL with {{api_name}} in it, such as {example}"));
    }
    Some(format!("{}/prod", url.trim_end_matches('/')))
}

fn gateway(reader: &mut Reader<'_>, app_code: &str) -> String {
    let name = settings::gateway_name(reader, app_code);
    // The name becomes a part of paths.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        reader
            .wrong("BK_APIGW_NAME", format!("{name:?} is not a gateway's name: letters, digits and - only"));
    }
    name
}

fn stage(reader: &mut Reader<'_>, environment: Environment) -> String {
    let name = environment.stage(reader);
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !fits || name.len() > 20 {
        let problem = format!("{name:?} is not a stage's name: at most 20 letters, digits, - and _");
        reader.wrong("BK_APIGW_STAGE_NAME", problem);
    }
    name
}

fn backend(reader: &mut Reader<'_>, environment: Environment) -> Backend {
    let text =
        reader.required(PREALLOCATED_URLS, "the plugin's address in each environment, set by the platform");
    let backend = if text.is_empty() { Ok(Backend::default()) } else { backend_of(&text, environment) };
    backend.unwrap_or_else(|problem| {
        reader.wrong(PREALLOCATED_URLS, problem);
        Backend::default()
    })
}

fn backend_of(text: &str, environment: Environment) -> Result<Backend, String> {
    let example = r#"{"stag": "http://...", "prod": "http://..."}"#;
    let urls: HashMap<String, String> =
        serde_json::from_str(text).map_err(|_| format!("is not a JSON object such as {example}"))?;
    let environment = environment.name();
    let url = urls.get(environment).ok_or_else(|| {
        format!("has no address for {environment:?}, which BKPAAS_ENVIRONMENT names; it is {example}")
    })?;
    let parsed = http_url(url).ok_or_else(|| format!("{url:?} is not an http or https URL"))?;
    Ok(Backend {
        host: parsed.origin().ascii_serialization(),
        sub_path: parsed.path().trim_matches('/').to_owned(),
    })
}

fn is_official(reader: &mut Reader<'_>, gateway: &str) -> bool {
    // The reference uses the gateway's numeric codes: 1 is official, 10 is not.
    let is_ten = reader.text("BK_APIGW_IS_OFFICIAL").as_deref() == Some("10");
    let official = !is_ten && reader.flag("BK_APIGW_IS_OFFICIAL", false);
    if official && !gateway.starts_with("bk-") {
        let problem = format!("is true, but the gateway is called {gateway:?}: official ones begin with bk-");
        reader.wrong("BK_APIGW_IS_OFFICIAL", problem);
    }
    official
}

fn granted_apps(reader: &Reader<'_>, app_code: &str) -> Vec<String> {
    let mut apps = vec![app_code.to_owned()];
    for app in reader.text("BK_SOPS_APP_CODE").into_iter().chain(reader.list("BK_APIGW_GRANTED_APPS")) {
        if !apps.contains(&app) {
            apps.push(app);
        }
    }
    apps
}

fn release_version(reader: &mut Reader<'_>) -> Version {
    const NAME: &str = "BK_APIGW_RELEASE_VERSION";
    let text = reader.text(NAME).unwrap_or_else(|| "1.0.0".to_owned());
    // The gateway's version numbers have at most 64 characters, and stage and hash are still appended.
    match Version::parse(&text) {
        Ok(version) if text.len() <= 29 => version,
        _ => {
            let problem =
                format!("{text:?} is not a semantic version such as 1.0.0 with at most 29 characters");
            reader.wrong(NAME, problem);
            Version::new(1, 0, 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use bk_plugin_service::settings::SettingErrors;
    use secrecy::ExposeSecret as _;

    use super::*;

    const PAAS: [(&str, &str); 5] = [
        ("BKPAAS_APP_ID", "demo"),
        ("BKPAAS_APP_SECRET", "hunter2"),
        ("BKPAAS_ENVIRONMENT", "prod"),
        ("BK_API_URL_TMPL", "http://bkapi.example.com/api/{api_name}/"),
        (
            PREALLOCATED_URLS,
            r#"{"stag": "http://x/stag--demo/", "prod": "https://apps.example.com/prod--demo/"}"#,
        ),
    ];

    fn read(changes: &[(&str, &str)]) -> Result<SyncSettings, SettingErrors> {
        let lookup = |name: &str| {
            let mut known = changes.iter().chain(&PAAS);
            known.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut reader = Reader::new(&lookup);
        let settings = SyncSettings::read(&mut reader);
        reader.finish(settings).map(|settings| settings.unwrap())
    }

    #[test]
    fn what_the_platform_sets_is_enough() {
        let settings = read(&[]).unwrap();
        let connection = &settings.connection;
        assert_eq!(connection.endpoint, "http://bkapi.example.com/api/bk-apigateway/prod");
        assert_eq!((connection.gateway.as_str(), connection.tenant.as_str()), ("bp-demo", "system"));
        assert_eq!(connection.app_secret.expose_secret(), "hunter2");
        let backend =
            Backend { host: "https://apps.example.com".to_owned(), sub_path: "prod--demo".to_owned() };
        assert_eq!((settings.stage.as_str(), settings.backend), ("prod", backend));
        assert_eq!(
            (settings.maintainers, settings.granted_apps),
            (vec!["admin".to_owned()], vec!["demo".to_owned()])
        );
        assert_eq!((settings.is_public, settings.is_official, settings.timeout), (true, false, 60));
        assert_eq!(settings.release_version.to_string(), "1.0.0");
    }

    #[test]
    fn each_setting_has_its_place() {
        let settings = read(&[
            ("BK_APIGW_MANAGER_URL_TEMPL", "http://second/{gateway_name}"),
            ("BK_APIGW_MANAGER_URL_TMPL", "http://first/{gateway_name}"),
            ("BKPAAS_BK_PLUGIN_APIGW_NAME", "bk-other"),
            ("BKPAAS_APP_TENANT_ID", "blue"),
            ("BKPAAS_ENVIRONMENT", "stag"),
            ("BK_APIGW_MAINTAINERS", "ann, bob,"),
            ("BK_APIGW_IS_PUBLIC", "False"),
            ("BK_APIGW_IS_OFFICIAL", "1"),
            ("BK_SOPS_APP_CODE", "bk_sops"),
            ("BK_APIGW_GRANTED_APPS", "bk_flow, demo ,bk_sops"),
        ])
        .unwrap();
        assert_eq!(settings.connection.endpoint, "http://first/bk-apigateway/prod");
        assert_eq!(
            (settings.connection.gateway.as_str(), settings.connection.tenant.as_str()),
            ("bk-other", "blue")
        );
        assert_eq!((settings.stage.as_str(), settings.backend.host.as_str()), ("stag", "http://x"));
        assert_eq!((settings.is_public, settings.is_official), (false, true));
        assert_eq!(settings.maintainers, ["ann", "bob"]);
        assert_eq!(settings.granted_apps, ["demo", "bk_sops", "bk_flow"]);
        assert_eq!(read(&[("BK_APIGW_NAME", "mine")]).unwrap().connection.gateway, "mine");
    }

    #[test]
    fn everything_wrong_is_named_and_no_secret_is() {
        let said = read(&[
            ("BKPAAS_APP_ID", ""),
            ("BK_API_URL_TMPL", "bkapi.example.com"),
            ("BK_APIGW_NAME", "../x"),
            ("BK_APIGW_STAGE_NAME", "a stage"),
            ("BK_APIGW_IS_PUBLIC", "maybe"),
            ("BK_APIGW_IS_OFFICIAL", "true"),
            ("BK_APIGW_DEFAULT_TIMEOUT", "0"),
            ("BK_APIGW_RELEASE_VERSION", "v1"),
            ("BK_APIGW_RELEASE_DOC_LANGUAGE", "fr"),
            (PREALLOCATED_URLS, r#"{"stag": "http://x"}"#),
        ])
        .unwrap_err();
        let names: Vec<&str> = said.0.iter().map(|error| error.name).collect();
        for name in [
            "BKPAAS_APP_ID",
            "BK_API_URL_TMPL",
            "BK_APIGW_NAME",
            "BK_APIGW_STAGE_NAME",
            "BK_APIGW_IS_PUBLIC",
            "BK_APIGW_IS_OFFICIAL",
            "BK_APIGW_DEFAULT_TIMEOUT",
            "BK_APIGW_RELEASE_VERSION",
            "BK_APIGW_RELEASE_DOC_LANGUAGE",
            PREALLOCATED_URLS,
        ] {
            assert!(names.contains(&name), "{name} in {said}");
        }
        assert!(!format!("{said} {:?}", read(&[]).unwrap()).contains("hunter2"));
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for urls in ["http://x", r#"{"prod": 1}"#, r#"{"prod": "apps.example.com"}"#, r#"{"prod": ""}"#] {
            let said = read(&[(PREALLOCATED_URLS, urls)]).unwrap_err().to_string();
            assert!(said.starts_with(PREALLOCATED_URLS), "{said}");
        }
    }
}
