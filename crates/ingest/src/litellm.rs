//! Pure: LiteLLM's log of a call (`StandardLoggingPayload`), as its generic API logger posts it.
//!
//! Fields that are not known here are passed over: LiteLLM adds some in every version. (`litellm/types/utils.py` and
//! `litellm/integrations/generic_api/`, version 1.106)
//!
//! # Identity
//!
//! LiteLLM makes a payload once and posts these bytes again where it retries, so everything in it is stable. Distinct
//! between calls is the pair of `id` and `litellm_call_id`. `id` alone is not: it is the provider's response id, which
//! some servers leave empty or constant, and the call id where the response has none. `litellm_call_id` alone is not:
//! a client may name it (`x-litellm-call-id`), and the attempts of a call may share it. `trace_id` is common to all
//! attempts. A failure has no response: its identity is its call id and when the attempt began, so that it is not in the way
//! of the success after it. A batch is asked for until it is done and after, each time by another call: with its usage its
//! identity is its own id.
//!
//! # Who and what
//!
//! | field | from, the first that is there |
//! |---|---|
//! | org | `fluxori_org_id` of the key (`user_api_key_auth_metadata`), `user_api_key_org_id`, the API key of the request |
//! | module | `fluxori_module`, the API key of the request |
//! | feature, run, reservation | `fluxori_feature`, `fluxori_run_id` or `session_id`, `fluxori_reservation_id` |
//! | user | `fluxori_user_id` of the key, `user_api_key_user_id`, the client's `fluxori_user_id`, `end_user` |
//! | team | `fluxori_team_id` of the key, `user_api_key_team_id`, the client's `fluxori_team_id`, `team_id` |
//! | costs nothing | `cache_hit`, or `used_client_oauth_token`: a client's own subscription |
//! | tags | what `spend_logs_metadata`, `request_tags` (`name:value`, or `name` alone) and `requester_metadata` hold, then the end user, the key's alias and the model group |
//!
//! `fluxori_…` is looked for in the metadata of the key, then in `spend_logs_metadata` and `requester_metadata`, which a
//! client of the proxy can set: so these two count only where the key says nothing of it. An org is taken from them only
//! where no field `user_api_key_…` is set: from the library.
//!
//! An org that cannot be used makes the call no event. Anything else of these that cannot be used (too long, control
//! characters, a reservation that is no UUID) is dropped, as if nobody had said it.

mod attribution;
mod call;

use fluxori_core::id::{EventId, Model, Provider};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{CallOutcome, Certainty, Quantities, UsageEvent, UsageFields};
use serde_json::Value;

use crate::object::Object;
use crate::provider_name::{self, UNKNOWN};
use crate::{Reason, Rejection, RequestContext, draft};

/// Reads one payload: an element of the array, a line, or the body that LiteLLM's `generic_api` logger posts.
///
/// # Errors
/// What makes it no event; a field that is not known is none of that.
pub fn read(payload: &Value, context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    let root = Object::root(payload)?;
    read_payload(&root, context).map_err(|rejection| {
        let given = said(&root, "id").or_else(|| said(&root, "litellm_call_id"));
        rejection.of_event(given)
    })
}

