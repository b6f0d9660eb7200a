use fluxori_core::id::{EventId, Label, Module, OrgId};
use serde_json::json;

use super::*;

fn context<'a>(org: Option<&'a OrgId>, module: Option<&'a Module>) -> RequestContext<'a> {
    RequestContext { org, module, source: None, now: "2026-11-22T12:00:00Z".parse().unwrap() }
}

fn rule(value: Value) -> Rule {
    let lists = |value: &Value| match value {
        Value::String(text) => vec![text.clone()],
        other => other.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
    };
    let map = |name: &str| value.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    Rule {
        when: map("when").iter().map(|(path, values)| (path.clone(), lists(values))).collect(),
        fields: map("fields").iter().map(|(field, paths)| (field.clone(), lists(paths))).collect(),
        defaults: map("defaults").iter().map(|(f, v)| (f.clone(), v.as_str().unwrap().to_owned())).collect(),
    }
}

fn built_in() -> Mapping {
    Mapping::new(&[]).unwrap()
}

/// An event as OpenMeter's example of metering a language model has it.
fn prompt() -> Value {
    json!({"specversion": "1.0", "type": "prompt", "id": "e-1", "source": "my-app", "subject": "acme",
           "time": "2026-11-22T11:59:00Z",
           "data": {"tokens": "123", "type": "input", "model": "gpt-5", "provider": "openai", "module": "chat"}})
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut event = prompt();
    change(&mut event);
    event
}

fn take(event: &Value) -> Result<UsageEvent, Rejection> {
    read(event.to_string().as_bytes(), &built_in(), &context(None, None))
}

#[test]
fn without_configuration_openmeters_example_becomes_usage() {
    let event = take(&prompt()).unwrap();
    assert_eq!((event.org_id.as_str(), event.module.as_str()), ("acme", "chat"));
    assert_eq!((event.provider.as_str(), event.request_model.as_str()), ("openai", "gpt-5"));
    assert_eq!((event.input_tokens, event.output_tokens), (123, 0));
    assert_eq!(event.occurred_at.to_string(), "2026-11-22T11:59:00Z");
    let output = take(&with(|e| e["data"]["type"] = json!("output"))).unwrap();
    assert_eq!((output.input_tokens, output.output_tokens), (0, 123));
}

#[test]
fn counts_of_one_call_are_read_under_the_names_that_are_in_use() {
    for (input, output) in [
        ("input_tokens", "output_tokens"),
        ("prompt_tokens", "completion_tokens"),
        ("inputTokens", "outputTokens"),
    ] {
        let event = with(|e| {
            e["data"] = json!({"model": "gpt-5", "provider": "openai", "module": "chat", input: 1000, output: 20.0,
                               "reasoning_tokens": 5, "unknown": [1]});
        });
        let event = take(&event).unwrap();
        assert_eq!((event.input_tokens, event.output_tokens, event.reasoning_output_tokens), (1000, 20, 5));
    }
}

#[test]
fn identity_is_source_and_id_within_the_org_and_the_time_has_no_part_in_it() {
    let (org, source) = (OrgId::new("acme").unwrap(), Label::new("my-app").unwrap());
    let event = take(&prompt()).unwrap();
    assert_eq!(event.event_id, EventId::from_foreign(&org, &source, "e-1"));
    let retried = take(&with(|e| drop(e.as_object_mut().unwrap().remove("time")))).unwrap();
    assert_eq!(retried.occurred_at.to_string(), "2026-11-22T12:00:00Z");
    assert_eq!((retried.event_id, retried.billing_digest()), (event.event_id, event.billing_digest()));
    for (name, value) in [("id", "e-2"), ("source", "other"), ("subject", "globex")] {
        assert_ne!(take(&with(|e| e[name] = json!(value))).unwrap().event_id, event.event_id, "{name}");
    }
}

