//! `meta` may touch nothing, so it links no client of AWS.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

#[test]
fn no_client_of_aws_is_linked() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_meta")).unwrap();
    let has = |text: &[u8]| binary.windows(text.len()).any(|window| window == text);
    // The names of the services' operations on the wire.
    for target in [&b"DynamoDB_20120810"[..], b"AmazonSQS.SendMessage", b"secretsmanager.GetSecretValue"] {
        assert!(!has(target), "{}", String::from_utf8_lossy(target));
    }
    assert!(has(b"/bk_plugin/meta"), "it is the binary that is meant");
}
