//! Handlers of the author's routes run on threads of their own.

use super::*;

#[tokio::test]
async fn a_handler_that_blocks_is_answered_for_and_stops_no_other() {
    let Fixture { routes, .. } = fixture(|settings| settings.request_timeout = Duration::from_millis(50));
    let blocked = (0..20).map(|_| get(&routes, "/bk_plugin/plugin_api/blocks/"));
    for blocked in futures::future::join_all(blocked).await {
        assert!(blocked.is_failure(408), "{}", blocked.body);
    }
    let Fixture { routes, .. } = fixture(|_| {});
    let blocked = futures::future::join_all((0..20).map(|_| get(&routes, "/bk_plugin/plugin_api/blocks")));
    let other = async { get(&routes, "/bk_plugin/plugin_api/without").await.status };
    let first = futures::future::select(Box::pin(blocked), Box::pin(other)).await;
    assert!(matches!(first, futures::future::Either::Right((200, _))), "the other did not have to wait");
}

#[tokio::test]
async fn bodies_come_out_as_they_were() {
    let Fixture { routes, .. } = fixture(|_| {});
    let call = async |path: &str| {
        let path = format!("/bk_plugin/plugin_api/{path}");
        routes.clone().oneshot(request(Method::GET, &path, "", Body::empty())).await.unwrap()
    };
    let known = call("404").await;
    assert_eq!(known.headers()["content-length"], "13");
    assert_eq!(known.into_body().collect().await.unwrap().to_bytes(), "no such thing");
    let frames = call("frames").await;
    assert!(!frames.headers().contains_key("content-length"));
    assert_eq!(frames.into_body().collect().await.unwrap().to_bytes(), "0 1 2 ");
    let mut broken = call("broken").await.into_body();
    assert_eq!(broken.frame().await.unwrap().unwrap().into_data().unwrap(), "begins ");
    let error = broken.frame().await.unwrap().unwrap_err().to_string();
    assert!(error.contains("panicked"), "{error}");
    assert!(broken.frame().await.is_none());
}
