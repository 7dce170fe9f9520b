//! `plugin_api_dispatch`: the author's routes called for a user.

use super::*;

const DISPATCH: &str = "/bk_plugin/plugin_api_dispatch/";

async fn dispatch_as(routes: &Endpoint, content_type: &str, body: impl Into<Body>) -> Answer {
    let mut request = request(Method::POST, DISPATCH, content_type, body);
    let headers = request.headers_mut();
    headers.insert("X-Bkapi-JWT", jwt(r#"{"exp":4102444800}"#));
    headers.insert("Bk-Plugin-Foo", HeaderValue::from_static("bar"));
    headers.insert("Cookie", HeaderValue::from_static("bk_token=secret"));
    let answer = send(routes, request).await;
    assert_eq!(answer.body["trace_id"].as_str().map(str::len), Some(32), "{}", answer.body);
    answer
}

async fn dispatch(body: Value) -> Answer {
    dispatch_as(&fixture(|_| {}).routes, "application/json", body.to_string()).await
}

fn call(url: &str, method: &str, data: &Value) -> Value {
    json!({"url": format!("/bk_plugin/plugin_api{url}"), "method": method, "username": "tester", "data": data})
}

#[tokio::test]
async fn get_has_data_in_the_query() {
    let answer = dispatch(call("/with/?q=1&q=2", "GET", &json!({"a": [1, 2], "d": {"x": 1}}))).await;
    assert_eq!((answer.status, &answer.body["result"], answer.message()), (200, &json!(true), "success"),);
    assert_eq!(
        answer.body["data"],
        json!({
            "method": "GET",
            "path": "/bk_plugin/plugin_api/with/",
            "query": "a=1&a=2&d=x",
            "caller": {"username": "tester"},
            "headers": ["bk-plugin-foo", "x-bkapi-jwt"],
            "body": "",
        })
    );
    let own_query = dispatch(call("/with?q=1", "get", &json!({}))).await;
    assert_eq!(
        (&own_query.body["data"]["query"], &own_query.body["data"]["path"]),
        (&json!("q=1"), &json!("/bk_plugin/plugin_api/with"))
    );
    let null = dispatch(call("/with/", "GET", &json!({"a": null}))).await;
    assert!(null.is_failure(400) && null.message().starts_with("输入不合法: data: a "), "{}", null.body);
}

#[tokio::test]
async fn post_has_data_in_the_body() {
    let mut body = call("/with/", "POST", &json!({"x": {"y": [1, null]}, "z": 1}));
    body["dumped_data"] = json!(r#"{"z": 2}"#);
    let answer = dispatch(body).await;
    assert_eq!(answer.status, 200, "whatever the status of the route");
    let got = &answer.body["data"];
    assert_eq!(got["body"], json!(r#"{"x":{"y":[1,null]},"z":2}"#));
    assert_eq!(got["headers"], json!(["bk-plugin-foo", "content-type", "x-bkapi-jwt"]));
}

#[tokio::test]
async fn files_are_passed_on() {
    let part =
        |head: &str, text: &str| format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n");
    let fields = part("name=\"url\"", "/bk_plugin/plugin_api/files/")
        + &part("name=\"method\"", "POST")
        + &part("name=\"username\"", "tester")
        + &part("name=\"dumped_data\"", r#"{"a": 1, "l": ["x", "y"]}"#);
    let file = part("name=\"f\"; filename=\"中 文.txt\"\r\nContent-Type: text/plain", "in the file\r\n--c");
    let (routes, kind) = (fixture(|_| {}).routes, "multipart/form-data; boundary=b");
    let answer = dispatch_as(&routes, kind, format!("{fields}{file}--b--\r\n")).await;
    assert_eq!(
        answer.body["data"],
        json!([
            ["a", null, null, "1"],
            ["l", null, null, "x"],
            ["l", null, null, "y"],
            ["f", "中 文.txt", "text/plain", "in the file\r\n--c"],
        ]),
        "{}",
        answer.body
    );
    let echo = fields.replace("/files/", "/with/");
    let answer = dispatch_as(&routes, kind, format!("{echo}--b--\r\n")).await;
    assert_eq!(answer.body["data"]["body"], json!(r#"{"a":1,"l":["x","y"]}"#), "JSON if there are no files");
    let broken = dispatch_as(&routes, kind, fields).await;
    assert!(broken.is_failure(400), "{}", broken.body);
    let no_boundary = dispatch_as(&routes, "multipart/form-data", "").await;
    assert!(no_boundary.is_failure(400), "{}", no_boundary.body);
}

#[tokio::test]
async fn names_are_read_as_rfc_2231_writes_them() {
    let part =
        |head: &str, text: &str| format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n");
    let body = part("name=\"url\"", "/bk_plugin/plugin_api/files/")
        + &part("NAME=method", "POST")
        + &part("Name=\"username\"", "tester")
        + &part("name=f; filename*=UTF-8''%E4%B8%AD.txt", "1")
        + &part("name=\"g\"; FileName=\"b.txt\"", "2")
        + &part("name=h; filename*0=\"a\"; filename*1=\"b.txt\"", "3")
        + "--b--\r\n";
    let answer = dispatch_as(&fixture(|_| {}).routes, "multipart/form-data; boundary=b", body).await;
    assert_eq!(
        answer.body["data"],
        json!([["f", "中.txt", null, "1"], ["g", "b.txt", null, "2"], ["h", "ab.txt", null, "3"]]),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn files_have_a_limit_of_their_own() {
    let part =
        |head: &str, text: &str| format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n");
    let fields = part("name=\"url\"", "/bk_plugin/plugin_api/files/")
        + &part("name=\"method\"", "POST")
        + &part("name=\"username\"", "tester");
    let file = |len: usize| part("name=\"f\"; filename=\"f\"", &"x".repeat(len));
    let (routes, kind) = (fixture(|_| {}).routes, "multipart/form-data; boundary=b");
    let mib = 1024 * 1024;
    let answer = dispatch_as(&routes, kind, format!("{fields}{}--b--\r\n", file(12 * mib))).await;
    assert_eq!(answer.body["data"][0][3].as_str().map(str::len), Some(12 * mib), "{}", answer.message());
    let limits = |settings: &mut ProtocolSettings| {
        settings.file_limit = 2 * mib;
        settings.body_limit = mib;
    };
    let routes = fixture(limits).routes;
    let two_files = format!("{fields}{}{}--b--\r\n", file(mib), file(mib + 1));
    let answer = dispatch_as(&routes, kind, two_files).await;
    assert!(answer.is_failure(413) && answer.message().contains("files"), "{}", answer.body);
    let field = part("name=\"f\"", &"x".repeat(mib));
    let answer = dispatch_as(&routes, kind, format!("{fields}{field}--b--\r\n")).await;
    assert!(answer.is_failure(413) && answer.message().contains("body"), "{}", answer.body);
    let all = format!("{fields}{}--b--\r\n", file(3 * mib));
    let answer = send(&routes, request(Method::POST, DISPATCH, kind, all)).await;
    assert!(answer.is_failure(413), "{}", answer.body);
}

#[tokio::test]
async fn forms_are_taken() {
    let form = "url=/bk_plugin/plugin_api/with/&method=get&username=tester&data=%7B%22a%22%3A1%7D";
    let answer = dispatch_as(&fixture(|_| {}).routes, "application/x-www-form-urlencoded", form).await;
    assert_eq!(answer.body["data"]["query"], json!("a=1"), "{}", answer.body);
}

#[tokio::test]
async fn a_path_that_does_not_fit_is_no_data() {
    let found = dispatch(call("/task_list/2/", "GET", &json!({}))).await;
    assert_eq!(found.body["data"], json!([2]), "{}", found.body);
    let undefined = dispatch(call("/task_list/undefined", "GET", &json!({}))).await;
    assert!(undefined.is_failure(404), "{}", undefined.body);
    let direct = get(&fixture(|_| {}).routes, "/bk_plugin/plugin_api/task_list/undefined").await;
    assert!(direct.is_failure(404) && direct.message().contains("undefined"), "{}", direct.body);
}

#[tokio::test]
async fn bad_calls() {
    let routes = fixture(|_| {}).routes;
    for (kind, body, status, message) in [
        ("application/json", "{x", 400, "JSON parse error - "),
        ("application/json", "3", 400, "输入不合法: the body must be an object"),
        ("", "", 400, "输入不合法: url: this field is required; method: "),
        ("application/xml", "<a/>", 415, "the Content-Type must be "),
    ] {
        let answer = dispatch_as(&routes, kind, body).await;
        assert!(answer.is_failure(status) && answer.message().starts_with(message), "{}", answer.body);
    }
}

#[tokio::test]
async fn failures_of_the_route() {
    for (url, status, message) in [
        ("/nope/", 404, "404 error: /bk_plugin/plugin_api/nope/"),
        ("/panic/", 500, "unknow error, please contact plugin developers: panicked: boom"),
        ("/unexpected", 500, "unknow error, please contact plugin developers: boom"),
    ] {
        let answer = dispatch(call(url, "GET", &json!({}))).await;
        assert!(answer.is_failure(status), "{}", answer.body);
        assert_eq!(answer.message(), message);
    }
    for (url, method, data) in [
        ("/404/", "GET", json!("no such thing")),
        ("/fail/", "GET", json!({"result": false, "data": null, "message": "no such biz"})),
        (
            "/without",
            "POST",
            json!({"result": false, "data": null, "message": "method POST is not allowed here"}),
        ),
    ] {
        let answer = dispatch(call(url, method, &json!({}))).await;
        assert_eq!((answer.status, &answer.body["result"], &answer.body["data"]), (200, &json!(true), &data));
    }
}

#[tokio::test]
async fn without_a_jwt_in_development() {
    let body = call("/with/", "GET", &json!({})).to_string();
    let answer = post(&fixture(|_| {}).routes, DISPATCH, body).await;
    assert!(answer.is_failure(500) && answer.body["trace_id"].is_string(), "{}", answer.body);
    assert_eq!(
        answer.message(),
        "unknow error, please contact plugin developers: the header X-Bkapi-JWT is missing"
    );
}
