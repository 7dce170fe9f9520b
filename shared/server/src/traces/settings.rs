//! Where traces are sent, and which of them.

use bk_plugin_service::settings::{Environment, Reader, Settings, http_url};
use bk_plugin_service::tls::Authorities;
use opentelemetry_sdk::trace::Sampler;
use secrecy::SecretString;

/// Where traces are sent, and which of them.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// OTEL_GRPC_URL, or OTEL_EXPORTER_OTLP_ENDPOINT: the collector's address.
    pub endpoint: String,
    /// OTEL_BK_DATA_TOKEN: the token of the data source that the traces belong to.
    pub token: Option<SecretString>,
    /// OTEL_SAMPLER or OTEL_TRACES_SAMPLER, with OTEL_TRACES_SAMPLER_ARG.
    pub sampler: Sampler,
    /// OTEL_SERVICE_NAME: the name of the service.
    pub service: String,
    /// The certificate authorities that are trusted besides the machine's own.
    pub authorities: Authorities,
    /// The environment that the plugin runs in.
    pub environment: Environment,
}

impl TraceSettings {
    /// Reads the settings; `None` if traces are not to be sent.
    pub(crate) fn read(reader: &mut Reader<'_>, shared: &Settings) -> Option<Self> {
        let (wanted, off) = (reader.flag("OTEL_TRACE", true), reader.flag("OTEL_SDK_DISABLED", false));
        let sampler = sampler(reader);
        let endpoint = endpoint(reader)?;
        let service = reader.text("OTEL_SERVICE_NAME").unwrap_or_else(|| shared.app_id.clone());
        (wanted && !off).then(|| Self {
            endpoint,
            token: reader.secret("OTEL_BK_DATA_TOKEN"),
            sampler,
            service,
            authorities: shared.authorities.clone(),
            environment: shared.environment,
        })
    }
}

/// The collector's address; one without a scheme, as BlueKing's platform may give it, means a connection without
/// TLS.
fn endpoint(reader: &mut Reader<'_>) -> Option<String> {
    let (name, text) = reader.first(&[
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_GRPC_URL",
    ])?;
    let text = if text.contains("://") { text } else { format!("http://{text}") };
    if http_url(&text).is_none() {
        // The value is not repeated: it may hold a password.
        reader
            .wrong(name, "is not the address of a collector's gRPC port, such as http://otel-collector:4317");
    }
    Some(text)
}

fn sampler(reader: &mut Reader<'_>) -> Sampler {
    const NAMES: [&str; 2] = ["OTEL_SAMPLER", "OTEL_TRACES_SAMPLER"];
    let ratio = ratio(reader);
    let of_parent = |root: Sampler| Sampler::ParentBased(Box::new(root));
    let name = reader.first(&NAMES).map_or(NAMES[0], |(name, _)| name);
    reader.one_of(
        name,
        of_parent(Sampler::AlwaysOn),
        &[
            ("always_on", Sampler::AlwaysOn),
            ("always_off", Sampler::AlwaysOff),
            ("traceidratio", Sampler::TraceIdRatioBased(ratio)),
            ("parentbased_always_on", of_parent(Sampler::AlwaysOn)),
            ("parentbased_always_off", of_parent(Sampler::AlwaysOff)),
            ("parentbased_traceidratio", of_parent(Sampler::TraceIdRatioBased(ratio))),
        ],
    )
}

/// The fraction of all traces that is sent.
fn ratio(reader: &mut Reader<'_>) -> f64 {
    const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(text) = reader.text(NAME) else { return 1.0 };
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
        _ => {
            reader.wrong(NAME, format!("{text:?} is not a number from 0 to 1"));
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use bk_plugin_service::settings::SettingErrors;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, SettingErrors> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut reader = Reader::new(&lookup);
        let shared = Settings::read(&mut reader);
        let settings = TraceSettings::read(&mut reader, &shared);
        reader.finish(settings)
    }

    const URL: (&str, &str) = ("OTEL_GRPC_URL", "http://collector:4317");

    #[test]
    fn traces_are_sent_where_a_collector_is_named() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("OTEL_TRACE", "True")]).unwrap().is_none());
        assert!(read(&[URL, ("OTEL_TRACE", "false")]).unwrap().is_none());
        assert!(read(&[URL, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
        let settings = read(&[URL, ("OTEL_TRACE", "True"), ("BKPAAS_APP_ID", "demo")]).unwrap().unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.service.as_str()), (URL.1, "demo"));
        let bare = read(&[("OTEL_GRPC_URL", "10.0.0.1:4317")]).unwrap().unwrap();
        assert_eq!(bare.endpoint, "http://10.0.0.1:4317");
        let own = read(&[URL, ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otlp:4317")]).unwrap().unwrap();
        assert_eq!(own.endpoint, "https://otlp:4317");
    }

    #[test]
    fn the_sampler_of_the_platform_is_known() {
        let sampler = |text| read(&[URL, ("OTEL_SAMPLER", text)]).unwrap().unwrap().sampler;
        assert!(matches!(sampler("parentbased_always_on"), Sampler::ParentBased(_)));
        assert!(matches!(sampler("always_off"), Sampler::AlwaysOff));
        let part = [URL, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        let Sampler::TraceIdRatioBased(ratio) = read(&part).unwrap().unwrap().sampler else { panic!() };
        assert!((ratio - 0.25).abs() < f64::EPSILON);
    }

    #[test]
    fn what_cannot_be_is_named_and_secrets_do_not_print() {
        let said = read(&[
            ("OTEL_GRPC_URL", "grpc://user:hunter2@collector"),
            ("OTEL_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_TRACE", "perhaps"),
        ]);
        let said = said.unwrap_err().to_string();
        for name in ["OTEL_GRPC_URL", "OTEL_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_TRACE"] {
            assert!(said.contains(&format!("{name}: ")), "{name} in {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
        let settings = read(&[URL, ("OTEL_BK_DATA_TOKEN", "hunter2")]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
