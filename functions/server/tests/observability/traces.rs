//! The spans that the server sends to a collector.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::caller::{CallersTrace, client, eventually, invoke, invoke_in, succeeded};
use crate::collector::{AUTHORITY, Collector, Taken, hex};
use crate::common::Server;

const CALLER: CallersTrace =
    CallersTrace { trace_id: "4bf92f3577b34da6a3ce929d0e0e4736", span_id: "00f067aa0ba902b7" };
const THIRD_PARTY: CallersTrace =
    CallersTrace { trace_id: "0af7651916cd43dd8448eb211c80319c", span_id: "b7ad6b7169203331" };

/// Starts a server with the variables that the platform's add-on sets, but with shorter delays.
fn start(collector: &Collector) -> Server {
    Server::start_with(&[
        ("OTEL_TRACE", "True"),
        ("OTEL_GRPC_URL", &collector.url),
        ("OTEL_BK_DATA_TOKEN", "whose-data"),
        ("OTEL_SAMPLER", "parentbased_always_on"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("BKPAAS_APP_ID", "demo"),
    ])
}

async fn spans(collector: &Collector, name: &str, count: usize) -> Vec<Taken> {
    eventually(|| async {
        let spans = collector.spans(name);
        (spans.len() >= count).then_some(spans)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_invocation_is_one_trace() {
    let collector = Collector::start();
    let mut server = start(&collector);
    let inputs = json!({ "times": 2, "interval": 0 });
    let polling = invoke_in(&server, "1.1.0", inputs, Some(&CALLER)).await;
    let trace_id = polling["trace_id"].as_str().unwrap();
    succeeded(&server, trace_id).await;

    let steps = spans(&collector, "step", 3).await;
    let call = &spans(&collector, "POST invoke", 1).await[0];
    assert_eq!((call.trace_id().as_str(), call.parent().as_str()), (CALLER.trace_id, CALLER.span_id));
    assert_eq!(call.attribute("http.response.status_code").unwrap(), "200");
    assert_eq!(steps.len(), 3);
    for (step, number) in steps.iter().zip(["1", "2", "3"]) {
        assert_eq!(step.trace_id(), CALLER.trace_id, "one trace");
        assert_eq!(step.parent(), call.span_id(), "every step belongs to the call");
        assert_eq!(step.attribute("trace_id").as_deref(), Some(trace_id));
        assert_eq!(step.attribute("invoke_count").as_deref(), Some(number));
        assert_eq!(step.attribute("plugin_version").as_deref(), Some("1.1.0"));
        assert_eq!(step.resource("service.name").as_deref(), Some("demo"));
        assert_eq!(step.resource("bk.data.token").as_deref(), Some("whose-data"));
    }
    assert_eq!(collector.spans("invocation").len(), 0, "what is for the log is not sent");

    server.stop();
    let log = server.stdout();
    assert!(!log.contains("whose-data"));
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_steps: Vec<_> = lines.filter(|line| line["invoke_count"].is_u64()).collect();
    let logged: BTreeSet<_> = of_steps.iter().map(|line| line["otelSpanID"].as_str().unwrap()).collect();
    let sent: Vec<_> = steps.iter().map(Taken::span_id).collect();
    assert_eq!(logged, sent.iter().map(String::as_str).collect(), "lines name the span they were logged in");
    assert!(of_steps.iter().all(|line| line["otelTraceID"] == CALLER.trace_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_after_a_callback_are_in_the_invocations_trace_and_linked_to_the_callbacks() {
    let collector = Collector::start();
    let server = start(&collector);
    let called = invoke(&server, "1.2.0", json!({})).await;
    let url = called["data"]["outputs"]["job_url"].as_str().unwrap();
    let traceparent = THIRD_PARTY.traceparent();
    let first = client().post(url).header("traceparent", traceparent).json(&1).send().await.unwrap();
    assert_eq!(first.status(), 200);
    spans(&collector, "step", 2).await;
    client().post(url).json(&2).send().await.unwrap();
    succeeded(&server, called["trace_id"].as_str().unwrap()).await;

    let steps = spans(&collector, "step", 3).await;
    let calls = spans(&collector, "POST callback", 2).await;
    let traces: BTreeSet<_> = steps.iter().map(Taken::trace_id).collect();
    assert_eq!(traces.len(), 1, "{traces:?}");
    assert_eq!(calls[0].trace_id(), THIRD_PARTY.trace_id);
    for (step, call) in steps[1..].iter().zip(&calls) {
        assert_ne!(call.trace_id(), step.trace_id());
        let links: Vec<_> =
            step.span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
        assert_eq!(links, [(call.trace_id(), call.span_id())], "what brought the step about");
    }
    let token = url.rsplit('/').nth(1).unwrap();
    assert!(!collector.everything().contains(token), "tokens are credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_an_error_in_its_trace() {
    let collector = Collector::start();
    let server = start(&collector);
    let failed = invoke(&server, "1.0.0", json!({ "hello": {} })).await;
    assert_eq!(failed["data"]["state"], 5);
    let step = &spans(&collector, "step", 1).await[0];
    let status = step.span.status.as_ref().unwrap();
    assert_eq!(status.code(), opentelemetry_proto::tonic::trace::v1::status::StatusCode::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_before_the_process_ends() {
    let collector = Collector::start();
    let mut server = Server::start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ]);
    invoke(&server, "1.0.0", json!({ "hello": "world" })).await;
    assert_eq!(collector.spans("step").len(), 0, "it is not time yet");
    server.stop();
    assert_eq!(collector.spans("step").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_behind_tls_is_trusted_if_its_authority_is() {
    let collector = Collector::start_with_tls();
    for (authority, said) in [(Some(AUTHORITY), false), (None, true)] {
        let mut variables =
            vec![("OTEL_GRPC_URL", collector.url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "10")];
        variables.extend(authority.map(|file| ("BK_PLUGIN_CA_FILE", file)));
        let mut server = Server::start_with(&variables);
        invoke(&server, "1.0.0", json!({ "hello": "world" })).await;
        server.stop();
        assert_eq!(server.stdout().contains(SAID), said, "{}", server.stdout());
    }
    assert_eq!(collector.spans("step").len(), 1, "of the one that trusts it");
}

const SAID: &str = "spans cannot be sent and are lost";

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_disturbs_no_caller_and_is_said_once() {
    let mut server =
        Server::start_with(&[("OTEL_GRPC_URL", "http://127.0.0.1:9"), ("OTEL_BSP_SCHEDULE_DELAY", "10")]);
    for _ in 0..3 {
        let answer = invoke(&server, "1.0.0", json!({ "hello": "world" })).await;
        assert_eq!(answer["result"], true);
        eventually(|| async { server.stdout().contains(SAID).then_some(()) }).await;
    }
    server.stop();
    assert_eq!(server.stdout().matches(SAID).count(), 1);
}
