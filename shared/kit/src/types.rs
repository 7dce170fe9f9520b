//! The types that a version of a plugin is written with: which ones can be its inputs, outputs, storage and context inputs.
//!
//! Each trait is implemented for every type that can be it. It is a trait of its own so that the compiler names the cure
//! when a derive is missing, and not the hundred types that have it.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::from_json::from_values;
use crate::validation::{Model, ModelError};

/// Types that can be the inputs of a plugin: all that derive `Deserialize` and `JsonSchema`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the inputs of a plugin",
    label = "inputs derive `Deserialize` and `JsonSchema`",
    note = "write `#[derive(Deserialize, JsonSchema)]` above `{Self}`, and above the types of its fields"
)]
// No supertraits: for an associated type the compiler would name these instead of the cure above.
pub trait Inputs: Sized + Send {
    #[doc(hidden)]
    fn model() -> Result<Model, ModelError>;
    #[doc(hidden)]
    fn read(values: &Value, model: &Model) -> Result<Self, String>;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema + Send> Inputs for T {
    fn model() -> Result<Model, ModelError> {
        Model::of::<T>()
    }

    fn read(values: &Value, model: &Model) -> Result<Self, String> {
        from_values(values, || model.values_read(values))
    }
}

/// Types that can be the context inputs of a plugin: all that derive `Deserialize` and `JsonSchema`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the context inputs of a plugin",
    label = "context inputs derive `Deserialize` and `JsonSchema`",
    note = "write `#[derive(Deserialize, JsonSchema)]` above `{Self}`, and above the types of its fields",
    note = "the order is `Context<Outputs, Storage, ContextInputs>`"
)]
pub trait ContextInputs: DeserializeOwned + JsonSchema + Send {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema + Send> ContextInputs for T {}

/// Types that can be the storage of a plugin: all that derive `Default`, `Serialize` and `Deserialize`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the storage of a plugin",
    label = "storage derives `Default`, `Serialize` and `Deserialize`",
    note = "write `#[derive(Default, Serialize, Deserialize)]` above `{Self}`",
    note = "the order is `Context<Outputs, Storage, ContextInputs>`"
)]
pub trait Storage: Default + Serialize + DeserializeOwned + Send {}

#[diagnostic::do_not_recommend]
impl<T: Default + Serialize + DeserializeOwned + Send> Storage for T {}

/// Types that can be the outputs of a plugin: all that derive `Serialize`, `Deserialize` and `JsonSchema`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the outputs of a plugin",
    label = "outputs derive `Serialize`, `Deserialize` and `JsonSchema`",
    note = "write `#[derive(Serialize, Deserialize, JsonSchema)]` above `{Self}`, and above the types of its fields",
    note = "the order is `Context<Outputs, Storage, ContextInputs>`"
)]
pub trait Outputs: Serialize + DeserializeOwned + JsonSchema + Send {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + JsonSchema + Send> Outputs for T {}

/// Inputs, context inputs or outputs without any field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
pub struct Empty {}
