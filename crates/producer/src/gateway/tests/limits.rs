//! Bodies, rates and time.

use super::*;

#[tokio::test]
async fn a_bomb_is_413_whatever_it_is_packed_with() {
    let router = alone();
    let zeros = vec![b' '; 64 << 20];
    for (encoding, packed) in [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))] {
        let headers = [
            ("authorization", "Bearer all"),
            ("content-type", "application/json"),
            ("content-encoding", encoding),
        ];
        let answered = send(&router, "/v1/events", &headers, packed).await;
        assert_eq!((answered.status, answered.slug()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"));
    }
}

#[tokio::test]
async fn an_encoding_that_is_not_read_is_415_with_those_that_are() {
    let headers =
        [("authorization", "Bearer all"), ("content-type", "application/json"), ("content-encoding", "br")];
    for path in ["/v1/events", "/api/v1/events", "/v1/litellm", "/v1/traces"] {
        let answered = send(&alone(), path, &headers, "{}").await;
        assert_eq!(answered.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}");
        assert_eq!(answered.header("accept-encoding"), "gzip, zstd", "{path}");
    }
}

#[tokio::test]
async fn a_key_that_sends_too_often_is_told_when_to_come_back_in_the_form_of_its_protocol() {
    let mut config = config();
    config.producer = ProducerConfig { rate_limit_per_second: 1, rate_limit_burst: 2, ..config.producer };
    let router = alone_with(&config);
    let bad = json!({"event_id": "a"});
    for remaining in ["\"key\";r=1", "\"key\";r=0"] {
        let answered = post_json(&router, bad.clone()).await;
        assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answered.header("ratelimit"), remaining);
    }
    let answered = post_json(&router, bad.clone()).await;
    assert_eq!((answered.status, answered.slug()), (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"));
    assert_eq!(answered.header("retry-after"), "1");
    let headers = [("authorization", "Bearer all"), ("content-type", "application/x-protobuf")];
    let answered = send(&router, "/v1/traces", &headers, "").await;
    assert_eq!((answered.status, answered.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(answered.header("content-type"), "application/x-protobuf");
    assert_eq!(answered.bytes[..2], [0x08, 8], "RESOURCE_EXHAUSTED");
    let headers = [("authorization", "Bearer all"), ("content-type", "application/json")];
    let answered = send(&router, "/v1/litellm", &headers, "[]").await;
    assert_eq!((answered.status, answered.slug()), (StatusCode::SERVICE_UNAVAILABLE, "too-many-requests"));
    assert_eq!(answered.header("retry-after"), "1", "LiteLLM drops what is answered with 429");
    let other = post_as(&router, "one", "application/json", bad.to_string()).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "each key has its own");
}

#[tokio::test]
async fn more_items_or_bytes_than_configured_are_413() {
    let mut config = config();
    config.producer = ProducerConfig { max_items: 2, max_body_bytes: 2_000, ..config.producer };
    let router = alone_with(&config);
    let answered = post_json(&router, json!([{}, {}, {}])).await;
    assert_eq!((answered.status, answered.slug()), (StatusCode::PAYLOAD_TOO_LARGE, "too-many-events"));
    let answered = post_json(&router, json!(["x".repeat(2_000)])).await;
    assert_eq!((answered.status, answered.slug()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"));
    assert!(answered.body["detail"].as_str().unwrap().contains("2000"), "{}", answered.body);
}

#[tokio::test]
async fn a_request_of_too_many_spans_is_413() {
    let spans = vec!["{}"; 100_001].join(",");
    let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let headers = [("authorization", "Bearer all"), ("content-type", "application/json")];
    let answered = send(&alone(), "/v1/traces", &headers, body).await;
    assert_eq!(answered.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_that_never_ends_or_trickles_is_408_within_a_bound() {
    let http = HttpConfig { body_timeout_ms: 300, ..HttpConfig::default() };
    let router = fluxori_runtime::http::finish(alone(), 16 << 20, http.body_timeout());
    let listener = fluxori_runtime::bind("127.0.0.1:0".parse().unwrap(), "producer.listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = fluxori_runtime::Lifecycle::new().soft();
    let server = tokio::spawn(async move { fluxori_runtime::serve(listener, router, &http, stop).await });
    for (path, trickle, status) in
        [("/v1/events", false, 408), ("/v1/events", true, 408), ("/v1/litellm", false, 503)]
    {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer all\r\n\
             Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let drip = tokio::spawn(async move {
            while trickle && writer.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            writer
        });
        let mut text = String::new();
        let read = tokio::time::timeout(Duration::from_secs(5), reader.read_to_string(&mut text)).await;
        assert!(read.is_ok(), "no answer in time");
        let said = format!("HTTP/1.1 {status}");
        assert!(text.starts_with(&said) && text.contains("body-too-slow"), "{trickle}: {text}");
        assert!(text.to_lowercase().contains("connection: close"), "{text}");
        drip.abort();
    }
    server.abort();
}
