//! Grants, debits, expiry: what the ledger and the edge promise.

use anyhow::{Context, Result};
use e2e::{
    ORG_KEY, ago, balance_at, emit, eventually, grant, publish, quarantined, shared, text, unique, usage,
    verify,
};
use fluxori_core::command::{Account, AllocationKind, Command, CommandBody, Grant, Scope};
use fluxori_core::id::{CommandId, OrgId};
use fluxori_core::time::Timestamp;
use fluxori_wire::Issuer;
use serde_json::{Value, json};
use uuid::Uuid;

#[test]
fn the_same_event_twice_is_debited_once() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("twice");
    grant(&pipeline, &org, "100")?;
    let event = usage(&org);
    emit(&pipeline, &event)?;
    let again = emit(&pipeline, &json!([event, event]))?;
    let balance = balance_at(&pipeline, &org, text(&again, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "96.75");
    assert!(quarantined(&pipeline, &org)?.is_empty());
    Ok(())
}

#[test]
fn the_same_id_with_other_content_is_quarantined_and_never_applied() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("conflict");
    grant(&pipeline, &org, "100")?;
    let mut event = usage(&org);
    emit(&pipeline, &event)?;
    event["output_tokens"] = json!(100_000);
    let other = emit(&pipeline, &event)?;
    let balance = balance_at(&pipeline, &org, text(&other, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "96.75");
    let waiting = quarantined(&pipeline, &org)?;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!(text(&waiting[0], "reason")?, "conflict");
    Ok(())
}

/// A grant that the edge's key could have signed.
fn wanted(org: &str) -> Result<Command> {
    Ok(Command {
        command_id: CommandId(Uuid::now_v7()),
        issued_at: ago(0).parse()?,
        actor: "mallory".to_owned(),
        reason: "wants credits".to_owned(),
        reference: None,
        body: CommandBody::Grant(
            OrgId::new(org)?,
            Grant {
                account: Account::Organization,
                kind: AllocationKind::Prepaid,
                amount: "1000000".parse()?,
                effective_at: ago(0).parse::<Timestamp>()?,
                expires_at: None,
                priority: 0,
                scope: Scope::default(),
                purchased: false,
                period: None,
            },
        ),
    })
}

#[test]
fn an_unsigned_or_wrongly_signed_grant_creates_no_credits() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("forged");
    let edge = Issuer::read(&pipeline.keys_folder().join("edge.key"))?;
    let mut altered = edge.sign(&wanted(&org)?)?;
    *altered.last_mut().context("empty")? ^= 1;
    let stranger = Issuer::new(edge.log_id(), "edge", [7; 32]).sign(&wanted(&org)?)?;
    let of_another_log =
        Issuer::new(fluxori_core::id::LogId(Uuid::nil()), "edge", [7; 32]).sign(&wanted(&org)?)?;
    let root = Issuer::read(&pipeline.keys_folder().join("root.key"))?.sign(&wanted(&org)?)?;
    let unsigned = fluxori_wire::encode_payload(&wanted(&org)?)?;
    for value in [&altered, &stranger, &of_another_log, &root, &unsigned] {
        publish(&pipeline, &org, value)?;
    }
    // An honest grant behind them: once it is applied, the others were judged.
    let granted = grant(&pipeline, &org, "10")?;
    let balance = balance_at(&pipeline, &org, text(&granted, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "10");
    let mut reasons: Vec<String> = quarantined(&pipeline, &org)?
        .iter()
        .map(|record| text(record, "reason").map(str::to_owned))
        .collect::<Result<_>>()?;
    reasons.sort();
    assert_eq!(
        reasons,
        ["bad_signature", "not_permitted", "schema_not_in_force", "unknown_key", "unknown_key"]
    );
    Ok(())
}

#[test]
fn a_grant_is_visible_to_the_read_that_names_its_position() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("visible");
    for round in 1..=5 {
        let granted = grant(&pipeline, &org, "10")?;
        let balance = balance_at(&pipeline, &org, text(&granted, "position")?)?;
        assert_eq!(text(&balance, "balance")?, (round * 10).to_string());
    }
    Ok(())
}

