use fluxori_core::id::{Label, Module};
use fluxori_core::usage::{CallOutcome, Certainty, UsageEvent};
use fluxori_ingest::otlp::{self, Encoding, Traces};
use fluxori_ingest::{Reason, RequestContext};
use serde_json::{Value, json};

use super::{anyone, fixture, used, with_key};

fn captured(name: &str) -> Traces {
    let encoding = if name.ends_with(".pb") { Encoding::Protobuf } else { Encoding::Json };
    otlp::read(&fixture(&format!("otlp/{name}")), encoding, &anyone()).unwrap()
}

/// A request of spans, each a name and its attributes; the n-th has the id n.
pub(super) fn request(spans: &[(&str, Value)]) -> Value {
    let any = |value: &Value| match value {
        Value::String(text) => json!({"stringValue": text}),
        Value::Bool(flag) => json!({"boolValue": flag}),
        // As protobuf's mapping writes 64-bit numbers.
        Value::Number(number) if number.is_i64() => json!({"intValue": number.to_string()}),
        number => json!({"doubleValue": number}),
    };
    let attributes = |attributes: &Value| -> Vec<Value> {
        attributes
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| json!({"key": key, "value": any(value)}))
            .collect()
    };
    let spans: Vec<Value> = spans
        .iter()
        .enumerate()
        .map(|(index, (name, of_span))| {
            let mut of_span = of_span.clone();
            let parent = of_span.as_object_mut().unwrap().remove("parent").and_then(|parent| parent.as_u64());
            json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": format!("{:016x}", index + 1), "name": name,
                "parentSpanId": parent.map_or_else(String::new, |parent| format!("{parent:016x}")), "kind": 3,
                "startTimeUnixNano": "1795411200000000000", "endTimeUnixNano": "1795411201500000000",
                "attributes": attributes(&of_span)})
        })
        .collect();
    json!({"resourceSpans": [{"resource": {"attributes": attributes(&json!({"service.name": "rag", "fluxori.org_id": "acme"}))},
        "scopeSpans": [{"spans": spans}]}]})
}

fn read(spans: &[(&str, Value)]) -> Traces {
    read_with(spans, &anyone())
}

fn read_with(spans: &[(&str, Value)], context: &RequestContext<'_>) -> Traces {
    otlp::read(request(spans).to_string().as_bytes(), Encoding::Json, context).unwrap()
}

fn one(attributes: Value) -> UsageEvent {
    let mut traces = read(&[("span", attributes)]);
    assert_eq!((traces.events.len(), traces.ignored), (1, 0), "{:?}", traces.rejected);
    traces.events.remove(0).event
}

fn lines(traces: &Traces) -> Vec<String> {
    let line = |span: &otlp::SpanEvent| {
        let event = &span.event;
        format!(
            "{} | {} | {} | {} | {}",
            span.span,
            event.operation,
            event.provider,
            event.model(),
            used(event)
        )
    };
    traces.events.iter().map(line).collect()
}

#[test]
fn opentelemetrys_instrumentation_is_read() {
    let traces = captured("v2.pb");
    assert!(traces.rejected.is_empty());
    assert_eq!(
        lines(&traces),
        [
            "chat gpt-5 | chat | openai | gpt-5-2025-08-07 | in 1117, out 146",
            "chat gpt-5 | chat | openai | gpt-5-2025-08-07 | in 1117, out 146",
            "chat gpt-5 | chat | openai | gpt-5-2025-08-07 | ",
            "chat fail-1 | chat | openai | fail-1 | ",
            "embeddings text-embedding-3-small | embeddings | openai | text-embedding-3-small | in 8",
        ]
    );
    assert_eq!(traces.ignored, 2, "the agent, which sums up its calls, and its tool");
    let [chat, .., failed, _] = &traces.events[..] else { panic!() };
    assert_eq!(chat.event.org_id.as_str(), "acme");
    assert_eq!(chat.event.module.as_str(), "rag-retrieval");
    assert_eq!(chat.event.service_tier.as_ref().unwrap().as_str(), "default");
    assert!(chat.event.latency_ms.is_some() && chat.event.trace_id.as_ref().unwrap().as_str().len() == 32);
    assert_eq!(failed.event.outcome, CallOutcome::Error);
    assert_eq!(chat.event.tags["environment"], "prod");
}

