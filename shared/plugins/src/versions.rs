//! One file a version. What `Inputs`, `Outputs` and the like are is said by the trait they are for.
#![allow(missing_docs)]

pub mod v1_0_0;
pub mod v1_1_0;
pub mod v1_2_0;
pub mod v2_0_0;
