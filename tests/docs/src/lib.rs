//! Compiles every Rust block of the documentation: `cargo test --doc --package docs`.
//!
//! Blocks marked `no_run` would call another system, or never end.

pub mod workspace;

/// `README.md`
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub mod readme {}

/// `README.zh-CN.md`
#[cfg(doctest)]
#[doc = include_str!("../../../README.zh-CN.md")]
pub mod readme_zh_cn {}

/// `docs/first-plugin.md`
#[cfg(doctest)]
#[doc = include_str!("../../../docs/first-plugin.md")]
pub mod first_plugin {}

/// `docs/writing-plugins.md`
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-plugins.md")]
pub mod writing_plugins {}

/// `docs/plugin-reference.md`
#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugin-reference.md")]
pub mod plugin_reference {}

/// `docs/http.md`
#[cfg(doctest)]
#[doc = include_str!("../../../docs/http.md")]
pub mod http {}

/// `docs/from-python.md`
#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-python.md")]
pub mod from_python {}

/// `docs/reliability.md`
#[cfg(doctest)]
#[doc = include_str!("../../../docs/reliability.md")]
pub mod reliability {}
