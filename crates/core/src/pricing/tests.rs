use rust_decimal::Decimal;

use super::*;
use crate::id::Model;
use crate::rates::tests::{card, dated, price as model};
use crate::rates::{Card, ExchangeRate, ModelRates, Terms};
use crate::usage::tests::event;
use crate::usage::{Quantity, UsageFields};

const GPT5_FROM: &str = "2025-08-07T00:00:00Z";

fn gpt5() -> ModelRates {
    let mut gpt5 = model("gpt-5", GPT5_FROM, "1.25", "10");
    gpt5.prices[0].rates.set(Meter::CacheRead, "0.125".parse().unwrap());
    gpt5
}

fn in_force(card: Card) -> Rates {
    let mut rates = Rates::default();
    rates.put_in_force(&"r1".parse().unwrap(), card).unwrap();
    rates
}

fn usage(change: impl FnOnce(&mut UsageFields)) -> UsageEvent {
    let mut fields = event();
    change(&mut fields);
    UsageEvent::new(fields).unwrap()
}

fn charge(change: impl FnOnce(&mut UsageFields)) -> Charge {
    price(&usage(change), &in_force(card([gpt5()]))).unwrap()
}

fn with_terms(terms: Vec<Terms>, change: impl FnOnce(&mut UsageFields)) -> Charge {
    price(&usage(change), &in_force(Card { terms, ..card([gpt5()]) })).unwrap()
}

fn terms() -> Terms {
    Terms {
        effective_from: GPT5_FROM.parse().unwrap(),
        org: None,
        model: None,
        provider: None,
        feature: None,
        module: None,
        credits_per_usd: None,
        markup: None,
        minimum: None,
        rounding: None,
        provisional: None,
    }
}

#[test]
fn cached_tokens_are_charged_once_at_their_own_rate() {
    let charge = charge(|e| e.cache_read_input_tokens = 600);
    assert_eq!(charge.cost.to_string(), "0.002575");
    assert_eq!(charge.credits.to_string(), "2.575");
    assert_eq!(charge.status, ChargeStatus::Complete);
}

#[test]
fn a_unit_without_a_rate_of_its_own_has_its_parents_and_the_line_says_so() {
    let with = charge(|e| {
        e.reasoning_output_tokens = 150;
        e.audio_input_tokens = 400;
    });
    assert_eq!(with.cost, charge(|_| ()).cost);
    let of = |meter| {
        with.lines.iter().find(|line| line.meter == meter).and_then(|line| line.rate).map(|rate| rate.of)
    };
    assert_eq!(of(Meter::Reasoning), Some(Meter::Output));
    assert_eq!(of(Meter::AudioInput), Some(Meter::Input));
    assert_eq!(of(Meter::Output), Some(Meter::Output));
    assert_eq!(with.status, ChargeStatus::Complete);
}

#[test]
fn cached_audio_is_in_one_line_whether_the_event_says_how_much_or_not() {
    let mut realtime = gpt5();
    for (meter, rate) in [(Meter::AudioInput, "32"), (Meter::CacheReadAudio, "0.4")] {
        realtime.prices[0].rates.set(meter, rate.parse().unwrap());
    }
    let rates = in_force(card([realtime]));
    let cost = |cached_audio| {
        let event = usage(|e| {
            e.audio_input_tokens = 800;
            e.cache_read_input_tokens = 500;
            e.cache_read_audio_input_tokens = cached_audio;
        });
        let charge = price(&event, &rates).unwrap();
        let input = charge.lines.iter().filter(|line| line.meter.is_input_tokens());
        assert_eq!(input.map(|line| line.quantity.0).sum::<Decimal>(), Decimal::from(1000));
        charge.cost.to_string()
    };
    // 100 of cached text, 400 of cached audio, 400 of audio, 100 of text, 200 out.
    assert_eq!(cost(400), "0.0150975");
    // At least 300 must be both: 500 cached, 500 of audio, 200 out.
    assert_eq!(cost(0), "0.0180625");
}

