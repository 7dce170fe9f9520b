//! Settings from environment variables: read once at start, all that is wrong said at once by name.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_engine::Limits;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret as _, SecretString};
use tracing_subscriber::filter::Targets;

use crate::finish_callback_client::{Destination, Destinations};
use crate::protocol::{self, Admission, GatewayJwt, ProtocolSettings};
use crate::tls::Authorities;

/// One variable with a value that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct SettingError {
    /// The variable.
    pub name: &'static str,
    /// What is wrong with its value and what it may be. Never the value of a secret.
    pub problem: String,
}

/// Every variable with a value that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SettingErrors(pub Vec<SettingError>);

/// Reads variables and collects what is wrong with them.
pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<SettingError>,
}

impl<'a> Reader<'a> {
    /// A reader of the variables that `lookup` knows. An empty value counts as none.
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

    /// Notes that a variable is wrong.
    pub fn wrong(&mut self, name: &'static str, problem: impl Into<String>) {
        self.errors.push(SettingError { name, problem: problem.into() });
    }

    /// The settings that were read, unless something is wrong.
    pub fn finish<T>(self, settings: T) -> Result<T, SettingErrors> {
        if self.errors.is_empty() { Ok(settings) } else { Err(SettingErrors(self.errors)) }
    }
}

/// What a server and Lambda functions are told alike. `docs/configuration.md` has every variable.
#[derive(Debug, Clone)]
pub struct Settings {
    /// BKPAAS_APP_ID: the plugin's code.
    pub app_id: String,
    /// BKPAAS_APP_SECRET; required outside development.
    pub app_secret: Option<SecretString>,
    /// Whether BKPAAS_ENVIRONMENT is `dev`.
    pub development: bool,
    /// BKPAAS_ENVIRONMENT: dev, stag or prod.
    pub environment: String,
    /// BK_APIGW_NAME: the name of the plugin's own gateway, the `kid` of the JWTs that are accepted.
    pub gateway_name: String,
    /// BK_PLUGIN_AUTH, with what it needs: who may call `invoke`, `plugin_api_dispatch` and the author's routes.
    pub admission: Admission,
    /// BK_PLUGIN_CALLBACK_KEY: keys of the operator's own for callback tokens; the first mints.
    pub callback_keys: Vec<SecretString>,
    /// BK_PLUGIN_CALLBACK_DAYS: how long a callback URL is accepted.
    pub callback_lifetime: Duration,
    /// BK_PLUGIN_CALLBACK_HOST, BK_PLUGIN_PUBLIC_URL or BK_API_URL_TMPL: what callback URLs begin with, `/callback/`
    /// excluded. Always there outside development, and an address that others can reach.
    pub callback_base: Option<String>,
    /// BK_PLUGIN_FINISH_CALLBACK_HOSTS: where finish callbacks may go. Not to this machine, unless it is listed.
    pub destinations: Destinations,
    /// BK_PLUGIN_CA_FILE: whose certificates are trusted besides the machine's own.
    pub authorities: Authorities,
    /// The engine's times and numbers.
    pub limits: Limits,
    /// BK_PLUGIN_BODY_LIMIT: bytes a request body may have.
    pub body_limit: usize,
    /// TZ: the zone of the times that `schedule` shows.
    pub time_zone: TimeZone,
}

const DAY: Duration = Duration::from_hours(24);

