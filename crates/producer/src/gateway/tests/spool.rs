//! What is accepted while the broker is away, and what a caller may wait for.

use std::path::{Path, PathBuf};

use fluxori_runtime::config::SpoolDurability;

use super::*;

/// A folder that is gone when the test ends.
struct TempFolder(PathBuf);

impl TempFolder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fluxori-gateway-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spooling(folder: &Path, durability: SpoolDurability, options: EmitterOptions) -> EmitterOptions {
    let config = ProducerConfig {
        spool_dir: Some(folder.to_owned()),
        durability,
        spool_max_bytes: 64 << 20,
        ..ProducerConfig::default()
    };
    EmitterOptions { spool: spool(&config), ..options }
}

async fn post_waiting(router: &Router, prefer: &str, body: Value) -> Answered {
    let headers = [("authorization", "Bearer all"), ("content-type", "application/json"), ("prefer", prefer)];
    send(router, "/v1/events", &headers, body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_spool_events_are_accepted_while_the_broker_is_away_and_not_even_the_log_is_known() {
    for durability in [SpoolDurability::Process, SpoolDurability::Power] {
        let folder = TempFolder::new();
        let router = router(spooling(&folder.0, durability, nobody()), None, &config());
        let answered = post_json(&router, json!([event("a"), event("b")])).await;
        assert_eq!(
            (answered.status, &answered.body["accepted"]),
            (StatusCode::OK, &json!(2)),
            "{durability:?}"
        );
        assert_eq!(answered.body["position"], Value::Null);
        let item = &answered.body["items"][1];
        assert_eq!((&item["status"], &item["accepted"]), (&json!("accepted"), &json!("spooled")));
        assert_eq!(item.get("position"), None);
    }
    let folder = TempFolder::new();
    let none = spooling(&folder.0, SpoolDurability::None, nobody());
    let answered = post_json(&router(none, None, &config()), event("a")).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE, "without durability there is no spool");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_position_in_vain_is_told_that_the_event_is_spooled() {
    let folder = TempFolder::new();
    let router =
        router(spooling(&folder.0, SpoolDurability::Power, nobody()), Some(LogId(Uuid::nil())), &config());
    let begin = std::time::Instant::now();
    let answered = post_waiting(&router, "wait=1", event("a")).await;
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(answered.header("preference-applied"), "wait=1");
    assert_eq!(answered.body["items"][0]["accepted"], "spooled", "{}", answered.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_gets_the_position_although_the_disk_was_first() {
    let (options, log_id, _) = fresh_log(4).await;
    let folder = TempFolder::new();
    let options = spooling(&folder.0, SpoolDurability::Process, options);
    let router = router(options, Some(log_id), &config());
    let answered = post_json(&router, event("call-0")).await;
    assert_eq!(answered.body["items"][0]["accepted"], "spooled", "{}", answered.body);
    let answered = post_waiting(&router, "wait=10", event("call-1")).await;
    assert_eq!(answered.body["items"][0]["accepted"], "acknowledged", "{}", answered.body);
    let position = Position::of(log_id, partition_of(b"acme", 4), 2).to_string();
    assert_eq!(answered.body["position"], position, "the spooled one went before it");
}
