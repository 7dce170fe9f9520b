//! Settings from environment variables: read once at start; all mistakes are reported at once, each with its
//! variable.

mod callback_base;
mod engine;
mod environment;
mod reader;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_engine::Limits;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret as _, SecretString};
use tracing_subscriber::filter::Targets;

use crate::finish_callback_client::{Destination, Destinations};
use crate::protocol::{self, Admission, GatewayJwt, ProtocolSettings};
use crate::tls::Authorities;

pub use engine::EngineHost;
pub use environment::Environment;
pub use reader::{Reader, SettingError, SettingErrors, http_url};

/// The settings that the server and the Lambda functions share. `docs/configuration.md` has every variable.
#[derive(Debug, Clone)]
pub struct Settings {
    /// BKPAAS_APP_ID: the plugin's code.
    pub app_id: String,
    /// BKPAAS_APP_SECRET; required outside development.
    pub app_secret: Option<SecretString>,
    /// BKPAAS_ENVIRONMENT: dev (development), stag or prod.
    pub environment: Environment,
    /// BK_APIGW_NAME: the name of the plugin's own gateway, the `kid` of the JWTs that are accepted.
    pub gateway_name: String,
    /// BK_PLUGIN_AUTH, with what it needs: who may call `invoke`, `plugin_api_dispatch` and the author's routes.
    pub admission: Admission,
    /// BK_PLUGIN_CALLBACK_KEY: the operator's own keys for callback tokens; new tokens are made with the first.
    pub callback_keys: Vec<SecretString>,
    /// BK_PLUGIN_CALLBACK_DAYS: how long a callback URL is accepted.
    pub callback_lifetime: Duration,
    /// BK_PLUGIN_CALLBACK_HOST, BK_PLUGIN_PUBLIC_URL or BK_API_URL_TMPL: the beginning of callback URLs, without
    /// `/callback/`. Outside development it is always there, and an address that others can reach.
    pub callback_base: Option<String>,
    /// BK_PLUGIN_FINISH_CALLBACK_HOSTS: where finish callbacks may go. This machine is forbidden unless it is
    /// listed.
    pub destinations: Destinations,
    /// BK_PLUGIN_CA_FILE: the certificate authorities that are trusted besides the machine's own.
    pub authorities: Authorities,
    /// The engine's time limits and numbers.
    pub limits: Limits,
    /// BK_PLUGIN_HELD_THREADS: how many threads author code may hold without awaiting before this process runs no more
    /// of it.
    pub held_threads: usize,
    /// BK_PLUGIN_BODY_LIMIT: bytes a request body may have.
    pub body_limit: usize,
    /// BK_PLUGIN_FILE_LIMIT: bytes that the files of a request may have together.
    pub file_limit: usize,
    /// TZ: the time zone in which `schedule` shows times.
    pub time_zone: TimeZone,
}

const DAY: Duration = Duration::from_hours(24);

impl Settings {
    /// Reads the settings from `reader`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let environment = Environment::read(reader);
        let app_id = app_id(reader, environment);
        let gateway_name = gateway_name(reader, &app_id);
        Self {
            app_secret: required_outside_development(
                reader,
                environment,
                "BKPAAS_APP_SECRET",
                "callback tokens are made with it",
            )
            .map(SecretString::from),
            admission: admission(reader, environment, &gateway_name),
            app_id,
            callback_keys: reader
                .list("BK_PLUGIN_CALLBACK_KEY")
                .into_iter()
                .map(SecretString::from)
                .collect(),
            callback_lifetime: DAY * reader.number("BK_PLUGIN_CALLBACK_DAYS", 90, 1..=3650),
            callback_base: callback_base::callback_base(reader, environment, &gateway_name),
            environment,
            gateway_name,
            destinations: destinations(reader),
            authorities: authorities(reader),
            limits: limits(reader),
            held_threads: reader.number("BK_PLUGIN_HELD_THREADS", 32, 1..=1000),
            body_limit: body_limit(reader),
            file_limit: reader.number(
                "BK_PLUGIN_FILE_LIMIT",
                ProtocolSettings::FILE_LIMIT,
                0..=1024 * 1024 * 1024,
            ),
            time_zone: time_zone(reader),
        }
    }

    /// The settings of the routes.
    pub fn protocol(&self) -> ProtocolSettings {
        ProtocolSettings {
            admission: self.admission.clone(),
            body_limit: self.body_limit,
            file_limit: self.file_limit,
            request_timeout: self.limits.lease(),
            ..ProtocolSettings::new(&self.app_id, self.time_zone.clone())
        }
    }

    /// The settings of `meta`, `detail` and the documents, for a process that serves only these: no secret is needed.
    pub fn read_public(reader: &mut Reader<'_>) -> ProtocolSettings {
        let environment = Environment::read(reader);
        let asks_nobody = reader.text("BK_PLUGIN_AUTH").is_none_or(|auth| auth == "none");
        let development = environment.is_development() && asks_nobody;
        ProtocolSettings {
            admission: if development { Admission::Development } else { Admission::Anyone },
            body_limit: body_limit(reader),
            ..ProtocolSettings::new(app_id(reader, environment), time_zone(reader))
        }
    }
}