impl Settings {
    /// Reads what `reader` knows.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let environment = environment(reader);
        let development = environment == "dev";
        let app_id = app_id(reader, development);
        let gateway_name = gateway_name(reader, &app_id);
        let app_secret = reader.secret("BKPAAS_APP_SECRET");
        if app_secret.is_none() && !development {
            reader.wrong(
                "BKPAAS_APP_SECRET",
                "is required outside development: callback tokens are made with it",
            );
        }
        Self {
            admission: admission(reader, development, &gateway_name),
            app_id,
            app_secret,
            development,
            callback_keys: reader
                .text("BK_PLUGIN_CALLBACK_KEY")
                .iter()
                .flat_map(|keys| keys.split(','))
                .map(|key| SecretString::from(key.trim()))
                .collect(),
            callback_lifetime: DAY * reader.number("BK_PLUGIN_CALLBACK_DAYS", 90, 1..=3650),
            callback_base: callback_base(reader, &environment, &gateway_name),
            environment,
            gateway_name,
            destinations: destinations(reader),
            authorities: authorities(reader),
            limits: limits(reader),
            body_limit: body_limit(reader),
            time_zone: time_zone(reader),
        }
    }

    /// The settings of the routes.
    pub fn protocol(&self) -> ProtocolSettings {
        ProtocolSettings {
            admission: self.admission.clone(),
            body_limit: self.body_limit,
            request_timeout: self.limits.lease(),
            ..ProtocolSettings::new(&self.app_id, self.time_zone.clone())
        }
    }

    /// The settings of the routes that are for everybody, for whoever serves only these: no secret is needed.
    pub fn read_public(reader: &mut Reader<'_>) -> ProtocolSettings {
        let development = environment(reader) == "dev";
        let asks_nobody = reader.text("BK_PLUGIN_AUTH").is_none_or(|auth| auth == "none");
        ProtocolSettings {
            admission: if development && asks_nobody { Admission::Development } else { Admission::Anyone },
            body_limit: body_limit(reader),
            ..ProtocolSettings::new(app_id(reader, development), time_zone(reader))
        }
    }
}

/// BK_PLUGIN_LOG: what is logged.
pub fn log(reader: &mut Reader<'_>) -> Targets {
    let text = reader.text("BK_PLUGIN_LOG").unwrap_or_else(|| "info".to_owned());
    text.parse().unwrap_or_else(|error| {
        reader.wrong("BK_PLUGIN_LOG", format!("{text:?} is not a level or a list target=level: {error}"));
        Targets::new()
    })
}

/// BKPAAS_ENVIRONMENT: dev, stag or prod.
pub fn environment(reader: &mut Reader<'_>) -> String {
    let environment = reader.text("BKPAAS_ENVIRONMENT").unwrap_or_else(|| "dev".to_owned());
    if !["dev", "stag", "prod"].contains(&environment.as_str()) {
        reader.wrong("BKPAAS_ENVIRONMENT", format!("{environment:?} is not dev, stag or prod"));
    }
    environment
}

fn app_id(reader: &mut Reader<'_>, development: bool) -> String {
    let app_id = reader.text("BKPAAS_APP_ID");
    if app_id.is_none() && !development {
        reader.wrong("BKPAAS_APP_ID", "is required outside development: it is the plugin's code");
    }
    app_id.unwrap_or_else(|| "bk-plugin-demo".to_owned())
}

fn body_limit(reader: &mut Reader<'_>) -> usize {
    reader.number("BK_PLUGIN_BODY_LIMIT", ProtocolSettings::BODY_LIMIT, 1024..=1024 * 1024 * 1024)
}

/// BK_APIGW_NAME, BKPAAS_BK_PLUGIN_APIGW_NAME, or what the platform calls a plugin's gateway unless it says so.
pub fn gateway_name(reader: &Reader<'_>, app_id: &str) -> String {
    let named = reader.text("BK_APIGW_NAME").or_else(|| reader.text("BKPAAS_BK_PLUGIN_APIGW_NAME"));
    named.unwrap_or_else(|| format!("bp-{app_id}"))
}

