//! The name of this machine; in a container the container's name.

/// The name, with replacement characters for what is not valid UTF-8.
pub(crate) fn hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}
