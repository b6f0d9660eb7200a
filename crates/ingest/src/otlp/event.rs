//! Pure: from a span that is a call of a model to its event.

use std::borrow::Cow;

use fluxori_core::id::{
    EventId, Feature, IdError, Label, Model, Module, OrgId, Provider, ReservationId, RunId, TeamId, UserId,
};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{CallOutcome, Certainty, TokenCounts, UsageEvent, UsageFields};
use serde_json::Value;

use super::attributes::Attributes;
use super::calls::Call;
use super::names;
use super::wire::{ERROR, Span};
use crate::draft::{self, Tags};
use crate::provider_name::{self, UNKNOWN};
use crate::{Reason, Rejection, RequestContext, usage};

/// What instrumentations say of themselves where nobody told them which service they are in.
const UNNAMED_SERVICE: &str = "unknown_service";

pub(super) fn read(call: &Call<'_>, context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    let (span, attributes) = (call.span, call.attributes);
    let source = draft::source(context, "opentelemetry");
    let org = attributes.text_anywhere(&["fluxori.org_id"]);
    let org = draft::id(OrgId::new, "fluxori.org_id", org.as_deref())?;
    let org = draft::org(org, context, "set the attribute fluxori.org_id on the span or its resource")?;
    let module = module(attributes, context)?;
    let response_id = attributes.text(names::RESPONSE_ID);
    let foreign_id = identity(span, response_id.as_deref())?;
    let event_id = EventId::from_foreign(&org, &source, &foreign_id);
    let named_provider = attributes.named_text(names::PROVIDER);
    let provider_field = named_provider.as_ref().map_or("gen_ai.provider.name", |(name, _)| name);
    let provider_name = provider(named_provider.as_ref().map(|(_, name)| &**name), attributes);
    let request_model = request_model(attributes);
    let fields = (
        draft::id(Provider::new, provider_field, Some(&*provider_name))?,
        draft::id(Model::new, "gen_ai.request.model", Some(&*request_model))?,
    );
    let (Some(provider), Some(request_model)) = fields else {
        return Err(Rejection::new(Reason::Invalid, "gen_ai.request.model is missing"));
    };

    let began = instant(span.start_time_unix_nano).or_else(|| instant(span.end_time_unix_nano));
    let occurred_at = began.unwrap_or(context.now);
    let mut fields = UsageFields::new(event_id, occurred_at, org, module, provider, request_model);
    fields.source = source;
    fields.user_id = informs(UserId::new, attributes.text(names::USER));
    fields.team_id = informs(TeamId::new, attributes.text_anywhere(&["fluxori.team_id"]));
    fields.feature = informs(Feature::new, attributes.text_anywhere(&["fluxori.feature"]));
    fields.run_id = informs(RunId::new, attributes.text(names::RUN));
    fields.reservation_id =
        attributes.text(&["fluxori.reservation_id"]).and_then(|id| id.parse::<ReservationId>().ok());
    fields.reservation_final = attributes.flag("fluxori.reservation_final");
    fields.own_key = attributes.flag("fluxori.own_key");
    fields.served_from_cache = attributes.flag("fluxori.served_from_cache");
    fields.tags = tags(attributes);
    fields.operation = draft::label(Some(&call.operation)).unwrap_or(fields.operation);
    fields.response_model = informs(Model::new, attributes.text(names::RESPONSE_MODEL));
    fields.service_tier = draft::label(attributes.text(names::SERVICE_TIER).as_deref());
    let host = attributes.text(&["server.address"]).unwrap_or_default();
    fields.region = provider_name::bedrock_region(&host).and_then(|region| draft::label(Some(region)));

    let tokens = tokens(attributes, counts_cache_beside(attributes, &fields))?;
    fields.set_quantities(fluxori_core::usage::Quantities { tokens, ..Default::default() });
    fields.raw_usage = draft::raw(&attributes.usage());
    fields.outcome = outcome(span, attributes);
    fields.certainty = match fields.outcome {
        // No call that went well used nothing: who says so did not know.
        _ if tokens != TokenCounts::default() || fields.served_from_cache => Certainty::Exact,
        CallOutcome::Error => Certainty::Exact,
        CallOutcome::Success | CallOutcome::Cancelled => Certainty::Unknown,
    };
    let nanos = span.end_time_unix_nano.checked_sub(span.start_time_unix_nano);
    fields.latency_ms = nanos
        .filter(|_| span.start_time_unix_nano > 0)
        .and_then(|nanos| i64::try_from(nanos / 1_000_000).ok());
    let to_first = attributes.float(names::TIME_TO_FIRST);
    let to_first =
        to_first.or_else(|| attributes.float(names::MILLIS_TO_FIRST).map(|millis| millis / 1000.0));
    fields.time_to_first_token_ms = to_first.and_then(draft::millis);
    fields.response_id = draft::label(response_id.as_deref());
    fields.trace_id = draft::label(Some(&hex(&span.trace_id))).filter(|_| span.trace_id.len() == 16);
    draft::finish(fields, context)
}

