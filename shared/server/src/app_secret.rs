//! The app secret: the platform's, or in development one that is made once and kept in a file, so that callback
//! URLs stay valid after a restart.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use bk_plugin_core::ids::Receipt;
use secrecy::SecretString;

use crate::settings::ServerSettings;
use crate::start_error::StartError;

/// The secret that was set, or the one kept for development.
pub(crate) fn of(settings: &ServerSettings) -> Result<SecretString, StartError> {
    if let Some(secret) = &settings.shared.app_secret {
        return Ok(secret.clone());
    }
    let path = settings.store.secret_file();
    kept(&path).map(SecretString::from).map_err(|source| StartError::AppSecret { path, source })
}

fn kept(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(secret) if !secret.trim().is_empty() => Ok(secret.trim().to_owned()),
        Ok(_) => make(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    }
}

fn make(path: &Path) -> io::Result<String> {
    // 256 random bits as text.
    let secret = format!("{}{}", Receipt::random(), Receipt::random());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(secret.as_bytes())?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.secret");
        let secret = kept(&path).unwrap();
        assert_eq!(secret.len(), 64);
        assert_eq!(kept(&path).unwrap(), secret);
    }
}
