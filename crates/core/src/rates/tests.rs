use super::*;
use crate::amount::Factor;

/// A model of openai with one price.
pub(crate) fn price(model: &str, from: &str, input: &str, output: &str) -> ModelRates {
    let price = dated(from, &[(Meter::Input, input), (Meter::Output, output)]);
    ModelRates::new("openai".parse().unwrap(), model.parse().unwrap(), vec![price])
}

/// A price for everyone.
pub(crate) fn dated(from: &str, rates: &[(Meter, &str)]) -> Price {
    let rates = rates.iter().map(|(meter, rate)| (*meter, rate.parse().unwrap())).collect();
    Price::new(from.parse().unwrap(), rates)
}

/// A card of models alone.
pub(crate) fn card(models: impl IntoIterator<Item = ModelRates>) -> Card {
    Card { models: models.into_iter().collect(), ..Card::default() }
}

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

fn revision(name: &str) -> RevisionId {
    name.parse().unwrap()
}

fn in_force(card: Card) -> Rates {
    let mut rates = Rates::default();
    rates.put_in_force(&revision("r1"), card).unwrap();
    rates
}

fn problem(models: impl IntoIterator<Item = ModelRates>) -> String {
    check_card(&card(models)).unwrap_err().to_string()
}

fn input_rate(rates: &Rates, provider: &str, name: &str, at: &str) -> Option<String> {
    let variant = Variant { org: None, service_tier: None, region: None };
    let found =
        rates.find(&provider.parse().unwrap(), [&name.parse().unwrap()], variant, at.parse().unwrap())?;
    found.tier.price.rate(Meter::Input, 0).map(|(_, rate)| rate.to_string())
}

#[test]
fn a_price_holds_from_its_date_until_the_next() {
    let mut o3 = price("o3", "2025-06-10T00:00:00Z", "2", "8");
    o3.prices.push(dated("2025-04-16T00:00:00Z", &[(Meter::Input, "10"), (Meter::Output, "40")]));
    let rates = in_force(card([o3]));
    let input = |at: &str| input_rate(&rates, "openai", "o3-2025-04-16", at);
    assert_eq!(input("2025-06-09T23:59:59.999999Z").as_deref(), Some("10"));
    assert_eq!(input("2025-06-10T00:00:00Z").as_deref(), Some("2"));
    assert_eq!(input("2025-04-15T00:00:00Z"), None);
}

#[test]
fn a_later_revision_replaces_what_begins_at_the_same_instant_and_nothing_else() {
    let mut rates = in_force(card([price("o3", LONG_AGO, "10", "40")]));
    let mut again = price("o3", LONG_AGO, "9", "40");
    again.prices.push(dated("2025-06-10T00:00:00Z", &[(Meter::Input, "2")]));
    rates.put_in_force(&revision("r2"), card([again])).unwrap();
    assert_eq!(input_rate(&rates, "openai", "o3", "2025-01-01T00:00:00Z").as_deref(), Some("9"));
    assert_eq!(input_rate(&rates, "openai", "o3", "2026-01-01T00:00:00Z").as_deref(), Some("2"));
    let replaced = rates.tier("openai/o3@2020-01-01T00:00:00Z", &revision("r1")).unwrap();
    assert_eq!(replaced.price.rate(Meter::Input, 0).unwrap().1.to_string(), "10");
    assert_eq!(rates.tiers().count(), 2);
}

#[test]
fn a_wrong_card_is_refused_as_a_whole() {
    let o3 = || price("o3", "2025-06-10T00:00:00Z", "2", "8");
    let mut twice = o3();
    twice.prices.push(twice.prices[0].clone());
    assert!(problem([twice]).starts_with("openai/o3: an overlap: "));
    assert!(problem([o3(), o3()]).contains("the name o3 is that of o3 already"));
    let (mut routed, mut other) = (o3(), o3());
    (routed.provider, routed.model) = ("router/openai".parse().unwrap(), "gpt-5".parse().unwrap());
    (other.provider, other.model) = ("router".parse().unwrap(), "openai/gpt-5".parse().unwrap());
    assert!(problem([routed, other]).contains("two prices are named"));
    assert!(problem([price("o3", LONG_AGO, "-2", "8")]).contains("the rate of input is negative"));
    assert!(problem([price("o3", LONG_AGO, "2", "10001")]).contains("the rate of output is absurd"));
    let mut empty = o3();
    empty.prices.clear();
    assert!(problem([empty]).contains("no price"));
}

