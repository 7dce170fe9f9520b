//! A version whose inputs are costly to check.

use bk_plugin_kit::prelude::*;

use super::version;

/// A rule made of rules, as authors write them.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "op")]
#[allow(dead_code, reason = "only read")]
pub enum Rule {
    /// All of them.
    And {
        /// The rules.
        items: Vec<Rule>,
    },
    /// Any of them.
    Or {
        /// The rules.
        items: Vec<Rule>,
    },
    /// A field of the request has a value.
    Is {
        /// The field.
        field: String,
        /// Its value.
        value: i64,
    },
}

/// What [`Rules`] is told.
#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only read")]
pub struct RulesInputs {
    #[serde(default)]
    rule: Option<Rule>,
    #[serde(default)]
    numbers: Vec<i64>,
}

/// 1.0.0-rules: takes a rule, and does nothing.
pub struct Rules;

impl Plugin for Rules {
    const META: Meta = version("1.0.0-rules");
    type Inputs = RulesInputs;
    type Context = Context;

    async fn execute(&self, _: RulesInputs, _: &mut Self::Context) -> Result<Next> {
        Ok(Next::done())
    }
}
