//! Pure: which spans are calls of a model, and which of these only wrap another.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::attributes::Attributes;
use super::names;
use super::wire::{CLIENT, Span};

/// `gen_ai.operation.name` of a span that is a call of a model; `None` for everything else.
///
/// The operation says it, where there is one: agents, tools, workflows and retrievals are no calls, whatever usage they sum
/// up. An operation that is not known is a call if it was a client's and has usage. Of older spans `openinference.span.kind`,
/// `traceloop.span.kind` and `llm.request.type` say it; then a model together with usage does.
pub(super) fn operation(span: &Span, attributes: Attributes<'_>) -> Option<String> {
    let has_usage = attributes.has(names::INPUT) || attributes.has(names::OUTPUT);
    let has_model = attributes.has(names::REQUEST_MODEL) || attributes.has(names::RESPONSE_MODEL);
    if let Some(name) = attributes.text(&["gen_ai.operation.name"]) {
        return match &*name {
            "chat" | "generate_content" | "text_completion" | "embeddings" | "image_generation"
            | "speech" | "transcription" | "rerank" => Some(name.into_owned()),
            "completion" | "text_generation" | "messages" | "response" | "responses" => {
                Some("chat".to_owned())
            }
            "embedding" => Some("embeddings".to_owned()),
            "invoke_agent" | "create_agent" | "execute_tool" | "invoke_workflow" | "retrieval" | "agent"
            | "chain" | "tool" | "task" | "workflow" => None,
            _ => {
                let is_call = has_usage && has_model && span.kind == CLIENT;
                (is_call && attributes.has(names::RESPONSE_ID)).then(|| name.into_owned())
            }
        };
    }
    if let Some(kind) = attributes.text(&["openinference.span.kind"]) {
        return match &*kind.to_ascii_uppercase() {
            "LLM" => Some("chat"),
            "EMBEDDING" => Some("embeddings"),
            "RERANKER" if has_usage => Some("rerank"),
            _ => None,
        }
        .map(str::to_owned);
    }
    if let Some(kind) = attributes.text(&["llm.request.type"]) {
        return Some(
            match &*kind {
                "completion" => "text_completion",
                "embedding" => "embeddings",
                "rerank" => "rerank",
                _ => "chat",
            }
            .to_owned(),
        );
    }
    if let Some(name) = attributes.text(&["ai.operationId"]) {
        // The call itself; what wraps it has the same name without the last part.
        let (_, step) = name.rsplit_once('.')?;
        return match step {
            "doGenerate" | "doStream" => Some("chat".to_owned()),
            "doEmbed" => Some("embeddings".to_owned()),
            _ => None,
        };
    }
    let is_wrapper =
        attributes.has(&["traceloop.span.kind", "agent_name", "gen_ai.agent.name", "gen_ai.tool.name"]);
    (has_usage && has_model && !is_wrapper).then(|| "chat".to_owned())
}

/// A span that is a call.
pub(super) struct Call<'s> {
    pub(super) span: &'s Span,
    pub(super) attributes: Attributes<'s>,
    pub(super) operation: String,
}

impl Call<'_> {
    pub(super) fn has_usage(&self) -> bool {
        self.attributes.has(names::INPUT) || self.attributes.has(names::OUTPUT)
    }

    /// Whether the two can be one call seen twice: they are of one family, and not of two responses.
    fn can_be(&self, other: &Call<'_>) -> bool {
        let responses = (self.response_id(), other.response_id());
        let differ = matches!(&responses, (Some(one), Some(another)) if one != another);
        !differ && self.is_embedding() == other.is_embedding()
    }

    fn is_embedding(&self) -> bool {
        self.operation == "embeddings"
    }

    fn response_id(&self) -> Option<Cow<'_, str>> {
        self.attributes.text(names::RESPONSE_ID)
    }
}

type SpanKey<'s> = (&'s [u8], &'s [u8]);

/// Farthest ancestor that is looked at: a cycle among parents must end.
const MAX_STEPS: usize = 64;

/// Says of each call whether it is left out because another in the same request is the same call: two instrumentations
/// saw it, of a framework and of the client below it. The inner one is counted, unless only the outer one has usage.
///
/// Only what comes in one request can be compared. Where an outer span comes later, its response id makes it the same
/// event; without one it counts by itself, so one instrumentation of the model's client is what should run.
pub(super) fn seen_twice(spans: &[&Span], calls: &[Call<'_>]) -> Vec<bool> {
    let parents: HashMap<SpanKey<'_>, &[u8]> =
        spans.iter().map(|span| (key(span, &span.span_id), span.parent_span_id.as_slice())).collect();
    let by_key: HashMap<SpanKey<'_>, usize> =
        calls.iter().enumerate().map(|(index, call)| (key(call.span, &call.span.span_id), index)).collect();
    let ancestors: Vec<Vec<usize>> =
        calls.iter().map(|call| ancestors(call, calls, &parents, &by_key)).collect();
    let mut left_out = vec![false; calls.len()];
    let mut mark = |index: usize| {
        if let Some(mark) = left_out.get_mut(index) {
            *mark = true;
        }
    };
    // Whether the usage of an ancestor is that of something inside, too.
    let inner_usage: HashSet<usize> = calls
        .iter()
        .zip(&ancestors)
        .filter(|(call, _)| call.has_usage())
        .flat_map(|(_, found)| found)
        .copied()
        .collect();
    for ((index, call), found) in calls.iter().enumerate().zip(&ancestors) {
        for outer in found {
            let outer_has_usage = calls.get(*outer).is_some_and(Call::has_usage);
            if inner_usage.contains(outer) || !outer_has_usage {
                mark(*outer);
            } else if !call.has_usage() {
                mark(index);
            }
        }
    }
    left_out
}

fn ancestors(
    call: &Call<'_>,
    calls: &[Call<'_>],
    parents: &HashMap<SpanKey<'_>, &[u8]>,
    by_key: &HashMap<SpanKey<'_>, usize>,
) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = call.span.parent_span_id.as_slice();
    for _ in 0..MAX_STEPS {
        if at.is_empty() {
            break;
        }
        if at == call.span.span_id {
            // Parents in a circle: nothing is outside of anything.
            found.clear();
            break;
        }
        let can_be_same = |index: &&usize| calls.get(**index).is_some_and(|outer| outer.can_be(call));
        found.extend(by_key.get(&key(call.span, at)).filter(can_be_same));
        let Some(parent) = parents.get(&key(call.span, at)) else { break };
        at = parent;
    }
    found
}

fn key<'s>(span: &'s Span, id: &'s [u8]) -> SpanKey<'s> {
    (&span.trace_id, id)
}
