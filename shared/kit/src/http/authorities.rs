//! Whose certificates are trusted besides the machine's own.

use std::path::PathBuf;
use std::sync::OnceLock;

use reqwest::Certificate;

const NAME: &str = "BK_PLUGIN_CA_FILE";

/// What the host has read from BK_PLUGIN_CA_FILE, in PEM.
static TOLD: OnceLock<Option<Vec<u8>>> = OnceLock::new();

/// Says whose certificates are trusted besides the machine's own, in PEM: a host has read its settings. The first call
/// counts. Where there is no host, as in a test, the variable is read.
pub fn trust(pem: Option<&[u8]>) {
    let _ = TOLD.set(pem.map(ToOwned::to_owned));
}

pub(super) fn certificates() -> Result<Vec<Certificate>, String> {
    match TOLD.get() {
        Some(told) => told.as_deref().map_or(Ok(Vec::new()), parse),
        None => read(std::env::var_os(NAME).map(PathBuf::from)),
    }
}

/// The certificates in a file. An empty name is that of no file.
fn read(file: Option<PathBuf>) -> Result<Vec<Certificate>, String> {
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else { return Ok(Vec::new()) };
    let pem = std::fs::read(file).map_err(|error| format!("{NAME}: {error}"))?;
    parse(&pem)
}

fn parse(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    match Certificate::from_pem_bundle(pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{NAME}: the file holds no certificates in PEM")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_host_the_file_is_read() {
        let read = |file: &str| read(Some(PathBuf::from(file)));
        let authority = format!("{}test_authority.pem", local_apigw::DATA);
        assert_eq!(read(&authority).unwrap().len(), 1);
        assert_eq!(read("").unwrap().len(), 0);
        assert!(read("no/such/file.pem").unwrap_err().starts_with("BK_PLUGIN_CA_FILE: No such file"));
        let key = format!("{}gateway_test_key.pk8", local_apigw::DATA);
        assert_eq!(read(&key).unwrap_err(), "BK_PLUGIN_CA_FILE: the file holds no certificates in PEM");
    }
}