fn read_payload(root: &Object<'_>, context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    if root.get("modelParameters").is_some() && root.get("status").is_none() {
        let detail = "this is LiteLLM's old payload, all in texts: leave `litellm.generic_api_use_v1` off";
        return Err(Rejection::new(Reason::Invalid, detail));
    }
    let who = attribution::read(root, context)?;
    let source = draft::source(context, "litellm");
    let (began, ended) = (seconds(root, "startTime"), seconds(root, "endTime"));
    let failed = root.text("status") == Some("failure");
    let said_provider = root.text("custom_llm_provider");
    let model_as_logged = root.text("model").or_else(|| root.text("model_group")).unwrap_or(UNKNOWN);
    let provider_name = match said_provider {
        Some(name) => provider_name::otel(name),
        None => {
            provider_name::otel(model_as_logged.split_once('/').map_or(UNKNOWN, |(provider, _)| provider))
        }
    };
    let provider = draft::id(Provider::new, "custom_llm_provider", Some(&*provider_name))?;
    let request_model =
        draft::id(Model::new, "model", Some(call::without_provider(model_as_logged, said_provider)))?;
    let (Some(provider), Some(request_model)) = (provider, request_model) else {
        return Err(root.wrong("model", "is missing"));
    };

    let call_type = root.text("call_type").unwrap_or("completion");
    let operation = call::operation(call_type);
    let is_batch = call_type.ends_with("retrieve_batch");
    let used = call::used(root, operation, provider.as_str())?;
    // Some say of a batch that is under way that it used nothing.
    let is_done = is_batch && used.quantities != Quantities::default();
    let foreign_id = identity(root, failed, is_done, began)?;
    let event_id = EventId::from_foreign(&who.org, &source, &foreign_id);
    let occurred_at = [began, ended].into_iter().flatten().next().and_then(instant).unwrap_or(context.now);
    let mut fields = UsageFields::new(event_id, occurred_at, who.org, who.module, provider, request_model);
    fields.source = source;
    fields.user_id = who.user;
    fields.team_id = who.team;
    fields.feature = who.feature;
    fields.run_id = who.run;
    fields.reservation_id = who.reservation;
    fields.tags = who.tags;

    fields.operation = draft::label(Some(operation)).unwrap_or(fields.operation);
    fields.batch = is_batch;
    fields.response_model = call::response_model(root, said_provider);
    fields.region = provider_name::bedrock_region(root.text("api_base").unwrap_or_default())
        .filter(|_| fields.provider.as_str() == "aws.bedrock")
        .and_then(|region| draft::label(Some(region)));

    fields.raw_usage = used.raw;
    fields.measurement = used.measurement;
    fields.service_tier = draft::label(used.service_tier.as_deref());
    fields.region = fields.region.or_else(|| draft::label(used.region.as_deref()));
    fields.served_from_cache = root.flag("cache_hit");
    fields.own_key = root.object("metadata").flag("used_client_oauth_token");
    fields.outcome = outcome(root, failed);
    // Who hangs up in the middle of an answer is charged for what was made of it. What failed is not.
    let is_exact = used.is_known || is_batch || fields.served_from_cache;
    fields.certainty =
        if is_exact || fields.outcome == CallOutcome::Error { Certainty::Exact } else { Certainty::Unknown };
    fields.set_quantities(used.quantities);

    fields.latency_ms = began.zip(ended).and_then(|(began, ended)| draft::millis(ended - began));
    let first = seconds(root, "completionStartTime").filter(|_| root.flag("stream"));
    fields.time_to_first_token_ms = began.zip(first).and_then(|(began, first)| draft::millis(first - began));
    let call_id = said(root, "litellm_call_id");
    fields.request_id = draft::label(call_id);
    fields.response_id = draft::label(said(root, "id").filter(|id| Some(*id) != call_id && !failed));
    fields.trace_id = draft::label(root.text("trace_id").filter(|id| is_w3c(id)));
    draft::finish(fields, context)
}

/// What is the same on a retry, and another for another call.
fn identity(root: &Object<'_>, failed: bool, is_done: bool, began: Option<f64>) -> Result<String, Rejection> {
    let (id, call_id) = (said(root, "id"), said(root, "litellm_call_id"));
    if id.is_none() && call_id.is_none() {
        let detail = "neither id nor litellm_call_id says which call it is, so a retry would count twice";
        return Err(Rejection::new(Reason::NoIdentity, detail).at("id"));
    }
    let (id, call_id) = (id.unwrap_or_default(), call_id.unwrap_or_default());
    if failed {
        let began = began.and_then(instant).map_or(0, Timestamp::micros);
        return Ok(format!("{id}/{call_id}/failure/{began}"));
    }
    Ok(if is_done && !id.is_empty() { id.to_owned() } else { format!("{id}/{call_id}") })
}

/// An id that says something: Python writes `None` where a response had a null.
fn said<'v>(root: &Object<'v>, name: &str) -> Option<&'v str> {
    root.text(name).filter(|id| *id != "None")
}

fn outcome(root: &Object<'_>, failed: bool) -> CallOutcome {
    let class = root.object("error_information").text("error_class").unwrap_or_default();
    match failed {
        false => CallOutcome::Success,
        true if class.contains("Cancel") || class == "ClientDisconnect" => CallOutcome::Cancelled,
        true => CallOutcome::Error,
    }
}

/// A time in seconds since 1970. Some versions write RFC 3339.
fn seconds(root: &Object<'_>, name: &str) -> Option<f64> {
    match root.get(name)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) =>
        {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of our centuries are exact")]
            text.parse::<Timestamp>().ok().map(|time| time.micros() as f64 / 1e6)
        }
        _ => None,
    }
}

fn instant(seconds: f64) -> Option<Timestamp> {
    let micros = (seconds * 1e6).round();
    #[expect(clippy::cast_possible_truncation, reason = "within the floats that are exact")]
    (micros.abs() < 9e15).then_some(Timestamp::from_micros(micros as i64)).and_then(Timestamp::in_range)
}

fn is_w3c(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}
