//! What the select of `forms/2.0.0/form.js` offers.

use axum::Json;
use axum::extract::Path;
use serde::Serialize;

/// One option of a select.
#[derive(Debug, Serialize)]
pub struct Item {
    text: String,
    value: i64,
}

/// The tasks of a business.
pub async fn get(Path(biz_id): Path<i64>) -> Json<Vec<Item>> {
    let task = |value| Item { text: format!("业务 {biz_id} 的任务 {value}"), value };
    Json(vec![task(1), task(2)])
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    async fn call(path: &str) -> (StatusCode, Vec<u8>) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = crate::apis::routes().oneshot(request).await.unwrap();
        let status = response.status();
        (status, to_bytes(response.into_body(), 10_000).await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn lists_the_tasks_of_a_business() {
        let (status, body) = call("/task_list/2").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!([{"text": "业务 2 的任务 1", "value": 1}, {"text": "业务 2 的任务 2", "value": 2}])
        );
    }

    #[tokio::test]
    async fn a_business_is_a_number() {
        assert_eq!(call("/task_list/x").await.0, StatusCode::BAD_REQUEST);
    }
}