#[test]
fn traceloops_instrumentation_is_read_and_a_call_that_two_saw_counts_once() {
    let traces = captured("traceloop.pb");
    assert!(traces.rejected.is_empty());
    assert_eq!(
        lines(&traces),
        [
            "openai.chat | chat | openai | gpt-5-2025-08-07 | in 1117, read 1024, out 146, reasoning 64",
            "openai.chat | chat | openai | gpt-5-2025-08-07 | in 1117, read 1024, out 146",
            "openai.chat | chat | openai | gpt-5-2025-08-07 | ",
            "openai.embeddings | embeddings | openai | text-embedding-3-small | in 8",
            "openai.response | chat | openai | gpt-5-2025-08-07 | in 2000, read 1500, out 300, reasoning 128",
            "openai.chat | chat | openai | fail-1 | ",
            // Anthropic's own SDK saw it, too, and says more.
            "anthropic.messages.create | chat | anthropic | claude-sonnet-4-20250514 | \
             in 191107, read 188086, w5m 2000, w1h 1000, out 393",
        ]
    );
    assert_eq!(traces.ignored, 3);
    assert_eq!(traces.events[2].event.certainty, Certainty::Unknown);
}

/// The same request, in protobuf's mapping to JSON with OTLP's hexadecimal ids: 64-bit numbers are texts.
#[test]
fn a_request_means_the_same_in_json_and_in_protobuf() {
    let events = |name: &str| -> Vec<UsageEvent> {
        captured(name).events.into_iter().map(|span| span.event).collect()
    };
    assert_eq!(events("traceloop.json"), events("traceloop.pb"));
}

#[test]
fn openinferences_instrumentation_is_read() {
    let traces = captured("openinference.pb");
    assert!(traces.rejected.is_empty());
    assert_eq!(
        lines(&traces),
        [
            "ChatCompletion | chat | openai | gpt-5-2025-08-07 | in 1117, read 1024, out 146, reasoning 64",
            "ChatCompletion | chat | openai | gpt-5-2025-08-07 | in 1117, read 1024, out 146, reasoning 64",
            "ChatCompletion | chat | openai | gpt-5-2025-08-07 | ",
            "CreateEmbeddings | embeddings | openai | text-embedding-3-small | in 8",
            "Response | chat | openai | gpt-5-2025-08-07 | in 2000, read 1500, out 300, reasoning 128",
            "ChatCompletion | chat | openai | fail-1 | ",
        ]
    );
    assert_eq!(traces.ignored, 2);
}

#[test]
fn json_of_the_exporter_for_node_is_read() {
    let traces = captured("node.json");
    assert_eq!(
        lines(&traces),
        ["chat gpt-5 | chat | openai | gpt-5-2025-08-07 | in 1117, read 1024, out 146, reasoning 64"]
    );
    let event = &traces.events[0].event;
    assert_eq!(event.user_id.as_ref().unwrap().as_str(), "u-17");
    assert_eq!(event.feature.as_ref().unwrap().as_str(), "describe");
    assert_eq!(event.tags["env"], "prod");
    assert_eq!(event.time_to_first_token_ms, Some(250));
    assert_eq!(traces.ignored, 1);
    let [rejected] = &traces.rejected[..] else { panic!() };
    assert_eq!(rejected.span, "chat gemini-2.5-pro");
    assert_eq!(rejected.rejection.field.as_deref(), Some("gen_ai.usage.input_tokens"));
}

