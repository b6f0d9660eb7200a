//! Pure: a provider's own `usage` object in an event of ours.
//!
//! A call site need not know how each provider counts. It posts an event of ours (`docs`: the usage event in JSON) in which,
//! in place of token fields, stands one of
//!
//! - `usage`: the provider's usage object, as it is (Gemini's `usageMetadata`, too);
//! - `response`: the provider's whole response, as it is. Its usage is read, its model becomes `response_model`, its id
//!   `response_id`, and `event_id` where the event has none: a retry of the post is the same event. An id of fewer than
//!   20 characters is not taken: some servers number their answers, and begin anew. Then the event must say `event_id`.
//!
//! ```json
//! {"org_id": "acme", "module": "pim", "provider": "anthropic", "request_model": "claude-sonnet-4-5",
//!  "response": {"id": "msg_01…", "model": "claude-sonnet-4-5-20250929",
//!               "usage": {"input_tokens": 21, "cache_read_input_tokens": 188086, "output_tokens": 393}}}
//! ```
//!
//! What is read: OpenAI (chat completions, Responses, embeddings, images, audio) and those after its model, Anthropic
//! Messages, Gemini, Bedrock Converse, Cohere. The fields tell the shape; `provider` decides where two have the same.
//! Totals come out as totals (`input_tokens` is all input), whatever the provider leaves out of them. The object goes
//! into `raw_usage` as it came, up to 4 KB; a longer one is left out.
//!
//! Other fields hold as in any event of ours, and come before what the response says. `usage` beside a token field is
//! refused: one of the two would be wrong. Where `usage` or `response` is null, or a response has no usage, as of a stream that
//! was cut, the certainty of the event is `unknown`, unless it says another. `units` are joined; of two with one name that of the event holds.

use fluxori_core::usage::{Quantity, TokenCounts};
use serde_json::{Map, Value};

use crate::object::{Object, kind};
use crate::provider_name;
use crate::usage::{self, Usage};
use crate::{Reason, Rejection, draft};

/// Turns an event with a provider's own `usage` object, or its whole `response`, into one with token counts of ours,
/// which is then read as any own event is ([`crate::usage_from_json`]). An event with neither, and what is no object,
/// stays as it is.
///
/// # Errors
/// The object cannot be read as its provider's, or stands beside fields that say the same.
pub fn expand(event: Value) -> Result<Value, Rejection> {
    let Value::Object(mut event) = event else { return Ok(event) };
    // Null is what clients have of a stream that was cut.
    let given = |name: &str| event.get(name).is_some_and(|value| !value.is_null());
    let name = match (given("usage"), given("response")) {
        (true, true) => return Err(refused(&event, "usage", "stands beside response: give one of them")),
        (true, false) => "usage",
        (false, true) => "response",
        (false, false) => {
            let nulls = ["usage", "response"].map(|name| event.remove(name).is_some());
            if nulls.contains(&true) && token_field(&event).is_none() {
                put(&mut event, "certainty", Some("unknown".into()));
            }
            return Ok(Value::Object(event));
        }
    };
    if let Some(field) = token_field(&event) {
        return Err(refused(
            &event,
            field,
            &format!("stands beside {name}, which says the same: leave it out"),
        ));
    }
    let given = event.remove(name).unwrap_or_default();
    // The other of the two is null, if it is there.
    event.remove(if name == "usage" { "response" } else { "usage" });
    let Value::Object(fields) = &given else {
        return Err(refused(
            &event,
            name,
            &format!("is {} where the provider's object should stand", kind(&given)),
        ));
    };
    let provider = event.get("provider").and_then(Value::as_str).map(provider_name::otel).unwrap_or_default();
    let object = Object::named(fields, name);
    let places = if name == "usage" {
        vec![object.clone()]
    } else {
        ["usage", "usageMetadata", "usage_metadata", "usage_info", "meta"]
            .map(|name| object.object(name))
            .into()
    };
    let id = event.get("event_id").and_then(Value::as_str).map(str::to_owned);
    let named = |rejection: Rejection| rejection.of_event(id.as_deref());
    let mut found = None;
    for place in places.iter().filter(|place| !place.is_empty()) {
        if let Some(usage) = usage::read(place, &provider).map_err(named)? {
            found = Some((usage, place.map().cloned()));
            break;
        }
    }
    if name == "response" {
        put_response(&mut event, &object)?;
    }
    match found {
        Some((mut usage, raw)) => {
            if name == "response" && !usage.quantities.units.contains_key("searches") {
                usage.add_units("searches", searches_of(&object));
            }
            put_usage(&mut event, usage, raw);
        }
        // A stream that was cut has no usage; whoever posts the event may know better.
        None if name == "response" && !fields.is_empty() => {
            put(&mut event, "certainty", Some("unknown".into()))
        }
        None => {
            let problem =
                "has none of the fields of a usage object of OpenAI, Anthropic, Gemini, Bedrock or Cohere";
            return Err(refused(&event, name, problem));
        }
    }
    Ok(Value::Object(event))
}

