//! A running service refuses every JWT that BlueKing's gateway does not vouch for, however it is made.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use self::common::{GATEWAY_PUBLIC_KEY, Mode, jwt_message, now, signed_jwt};

/// Routes that require a verified app, and one that requires a verified user.
const OF_APPS: [&str; 3] = ["invoke/1.0.0", "plugin_api_dispatch", "callback/x/"];
const OF_USERS: &str = "plugin_api/echo/";

fn header() -> Value {
    json!({"alg": "RS512", "typ": "JWT", "kid": "bp-demo"})
}

fn claims() -> Value {
    json!({
        "iss": "APIGW",
        "exp": now() + 1500,
        "nbf": now() - 300,
        "app": {"bk_app_code": "bk_sops", "verified": true},
        "user": {"bk_username": "admin", "verified": true},
    })
}

fn with(change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let (mut header, mut claims) = (header(), claims());
    change(&mut header, &mut claims);
    signed_jwt(&header, &claims)
}

/// A JWT with other claims under the signature of valid ones.
fn forged() -> String {
    let mut other = claims();
    other["user"]["bk_username"] = json!("root");
    let genuine = with(|_, _| {});
    let (_, signature) = genuine.rsplit_once('.').unwrap();
    format!("{}.{signature}", jwt_message(&header(), &other))
}

/// A JWT signed with the public key, which is no secret, as an HMAC key.
fn hs256() -> String {
    let mut header = header();
    header["alg"] = json!("HS256");
    let message = jwt_message(&header, &claims());
    let key = hmac::Key::new(hmac::HMAC_SHA256, GATEWAY_PUBLIC_KEY.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes())))
}

fn unsigned() -> String {
    let mut header = header();
    header["alg"] = json!("none");
    format!("{}.", jwt_message(&header, &claims()))
}

#[tokio::test]
async fn every_one_is_answered_403() {
    let running = common::start(Mode::Gateway).await;
    let client = common::client();
    let post = async |path: &str, jwt: &str| {
        let body = json!({"inputs": {"hello": "x"}, "context": {"executor": "admin"}});
        let url = format!("{}/bk_plugin/{path}", running.base_url);
        let answer = client.post(url).header("X-Bkapi-JWT", jwt).json(&body).send().await.unwrap();
        answer.status().as_u16()
    };
    let refused = [
        ("forged", forged()),
        ("HS256", hs256()),
        ("unsigned", unsigned()),
        ("expired", with(|_, claims| claims["exp"] = json!(now() - 3601))),
        ("not valid yet", with(|_, claims| claims["nbf"] = json!(now() + 3720))),
        ("RS256", with(|header, _| header["alg"] = json!("RS256"))),
        ("of another gateway", with(|header, _| header["kid"] = json!("bp-other"))),
        ("of another issuer", with(|_, claims| claims["iss"] = json!("me"))),
        ("without an expiry", with(|_, claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
    ];
    for path in OF_APPS.into_iter().chain([OF_USERS]) {
        for (what, jwt) in &refused {
            assert_eq!(post(path, jwt).await, 403, "{path}, {what}");
        }
        assert_ne!(post(path, &with(|_, _| {})).await, 403, "{path}");
    }
    let unverified = |whom: &str| with(|_, claims| claims[whom]["verified"] = json!(false));
    for path in OF_APPS {
        assert_eq!(post(path, &unverified("app")).await, 403, "{path}");
    }
    assert_eq!(post(OF_USERS, &unverified("user")).await, 403);
}