#[test]
fn what_is_missing_or_wrong_is_named_by_its_path_in_the_event() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let rejection = take(&with(change)).unwrap_err();
        (rejection.reason, rejection.field.unwrap_or_default())
    };
    let remove = |e: &mut Value, name: &str| drop(e.as_object_mut().unwrap().remove(name));
    let invalid = |field: &str| (Reason::Invalid, field.to_owned());
    assert_eq!(refused(&|e| remove(e, "id")), (Reason::NoIdentity, "id".to_owned()));
    assert_eq!(refused(&|e| e["source"] = json!("")), (Reason::NoIdentity, "source".to_owned()));
    assert_eq!(refused(&|e| e["source"] = json!("x".repeat(300))), invalid("source"));
    assert_eq!(refused(&|e| e["specversion"] = json!("0.3")), invalid("specversion"));
    assert_eq!(refused(&|e| remove(e, "type")), invalid("type"));
    assert_eq!(refused(&|e| e["subject"] = json!("a b")), invalid("subject"));
    assert_eq!(refused(&|e| e["time"] = json!("yesterday")), invalid("time"));
    assert_eq!(
        refused(&|e| e["time"] = json!("2026-11-22T13:00:00Z")),
        (Reason::OccurredInFuture, "time".into())
    );
    assert_eq!(refused(&|e| e["time"] = json!("2026-01-01T00:00:00Z")), (Reason::TooLate, "time".into()));
    assert_eq!(refused(&|e| e["data"]["tokens"] = json!("many")), invalid("data.tokens"));
    assert_eq!(refused(&|e| e["data"]["tokens"] = json!(-1)), invalid("data.tokens"));
    assert_eq!(refused(&|e| e["data"]["tokens"] = json!(1.5)), invalid("data.tokens"));
    assert_eq!(refused(&|e| e["data"]["tokens"] = json!([1])), invalid("data.tokens"));
    assert_eq!(refused(&|e| remove(&mut e["data"], "model")), invalid("data.request_model"));
    assert_eq!(refused(&|e| remove(&mut e["data"], "provider")), invalid("data.provider"));
    assert_eq!(refused(&|e| e["data"]["outcome"] = json!("meh")), invalid("data.outcome"));
    assert_eq!(refused(&|e| e["data"]["cache_read_input_tokens"] = json!(124)), invalid("data.tokens"));
    assert_eq!(refused(&|e| e["data"] = json!("text")), (Reason::NoAttribution, "data.module".to_owned()));
    let twice = prompt().to_string().replace("\"tokens\"", "\"tokens\":\"1\",\"tokens\"");
    let twice = read(twice.as_bytes(), &built_in(), &context(None, None)).unwrap_err();
    assert_eq!((twice.reason, twice.field.as_deref()), (Reason::NotJson, Some("data.tokens")));
    assert_eq!(
        take(&with(|e| e["data"]["tokens"] = json!("x"))).unwrap_err().event_id.as_deref(),
        Some("e-1")
    );
}

#[test]
fn an_event_that_says_no_quantity_is_refused_and_does_not_count_as_nothing() {
    let rejection = take(&with(|e| drop(e["data"].as_object_mut().unwrap().remove("tokens")))).unwrap_err();
    assert_eq!((rejection.reason, rejection.field.as_deref()), (Reason::Invalid, Some("data.input_tokens")));
    assert!(rejection.detail.contains("no quantity"), "{rejection}");
}

#[test]
fn who_is_not_named_in_the_event_is_whom_the_key_is_for() {
    let event = with(|e| {
        drop(e.as_object_mut().unwrap().remove("subject"));
        drop(e["data"].as_object_mut().unwrap().remove("module"));
    });
    assert_eq!(take(&event).unwrap_err().reason, Reason::NoAttribution);
    let (org, module) = (OrgId::new("of-key").unwrap(), Module::new("pim").unwrap());
    let read = read(event.to_string().as_bytes(), &built_in(), &context(Some(&org), Some(&module))).unwrap();
    assert_eq!((read.org_id.as_str(), read.module.as_str()), ("of-key", "pim"));
}

#[test]
fn configured_rules_come_first_and_may_look_anywhere() {
    let image = rule(json!({
        "when": {"type": "image.*", "data.kind": ["png", "jpeg"]},
        "fields": {"org_id": "tenant", "user_id": "subject", "request_model": "data.engine.name", "batch": "data.batch",
                   "units.images": "data.count", "tags.size": "data.size", "raw_usage": "data"},
        "defaults": {"provider": "openai", "module": "pim", "tags.size": "small"},
    }));
    let mapping = Mapping::new(&[image]).unwrap();
    let event = |data: Value| {
        json!({"specversion": "1.0", "type": "image.generated", "id": "i", "source": "/studio", "subject": "ann",
               "tenant": "acme", "data": data})
    };
    let read = |event: &Value| read(event.to_string().as_bytes(), &mapping, &context(None, None));
    let usage =
        read(&event(json!({"kind": "png", "engine": {"name": "gpt-image-1"}, "count": 2, "batch": true})))
            .unwrap();
    assert_eq!((usage.org_id.as_str(), usage.user_id.as_ref().unwrap().as_str()), ("acme", "ann"));
    assert_eq!((usage.module.as_str(), usage.provider.as_str(), usage.batch), ("pim", "openai", true));
    assert_eq!(usage.units["images"], "2".parse().unwrap());
    assert_eq!(usage.tags["size"], "small");
    assert!(usage.raw_usage.as_ref().unwrap().contains("gpt-image-1"));
    let wrong = read(&event(json!({"kind": "png", "engine": {"name": "m"}, "count": -2}))).unwrap_err();
    assert_eq!(wrong.field.as_deref(), Some("data.count"));
    // For another kind the built-in rules hold, for which the subject is the org.
    let other =
        event(json!({"kind": "gif", "model": "m", "provider": "p", "module": "chat", "input_tokens": 1}));
    assert_eq!(read(&other).unwrap().org_id.as_str(), "ann");
}

