//! Commands by hand: what the operators' tool promises.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::{ago, emit, grant, shared, started, text, unique, usage, verify};
use fluxori_stack::pipeline::Pipeline;
use serde_json::{Value, json};

fn credits(pipeline: &Pipeline, words: &[&str]) -> Result<Value> {
    pipeline.credits(&[words, &["--output", "json"]].concat())
}

/// A list in a JSON object.
fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    value.get(field).and_then(Value::as_array).with_context(|| format!("no list {field} in {value}"))
}

/// Kind, credits and legs of each posting: what does not depend on the id of the command.
fn legs(postings: &[Value]) -> Result<Vec<Value>> {
    let leg = |entry: &Value| json!([entry.get("account"), entry.get("amount")]);
    let legs = |posting: &Value| {
        let entries: Vec<Value> = list(posting, "entries")?.iter().map(leg).collect();
        Ok(json!({"number": posting.get("number"), "kind": posting.get("kind"),
                  "amount": posting.get("amount"), "entries": entries}))
    };
    postings.iter().map(legs).collect()
}

/// The postings of an org after a number, in order.
fn postings_after(pipeline: &Pipeline, org: &str, number: i64) -> Result<Vec<Value>> {
    let listed = credits(pipeline, &["transactions", org, "--limit", "1000"])?;
    let mut found = list(&listed, "transactions")?.clone();
    found.retain(|posting| posting.get("number").and_then(Value::as_i64).is_some_and(|own| own > number));
    found.reverse();
    Ok(found)
}

/// Gives a command in a dry run, then in earnest, and compares; returns the kinds of its postings.
fn in_earnest(pipeline: &Pipeline, org: &str, words: &[&str]) -> Result<Vec<String>> {
    let before = postings_after(pipeline, org, 0)?.len();
    let dry = credits(pipeline, &[words, &["--dry-run"]].concat())?;
    ensure!(text(&dry, "status")? == "would_apply", "{words:?}: {dry}");
    ensure!(postings_after(pipeline, org, 0)?.len() == before, "a dry run of {words:?} posted something");
    let given = credits(pipeline, words)?;
    ensure!(text(&given, "status")? == "applied", "{words:?}: {given}");
    let wanted = legs(list(&dry, "postings")?)?;
    let made = legs(&postings_after(pipeline, org, i64::try_from(before)?)?)?;
    ensure!(wanted == made, "{words:?}: the dry run said {wanted:?}, and it made {made:?}");
    made.iter().map(|posting| Ok(text(posting, "kind")?.to_owned())).collect()
}

#[test]
fn a_dry_run_shows_the_postings_that_the_command_then_makes() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("by-hand");
    let granted = grant(&pipeline, &org, "100")?;
    let id = text(&granted, "allocation_id")?;
    let events = [usage(&org), usage(&org)];
    emit(&pipeline, &json!(events))?;
    let last = emit(&pipeline, &usage(&org))?;
    e2e::balance_at(&pipeline, &org, text(&last, "position")?)?;
    let [void, replaced] = events.map(|event| event["event_id"].as_str().unwrap_or_default().to_owned());
    let give = |words: &[&str]| in_earnest(&pipeline, &org, words);

    assert_eq!(give(&["adjust", &org, id, "5", "--reason", "test"])?, ["adjust"]);
    let transfer = ["transfer", &org, "--allocation", id, "--to-user", "ann", "--amount", "20"];
    assert_eq!(give(&transfer)?, ["transfer"]);
    assert_eq!(give(&["account", "suspend", &org, "--user", "ann"])?, ["setting"]);
    assert_eq!(give(&["account", "resume", &org, "--user", "ann"])?, ["setting"]);
    assert_eq!(give(&["policy", "set", &org, "--overdraft", "absorb"])?, ["setting"]);
    assert_eq!(give(&["correct", &org, &void, "--void", "--reason", "test"])?, ["correct"]);
    let output = ["--replace", "--output-tokens", "20000", "--reason", "test"];
    let correct = ["correct", &org, &replaced];
    assert_eq!(give(&[&correct[..], &output].concat())?, ["correct"]);
    assert_eq!(give(&[&correct[..], &["--void", "--reason", "test"]].concat())?, ["correct"]);
    let limit = ["grant", &org, "50", "--kind", "payg", "--expires-in", "1d"];
    assert_eq!(give(&limit)?, ["grant", "open"]);
    let stale = [&correct[..], &["--void", "--revision", "1", "--reason", "test", "--dry-run"]].concat();
    let refused = credits(&pipeline, &stale).unwrap_err().to_string();
    assert!(refused.contains("at revision 3, not 1"), "{refused}");
    verify(&pipeline)
}