#[test]
fn older_names_mean_the_same() {
    let expected = "in 100, read 40, out 20, reasoning 5";
    for attributes in [
        json!({"gen_ai.system": "OpenAI", "llm.request.type": "chat", "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 20,
            "gen_ai.usage.cache_read_input_tokens": 40, "llm.usage.reasoning_tokens": 5}),
        json!({"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "llm.usage.prompt_tokens": 100,
            "llm.usage.completion_tokens": 20, "llm.usage.total_tokens": 120,
            "llm.usage.cache_read_input_tokens": 40, "gen_ai.usage.reasoning_tokens": 5}),
        json!({"openinference.span.kind": "LLM", "llm.provider": "openai", "llm.model_name": "gpt-4o",
            "llm.token_count.prompt": 100, "llm.token_count.completion": 20,
            "llm.token_count.prompt_details.cache_read": 40, "llm.token_count.completion_details.reasoning": 5}),
        json!({"ai.operationId": "ai.generateText.doGenerate", "ai.model.provider": "openai.chat", "ai.model.id": "gpt-4o",
            "ai.usage.inputTokens": 100, "ai.usage.outputTokens": 20, "ai.usage.cachedInputTokens": 40,
            "ai.usage.reasoningTokens": 5.0}),
        json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20,
            "gen_ai.usage.input_tokens.cached": 40, "gen_ai.usage.output_tokens.reasoning": 5}),
    ] {
        let event = one(attributes.clone());
        assert_eq!(used(&event), expected, "{attributes}");
        assert_eq!(
            (event.provider.as_str(), event.request_model.as_str()),
            ("openai", "gpt-4o"),
            "{attributes}"
        );
    }
}

#[test]
fn a_call_that_went_well_and_is_said_to_have_used_nothing_is_kept_as_unknown() {
    let call = |input: i64, error: &str| {
        one(
            json!({"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-5",
                   "gen_ai.usage.input_tokens": input, "gen_ai.usage.output_tokens": 0, "error.type": error}),
        )
    };
    assert_eq!(call(0, "").certainty, Certainty::Unknown);
    assert_eq!((call(5, "").certainty, call(0, "timeout").certainty), (Certainty::Exact, Certainty::Exact));
}

#[test]
fn parts_that_were_counted_beside_their_whole_are_added_to_it() {
    let event = one(json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.usage.input_tokens": 21, "gen_ai.usage.cache_read.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 9, "gen_ai.usage.reasoning.output_tokens": 30}));
    assert_eq!(used(&event), "in 1021, read 1000, out 39, reasoning 30");
    // The total says that the output holds it all: the reasoning was estimated.
    let event = one(json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.usage.input_tokens": 21, "gen_ai.usage.output_tokens": 29, "gen_ai.usage.total_tokens": 50,
        "gen_ai.usage.reasoning_tokens": 30}));
    assert_eq!(used(&event), "in 21, out 29, reasoning 29");
    // The total says that the cached tokens are not in the input, though they are fewer; so with the reasoning.
    let with_total = |total: i64| {
        let event = one(json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5",
            "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.cache_read.input_tokens": 40,
            "gen_ai.usage.cache_creation.input_tokens": 2, "gen_ai.usage.output_tokens": 9,
            "gen_ai.usage.reasoning.output_tokens": 5, "gen_ai.usage.total_tokens": total}));
        used(&event)
    };
    assert_eq!(with_total(1009), "in 1000, read 40, w5m 2, out 9, reasoning 5");
    assert_eq!(with_total(1051), "in 1042, read 40, w5m 2, out 9, reasoning 5");
    assert_eq!(with_total(1014), "in 1000, read 40, w5m 2, out 14, reasoning 5");
    assert_eq!(with_total(1056), "in 1042, read 40, w5m 2, out 14, reasoning 5");
}

#[test]
fn the_vercel_ai_sdk_counts_the_cache_as_the_provider_does() {
    let vercel = |provider: &str, more: Value| {
        let mut call = json!({"ai.operationId": "ai.streamText.doStream", "ai.model.provider": provider, "ai.model.id": "m",
            "gen_ai.usage.input_tokens": 1000, "ai.usage.inputTokens": 1000, "ai.usage.outputTokens": 9,
            "ai.usage.cachedInputTokens": 40});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        used(&one(call))
    };
    assert_eq!(vercel("anthropic.messages", json!({})), "in 1040, read 40, out 9");
    assert_eq!(vercel("amazon-bedrock", json!({})), "in 1040, read 40, out 9");
    assert_eq!(vercel("openai.responses", json!({})), "in 1000, read 40, out 9");
    // A total tells, and so do the parts that newer versions name.
    assert_eq!(
        vercel("anthropic.messages", json!({"ai.usage.totalTokens": 1009})),
        "in 1000, read 40, out 9"
    );
    let parts = json!({"ai.usage.inputTokenDetails.noCacheTokens": 960});
    assert_eq!(vercel("anthropic.messages", parts), "in 1000, read 40, out 9");
}

