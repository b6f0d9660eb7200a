//! Prices in force and the age of cards, as people and programs are shown them.

use std::time::Duration;

use fluxori_core::rates::{LongContext, Matched, PricingTier, RateTable};
use fluxori_core::time::Timestamp;
use fluxori_runtime::clock;
use serde::Serialize;

/// A price as it is shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Tier {
    pub(super) name: String,
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) org_id: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) region: Option<String>,
    pub(super) hours: Option<String>,
    pub(super) effective_from: Timestamp,
    pub(super) currency: String,
    pub(super) source: Option<String>,
    pub(super) revision: String,
    /// For a million tokens, or for one of any other unit.
    pub(super) rates: RateTable,
    /// Other rates for requests with more input tokens.
    pub(super) above: Vec<LongContext>,
}

impl From<&PricingTier> for Tier {
    fn from(tier: &PricingTier) -> Self {
        let price = &tier.price;
        Self {
            name: tier.name.to_string(),
            provider: tier.provider.to_string(),
            model: tier.model.to_string(),
            org_id: price.org.as_ref().map(ToString::to_string),
            service_tier: price.service_tier.as_ref().map(ToString::to_string),
            region: price.region.as_ref().map(ToString::to_string),
            hours: price.hours.map(|hours| hours.to_string()),
            effective_from: price.effective_from,
            currency: price.currency.to_string(),
            source: price.source.as_ref().map(ToString::to_string),
            revision: tier.revision.to_string(),
            rates: price.rates.clone(),
            above: price.above.clone(),
        }
    }
}

impl Tier {
    /// For which calls it holds; empty for plain ones.
    pub(super) fn kind(&self) -> String {
        let texts = [&self.service_tier, &self.region, &self.org_id, &self.hours];
        texts.into_iter().flatten().cloned().collect::<Vec<_>>().join(", ")
    }

    /// From when on, for people.
    pub(super) fn since(&self) -> String {
        let date = self.effective_from.to_datetime().filter(|_| self.effective_from > Timestamp::EARLIEST);
        date.map_or_else(String::new, |date| date.format("%Y-%m-%d %H:%M").to_string())
    }

    /// The rates, for people.
    pub(super) fn rates_text(&self) -> String {
        let text = |rates: &RateTable| {
            rates.iter().map(|(meter, rate)| format!("{meter} {rate}")).collect::<Vec<_>>().join(", ")
        };
        let above =
            self.above.iter().map(|longer| format!("above {}: {}", longer.input_tokens, text(&longer.rates)));
        std::iter::once(text(&self.rates)).chain(above).collect::<Vec<_>>().join("; ")
    }
}

/// Of tiers by variant and date those that hold for usage at a time.
pub(super) fn at_time<'tiers>(
    tiers: impl Iterator<Item = &'tiers PricingTier>,
    at: Timestamp,
) -> Vec<&'tiers PricingTier> {
    let mut found: Vec<&PricingTier> = Vec::new();
    for tier in tiers.filter(|tier| tier.price.effective_from <= at) {
        let same = |other: &PricingTier| {
            (&other.provider, &other.model, other.price.variant())
                == (&tier.provider, &tier.model, tier.price.variant())
        };
        found.retain(|other| !same(other) || other.price.effective_from == tier.price.effective_from);
        found.push(tier);
    }
    found
}

/// How a name led to a model, for people.
pub(super) fn matched(matched: Matched<'_>) -> String {
    match matched {
        Matched::Exact => "its name".to_owned(),
        Matched::Alias => "another name of it".to_owned(),
        Matched::Dated => "a name of it with a date behind".to_owned(),
        Matched::Pattern(pattern) => format!("the pattern {pattern}"),
    }
}

/// How old a card is.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Age {
    pub(super) days: u64,
    /// Whether that is more than what was asked for.
    pub(super) stale: bool,
}

impl Age {
    pub(super) fn of(issued_at: Timestamp, most: Duration) -> Self {
        let now = Timestamp::from(clock::now());
        Self::at(issued_at, now, most)
    }

    fn at(issued_at: Timestamp, now: Timestamp, most: Duration) -> Self {
        let age = Duration::from_micros(u64::try_from(now.micros() - issued_at.micros()).unwrap_or(0));
        Self { days: age.as_secs() / 86_400, stale: age > most }
    }

    /// A sentence where it is stale.
    pub(super) fn text(self) -> String {
        if self.stale {
            format!(
                "\nThe card is {} days old, and providers change prices: renew it with `credits rates import`.",
                self.days
            )
        } else {
            String::new()
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use fluxori_core::rates::Rates;
    use fluxori_rate_card::RateCard;

    use super::*;

    pub(in crate::rates) const CARD: &str = r#"
revision = "r1"
issued_at = "2026-11-01T00:00:00Z"

[[model]]
provider = "openai"
model = "o3"
aliases = ["o3-latest"]
price = [
  { rates = { input = "10" } },
  { effective_from = "2025-06-10T00:00:00Z", rates = { input = "2" } },
  { effective_from = "2025-04-16T00:00:00Z", service_tier = "batch", rates = { input = "5" } },
]

[[model]]
provider = "deepseek"
model = "deepseek-chat"
price = [
  { rates = { input = "0.135" }, above = [{ input_tokens = 1000, rates = { input = "0.2" } }] },
  { hours = "00:30-16:30", rates = { input = "0.27" } },
]
"#;

    pub(in crate::rates) fn card(text: &str) -> RateCard {
        RateCard::parse("card.toml", text, &[]).unwrap()
    }

    pub(in crate::rates) fn put_in_force(card: &RateCard) -> Rates {
        let mut rates = Rates::default();
        rates.put_in_force(&card.revision, card.card.clone()).unwrap();
        rates
    }

    #[test]
    fn at_a_time_each_variant_has_one_price_or_the_prices_of_a_day() {
        let rates = put_in_force(&card(CARD));
        let at = |at: &str| -> Vec<String> {
            let at = at.parse().unwrap();
            at_time(rates.tiers().map(|tier| &**tier), at).iter().map(|tier| tier.name.to_string()).collect()
        };
        let later = at("2025-07-01T00:00:00Z");
        assert_eq!(later.len(), 4, "{later:?}");
        assert!(later.contains(&"openai/o3@2025-06-10T00:00:00Z".to_owned()));
        assert!(!later.contains(&"openai/o3".to_owned()));
        assert!(at("2025-01-01T00:00:00Z").contains(&"openai/o3".to_owned()));
    }

    #[test]
    fn a_card_is_stale_when_it_is_older_than_was_asked() {
        let at = |text: &str| text.parse().unwrap();
        let most = Duration::from_hours(45 * 24);
        let age = |now| Age::at(at("2026-11-01T00:00:00Z"), at(now), most);
        assert!(!age("2026-12-16T00:00:00Z").stale);
        let old = age("2026-12-17T00:00:00Z");
        assert!(old.stale && old.days == 46 && old.text().contains("46 days"));
        assert_eq!(age("2026-10-01T00:00:00Z").days, 0, "made with a clock that is ahead");
    }
}