/// BK_PLUGIN_LOG: which log lines are written.
pub fn log(reader: &mut Reader<'_>) -> Targets {
    let text = reader.text("BK_PLUGIN_LOG").unwrap_or_else(|| "info".to_owned());
    text.parse().unwrap_or_else(|error| {
        reader.wrong("BK_PLUGIN_LOG", format!("{text:?} is not a level or a list target=level: {error}"));
        Targets::new()
    })
}

fn app_id(reader: &mut Reader<'_>, environment: Environment) -> String {
    required_outside_development(reader, environment, "BKPAAS_APP_ID", "it is the plugin's code")
        .unwrap_or_else(|| "bk-plugin-demo".to_owned())
}

/// The text of a variable that is optional only in development; `why` ends the message that it is required.
fn required_outside_development(
    reader: &mut Reader<'_>,
    environment: Environment,
    name: &'static str,
    why: &str,
) -> Option<String> {
    let text = reader.text(name);
    if text.is_none() && !environment.is_development() {
        reader.wrong(name, format!("is required outside development: {why}"));
    }
    text
}

fn body_limit(reader: &mut Reader<'_>) -> usize {
    reader.number("BK_PLUGIN_BODY_LIMIT", ProtocolSettings::BODY_LIMIT, 1024..=1024 * 1024 * 1024)
}

/// BK_APIGW_NAME, BKPAAS_BK_PLUGIN_APIGW_NAME, or the name that the platform gives to a plugin's gateway by default.
pub fn gateway_name(reader: &Reader<'_>, app_id: &str) -> String {
    let named = reader.first(&["BK_APIGW_NAME", "BKPAAS_BK_PLUGIN_APIGW_NAME"]);
    named.map_or_else(|| format!("bp-{app_id}"), |(_, name)| name)
}

/// The address of a gateway: the platform's template with the gateway's name in it.
pub fn gateway_url(template: &str, gateway_name: &str) -> String {
    template.replace("{api_name}", gateway_name).replace("{gateway_name}", gateway_name)
}

/// The values of BK_PLUGIN_AUTH.
#[derive(Clone, Copy)]
enum Auth {
    Gateway,
    ApiKey,
    Iam,
    None,
}

fn admission(reader: &mut Reader<'_>, environment: Environment, gateway_name: &str) -> Admission {
    let default = if environment.is_development() { Auth::None } else { Auth::Gateway };
    let choices =
        [("gateway", Auth::Gateway), ("api_key", Auth::ApiKey), ("iam", Auth::Iam), ("none", Auth::None)];
    match reader.one_of("BK_PLUGIN_AUTH", default, &choices) {
        Auth::Gateway => Admission::Gateway(gateway(reader, gateway_name)),
        Auth::ApiKey => match reader.secret("BK_PLUGIN_API_KEY") {
            Some(key) if key.expose_secret().len() >= SHORTEST_API_KEY => Admission::ApiKey(key),
            _ => {
                let problem = "must have at least 16 characters where BK_PLUGIN_AUTH is api_key";
                reader.wrong("BK_PLUGIN_API_KEY", problem);
                Admission::Gateway(None)
            }
        },
        Auth::None if environment.is_development() => Admission::Development,
        // With iam, AWS has verified callers before they reach the routes.
        Auth::Iam | Auth::None => Admission::Anyone,
    }
}

