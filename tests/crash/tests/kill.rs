//! The real server binary, killed with SIGKILL and SIGTERM while invocations are in flight.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Server, journal, trace_id};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_polling_invocations_survive_five_kills() {
    let mut server = Server::start().await;
    let (journal_file, times) = (server.path("journal"), 12);
    let inputs = json!({"journal": journal_file, "times": times, "interval": 200, "work": 20});
    let mut trace_ids = Vec::new();
    for _ in 0..200 {
        trace_ids.push(trace_id(&server.invoke("1.0.0", inputs.clone()).await));
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(350)).await;
        server.kill();
        server.start_again().await;
    }
    for trace_id in &trace_ids {
        let data = server.finished(trace_id).await;
        assert_eq!(data["state"], 4, "{data}");
    }
    let steps = journal(&journal_file);
    let mut again = 0;
    for trace_id in &trace_ids {
        let steps = &steps[trace_id];
        // A step may run again only if it was not committed, so before the next step began.
        assert!(steps.is_sorted(), "{trace_id} ran a committed step again: {steps:?}");
        let distinct: BTreeSet<u32> = steps.iter().copied().collect();
        assert_eq!(distinct, (1..=times + 1).collect(), "{trace_id}");
        again += steps.len() - distinct.len();
    }
    println!("200 invocations, five kills: {again} uncommitted steps were run again");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_callback_is_handed_over_across_five_kills() {
    let mut server = Server::start().await;
    let mut invocations = Vec::new();
    for _ in 0..20 {
        let answer = server.invoke("2.0.0", json!({})).await;
        let url = answer["data"]["outputs"]["callback_url"].as_str().unwrap().to_owned();
        invocations.push((trace_id(&answer), url, Vec::new()));
    }
    let mut refused = 0;
    for round in 0..5 {
        for number in 0..3 {
            for (_, url, accepted) in &mut invocations {
                let body = json!(format!("{round}.{number}"));
                let (status, answer) = server.post(url, &body).await.unwrap();
                assert_eq!((status, &answer), (200, &json!({"result": true, "message": "callback success"})));
                accepted.push(body);
            }
        }
        server.kill(); // right after the server accepted the last one
        for (_, url, _) in &invocations {
            refused += usize::from(server.post(url, &json!("down")).await.is_err());
        }
        server.start_again().await;
    }
    assert_eq!(refused, 100, "nobody listens while the server is down");
    for (trace_id, url, mut accepted) in invocations {
        let (status, _) = server.post(&url, &json!("end")).await.unwrap();
        assert_eq!(status, 200);
        accepted.push(json!("end"));
        let data = server.finished(&trace_id).await;
        assert_eq!(data["outputs"]["callbacks"], Value::Array(accepted), "in the order of acceptance");
        let (status, _) = server.post(&url, &json!("late")).await.unwrap();
        assert_eq!(status, 400, "a finished invocation takes none");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_before_the_first_execute_returned_is_handed_over() {
    let server = Server::start().await;
    let file = server.path("url");
    let early = async {
        let url = loop {
            match fs::read_to_string(&file) {
                Ok(url) if !url.is_empty() => break url,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        for body in [json!("early"), json!("end")] {
            let (status, _) = server.post(&url, &body).await.unwrap();
            assert_eq!(status, 200);
        }
    };
    let (answer, ()) = tokio::join!(server.invoke("2.0.0", json!({"url_file": file, "sleep": 1500})), early);
    assert_eq!(answer["data"]["state"], 3);
    let data = server.finished(&trace_id(&answer)).await;
    assert_eq!(data["outputs"]["callbacks"], json!(["early", "end"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_lets_running_steps_end() {
    let mut server = Server::start().await;
    let journal_file = server.path("journal");
    let inputs = json!({"journal": journal_file, "times": 4, "interval": 100, "work": 500});
    let invoking = (0..20).map(|_| server.invoke("1.0.0", inputs.clone()));
    let mut trace_ids = Vec::new();
    for answer in futures::future::join_all(invoking).await {
        trace_ids.push(trace_id(&answer));
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(server.terminate().success(), "{}", server.log());
        server.start_again().await;
    }
    for trace_id in &trace_ids {
        assert_eq!(server.finished(trace_id).await["state"], 4);
    }
    for (trace_id, steps) in journal(&journal_file) {
        assert_eq!(steps, (1..=5).collect::<Vec<u32>>(), "{trace_id}: no step is run twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_kills_the_process_ends_in_fail() {
    let mut server = Server::start().await;
    let trace_id = trace_id(&server.invoke("3.0.0", json!({})).await);
    let mut starts = 1;
    let data = loop {
        let ended = server.child.as_mut().unwrap().try_wait().unwrap().is_some();
        if ended {
            assert!(starts < 10, "it kills the server for ever: {}", server.log());
            server.spawn();
            starts += 1;
        } else if let Ok(answer) =
            server.client.get(server.url(&format!("/bk_plugin/schedule/{trace_id}"))).send().await
            && let Ok(answer) = answer.json::<Value>().await
            && answer["data"]["state"] == 5
        {
            break answer["data"].clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(data["err"].as_str().unwrap().contains("step 2 was started again and again"), "{data}");
    assert_eq!(starts, 6, "five tries, then the start that ended it");
}

/// Other steps run beside the killing step each time, yet only its own invocation ends in FAIL.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_kills_the_process_takes_no_other_with_it() {
    let mut server = Server::start().await;
    let journal_file = server.path("journal");
    let inputs = json!({"journal": journal_file, "times": 1, "interval": 400, "work": 600});
    let mut beside = Vec::new();
    // Their second steps take long enough to be running at the same time as the killing step.
    for answer in futures::future::join_all((0..8).map(|_| server.invoke("1.0.0", inputs.clone()))).await {
        beside.push(trace_id(&answer));
    }
    let killer = trace_id(&server.invoke("3.0.0", json!({})).await);
    let deadline = Instant::now() + Duration::from_mins(1);
    let data = loop {
        assert!(Instant::now() < deadline, "{}", server.log());
        if server.child.as_mut().unwrap().try_wait().unwrap().is_some() {
            server.spawn();
        } else if let Ok(answer) =
            server.client.get(server.url(&format!("/bk_plugin/schedule/{killer}"))).send().await
            && let Ok(answer) = answer.json::<Value>().await
            && answer["data"]["state"] == 5
        {
            break answer["data"].clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(data["err"].as_str().unwrap().contains("step 2 was started again and again"), "{data}");
    for trace_id in beside {
        let data = server.finished(&trace_id).await;
        assert_eq!(data["state"], 4, "{data}");
    }
}

/// Starts the server again whenever it has died, until all invocations are finished.
async fn all_finished(server: &mut Server, trace_ids: &[String]) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_mins(3);
    let mut finished: Vec<Value> = Vec::new();
    while let Some(trace_id) = trace_ids.get(finished.len()) {
        assert!(Instant::now() < deadline, "{}", server.log());
        if server.child.as_mut().unwrap().try_wait().unwrap().is_some() {
            server.spawn();
        } else if let Ok(answer) =
            server.client.get(server.url(&format!("/bk_plugin/schedule/{trace_id}"))).send().await
            && let Ok(answer) = answer.json::<Value>().await
            && (answer["data"]["state"] == 4 || answer["data"]["state"] == 5)
        {
            finished.push(answer["data"].clone());
            continue;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    finished
}

/// Steps that take long are under way each time that another version aborts, whatever it takes to find it.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_aborts_ends_no_long_step_of_others() {
    let mut server = Server::start().await;
    let journal_file = server.path("journal");
    // The real steps took 20 s. What counts is that they take longer than the aborting steps, each time.
    let inputs = json!({"journal": journal_file, "times": 1, "interval": 100, "work": 4000});
    let mut trace_ids = Vec::new();
    for answer in futures::future::join_all((0..4).map(|_| server.invoke("1.0.0", inputs.clone()))).await {
        trace_ids.push(trace_id(&answer));
    }
    for after in [1000, 1500, 2000] {
        trace_ids.push(trace_id(&server.invoke("3.0.0", json!({"after": after})).await));
    }
    let finished = all_finished(&mut server, &trace_ids).await;
    let (innocent, guilty) = finished.split_at(4);
    for data in innocent {
        assert_eq!(data["state"], 4, "{data}: {}", server.log());
    }
    for data in guilty {
        assert!(data["err"].as_str().unwrap().contains("step 2 was started again and again"), "{data}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_a_first_step_whose_caller_hung_up() {
    let mut server = Server::start().await;
    let journal_file = server.path("journal");
    let inputs = json!({"journal": journal_file, "times": 1, "interval": 0, "work": 1500});
    let body = json!({"inputs": inputs, "context": {}});
    let calling = server.client.post(server.url("/bk_plugin/invoke/1.0.0")).json(&body).send();
    // The caller gives up while the step sleeps; its connection is closed.
    assert!(tokio::time::timeout(Duration::from_millis(500), calling).await.is_err());
    assert!(server.terminate().success(), "{}", server.log());
    server.start_again().await;
    let trace_id = journal(&journal_file).into_keys().next().unwrap();
    assert_eq!(server.finished(&trace_id).await["state"], 4, "its record was written before the end");
    assert_eq!(journal(&journal_file)[&trace_id], [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_half_a_request() {
    let mut server = Server::start().await;
    let mut half = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    std::io::Write::write_all(&mut half, b"GET / HTTP/1.1\r\nhost: x\r\n").unwrap();
    assert!(server.terminate().success(), "{}", server.log());
    assert!(!server.log().contains("connections that do not end are cut"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_file_says_so() {
    let server = Server::start().await;
    let output = Command::new(env!("CARGO_BIN_EXE_crash-plugins"))
        .current_dir(server.folder.path())
        .env("PORT", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("dev.db"), "{said}");
}