#[test]
fn a_grant_repeated_under_its_idempotency_key_is_one_grant() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("idempotent");
    let body = json!({"org_id": org, "kind": "prepaid", "amount": "10", "reason": "test"});
    let headers = [("content-type", "application/json"), ("idempotency-key", "purchase-1")];
    let bytes = serde_json::to_vec(&body)?;
    let once = pipeline.post_as("edge", "/v1/allocations", &headers, &bytes, Some(pipeline.admin_key()))?;
    let again = pipeline.post_as("edge", "/v1/allocations", &headers, &bytes, Some(pipeline.admin_key()))?;
    assert_eq!((once.status, again.status), (201, 201), "{} {}", once.body, again.body);
    assert_eq!(once.body.get("allocation_id"), again.body.get("allocation_id"));
    let other = json!({"org_id": org, "kind": "prepaid", "amount": "11", "reason": "test"});
    let other = serde_json::to_vec(&other)?;
    let reused = pipeline.post_as("edge", "/v1/allocations", &headers, &other, Some(pipeline.admin_key()))?;
    assert_eq!(reused.status, 422, "{}", reused.body);
    let unnamed =
        pipeline.post_as("edge", "/v1/allocations", &headers[..1], &bytes, Some(pipeline.admin_key()))?;
    assert_eq!(unnamed.status, 400, "{}", unnamed.body);
    let cli = |amount: &str| {
        let key = ["--idempotency-key", "purchase-2", "--expires-in", "30d", "--output", "json"];
        pipeline.credits(&[&["grant", &org, amount][..], &key].concat())
    };
    let granted = cli("5")?;
    cli("5")?;
    let refused = cli("500").map(|answer| answer.to_string());
    assert!(refused.is_err_and(|error| error.to_string().contains("idempotency key")));
    let balance = balance_at(&pipeline, &org, text(&granted, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "15");
    Ok(())
}

#[test]
fn a_grant_is_known_again_after_it_was_extended() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("extended");
    let grant = |expires_at: &str| -> Result<(u16, Value)> {
        let body = json!({"org_id": org, "kind": "prepaid", "amount": "10", "effective_at": "2026-01-01T00:00:00Z",
                          "expires_at": expires_at, "reason": "test"});
        let headers = [("content-type", "application/json"), ("idempotency-key", "purchase")];
        let bytes = serde_json::to_vec(&body)?;
        let key = Some(pipeline.admin_key());
        let answer = pipeline.post_as("edge", "/v1/allocations", &headers, &bytes, key)?;
        Ok((answer.status, answer.body))
    };
    let (_, granted) = grant("2998-01-01T00:00:00Z")?;
    let id = text(&granted, "allocation_id")?;
    let later = "2999-01-01T00:00:00Z";
    let extend = ["extend", &org, "--allocation", id, "--expires-at", later, "--output", "json"];
    pipeline.credits(&extend)?;
    let (status, again) = grant("2998-01-01T00:00:00Z")?;
    assert_eq!((status, text(&again, "allocation_id")?), (201, id), "{again}");
    let (status, another) = grant("2997-01-01T00:00:00Z")?;
    assert_eq!(status, 422, "{another}");
    Ok(())
}

#[test]
fn an_idle_orgs_allocation_expires_by_a_tick_while_two_schedulers_run() -> Result<()> {
    let pipeline = shared()?;
    // The first test that comes starts it; both go on.
    let second = pipeline.start_instance("expiry-scheduler", "second-scheduler", &[]);
    let org = unique("idle");
    pipeline.credits(&["org", "open", &org, "--grace", "1s", "--output", "json"])?;
    let body = json!({
        "org_id": org, "kind": "subscription", "amount": "10", "effective_at": ago(60), "expires_at": ago(-1),
        "reason": "test",
    });
    let answer = pipeline.post("edge", "/v1/allocations", &body)?;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let closes = || -> Result<Vec<Value>> {
        let answer = pipeline.get("edge", &format!("/v1/transactions?org_id={org}"))?;
        let rows = answer.body.get("transactions").and_then(Value::as_array).context("no transactions")?;
        Ok(rows.iter().filter(|row| row.get("kind") == Some(&json!("close"))).cloned().collect())
    };
    let closed = eventually("the idle allocation closes", || Ok(closes()?.first().cloned()))?;
    assert_eq!(text(&closed, "amount")?, "10");
    // Some more ticks of both change nothing.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(closes()?.len(), 1);
    second?;
    pipeline.stop("second-scheduler")?;
    verify(&pipeline)
}