#[test]
fn lengths_of_context_rise_and_leave_no_gap() {
    let longer = |lengths: &[i64], meter: Meter| {
        let mut model = price("o3", LONG_AGO, "2", "8");
        let rates: RateTable = [(meter, "4".parse().unwrap())].into_iter().collect();
        model.prices[0].above = lengths
            .iter()
            .map(|length| LongContext { input_tokens: *length, rates: rates.clone() })
            .collect();
        model
    };
    assert!(check_card(&card([longer(&[1000, 2000], Meter::CacheRead)])).is_ok());
    assert!(problem([longer(&[2000, 2000], Meter::Input)]).contains("overlap"));
    assert!(problem([longer(&[0], Meter::Input)]).contains("overlap"));
    let gap = problem([longer(&[1000], Meter::Pages)]);
    assert!(gap.contains("a gap: pages has a rate above 1000 input tokens and none below"), "{gap}");
}

#[test]
fn hours_of_a_day_neither_overlap_nor_leave_a_gap() {
    let day = |windows: &[Option<&str>]| {
        let mut model = price("o3", LONG_AGO, "2", "8");
        let plain = model.prices[0].clone();
        let priced =
            |hours: &Option<&str>| Price { hours: hours.map(|text| text.parse().unwrap()), ..plain.clone() };
        model.prices = windows.iter().map(priced).collect();
        model
    };
    assert!(check_card(&card([day(&[Some("16:30-00:30"), Some("00:30-16:30")])])).is_ok());
    assert!(check_card(&card([day(&[Some("16:30-00:30"), None])])).is_ok());
    assert!(problem([day(&[Some("16:30-00:30")])]).contains("a gap: no price holds at 00:30"));
    assert!(
        problem([day(&[Some("16:30-00:30"), Some("00:00-16:30")])])
            .contains("an overlap: two prices hold at")
    );
    assert!(problem([day(&[None, None])]).contains("an overlap"));
}

#[test]
fn a_name_matches_exactly_then_as_an_alias_then_without_its_date_then_by_the_longest_pattern() {
    let mut mini = price("gpt-5-mini", LONG_AGO, "1", "1");
    mini.patterns = vec!["gpt-5-mini*".parse().unwrap()];
    let mut gpt5 = price("gpt-5", LONG_AGO, "2", "2");
    gpt5.aliases = vec!["gpt-5-latest".parse().unwrap()];
    gpt5.patterns = vec!["gpt-5*".parse().unwrap()];
    let dated = price("gpt-5-2025-08-07", LONG_AGO, "3", "3");
    let rates = in_force(card([mini, gpt5, dated]));
    let of = |name: &str| {
        let (provider, name) = ("openai".parse().unwrap(), name.parse().unwrap());
        rates
            .model(&provider, &name, Audience::Operator)
            .map(|(entry, matched)| format!("{} {matched}", entry.model))
    };
    assert_eq!(of("gpt-5-2025-08-07").as_deref(), Some("gpt-5-2025-08-07 exact"));
    assert_eq!(of("gpt-5-latest").as_deref(), Some("gpt-5 alias"));
    assert_eq!(of("gpt-5-latest-20260101").as_deref(), Some("gpt-5 dated"));
    assert_eq!(of("gpt-5-mini-high").as_deref(), Some("gpt-5-mini pattern gpt-5-mini*"));
    assert_eq!(of("gpt-5-pro").as_deref(), Some("gpt-5 pattern gpt-5*"));
    assert_eq!(of("gpt-6"), None);
    let nearest =
        rates.nearest(&"openai".parse().unwrap(), &"gpt5-mini".parse().unwrap(), Audience::Operator);
    assert_eq!(nearest.first().map(|name| name.as_str()), Some("gpt-5-mini"));
}