/// The id of the response, which every instrumentation that saw the call knows. One that is so short that it may be a
/// number counts within its trace only: some servers number their answers, and begin anew. Longer ones count alone, since
/// two views that are not nested may be in two traces (Traceloop's and that of Anthropic's SDK, each a root). Without a
/// response id it is the span itself.
fn identity(span: &Span, response_id: Option<&str>) -> Result<String, Rejection> {
    let is_id = |id: &[u8], length| id.len() == length && id.iter().any(|byte| *byte != 0);
    let in_trace = is_id(&span.trace_id, 16);
    match response_id {
        Some(id) if draft::is_unique(id) => return Ok(id.to_owned()),
        Some(id) if in_trace => return Ok(format!("{}/{id}", hex(&span.trace_id))),
        _ if in_trace && is_id(&span.span_id, 8) => {
            return Ok(format!("{}/{}", hex(&span.trace_id), hex(&span.span_id)));
        }
        _ => {}
    }
    let detail = format!(
        "there is neither a valid trace and span id nor a gen_ai.response.id of {} characters, so a retry would count twice",
        draft::UNIQUE_CHARS
    );
    Err(Rejection::new(Reason::NoIdentity, detail).at("spanId"))
}

/// The module: as the span or its resource says, then as the API key says, then the service's name. What can be no module
/// is as if nobody had said it.
fn module(attributes: Attributes<'_>, context: &RequestContext<'_>) -> Result<Module, Rejection> {
    let module = informs(Module::new, attributes.text_anywhere(&["fluxori.module"]));
    let service = || {
        let name = attributes.text_anywhere(&["service.name"]);
        informs(Module::new, name.filter(|name| !name.starts_with(UNNAMED_SERVICE)))
    };
    let module = module.or_else(|| context.module.cloned()).or_else(service);
    draft::module(module, context, "set service.name, or the attribute fluxori.module")
}

/// The provider, whose interface on Azure calls itself OpenAI's in older instrumentations.
fn provider<'a>(named: Option<&str>, attributes: Attributes<'_>) -> Cow<'a, str> {
    let host = attributes.text(&["server.address", "gen_ai.openai.api_base"]).unwrap_or_default();
    match named.map(provider_name::otel) {
        Some(name) if name == "openai" && host.contains(".openai.azure.com") => {
            Cow::Borrowed("azure.ai.openai")
        }
        Some(name) => name,
        None => Cow::Borrowed(UNKNOWN),
    }
}