#[test]
fn usage_before_its_org_is_open_waits_and_is_debited_when_it_opens() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("early");
    emit(&pipeline, &json!([usage(&org), usage(&org)]))?;
    eventually("both wait in the quarantine", || {
        Ok((quarantined(&pipeline, &org)?.len() == 2).then_some(()))
    })?;
    let granted = grant(&pipeline, &org, "100")?;
    let balance = balance_at(&pipeline, &org, text(&granted, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "93.5");
    let rows =
        format!("SELECT toString(sum(row_sign)) AS events FROM credit_usage_log WHERE org_id = '{org}'");
    eventually("the released events are in the usage log", || {
        let rows = pipeline.clickhouse(&rows)?;
        Ok((rows.first().and_then(|row| row.get("events")) == Some(&json!("2"))).then_some(()))
    })
}

#[test]
fn a_check_says_yes_with_credits_and_no_without() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("check");
    let granted = grant(&pipeline, &org, "3")?;
    balance_at(&pipeline, &org, text(&granted, "position")?)?;
    let check = || -> Result<Value> {
        let question = json!({"org_id": org, "module": "rag-retrieval", "estimated_credits": "1"});
        Ok(pipeline.post("edge", "/v1/check", &question)?.body)
    };
    assert_eq!(check()?.get("allowed"), Some(&json!(true)));
    let spent = emit(&pipeline, &usage(&org))?;
    balance_at(&pipeline, &org, text(&spent, "position")?)?;
    let answer = check()?;
    assert_eq!(answer.get("allowed"), Some(&json!(false)), "{answer}");
    assert!(!text(&answer, "reason")?.is_empty());
    Ok(())
}

#[test]
fn nobody_sees_or_charges_another_org() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("secret");
    grant(&pipeline, &org, "10")?;
    let key = Some(ORG_KEY.0);
    for path in [format!("/v1/balance?org_id={org}"), format!("/v1/transactions?org_id={org}")] {
        assert_eq!(pipeline.get_as("edge", &path, key)?.status, 403, "{path}");
        assert_eq!(pipeline.get_as("edge", &path, None)?.status, 401, "{path}");
        assert_eq!(pipeline.get_as("edge", &path, Some("wrong"))?.status, 401, "{path}");
    }
    let json = [("content-type", "application/json")];
    let body = serde_json::to_vec(&json!({"org_id": org, "kind": "prepaid", "amount": "1", "reason": "x"}))?;
    assert_eq!(pipeline.post_as("edge", "/v1/allocations", &json, &body, key)?.status, 403);
    let body = serde_json::to_vec(&json!({"org_id": org, "module": "pim"}))?;
    assert_eq!(pipeline.post_as("edge", "/v1/check", &json, &body, key)?.status, 403);
    let body = serde_json::to_vec(&usage(&org))?;
    assert_eq!(pipeline.post_as("producer", "/v1/events", &json, &body, key)?.status, 403);
    assert_eq!(pipeline.post_as("producer", "/v1/events", &json, &body, None)?.status, 401);
    let body = serde_json::to_vec(&usage(ORG_KEY.1))?;
    assert_eq!(pipeline.post_as("producer", "/v1/events", &json, &body, key)?.status, 200);
    Ok(())
}

#[test]
fn the_edge_describes_itself_and_answers_problems() -> Result<()> {
    let pipeline = shared()?;
    let described = pipeline.get_as("edge", "/openapi.json", None)?;
    assert_eq!(described.status, 200);
    assert!(text(&described.body, "openapi")?.starts_with("3.1"));
    let paths = described.body.get("paths").context("no paths")?;
    for path in ["/v1/balance", "/v1/check", "/v1/allocations", "/v1/transactions"] {
        assert!(paths.get(path).is_some(), "{path} is not described");
    }
    let problem = pipeline.get("edge", "/v1/balance")?;
    assert_eq!((problem.status, problem.content_type.as_str()), (400, "application/problem+json"));
    let unknown = pipeline.get("edge", &format!("/v1/balance?org_id={}", unique("nobody")))?;
    assert_eq!((unknown.status, unknown.content_type.as_str()), (404, "application/problem+json"));
    let position = pipeline.get("edge", "/v1/balance?org_id=acme&at_least=nonsense")?;
    assert_eq!(position.status, 400, "{}", position.body);
    Ok(())
}
