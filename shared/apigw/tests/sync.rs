//! Registering at a stand-in for the gateway: the order of its requests, what is written again and what is not, and
//! what is said when the gateway says no.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use bk_plugin_apigw::api::Api;
use bk_plugin_apigw::client::{ApiError, Client};
use bk_plugin_apigw::definition::{Files, Registration};
use bk_plugin_apigw::plan::plan;
use bk_plugin_apigw::settings::SyncSettings;
use bk_plugin_apigw::sync::{Outcome, Release, SyncError, sync};
use bk_plugin_service::settings::Reader;
use local_apigw::LocalApigw;
use reqwest::Method;
use serde_json::json;

const GATEWAY: &str = "/api/v2/sync/gateways/bp-demo";
const SECRET: &str = "hunter2-hunter2";

/// A plugin and the gateway it is registered at.
struct Plugin {
    apigw: LocalApigw,
    api: Api,
    settings: SyncSettings,
}

impl Plugin {
    async fn new() -> Self {
        let apigw = LocalApigw::start("demo", SECRET).await;
        Self::at(apigw)
    }

    fn at(apigw: LocalApigw) -> Self {
        let template = apigw.url_template();
        let lookup = |name: &str| {
            let value = match name {
                "BKPAAS_APP_ID" => "demo",
                "BKPAAS_APP_SECRET" => SECRET,
                "BKPAAS_ENVIRONMENT" => "prod",
                "BK_API_URL_TMPL" => &template,
                "BKPAAS_DEFAULT_PREALLOCATED_URLS" => r#"{"prod": "http://demo.apps.example.com/"}"#,
                "BK_APIGW_GRANTED_APPS" => "bk_sops",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let settings = SyncSettings::read(&mut Reader::new(&lookup)).unwrap();
        let client = Client::new(&settings.connection).unwrap().with_first_pause(Duration::ZERO);
        Self { apigw, api: Api::new(client), settings }
    }

    fn registration(&self) -> Registration {
        Registration::new(&self.settings, &Files::default()).unwrap()
    }

    async fn sync(&self) -> Result<Outcome, SyncError> {
        sync(&self.api, &self.registration()).await
    }

    /// What is said of a sync that fails.
    async fn refused(&self) -> String {
        self.sync().await.unwrap_err().to_string()
    }

    async fn plan(&self) -> Result<String, ApiError> {
        plan(&self.api, self.registration()).await.map(|plan| plan.to_string())
    }

    fn released(&self) -> Option<String> {
        self.apigw.released("bp-demo", "prod")
    }
}

/// Calls below the gateway's path.
fn calls(calls: &[&str]) -> Vec<String> {
    let call = |call: &&str| {
        let (method, path) = call.split_once(' ').unwrap();
        format!("{method} {GATEWAY}/{path}")
    };
    calls.iter().map(call).collect()
}

#[tokio::test]
async fn everything_is_registered_in_the_gateways_order() {
    let plugin = Plugin::new().await;
    let outcome = plugin.sync().await.unwrap();
    assert_eq!(outcome.release, Release::Made);
    let version = plugin.registration().version;
    assert_eq!(plugin.released(), Some(version.clone()));

    let requests = plugin.apigw.requests();
    for request in &requests {
        assert_eq!(
            request.headers["x-bkapi-authorization"],
            json!({"bk_app_code": "demo", "bk_app_secret": SECRET}).to_string()
        );
        assert_eq!(request.headers["x-bk-tenant-id"], "system");
    }
    let bodies: Vec<_> = requests.iter().filter(|request| request.method == "POST").collect();
    let registration = plugin.registration();
    assert_eq!(bodies[0].body, registration.gateway);
    assert_eq!(bodies[1].body, registration.stage);
    assert_eq!(bodies[2].body, json!({"content": registration.resources.content, "delete": true}));
    assert_eq!(bodies[3].body, json!({"target_app_code": "demo", "grant_dimension": "gateway"}));
    assert_eq!(bodies[4].body, json!({"target_app_code": "bk_sops", "grant_dimension": "gateway"}));
    let comment = "auto release by bk-plugin-framework-rust (stage=prod)";
    assert_eq!(bodies[5].body, json!({"version": version, "comment": comment}));
    assert_eq!(bodies[6].body, json!({"version": version, "comment": comment, "stage_names": ["prod"]}));

    let mut expected = calls(&["POST ", "POST stages/", "POST resources/"]);
    expected.extend(calls(&["POST permissions/grant/", "POST permissions/grant/"]));
    expected.push("GET /api/v1/apis/bp-demo/stages/with-resource-version/".to_owned());
    expected.extend(calls(&["GET resource_versions/", "POST resource_versions/"]));
    expected.extend(calls(&["POST resource_versions/release/", "GET public_key/"]));
    assert_eq!(plugin.apigw.take_calls(), expected);

    let said = outcome.to_string();
    for words in ["bp-demo", "7 added", "demo, bk_sops", &format!("{version}, made and released"), "sha256 "]
    {
        assert!(said.contains(words), "{words} in {said}");
    }
}

#[tokio::test]
async fn a_second_sync_makes_no_version_and_releases_none() {
    let plugin = Plugin::new().await;
    plugin.sync().await.unwrap();
    plugin.apigw.take_calls();
    assert_eq!(plugin.sync().await.unwrap().release, Release::Unchanged);
    let calls = plugin.apigw.take_calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("POST") && call.contains("resource_versions")),
        "{calls:?}"
    );
    assert_eq!(plugin.apigw.versions("bp-demo").len(), 1);
}

