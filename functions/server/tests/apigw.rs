//! `server apigw` as an operator runs it, and the other commands of the command line.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::process::{Command, Output};

use common::Server;
use local_apigw::LocalApigw;
use serde_json::json;

const SECRET: &str = "hunter2-hunter2";

/// Runs the binary with the platform's environment variables and `variables`.
fn server(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_server"))
        .args(arguments)
        .env_clear()
        .env("BKPAAS_APP_ID", "demo")
        .env("BKPAAS_APP_SECRET", SECRET)
        .env("BKPAAS_ENVIRONMENT", "prod")
        .env("BKPAAS_DEFAULT_PREALLOCATED_URLS", r#"{"prod": "http://demo.apps.example.com/"}"#)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// The exit code, standard output and standard error; asserts that neither output contains the secret.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!out.contains(SECRET) && !err.contains(SECRET), "{out}{err}");
    (output.status.code(), out, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_registers_the_plugin() {
    let apigw = LocalApigw::start("demo", SECRET).await;
    let template = apigw.url_template();
    let at_the_gateway = [("BK_API_URL_TMPL", template.as_str())];

    let (code, out, err) = said(&server(&["apigw", "sync", "--dry-run"], &at_the_gateway));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("nothing was written") && out.contains("would be made and released"), "{out}");
    assert!(apigw.take_calls().iter().all(|call| call.starts_with("GET ")));

    let (code, out, err) = said(&server(&["apigw", "sync"], &at_the_gateway));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("made and released") && out.contains("public key  sha256 "), "{out}");
    let version = apigw.released("bp-demo", "prod").unwrap();
    assert!(out.contains(&version), "{version} in {out}");

    let (code, out, _) = said(&server(&["apigw", "sync"], &at_the_gateway));
    assert_eq!(code, Some(0));
    assert!(out.contains("released already"), "{out}");
    assert_eq!(apigw.versions("bp-demo"), [version]);

    let (code, out, _) = said(&server(&["apigw", "public-key"], &at_the_gateway));
    assert_eq!((code, out.trim_end()), (Some(0), local_apigw::PUBLIC_KEY.trim_end()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_registers_a_definition_of_their_own() {
    let apigw = LocalApigw::start("demo", SECRET).await;
    let template = apigw.url_template();
    let at_the_gateway = [("BK_API_URL_TMPL", template.as_str())];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.yaml").display().to_string();

    let (code, out, err) = said(&server(&["apigw", "sync", "--definition", &path], &at_the_gateway));
    assert_eq!((code, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");
    assert!(err.contains("ours.yaml: cannot be read"), "{err}");

    let text = "gateway: {description: ours}\nstage: {name: ours}\ngrant_permissions: []\n";
    std::fs::write(&path, text).unwrap();
    let command = ["apigw", "sync", "--dry-run", "--definition", &path];
    let (code, out, err) = said(&server(&command, &at_the_gateway));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("ours"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_fails_the_deployment_in_one_line() {
    let apigw = LocalApigw::start("demo", SECRET).await;
    apigw.give_to_another_app("bp-demo");
    let template = apigw.url_template();
    for command in [&["apigw", "sync"][..], &["apigw", "sync", "--dry-run"]] {
        let (code, out, err) = said(&server(command, &[("BK_API_URL_TMPL", &template)]));
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");
        assert!(err.contains("demo is not related to bp-demo"), "{err}");
    }
}

#[test]
fn wrong_settings_are_named_together() {
    let (code, _, err) = said(&server(
        &["apigw", "sync"],
        &[("BKPAAS_DEFAULT_PREALLOCATED_URLS", "{}"), ("BK_APIGW_IS_PUBLIC", "maybe")],
    ));
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    for name in ["BK_API_URL_TMPL", "BKPAAS_DEFAULT_PREALLOCATED_URLS", "BK_APIGW_IS_PUBLIC"] {
        assert!(err.contains(name), "{name} in {err}");
    }
}

#[test]
fn the_command_line_explains_itself() {
    let (code, out, _) = said(&server(&["--help"], &[]));
    assert!(code == Some(0) && out.contains("apigw") && out.contains("environment variables"), "{out}");
    let (code, out, _) = said(&server(&["--version"], &[]));
    assert_eq!((code, out.trim_end()), (Some(0), concat!("server ", env!("CARGO_PKG_VERSION"))));
    let (code, out, _) = said(&server(&["apigw", "sync", "--help"], &[]));
    assert!(code == Some(0) && out.contains("--dry-run"), "{out}");
    let (code, _, err) = said(&server(&["apigw", "snyc"], &[]));
    assert!(code == Some(2) && err.contains("'sync'"), "{err}");
}

/// The variables that the platform sets are enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_key_asks_the_gateway_for_it() {
    let apigw = LocalApigw::start("demo", SECRET).await;
    let template = apigw.url_template();
    let platform = [
        ("BKPAAS_APP_ID", "demo"),
        ("BKPAAS_APP_SECRET", SECRET),
        ("BKPAAS_ENVIRONMENT", "prod"),
        ("BK_PLUGIN_HOST", "127.0.0.1"),
        ("BK_API_URL_TMPL", template.as_str()),
        // The test's gateway is on the loopback, where no third party could call, so the public URL is set.
        ("BK_PLUGIN_PUBLIC_URL", "https://demo.apps.example.com"),
        ("BKPAAS_DEFAULT_PREALLOCATED_URLS", r#"{"prod": "http://demo.apps.example.com/"}"#),
    ];
    let (code, _, err) = said(&server(&["apigw", "sync"], &platform));
    assert_eq!(code, Some(0), "{err}");
    apigw.take_calls();

    let server = Server::start_with(&platform);
    bk_plugin_service::tls::install();
    let invoke = async |jwt: String| {
        let url = format!("http://127.0.0.1:{}/bk_plugin/invoke/1.0.0", server.port);
        let body = json!({"inputs": {"hello": "world"}, "context": {"executor": "admin"}});
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        http.post(url).header("X-Bkapi-JWT", jwt).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(invoke(apigw.jwt("bp-demo", "bk_sops")).await, 200);
    assert_eq!(invoke(apigw.jwt("bp-other", "bk_sops")).await, 403);
    assert_eq!(apigw.take_calls(), ["GET /api/v2/sync/gateways/bp-demo/public_key/"]);
}