fn admission(reader: &mut Reader<'_>, development: bool, gateway_name: &str) -> Admission {
    let by_default = if development { "none" } else { "gateway" };
    match reader.text("BK_PLUGIN_AUTH").as_deref().unwrap_or(by_default) {
        "gateway" => Admission::Gateway(gateway(reader, gateway_name)),
        "api_key" => match reader.secret("BK_PLUGIN_API_KEY") {
            Some(key) if key.expose_secret().len() >= SHORTEST_API_KEY => Admission::ApiKey(key),
            _ => {
                let problem = "must have at least 16 characters where BK_PLUGIN_AUTH is api_key";
                reader.wrong("BK_PLUGIN_API_KEY", problem);
                Admission::Gateway(None)
            }
        },
        "none" if development => Admission::Development,
        // With iam, callers were asked in front of the routes, by AWS.
        "none" | "iam" => Admission::Anyone,
        other => {
            reader.wrong("BK_PLUGIN_AUTH", format!("{other:?} is not gateway, api_key, iam or none"));
            Admission::Gateway(None)
        }
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
    let Some(text) = reader.text(NAME) else { return anywhere };
    let mut listed: Vec<Destination> = Vec::new();
    for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        match one.parse() {
            Ok(destination) => listed.push(destination),
            Err(invalid) => reader.wrong(NAME, invalid.to_string()),
        }
    }
    anywhere.only(listed)
}

/// BK_PLUGIN_CA_FILE: whose certificates are trusted besides the machine's own.
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
    // The reference's README writes the name in this way, its code in the other.
    let days = ["SCHEDULE_PERSISTENT_DAYS", "SCHEDULE_PERSISITEN_DAYS"]
        .into_iter()
        .find(|name| reader.text(name).is_some())
        .map_or(30, |name| reader.number(name, 30, 1..=3650));
    Limits {
        step_time_limit: Duration::from_secs(reader.number("BK_PLUGIN_STEP_TIME_LIMIT", 60, 1..=43_000)),
        max_receive_count: reader.number("BK_PLUGIN_MAX_RECEIVE_COUNT", 5, 1..=1000),
        finish_callback_attempts: reader.number("BK_PLUGIN_FINISH_CALLBACK_ATTEMPTS", 12, 1..=1000),
        keep_finished: DAY * days,
        ..Limits::default()
    }
}

/// Where callback URLs lead. Behind BlueKing's gateway callbacks come in through it: `<callback host>/<stage>`, the
/// callback host being the plugin's address at the gateway, which the platform tells (as in the reference). Elsewhere
/// they go straight to the plugin's public URL.
fn callback_base(reader: &mut Reader<'_>, environment: &str, gateway_name: &str) -> Option<String> {
    let base = named_callback_base(reader, environment, gateway_name);
    if environment == "dev" {
        return base.map(|(_, base)| base);
    }
    match &base {
        None => reader.wrong(
            "BK_PLUGIN_PUBLIC_URL",
            "is required outside development, so that callback URLs lead to the plugin: its address as third \
             parties see it, such as https://plugin.example.com (or set BK_PLUGIN_CALLBACK_HOST: its address at \
             BlueKing's gateway)",
        ),
        Some((name, base)) if leads_to_this_machine(base) => {
            reader.wrong(name, format!("{base:?} leads to this machine itself, where no third party can call"));
        }
        Some(_) => {}
    }
    base.map(|(_, base)| base)
}

fn named_callback_base(
    reader: &mut Reader<'_>,
    environment: &str,
    gateway_name: &str,
) -> Option<(&'static str, String)> {
    for name in ["BK_PLUGIN_CALLBACK_HOST", "BK_PLUGIN_PUBLIC_URL", "BK_API_URL_TMPL"] {
        let Some(url) = reader.text(name) else { continue };
        let url = url.replace("{api_name}", gateway_name).replace("{gateway_name}", gateway_name);
        match reqwest::Url::parse(&url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => {}
            _ => reader.wrong(name, format!("{url:?} is not an http or https URL")),
        }
        let url = url.trim_end_matches('/');
        let base = match name {
            "BK_PLUGIN_PUBLIC_URL" => format!("{url}/bk_plugin"),
            _ => format!("{url}/{}", stage(reader, environment)),
        };
        return Some((name, base));
    }
    None
}

