//! The name of this machine, in containers that of the container.

/// The name, as far as it is text.
pub(crate) fn hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}