/// Searches of the web among the outputs of OpenAI's Responses API. Opening a page of the results is not charged.
pub(crate) fn searches_of(response: &Object<'_>) -> Option<Quantity> {
    let outputs = response.get("output").and_then(Value::as_array)?;
    let is_search = |output: &&Value| {
        output.get("type").and_then(Value::as_str) == Some("web_search_call")
            && output.pointer("/action/type").and_then(Value::as_str).is_none_or(|action| action == "search")
    };
    let searches = i64::try_from(outputs.iter().filter(is_search).count()).ok()?;
    (searches > 0).then_some(Quantity::of_tokens(searches))
}

fn put_usage(event: &mut Map<String, Value>, usage: Usage, raw: Option<Map<String, Value>>) {
    for (field, count) in usage.quantities.tokens.by_field() {
        if count != 0 {
            event.insert(field.to_owned(), count.into());
        }
    }
    if !usage.quantities.units.is_empty() {
        let units = event.entry("units").or_insert_with(|| Value::Object(Map::new()));
        // Anything else is refused when the event is read.
        if let Value::Object(units) = units {
            for (name, quantity) in usage.quantities.units {
                units.entry(name).or_insert_with(|| Value::String(quantity.0.normalize().to_string()));
            }
        }
    }
    put(event, "service_tier", usage.service_tier.map(Value::String));
    put(event, "region", usage.region.map(Value::String));
    put(event, "raw_usage", raw.and_then(|raw| draft::raw(&Value::Object(raw))).map(Value::String));
}

fn put_response(event: &mut Map<String, Value>, response: &Object<'_>) -> Result<(), Rejection> {
    let text = |names: &[&str]| names.iter().find_map(|name| response.text(name));
    // Bedrock's responses have no id of their own; its SDK for Python puts one beside.
    let id = text(&["id", "responseId", "response_id"])
        .or_else(|| response.object("ResponseMetadata").text("RequestId"));
    put(event, "event_id", id.filter(|id| draft::is_unique(id)).map(Value::from));
    if event.get("event_id").is_none_or(Value::is_null) {
        return Err(no_identity(id));
    }
    put(event, "response_id", draft::label(id).map(|id| id.as_str().into()));
    put(event, "response_model", text(&["model", "modelVersion", "model_version"]).map(Value::from));
    put(event, "service_tier", response.text("service_tier").map(Value::from));
    Ok(())
}

fn no_identity(id: Option<&str>) -> Rejection {
    let problem = match id {
        Some(id) => format!(
            "the response's id {id:?} has fewer than {} characters, so another call may have the same",
            draft::UNIQUE_CHARS
        ),
        None => "the response has no id".to_owned(),
    };
    let detail = format!(
        "{problem}: give event_id, a UUIDv7 or any text that names the call, the same on every retry"
    );
    Rejection::new(Reason::NoIdentity, detail).at("event_id")
}

/// Sets a field that the event does not have.
fn put(event: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    if let Some(value) = value
        && event.get(field).is_none_or(Value::is_null)
    {
        event.insert(field.to_owned(), value);
    }
}

fn refused(event: &Map<String, Value>, field: &str, problem: &str) -> Rejection {
    let id = event.get("event_id").and_then(Value::as_str);
    Rejection::new(Reason::Invalid, format!("{field} {problem}")).at(field).of_event(id)
}

/// A field of the event that counts tokens.
fn token_field(event: &Map<String, Value>) -> Option<&'static str> {
    let fields = TokenCounts::default().by_field().map(|(field, _)| field);
    fields.into_iter().find(|field| event.contains_key(*field))
}
