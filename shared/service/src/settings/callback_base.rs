//! The beginning of callback URLs.

use std::net::IpAddr;

use super::{Environment, Reader, gateway_url, http_url};

/// The beginning of callback URLs. Behind BlueKing's gateway callbacks come in through it: `<callback
/// host>/<stage>`, where the callback host is the plugin's address at the gateway, which the platform sets (as in
/// the reference). Elsewhere third parties call the plugin's public URL.
///
/// Outside development it must be set, and be an address that others can reach.
pub(super) fn callback_base(
    reader: &mut Reader<'_>,
    environment: Environment,
    gateway_name: &str,
) -> Option<String> {
    let named = reader.first(&["BK_PLUGIN_CALLBACK_HOST", "BK_PLUGIN_PUBLIC_URL", "BK_API_URL_TMPL"]);
    let Some((name, address)) = named else {
        if !environment.is_development() {
            reader.wrong(
                "BK_PLUGIN_PUBLIC_URL",
                "is required outside development, so that callback URLs lead to the plugin: its address as third \
                 parties see it, such as https://plugin.example.com (or set BK_PLUGIN_CALLBACK_HOST: its address at \
                 BlueKing's gateway)",
            );
        }
        return None;
    };
    let address = gateway_url(&address, gateway_name);
    match http_url(&address) {
        None => reader.wrong(name, format!("{address:?} is not an http or https URL")),
        Some(url) if !environment.is_development() && leads_to_this_machine(&url) => {
            reader.wrong(
                name,
                format!("{address:?} leads to this machine itself, where no third party can call"),
            );
        }
        Some(_) => {}
    }
    let address = address.trim_end_matches('/');
    Some(match name {
        "BK_PLUGIN_PUBLIC_URL" => format!("{address}/bk_plugin"),
        _ => format!("{address}/{}", environment.stage(reader)),
    })
}

fn leads_to_this_machine(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address.is_unspecified(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROD, read};

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
}