/// BK_APIGW_STAGE_NAME: the stage of the plugin's gateway.
pub fn stage(reader: &Reader<'_>, environment: &str) -> String {
    let by_environment = || if environment == "stag" { "stag" } else { "prod" }.to_owned();
    reader.text("BK_APIGW_STAGE_NAME").unwrap_or_else(by_environment)
}

fn leads_to_this_machine(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    match url.host_str().unwrap_or_default().trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address.is_unspecified(),
        Err(_) => url.host_str().is_some_and(|host| host == "localhost" || host.ends_with(".localhost")),
    }
}

fn time_zone(reader: &mut Reader<'_>) -> TimeZone {
    protocol::time_zone(reader.text("TZ").as_deref()).unwrap_or_else(|unknown| {
        reader.wrong(
            "TZ",
            format!("{:?} is no time zone; write one such as Asia/Shanghai or UTC", unknown.name),
        );
        TimeZone::UTC
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingErrors> {
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
        assert!(settings.development && settings.app_secret.is_none());
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

    #[test]
    fn callbacks_come_through_the_gateway_if_there_is_one() {
        let gateway = ("BK_PLUGIN_CALLBACK_HOST", "https://gw.example.com/api/bp-demo/");
        let base = |variables: &[(&str, &str)]| read(variables).unwrap().callback_base;
        assert_eq!(base(&[gateway]).unwrap(), "https://gw.example.com/api/bp-demo/prod");
        let stage = ("BK_APIGW_STAGE_NAME", "canary");
        assert_eq!(base(&[gateway, stage]).unwrap(), "https://gw.example.com/api/bp-demo/canary");
        let public = ("BK_PLUGIN_PUBLIC_URL", "https://plugin.example.com");
        assert_eq!(base(&[public]).unwrap(), "https://plugin.example.com/bk_plugin");
        assert_eq!(base(&[]), None);
        let platform = ("BK_API_URL_TMPL", "https://bkapi.example.com/api/{api_name}/");
        assert_eq!(base(&[platform]).unwrap(), "https://bkapi.example.com/api/bp-bk-plugin-demo/prod");
        let stag = [PROD[1], PROD[2], ("BKPAAS_ENVIRONMENT", "stag"), platform, ("BK_APIGW_NAME", "bp-demo")];
        assert_eq!(base(&stag).unwrap(), "https://bkapi.example.com/api/bp-demo/stag");
        assert_eq!(base(&[platform, gateway]).unwrap(), base(&[gateway]).unwrap());
    }

    const PROD: [(&str, &str); 3] =
        [("BKPAAS_ENVIRONMENT", "prod"), ("BKPAAS_APP_ID", "a"), ("BKPAAS_APP_SECRET", "s")];

    #[test]
    fn outside_development_callbacks_lead_to_where_others_can_call() {
        let said = read(&PROD).unwrap_err().to_string();
        assert!(said.starts_with("BK_PLUGIN_PUBLIC_URL: is required outside development"), "{said}");
        for address in ["127.0.0.1:8000", "localhost", "[::1]:80", "0.0.0.0:5000", "[::ffff:127.0.0.1]"] {
            let url = format!("http://{address}");
            for name in ["BK_PLUGIN_CALLBACK_HOST", "BK_PLUGIN_PUBLIC_URL", "BK_API_URL_TMPL"] {
                let said = read(&[PROD[0], PROD[1], PROD[2], (name, &url)]).unwrap_err().to_string();
                assert!(said.starts_with(name) && said.contains("leads to this machine"), "{said}");
                assert!(read(&[(name, &url)]).is_ok(), "in development {url} will do");
            }
        }
    }

    #[test]
    fn who_may_call() {
        use local_apigw::PUBLIC_KEY;
        const LONG: &str = "0123456789abcdef";
        let admission = |variables: &[(&str, &str)]| read(variables).map(|settings| settings.admission);
        let said = |variables: &[(&str, &str)]| admission(variables).unwrap_err().to_string();
        const PUBLIC: (&str, &str) = ("BK_PLUGIN_PUBLIC_URL", "https://plugin.example.com");
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
