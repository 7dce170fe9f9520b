//! The JWT with which BlueKing's API gateway vouches for its callers: signed with RS512 by the gateway whose
//! public key is known, with the gateway's name as its `kid`, issued by `APIGW`, not expired.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use axum::http::HeaderValue;
use bk_plugin_core::clock::{Clock, Timestamp};
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Validation};

use super::gateway_claims::Claims;
use super::public_key::{InvalidPublicKey, LatestKey, PublicKey, PublicKeyFile, PublicKeySource};
use super::refused::Refused;

/// Verifies the JWTs of one gateway.
pub struct GatewayJwt {
    gateway_name: String,
    key: LatestKey,
    validation: Validation,
}

impl fmt::Debug for GatewayJwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayJwt").field("gateway_name", &self.gateway_name).finish_non_exhaustive()
    }
}

/// Why a file gives no public key.
#[derive(Debug, thiserror::Error)]
pub enum PublicKeyFileError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// The file does not hold a public key.
    #[error(transparent)]
    Invalid(#[from] InvalidPublicKey),
}

impl GatewayJwt {
    const ISSUER: &str = "APIGW";

    /// The gateway with this name and this public key: PEM, or the base64 of it, which fits into a line.
    pub fn with_key(gateway_name: &str, public_key: &str) -> Result<Self, InvalidPublicKey> {
        Ok(Self::new(gateway_name, LatestKey::new(Some(PublicKey::parse(public_key)?), None)))
    }

    /// The gateway with this name and the public key in this file, which is read again when it may have been
    /// replaced.
    pub fn with_file(gateway_name: &str, path: &Path) -> Result<Self, PublicKeyFileError> {
        let key = PublicKey::parse(&std::fs::read_to_string(path)?)?;
        let source: Arc<dyn PublicKeySource> = Arc::new(PublicKeyFile(path.to_owned()));
        Ok(Self::new(gateway_name, LatestKey::new(Some(key), Some(source))))
    }

    /// The gateway with this name, whose public key is fetched from `source`: when it is first needed, and when a
    /// JWT does not fit it, but at most once a minute.
    pub fn with_source(gateway_name: &str, source: Arc<dyn PublicKeySource>) -> Self {
        Self::new(gateway_name, LatestKey::new(None, Some(source)))
    }

    fn new(gateway_name: &str, key: LatestKey) -> Self {
        // Fails if another server in this process has installed a provider already, which is always this one.
        let _ = PROVIDER.install_default();
        let mut validation = Validation::new(Algorithm::RS512);
        validation.set_issuer(&[Self::ISSUER]);
        validation.set_required_spec_claims(&["iss", "exp", "nbf"]);
        // `Claims` checks the times, against the framework's own clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self { gateway_name: gateway_name.to_owned(), key, validation }
    }

    /// Begins to fetch the public key, so that the first caller need not wait for it.
    pub(super) fn fetch_key(&self, now: Timestamp) {
        self.key.fetch(now);
    }

    /// What the gateway says of the call that is made now, if the JWT is really the gateway's.
    pub(super) async fn verify(&self, jwt: &HeaderValue, clock: &dyn Clock) -> Result<Claims, Refused> {
        self.check_header(jwt)?;
        let known = self.key.get();
        let claims = match known.as_ref().map(|key| self.decode(jwt, key)) {
            // The gateway may have a new key. `kid` does not show it: it is always the gateway's name.
            None | Some(Err(OTHER_SIGNATURE)) => match self.key.newest(clock.now()).await {
                None => Err(Refused::PublicKeyNotFetched),
                newest if newest == known => Err(OTHER_SIGNATURE),
                Some(key) => self.decode(jwt, &key),
            },
            Some(decoded) => decoded,
        }?;
        claims.check_times(clock.world_time())?;
        Ok(claims)
    }

    /// Checks that the JWT claims to be this gateway's, so that a JWT of another gateway does not cause a fetch of
    /// the key.
    fn check_header(&self, jwt: &HeaderValue) -> Result<(), Refused> {
        let header = jsonwebtoken::decode_header(jwt.as_bytes()).map_err(|error| refused(&error))?;
        if header.alg != Algorithm::RS512 {
            return Err(OTHER_ALGORITHM);
        }
        if header.kid.as_ref() != Some(&self.gateway_name) {
            return Err(Refused::NotAccepted("it is another gateway's"));
        }
        Ok(())
    }

    fn decode(&self, jwt: &HeaderValue, key: &PublicKey) -> Result<Claims, Refused> {
        let token = jsonwebtoken::decode(jwt.as_bytes(), &key.decoding, &self.validation);
        token.map(|token| token.claims).map_err(|error| refused(&error))
    }
}

const OTHER_SIGNATURE: Refused = Refused::NotAccepted("its signature is not the gateway's");
const OTHER_ALGORITHM: Refused = Refused::NotAccepted("it is not signed with RS512");

fn refused(error: &Error) -> Refused {
    match error.kind() {
        ErrorKind::InvalidSignature => OTHER_SIGNATURE,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => OTHER_ALGORITHM,
        ErrorKind::InvalidIssuer => Refused::NotAccepted("it is not issued by APIGW"),
        _ => Refused::Unreadable("it has not the parts or claims it needs"),
    }
}

