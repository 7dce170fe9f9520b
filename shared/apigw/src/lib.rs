//! Registers a plugin at BlueKing's API gateway.
//!
//! A [`Registration`](definition::Registration) is the content that is sent to the gateway: two files,
//! `definition.yaml` and `resources.yaml`, with the settings filled in. The defaults are in this crate; an author
//! can name others. [`sync`](sync::sync) sends it and can be run again and again: it writes everything each time,
//! but makes and releases a version only if the stage does not have it. It keeps no state of its own, because the
//! version's number ends in a hash of its content and the gateway says which version a stage has. So the next sync
//! also completes one that was interrupted, and notices another stage's version and a release that a maintainer
//! made by hand.
#![deny(missing_docs)]

pub mod api;
pub mod client;
pub mod definition;
pub mod plan;
pub mod public_key;
pub mod settings;
pub mod sync;
