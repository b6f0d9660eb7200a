//! Each protocol answers in its own form.

use super::*;

fn cloud_event(id: &str) -> Value {
    json!({"specversion": "1.0", "type": "prompt", "id": id, "source": "my-app", "subject": "acme",
           "data": {"tokens": "123", "type": "input", "model": "gpt-5", "provider": "openai", "module": "pim"}})
}

async fn post(router: &Router, path: &str, media_type: &str, body: &Value) -> Answered {
    let headers = [("authorization", "Bearer all"), ("content-type", media_type)];
    send(router, path, &headers, body.to_string()).await
}

#[tokio::test]
async fn cloudevents_are_read_in_all_three_modes() {
    let router = alone();
    let event = cloud_event("a");
    for (media_type, body) in [
        ("application/cloudevents+json; charset=utf-8", event.clone()),
        ("application/cloudevents-batch+json", json!([event, cloud_event("b")])),
    ] {
        let answered = post(&router, "/v1/events", media_type, &body).await;
        // Read as usage: it is the broker that is missing.
        assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answered.body);
    }
    let mut headers = vec![("authorization", "Bearer all"), ("content-type", "application/json")];
    for (name, value) in
        [("ce-specversion", "1.0"), ("ce-type", "prompt"), ("ce-id", "a"), ("ce-source", "my-app")]
    {
        headers.push((name, value));
    }
    let answered = send(&router, "/v1/events", &headers, event["data"].to_string()).await;
    assert_eq!(answered.body["items"][0]["problem"]["field"], "subject", "{}", answered.body);
    headers.push(("ce-subject", "acme"));
    let answered = send(&router, "/v1/events", &headers, event["data"].to_string()).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answered.body);
}

#[tokio::test]
async fn a_cloud_event_that_is_wrong_is_answered_item_by_item_with_its_id_and_path() {
    let wrong = changed(cloud_event("b"), "data", json!({"tokens": -1, "type": "input"}));
    let answered = post(&alone(), "/v1/events", "application/cloudevents-batch+json", &json!([wrong])).await;
    assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY);
    let item = &answered.body["items"][0];
    assert_eq!((&item["event_id"], &item["problem"]["field"]), (&json!("b"), &json!("data.tokens")));
    let none = post(&alone(), "/v1/events", "application/cloudevents-batch+json", &json!({})).await;
    assert_eq!((none.status, none.slug()), (StatusCode::BAD_REQUEST, "bad-json"));
}

#[tokio::test]
async fn configured_rules_read_cloudevents() {
    let list = |name: &str, path: &str| (name.to_owned(), vec![path.to_owned()]);
    let mut config = config();
    config.cloudevents.rules = vec![CloudEventsRule {
        when: [list("type", "page.*")].into(),
        fields: [
            list("org_id", "tenant"),
            list("units.pages", "data.n"),
            list("request_model", "data.engine"),
        ]
        .into(),
        defaults: [("provider", "ocr"), ("module", "pim")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
    }];
    let event = json!({"specversion": "1.0", "type": "page.read", "id": "1", "source": "s", "tenant": "globex",
                       "data": {"n": 3, "engine": "e"}});
    let headers = [("authorization", "Bearer one"), ("content-type", "application/cloudevents+json")];
    let answered = send(&alone_with(&config), "/v1/events", &headers, event.to_string()).await;
    let problem = &answered.body["items"][0]["problem"];
    assert_eq!((answered.status, &problem["field"]), (StatusCode::FORBIDDEN, &json!("org_id")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("globex"), "{problem}");

    config.cloudevents.rules[0].fields.extend([list("input_token", "data.n")]);
    let error = mapping(&config.cloudevents).unwrap_err().to_string();
    assert!(error.contains("cloudevents.rules[0].fields.input_token: "), "{error}");
}

#[tokio::test]
async fn openmeters_clients_get_400_with_a_problem_503_to_try_again_and_403() {
    let router = alone();
    let path = "/api/v1/events";
    let wrong = json!({"specversion": "1.0", "type": "prompt", "id": "w", "source": "s", "subject": "acme"});
    for (media_type, body) in [
        ("application/cloudevents-batch+json", json!([wrong])),
        ("application/cloudevents+json", wrong.clone()),
        ("application/json", json!([wrong])),
    ] {
        let answered = post(&router, path, media_type, &body).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{media_type}: {}", answered.body);
        assert_eq!(answered.header("content-type"), "application/problem+json");
        assert_eq!((&answered.body["status"], &answered.body["title"]), (&json!(400), &json!("Bad Request")));
        assert_eq!(answered.body["validationErrors"][0]["id"], "w");
        assert!(answered.body["detail"].as_str().unwrap().contains("1 of 1"), "{}", answered.body);
    }
    let batch = "application/cloudevents-batch+json";
    let answered = post(&router, path, batch, &json!([cloud_event("a")])).await;
    assert_eq!((answered.status, answered.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    let headers = [("authorization", "Bearer one"), ("content-type", batch)];
    let other = json!([changed(cloud_event("a"), "subject", json!("globex"))]).to_string();
    assert_eq!(send(&router, path, &headers, other).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn otlp_is_refused_with_a_status_in_the_encoding_of_the_request() {
    let router = alone();
    for (media_type, answer_type) in [
        ("application/x-protobuf", "application/x-protobuf"),
        ("application/json", "application/json"),
        ("text/plain", "application/json"),
    ] {
        let headers = [("authorization", "Bearer all"), ("content-type", media_type)];
        let answered = send(&router, "/v1/traces", &headers, "\u{1}nonsense").await;
        let status = if media_type == "text/plain" {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        } else {
            StatusCode::BAD_REQUEST
        };
        assert_eq!((answered.status, answered.header("content-type")), (status, answer_type));
        if answer_type == "application/json" {
            assert_eq!(answered.body["code"], 3, "{}", answered.body);
        } else {
            assert_eq!(answered.bytes[..2], [0x08, 3]);
        }
    }
}
