//! Compiles every Rust block of the documentation: `cargo test --doc --package docs`.
//!
//! Blocks marked `no_run` are those that would call another system or wait for ever.

/// `README.md`
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub mod readme {}

/// `README.zh-CN.md`
#[cfg(doctest)]
#[doc = include_str!("../../../README.zh-CN.md")]
pub mod readme_zh_cn {}

/// `docs/writing-plugins.md`
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-plugins.md")]
pub mod writing_plugins {}

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
