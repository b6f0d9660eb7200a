//! Whole calls: messages, tools and images, and what is too much.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use fluxori_tokens::{
    Basis, Chat, ChatCount, Content, Error, Function, MAX_BYTES, MAX_DEPTH, MAX_MESSAGES, MAX_PARTS,
    MAX_TOOLS, Message, Model, Part, Rule, StreamCounter, Tool, Vocabulary,
};
use serde_json::{Value, json};

fn chat(body: Value) -> Chat {
    serde_json::from_value(body).unwrap()
}

fn count(model: &str, chat: &Chat) -> ChatCount {
    Model::named("", model).count_chat(chat).unwrap()
}

fn text(model: &str, text: &str) -> u64 {
    Model::named("", model).count_text(text).unwrap().tokens
}

fn user(content: Content) -> Message {
    Message { role: "user".to_owned(), content: Some(content), ..Message::default() }
}

#[test]
fn openais_messages_have_the_overhead_of_its_cookbook() {
    let two = chat(json!({"messages": [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "name": "ada", "content": "How many credits are left?"}
    ]}));
    for model in ["gpt-4o", "gpt-4-0613"] {
        let counted = count(model, &two);
        let contents =
            text(model, "Answer briefly.") + text(model, "How many credits are left?") + text(model, "ada");
        assert_eq!(counted.text, contents);
        // Three and a role for each of two, one for the name, three for the answer.
        assert_eq!((counted.overhead, counted.overhead_rule), (2 * (3 + 1) + 1 + 3, Rule::Documented));
        assert_eq!((counted.tools, counted.images), (0, 0));
        assert_eq!((counted.tools_rule, counted.images_rule), (None, None));
        assert_eq!((counted.tokens, counted.upper), (counted.text + 12, counted.text + 12));
    }
    assert_eq!(count("gpt-5", &two).overhead_rule, Rule::Assumed);
    assert_eq!(count("gpt-5", &two).text_basis, Basis::Exact { vocabulary: Vocabulary::O200k });
}

#[test]
fn public_chat_templates_are_counted_as_they_are_written() {
    let one = chat(json!({"messages": [{"role": "user", "content": "Hi"}]}));
    // The special tokens of the templates, and the texts between them.
    let llama = (6, vec!["user", "\n\n", "Hi", "assistant", "\n\n"]);
    let qwen = (3, vec!["user", "\n", "Hi", "\n", "assistant", "\n"]);
    for (model, (special, rendered)) in [("llama-3.1-8b-instruct", llama), ("qwen3-8b", qwen)] {
        let template: u64 = special + rendered.iter().map(|part| text(model, part)).sum::<u64>();
        let counted = count(model, &one);
        assert_eq!((counted.tokens, counted.overhead_rule), (template, Rule::Documented), "{model}");
    }
    assert_eq!(count("deepseek-chat", &one).overhead, 3);
    assert_eq!(count("ministral-8b-2410", &one).overhead, 3);
}

#[test]
fn tools_cost_what_the_cookbooks_rule_says() {
    let with_tool = chat(json!({
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": {
            "name": "get_price",
            "description": "The price of an article.",
            "parameters": {"type": "object", "properties": {
                "article": {"type": "string", "description": "Its number."},
                "unit": {"type": "string", "enum": ["piece", "box"]}
            }, "required": ["article"]}
        }}]
    }));
    let lines =
        ["get_price:The price of an article", "article:string:Its number", "unit:string:", "piece", "box"];
    for (model, each) in [("gpt-4o-mini", 7), ("gpt-4", 10)] {
        let written: u64 = lines.iter().map(|line| text(model, line)).sum();
        let counted = count(model, &with_tool);
        // The function, its properties, two of them, two items less one enumeration, the end.
        assert_eq!(counted.tools, written + each + 3 + 2 * 3 - 3 + 2 * 3 + 12, "{model}");
        assert_eq!(counted.tools_rule, Some(Rule::Documented));
    }
    let nested = json!({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}});
    let mut deeper = with_tool;
    deeper.tools.as_mut().unwrap()[0].function.parameters = Some(nested);
    assert_eq!(count("gpt-4o", &deeper).tools_rule, Some(Rule::Assumed));
}

#[test]
fn anthropics_prompt_for_tools_depends_on_model_and_choice() {
    let body = |choice: Value| {
        chat(json!({
            "messages": [{"role": "user", "content": "Hi"}], "tool_choice": choice,
            "tools": [{"type": "function", "function": {"name": "f"}}]
        }))
    };
    let tools = |model: &str, choice: Value| count(model, &body(choice)).tools;
    let definition = text("claude-opus-4-5", "{\"name\":\"f\"}");
    assert_eq!(tools("claude-opus-4-5", json!("auto")), 496 + definition);
    assert_eq!(tools("claude-opus-4-5", Value::Null), 496 + definition);
    assert_eq!(tools("claude-opus-4-5", json!("required")), 588 + definition);
    let named = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(tools("us.anthropic.claude-opus-4-5-20251101-v1:0", named), 588 + definition);
    let prompt = |model: &str| tools(model, json!("auto")) - text(model, "{\"name\":\"f\"}");
    for (model, tokens) in [
        ("claude-opus-4-7", 675),
        ("claude-sonnet-5", 354),
        ("claude-opus-4-1", 313),
        ("claude-3-7-sonnet", 346),
    ] {
        assert_eq!(prompt(model), tokens, "{model}");
    }
}

