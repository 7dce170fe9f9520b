//! The installed MariaDB, and the template of a data directory: it is made once, and each server begins with
//! a copy.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options that make a server small and quick to start. Transactions are still flushed to the disk.
pub(crate) const SMALL: [&str; 6] = [
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--innodb-buffer-pool-load-at-startup=OFF",
    "--max-connections=100",
];

/// The path of the server's program.
pub(crate) fn server() -> PathBuf {
    find(&["mariadbd", "mysqld"])
}

/// The option that MariaDB requires to run as root, if this process is root.
pub(crate) fn as_root() -> Option<&'static str> {
    (fs::metadata("/proc/self").unwrap().uid() == 0).then_some("--user=root")
}

/// The template of a data directory, beside the test programs. It holds only a root user without a password.
/// The first process that needs it makes it.
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
        // Another process may have been faster; its directory is as good.
        if fs::rename(&data, &template).is_err() {
            assert!(template.exists());
        }
    }
    template
}

fn find(names: &[&str]) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    // Debian keeps servers in folders outside a user's PATH.
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"]).map(Path::new);
    let mut programs = folders.flat_map(|folder| names.iter().map(|name| folder.join(name)));
    programs.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!("{} is not installed: install the package mariadb-server (no service has to run)", names[0])
    })
}
