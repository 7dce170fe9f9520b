//! What an author can say in a step, and what its users are told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use bk_plugin_kit::prelude::*;
use bk_plugin_testing::{Harness, State};
use serde_json::json;

/// Polls each minute, and gives up after ten.
struct Patience;

impl Plugin for Patience {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if cx.now().since(cx.started_at()) >= Duration::from_mins(10) {
            fail!("it did not end within ten minutes");
        }
        Ok(Next::poll(secs(60)))
    }
}

#[tokio::test]
async fn time_is_virtual() {
    let mut run = Harness::new(Patience).unwrap().invoke(Empty {}, Empty {}).await;
    run.advance(Duration::from_secs(599)).await;
    assert_eq!(run.state(), State::Poll);
    run.advance(secs(1)).await;
    assert_eq!(run.state(), State::Fail);
    assert!(run.err().ends_with("it did not end within ten minutes"), "{}", run.err());
}

/// An even number.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Even(u32);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if number % 2 == 0 { Ok(Self(number)) } else { Err(serde::de::Error::custom("must be even")) }
    }
}

#[derive(Deserialize, JsonSchema)]
struct Options {
    sizes: Vec<Even>,
}

#[derive(Deserialize, JsonSchema)]
struct Inputs {
    options: Options,
}

struct Sizes;

impl Plugin for Sizes {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Inputs;
    type Context = Context;

    async fn execute(&self, inputs: Inputs, _: &mut Self::Context) -> Result<Next> {
        let sum: u32 = inputs.options.sizes.iter().map(|size| size.0).sum();
        if sum == 6 { Ok(Next::done()) } else { unexpected!("the sum is {sum}") }
    }
}

#[tokio::test]
async fn an_authors_own_check_names_its_field() {
    let invoke = async |sizes: Value| {
        let inputs = json!({"options": {"sizes": sizes}});
        Harness::new(Sizes).unwrap().invoke(inputs, Empty {}).await
    };
    assert_eq!(invoke(json!([2, "4"])).await.state(), State::Success);
    let refused = invoke(json!([2, 3])).await;
    assert_eq!(refused.err(), "inputs validation error: options.sizes[1]: must be even");
}

/// Three names, in any order, and one that is asked for again in a later step.
struct Named;

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Urls {
    first: String,
    second: String,
    called: Vec<String>,
}

impl Plugin for Named {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Empty;
    type Context = Context<Urls>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        let Event::Called(call) = cx.event() else {
            let (first, second) = (cx.callback_url("first"), cx.callback_url("second"));
            cx.outputs.set(Urls { first, second, called: Vec::new() });
            return Ok(Next::callback());
        };
        let name = ["first", "second"].into_iter().find(|name| call.is(name)).unwrap_or("another");
        cx.outputs.edit().called.push(name.to_owned());
        if name == "second" {
            return Ok(Next::done());
        }
        // The same callback, with a fresh URL.
        cx.outputs.edit().second = cx.callback_url("second");
        Ok(Next::callback())
    }
}

#[tokio::test]
async fn callbacks_have_names() {
    let mut run = Harness::new(Named).unwrap().invoke(Empty {}, Empty {}).await;
    let url = |run: &bk_plugin_testing::Run, which: &str| run.outputs()[which].as_str().unwrap().to_owned();
    let (first, second) = (url(&run, "first"), url(&run, "second"));
    run.call(&first, json!(1)).await.unwrap();
    assert_eq!(run.state(), State::Callback);
    run.call(&second, json!(2)).await.unwrap();
    assert_eq!(run.state(), State::Success, "the URL of the first step is as good as the later one");
    assert_eq!(run.outputs()["called"], json!(["first", "second"]));
}

/// Leaves the ratio of two numbers.
struct Ratio;

#[derive(Default, Serialize, Deserialize)]
struct Ratios {
    known: Vec<Option<f64>>,
}

impl Plugin for Ratio {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = JsonObject;
    type Context = Context<Empty, Ratios>;

    async fn execute(&self, inputs: JsonObject, cx: &mut Self::Context) -> Result<Next> {
        let number = |name| inputs.get(name).and_then(Value::as_f64).unwrap_or_default();
        cx.storage.known.push(Some(number("of") / number("by")));
        Ok(Next::poll(secs(1)))
    }
}

#[tokio::test]
async fn a_number_that_json_has_not_is_said_at_the_step_that_left_it() {
    let invoke =
        async |by: u8| Harness::new(Ratio).unwrap().invoke(json!({"of": 1, "by": by}), Empty {}).await;
    assert_eq!(invoke(2).await.state(), State::Poll);
    let failed = invoke(0).await;
    assert_eq!(failed.state(), State::Fail);
    let said = "plugin context json dumps error: storage: known[0]: NaN and infinity are not JSON numbers";
    assert!(failed.err().ends_with(said), "{}", failed.err());
}