/// Signatures are checked by ring, which TLS needs anyway; RS512 is the only algorithm that it offers here.
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
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use bk_plugin_core::memory::ManualClock;
    use ring::rand::SystemRandom;
    use ring::signature::{RSA_PKCS1_SHA512, RsaKeyPair};
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    pub(in crate::protocol) const PUBLIC_KEY: &str = local_apigw::PUBLIC_KEY;

    fn encoded(json: &Value) -> String {
        URL_SAFE_NO_PAD.encode(json.to_string())
    }

    /// A JWT of the test gateway, valid an hour around 2027-01-15.
    pub(in crate::protocol) fn signed(change: impl FnOnce(&mut Value, &mut Value)) -> HeaderValue {
        let message = message(change);
        let key = RsaKeyPair::from_pkcs8(local_apigw::PRIVATE_KEY).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA512, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        jwt(&message, &signature)
    }

    /// A JWT that is signed with the public key as if it were a shared secret.
    pub(in crate::protocol) fn signed_with_public_key(algorithm: &str) -> HeaderValue {
        let message = message(|header, _| header["alg"] = json!(algorithm));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, PUBLIC_KEY.as_bytes());
        jwt(&message, ring::hmac::sign(&key, message.as_bytes()).as_ref())
    }

    /// A JWT whose claims are not the signed ones.
    pub(in crate::protocol) fn forged() -> HeaderValue {
        let (genuine, claims) =
            (signed(|_, _| {}), message(|_, claims| claims["user"]["username"] = json!("x")));
        let (_, signature) = genuine.to_str().unwrap().rsplit_once('.').unwrap();
        HeaderValue::try_from(format!("{claims}.{signature}")).unwrap()
    }

    fn message(change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"alg": "RS512", "typ": "JWT", "kid": "bp-demo"});
        let mut claims = json!({
            "iss": "APIGW",
            "exp": 1_800_003_600,
            "nbf": 1_799_996_400,
            "app": {"bk_app_code": "sops", "verified": true},
            "user": {"bk_username": "admin", "verified": true},
        });
        change(&mut header, &mut claims);
        format!("{}.{}", encoded(&header), encoded(&claims))
    }

    fn jwt(message: &str, signature: &[u8]) -> HeaderValue {
        HeaderValue::try_from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))).unwrap()
    }

    async fn verify(jwt: &HeaderValue) -> Result<(), Refused> {
        GatewayJwt::with_key("bp-demo", PUBLIC_KEY)
            .unwrap()
            .verify(jwt, &ManualClock::at(NOW))
            .await
            .map(drop)
    }

    #[tokio::test]
    async fn the_gateways_own_is_good() {
        assert_eq!(verify(&signed(|_, _| {})).await, Ok(()));
        let in_a_line = GatewayJwt::with_key("bp-demo", &STANDARD.encode(PUBLIC_KEY)).unwrap();
        assert!(in_a_line.verify(&signed(|_, _| {}), &ManualClock::at(NOW)).await.is_ok());
    }

    #[tokio::test]
    async fn whatever_is_not_as_it_must_be_is_refused() {
        type Change = fn(&mut Value, &mut Value);
        let changes: [(&str, Change); 9] = [
            ("another gateway's", |header, _| header["kid"] = json!("other")),
            ("another gateway's", |header, _| header["kid"] = Value::Null),
            ("not a JWT", |header, _| header["alg"] = json!("none")),
            ("RS512", |header, _| header["alg"] = json!("HS256")),
            ("RS512", |header, _| header["alg"] = json!("RS256")),
            ("APIGW", |_, claims| claims["iss"] = json!("me")),
            ("expired", |_, claims| claims["exp"] = json!(1_799_996_400)),
            ("not valid yet", |_, claims| claims["nbf"] = json!(1_800_003_601)),
            ("not a JWT", |_, claims| claims["exp"] = json!("soon")),
        ];
        for (said, change) in changes {
            let refused = verify(&signed(change)).await.unwrap_err().to_string();
            assert!(refused.contains(said), "{said}: {refused}");
        }
        for missing in ["iss", "exp", "nbf"] {
            let jwt = signed(|_, claims| drop(claims.as_object_mut().unwrap().remove(missing)));
            assert!(verify(&jwt).await.is_err(), "without {missing}");
        }
    }

    #[tokio::test]
    async fn what_was_changed_is_forged() {
        let genuine = signed(|_, _| {});
        let without_signature = genuine.to_str().unwrap().rsplit_once('.').unwrap().0;
        for jwt in [forged(), signed_with_public_key("RS512"), jwt(without_signature, b"")] {
            assert_eq!(verify(&jwt).await, Err(OTHER_SIGNATURE));
        }
        assert_eq!(verify(&signed_with_public_key("HS256")).await, Err(OTHER_ALGORITHM));
        assert!(verify(&HeaderValue::from_static("a.b")).await.is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(GatewayJwt::with_key("bp-demo", text).is_err(), "{text:?}");
        }
    }
}
