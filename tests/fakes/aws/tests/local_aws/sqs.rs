//! The semantics of a standard queue, and its limits.

use local_aws::QueueOptions;
use serde_json::{Value, json};

use crate::client::{VISIBILITY_TIMEOUT, World, one};

fn seen(body: &str, count: u32) -> Vec<(String, String)> {
    vec![(body.to_owned(), count.to_string())]
}

#[tokio::test]
async fn what_is_sent_is_received_with_what_was_asked_for() {
    let world = World::with_queue().await;
    let attribute = json!({"DataType": "String", "StringValue": "v"});
    let sent = world
        .call(
            "SendMessage",
            json!({
                "MessageBody": "héllo\n",
                "MessageAttributes": {"name": attribute, "other": attribute},
                "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}},
            }),
        )
        .await;
    assert_eq!(sent["MD5OfMessageBody"], "1082e4bdaee22cfa4057c4f6a5e4c3da");
    let names = json!({
        "MessageSystemAttributeNames": ["ApproximateReceiveCount", "SentTimestamp", "AWSTraceHeader"],
        "MessageAttributeNames": ["na.*"],
    });
    let message = one(world.call("ReceiveMessage", names).await["Messages"].as_array().unwrap().clone());
    assert_eq!(message["MessageId"], sent["MessageId"]);
    assert_eq!(message["Body"], "héllo\n");
    assert_eq!(message["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(message["MessageAttributes"], json!({"name": attribute}));
    let expected = json!({
        "ApproximateReceiveCount": "1", "SentTimestamp": "1800000000000", "AWSTraceHeader": "Root=1",
    });
    assert_eq!(message["Attributes"], expected);
}

#[tokio::test]
async fn nothing_but_the_message_comes_unasked() {
    let world = World::with_queue().await;
    world.send("a").await;
    let answer = world.call("ReceiveMessage", json!({})).await;
    let keys: Vec<_> = answer["Messages"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["MessageId", "ReceiptHandle", "MD5OfBody", "Body"]);
    assert_eq!(world.call("ReceiveMessage", json!({})).await, json!({}));
}

#[tokio::test]
async fn a_delayed_message_comes_when_it_is_due() {
    let world = World::with_queue().await;
    world.call("SendMessage", json!({"MessageBody": "a", "DelaySeconds": 900})).await;
    assert_eq!(world.counts().await, [0, 0, 1]);
    world.advance(899);
    assert!(world.receive().await.is_empty());
    world.advance(1);
    assert_eq!(world.counts().await, [1, 0, 0]);
    assert_eq!(world.received().await, seen("a", 1));
}

#[tokio::test]
async fn a_received_message_is_hidden_and_comes_again_counted() {
    let world = World::with_queue().await;
    world.send("a").await;
    let first = one(world.receive().await);
    assert_eq!(world.counts().await, [0, 1, 0]);
    world.advance(VISIBILITY_TIMEOUT.as_secs() - 1);
    assert!(world.receive().await.is_empty());
    world.advance(1);
    let second = one(world.receive().await);
    assert_eq!(second["Attributes"]["ApproximateReceiveCount"], "2");
    assert_eq!(second["MessageId"], first["MessageId"]);
    assert_ne!(second["ReceiptHandle"], first["ReceiptHandle"]);
    world.delete(&second).await;
    world.delete(&second).await;
    assert_eq!(world.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn a_handle_deletes_until_the_message_is_received_again() {
    let world = World::with_queue().await;
    world.send("a").await;
    let first = one(world.receive().await);
    world.advance(VISIBILITY_TIMEOUT.as_secs());
    world.delete(&first).await;
    assert_eq!(world.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn an_old_handle_deletes_or_does_not() {
    let world = World::open().await;
    for old_handles_delete in [false, true] {
        let name = format!("q-{old_handles_delete}");
        let url =
            world.aws.create_queue(&name, QueueOptions { old_handles_delete, ..QueueOptions::default() });
        world.call("SendMessage", json!({"QueueUrl": url, "MessageBody": "a"})).await;
        let first = one(world.receive_from(&name).await);
        world.advance(VISIBILITY_TIMEOUT.as_secs());
        one(world.receive_from(&name).await);
        world.call("DeleteMessage", json!({"QueueUrl": url, "ReceiptHandle": first["ReceiptHandle"]})).await;
        assert_eq!(world.aws.messages(&name).is_empty(), old_handles_delete);
    }
}

#[tokio::test]
async fn visibility_can_be_changed_while_a_message_is_in_flight() {
    let world = World::with_queue().await;
    let change = |message: &Value, seconds: u32| json!({"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds});
    world.send("a").await;
    let first = one(world.receive().await);
    world.call("ChangeMessageVisibility", change(&first, 100)).await;
    world.advance(99);
    assert!(world.receive().await.is_empty());
    world.call("ChangeMessageVisibility", change(&first, 0)).await;
    let code = world.refusal("ChangeMessageVisibility", change(&first, 5)).await;
    assert_eq!(code, "AWS.SimpleQueueService.MessageNotInflight");
    let second = one(world.receive().await);
    let code = world.refusal("ChangeMessageVisibility", change(&first, 5)).await;
    assert_eq!(code, "InvalidParameterValue");
    let code = world.refusal("ChangeMessageVisibility", change(&second, 43_201)).await;
    assert_eq!(code, "InvalidParameterValue");
    world.advance(VISIBILITY_TIMEOUT.as_secs());
    let answer = world.call("ReceiveMessage", json!({"VisibilityTimeout": 2})).await;
    assert!(answer["Messages"][0].is_object());
    world.advance(2);
    assert_eq!(world.received().await, seen("a", 4));
}

/// A dead letter keeps its id and its receive count, as in SQS.
#[tokio::test]
async fn what_is_received_too_often_becomes_a_dead_letter() {
    let world = World::open().await;
    world.aws.create_queue("dead", QueueOptions::default());
    let redrive = Some(("dead".to_owned(), 2));
    world.aws.create_queue("q", QueueOptions { redrive, ..QueueOptions::default() });
    world.send("deadly").await;
    let id = world.aws.messages("q")[0].id.clone();
    for count in 1..=2 {
        assert_eq!(world.received().await, seen("deadly", count));
        world.advance(VISIBILITY_TIMEOUT.as_secs());
    }
    world.send("harmless").await;
    assert_eq!(world.received().await, seen("harmless", 1));
    assert_eq!(world.aws.messages("q").len(), 1);
    let dead = one(world.receive_from("dead").await);
    assert_eq!(dead["MessageId"], id);
    assert_eq!(dead["Body"], "deadly");
    assert_eq!(dead["Attributes"]["ApproximateReceiveCount"], "3");
    assert_eq!(dead["Attributes"]["SentTimestamp"], "1800000000000");
    assert_eq!(dead["Attributes"]["DeadLetterQueueSourceArn"], world.aws.queue_arn("q"));
}

#[tokio::test]
async fn messages_come_twice_if_told_so() {
    let world = World::with_queue().await;
    world.aws.deliver_twice("q", 2);
    for body in ["a", "b", "c"] {
        world.send(body).await;
    }
    let first = world.receive().await;
    assert_eq!(first.len(), 3);
    for message in &first {
        world.delete(message).await;
    }
    let second = world.receive().await;
    let bodies: Vec<_> = second.iter().map(|message| message["Body"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["a", "b"]);
    assert_eq!(second[0]["MessageId"], first[0]["MessageId"]);
    assert_eq!(second[0]["Attributes"]["ApproximateReceiveCount"], "1");
    for message in &second {
        world.delete(message).await;
    }
    assert!(world.aws.messages("q").is_empty());
}

#[tokio::test]
async fn messages_are_kept_for_a_while() {
    let world = World::with_queue().await;
    world.send("a").await;
    world.advance(4 * 24 * 60 * 60 - 1);
    assert_eq!(world.counts().await, [1, 0, 0]);
    world.advance(1);
    assert!(world.receive().await.is_empty());
    assert!(world.aws.messages("q").is_empty());
}

#[tokio::test]
async fn what_sqs_does_not_take_is_refused() {
    let world = World::with_queue().await;
    let largest = 1024 * 1024;
    let attributes: Value = (0..11)
        .map(|number| (format!("a{number}"), json!({"DataType": "String", "StringValue": "v"})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let refused = [
        ("SendMessage", json!({}), "MissingParameter"),
        ("SendMessage", json!({"MessageBody": ""}), "MissingParameter"),
        ("SendMessage", json!({"MessageBody": "a", "DelaySeconds": 901}), "InvalidParameterValue"),
        ("SendMessage", json!({"MessageBody": "a", "DelaySeconds": -1}), "InvalidParameterValue"),
        ("SendMessage", json!({"MessageBody": "a".repeat(largest + 1)}), "InvalidParameterValue"),
        ("SendMessage", json!({"MessageBody": "\u{0}"}), "InvalidMessageContents"),
        (
            "SendMessage",
            json!({"MessageBody": "a", "MessageAttributes": attributes}),
            "InvalidParameterValue",
        ),
        ("SendMessage", json!({"MessageBody": 1}), "MalformedInput"),
        ("ReceiveMessage", json!({"MaxNumberOfMessages": 0}), "InvalidParameterValue"),
        ("ReceiveMessage", json!({"MaxNumberOfMessages": 11}), "InvalidParameterValue"),
        ("ReceiveMessage", json!({"WaitTimeSeconds": 21}), "InvalidParameterValue"),
        ("ReceiveMessage", json!({"VisibilityTimeout": 43_201}), "InvalidParameterValue"),
        ("DeleteMessage", json!({}), "MissingParameter"),
        ("DeleteMessage", json!({"ReceiptHandle": "nonsense"}), "ReceiptHandleIsInvalid"),
        ("GetQueueAttributes", json!({"AttributeNames": ["Colour"]}), "InvalidAttributeName"),
        ("SendMessage", json!({"QueueUrl": ""}), "MissingParameter"),
        ("SendMessage", json!({"QueueUrl": world.url("no")}), "AWS.SimpleQueueService.NonExistentQueue"),
        ("GetQueueUrl", json!({"QueueName": "no"}), "AWS.SimpleQueueService.NonExistentQueue"),
        ("StartMessageMoveTask", json!({}), "InvalidAction"),
    ];
    for (operation, request, code) in refused {
        let request_text: String = request.to_string().chars().take(100).collect();
        assert_eq!(world.refusal(operation, request).await, code, "{operation} {request_text}");
    }
    world.send(&"a".repeat(largest)).await;
    let answer = world.ask("SendMessage", json!({"QueueUrl": world.url("no")})).await;
    let expected = json!({
        "__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "The specified queue does not exist.",
    });
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn entries_of_a_batch_are_done_one_by_one() {
    let world = World::with_queue().await;
    let sent = world
        .call(
            "SendMessageBatch",
            json!({"Entries": [
                {"Id": "1", "MessageBody": "a"},
                {"Id": "2", "MessageBody": "b", "DelaySeconds": 901},
                {"Id": "3", "MessageBody": "c", "DelaySeconds": 5},
            ]}),
        )
        .await;
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|entry| entry["Id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&sent["Successful"]), ["1", "3"]);
    assert_eq!(ids(&sent["Failed"]), ["2"]);
    assert_eq!(sent["Failed"][0]["Code"], "InvalidParameterValue");
    assert_eq!(sent["Failed"][0]["SenderFault"], true);
    assert_eq!(world.counts().await, [1, 0, 1]);

    let message = one(world.receive().await);
    let deleted = world
        .call(
            "DeleteMessageBatch",
            json!({"Entries": [
                {"Id": "1", "ReceiptHandle": message["ReceiptHandle"]},
                {"Id": "2", "ReceiptHandle": "nonsense"},
            ]}),
        )
        .await;
    assert_eq!(ids(&deleted["Successful"]), ["1"]);
    assert_eq!(deleted["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
    assert_eq!(world.counts().await, [0, 0, 1]);
}

#[tokio::test]
async fn a_batch_must_be_one() {
    let world = World::with_queue().await;
    let entry = |id: &str, body: &str| json!({"Id": id, "MessageBody": body});
    let eleven: Vec<_> = (0..11).map(|id| entry(&id.to_string(), "a")).collect();
    let half = "a".repeat(600 * 1024);
    for (entries, code) in [
        (json!([]), "EmptyBatchRequest"),
        (json!(eleven), "TooManyEntriesInBatchRequest"),
        (json!([entry("1", "a"), entry("1", "b")]), "BatchEntryIdsNotDistinct"),
        (json!([entry("a b", "a")]), "InvalidBatchEntryId"),
        (json!([entry("1", &half), entry("2", &half)]), "BatchRequestTooLong"),
    ] {
        let refused = world.refusal("SendMessageBatch", json!({"Entries": entries})).await;
        assert_eq!(refused, format!("AWS.SimpleQueueService.{code}"));
    }
    assert!(world.aws.messages("q").is_empty());
    world.call("SendMessageBatch", json!({"Entries": eleven[1..]})).await;
    assert_eq!(world.counts().await, [10, 0, 0]);
}

#[tokio::test]
async fn queues_are_created_by_request() {
    let world = World::open().await;
    world.call("CreateQueue", json!({"QueueName": "dead"})).await;
    let policy =
        json!({"deadLetterTargetArn": world.aws.queue_arn("dead"), "maxReceiveCount": "5"}).to_string();
    let attributes = json!({
        "VisibilityTimeout": "60", "DelaySeconds": "1", "MessageRetentionPeriod": "1209600", "RedrivePolicy": policy,
    });
    let request = json!({"QueueName": "q", "Attributes": attributes});
    for _ in 0..2 {
        let created = world.call("CreateQueue", request.clone()).await;
        assert_eq!(created["QueueUrl"], world.url("q"));
    }
    assert_eq!(world.call("GetQueueUrl", json!({"QueueName": "q"})).await["QueueUrl"], world.url("q"));
    let names = json!({"AttributeNames": ["QueueArn", "VisibilityTimeout", "RedrivePolicy"]});
    let found = world.call("GetQueueAttributes", names).await;
    let expected = json!({"Attributes": {
        "QueueArn": world.aws.queue_arn("q"),
        "VisibilityTimeout": "60",
        "RedrivePolicy": json!({"deadLetterTargetArn": world.aws.queue_arn("dead"), "maxReceiveCount": 5}).to_string(),
    }});
    assert_eq!(found, expected);
    world.send("a").await;
    assert_eq!(world.counts().await, [0, 0, 1]);

    let no_target = policy.replace("dead\"", "no\"");
    for (request, code) in [
        (json!({"QueueName": "q"}), "QueueAlreadyExists"),
        (json!({"QueueName": "a b"}), "InvalidParameterValue"),
        (json!({"QueueName": "x", "Attributes": {"DelaySeconds": "901"}}), "InvalidAttributeValue"),
        (json!({"QueueName": "x", "Attributes": {"Colour": "red"}}), "InvalidAttributeName"),
        (json!({"QueueName": "x", "Attributes": {"RedrivePolicy": no_target}}), "InvalidParameterValue"),
    ] {
        assert_eq!(world.refusal("CreateQueue", request).await, code);
    }
}

#[tokio::test]
async fn a_queue_is_purged_once_a_minute() {
    let world = World::with_queue().await;
    world.send("a").await;
    world.call("PurgeQueue", json!({})).await;
    assert!(world.aws.messages("q").is_empty());
    let code = world.refusal("PurgeQueue", json!({})).await;
    assert_eq!(code, "AWS.SimpleQueueService.PurgeQueueInProgress");
    world.advance(60);
    world.call("PurgeQueue", json!({})).await;
}

#[tokio::test]
async fn what_is_in_a_queue_can_be_looked_at() {
    let world = World::with_queue().await;
    world.send("a").await;
    one(world.receive().await);
    let message = one(world.aws.messages("q"));
    assert_eq!((message.body.as_str(), message.receive_count), ("a", 1));
    assert_eq!(message.due.as_millis(), 1_800_000_030_000);
}

#[tokio::test]
async fn a_group_may_delay_its_messages_and_is_told_with_them() {
    let world = World::with_queue().await;
    let group = format!("step:1.0.0-rc.1+build~{}", "x".repeat(104));
    world.call("SendMessage", json!({"MessageBody": "a", "MessageGroupId": group, "DelaySeconds": 5})).await;
    assert!(world.receive().await.is_empty());
    world.advance(5);
    assert_eq!(one(world.receive().await)["Attributes"]["MessageGroupId"], group);
    for bad in ["", "a b", "输入", "tab\t", &"x".repeat(129)] {
        let code = world.refusal("SendMessage", json!({"MessageBody": "a", "MessageGroupId": bad})).await;
        assert_eq!(code, "InvalidParameterValue", "{bad:?}");
    }
}

/// Thirty messages in flight make a group noisy; the messages of others, and those without a group, come first then.
#[tokio::test]
async fn a_noisy_group_waits_for_quiet_ones() {
    let world = World::with_queue().await;
    let send = async |body: &str, group: &str| {
        world.call("SendMessage", json!({"MessageBody": body, "MessageGroupId": group})).await;
    };
    for _ in 0..64 {
        send("noisy", "step:1.0.0").await;
    }
    send("quiet", "step:2.0.0").await;
    world.send("alone").await;
    for _ in 0..3 {
        assert!(world.received().await.iter().all(|(body, _)| body == "noisy"), "in the order of sending");
    }
    let bodies: Vec<_> = world.received().await.into_iter().map(|(body, _)| body).collect();
    assert_eq!(bodies[..3], ["quiet", "alone", "noisy"]);
    assert_eq!(bodies.len(), 10);
}
