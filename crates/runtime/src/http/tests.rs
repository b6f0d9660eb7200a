use axum::Router;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::*;

#[derive(Deserialize)]
struct Body {
    count: u32,
}

/// Serves a small router and sends it one request as raw bytes.
async fn answer(head: &str, body: &str) -> (u16, String, Value) {
    let echo = post(async |JsonBody(body): JsonBody<Body>| body.count.to_string());
    let router = finish(Router::new().route("/echo", echo), 64, Duration::from_millis(200));
    let listener = crate::bind("127.0.0.1:0".parse().unwrap(), "test.listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = {
        let stop = stop.clone();
        let http = crate::config::HttpConfig::default();
        tokio::spawn(async move { crate::serve(listener, router, &http, stop).await })
    };
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request =
        format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    stop.cancel();
    server.await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn rejections_of_a_json_body_are_problems() {
    let json = "POST /echo HTTP/1.1\r\nContent-Type: application/json";
    for (head, body, status, slug) in [
        (json, "{", 400, "bad-json"),
        (json, r#"{"count": -1}"#, 422, "bad-shape"),
        ("POST /echo HTTP/1.1\r\nContent-Type: text/plain", "{}", 415, "not-json"),
        (json, &format!("{{\"count\": {:>80}}}", 1), 413, "body-too-large"),
    ] {
        let (code, head, problem) = answer(head, body).await;
        assert_eq!(code, status, "{problem}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert_eq!(problem["type"], format!("urn:fluxori:problem:{slug}"));
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].is_string(), "{problem}");
    }
    assert_eq!(
        answer(json, r#"{"count": 3}"#).await,
        (200, answer(json, r#"{"count": 3}"#).await.1, json!(3))
    );
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let (code, _, problem) = answer("GET /nowhere HTTP/1.1", "").await;
    assert_eq!((code, &problem["type"]), (404, &json!("about:blank")));
    assert_eq!(problem["detail"], "there is nothing at /nowhere");
    let (code, head, problem) = answer("GET /echo HTTP/1.1", "").await;
    assert_eq!((code, &problem["status"]), (405, &json!(405)));
    assert!(head.contains("allow: post"), "{head}");
}

#[test]
fn a_problem_carries_its_extension_members_beside_the_standard_ones() {
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "rejected", "Some items were rejected")
        .detail("1 of 2")
        .with("items", json!([{"index": 1}]))
        .with("status", 200);
    assert_eq!(
        serde_json::to_value(&problem).unwrap(),
        json!({"type": "urn:fluxori:problem:rejected", "title": "Some items were rejected", "status": 422,
               "detail": "1 of 2", "items": [{"index": 1}]})
    );
    assert_eq!(problem.to_string(), "422 Some items were rejected: 1 of 2");
}

#[test]
fn an_internal_error_keeps_its_reason_to_itself() {
    let problem = serde_json::to_string(&Problem::internal("password is hunter2")).unwrap();
    assert!(!problem.contains("hunter2") && problem.contains("urn:uuid:"), "{problem}");
}