#[test]
fn a_suspended_account_is_refused_by_checks_and_charged_all_the_same() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("suspended");
    grant(&pipeline, &org, "100")?;
    let check = || {
        let call = json!({"org_id": org, "module": "rag-retrieval", "user_id": "ann"});
        pipeline.post("edge", "/v1/check", &call).map(|answer| answer.body)
    };
    credits(&pipeline, &["account", "suspend", &org, "--user", "ann"])?;
    assert_eq!(text(&check()?, "reason")?, "suspended");
    let emitted = emit(&pipeline, &usage(&org))?;
    let balance = e2e::balance_at(&pipeline, &org, text(&emitted, "position")?)?;
    assert_eq!(text(&balance, "balance")?, "96.75");
    credits(&pipeline, &["account", "resume", &org, "--user", "ann"])?;
    assert_eq!(text(&check()?, "reason")?, "credits_available");
    Ok(())
}

const PLAN: &str = r#"
name = "team"
seats = 2

[[items]]
id = "yearly"
kind = "subscription"
amount = "1000"
share = "seat"
recurrence = { unit = "year", anchor = "ANCHOR", time_zone = "Europe/Berlin" }
"#;

/// The plan, half-way through its year: its next period is not one that the scheduler publishes ahead yet.
fn plan() -> String {
    let anchor: String = ago(182 * 86_400).chars().take("2026-01-01".len()).collect();
    PLAN.replace("ANCHOR", &format!("{anchor}T00:00:00"))
}

#[test]
fn a_plan_is_set_changed_and_cancelled_by_the_operators_tool() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("plan");
    credits(&pipeline, &["org", "open", &org])?;
    let file = pipeline.keys_folder().join(format!("{org}.toml"));
    fs::write(&file, plan())?;
    let file = file.to_str().context("the path is not UTF-8")?;
    // All at one instant, so that shares of the period in course are exact.
    let at = ["--effective-at", &ago(60)];
    let give = |words: &[&str]| in_earnest(&pipeline, &org, &[words, &at].concat());
    assert_eq!(give(&["plan", "set", &org, "--file", file])?, ["setting", "grant", "open"]);
    let balance =
        || -> Result<f64> { Ok(text(&credits(&pipeline, &["balance", &org])?, "balance")?.parse()?) };
    let two_seats = balance()?;
    assert_eq!(give(&["plan", "seats", &org, "4"])?, ["setting", "adjust"]);
    assert!((balance()? - 2.0 * two_seats).abs() < 1e-6, "{two_seats}");
    let shown = credits(&pipeline, &["plan", "show", &org])?;
    assert_eq!((&shown["plan"]["name"], &shown["plan"]["seats"]), (&json!("team"), &json!(4)));
    assert_eq!(give(&["plan", "cancel", &org])?, ["setting", "adjust"]);
    assert_eq!(credits(&pipeline, &["plan", "show", &org])?["plan"], Value::Null);
    verify(&pipeline)
}