#[tokio::test]
async fn what_has_changed_is_released_and_going_back_needs_no_new_version() {
    let mut plugin = Plugin::new().await;
    plugin.sync().await.unwrap();
    let first = plugin.released();
    plugin.settings.timeout = 120;
    assert_eq!(plugin.sync().await.unwrap().release, Release::Made);
    assert_ne!(plugin.released(), first);
    plugin.settings.timeout = 60;
    assert_eq!(plugin.sync().await.unwrap().release, Release::Repeated);
    assert_eq!(plugin.released(), first);
    assert_eq!(plugin.apigw.versions("bp-demo").len(), 2);
}

#[tokio::test]
async fn another_stage_of_the_gateway_changes_nothing() {
    let mut plugin = Plugin::new().await;
    plugin.sync().await.unwrap();
    plugin.settings.stage = "stag".to_owned();
    assert_eq!(plugin.sync().await.unwrap().release, Release::Made);
    plugin.settings.stage = "prod".to_owned();
    assert_eq!(plugin.sync().await.unwrap().release, Release::Unchanged);
    assert!(plugin.apigw.released("bp-demo", "stag").unwrap().starts_with("1.0.0+stag."));
}

#[tokio::test]
async fn a_release_that_failed_is_made_up_for() {
    let plugin = Plugin::new().await;
    let release = format!("{GATEWAY}/resource_versions/release/");
    let invalid = json!({"error": {"code": "INVALID_ARGUMENT", "message": "stage vars"}});
    plugin.apigw.refuse_next(Method::POST, &release, 400, invalid);
    let said = plugin.refused().await;
    assert!(said.starts_with("release: ") && said.contains("INVALID_ARGUMENT, stage vars"), "{said}");
    assert_eq!((plugin.apigw.versions("bp-demo").len(), plugin.released()), (1, None));
    assert_eq!(plugin.sync().await.unwrap().release, Release::Repeated);
    assert_eq!(plugin.released(), Some(plugin.registration().version));
}

#[tokio::test]
async fn a_version_released_by_hand_gives_way() {
    let mut plugin = Plugin::new().await;
    plugin.sync().await.unwrap();
    let ours = plugin.released().unwrap();
    plugin.settings.timeout = 120;
    plugin.sync().await.unwrap();
    plugin.apigw.release_by_hand("bp-demo", "prod", &ours);
    assert_eq!(plugin.sync().await.unwrap().release, Release::Repeated);
    assert_ne!(plugin.released(), Some(ours));
}

#[tokio::test]
async fn a_gateway_without_the_older_api_is_given_the_version_again() {
    let plugin = Plugin::new().await;
    plugin.apigw.give_up_v1();
    assert_eq!(plugin.sync().await.unwrap().release, Release::Made);
    assert_eq!(plugin.sync().await.unwrap().release, Release::Repeated);
    assert_eq!(plugin.apigw.versions("bp-demo").len(), 1);
}

#[tokio::test]
async fn bad_moments_of_the_gateway_are_waited_for() {
    let plugin = Plugin::new().await;
    for path in ["/", "/stages/", "/resources/", "/resource_versions/release/", "/public_key/"] {
        let method = if path == "/public_key/" { Method::GET } else { Method::POST };
        plugin.apigw.refuse_next(method, &format!("{GATEWAY}{path}"), 503, json!({}));
    }
    // It was made, but the answer got lost: asked again, the gateway says that it exists.
    plugin.apigw.lose_next_answer(Method::POST, &format!("{GATEWAY}/resource_versions/"));
    assert_eq!(plugin.sync().await.unwrap().release, Release::Made);
    assert_eq!(plugin.apigw.versions("bp-demo").len(), 1);
    assert_eq!(plugin.released(), Some(plugin.registration().version));
}

