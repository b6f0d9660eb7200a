//! A bare axum handler: reads the body, parses it as JSON, and answers as much as the gateway does.

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Serves at a free port, which it prints.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    Ok(axum::serve(listener, Router::new().route("/v1/events", post(parse))).await?)
}

async fn parse(body: Bytes) -> Result<axum::Json<Value>, StatusCode> {
    let value: Value = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let events = match &value {
        Value::Array(events) => events.as_slice(),
        one => std::slice::from_ref(one),
    };
    let items: Vec<_> = events
        .iter()
        .enumerate()
        .map(|(index, event)| {
            json!({"index": index, "event_id": event.get("event_id"), "status": "accepted", "accepted": "spooled"})
        })
        .collect();
    Ok(axum::Json(json!({"accepted": items.len(), "rejected": 0, "position": null, "items": items})))
}
