//! The JWTs with which a gateway vouches for its callers.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA512, RsaKeyPair};
use serde_json::{Value, json};

/// The private key that belongs to [`PUBLIC_KEY`](crate::PUBLIC_KEY).
use crate::PRIVATE_KEY;

pub(crate) fn signed(gateway: &str, app_code: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({"typ": "JWT", "alg": "RS512", "kid": gateway, "iat": now});
    let claims = json!({
        "iss": "APIGW",
        "nbf": now - 300,
        "exp": now + 1500,
        "app": {"bk_app_code": app_code, "verified": true},
        "user": {"bk_username": "admin", "verified": true},
    });
    let encoded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", encoded(&header), encoded(&claims));
    let key = RsaKeyPair::from_pkcs8(PRIVATE_KEY).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA512, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