#[test]
fn odd_details_never_cost_an_event_whose_totals_are_known() {
    let event = one(json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-audio",
        "gen_ai.usage.input_tokens": 100, "gen_ai.usage.audio.input_tokens": 90, "gen_ai.usage.image.input_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 10, "gen_ai.usage.audio.cache_read.input_tokens": 50,
        "gen_ai.usage.output_tokens": 9, "gen_ai.usage.audio.output_tokens": 8, "gen_ai.usage.image.output_tokens": 8}));
    assert_eq!(
        used(&event),
        "in 100, read 10, audio_in 90, image_in 10, read_audio 10, out 9, audio_out 8, image_out 1"
    );
}

pub(super) fn call(parent: Option<u64>, input: i64) -> Value {
    let mut call = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5"});
    if input > 0 {
        call["gen_ai.usage.input_tokens"] = json!(input);
    }
    call["parent"] = json!(parent);
    call
}

#[test]
fn what_wraps_a_call_is_not_counted_a_second_time() {
    for wrapper in [
        json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-5"}),
        json!({"gen_ai.operation.name": "execute_tool"}),
        json!({"gen_ai.operation.name": "summarize", "gen_ai.request.model": "gpt-5"}),
        json!({"traceloop.span.kind": "workflow", "gen_ai.request.model": "gpt-5"}),
        json!({"openinference.span.kind": "CHAIN", "llm.model_name": "gpt-5"}),
        json!({"ai.operationId": "ai.generateText", "ai.model.id": "gpt-5"}),
        json!({"agent_name": "planner", "gen_ai.request.model": "gpt-5"}),
    ] {
        let mut wrapper = wrapper;
        wrapper["gen_ai.usage.input_tokens"] = json!(700);
        let traces = read(&[("wrapper", wrapper.clone()), ("chat", call(Some(1), 700))]);
        assert_eq!((traces.events.len(), traces.ignored), (1, 1), "{wrapper}");
        assert_eq!(traces.events[0].span, "chat");
    }
}

#[test]
fn of_two_nested_views_of_one_call_the_inner_counts_unless_only_the_outer_has_usage() {
    let counted = |spans: &[(&str, Value)]| {
        let traces = read(spans);
        assert_eq!(traces.events.len() + traces.ignored, spans.len());
        traces.events.into_iter().map(|span| span.span).collect::<Vec<_>>()
    };
    let tool = || json!({"parent": 1});
    assert_eq!(counted(&[("outer", call(None, 700)), ("inner", call(Some(1), 700))]), ["inner"]);
    assert_eq!(
        counted(&[("outer", call(None, 700)), ("http", tool()), ("inner", call(Some(2), 700))]),
        ["inner"]
    );
    assert_eq!(counted(&[("outer", call(None, 700)), ("inner", call(Some(1), 0))]), ["outer"]);
    assert_eq!(counted(&[("outer", call(None, 0)), ("inner", call(Some(1), 0))]), ["inner"]);
    let retried = [("outer", call(None, 700)), ("first", call(Some(1), 0)), ("second", call(Some(1), 700))];
    assert_eq!(counted(&retried), ["first", "second"]);
    assert_eq!(counted(&[("one", call(None, 700)), ("another", call(None, 700))]), ["one", "another"]);
    let with_id = |parent: Option<u64>, id: &str| {
        let mut call = call(parent, 700);
        call["gen_ai.response.id"] = json!(id);
        call
    };
    // Of two responses: a call inside of another's stream.
    assert_eq!(
        counted(&[("outer", with_id(None, "a")), ("inner", with_id(Some(1), "b"))]),
        ["outer", "inner"]
    );
    assert_eq!(counted(&[("outer", with_id(None, "a")), ("inner", with_id(Some(1), "a"))]), ["inner"]);
    assert_eq!(counted(&[("outer", with_id(None, "a")), ("inner", call(Some(1), 700))]), ["inner"]);
    // Parents in a circle.
    assert_eq!(counted(&[("a", call(Some(2), 7)), ("b", call(Some(1), 7))]), ["a", "b"]);
}