#[test]
fn a_command_under_a_key_is_carried_out_once_and_never_passes_for_another() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("once");
    let under = |key: &str, words: &[&str]| {
        credits(&pipeline, &[words, &["--idempotency-key", key, "--reason", "test"]].concat())
    };
    let once = |key: &str, words: &[&str]| -> Result<Value> {
        let given = under(key, words)?;
        ensure!(text(&given, "status")? == "applied", "{words:?}: {given}");
        let again = under(key, words)?;
        ensure!(text(&again, "status")? == "repeated", "{words:?}: {again}");
        ensure!(given["position"] == again["position"], "{given} {again}");
        Ok(given)
    };
    let another = |key: &str, words: &[&str]| -> Result<()> {
        let refused = under(key, words).err().with_context(|| format!("{words:?} passes for another"))?;
        ensure!(refused.to_string().contains("under another key"), "{words:?}: {refused}");
        Ok(())
    };
    let repeated = |key: &str, words: &[&str]| -> Result<()> {
        let again = under(key, words)?;
        ensure!(text(&again, "status")? == "repeated", "{words:?}: {again}");
        Ok(())
    };
    let balance = || credits(&pipeline, &["balance", &org]);

    let grant = ["grant", &org, "100", "--expires-in", "30d"];
    let given = once("grant", &grant)?;
    let id = text(&given, "command_id")?;
    another("grant", &["grant", &org, "100", "--expires-in", "31d"])?;
    another("grant", &["org", "open", &org])?;
    once("adjust", &["adjust", &org, id, "-25"])?;
    another("adjust", &["adjust", &org, id, "-50"])?;
    let to = |user, amount| ["transfer", &org, "--allocation", id, "--to-user", user, "--amount", amount];
    once("transfer", &to("ann", "5"))?;
    another("transfer", &to("ann", "6"))?;
    another("transfer", &to("kim", "5"))?;
    once("extend", &["extend", &org, "--allocation", id, "--by", "30d"])?;
    another("extend", &["extend", &org, "--allocation", id, "--never"])?;
    another("extend", &["extend", &org, "--allocation", id, "--expires-at", "2099-01-01T00:00:00Z"])?;
    repeated("grant", &grant)?;
    assert_eq!(text(&balance()?, "balance")?, "75");
    once("policy", &["policy", "set", &org, "--grace", "0s"])?;
    another("policy", &["policy", "set", &org, "--grace", "1s"])?;

    let file = pipeline.keys_folder().join(format!("{org}.toml"));
    fs::write(&file, plan().replace("seats = 2", "seats = 2\nusers = [\"lee\"]"))?;
    let set = ["plan", "set", &org, "--file", file.to_str().context("the path is not UTF-8")?];
    once("set", &set)?;
    let seats = ["plan", "seats", &org, "3"];
    once("seats", &seats)?;
    another("seats", &["plan", "seats", &org, "4"])?;
    let users = ["plan", "users", &org, "--remove", "lee"];
    once("users", &users)?;
    another("users", &["plan", "users", &org, "--add", "lee"])?;
    once("cancel", &["plan", "cancel", &org])?;
    for (key, words) in [("set", &set[..]), ("seats", &seats), ("users", &users)] {
        repeated(key, words)?;
    }
    fs::write(&file, plan())?;
    another("set", &set)?;

    // Once the allocation has ended, what was done to it before is still known.
    let short = credits(&pipeline, &["grant", &org, "10", "--expires-at", &ago(-6)])?;
    let id = text(&short, "command_id")?;
    let adjust = ["adjust", &org, id, "1"];
    let to = ["transfer", &org, "--allocation", id, "--to-user", "ann", "--amount", "2"];
    once("short adjust", &adjust)?;
    once("short transfer", &to)?;
    e2e::eventually("the allocation has ended", || {
        let refused = credits(&pipeline, &[&adjust[..], &["--reason", "test", "--dry-run"]].concat());
        Ok(refused.is_err_and(|error| error.to_string().contains("has ended")).then_some(()))
    })?;
    repeated("short adjust", &adjust)?;
    repeated("short transfer", &to)?;
    verify(&pipeline)
}

#[test]
fn what_is_not_named_of_a_policy_stays_and_the_balance_shows_it() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("policy");
    let not_open = credits(&pipeline, &["transactions", &org]).unwrap_err().to_string();
    assert!(not_open.contains("is not open"), "{not_open}");
    credits(&pipeline, &["org", "open", &org])?;
    let policy = || -> Result<Value> { Ok(credits(&pipeline, &["balance", &org])?["policy"].clone()) };
    assert_eq!(policy()?, json!({"overdraft": "default", "grace": "5m"}));
    credits(&pipeline, &["policy", "set", &org, "--overdraft", "absorb"])?;
    credits(&pipeline, &["policy", "set", &org, "--grace", "1h"])?;
    assert_eq!(policy()?, json!({"overdraft": "absorb", "grace": "1h"}));
    credits(&pipeline, &["policy", "set", &org, "--overdraft", "carry"])?;
    assert_eq!(policy()?, json!({"overdraft": "carry", "grace": "1h"}));
    verify(&pipeline)
}

#[test]
fn a_command_of_the_root_that_was_rejected_is_not_given_again_for_ever() -> Result<()> {
    let pipeline = shared()?;
    let root = pipeline.keys_folder().join("root.key");
    let pending = pipeline.keys_folder().join("rules-1.pending");
    let rules = ["rules", "set", "1", "--root-key", root.to_str().context("the path is not UTF-8")?];
    let published = credits(&pipeline, &[&rules[..], &["--no-wait"]].concat())?;
    let id = text(&published, "command_id")?;
    ensure!(pending.exists(), "nothing is kept for the next run");
    let refused = || {
        e2e::eventually("the rules are rejected", || {
            let said = credits(&pipeline, &rules).err().map(|error| error.to_string());
            Ok(said.filter(|said| said.contains("rejected")))
        })
    };
    refused()?;
    ensure!(!pending.exists(), "the rejected command is kept");
    let next = credits(&pipeline, &[&rules[..], &["--dry-run"]].concat())?;
    assert_eq!(next["status"], "would_publish", "{id} is over");
    Ok(())
}

