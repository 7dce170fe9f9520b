//! The JWT that BlueKing's API gateway vouches for its callers with: signed with RS512 by the gateway whose
//! public key is configured, issued by `APIGW`, not expired, and about an app that the gateway has verified.

use std::fmt;

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::gateway::Refused;
use super::gateway_claims::Claims;
use crate::clock::Timestamp;

/// Verifies the gateway's JWTs.
#[derive(Clone)]
pub struct GatewayJwt {
    key: DecodingKey,
    /// The `kid` a JWT must have, if it is known.
    gateway_name: Option<String>,
    validation: Validation,
}

impl fmt::Debug for GatewayJwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayJwt").field("gateway_name", &self.gateway_name).finish_non_exhaustive()
    }
}

/// The text is no public key.
#[derive(Debug, thiserror::Error)]
#[error("is not an RSA public key in PEM (or the base64 of one)")]
pub struct InvalidPublicKey;

impl GatewayJwt {
    const ISSUER: &str = "APIGW";

    /// Verifies with this public key, PEM or the base64 of it (which fits into a line), that of the gateway
    /// with this name. Without a name, whatever the gateway whose key it is calls itself.
    pub fn new(public_key: &str, gateway_name: Option<&str>) -> Result<Self, InvalidPublicKey> {
        // Refused if another server in this process has done it; there is only this one.
        let _ = PROVIDER.install_default();
        let pem = match STANDARD.decode(public_key.trim()) {
            Ok(pem) => pem,
            Err(_) => public_key.as_bytes().to_vec(),
        };
        let key = DecodingKey::from_rsa_pem(&pem).map_err(|_| InvalidPublicKey)?;
        let mut validation = Validation::new(Algorithm::RS512);
        validation.set_issuer(&[Self::ISSUER]);
        validation.set_required_spec_claims(&["iss", "exp", "nbf"]);
        // Times are looked at by the clock that everything goes by.
        validation.validate_exp = false;
        validation.validate_aud = false;
        Ok(Self { key, gateway_name: gateway_name.map(ToOwned::to_owned), validation })
    }

    /// What the gateway says of the call that is made `now`, if it is the gateway that says it.
    pub(super) fn verify(&self, jwt: &HeaderValue, now: Timestamp) -> Result<Claims, Refused> {
        let token =
            jsonwebtoken::decode::<Claims>(jwt.as_bytes(), &self.key, &self.validation).map_err(|error| {
                match error.kind() {
                    ErrorKind::InvalidSignature => Refused::Forged("its signature is not the gateway's"),
                    ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
                        Refused::Forged("it is not signed with RS512")
                    }
                    ErrorKind::InvalidIssuer => Refused::Forged("it is not issued by APIGW"),
                    _ => Refused::Unreadable("it has not the parts or claims it needs"),
                }
            })?;
        if self.gateway_name.is_some() && token.header.kid != self.gateway_name {
            return Err(Refused::Forged("it is another gateway's"));
        }
        token.claims.check_times(now)?;
        Ok(token.claims)
    }
}

/// Signatures are checked by ring, which is here for TLS already; only RS512 is there to be asked for.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::RS512 => Ok(Box::new(Rs512 { der: key.try_get_as_bytes()?.to_vec() })),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct Rs512 {
    der: Vec<u8>,
}

impl signature::Verifier<Vec<u8>> for Rs512 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA512, &self.der)
            .verify(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Rs512 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS512
    }
}

#[cfg(test)]
pub(super) mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::rand::SystemRandom;
    use ring::signature::{RSA_PKCS1_SHA512, RsaKeyPair};
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    pub(in crate::protocol) const PUBLIC_KEY: &str =
        include_str!("../../tests/data/gateway_test_key.pub.pem");

    fn encoded(json: &Value) -> String {
        URL_SAFE_NO_PAD.encode(json.to_string())
    }

    /// A JWT of the test gateway, valid an hour around 2027-01-15.
    pub(in crate::protocol) fn signed(change: impl FnOnce(&mut Value, &mut Value)) -> HeaderValue {
        let mut header = json!({"alg": "RS512", "typ": "JWT", "kid": "bp-demo"});
        let mut claims = json!({
            "iss": "APIGW",
            "exp": 1_800_003_600,
            "nbf": 1_799_996_400,
            "app": {"bk_app_code": "sops", "verified": true},
            "user": {"bk_username": "admin", "verified": true},
        });
        change(&mut header, &mut claims);
        let message = format!("{}.{}", encoded(&header), encoded(&claims));
        let key = RsaKeyPair::from_pkcs8(include_bytes!("../../tests/data/gateway_test_key.pk8")).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA512, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        HeaderValue::try_from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))).unwrap()
    }

    fn verify(jwt: &HeaderValue) -> Result<(), Refused> {
        GatewayJwt::new(PUBLIC_KEY, Some("bp-demo")).unwrap().verify(jwt, NOW).map(drop)
    }

    #[test]
    fn the_gateways_own_is_good() {
        assert_eq!(verify(&signed(|_, _| {})), Ok(()));
        let in_a_line = STANDARD.encode(PUBLIC_KEY);
        assert!(GatewayJwt::new(&in_a_line, None).unwrap().verify(&signed(|_, _| {}), NOW).is_ok());
    }

    #[test]
    fn whatever_is_not_as_it_must_be_is_refused() {
        type Change = fn(&mut Value, &mut Value);
        let changes: [(&str, Change); 8] = [
            ("another gateway", |header, _| header["kid"] = json!("other")),
            ("no gateway", |header, _| header["kid"] = Value::Null),
            ("alg none", |header, _| header["alg"] = json!("none")),
            ("HS256", |header, _| header["alg"] = json!("HS256")),
            ("RS256", |header, _| header["alg"] = json!("RS256")),
            ("another issuer", |_, claims| claims["iss"] = json!("me")),
            ("expired", |_, claims| claims["exp"] = json!(1_800_000_000)),
            ("not yet", |_, claims| claims["nbf"] = json!(1_800_000_061)),
        ];
        for (what, change) in changes {
            assert!(verify(&signed(change)).is_err(), "{what}");
        }
        for missing in ["iss", "exp", "nbf"] {
            let jwt = signed(|_, claims| drop(claims.as_object_mut().unwrap().remove(missing)));
            assert!(verify(&jwt).is_err(), "without {missing}");
        }
    }

    #[test]
    fn what_was_changed_is_forged() {
        let jwt = signed(|_, _| {});
        let (message, signature) = jwt.to_str().unwrap().rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let claims = encoded(&json!({
            "iss": "APIGW", "exp": 1_900_000_000, "app": {"bk_app_code": "evil", "verified": true},
        }));
        for forged in
            [format!("{header}.{claims}.{signature}"), format!("{header}.{claims}."), "a.b".to_owned()]
        {
            assert!(verify(&HeaderValue::try_from(forged).unwrap()).is_err());
        }
        // Signed with the public key as if it were a shared secret.
        assert!(verify(&signed_with_hs256(PUBLIC_KEY.as_bytes(), &claims)).is_err());
    }

    fn signed_with_hs256(secret: &[u8], claims: &str) -> HeaderValue {
        let header = encoded(&json!({"alg": "HS256", "typ": "JWT", "kid": "bp-demo"}));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let message = format!("{header}.{claims}");
        let tag = ring::hmac::sign(&key, message.as_bytes());
        HeaderValue::try_from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))).unwrap()
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(GatewayJwt::new(text, None).is_err(), "{text:?}");
        }
    }
}