#[test]
fn identity_is_the_response_id_and_else_the_span() {
    let with_id = |id: &str, trace: usize| {
        let mut attributes = call(None, 700);
        attributes["gen_ai.response.id"] = json!(id);
        let spans: Vec<_> =
            (0..=trace).map(|_| ("chat", call(None, 1))).chain([("chat", attributes)]).collect();
        read(&spans).events.pop().unwrap().event
    };
    assert_eq!(with_id("chatcmpl-1", 0).event_id, with_id("chatcmpl-1", 1).event_id);
    assert_ne!(with_id("chatcmpl-1", 0).event_id, with_id("chatcmpl-2", 0).event_id);
    assert_ne!(with_id("", 0).event_id, with_id("", 1).event_id);
    assert_eq!(with_id("", 0).event_id, with_id("", 0).event_id);
    // Servers that number their responses, as Ollama does, give the same number to many calls, in other traces.
    let in_trace = |trace: &str, id: &str| {
        let mut attributes = call(None, 700);
        attributes["gen_ai.response.id"] = json!(id);
        let mut request = request(&[("chat", attributes)]);
        request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = json!(trace);
        let traces = otlp::read(request.to_string().as_bytes(), Encoding::Json, &anyone()).unwrap();
        let rejected = traces.rejected.first().map(|span| span.rejection.reason);
        (traces.events.first().map(|span| span.event.event_id), rejected)
    };
    let (one, another) = ("5b8efff798038103d269b633813fc60c", "00000000000000000000000000000001");
    assert_ne!(in_trace(one, "chatcmpl-7"), in_trace(another, "chatcmpl-7"));
    // Other ids are one call's, also where two instrumentations saw it in two traces.
    let (no_trace, long) = ("0".repeat(32), "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT");
    assert_eq!(in_trace(one, long), in_trace(another, long));
    assert_eq!(in_trace(one, long), in_trace(&no_trace, long));
    assert!(in_trace(&no_trace, long).0.is_some());
    assert_eq!(in_trace(&no_trace, "chatcmpl-7"), (None, Some(Reason::NoIdentity)));
    let mut nameless = request(&[("chat", call(None, 700))]);
    nameless["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"] = json!("0000000000000000");
    let traces = otlp::read(nameless.to_string().as_bytes(), Encoding::Json, &anyone()).unwrap();
    assert_eq!(traces.rejected[0].rejection.reason, Reason::NoIdentity);
}

#[test]
fn attributes_come_before_the_api_key_and_the_key_before_the_services_name() {
    let mut attributes = call(None, 700);
    let event =
        with_key(|context| read_with(&[("chat", attributes.clone())], context)).events.remove(0).event;
    assert_eq!((event.org_id.as_str(), event.module.as_str()), ("acme", "key-module"));
    attributes["fluxori.org_id"] = json!("initech");
    attributes["fluxori.module"] = json!("pim");
    attributes["fluxori.team_id"] = json!("red");
    attributes["fluxori.reservation_id"] = json!("019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b");
    attributes["gen_ai.conversation.id"] = json!("conv-1");
    attributes["gen_ai.agent.id"] = json!("agent-5");
    let event =
        with_key(|context| read_with(&[("chat", attributes.clone())], context)).events.remove(0).event;
    assert_eq!((event.org_id.as_str(), event.module.as_str()), ("initech", "pim"));
    assert_eq!(event.team_id.as_ref().unwrap().as_str(), "red");
    assert_eq!(event.run_id.as_ref().unwrap().as_str(), "conv-1");
    assert_eq!(event.tags["agent_id"], "agent-5");
    assert!(event.reservation_id.is_some());
    let module = Module::new("key-module").unwrap();
    let source = Label::new("traces").unwrap();
    let context = RequestContext { module: Some(&module), source: Some(&source), ..anyone() };
    assert_eq!(read_with(&[("chat", call(None, 1))], &context).events[0].event.source, source);
}

