//! Which callers are accepted behind BlueKing's gateway, checked at every route.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::protocol::gateway_jwt::tests::{PUBLIC_KEY, forged, signed, signed_with_public_key};

const FORMER_KEY: &str = local_apigw::FORMER_PUBLIC_KEY;

/// The routes that require a JWT, and whether it must be about an app (or else about a user).
const GATED: [(Method, &str, bool); 7] = [
    (Method::POST, "/bk_plugin/invoke/1.0.0", true),
    (Method::POST, "/bk_plugin/invoke/9.9.9", true),
    (Method::POST, "/bk_plugin/callback/x/", true),
    (Method::POST, "/bk_plugin/plugin_api_dispatch/", true),
    (Method::GET, "/bk_plugin/openapi/", true),
    (Method::GET, "/bk_plugin/private/there", true),
    (Method::GET, "/bk_plugin/plugin_api/with/", false),
];

fn gated(gateway: GatewayJwt) -> Fixture {
    fixture(|settings| settings.admission = Admission::Gateway(Some(Arc::new(gateway))))
}

fn fixed() -> Fixture {
    gated(GatewayJwt::with_key("bp-demo", PUBLIC_KEY).unwrap())
}

fn with_jwt(method: Method, path: &str, jwt: HeaderValue) -> Request<Body> {
    let mut request = request(method, path, "application/json", ECHO);
    request.headers_mut().insert("X-Bkapi-JWT", jwt);
    request
}

async fn invoke(routes: &Endpoint, jwt: HeaderValue) -> Answer {
    send(routes, with_jwt(Method::POST, "/bk_plugin/invoke/1.0.0", jwt)).await
}

