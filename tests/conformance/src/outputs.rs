//! Outputs as loose as the reference's.

use std::borrow::Cow;
use std::marker::PhantomData;

use bk_plugin_kit::prelude::*;
use schemars::{Schema, SchemaGenerator};

/// Outputs that are shown as `Declared` and may be anything: the reference never checks them.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Loose<Declared> {
    value: Value,
    #[serde(skip)]
    declared: PhantomData<fn() -> Declared>,
}

impl<Declared> Loose<Declared> {
    /// Any value.
    pub fn new(value: impl Into<Value>) -> Self {
        Self { value: value.into(), declared: PhantomData }
    }

    /// The value `name`, null if there is none yet.
    pub fn at(&mut self, name: &str) -> &mut Value {
        &mut self.value[name]
    }

    /// Sets the value `name`.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.value[name] = value.into();
    }

    /// Appends to the list `name`, and says how long it is.
    pub fn push(&mut self, name: &str, value: impl Into<Value>) -> usize {
        let Value::Array(list) = &mut self.value[name] else {
            self.value[name] = Value::Array(vec![value.into()]);
            return 1;
        };
        list.push(value.into());
        list.len()
    }
}

impl<Declared> Default for Loose<Declared> {
    fn default() -> Self {
        Self::new(JsonObject::new())
    }
}

impl<Declared: JsonSchema> JsonSchema for Loose<Declared> {
    fn schema_name() -> Cow<'static, str> {
        Declared::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Declared::json_schema(generator)
    }
}