#[test]
fn a_length_is_exceeded_strictly_and_then_counts_for_the_whole_request() {
    let mut long = gpt5();
    let rates = [(Meter::Input, "2.5".parse().unwrap())].into_iter().collect();
    long.prices[0].above = vec![crate::rates::LongContext { input_tokens: 1000, rates }];
    let rates = in_force(card([long]));
    let cost = |input, cached| {
        let event = usage(|e| {
            e.input_tokens = input;
            e.cache_read_input_tokens = cached;
        });
        price(&event, &rates).unwrap().cost.to_string()
    };
    assert_eq!(cost(1000, 0), "0.00325");
    assert_eq!(cost(1001, 0), "0.0045025");
    // Cached tokens are part of the context; they keep their rate, which the length does not change.
    assert_eq!(cost(1001, 1000), "0.0021275");
}

#[test]
fn an_unknown_model_is_unpriced_and_keeps_its_quantities() {
    let charge = charge(|e| e.request_model = Model::new("gpt-99").unwrap());
    assert_eq!((charge.status, charge.credits), (ChargeStatus::Unpriced, Credits::ZERO));
    assert_eq!(charge.lines.len(), 2);
    assert!(charge.lines.iter().all(|line| line.rate.is_none()));
}

#[test]
fn a_unit_without_a_rate_makes_the_charge_partial() {
    for unit in ["pages", "widgets"] {
        let charge = charge(|e| {
            e.units.insert(unit.into(), Quantity::ONE);
        });
        assert_eq!(charge.status, ChargeStatus::Partial);
        assert!(charge.credits.is_positive());
    }
}

#[test]
fn a_service_tier_without_a_price_is_charged_the_plain_one_and_partial() {
    let mut tiers = gpt5();
    let mut flex = dated(GPT5_FROM, &[(Meter::Input, "0.625"), (Meter::Output, "5")]);
    flex.service_tier = Some("flex".parse().unwrap());
    tiers.prices.push(flex);
    let rates = in_force(card([tiers]));
    let tier = |name: &str| {
        let charge = price(&usage(|e| e.service_tier = Some(name.parse().unwrap())), &rates).unwrap();
        (charge.status, charge.credits.to_string())
    };
    assert_eq!(tier("default"), (ChargeStatus::Complete, "3.25".to_owned()));
    assert_eq!(tier("flex"), (ChargeStatus::Complete, "1.625".to_owned()));
    assert_eq!(tier("priority"), (ChargeStatus::Partial, "3.25".to_owned()));
    let batch = price(&usage(|e| e.batch = true), &rates).unwrap();
    assert_eq!((batch.status, batch.call.service_tier.unwrap().as_str()), (ChargeStatus::Partial, "batch"));
}

#[test]
fn a_call_is_one_request_unless_its_event_says_otherwise() {
    let mut search = gpt5();
    search.prices[0].rates.set(Meter::Requests, "0.012".parse().unwrap());
    let rates = in_force(card([search]));
    let cost = |requests: Option<u32>| {
        let event = usage(|e| {
            e.units.extend(requests.map(|count| ("requests".to_owned(), Quantity(count.into()))));
        });
        price(&event, &rates).unwrap().cost.to_string()
    };
    assert_eq!(
        (cost(None), cost(Some(0)), cost(Some(3))),
        ("0.01525".into(), "0.00325".into(), "0.03925".into())
    );
}

#[test]
fn fractions_of_units_and_many_places_are_exact_until_the_one_rounding() {
    let mut whisper = gpt5();
    whisper.prices[0].rates.set(Meter::AudioSeconds, "0.000100000001".parse().unwrap());
    let event = usage(|e| {
        (e.input_tokens, e.output_tokens) = (0, 0);
        e.units.insert("audio_seconds".into(), "12.345678".parse().unwrap());
    });
    let charge = price(&event, &in_force(card([whisper]))).unwrap();
    // 12.345678 times 0.000100000001 is 0.001234567812345678.
    assert_eq!(charge.lines[0].exact_cost().unwrap(), 1_234_567_812_345_678);
    assert_eq!(charge.cost.to_string(), "0.001234567812");
    assert_eq!(charge.credits.to_string(), "1.234567812346");
}

