//! Puts odd values into its storage or its outputs.

use bk_plugin_kit::prelude::*;
use serde_json::json;

use super::v1_6_0::NoJson;
use crate::outputs::Loose;

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inputs {
    #[serde(rename = "where")]
    place: String,
    wait: bool,
    kind: String,
}

impl Default for Inputs {
    fn default() -> Self {
        Self { place: "storage".to_owned(), wait: true, kind: "object".to_owned() }
    }
}

pub struct NonJson;

impl Plugin for NonJson {
    const META: Meta = Meta::version("1.7.0").desc("non JSON-serialisable storage / outputs");
    type Inputs = Inputs;
    type Context = Context<Loose<Empty>, JsonObject>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        if cx.invoke_count() > 1 {
            cx.storage.insert("resumed".to_owned(), true.into());
            return Ok(Next::done());
        }
        // Rust has a JSON form for every kind but the first, also where Python has none.
        let bad = match inputs.kind.as_str() {
            "object" => serde_json::to_value(NoJson)?,
            "set" => json!([1]),
            "datetime" => json!("2024-01-02T03:04:05.000678"),
            "date" => json!("2024-01-02"),
            "decimal" => json!(1.5),
            "bytes" => json!("abc"),
            "nan" => json!(f64::NAN),
            "inf" => json!(f64::INFINITY),
            "tuple" => json!([1, 2]),
            "intkey" => json!({"1": "c", "null": "b"}),
            kind => unexpected!("'{kind}'"),
        };
        if inputs.place == "outputs" {
            cx.outputs.edit().set("bad", bad);
        } else {
            cx.storage.insert("bad".to_owned(), bad);
        }
        Ok(if inputs.wait { Next::poll(secs(1)) } else { Next::done() })
    }
}