#[tokio::test]
async fn a_gateway_that_stays_away_is_given_up() {
    let plugin = Plugin::new().await;
    for _ in 0..5 {
        plugin.apigw.refuse_next(Method::POST, &format!("{GATEWAY}/stages/"), 500, json!(null));
    }
    let said = plugin.refused().await;
    assert!(said.starts_with("stage: ") && said.contains("500") && said.contains("5 times"), "{said}");
    assert_eq!(plugin.apigw.take_calls().iter().filter(|call| call.ends_with("/stages/")).count(), 5);
}

#[tokio::test]
async fn nobody_listening_is_said_with_the_setting() {
    let plugin = Plugin::new().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut connection = plugin.settings.connection.clone();
    connection.endpoint = format!("http://127.0.0.1:{port}");
    let client = Client::new(&connection).unwrap().with_first_pause(Duration::ZERO);
    let said = sync(&Api::new(client), &plugin.registration()).await.unwrap_err().to_string();
    for words in ["gateway: no answer from http://127.0.0.1:", "refused", "BK_API_URL_TMPL"] {
        assert!(said.contains(words), "{words} in {said}");
    }
}

#[tokio::test]
async fn another_apps_gateway_is_left_alone() {
    let plugin = Plugin::new().await;
    plugin.apigw.give_to_another_app("bp-demo");
    let said = plugin.refused().await;
    for words in ["gateway: ", "403", "应用无操作网关权限", "demo is not related to bp-demo", "BK_APIGW_NAME"]
    {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert_eq!(plugin.apigw.take_calls(), calls(&["POST "]), "asked once, and no further");
    let said = plugin.plan().await.unwrap_err().to_string();
    assert!(said.contains("demo is not related to bp-demo"), "{said}");
}

#[tokio::test]
async fn a_wrong_secret_is_not_repeated_even_if_the_gateway_does() {
    let plugin = Plugin::at(LocalApigw::start("demo", "another").await);
    let said = plugin.refused().await;
    assert!(said.contains("401") && said.contains("BKPAAS_APP_SECRET"), "{said}");
    let echo = json!({"code": 1_640_101, "message": format!("no app has {SECRET}")});
    plugin.apigw.refuse_next(Method::POST, &format!("{GATEWAY}/"), 401, echo);
    let error = plugin.sync().await.unwrap_err();
    assert!(error.to_string().contains("no app has ***"), "{error}");
    assert!(!format!("{error} {error:?} {:?}", plugin.api).contains(SECRET));
}

#[tokio::test]
async fn an_answer_that_is_none_is_said() {
    let plugin = Plugin::new().await;
    plugin.apigw.refuse_next(Method::GET, &format!("{GATEWAY}/public_key/"), 200, json!({"data": {}}));
    let said = plugin.refused().await;
    assert!(said.starts_with("public key: ") && said.contains("public_key"), "{said}");
    let no_key = json!({"data": {"public_key": "none yet"}});
    plugin.apigw.refuse_next(Method::GET, &format!("{GATEWAY}/public_key/"), 200, no_key);
    assert!(plugin.refused().await.contains("not a public key in PEM"));
    // The older API says no with status 200.
    let old = json!({"code": 40_000, "message": "no"});
    plugin.apigw.refuse_next(Method::POST, &format!("{GATEWAY}/"), 200, old);
    assert!(plugin.refused().await.contains("40000, no"));
}

#[tokio::test]
async fn a_plan_writes_nothing_and_says_what_a_sync_would_do() {
    let mut plugin = Plugin::new().await;
    let version = plugin.registration().version;
    let planned = plugin.plan().await.unwrap();
    for words in ["bp-demo", "would be made", "would be granted: demo, bk_sops", &version, "invoke"] {
        assert!(planned.contains(words), "{words} in {planned}");
    }
    assert_eq!(plugin.apigw.take_calls(), calls(&["GET resource_versions/latest/"]));

    plugin.sync().await.unwrap();
    plugin.apigw.take_calls();
    let planned = plugin.plan().await.unwrap();
    for words in ["is there", "already: demo, bk_sops; would be granted: none", "released already"] {
        assert!(planned.contains(words), "{words} in {planned}");
    }
    plugin.settings.timeout = 120;
    plugin.settings.granted_apps.push("bk_flow".to_owned());
    let planned = plugin.plan().await.unwrap();
    for words in ["would be granted: bk_flow", &format!("would be made and released in place of {version}")] {
        assert!(planned.contains(words), "{words} in {planned}");
    }
    assert!(plugin.apigw.take_calls().iter().all(|call| call.starts_with("GET ")));
    assert!(!planned.contains(SECRET));
}