#[test]
fn a_provider_goes_by_other_names_and_falls_back() {
    let names = |provider: &str, alias: &str, falls_back_to: &[&str]| ProviderNames {
        provider: provider.parse().unwrap(),
        aliases: vec![alias.parse().unwrap()],
        falls_back_to: falls_back_to.iter().map(|name| name.parse().unwrap()).collect(),
    };
    let mut other = card([price("gpt-5", LONG_AGO, "1.25", "10")]);
    other.providers = vec![names("azure", "azure.ai.openai", &["openai"]), names("openai", "OpenAI", &[])];
    let mut rates = in_force(other.clone());
    let now = "2026-01-01T00:00:00Z";
    for provider in ["openai", "OpenAI", "azure", "azure.ai.openai"] {
        assert_eq!(input_rate(&rates, provider, "gpt-5", now).as_deref(), Some("1.25"), "{provider}");
    }
    assert_eq!(input_rate(&rates, "aws", "gpt-5", now), None);
    let taken = Card { providers: vec![names("aws", "openai", &[])], ..Card::default() };
    assert!(rates.put_in_force(&revision("r2"), taken).unwrap_err().to_string().contains("openai"));
    let mut refused = |names: ProviderNames| {
        let card = Card { providers: vec![names], ..Card::default() };
        assert!(rates.put_in_force(&revision("r2"), card).is_err());
    };
    refused(names("aws", "OpenAI", &[]));
    refused(names("OpenAI", "open-ai", &[]));
}

#[test]
fn a_pattern_means_one_model() {
    let pattern = |model: &str, pattern: &str| {
        let mut model = price(model, LONG_AGO, "1", "1");
        model.patterns = vec![pattern.parse().unwrap()];
        model
    };
    assert!(problem([pattern("gpt-5", "gpt*"), pattern("gpt-6", "gpt*")]).contains("gpt-5 already"));
    let mut rates = in_force(card([pattern("gpt-5", "gpt*")]));
    assert!(rates.put_in_force(&revision("r2"), card([pattern("gpt-6", "gpt*")])).is_err());
    let restated = card([pattern("gpt-6", "gpt*"), pattern("gpt-5", "gpt-5*")]);
    rates.put_in_force(&revision("r3"), restated).unwrap();
}

#[test]
fn an_org_is_not_told_of_models_that_are_another_orgs_alone() {
    let mut tuned = price("gpt-5-of-globex", LONG_AGO, "1", "1");
    tuned.prices[0].org = Some("globex".parse().unwrap());
    let rates = in_force(card([tuned, price("gpt-5", LONG_AGO, "1", "1")]));
    let (provider, name) = ("openai".parse().unwrap(), "gpt-5-of-globey".parse().unwrap());
    let told = |org: &str| {
        let org = org.parse().unwrap();
        let nearest = rates.nearest(&provider, &name, Audience::Org(&org));
        let known =
            rates.model(&provider, &"gpt-5-of-globex".parse().unwrap(), Audience::Org(&org)).is_some();
        (nearest.iter().any(|name| name.as_str() == "gpt-5-of-globex"), known)
    };
    assert_eq!(told("globex"), (true, true));
    assert_eq!(told("acme"), (false, false));
}

