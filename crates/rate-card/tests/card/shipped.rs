//! The card that ships, against the figures that providers publish.

use crate::support::{charge, rates, shipped};
use fluxori_core::meter::Meter;
use fluxori_core::pricing::{Charge, ChargeStatus};
use fluxori_core::usage::UsageFields;

fn cost(provider: &str, model: &str, at: &str, change: impl FnOnce(&mut UsageFields)) -> String {
    let charge = complete(provider, model, at, change);
    charge.cost.to_string()
}

fn complete(provider: &str, model: &str, at: &str, change: impl FnOnce(&mut UsageFields)) -> Charge {
    let charge = charge(rates(), provider, model, at, change);
    assert_eq!(charge.status, ChargeStatus::Complete, "{model} {:?}", charge.lines);
    charge
}

/// What a million tokens of a class cost, in contexts that are not long.
fn per_million(provider: &str, model: &str, meter: Meter, tier: Option<&str>) -> String {
    let charge = complete(provider, model, NOW, |usage| {
        usage.service_tier = tier.filter(|tier| *tier != "batch").map(|tier| tier.parse().unwrap());
        usage.batch = tier == Some("batch");
        usage.input_tokens = 1000;
        match meter {
            Meter::AudioInput => usage.audio_input_tokens = 1000,
            Meter::CacheWrite5m => usage.cache_write_5m_input_tokens = 1000,
            Meter::CacheWrite1h => usage.cache_write_1h_input_tokens = 1000,
            _ => (),
        }
    });
    let [line] = charge.lines.as_slice() else { panic!("{:?}", charge.lines) };
    let rate = line.rate.unwrap();
    assert_eq!((line.meter, rate.of), (meter, meter));
    rate.rate.to_string()
}

fn units(provider: &str, model: &str, unit: &str, count: u32) -> String {
    cost(provider, model, NOW, |usage| {
        usage.units.insert(unit.to_owned(), count.to_string().parse().unwrap());
    })
}

const NOW: &str = "2026-11-22T12:00:00Z";

#[test]
fn the_cached_part_of_a_call_costs_what_reading_the_cache_costs() {
    let cost = cost("openai", "gpt-5", NOW, |usage| {
        (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) = (1000, 600, 200);
    });
    assert_eq!(cost, "0.002575");
}

#[test]
fn gemini_2_5_pro_costs_more_from_the_first_token_when_there_are_more_than_200_000() {
    let at = |input: i64| {
        cost("google", "gemini-2.5-pro", NOW, |usage| {
            (usage.input_tokens, usage.output_tokens) = (input, 1000)
        })
    };
    // 200,000 at 1.25 and 1,000 at 10 for a million; 200,001 at 2.50 and 1,000 at 15.
    assert_eq!(at(200_000), "0.26");
    assert_eq!(at(200_001), "0.5150025");
}

#[test]
fn qwen3_max_has_steps_at_32_000_and_128_000() {
    let at = |input: i64| {
        cost("dashscope", "qwen3-max", NOW, |usage| (usage.input_tokens, usage.output_tokens) = (input, 1000))
    };
    assert_eq!(at(32_000), "0.0444");
    assert_eq!(at(32_001), "0.0888024");
    assert_eq!(at(128_000), "0.3192");
    assert_eq!(at(128_001), "0.399003");
}

#[test]
fn claude_sonnet_4_6_writes_to_the_cache_for_5_minutes_or_an_hour() {
    assert_eq!(per_million("anthropic", "claude-sonnet-4-6", Meter::CacheWrite5m, None), "3.75");
    assert_eq!(per_million("anthropic", "claude-sonnet-4-6", Meter::CacheWrite1h, None), "6");
}

#[test]
fn gpt_5_costs_half_in_batch_and_flex_and_double_with_priority() {
    let of = |tier| per_million("openai", "gpt-5", Meter::Input, tier);
    assert_eq!(of(None), "1.25");
    assert_eq!(of(Some("batch")), "0.625");
    assert_eq!(of(Some("flex")), "0.625");
    assert_eq!(of(Some("priority")), "2.5");
}

#[test]
fn audio_has_a_price_of_its_own_at_gemini_2_5_flash() {
    assert_eq!(per_million("google", "gemini-2.5-flash", Meter::Input, None), "0.3");
    assert_eq!(per_million("google", "gemini-2.5-flash", Meter::AudioInput, None), "1");
}

