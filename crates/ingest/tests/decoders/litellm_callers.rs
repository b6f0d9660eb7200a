//! Whom LiteLLM's payloads name, and whom a client of the proxy may name.

use fluxori_ingest::{Reason, litellm};
use serde_json::{Value, json};

use super::litellm::{changed, read};
use super::{anyone, with_key};

/// A payload whose metadata says of the caller only this.
fn called_by(caller: Value) -> Value {
    changed("chat", |payload| {
        let metadata = payload["metadata"].as_object_mut().unwrap();
        for (_, value) in metadata.iter_mut().filter(|(name, _)| name.starts_with("user_api_key_")) {
            *value = Value::Null;
        }
        metadata.extend(caller.as_object().unwrap().clone());
    })
}

#[test]
fn a_client_of_the_proxy_cannot_name_another_org() {
    let claims = json!({"fluxori_org_id": "victim", "fluxori_module": "pim"});
    let claim = |caller: Value| {
        let mut payload = called_by(caller);
        payload["metadata"]["requester_metadata"] = claims.clone();
        payload["metadata"]["spend_logs_metadata"] = claims.clone();
        payload
    };
    assert_eq!(read(&claim(json!({}))).org_id.as_str(), "victim", "of the library");
    // With a key, with a JWT, of which there is no hash, and with a key for nothing but a budget.
    for (caller, org) in [
        (json!({"user_api_key_hash": "88dc", "user_api_key_org_id": "acme"}), "acme"),
        (json!({"user_api_key_org_id": "acme"}), "acme"),
        (
            json!({"user_api_key_org_id": "acme", "user_api_key_auth_metadata": {"fluxori_org_id": "acme-eu"}}),
            "acme-eu",
        ),
        (json!({"user_api_key_team_id": "team-red"}), "globex"),
        (json!({"user_api_key_spend": 0.0}), "globex"),
    ] {
        let event = with_key(|context| litellm::read(&claim(caller.clone()), context)).unwrap();
        assert_eq!(event.org_id.as_str(), org, "{caller}");
    }
}

#[test]
fn a_client_of_the_proxy_cannot_name_another_user_team_or_reservation_than_its_key() {
    let (of_key, of_client) =
        ("019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b", "019a1b2c-3d4e-7f50-8a6b-000000000000");
    let claims = json!({"fluxori_user_id": "mallory", "fluxori_team_id": "team-blue", "fluxori_feature": "theirs",
        "fluxori_reservation_id": of_client, "fluxori_module": "pim"});
    let who = |caller: Value| {
        let mut payload = called_by(caller);
        payload["metadata"]["requester_metadata"] = claims.clone();
        payload["metadata"]["spend_logs_metadata"] = claims.clone();
        let event = read(&payload);
        [
            event.user_id.as_ref().unwrap().to_string(),
            event.team_id.as_ref().unwrap().to_string(),
            event.feature.as_ref().unwrap().to_string(),
            event.reservation_id.unwrap().to_string(),
        ]
    };
    let mut caller = json!({"user_api_key_org_id": "acme"});
    assert_eq!(
        who(caller.clone()),
        ["mallory", "team-blue", "theirs", of_client],
        "of which the key says nothing"
    );
    caller["user_api_key_user_id"] = json!("u-17");
    caller["user_api_key_team_id"] = json!("team-red");
    assert_eq!(who(caller.clone()), ["u-17", "team-red", "theirs", of_client]);
    caller["user_api_key_auth_metadata"] = json!({"fluxori_user_id": "u-18", "fluxori_team_id": "team-green",
        "fluxori_feature": "ours", "fluxori_reservation_id": of_key});
    assert_eq!(who(caller), ["u-18", "team-green", "ours", of_key]);
}

#[test]
fn who_and_what_that_cannot_be_used_is_dropped_and_never_the_event() {
    let odd = changed("chat", |payload| {
        let metadata = &mut payload["metadata"];
        metadata["user_api_key_user_id"] = json!("u".repeat(300));
        metadata["user_api_key_team_id"] = json!("team\u{7}red");
        metadata["spend_logs_metadata"] = json!({"fluxori_module": "m".repeat(300), "fluxori_feature": "a\nb",
            "fluxori_run_id": "r".repeat(300), "fluxori_reservation_id": "no-uuid", "fluxori_user_id": "mallory"});
        metadata["requester_metadata"] = Value::Null;
    });
    let event = with_key(|context| litellm::read(&odd, context)).unwrap();
    assert_eq!((event.org_id.as_str(), event.module.as_str()), ("acme", "key-module"));
    assert!(event.user_id.is_none() && event.team_id.is_none() && event.feature.is_none());
    assert!(event.run_id.is_none() && event.reservation_id.is_none());
    assert_eq!(litellm::read(&odd, &anyone()).unwrap_err().reason, Reason::NoAttribution);
    let no_org =
        changed("chat", |payload| payload["metadata"]["user_api_key_org_id"] = json!("o".repeat(300)));
    let rejection = with_key(|context| litellm::read(&no_org, context)).unwrap_err();
    assert_eq!(rejection.field.as_deref(), Some("metadata.user_api_key_org_id"));
}