#[test]
fn who_and_what_that_cannot_be_used_is_dropped_and_never_the_event() {
    let mut odd = call(None, 700);
    for name in ["fluxori.module", "fluxori.team_id", "fluxori.feature", "user.id", "gen_ai.response.model"] {
        odd[name] = json!("x".repeat(300));
    }
    odd["fluxori.reservation_id"] = json!("no-uuid");
    odd["gen_ai.conversation.id"] = json!("a\u{7}b");
    let event = one(odd.clone());
    assert_eq!(event.module.as_str(), "rag", "of the service");
    assert!(event.user_id.is_none() && event.team_id.is_none() && event.feature.is_none());
    assert!(event.run_id.is_none() && event.reservation_id.is_none() && event.response_model.is_none());
    let event = with_key(|context| read_with(&[("chat", odd.clone())], context)).events.remove(0).event;
    assert_eq!(event.module.as_str(), "key-module");
    odd["fluxori.org_id"] = json!("x".repeat(300));
    let traces = read(&[("chat", odd)]);
    assert_eq!(traces.rejected[0].rejection.field.as_deref(), Some("fluxori.org_id"));
}

#[test]
fn spans_without_an_org_are_rejected_by_name_and_the_others_taken() {
    let mut nobodys = request(&[("chat a", call(None, 700)), ("GET /", json!({}))]);
    nobodys["resourceSpans"][0]["resource"]["attributes"] = json!([]);
    let ours = request(&[("chat b", call(None, 700))]);
    nobodys["resourceSpans"].as_array_mut().unwrap().push(ours["resourceSpans"][0].clone());
    nobodys["resourceSpans"][1]["scopeSpans"][0]["spans"][0]["spanId"] = json!("00000000000000aa");
    let traces = otlp::read(nobodys.to_string().as_bytes(), Encoding::Json, &anyone()).unwrap();
    assert_eq!((traces.events.len(), traces.ignored, traces.rejected.len()), (1, 1, 1));
    assert_eq!(traces.rejected[0].span, "chat a");
    assert_eq!(traces.rejected[0].rejection.reason, Reason::NoAttribution);
    let answer = otlp::answer(&traces.rejected, Encoding::Json);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1");
    assert!(
        answer["partialSuccess"]["errorMessage"]
            .as_str()
            .unwrap()
            .starts_with("chat a: nothing says which org")
    );
    // partial_success = 1 {rejected_spans = 1, error_message = 2}
    let answer = otlp::answer(&traces.rejected, Encoding::Protobuf);
    assert!(answer[0] == 0x0a && answer.windows(3).any(|bytes| bytes == [0x08, 1, 0x12]), "{answer:?}");
    assert_eq!(otlp::answer(&[], Encoding::Protobuf), b"");
    assert_eq!(otlp::answer(&[], Encoding::Json), b"{}");
}

#[test]
fn what_is_no_request_is_refused_as_a_whole() {
    let refused = |bytes: &[u8], encoding| otlp::read(bytes, encoding, &anyone()).unwrap_err().reason;
    assert_eq!(refused(b"{\"resourceSpans\": [", Encoding::Json), Reason::NotJson);
    assert_eq!(refused(b"[]", Encoding::Json), Reason::NotAnObject);
    assert_eq!(refused(b"{\"resourceSpans\": 1}", Encoding::Json), Reason::Invalid);
    assert_eq!(refused(b"\xff\xff\xff", Encoding::Protobuf), Reason::Invalid);
    assert_eq!(otlp::read(b"", Encoding::Protobuf, &anyone()).unwrap().ignored, 0);
    assert_eq!(otlp::read(b"{}", Encoding::Json, &anyone()).unwrap().ignored, 0);
}
