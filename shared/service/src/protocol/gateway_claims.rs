//! What a JWT of BlueKing's API gateway says of a call.

use std::time::Duration;

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bk_plugin_core::JsonObject;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::clock::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::refused::Refused;

/// The claims that are checked or used. Gateways spell some names in two ways.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(deserialize_with = "seconds")]
    pub(super) exp: u64,
    #[serde(default, deserialize_with = "seconds")]
    pub(super) nbf: u64,
    app: Option<App>,
    user: Option<User>,
}

/// A time in seconds. It is a number, and may have a fraction, which is cut off.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    if seconds < 0.0 {
        return Err(D::Error::custom("a time before 1970"));
    }
    // A time that is beyond every clock never comes.
    Ok(Duration::try_from_secs_f64(seconds).map_or(u64::MAX, |seconds| seconds.as_secs()))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct App {
    #[serde(rename = "bk_app_code")]
    bk_code: Option<String>,
    #[serde(rename = "app_code")]
    code: Option<String>,
    verified: Option<bool>,
    tenant_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    bk_username: Option<String>,
    username: Option<String>,
    verified: Option<bool>,
    tenant_id: Option<String>,
}

impl Claims {
    /// The claims of a JWT whose signature is not checked.
    pub(super) fn unverified(jwt: &HeaderValue, now: Timestamp) -> Result<Self, Refused> {
        let mut parts = jwt.as_bytes().split(|byte| *byte == b'.');
        let (Some(header), Some(claims), Some(_signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refused::Unreadable("it has not three parts"));
        };
        let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).ok();
        decode(header)
            .and_then(|json| serde_json::from_slice::<JsonObject>(&json).ok())
            .ok_or(Refused::Unreadable("its header is not a JSON object"))?;
        let claims: Self = decode(claims)
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or(Refused::Unreadable("its claims are not a JSON object with an expiry"))?;
        claims.check_times(now)?;
        Ok(claims)
    }

    /// Checks that the JWT is valid at the time `now`, if clocks may differ.
    pub(super) fn check_times(&self, now: Timestamp) -> Result<(), Refused> {
        if self.exp.saturating_add(CLOCKS_DIFFER) <= now.as_secs() {
            return Err(Refused::Expired);
        }
        if self.nbf > now.as_secs() + CLOCKS_DIFFER {
            return Err(Refused::NotAccepted("it is not valid yet"));
        }
        Ok(())
    }

    /// The caller as the gateway has verified it. The call may name a tenant if the app itself does not belong to
    /// one.
    pub(super) fn caller(self, tenant: Option<String>) -> Result<Caller, Refused> {
        let Self { app, user, .. } = self;
        let app = app.filter(|app| app.verified == Some(true)).unwrap_or_default();
        let user = user.filter(|user| user.verified == Some(true)).unwrap_or_default();
        let of_app = first_present([app.tenant_id]);
        if of_app.is_some() && tenant.is_some() && of_app != tenant {
            return Err(Refused::Tenant("X-Bk-Tenant-Id is not the tenant of the calling app"));
        }
        Ok(Caller {
            app_code: first_present([app.bk_code, app.code]),
            username: first_present([user.bk_username, user.username]),
            tenant_id: first_present([tenant, of_app, user.tenant_id]),
        })
    }
}

/// Seconds by which the gateway's clock and this machine's may differ: an hour. What makes a JWT the gateway's is its
/// signature. So a clock that is wrong refuses no caller, and a JWT that was stolen is of use for an hour longer.
const CLOCKS_DIFFER: u64 = 60 * 60;

