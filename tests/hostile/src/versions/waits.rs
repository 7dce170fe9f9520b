//! Versions that take their time.

use std::future::pending;
use std::time::Duration;

use bk_plugin_kit::prelude::*;

use super::{Harm, version};

/// 1.0.0-never-ends: a step that never ends, and holds no thread.
pub struct NeverEnds;

impl Harm for NeverEnds {
    const META: Meta = version("1.0.0-never-ends");

    async fn harm(&self) -> Result<Next> {
        pending().await
    }
}

/// 1.0.0-polls-for-ever: polls without a pause and without an end.
pub struct PollsForEver;

impl Harm for PollsForEver {
    const META: Meta = version("1.0.0-polls-for-ever");

    async fn harm(&self) -> Result<Next> {
        Ok(Next::poll(Duration::ZERO))
    }
}

/// 1.0.0-waits-for-ever: waits for a callback that never comes.
pub struct WaitsForEver;

impl Harm for WaitsForEver {
    const META: Meta = version("1.0.0-waits-for-ever");

    async fn harm(&self) -> Result<Next> {
        Ok(Next::callback())
    }
}

/// 1.0.0-crawls: a slow step within its time limit. Many of them are a backlog.
pub struct Crawls;

impl Harm for Crawls {
    const META: Meta = Meta::version("1.0.0-crawls");

    async fn harm(&self) -> Result<Next> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Next::done())
    }
}

/// 1.0.0-tells: succeeds, and tells its caller by a finish callback.
pub struct Tells;

impl Plugin for Tells {
    const META: Meta = Meta::version("1.0.0-tells").enable_plugin_callback();
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        match cx.event() {
            // An invocation that ends in its first step tells nothing.
            Event::Invoked => Ok(Next::poll(Duration::ZERO)),
            _ => Ok(Next::done()),
        }
    }
}