#[test]
fn parts_images_and_calls_are_counted_and_other_fields_passed_over() {
    let body = chat(json!({
        "model": "gpt-4o", "temperature": 1, "stream": true,
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:,", "detail": "high", "width": 1024, "height": 1024}}
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"it\"}"}}
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "a cat"}
        ]
    }));
    let counted = count("gpt-4o", &body);
    assert_eq!((counted.images, counted.images_rule), (765, Some(Rule::Documented)));
    let texts = ["What is this?", "look", "{\"at\":\"it\"}", "a cat"];
    assert_eq!(counted.text, texts.iter().map(|part| text("gpt-4o", part)).sum::<u64>());
    assert_eq!(counted.overhead_rule, Rule::Assumed, "calls of tools are documented nowhere");
    assert_eq!(counted.tokens, counted.text + counted.overhead + counted.images);
    let unknown = json!({"messages": [{"role": "user", "content": [{"type": "smell", "smell": "?"}]}]});
    assert!(serde_json::from_value::<Chat>(unknown).is_err());
}

#[test]
fn an_estimate_of_many_messages_is_that_of_their_text_together_and_its_upper_end_is_higher() {
    let sentence = "Quota per org and month, please.";
    let messages = vec![user(Content::Text(sentence.to_owned())); 500];
    let counted = count("claude-opus-4-7", &Chat { messages, ..Chat::default() });
    let one = text("claude-opus-4-7", &sentence.repeat(20));
    assert!(counted.text.abs_diff(one * 25) * 20 < counted.text, "{counted:?}");
    assert_eq!(counted.upper, (counted.text * 100).div_ceil(75) + counted.overhead);
}

#[test]
fn an_answer_says_in_json_what_it_rests_on() {
    let counted = count("claude-sonnet-4-5", &chat(json!({"messages": [{"role": "user", "content": "Hi"}]})));
    let shown = serde_json::to_value(counted).unwrap();
    let basis = json!({"kind": "estimate", "estimator": "claude_3", "margin_percent": 25, "measured": true});
    assert_eq!(shown["text_basis"], basis);
    assert_eq!(shown["overhead_rule"], "assumed");
    assert_eq!(shown.get("tools_rule"), None);
    let exact = serde_json::to_value(Model::named("", "gpt-5").count_text("Hi").unwrap()).unwrap();
    assert_eq!(exact, json!({"tokens": 1, "basis": {"kind": "exact", "vocabulary": "o200k_base"}}));
}

#[test]
fn what_is_too_much_is_refused_with_the_limit_and_a_way_out() {
    let model = Model::named("", "gpt-5");
    let said = |error: Error, parts: &[&str]| {
        let said = error.to_string();
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    let huge = "x".repeat(MAX_BYTES + 1);
    said(model.count_text(&huge).unwrap_err(), &["16777217 bytes", "at most 16777216", "cut the text"]);
    let half = Content::Text(huge[..MAX_BYTES / 2 + 1].to_owned());
    let two_halves = Chat { messages: vec![user(half.clone()), user(half)], ..Chat::default() };
    said(model.count_chat(&two_halves).unwrap_err(), &["at most 16777216"]);

    let many = Chat { messages: vec![Message::default(); 100_000], ..Chat::default() };
    assert_eq!(model.count_chat(&many), Err(Error::TooManyMessages { messages: 100_000 }));
    said(model.count_chat(&many).unwrap_err(), &["100000 messages", "at most 10000"]);
    let parts = vec![Part::Text { text: String::new() }; MAX_PARTS + 1];
    let many = Chat { messages: vec![user(Content::Parts(parts))], ..Chat::default() };
    said(model.count_chat(&many).unwrap_err(), &["100001 parts", "at most 100000"]);
    let many =
        Chat { tools: Some(vec![Tool { function: Function::default() }; MAX_TOOLS + 1]), ..Chat::default() };
    said(model.count_chat(&many).unwrap_err(), &["1001 tools", "at most 1000"]);

    let deep = (0..MAX_DEPTH).fold(json!({}), |inner, _| json!({"properties": inner}));
    let function = Function { name: "deep".to_owned(), parameters: Some(deep), ..Function::default() };
    let tools = Chat { tools: Some(vec![Tool { function }]), ..Chat::default() };
    said(model.count_chat(&tools).unwrap_err(), &["\"deep\"", "64 levels"]);

    let error = model.count_bytes(b"good until here\xff\xfe").unwrap_err();
    assert_eq!(error, Error::NotUtf8 { valid_up_to: 15 });
    said(error, &["byte 15"]);
    assert_eq!(model.count_bytes("ok".as_bytes()), model.count_text("ok"));
}

#[test]
fn the_largest_that_is_taken_is_counted() {
    let messages = vec![user(Content::Text("Hi".to_owned())); MAX_MESSAGES];
    assert_eq!(count("gpt-5", &Chat { messages, ..Chat::default() }).text, MAX_MESSAGES as u64);
    assert_eq!(count("gpt-5", &Chat::default()).tokens, 3);
    // One unbroken word of 16 MiB, at once and in chunks: a chunk too many changes nothing.
    let model = Model::named("", "gpt-5");
    let word = "a".repeat(MAX_BYTES);
    let whole = model.count_text(&word).unwrap();
    assert_eq!(whole.tokens, MAX_BYTES as u64 / 8);
    let mut counter = StreamCounter::new(&model);
    for chunk in word.as_bytes().chunks(1 << 16) {
        counter.push(str::from_utf8(chunk).unwrap()).unwrap();
    }
    assert_eq!(counter.push("a"), Err(Error::TooManyBytes { bytes: MAX_BYTES + 1 }));
    assert_eq!(counter.count(), whole);
}
