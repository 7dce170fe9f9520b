//! The cryptography that TLS uses: the same for all clients of a process.

/// Chooses it for the process, unless that was done before.
///
/// Call it before building a `reqwest` or other `rustls` client of your own.
pub fn install() {
    // An error says that it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
