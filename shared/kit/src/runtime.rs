//! What runs plugins needs of them, and their authors do not: no part of the author's interface, and without any
//! promise that it stays as it is.

pub use crate::context::{PluginContext, StepFacts, StepHost};
pub use crate::error::UnexpectedError;
pub use crate::make_project::{Async, Blocking, MakeProject, MaybeProject};
pub use crate::registry::{AllowedScope, AuthorRoutes, Registry};
pub use crate::validation::{Invalid, Model, ModelError, Problem};
pub use crate::version::{Failure, Models, StepInput, StepOutcome, StepState, Version, panic_text};

/// The JSON Schema of a type, in the shape the reference gives it.
pub mod schema {
    pub use crate::schema::*;
}
