//! What runs plugins needs of them, and their authors do not: no part of the author's interface, and without any
//! promise that it stays as it is.

pub use crate::context::{PrepareCallback, StepFacts};
pub use crate::error::UnexpectedError;
pub use crate::registry::{AllowedScope, AuthorRoutes, Registry};
pub use crate::version::{Models, StepInput, StepOutcome, StepState, Version, panic_text};