#[tokio::test]
async fn what_the_gateway_does_not_vouch_for_is_refused_at_every_route() {
    let Fixture { routes, .. } = fixed();
    let refused = [
        ("signature", forged()),
        ("signature", signed_with_public_key("RS512")),
        ("RS512", signed_with_public_key("HS256")),
        ("not a JWT", signed_with_public_key("none")),
        ("not a JWT", HeaderValue::from_static("garbage")),
        ("another gateway", signed(|header, _| header["kid"] = json!("bp-other"))),
        ("APIGW", signed(|_, claims| claims["iss"] = json!("me"))),
        ("expired", signed(|_, claims| claims["exp"] = json!(1_799_996_400))),
        ("not valid yet", signed(|_, claims| claims["nbf"] = json!(1_800_003_601))),
        ("not a JWT", signed(|_, claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
    ];
    for (method, path, _) in GATED {
        for (said, jwt) in &refused {
            let answer = send(&routes, with_jwt(method.clone(), path, jwt.clone())).await;
            assert!(
                answer.is_failure(403) && answer.message().contains(said),
                "{path} {said}: {}",
                answer.body
            );
        }
        let without = send(&routes, request(method, path, "application/json", ECHO)).await;
        assert!(without.is_failure(403), "{path}");
    }
}

#[tokio::test]
async fn routes_want_the_app_verified_or_the_user() {
    let Fixture { routes, .. } = fixed();
    let unverified = |whom: &str| signed(|_, claims| claims[whom]["verified"] = json!(false));
    for (method, path, is_for_apps) in GATED {
        for (whom, is_asked) in [("app", is_for_apps), ("user", !is_for_apps)] {
            let answer = send(&routes, with_jwt(method.clone(), path, unverified(whom))).await;
            assert_eq!(answer.is_failure(403), is_asked, "{path} {whom} {}", answer.body);
            assert!(!is_asked || answer.message().contains(whom), "{}", answer.body);
        }
    }
    let nameless = signed(|_, claims| claims["app"] = json!({"verified": true}));
    assert!(invoke(&routes, nameless).await.is_failure(403));
}

#[tokio::test]
async fn routes_for_everybody_ask_for_none() {
    let Fixture { routes, .. } = fixed();
    for path in ["meta", "detail/1.0.0", "schedule/x"] {
        let path = format!("/bk_plugin/{path}");
        assert_eq!(get(&routes, &path).await.status, 200);
        let mut odd = with_jwt(Method::GET, &path, forged());
        odd.headers_mut().insert("X-Bk-Tenant-Id", "x".repeat(1000).parse().unwrap());
        assert_eq!(send(&routes, odd).await.status, 200);
    }
}

#[tokio::test]
async fn an_app_that_is_limited_to_scopes_calls_from_one() {
    let Fixture { routes, .. } = fixed();
    let of_sops = || signed(|_, claims| claims["app"] = json!({"app_code": "bk_sops", "verified": true}));
    let from = |path: &str, kind: &'static str, value: &'static str| {
        let mut request = with_jwt(Method::POST, path, of_sops());
        request.headers_mut().insert("Bkplugin-Scope-Type", HeaderValue::from_static(kind));
        request.headers_mut().insert("Bkplugin-Scope-Value", HeaderValue::from_static(value));
        request
    };
    for path in ["/bk_plugin/invoke/1.0.0", "/bk_plugin/invoke/9.9.9", "/bk_plugin/plugin_api_dispatch/"] {
        for (kind, value) in [("project", "2"), ("biz", "1"), ("", ""), ("project", "1,2")] {
            let answer = send(&routes, from(path, kind, value)).await;
            assert!(answer.is_failure(403) && answer.message().contains("scope"), "{path} {}", answer.body);
        }
        assert!(send(&routes, with_jwt(Method::POST, path, of_sops())).await.is_failure(403));
        assert!(!send(&routes, from(path, "project", "1")).await.is_failure(403));
    }
    // Only this app and this route are limited.
    assert_eq!(invoke(&routes, signed(|_, _| {})).await.status, 200);
    let callback = send(&routes, with_jwt(Method::POST, "/bk_plugin/callback/x", of_sops())).await;
    assert_eq!(callback.status, 400);
}

#[tokio::test]
async fn the_caller_is_handed_on() {
    let Fixture { routes, .. } = fixed();
    let mut direct = with_jwt(Method::GET, "/bk_plugin/plugin_api/with/", signed(|_, _| {}));
    direct.headers_mut().insert("X-Bk-Tenant-Id", HeaderValue::from_static("system"));
    let caller = send(&routes, direct).await.body["caller"].clone();
    assert_eq!(caller, json!({"app_code": "sops", "username": "admin", "tenant_id": "system"}));

    let call = json!({"url": "/bk_plugin/plugin_api/with/", "method": "GET", "username": "tester"});
    let mut dispatched = with_jwt(Method::POST, "/bk_plugin/plugin_api_dispatch/", signed(|_, _| {}));
    *dispatched.body_mut() = Body::from(call.to_string());
    let caller = send(&routes, dispatched).await.body["data"]["caller"].clone();
    assert_eq!(caller, json!({"app_code": "sops", "username": "tester"}));

    for tenant in ["x".repeat(129).as_bytes(), "租户".as_bytes()] {
        let mut request = with_jwt(Method::POST, "/bk_plugin/invoke/1.0.0", signed(|_, _| {}));
        request.headers_mut().insert("X-Bk-Tenant-Id", HeaderValue::from_bytes(tenant).unwrap());
        assert!(send(&routes, request).await.is_failure(403));
    }
}

/// A gateway whose key can be changed, and which counts its requests.
#[derive(Debug, Default)]
struct Gateway {
    key: Mutex<Option<&'static str>>,
    asked: AtomicUsize,
    /// Holds back the answer until it is notified, if the test wants that.
    answer: Option<Notify>,
}

impl Gateway {
    fn with(key: Option<&'static str>) -> Arc<Self> {
        Arc::new(Self { key: Mutex::new(key), ..Self::default() })
    }

    fn rotate(&self, key: Option<&'static str>) {
        *self.key.lock().unwrap() = key;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl PublicKeySource for Gateway {
    async fn fetch(&self) -> Result<String, PublicKeyError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(answer) = &self.answer {
            answer.notified().await;
        }
        let key = *self.key.lock().unwrap();
        key.map(ToOwned::to_owned).ok_or_else(|| PublicKeyError("the gateway is away".to_owned()))
    }
}

fn fetching(gateway: &Arc<Gateway>) -> Fixture {
    gated(GatewayJwt::with_source("bp-demo", gateway.clone()))
}

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn the_key_is_fetched_once_and_again_when_it_was_rotated() {
    let gateway = Gateway::with(Some(FORMER_KEY));
    let Fixture { routes, clock, .. } = fetching(&gateway);
    let genuine = || signed(|_, _| {});
    assert!(invoke(&routes, genuine()).await.is_failure(403));
    gateway.rotate(Some(PUBLIC_KEY));
    assert!(invoke(&routes, genuine()).await.is_failure(403), "the key was fetched a moment ago");
    clock.advance(MINUTE);
    for _ in 0..3 {
        assert_eq!(invoke(&routes, genuine()).await.status, 200);
    }
    assert_eq!(gateway.asked(), 2);
}

#[tokio::test]
async fn a_flood_of_forged_jwts_is_one_fetch_a_minute() {
    let gateway = Gateway::with(Some(PUBLIC_KEY));
    let Fixture { routes, clock, .. } = fetching(&gateway);
    for minute in 1..=3 {
        let flood = (0..50).map(|_| invoke(&routes, forged()));
        assert!(futures::future::join_all(flood).await.iter().all(|answer| answer.is_failure(403)));
        assert_eq!(gateway.asked(), minute);
        assert_eq!(invoke(&routes, signed(|_, _| {})).await.status, 200);
        clock.advance(MINUTE);
    }
    let other = signed(|header, _| header["kid"] = json!("bp-other"));
    assert!(invoke(&routes, other).await.is_failure(403));
    assert_eq!(gateway.asked(), 3, "another gateway's JWT is no reason to fetch");
}

#[tokio::test]
async fn a_fetch_that_fails_leaves_the_key_as_it_was() {
    let gateway = Gateway::with(Some(PUBLIC_KEY));
    let Fixture { routes, clock, .. } = fetching(&gateway);
    assert_eq!(invoke(&routes, signed(|_, _| {})).await.status, 200);
    for broken in [None, Some("<html>502</html>")] {
        gateway.rotate(broken);
        clock.advance(MINUTE);
        assert!(invoke(&routes, forged()).await.is_failure(403));
        assert_eq!(invoke(&routes, signed(|_, _| {})).await.status, 200);
    }
    assert_eq!(gateway.asked(), 3);
}

#[tokio::test]
async fn without_a_key_everybody_is_refused_until_there_is_one() {
    let gateway = Gateway::with(None);
    let Fixture { routes, clock, .. } = fetching(&gateway);
    let refused = invoke(&routes, signed(|_, _| {})).await;
    assert!(
        refused.is_failure(403) && refused.message().contains("could not be fetched"),
        "{}",
        refused.body
    );
    gateway.rotate(Some(PUBLIC_KEY));
    clock.advance(MINUTE);
    assert_eq!(invoke(&routes, signed(|_, _| {})).await.status, 200);
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_end_the_fetch_that_others_wait_for() {
    let answer = Some(Notify::new());
    let gateway = Arc::new(Gateway { key: Mutex::new(Some(PUBLIC_KEY)), answer, ..Gateway::default() });
    let Fixture { routes, .. } = fetching(&gateway);
    let mut hangs_up = Box::pin(invoke(&routes, signed(|_, _| {})));
    assert!(futures::poll!(hangs_up.as_mut()).is_pending());
    drop(hangs_up);
    let mut waits = Box::pin(invoke(&routes, signed(|_, _| {})));
    assert!(futures::poll!(waits.as_mut()).is_pending());
    gateway.answer.as_ref().unwrap().notify_one();
    assert_eq!(waits.await.status, 200);
    assert_eq!(gateway.asked(), 1);
}

#[tokio::test]
async fn a_key_in_a_file_may_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.pem");
    assert!(GatewayJwt::with_file("bp-demo", &path).is_err());
    std::fs::write(&path, FORMER_KEY).unwrap();
    let Fixture { routes, .. } = gated(GatewayJwt::with_file("bp-demo", &path).unwrap());
    std::fs::write(&path, PUBLIC_KEY).unwrap();
    assert_eq!(invoke(&routes, signed(|_, _| {})).await.status, 200);
}