#[test]
fn a_name_that_a_model_gives_up_can_be_anothers_and_no_other_can() {
    let named = |model: &str, alias: Option<&str>| {
        let mut model = price(model, LONG_AGO, "1", "1");
        model.aliases = alias.into_iter().map(|alias| alias.parse().unwrap()).collect();
        model
    };
    let mut rates = in_force(card([named("gpt-5", Some("latest")), named("gpt-6", None)]));
    let refused = |rates: &mut Rates, models: Vec<ModelRates>| {
        rates.put_in_force(&revision("r2"), card(models)).is_err()
    };
    assert!(refused(&mut rates, vec![named("gpt-6", Some("latest"))]));
    assert!(refused(&mut rates, vec![named("gpt-6", Some("gpt-5"))]));
    assert!(refused(&mut rates, vec![named("latest", None)]));
    rates
        .put_in_force(&revision("r2"), card([named("gpt-6", Some("latest")), named("gpt-5", None)]))
        .unwrap();
    let (entry, _) =
        rates.model(&"openai".parse().unwrap(), &"latest".parse().unwrap(), Audience::Operator).unwrap();
    assert_eq!(entry.model.as_str(), "gpt-6");
}

#[test]
fn a_variant_is_chosen_by_service_tier_then_org_then_region() {
    let mut model = price("m", LONG_AGO, "1", "1");
    let plain = model.prices[0].clone();
    let mut add = |tier: Option<&str>, org: Option<&str>, region: Option<&str>, input: &str| {
        let mut price = dated(LONG_AGO, &[(Meter::Input, input)]);
        price.service_tier = tier.map(|text| text.parse().unwrap());
        price.org = org.map(|text| text.parse().unwrap());
        price.region = region.map(|text| text.parse().unwrap());
        model.prices.push(price);
    };
    add(Some("batch"), None, None, "2");
    add(None, Some("acme"), None, "3");
    add(None, None, Some("eu"), "4");
    add(Some("batch"), None, Some("eu"), "5");
    assert_eq!(plain.variant(), Variant { org: None, service_tier: None, region: None });
    let rates = in_force(card([model]));
    let chosen = |tier: Option<&str>, org: &str, region: Option<&str>| {
        let (tier, region) = (tier.map(|t| t.parse().unwrap()), region.map(|r| r.parse().unwrap()));
        let org = org.parse().unwrap();
        let variant = Variant { org: Some(&org), service_tier: tier.as_ref(), region: region.as_ref() };
        let names = ["m".parse().unwrap()];
        let found = rates
            .find(&"openai".parse().unwrap(), &names, variant, "2026-01-01T00:00:00Z".parse().unwrap())
            .unwrap();
        (found.tier.price.rate(Meter::Input, 0).unwrap().1.to_string(), found.is_of_service_tier)
    };
    assert_eq!(chosen(None, "other", None), ("1".to_owned(), true));
    assert_eq!(chosen(None, "other", Some("us")), ("1".to_owned(), true));
    assert_eq!(chosen(None, "other", Some("eu")), ("4".to_owned(), true));
    assert_eq!(chosen(None, "acme", Some("eu")), ("3".to_owned(), true));
    assert_eq!(chosen(Some("batch"), "acme", Some("us")), ("2".to_owned(), true));
    assert_eq!(chosen(Some("batch"), "acme", Some("eu")), ("5".to_owned(), true));
    assert_eq!(chosen(Some("flex"), "other", None), ("1".to_owned(), false));
}

#[test]
fn a_currency_needs_a_worth_from_when_its_prices_begin() {
    let mut glm = price("glm", "2026-01-01T00:00:00Z", "7.25", "7.25");
    glm.prices[0].currency = "CNY".parse().unwrap();
    let worth = |from: &str| Card {
        exchange_rates: vec![ExchangeRate {
            currency: "CNY".parse().unwrap(),
            usd: "0.1379".parse::<Factor>().unwrap(),
            effective_from: from.parse().unwrap(),
        }],
        ..card([glm.clone()])
    };
    let mut rates = Rates::default();
    let gap = rates.put_in_force(&revision("r1"), worth("2026-01-02T00:00:00Z")).unwrap_err().to_string();
    assert!(gap.contains("a gap: CNY has no exchange rate at 2026-01-01"), "{gap}");
    assert!(rates.revisions().is_empty() && rates.models().is_empty());
    assert!(rates.put_in_force(&revision("r1"), worth("2026-01-01T00:00:00Z")).is_ok());
}