/// The first name that is not empty: an empty claim says no more than one that is missing.
fn first_present(names: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    names.into_iter().flatten().find(|name| !name.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// A JWT without a valid signature.
    pub(in crate::protocol) fn jwt(claims: &str) -> HeaderValue {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        HeaderValue::try_from(format!("{}.{}.c2ln", part(r#"{"alg":"RS512"}"#), part(claims))).unwrap()
    }

    #[test]
    fn a_jwt_is_readable_and_unexpired() {
        let read = |jwt: &HeaderValue| Claims::unverified(jwt, NOW).map(drop);
        assert_eq!(read(&jwt(r#"{"exp":1800000001,"iss":"APIGW"}"#)), Ok(()));
        assert_eq!(read(&jwt(r#"{"exp":1799996401}"#)), Ok(()), "by a clock that is an hour ahead");
        assert_eq!(read(&jwt(r#"{"exp":1799996400}"#)), Err(Refused::Expired));
        assert_eq!(
            read(&jwt(r#"{"exp":1800003600,"nbf":1800003600}"#)),
            Ok(()),
            "by one that is an hour behind"
        );
        assert_eq!(read(&jwt(r#"{"exp":18446744073709551615}"#)), Ok(()));
        assert_eq!(read(&jwt(r#"{"exp":1800000001.75,"nbf":1.8e9}"#)), Ok(()), "fractions are numbers, too");
        assert_eq!(read(&jwt(r#"{"exp":1799996400.5}"#)), Err(Refused::Expired));
        for claims in ["{}", "[]", "x", r#"{"exp":"soon"}"#] {
            assert!(matches!(read(&jwt(claims)), Err(Refused::Unreadable(_))), "{claims}");
        }
        for garbage in ["garbage", "", "a.b.c", "a.b.c.d", "..", "e30.e30"] {
            let garbage = HeaderValue::from_static(garbage);
            assert!(matches!(read(&garbage), Err(Refused::Unreadable(_))), "{garbage:?}");
        }
    }

    fn caller(app: &Value, user: &Value, tenant: Option<&str>) -> Result<Caller, Refused> {
        let claims: Claims = serde_json::from_value(json!({"exp": 1, "app": app, "user": user})).unwrap();
        claims.caller(tenant.map(ToOwned::to_owned))
    }

    #[test]
    fn both_spellings_are_read_and_only_what_is_verified_counts() {
        let expected = |app: Option<&str>, user: Option<&str>| Caller {
            app_code: app.map(ToOwned::to_owned),
            username: user.map(ToOwned::to_owned),
            tenant_id: None,
        };
        let both = expected(Some("sops"), Some("admin"));
        for (app, user) in [("app_code", "username"), ("bk_app_code", "bk_username")] {
            let app = json!({app: "sops", "verified": true});
            let user = json!({user: "admin", "verified": true});
            assert_eq!(caller(&app, &user, None), Ok(both.clone()));
        }
        let app = json!({"bk_app_code": "sops", "app_code": "sops", "verified": false});
        let user = json!({"bk_username": "admin", "verified": true, "valid_error_message": null});
        assert_eq!(caller(&app, &user, None), Ok(expected(None, Some("admin"))));
        for empty in [json!(""), Value::Null] {
            let app = json!({"bk_app_code": empty, "app_code": "sops", "verified": true});
            let user = json!({"bk_username": empty, "username": "admin", "verified": true});
            assert_eq!(caller(&app, &user, None), Ok(both.clone()), "the other spelling counts");
        }
        let app = json!({"bk_app_code": "", "verified": true, "valid_error_message": ""});
        assert_eq!(caller(&app, &json!({"username": "x"}), None), Ok(Caller::default()));
        assert_eq!(caller(&Value::Null, &json!({"verified": null}), None), Ok(Caller::default()));
    }

    #[test]
    fn the_tenant_is_the_one_that_is_named_or_the_apps() {
        let global = json!({"app_code": "a", "verified": true, "tenant_mode": "global", "tenant_id": ""});
        let single = json!({"app_code": "a", "verified": true, "tenant_mode": "single", "tenant_id": "t1"});
        let user = json!({"username": "u", "verified": true, "tenant_id": "t2"});
        let tenant = |app, named| caller(app, &user, named).map(|caller| caller.tenant_id);
        assert_eq!(tenant(&global, Some("t3")), Ok(Some("t3".to_owned())));
        assert_eq!(tenant(&global, None), Ok(Some("t2".to_owned())));
        assert_eq!(tenant(&single, None), Ok(Some("t1".to_owned())));
        assert_eq!(tenant(&single, Some("t1")), Ok(Some("t1".to_owned())));
        assert!(matches!(tenant(&single, Some("t3")), Err(Refused::Tenant(_))));
    }
}
