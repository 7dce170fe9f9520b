//! The outside world: the callers of `invoke`, of callback URLs and of `schedule`. They use the real HTTP
//! handlers.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use bk_plugin_service::protocol::Endpoint;
use futures::FutureExt as _;
use futures::future::{Either, select};
use rand::RngExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::plugin::WORD;
use crate::world::{CALLERS, Call, FIRST_CALLER, Fault, INVOKER, READER, Shared};

/// Upper limit of a first step: an `invoke` whose caller hung up or timed out goes on in a task of its own,
/// and is over after this time.
const LONGEST_FIRST_STEP: Duration = Duration::from_mins(5);
/// Most calls of callback URLs in one world.
const MOST_CALLS: usize = 40;

/// Sends a request; `None` if there was no answer.
async fn send(
    shared: &Shared,
    process: usize,
    endpoint: &Endpoint,
    request: Request<Body>,
) -> Option<(u16, Value)> {
    // Consumes the permit of an earlier death that no request was waiting for.
    let _ = shared.died(process).notified().now_or_never();
    let hangs_up = shared.with(|world| {
        let hangs_up = world.fault(process, Fault::HangUp);
        hangs_up.then(|| world.dice.random_range(0..5 * world.latency))
    });
    let answered = async {
        let response = match endpoint.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    };
    let ends = async {
        match hangs_up {
            Some(after) => {
                let hung_up = pin!(tokio::time::sleep(Duration::from_millis(after)));
                select(hung_up, pin!(shared.died(process).notified())).map(|_| ()).await;
            }
            None => shared.died(process).notified().await,
        }
    };
    match select(pin!(answered), pin!(ends)).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

fn post(path: &str, body: &Value) -> Request<Body> {
    let mut request = Request::new(Body::from(body.to_string()));
    *request.method_mut() = axum::http::Method::POST;
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    request
}

/// Spawns a task that must end before the world can.
pub(crate) fn spawn(shared: &Shared, task: impl Future<Output = ()> + Send + 'static) {
    shared.with(|world| world.busy += 1);
    let shared = shared.clone();
    tokio::spawn(async move {
        task.await;
        shared.with(|world| world.busy -= 1);
    });
}

/// Invokes the plugin.
pub(crate) fn invoke(shared: &Shared) {
    let world = shared.clone();
    spawn(shared, async move {
        let tells = world.with(|world| world.script.tells);
        let context = if tells {
            json!({"plugin_callback_info": {"url": "http://caller.test/", "data": {"task": 1}}})
        } else {
            json!({})
        };
        let body = json!({"inputs": {"word": WORD}, "context": context});
        let request = post("/bk_plugin/invoke/1.0.0", &body);
        let answer = send(&world, INVOKER, &world.machines().invoke, request).await;
        world.with(|world| {
            let shown = answer
                .as_ref()
                .map(|(status, body)| (*status, body["data"]["state"].clone(), body["data"]["err"].clone()));
            world.note(INVOKER, |_| format!("answer: {shown:?}"));
        });
        match answer {
            Some((200, body)) => world.with(|world| world.invoked = Some(body["data"].clone())),
            Some((500, _)) => {}
            _ => tokio::time::sleep(LONGEST_FIRST_STEP).await,
        }
    });
}

/// Calls a callback URL after `delay` milliseconds, and perhaps again if the call is not accepted.
pub(crate) fn call_later(shared: &Shared, token: String, delay: u64) {
    let world = shared.clone();
    spawn(shared, async move {
        let mut delay = delay;
        while world.with(|world| world.calls.len() < MOST_CALLS) {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let again = match call(&world, &token).await {
                None | Some(500..) => world.with(|world| world.dice.random_ratio(2, 3)),
                Some(_) => false,
            };
            if !again {
                return;
            }
            delay = world.with(|world| world.dice.random_range(0..20_000));
        }
    });
}

async fn call(shared: &Shared, token: &str) -> Option<u16> {
    let free = |shared: &Shared| {
        shared.with(|world| {
            let free =
                (FIRST_CALLER..FIRST_CALLER + CALLERS).find(|process| !world.busy_process[*process])?;
            world.busy_process[free] = true;
            world.dead[free] = false;
            Some(free)
        })
    };
    let process = loop {
        match free(shared) {
            Some(process) => break process,
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let number = shared.with(|world| {
        world.disturb();
        let number = world.calls.len();
        world.calls.push(Call { sent_at: world.now(), ..Call::default() });
        world.note(process, |_| format!("call {number} comes in"));
        number
    });
    let request = post(&format!("/bk_plugin/callback/{token}/"), &json!({"call": number}));
    let endpoint = &shared.machines().callbacks[process - FIRST_CALLER];
    let answer = send(shared, process, endpoint, request).await;
    let status = answer.map(|(status, _)| status);
    shared.with(|world| {
        world.busy_process[process] = false;
        world.deferred[process].clear();
        world.calls[number].answered = status.map(|status| (status, world.now()));
        world.note(process, |_| format!("call {number} is answered: {status:?}"));
    });
    status
}

/// Calls `schedule` a few times.
pub(crate) fn ask(shared: &Shared) {
    let world = shared.clone();
    spawn(shared, async move {
        for _ in 0..2 {
            let pause = world.with(|world| world.dice.random_range(0..100_000));
            tokio::time::sleep(Duration::from_millis(pause)).await;
            schedule(&world).await;
        }
    });
}

/// Calls `schedule`, and checks that an end, once shown, does not change.
pub(crate) async fn schedule(shared: &Shared) -> Option<Value> {
    let trace_id = shared.with(|world| {
        world.dead[READER] = false;
        world.record.as_ref().map(|record| record.trace_id.clone())
    })?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = format!("/bk_plugin/schedule/{trace_id}/").parse().unwrap_or_default();
    let (status, mut body) = send(shared, READER, &shared.machines().schedule, request).await?;
    let data = body["data"].take();
    shared.with(|world| {
        world.note(READER, |_| format!("{status}: state {}", data["state"]));
        if status == 200 && data["state"].as_u64().is_some_and(|state| state >= 4) {
            match &world.shown_end {
                Some(shown) if *shown != data => world.violate("P5: schedule shows another end than before"),
                _ => world.shown_end = Some(data.clone()),
            }
        } else if status == 200 && world.shown_end.is_some() {
            world.violate("P5: schedule showed an end, and now shows none");
        }
    });
    Some(data)
}