#[test]
fn more_tags_than_an_event_holds_are_left_out_the_same_on_every_retry() {
    let fields = (0..40).map(|n| (format!("tags.t{n:02}"), json!("data.long"))).chain([
        ("provider".to_owned(), json!("data.provider")),
        ("request_model".to_owned(), json!("data.model")),
        ("input_tokens".to_owned(), json!("data.tokens")),
        ("org_id".to_owned(), json!("subject")),
        ("module".to_owned(), json!("data.module")),
        ("tags.a".to_owned(), json!("data.longer")),
    ]);
    let mapping = Mapping::new(&[rule(json!({"fields": fields.collect::<Map<_, _>>()}))]).unwrap();
    let event = with(|e| {
        e["data"]["long"] = json!("x".repeat(256));
        e["data"]["longer"] = json!("x".repeat(257));
    });
    let usage = read(event.to_string().as_bytes(), &mapping, &context(None, None)).unwrap();
    let names: Vec<_> = usage.tags.keys().map(String::as_str).collect();
    assert_eq!((names.len(), names[0], names[31]), (32, "t00", "t31"));
}

#[test]
fn a_wrong_rule_is_refused_with_its_key_and_how_to_mend_it() {
    let complete = json!({"provider": "data.provider", "request_model": "data.model"});
    let problem = |change: &dyn Fn(&mut Value)| {
        let mut value = json!({"fields": complete});
        change(&mut value);
        let problems = Mapping::new(&[Rule::default(), rule(value)]).unwrap_err();
        problems
            .iter()
            .filter(|problem| problem.rule == 1)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (key, word, change) in [
        ("fields.input_token", "no field of a usage event", json!({"input_token": "data.x"})),
        ("fields.module", "is no path", json!({"module": "Data.x"})),
        ("fields.module", "is no path", json!({"module": "subject.x"})),
        ("fields.module", "is no path", json!({"module": "data..x"})),
        ("fields.module", "names no path", json!({"module": []})),
        ("fields.event_id", "no field", json!({"event_id": "id"})),
    ] {
        let text = problem(&|rule| {
            rule["fields"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        });
        assert!(text.starts_with(&format!("rules[1].{key}: ")) && text.contains(word), "{text}");
    }
    assert!(
        problem(&|rule| rule["when"] = json!({"type": []})).contains("rules[1].when.type: names no value")
    );
    assert!(problem(&|rule| rule["defaults"] = json!({"batch": "maybe"})).contains("defaults.batch"));
    assert!(problem(&|rule| rule["defaults"] = json!({"org_id": "a b"})).contains("defaults.org_id"));
    assert!(problem(&|rule| rule["fields"] = json!({})).contains("provider is missing"));
}

#[test]
fn data_may_be_base64_and_must_be_json() {
    let data = |value: &[u8]| {
        with(|e| {
            e.as_object_mut().unwrap().remove("data");
            e["data_base64"] = json!(BASE64_STANDARD.encode(value));
        })
    };
    assert_eq!(take(&data(prompt()["data"].to_string().as_bytes())).unwrap().input_tokens, 123);
    assert_eq!(take(&data(b"nope")).unwrap_err().reason, Reason::NotJson);
    let both = with(|e| e["data_base64"] = json!("e30="));
    assert_eq!(take(&both).unwrap_err().field.as_deref(), Some("data_base64"));
    let mut xml = data(b"{}");
    xml["datacontenttype"] = json!("application/xml");
    assert_eq!(take(&xml).unwrap_err().field.as_deref(), Some("datacontenttype"));
}

#[test]
fn binary_mode_is_the_same_event() {
    let headers: [(&str, &[u8]); 6] = [
        ("specversion", b"1.0"),
        ("type", b"prompt"),
        ("id", b"e-1"),
        ("source", b"my%2Dapp"),
        ("subject", b"acme"),
        ("time", b"2026-11-22T11:59:00Z"),
    ];
    let data = prompt()["data"].to_string();
    let read = |headers: &[(&'static str, &'static [u8])], content_type: &str, body: &[u8]| {
        read_binary(headers.iter().copied(), content_type, body, &built_in(), &context(None, None))
    };
    assert_eq!(read(&headers, "application/json", data.as_bytes()).unwrap(), take(&prompt()).unwrap());
    assert_eq!(read(&headers, "text/plain", b"x").unwrap_err().field.as_deref(), Some("datacontenttype"));
    assert_eq!(read(&headers, "application/json", b"{\"a\":1,\"a\":2}").unwrap_err().reason, Reason::NotJson);
    let twice: Vec<_> = headers.iter().copied().chain([("id", b"e-2".as_slice())]).collect();
    assert_eq!(read(&twice, "", data.as_bytes()).unwrap_err().field.as_deref(), Some("id"));
    assert_eq!(percent_decoded(b"caf%C3%A9 100%").unwrap(), "café 100%");
    assert_eq!(percent_decoded(b"%ff"), None);
}
