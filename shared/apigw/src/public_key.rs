//! The gateway's public key, which verifies its JWTs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bk_plugin_core::ids::hex;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a key, as `openssl pkey -pubin -outform DER | sha256sum` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256 {}", self.0)
    }
}

/// The gateway's answer is not a public key.
#[derive(Debug, thiserror::Error)]
#[error("public key: the gateway's answer is not a public key in PEM")]
pub struct NoKey;

/// The fingerprint of a key in PEM.
pub fn fingerprint(pem: &str) -> Result<Fingerprint, NoKey> {
    let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----").ok_or(NoKey)?;
    let body = body.strip_suffix("-----END PUBLIC KEY-----").ok_or(NoKey)?;
    let base64: String = body.split_whitespace().collect();
    let der = STANDARD.decode(base64).map_err(|_| NoKey)?;
    Ok(Fingerprint(hex(&Sha256::digest(der))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_that_of_openssl() {
        // openssl pkey -pubin -in gateway_test_key.pub.pem -outform DER | sha256sum
        let printed = "sha256 31558da59f09c5d6a48a0de2bb907fbc16d03d488f24233c73ff524c2a671299";
        assert_eq!(fingerprint(local_apigw::PUBLIC_KEY).unwrap().to_string(), printed);
    }

    #[test]
    fn what_is_no_key_has_none() {
        for text in
            ["", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----"]
        {
            assert!(fingerprint(text).is_err(), "{text}");
        }
    }
}
