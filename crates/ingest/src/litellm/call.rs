//! Pure: what a call of LiteLLM's was, and what it used.

use fluxori_core::id::Model;
use fluxori_core::usage::{Measurement, Quantities, Quantity};
use serde_json::Value;

use crate::object::Object;
use crate::provider_usage::searches_of;
use crate::usage::{self, Usage};
use crate::{Rejection, draft};

/// `gen_ai.operation.name` of a `call_type`.
pub(super) fn operation(call_type: &str) -> &str {
    match call_type {
        "completion"
        | "acompletion"
        | "responses"
        | "aresponses"
        | "anthropic_messages"
        | "aanthropic_messages"
        | "_aresponses_websocket"
        | "compact_responses"
        | "acompact_responses" => "chat",
        "text_completion" | "atext_completion" => "text_completion",
        "embedding" | "aembedding" => "embeddings",
        "generate_content" | "agenerate_content" | "generate_content_stream" | "agenerate_content_stream" => {
            "generate_content"
        }
        "image_generation" | "aimage_generation" | "image_edit" | "aimage_edit" | "image_variation"
        | "aimage_variation" => "image_generation",
        "speech" | "aspeech" => "speech",
        "transcription" | "atranscription" => "transcription",
        "rerank" | "arerank" => "rerank",
        "moderation" | "amoderation" => "moderation",
        "search" | "asearch" => "search",
        "ocr" | "aocr" => "ocr",
        "create_video" | "acreate_video" | "video_generation" | "avideo_generation" => "video_generation",
        "_arealtime" | "realtime" => "realtime",
        "retrieve_batch" | "aretrieve_batch" => "chat",
        other => other,
    }
}

/// Operations for which no provider charges. Of every other, also of one that is not known here, it is not known what it
/// used where nobody says so. (`CallTypes` in `litellm/types/utils.py`: what keeps, lists and fetches things)
fn is_free(operation: &str) -> bool {
    let name = operation.strip_prefix("a_").or_else(|| operation.strip_prefix('a')).unwrap_or(operation);
    let is = |name: &str| {
        matches!(
            name,
            "moderation"
                | "create_batch"
                | "cancel_batch"
                | "create_file"
                | "file_retrieve"
                | "file_delete"
                | "file_list"
                | "file_content"
                | "get_responses"
                | "delete_responses"
                | "cancel_responses"
                | "list_input_items"
                | "get_assistants"
                | "create_assistants"
                | "delete_assistant"
                | "create_thread"
                | "get_thread"
                | "add_message"
                | "get_messages"
                | "retrieve_fine_tuning_job"
                | "cancel_fine_tuning_job"
                | "list_fine_tuning_jobs"
                | "video_list"
                | "video_retrieve"
                | "video_retrieve_job"
                | "video_get_character"
                | "video_content"
                | "video_delete"
                | "list_containers"
                | "retrieve_container"
                | "delete_container"
                | "list_container_files"
                | "upload_container_file"
                | "vector_store_create"
                | "vector_store_file_list"
                | "vector_store_file_retrieve"
                | "vector_store_file_content"
                | "vector_store_file_delete"
                | "list_mcp_tools"
                | "call_mcp_tool"
        )
    };
    // The asynchronous ones have an `a` or `a_` before the name.
    is(operation) || is(name)
}

/// A model's name without LiteLLM's provider, and without the ways of calling Bedrock: `bedrock/converse/…`.
pub(super) fn without_provider<'m>(model: &'m str, provider: Option<&str>) -> &'m str {
    let own = provider.and_then(|provider| model.strip_prefix(provider)?.strip_prefix('/'));
    let model = own.unwrap_or(model);
    let routes = ["converse/", "invoke/", "converse_like/"];
    let plain = routes.iter().find_map(|route| model.strip_prefix(route)).unwrap_or(model);
    if plain.is_empty() { model } else { plain }
}

