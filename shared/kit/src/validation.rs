//! stub
#![allow(missing_docs)]
use crate::JsonObject;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct ModelError;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Invalid;
pub struct Model(JsonObject);
impl Model {
    pub fn of<T: schemars::JsonSchema>() -> Result<Self, ModelError> {
        Ok(Self(JsonObject::new()))
    }
    pub fn schema(&self) -> &JsonObject {
        &self.0
    }
    pub fn check(&self, v: JsonObject) -> Result<JsonObject, Invalid> {
        Ok(v)
    }
}
