//! BlueKing's API gateway, as the one who registers a plugin there.
//!
//! [`sync`](sync::sync) tells the gateway what `infra/apigw` says: [`Registration`](definition::Registration) is that,
//! with the settings filled in. It can be run again and again. What is registered is written each time; a version is
//! made and released only if the stage has not got it. No state of our own is needed for that: the version's number
//! ends in a hash of what it is made of, and the gateway itself says which version a stage has. So a sync that died
//! half-way, one of another stage, and a version that somebody released by hand are all seen for what they are.
#![deny(missing_docs)]

pub mod api;
pub mod client;
pub mod definition;
pub mod plan;
pub mod public_key;
pub mod settings;
pub mod sync;