fn request_model(attributes: Attributes<'_>) -> Cow<'_, str> {
    if let Some(model) =
        attributes.text(names::REQUEST_MODEL).or_else(|| attributes.text(names::RESPONSE_MODEL))
    {
        return model;
    }
    let parameters = attributes.text(names::INVOCATION);
    let parameters = parameters.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let model = parameters.as_ref().and_then(|parameters| parameters.get("model")?.as_str());
    model
        .map(str::trim)
        .filter(|model| !model.is_empty())
        .map_or(Cow::Borrowed(UNKNOWN), |model| Cow::Owned(model.to_owned()))
}

/// Whether cached tokens are not in the input: the Vercel AI SDK, up to version 5, hands on what the provider counts, and
/// Anthropic and Bedrock count so. From version 6 it names the parts of the input, which then holds all.
fn counts_cache_beside(attributes: Attributes<'_>, fields: &UsageFields) -> bool {
    let of_vercel = attributes.first_of(names::CACHE_READ) == Some("ai.usage.cachedInputTokens")
        && attributes.behind("ai.usage.inputTokenDetails.").is_empty();
    let provider = fields.provider.as_str();
    of_vercel
        && (provider.contains("anthropic")
            || provider == "aws.bedrock"
            || fields.request_model.as_str().contains("claude"))
}

fn tokens(attributes: Attributes<'_>, cache_beside: bool) -> Result<TokenCounts, Rejection> {
    let count = |names| attributes.count(names).map(Option::unwrap_or_default);
    let for_1h = count(names::CACHE_WRITE_1H)?;
    let for_5m = count(names::CACHE_WRITE_5M)?.max(count(names::CACHE_WRITE)? - for_1h);
    let mut tokens = TokenCounts {
        input: count(names::INPUT)?,
        cache_read: count(names::CACHE_READ)?,
        cache_write_5m: for_5m,
        cache_write_1h: for_1h,
        audio_input: count(names::AUDIO_INPUT)?,
        image_input: count(names::IMAGE_INPUT)?,
        cache_read_audio: count(names::CACHE_READ_AUDIO)?,
        cache_read_image: count(names::CACHE_READ_IMAGE)?,
        output: count(names::OUTPUT)?,
        reasoning: count(names::REASONING)?,
        audio_output: count(names::AUDIO_OUTPUT)?,
        image_output: count(names::IMAGE_OUTPUT)?,
    };
    let total = attributes.count(names::TOTAL)?;
    if total.is_none() && cache_beside {
        tokens.input += usage::cached(&tokens);
    }
    usage::include_parts(&mut tokens, total);
    // Anthropic counts these beside the rest.
    tokens.input += count(names::COMPACTION_INPUT)?;
    tokens.output += count(names::COMPACTION_OUTPUT)?;
    Ok(tokens)
}

fn tags(attributes: Attributes<'_>) -> std::collections::BTreeMap<String, String> {
    let mut tags = Tags::default();
    for prefix in names::TAG_PREFIXES {
        let group = attributes.behind(prefix);
        tags.extend(group.iter().map(|(name, value)| (name.as_str(), value.clone())));
    }
    let known = names::TAGS
        .iter()
        .filter_map(|(name, tag)| Some((*tag, attributes.text_anywhere(&[name])?.into_owned())));
    tags.extend(known);
    tags.take()
}

fn outcome(span: &Span, attributes: Attributes<'_>) -> CallOutcome {
    let error = attributes.text(&["error.type"]);
    let cancelled = error.as_deref().is_some_and(|error| error.contains("Cancel") || error.contains("Abort"));
    let failed = error.is_some() || span.status.as_ref().is_some_and(|status| status.code == ERROR);
    match (cancelled, failed) {
        (true, _) => CallOutcome::Cancelled,
        (false, true) => CallOutcome::Error,
        (false, false) => CallOutcome::Success,
    }
}

/// What only informs: dropped where it can be no such id, rather than the event.
fn informs<T>(new: impl Fn(&str) -> Result<T, IdError>, text: Option<Cow<'_, str>>) -> Option<T> {
    new(&text?).ok()
}

fn instant(nanos: u64) -> Option<Timestamp> {
    let micros = i64::try_from(nanos / 1000).ok()?;
    (micros > 0).then(|| Timestamp::from_micros(micros)).and_then(Timestamp::in_range)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The id under which a rejection names a span.
pub(super) fn given_id(call: &Call<'_>) -> Option<String> {
    let response_id = call.attributes.text(names::RESPONSE_ID);
    let id = response_id.map_or_else(|| hex(&call.span.span_id), Cow::into_owned);
    Label::new(&id).ok().map(|id| id.as_str().to_owned())
}