/// The model that answered. The router writes the name of the model group over it, which is no model: then, and where the
/// response has none, it is the one that LiteLLM priced, if it knows that one.
pub(super) fn response_model(root: &Object<'_>, provider: Option<&str>) -> Option<Model> {
    let group = root.text("model_group");
    let answered = root.object("response").text("model").filter(|model| Some(*model) != group);
    let priced = root.object("model_map_information");
    let priced = priced.text("model_map_key").filter(|_| priced.get("model_map_value").is_some());
    let name = answered.or(priced)?;
    Model::new(without_provider(name, provider)).ok()
}

/// What a call used.
pub(super) struct Used {
    pub(super) quantities: Quantities,
    pub(super) raw: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) region: Option<String>,
    pub(super) measurement: Measurement,
    /// Whether anybody said how much; an operation that is not charged needs none to say so.
    pub(super) is_known: bool,
}

pub(super) fn used(root: &Object<'_>, operation: &str, provider: &str) -> Result<Used, Rejection> {
    let response = root.object("response");
    let places = [
        root.object("metadata").object("usage_object"),
        root.object("hidden_params").object("usage_object"),
        response.object("usage"),
        response.object("usage_info"),
        response.object("meta"),
    ];
    let mut found = None;
    for place in places.iter().filter(|place| !place.is_empty()) {
        if let Some(read) = usage::read(place, provider)? {
            found = Some((read, place.map().and_then(|fields| draft::raw(&Value::Object(fields.clone())))));
            break;
        }
    }
    let (read, raw) = match found {
        Some((read, raw)) => (Some(read), raw),
        None => (usage::read(root, provider)?.filter(|read| *read != Usage::default()), None),
    };
    // Of a stream whose usage nobody asked for LiteLLM counts the tokens itself, and says 0 where it cannot.
    let mut is_known =
        read.as_ref().is_some_and(|read| read.quantities != Quantities::default()) || is_free(operation);
    let mut read = read.unwrap_or_default();
    let mut measurement = Measurement::Measured;
    let searches = searches_of(&response);
    if !read.quantities.units.contains_key("searches") {
        read.add_units("searches", searches);
    }
    let tokens = read.quantities.tokens;
    if operation == "image_generation" {
        if tokens.output > 0 && tokens.image_output == 0 {
            read.quantities.tokens.image_output = tokens.output;
        } else if !read.quantities.units.contains_key("images") && tokens.output == 0 {
            let images = response.get("data").and_then(Value::as_array).map_or(0, Vec::len);
            read.add_units("images", i64::try_from(images).ok().map(Quantity::of_tokens));
            is_known |= images > 0;
        }
    }
    // A call of a search engine is one search.
    if operation == "search" && read == Usage::default() && root.text("status") != Some("failure") {
        read.add_units("searches", Some(Quantity::ONE));
        is_known = true;
    }
    if operation == "speech"
        && read == Usage::default()
        && let Some(characters) = spoken(root)
    {
        read.add_units("characters", Some(Quantity::of_tokens(characters)));
        measurement = Measurement::Estimated;
        is_known = true;
    }
    // What the provider says that it did comes before what it was asked for.
    let service_tier = response.text("service_tier").map(str::to_owned).or_else(|| read.service_tier.take());
    let asked = root.object("model_parameters").text("service_tier").filter(|tier| *tier != "auto");
    let service_tier = service_tier.or_else(|| asked.map(str::to_owned));
    Ok(Used { quantities: read.quantities, raw, service_tier, region: read.region, measurement, is_known })
}

/// Providers count the characters of a text to be spoken, and do not say so in the response. LiteLLM may leave the text out.
fn spoken(root: &Object<'_>) -> Option<i64> {
    let texts: Vec<&str> = match root.get("messages")? {
        Value::String(text) => vec![text.as_str()],
        Value::Array(messages) => {
            messages.iter().filter_map(|message| message.get("content")?.as_str()).collect()
        }
        _ => return None,
    };
    let count = texts.iter().map(|text| text.chars().count()).sum::<usize>();
    let redacted = texts.iter().any(|text| text.starts_with("redacted-by-litellm"));
    i64::try_from(count).ok().filter(|count| *count > 0 && !redacted)
}
