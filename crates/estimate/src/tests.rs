use fluxori_core::rates::{Card, ModelRates, Price};
use serde_json::json;

use super::*;

fn rates() -> Rates {
    let model = |provider: &str, name: &str, rates: serde_json::Value| {
        let price = Price::new(Timestamp::EARLIEST, serde_json::from_value(rates).unwrap());
        ModelRates::new(provider.parse().unwrap(), name.parse().unwrap(), vec![price])
    };
    let models = vec![
        model("openai", "gpt-5", json!({"input": "1.25", "cache_read": "0.125", "output": "10"})),
        model("anthropic", "claude-sonnet-4-6", json!({"input": "3", "output": "15"})),
        model("openai", "tts-1", json!({"characters": "0.000015"})),
    ];
    let mut rates = Rates::default();
    rates.put_in_force(&"r1".parse().unwrap(), Card { models, ..Card::default() }).unwrap();
    rates
}

fn ask(request: serde_json::Value) -> Result<Estimates, String> {
    let request: EstimateRequest = serde_json::from_value(request).map_err(|error| error.to_string())?;
    let at = "2026-11-22T12:00:00Z".parse().unwrap();
    estimate(&request, at, &rates()).map_err(|error| error.to_string())
}

fn models(names: &[(&str, &str)]) -> serde_json::Value {
    names.iter().map(|(provider, model)| json!({"provider": provider, "model": model})).collect()
}

#[test]
fn counts_are_priced_for_every_model_and_the_cheapest_comes_first() {
    let answer = ask(json!({
        "org_id": "acme",
        "models": models(&[("anthropic", "claude-sonnet-4-6"), ("openai", "gpt-5"), ("openai", "gpt-55")]),
        "input_tokens": 1000, "max_output_tokens": 200, "cache_share": 0.6,
    }))
    .unwrap();
    let credits: Vec<&str> = answer.estimates.iter().map(|line| line.expected.credits.as_str()).collect();
    assert_eq!(credits, ["2.575", "6", "0"]);
    assert_eq!(answer.estimates[0].at_most.credits, "3.25");
    assert_eq!(
        (answer.estimates[2].status.as_str(), answer.estimates[2].nearest[0].as_str()),
        ("unpriced", "gpt-5")
    );
    assert_eq!(answer.rates_revision.as_deref(), Some("r1"));
}

#[test]
fn messages_are_counted_for_each_model_and_the_answer_says_how() {
    let answer = ask(json!({
        "org_id": "acme", "models": models(&[("openai", "gpt-5"), ("anthropic", "claude-sonnet-4-6")]),
        "messages": [{"role": "user", "content": "How many tokens is this?"}], "max_output_tokens": 0,
    }))
    .unwrap();
    let [exact, estimated] = answer.estimates.as_slice() else { panic!("two lines") };
    let basis = |line: &Line| line.counted_by.as_ref().unwrap()["text_basis"]["kind"].clone();
    assert_eq!((basis(exact), basis(estimated)), (json!("exact"), json!("estimate")));
    assert_eq!(exact.input_tokens.expected, exact.input_tokens.at_most);
    assert!(estimated.input_tokens.expected < estimated.input_tokens.at_most);
}

#[test]
fn other_units_alone_are_a_call_too() {
    let answer = ask(json!({
        "org_id": "acme", "models": models(&[("openai", "tts-1")]), "units": {"characters": "2000"},
    }))
    .unwrap();
    assert_eq!(answer.estimates[0].expected.cost_usd, "0.03");
}

#[test]
fn what_is_wrong_with_one_model_is_said_beside_the_others() {
    let answer = ask(json!({
        "org_id": "acme", "models": models(&[("openai", "gpt-5")]), "input_tokens": 7,
    }))
    .unwrap();
    assert!(answer.estimates.is_empty());
    assert!(answer.refused[0].reason.contains("give max_output_tokens"), "{}", answer.refused[0].reason);
}

#[test]
fn what_cannot_be_asked_says_how_to_mend_it() {
    let one = models(&[("openai", "gpt-5")]);
    let refused = |request| ask(request).unwrap_err();
    assert!(refused(json!({"org_id": "acme", "models": [], "text": "a"})).contains("1 to 50"));
    assert!(refused(json!({"org_id": "acme", "models": one})).contains("messages"));
    assert!(
        refused(json!({"org_id": "acme", "models": one, "text": "a", "input_tokens": 1})).contains("once")
    );
    let share = json!({"org_id": "acme", "models": one, "text": "a", "cache_share": 1.5});
    assert!(refused(share).contains("cache_share"));
    assert!(refused(json!({"org_id": "acme", "models": one, "texts": "a"})).contains("texts"));
}

#[test]
fn a_model_that_is_named_twice_is_refused_by_its_name() {
    let twice = models(&[("openai", "gpt-5"), ("azure", "gpt-5"), ("openai", "gpt-5")]);
    let refused = ask(json!({"org_id": "acme", "models": twice, "text": "a", "max_output_tokens": 1}));
    assert!(refused.unwrap_err().contains("openai/gpt-5 is named twice"));
    let both = models(&[("openai", "gpt-5"), ("azure", "gpt-5")]);
    ask(json!({"org_id": "acme", "models": both, "text": "a", "max_output_tokens": 1})).unwrap();
}

#[test]
fn text_is_bounded_by_how_often_it_must_be_counted_and_not_by_how_many_models_are_named() {
    let names: Vec<String> = (0..MAX_MODELS).map(|number| format!("gpt-5-mini-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| ("openai", name.as_str())).collect();
    let text = "How many tokens is this? ".repeat(MAX_COUNTED_BYTES / MAX_MODELS / 20);
    let long = |input| {
        let mut request = json!({"org_id": "acme", "models": models(&many), "max_output_tokens": 1});
        request.as_object_mut().unwrap().extend::<serde_json::Map<_, _>>(input);
        ask(request)
    };
    let input = |value: serde_json::Value| value.as_object().unwrap().clone();
    let answer = long(input(json!({"text": text}))).unwrap();
    assert_eq!(answer.estimates.len(), MAX_MODELS);
    assert!(answer.estimates.iter().all(|line| line.input_tokens.expected > 40_000));
    let chat = input(json!({"messages": [{"role": "user", "content": text}]}));
    let refused = long(chat).unwrap_err();
    assert!(refused.contains("in 50 ways") && refused.contains("send input_tokens"), "{refused}");
}

#[test]
fn models_whose_chats_differ_by_their_names_alone_are_each_counted_by_their_own() {
    let image = json!({"type": "image_url", "image_url": {"url": "a", "width": 2000, "height": 2000}});
    let one_by_one = |names: &[(&str, &str)]| -> Vec<(String, i64)> {
        let answer = ask(json!({
            "org_id": "acme", "models": models(names), "max_output_tokens": 1,
            "messages": [{"role": "user", "content": [image]}],
        }))
        .unwrap();
        answer.estimates.into_iter().map(|line| (line.model, line.input_tokens.expected)).collect()
    };
    let names = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("azure", "gpt-4o")];
    let mut together = one_by_one(&names);
    let mut alone: Vec<_> = names.iter().flat_map(|name| one_by_one(&[*name])).collect();
    together.sort();
    alone.sort();
    assert_eq!(together, alone);
    assert_ne!(together.first(), together.last());
}