#[test]
fn a_key_may_give_what_it_was_issued_for_until_it_is_revoked() -> Result<()> {
    let pipeline = started(&[])?;
    let root = pipeline.keys_folder().join("root.key");
    let root = root.to_str().context("the path is not UTF-8")?;
    let mut words = vec!["keys", "issue", "billing", "--kind", "grant", "--root-key", root];
    words.push("--dry-run");
    let dry = credits(&pipeline, &words)?;
    assert_eq!((&dry["status"], &dry["published"]), (&json!("would_publish"), &json!(e2e::PARTITIONS)));
    words.pop();
    assert_eq!(credits(&pipeline, &words)?["status"], "applied");
    let listed = credits(&pipeline, &["keys", "list"])?;
    let keys = list(&listed, "keys")?;
    let key = keys.iter().find(|key| key["issuer"] == "billing").context("not issued")?;
    assert_eq!(key["partitions"], json!(e2e::PARTITIONS));

    let org = unique("keys");
    let own_key = pipeline.keys_folder().join("billing.key");
    let with_key = |words: &[&str]| -> Result<(bool, String)> {
        let mut command = pipeline.command("credits");
        let output = command.env("FLUXORI__CLI__ISSUER_KEY_FILE", &own_key).args(words).output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    assert!(with_key(&["grant", &org, "10"])?.0);
    let (carried_out, said) = with_key(&["account", "suspend", &org])?;
    assert!(!carried_out && said.contains("not_permitted"), "{said}");
    let id = text(key, "key_id")?;
    assert_eq!(credits(&pipeline, &["keys", "revoke", id, "--root-key", root])?["status"], "applied");
    let (carried_out, said) = with_key(&["grant", &org, "10"])?;
    assert!(!carried_out && said.contains("unknown_key"), "{said}");
    verify(&pipeline)
}

#[test]
fn usage_in_the_quarantine_is_released_or_dismissed_by_its_place() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("released");
    grant(&pipeline, &org, "100")?;
    let mut ahead = usage(&org);
    ahead["occurred_at"] = json!(ago(-3600));
    let event = fluxori_ingest::usage_from_json(ahead, "2026-01-01T00:00:00Z".parse()?)?;
    let value = fluxori_wire::encode_usage(&event)?;
    let places = [e2e::publish(&pipeline, &org, &value)?, e2e::publish(&pipeline, &org, b"not usage")?];
    e2e::eventually("both are in the quarantine", || {
        Ok((e2e::quarantined(&pipeline, &org)?.len() == 2).then_some(()))
    })?;
    let [usage, other] = places.map(|(partition, offset)| format!("{partition}-{offset}"));
    let shown = credits(&pipeline, &["quarantine", "show", &usage])?;
    assert_eq!(text(&shown, "reason")?, "occurred_in_future");
    let why = ["--reason", "its clock was wrong"];
    let release = [&["quarantine", "release", &org, &usage][..], &why].concat();
    assert_eq!(in_earnest(&pipeline, &org, &release)?, ["setting", "debit"]);
    let other_words = [&["quarantine", "release", &org, &other][..], &why].concat();
    let refused = credits(&pipeline, &other_words).unwrap_err().to_string();
    assert!(refused.contains("no usage that can be read"), "{refused}");
    let key = ["--idempotency-key", "dismissed"];
    let dismiss = [&["quarantine", "dismiss", &org, &other][..], &why, &key].concat();
    assert_eq!(in_earnest(&pipeline, &org, &dismiss)?, ["setting"]);
    assert_eq!(credits(&pipeline, &dismiss)?["status"], "repeated");
    let refused = |words: &[&str]| credits(&pipeline, &[words, &why].concat()).unwrap_err().to_string();
    let again = refused(&["quarantine", "dismiss", &org, &other]);
    assert!(again.contains("is dismissed as it is"), "{again}");
    let released = refused(&["quarantine", "dismiss", &org, &usage]);
    assert!(released.contains("was released"), "{released}");
    let (partition, offset) = e2e::publish(&pipeline, "no org's key", b"not usage")?;
    let nobodys = format!("{partition}-{offset}");
    e2e::eventually("the record of nobody is in the quarantine", || {
        Ok(credits(&pipeline, &["quarantine", "show", &nobodys]).ok())
    })?;
    let of_nobody = refused(&["quarantine", "dismiss", &org, &nobodys]);
    assert!(
        of_nobody.contains("is nobody's") && of_nobody.contains("stays in the quarantine"),
        "{of_nobody}"
    );
    let statuses: Vec<Value> =
        e2e::quarantined(&pipeline, &org)?.iter().map(|record| record["status"].clone()).collect();
    assert!(statuses.contains(&json!("released")) && statuses.contains(&json!("dismissed")), "{statuses:?}");
    verify(&pipeline)
}