#[test]
fn the_most_specific_terms_that_set_something_hold() {
    let general =
        Terms { markup: Some("1.1".parse().unwrap()), minimum: Some("1".parse().unwrap()), ..terms() };
    let module = Terms {
        module: Some("rag-retrieval".parse().unwrap()),
        markup: Some("2".parse().unwrap()),
        ..terms()
    };
    let org = Terms { org: Some("acme".parse().unwrap()), markup: Some("1.5".parse().unwrap()), ..terms() };
    let credits =
        |terms: &[&Terms]| with_terms(terms.iter().copied().cloned().collect(), |_| ()).credits.to_string();
    assert_eq!(credits(&[&general]), "3.575");
    assert_eq!(credits(&[&module, &general]), "6.5");
    assert_eq!(credits(&[&general, &module, &org]), "4.875");
    let small = with_terms(vec![general, org], |e| (e.input_tokens, e.output_tokens) = (1, 0));
    assert_eq!(small.credits.to_string(), "1");
    assert_eq!(small.cost.to_string(), "0.00000125");
}

#[test]
fn terms_hold_from_their_date_on_and_round_as_they_say() {
    let rounding = Rounding { rule: crate::amount::RoundingRule::Up, places: 0 };
    let from = "2026-11-22T12:00:00.000001Z".parse().unwrap();
    let later = Terms { effective_from: from, rounding: Some(rounding), ..terms() };
    assert_eq!(with_terms(vec![later.clone()], |_| ()).credits.to_string(), "3.25");
    assert_eq!(with_terms(vec![later], |e| e.occurred_at = from).credits.to_string(), "4");
}

#[test]
fn another_currency_is_worth_what_it_was_at_the_time() {
    let mut cny = gpt5();
    cny.prices[0].currency = "CNY".parse().unwrap();
    let worth = |usd: &str, from: &str| ExchangeRate {
        currency: "CNY".parse().unwrap(),
        usd: usd.parse().unwrap(),
        effective_from: from.parse().unwrap(),
    };
    let exchange_rates = vec![worth("0.14", GPT5_FROM), worth("0.15", "2026-11-22T12:00:00Z")];
    let rates = in_force(Card { exchange_rates, ..card([cny]) });
    let charge = price(&usage(|_| ()), &rates).unwrap();
    assert_eq!(
        (charge.cost.to_string().as_str(), charge.credits.to_string().as_str()),
        ("0.0004875", "0.4875")
    );
    let before = usage(|e| e.occurred_at = "2026-11-22T11:59:59Z".parse().unwrap());
    assert_eq!(price(&before, &rates).unwrap().cost.to_string(), "0.000455");
}

#[test]
fn usage_without_a_price_is_charged_what_its_terms_say_for_the_meantime() {
    let rates =
        [(Meter::Input, "5".parse().unwrap()), (Meter::Output, "15".parse().unwrap())].into_iter().collect();
    let meantime = Terms { org: Some("acme".parse().unwrap()), provisional: Some(rates), ..terms() };
    let unknown = |e: &mut UsageFields| e.request_model = Model::new("gpt-99").unwrap();
    let charge = with_terms(vec![meantime], unknown);
    assert_eq!((charge.status, charge.credits.to_string().as_str()), (ChargeStatus::Provisional, "8"));
    let mut known = gpt5();
    known.aliases = vec!["gpt-99".parse().unwrap()];
    let repriced = reprice(&charge, Subject::of(&usage(unknown)), &in_force(card([known]))).unwrap();
    assert_eq!((repriced.status, repriced.credits.to_string().as_str()), (ChargeStatus::Complete, "3.25"));
}

#[test]
fn a_request_is_counted_once_whoever_counts_it_and_whenever_it_is_priced() {
    let rates = [(Meter::Input, "5".parse().unwrap()), (Meter::Requests, "0.01".parse().unwrap())]
        .into_iter()
        .collect();
    let meantime = || Terms { provisional: Some(rates), ..terms() };
    let in_force = in_force(Card { terms: vec![meantime()], ..card([gpt5()]) });
    let event = |counted: bool| {
        usage(|e| {
            e.request_model = Model::new("gpt-99").unwrap();
            (e.input_tokens, e.output_tokens) = (1000, 0);
            e.units.extend(counted.then(|| ("requests".to_owned(), Quantity::ONE)));
            e.units.insert("searches".into(), Quantity::ONE);
        })
    };
    for counted in [true, false] {
        let event = event(counted);
        let charge = price(&event, &in_force).unwrap();
        assert_eq!((charge.status, charge.credits.to_string().as_str()), (ChargeStatus::Provisional, "15"));
        // As the ledger keeps it, and as the usage log does.
        let mut kept = charge.clone();
        kept.lines = lines_without_rates(&event.quantities());
        for kept in [&charge, &kept] {
            assert_eq!(reprice(kept, Subject::of(&event), &in_force).unwrap(), charge);
        }
    }
}

