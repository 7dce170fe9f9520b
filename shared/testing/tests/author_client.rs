//! Versions that make a `reqwest::Client` of their own, which panics where TLS has no cryptography.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bk_plugin_kit::prelude::*;
use bk_plugin_testing::{Harness, State};

/// Makes its client in its constructor, or in each step.
struct Fetch {
    http: Option<reqwest::Client>,
}

impl Plugin for Fetch {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, _: &mut Self::Context) -> Result<Next> {
        let http = self.http.clone().unwrap_or_default();
        let error = http.get("http://127.0.0.1:1").send().await.unwrap_err();
        if error.is_connect() { Ok(Next::done()) } else { unexpected!("{error}") }
    }
}

#[tokio::test]
async fn a_client_may_be_made_in_the_constructor() {
    let harness = Harness::with(|| Fetch { http: Some(reqwest::Client::new()) }).unwrap();
    assert_eq!(harness.invoke(Empty {}, Empty {}).await.state(), State::Success);
}

#[tokio::test]
async fn a_client_may_be_made_in_a_step() {
    let run = Harness::new(Fetch { http: None }).unwrap().invoke(Empty {}, Empty {}).await;
    assert_eq!(run.state(), State::Success);
}