const SHORTEST_API_KEY: usize = 16;

/// The gateway whose JWTs are accepted, if its public key is known.
fn gateway(reader: &mut Reader<'_>, name: &str) -> Option<Arc<GatewayJwt>> {
    const KEY: &str = "BK_APIGW_PUBLIC_KEY";
    const FILE: &str = "BK_APIGW_PUBLIC_KEY_FILE";
    let (gateway, variable) = match (reader.text(KEY), reader.text(FILE)) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            reader.wrong(FILE, format!("is set, and so is {KEY}; the key comes from one of them"));
            return None;
        }
        (Some(key), None) => (GatewayJwt::with_key(name, &key).map_err(|error| error.to_string()), KEY),
        (None, Some(path)) => {
            let gateway = GatewayJwt::with_file(name, Path::new(&path));
            (gateway.map_err(|error| format!("{path:?} {error}")), FILE)
        }
    };
    gateway.map(Arc::new).map_err(|problem| reader.wrong(variable, problem)).ok()
}

fn destinations(reader: &mut Reader<'_>) -> Destinations {
    const NAME: &str = "BK_PLUGIN_FINISH_CALLBACK_HOSTS";
    let anywhere = Destinations::anywhere();
    if reader.text(NAME).is_none() {
        return anywhere;
    }
    let mut listed: Vec<Destination> = Vec::new();
    for text in reader.list(NAME) {
        match text.parse() {
            Ok(destination) => listed.push(destination),
            Err(invalid) => reader.wrong(NAME, invalid.to_string()),
        }
    }
    anywhere.only(listed)
}

/// BK_PLUGIN_CA_FILE: the certificate authorities that are trusted besides the machine's own.
pub fn authorities(reader: &mut Reader<'_>) -> Authorities {
    match reader.text("BK_PLUGIN_CA_FILE").map(Authorities::read).transpose() {
        Ok(read) => read.unwrap_or_default(),
        Err(error) => {
            reader.wrong("BK_PLUGIN_CA_FILE", error.to_string());
            Authorities::default()
        }
    }
}

fn limits(reader: &mut Reader<'_>) -> Limits {
    // The reference's code spells the name one way, its README the other.
    const DAYS: [&str; 2] = ["SCHEDULE_PERSISTENT_DAYS", "SCHEDULE_PERSISITEN_DAYS"];
    let days = reader.first(&DAYS).map_or(DAYS[0], |(name, _)| name);
    let days = reader.number(days, 30, 1..=3650);
    Limits {
        step_time_limit: Duration::from_secs(reader.number("BK_PLUGIN_STEP_TIME_LIMIT", 60, 1..=43_000)),
        max_receive_count: reader.number("BK_PLUGIN_MAX_RECEIVE_COUNT", 5, 1..=1000),
        finish_callback_attempts: reader.number("BK_PLUGIN_FINISH_CALLBACK_ATTEMPTS", 12, 1..=1000),
        keep_finished: DAY * days,
        ..Limits::default()
    }
}