#[test]
fn other_units_than_tokens_have_prices() {
    assert_eq!(units("openai", "tts-1", "characters", 1_000_000), "15");
    assert_eq!(units("openai", "whisper-1", "audio_seconds", 60), "0.006");
    assert_eq!(units("openai", "sora-2", "video_seconds", 10), "1");
    assert_eq!(units("gcp.vertex_ai", "veo-3.0-generate-001", "video_seconds", 8), "3.2");
    assert_eq!(units("mistral_ai", "mistral-ocr-latest", "pages", 1000), "4");
    assert_eq!(units("cohere", "rerank-v3.5", "requests", 1), "0.002");
    assert_eq!(units("anthropic", "claude-sonnet-4-6", "searches", 3), "0.03");
    assert_eq!(units("tavily", "search", "searches", 1), "0.008");
}

#[test]
fn a_rerank_that_counts_nothing_is_one_request() {
    assert_eq!(cost("cohere", "rerank-v3.5", NOW, |_| ()), "0.002");
}

#[test]
fn o3_cost_five_times_as_much_before_2025_06_10() {
    let at = |at| {
        cost("openai", "o3", at, |usage| (usage.input_tokens, usage.output_tokens) = (1_000_000, 1_000_000))
    };
    assert_eq!(at("2025-06-09T23:59:59.999999Z"), "50");
    assert_eq!(at("2025-06-10T00:00:00Z"), "10");
}

#[test]
fn deepseek_costs_less_when_it_is_night_in_china() {
    let at = |at| cost("deepseek", "deepseek-chat", at, |usage| usage.input_tokens = 1_000_000);
    assert_eq!(at("2026-11-22T00:29:59Z"), "0.135");
    assert_eq!(at("2026-11-22T00:30:00Z"), "0.27");
    assert_eq!(at("2026-11-22T16:29:59Z"), "0.27");
    assert_eq!(at("2026-11-22T16:30:00Z"), "0.135");
}

#[test]
fn a_region_that_costs_more_does_so_in_every_service_tier() {
    let of = |region: Option<&str>, batch| {
        cost("anthropic", "claude-sonnet-4-6", NOW, |usage| {
            usage.input_tokens = 1_000_000;
            usage.region = region.map(|region| region.parse().unwrap());
            usage.batch = batch;
        })
    };
    assert_eq!((of(None, false), of(Some("us"), false)), ("3".to_owned(), "3.3".to_owned()));
    assert_eq!((of(None, true), of(Some("us"), true)), ("1.5".to_owned(), "1.65".to_owned()));
}

#[test]
fn the_card_says_its_sources_and_has_all_36_providers_and_some_thousand_models() {
    let card = shipped();
    let licences: Vec<_> =
        card.sources.iter().map(|source| (source.name.as_str(), source.licence.as_str())).collect();
    assert_eq!(licences, [("genai-prices", "MIT"), ("litellm", "MIT")]);
    let of_genai = card.card.models.iter().filter(|model| {
        model
            .prices
            .iter()
            .any(|price| price.source.as_ref().is_some_and(|s| s.as_str().starts_with("genai-prices")))
    });
    let mut providers: Vec<_> = of_genai.map(|model| model.provider.as_str()).collect();
    providers.sort_unstable();
    providers.dedup();
    assert_eq!(providers.len(), 36, "{providers:?}");
    assert!(card.card.models.len() >= 2300, "{}", card.card.models.len());
}

#[test]
fn providers_are_known_under_the_names_of_opentelemetry() {
    for (name, model) in [
        ("aws.bedrock", "global.anthropic.claude-sonnet-4-6-v1:0"),
        ("azure.ai.openai", "gpt-5"),
        ("azure.ai.inference", "phi-4"),
        ("gcp.gemini", "gemini-2.5-pro"),
        ("gcp.vertex_ai", "claude-sonnet-4-5@20250929"),
        ("mistral_ai", "mistral-large-latest"),
        ("x_ai", "grok-4"),
        ("moonshot_ai", "kimi-k2"),
    ] {
        complete(name, model, NOW, |usage| (usage.input_tokens, usage.output_tokens) = (1000, 10));
    }
}
