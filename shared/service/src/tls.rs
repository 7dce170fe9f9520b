//! The cryptography that TLS uses, and the certificate authorities it trusts: the same for all clients of a
//! process.

use std::path::Path;

use reqwest::Certificate;

pub use bk_plugin_kit::http::install_tls as install;

/// Certificate authorities that are trusted besides the machine's own: usually a company's.
#[derive(Debug, Clone, Default)]
pub struct Authorities {
    certificates: Vec<Certificate>,
    pem: Vec<u8>,
}

/// Why a file gives no certificates.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path} holds no certificates in PEM")]
    NoCertificates {
        /// The file.
        path: String,
    },
}

impl Authorities {
    /// The authorities whose certificates are in a file, in PEM.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, AuthoritiesError> {
        let display = || path.as_ref().display().to_string();
        let pem =
            std::fs::read(&path).map_err(|source| AuthoritiesError::File { path: display(), source })?;
        match Certificate::from_pem_bundle(&pem) {
            Ok(certificates) if !certificates.is_empty() => Ok(Self { certificates, pem }),
            _ => Err(AuthoritiesError::NoCertificates { path: display() }),
        }
    }

    /// Their certificates in PEM, if there are any: for clients that are not made by [`client_builder`].
    pub fn pem(&self) -> Option<&[u8]> {
        (!self.pem.is_empty()).then_some(&self.pem)
    }
}

/// A builder of HTTP clients that trust the machine's certificate authorities and these.
pub fn client_builder(authorities: &Authorities) -> reqwest::ClientBuilder {
    install();
    let builder = reqwest::Client::builder();
    if authorities.certificates.is_empty() {
        return builder;
    }
    builder.tls_certs_merge(authorities.certificates.iter().cloned())
}
