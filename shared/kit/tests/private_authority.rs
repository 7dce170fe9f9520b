//! A server whose certificate a private authority has signed. A test binary of its own: trust is the process's.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use bk_plugin_kit::http::{self, Client};
use local_apigw::DATA;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Answers every connection on a port of its own with 204.
async fn serve_tls() -> u16 {
    let certificate = CertificateDer::from_pem_file(format!("{DATA}test_localhost.pem")).unwrap();
    let key = std::fs::read(format!("{DATA}test_localhost.pk8")).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    port
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_the_host_says_so() {
    http::install_tls();
    let url = format!("https://localhost:{}/", serve_tls().await);

    let refused = Client::new().get(&url).send().await.unwrap_err();
    assert!(
        refused.to_string().ends_with("cannot be reached: invalid peer certificate: UnknownIssuer"),
        "{refused}"
    );

    // It is made before the host has read its settings, as a version may be.
    let client = Client::new();
    http::trust(Some(&std::fs::read(format!("{DATA}test_authority.pem")).unwrap()));
    client.get(&url).send().await.unwrap();
}