fn time_zone(reader: &mut Reader<'_>) -> TimeZone {
    protocol::time_zone(reader.text("TZ").as_deref()).unwrap_or_else(|unknown| {
        reader.wrong(
            "TZ",
            format!("{:?} is not a valid time zone; write one such as Asia/Shanghai or UTC", unknown.name),
        );
        TimeZone::UTC
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingErrors> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut reader = Reader::new(&lookup);
        let settings = Settings::read(&mut reader);
        reader.finish(settings)
    }

    #[test]
    fn nothing_is_needed_in_development() {
        let settings = read(&[]).unwrap();
        assert!(settings.environment.is_development() && settings.app_secret.is_none());
        assert_eq!(settings.limits.keep_finished, 30 * DAY);
    }

    #[test]
    fn everything_wrong_is_named() {
        let said = read(&[
            ("BKPAAS_ENVIRONMENT", "prod"),
            ("SCHEDULE_PERSISTENT_DAYS", "many"),
            ("TZ", "Mars/Olympus"),
            ("BK_PLUGIN_PUBLIC_URL", "plugin.example.com"),
            ("BK_PLUGIN_FINISH_CALLBACK_HOSTS", "sops.example.com, https://sops"),
            ("BK_PLUGIN_CA_FILE", "no/such/file.pem"),
        ])
        .unwrap_err()
        .to_string();
        for name in [
            "BKPAAS_APP_SECRET",
            "BKPAAS_APP_ID",
            "SCHEDULE_PERSISTENT_DAYS",
            "TZ",
            "BK_PLUGIN_PUBLIC_URL",
            "BK_PLUGIN_FINISH_CALLBACK_HOSTS: \"https://sops\"",
            "BK_PLUGIN_CA_FILE: no/such/file.pem",
        ] {
            assert!(said.contains(name), "{name} in {said}");
        }
    }

    pub(super) const PROD: [(&str, &str); 3] =
        [("BKPAAS_ENVIRONMENT", "prod"), ("BKPAAS_APP_ID", "a"), ("BKPAAS_APP_SECRET", "s")];

    const PUBLIC: (&str, &str) = ("BK_PLUGIN_PUBLIC_URL", "https://plugin.example.com");

    #[test]
    fn who_may_call() {
        use local_apigw::PUBLIC_KEY;
        const LONG: &str = "0123456789abcdef";
        let admission = |variables: &[(&str, &str)]| read(variables).map(|settings| settings.admission);
        let said = |variables: &[(&str, &str)]| admission(variables).unwrap_err().to_string();
        let prod = |name, value| [PROD[0], PROD[1], PROD[2], PUBLIC, (name, value)];
        assert!(matches!(admission(&[]), Ok(Admission::Development)));
        assert!(matches!(admission(&prod("TZ", "UTC")), Ok(Admission::Gateway(None))));
        assert!(matches!(
            admission(&prod("BK_APIGW_PUBLIC_KEY", PUBLIC_KEY)),
            Ok(Admission::Gateway(Some(_)))
        ));
        assert!(matches!(admission(&prod("BK_PLUGIN_AUTH", "none")), Ok(Admission::Anyone)));
        assert!(matches!(admission(&[("BK_PLUGIN_AUTH", "iam")]), Ok(Admission::Anyone)));
        let key = [("BK_PLUGIN_AUTH", "api_key"), ("BK_PLUGIN_API_KEY", LONG)];
        assert!(matches!(admission(&key), Ok(Admission::ApiKey(_))));
        assert!(said(&key[..1]).contains("BK_PLUGIN_API_KEY"));
        assert!(said(&[("BK_PLUGIN_AUTH", "all")]).contains("BK_PLUGIN_AUTH"));
        assert!(said(&prod("BK_APIGW_PUBLIC_KEY", "x")).contains("BK_APIGW_PUBLIC_KEY"));
        let file = &format!("{}gateway_test_key.pub.pem", local_apigw::DATA);
        let from_file = prod("BK_APIGW_PUBLIC_KEY_FILE", file);
        assert!(matches!(admission(&from_file), Ok(Admission::Gateway(Some(_)))));
        assert!(said(&prod("BK_APIGW_PUBLIC_KEY_FILE", "/nowhere")).contains("\"/nowhere\" cannot be read"));
        let mut both = from_file.to_vec();
        both.push(("BK_APIGW_PUBLIC_KEY", PUBLIC_KEY));
        assert!(said(&both).contains("comes from one of them"));
    }

    #[test]
    fn the_gateway_is_named_as_the_platform_does() {
        let name = |variables: &[(&str, &str)]| read(variables).unwrap().gateway_name;
        let (app, platform, own) =
            (("BKPAAS_APP_ID", "demo"), ("BKPAAS_BK_PLUGIN_APIGW_NAME", "bp-x"), ("BK_APIGW_NAME", "mine"));
        assert_eq!(name(&[app]), "bp-demo");
        assert_eq!(name(&[app, platform]), "bp-x");
        assert_eq!(name(&[app, platform, own]), "mine");
    }

    #[test]
    fn a_secret_does_not_print() {
        let settings =
            read(&[("BKPAAS_APP_SECRET", "hunter2"), ("BK_PLUGIN_CALLBACK_KEY", "k1,k2")]).unwrap();
        let printed = format!("{settings:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("k1"), "{printed}");
        assert_eq!(settings.callback_keys.len(), 2);
    }
}
