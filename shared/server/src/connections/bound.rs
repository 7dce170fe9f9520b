//! How many connections a process can have, besides the files that it needs itself.

use std::fs;

/// The most connections that are kept by default, however many files the process may open.
const MOST: usize = 10_000;

/// The number of connections where the system does not say how many files the process may open.
const UNKNOWN: usize = 500;

/// Half of the files that the process may open: databases, log files, and the connections that plugins open need the
/// rest.
pub(crate) fn default_bound() -> usize {
    // Linux; other systems have no such file.
    let limits = fs::read_to_string("/proc/self/limits").ok();
    limits.as_deref().and_then(open_files).map_or(UNKNOWN, |files| (files / 2).clamp(1, MOST))
}

/// The soft limit of open files in the text of `/proc/self/limits`.
fn open_files(limits: &str) -> Option<usize> {
    let soft =
        limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(usize::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             95862                95862                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(
            open_files("Max open files            unlimited            unlimited            files"),
            Some(usize::MAX)
        );
        assert_eq!(open_files("Max processes 1 1"), None);
    }
}