#[test]
fn terms_hold_for_whoever_served_it_under_any_of_its_names() {
    let names = crate::rates::ProviderNames {
        provider: "azure".parse().unwrap(),
        aliases: vec!["azure.ai.openai".parse().unwrap()],
        falls_back_to: vec!["openai".parse().unwrap()],
    };
    let of = |provider: &str, markup: &str| Terms {
        provider: Some(provider.parse().unwrap()),
        markup: Some(markup.parse().unwrap()),
        ..terms()
    };
    let model =
        Terms { model: Some("gpt-5-mini".parse().unwrap()), markup: Some("4".parse().unwrap()), ..terms() };
    let mut card = card([gpt5()]);
    (card.providers, card.terms) = (vec![names], vec![of("azure", "2"), of("openai", "3"), model]);
    let rates = in_force(card);
    let credits = |provider: &str, request_model: &str| {
        let event = usage(|e| {
            e.provider = provider.parse().unwrap();
            e.request_model = request_model.parse().unwrap();
            e.response_model = Some("gpt-5".parse().unwrap());
        });
        price(&event, &rates).unwrap().credits.to_string()
    };
    assert_eq!(
        (credits("azure", "gpt-5"), credits("azure.ai.openai", "gpt-5")),
        ("6.5".into(), "6.5".into())
    );
    // The model that is priced decides, not the one that was asked for.
    assert_eq!(credits("openai", "gpt-5-mini"), "9.75");
}

#[test]
fn pricing_anew_gives_what_pricing_at_once_would_have_given() {
    let event = usage(|e| {
        e.batch = true;
        e.cache_read_input_tokens = 600;
        e.units.insert("pages".into(), Quantity::ONE);
    });
    let unpriced = price(&event, &Rates::default()).unwrap();
    assert_eq!(unpriced.status, ChargeStatus::Unpriced);
    let rates = in_force(card([gpt5()]));
    assert_eq!(reprice(&unpriced, Subject::of(&event), &rates).unwrap(), price(&event, &rates).unwrap());
    let waived = charge(|e| e.own_key = true);
    assert_eq!(reprice(&waived, Subject::of(&event), &rates).unwrap().credits, Credits::ZERO);
}

#[test]
fn other_quantities_are_priced_by_the_tier_and_terms_of_the_original() {
    let original =
        with_terms(vec![Terms { markup: Some("2".parse().unwrap()), ..terms() }], |e| e.batch = true);
    let mut quantities = Quantities::default();
    quantities.tokens.input = 400;
    let again = price_again(&original, &quantities).unwrap();
    assert_eq!((again.credits.to_string().as_str(), again.status), ("1", ChargeStatus::Partial));
    assert_eq!(void(&original).credits, Credits::ZERO);
    let waived = charge(|e| e.own_key = true);
    assert_eq!(price_again(&waived, &quantities).unwrap().credits, Credits::ZERO);
}

#[test]
fn a_charge_beyond_a_billion_credits_is_an_error() {
    let mut dear = gpt5();
    dear.prices[0].rates.set(Meter::Images, "10000".parse().unwrap());
    let event = usage(|e| {
        e.units.insert("images".into(), Quantity(101.into()));
    });
    assert_eq!(price(&event, &in_force(card([dear]))), Err(AmountError::OutOfRange));
}

#[test]
fn own_key_and_local_cache_cost_nothing() {
    assert_eq!(charge(|e| e.own_key = true).status, ChargeStatus::Waived);
    assert_eq!(charge(|e| e.served_from_cache = true).credits, Credits::ZERO);
}
