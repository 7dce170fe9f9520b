//! The installed MariaDB, and a data directory made once that each server begins with a copy of.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options that make a server small and quick to start. Transactions are flushed to the disk as ever.
pub(crate) const SMALL: [&str; 6] = [
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--innodb-buffer-pool-load-at-startup=OFF",
    "--max-connections=100",
];

/// The server's program.
pub(crate) fn server() -> PathBuf {
    find(&["mariadbd", "mysqld"])
}

/// Root has to say that it means to run the server as root.
pub(crate) fn as_root() -> Option<&'static str> {
    (fs::metadata("/proc/self").unwrap().uid() == 0).then_some("--user=root")
}

/// A data directory with nothing in it but a root without password. It is made by whoever comes first, beside
/// the test programs.
pub(crate) fn template() -> PathBuf {
    let programs = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let template = programs.join("mariadb-data");
    if !template.exists() {
        let new = tempfile::tempdir_in(&programs).unwrap();
        let data = new.path().join("data");
        let made = Command::new(find(&["mariadb-install-db", "mysql_install_db"]))
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(SMALL)
            .args(as_root())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Somebody else may have been faster; theirs is as good.
        if fs::rename(&data, &template).is_err() {
            assert!(template.exists());
        }
    }
    template
}

fn find(names: &[&str]) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    // Debian keeps servers where a user's PATH does not lead.
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"]).map(Path::new);
    let mut programs = folders.flat_map(|folder| names.iter().map(|name| folder.join(name)));
    programs.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!("{} is not installed: install the package mariadb-server (no service has to run)", names[0])
    })
}
