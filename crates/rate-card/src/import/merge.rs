//! genai-prices first, then what LiteLLM adds.

use std::collections::BTreeMap;

use fluxori_core::amount::Rate;
use fluxori_core::id::{Label, Model, Provider, RevisionId};
use fluxori_core::meter::Meter;
use fluxori_core::rates::{
    Audience, Card, ModelFacts, ModelRates, Price, ProviderNames, RateTable, Rates as RatesInForce,
    check_card, without_date,
};
use fluxori_core::time::Timestamp;

use super::genai::{self, Genai};
use super::litellm::{self, Entry, Rates};
use super::names;
use super::providers::{PROVIDERS, aliases};
use super::report::{Conflict, Report};
use super::{ImportError, genai::GenaiModel};

/// Models by provider and name.
type Models = BTreeMap<(Provider, Model), ModelRates>;

/// A card of both sources.
pub(super) fn merge(genai: &Genai, entries: Vec<Entry>, report: &mut Report) -> Result<Card, ImportError> {
    let mut models = core(genai, report)?;
    settle_names(genai, &entries, &mut models, report)?;
    let mut merger = Merger { genai, models, candidates: BTreeMap::new(), report };
    let (plain, of_regions): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.region.is_none());
    for entry in plain {
        merger.take(entry)?;
    }
    merger.enrich()?;
    for entry in of_regions {
        merger.take_region(&entry)?;
    }
    let Merger { models, .. } = merger;
    let card = finish(genai, models);
    report.providers = card.providers.len();
    report.models = card.models.len();
    report.prices = card.models.iter().map(|model| model.prices.len()).sum();
    in_force(&card)?;
    Ok(card)
}

fn in_force(card: &Card) -> Result<RatesInForce, ImportError> {
    let wrong = |problem: &str| ImportError::wrong("the card", "import", problem);
    let mut rates = RatesInForce::default();
    let revision: RevisionId = "import".parse().map_err(|error| wrong(&format!("{error}")))?;
    rates.put_in_force(&revision, card.clone()).map_err(|error| wrong(&error.to_string()))?;
    Ok(rates)
}

fn provider(name: &str) -> Result<Provider, ImportError> {
    name.parse().map_err(|error| ImportError::wrong("the card", name, &format!("{error}")))
}

/// The models of genai-prices.
fn core(genai: &Genai, report: &mut Report) -> Result<Models, ImportError> {
    let mut models = Models::new();
    for source in &genai.providers {
        let provider = provider(&source.id)?;
        for (model, names) in source.models.iter().zip(names::of_provider(source, report)) {
            let entry = format!("{}/{}", source.id, model.id);
            let prices = if model.prices.is_empty() { free(model)? } else { model.prices.clone() };
            if prices.is_empty() {
                report.left_out("no price in genai-prices", &entry);
                continue;
            }
            report.added("models of genai-prices", &entry);
            let facts = ModelFacts { context_window: model.context_window, ..ModelFacts::default() };
            let rates = ModelRates {
                aliases: names.aliases,
                patterns: names.patterns,
                facts,
                ..ModelRates::new(provider.clone(), model.id.clone(), prices)
            };
            if models.insert((provider.clone(), model.id.clone()), rates).is_some() {
                return Err(ImportError::wrong(genai::NAME, &entry, "it is there twice"));
            }
        }
    }
    Ok(models)
}

/// What is named as free costs nothing; what merely has no price has none.
fn free(model: &GenaiModel) -> Result<Vec<Price>, ImportError> {
    if !model.id.as_str().ends_with(":free") {
        return Ok(Vec::new());
    }
    let rates = [(Meter::Input, Rate::ZERO), (Meter::Output, Rate::ZERO)].into_iter().collect();
    Ok(vec![Price { source: Some(label(genai::NAME)?), ..Price::new(Timestamp::EARLIEST, rates) }])
}

fn label(text: &str) -> Result<Label, ImportError> {
    Label::new(text).map_err(|error| ImportError::wrong("the card", text, &error.to_string()))
}

/// Gives every name that is known to the model that the source's own rule gives it to.
fn settle_names(
    genai: &Genai,
    entries: &[Entry],
    models: &mut Models,
    report: &mut Report,
) -> Result<(), ImportError> {
    let rates = in_force(&finish(genai, models.clone()))?;
    let mut known: Vec<(Provider, Model)> = Vec::new();
    for ((provider, id), model) in models.iter() {
        known.push((provider.clone(), id.clone()));
        known.extend(model.aliases.iter().map(|alias| (provider.clone(), alias.clone())));
        let literals = model.patterns.iter().filter_map(|pattern| pattern.literal().parse().ok());
        known.extend(literals.map(|literal| (provider.clone(), literal)));
    }
    for entry in entries {
        known.push((provider(entry.provider)?, entry.model.clone()));
    }
    known.sort();
    known.dedup();
    for (provider, name) in known {
        let Some((of, meant)) = genai.find(provider.as_str(), name.as_str()) else { continue };
        let found = rates
            .model(&provider, &name, Audience::Operator)
            .map(|(entry, _)| (&entry.provider, &entry.model));
        if found.is_some_and(|(found, model)| found.as_str() == of.id && *model == meant.id) {
            continue;
        }
        let named = format!("{provider}/{name}: {} in genai-prices", meant.id);
        if meant.prices.is_empty() || of.id != provider.as_str() {
            if let Some((_, found)) = found {
                report.left_out(
                    "a name whose model has no price in genai-prices",
                    &format!("{named}, {found} here"),
                );
            }
        } else if models.contains_key(&(provider.clone(), name.clone())) {
            report
                .left_out("a name that is a model's own, and another's by the order of genai-prices", &named);
        } else {
            for ((of, id), model) in models.iter_mut() {
                if *of == provider && *id != meant.id {
                    model.aliases.retain(|alias| *alias != name);
                }
            }
            if let Some(model) = models.get_mut(&(provider.clone(), meant.id.clone()))
                && !model.aliases.contains(&name)
            {
                model.aliases.push(name);
                model.aliases.sort();
                report.added("names that the order of genai-prices decides", &named);
            }
        }
    }
    Ok(())
}

struct Merger<'source> {
    genai: &'source Genai,
    models: Models,
    /// What LiteLLM has under a name of a model, and how near that name is to the model's own.
    candidates: BTreeMap<(Provider, Model), Vec<(u8, Entry)>>,
    report: &'source mut Report,
}

impl Merger<'_> {
    /// A model for all regions.
    fn take(&mut self, entry: Entry) -> Result<(), ImportError> {
        let own = provider(entry.provider)?;
        let key = (own.clone(), entry.model.clone());
        let meant = self
            .genai
            .find(entry.provider, entry.model.as_str())
            .filter(|(_, model)| !model.prices.is_empty());
        if let Some((of, model)) = meant {
            let target = (provider(&of.id)?, model.id.clone());
            let latest = self.models.get(&target).and_then(latest_plain).cloned();
            let agrees = self.agrees(&entry, &target, latest.as_ref());
            if of.id != entry.provider {
                if agrees {
                    self.take_from_fallback(entry, model)?;
                } else {
                    self.report
                        .left_out("a price unlike that of the provider that is fallen back to", &entry.name);
                }
                return Ok(());
            }
            let named = self.models.get(&target).is_some_and(|model| model.aliases.contains(&entry.model));
            let nearness = if entry.model == model.id {
                0
            } else if named {
                1
            } else {
                2
            };
            let is_dated = without_date(entry.model.as_str()).is_some_and(|stem| self.is_name(&target, stem));
            if agrees || nearness < 2 {
                self.candidates.entry(target).or_default().push((nearness, entry));
                return Ok(());
            }
            if is_dated {
                self.report.left_out("a price unlike that of the name without the date", &entry.name);
                return Ok(());
            }
            // A pattern was written before this model was known: its own name says more.
            self.report
                .added("models whose names a pattern of genai-prices takes at another price", &entry.name);
        }
        if let Some(known) = self.models.get(&key) {
            let latest = latest_plain(known).cloned();
            self.agrees(&entry, &key, latest.as_ref());
            self.report.left_out("a model that LiteLLM has under several names", &entry.name);
            return Ok(());
        }
        let stem = without_date(entry.model.as_str()).and_then(|stem| stem.parse::<Model>().ok());
        let stem = stem.and_then(|stem| self.models.get(&(own.clone(), stem))).and_then(latest_plain);
        if stem.is_some_and(|price| {
            entry.tiers.get(&None).is_some_and(|plain| *plain == Rates::of(&price.rates, &price.above))
        }) {
            self.report.left_out("a name with a date whose name without it has the same price", &entry.name);
            return Ok(());
        }
        let Some(plain) = entry.tiers.get(&None) else { return Ok(()) };
        let mut model = ModelRates::new(own, entry.model.clone(), vec![price_of(plain, litellm::NAME)?]);
        model.facts.clone_from(&entry.facts);
        add_variants(&mut model, &entry)?;
        self.add(model, &entry.name);
        Ok(())
    }

    /// Whether a model goes by a name, other than by a pattern.
    fn is_name(&self, key: &(Provider, Model), name: &str) -> bool {
        let model = self.models.get(key);
        model.is_some_and(|model| {
            std::iter::once(&model.model).chain(&model.aliases).any(|own| own.as_str() == name)
        })
    }

    fn add(&mut self, model: ModelRates, name: &str) {
        let card = Card { models: vec![model], ..Card::default() };
        if let Err(error) = check_card(&card) {
            self.report.left_out(&format!("refused: {}", error.problem), name);
            return;
        }
        for model in card.models {
            // A name that another model had as one of its own is this model's now.
            for ((of, _), other) in &mut self.models {
                if *of == model.provider {
                    other.aliases.retain(|alias| *alias != model.model);
                }
            }
            self.report.added("models of LiteLLM", name);
            self.models.insert((model.provider.clone(), model.model.clone()), model);
        }
    }

    /// A model that genai-prices has at another provider, whose price is the same here: with what is known of it here.
    fn take_from_fallback(&mut self, entry: Entry, source: &GenaiModel) -> Result<(), ImportError> {
        let own = provider(entry.provider)?;
        let key = (own.clone(), entry.model.clone());
        if self.models.contains_key(&key) {
            self.report.left_out("a model that LiteLLM has under several names", &entry.name);
            return Ok(());
        }
        self.report.added("models at a provider that falls back to another's prices", &entry.name);
        self.models.insert(key.clone(), ModelRates::new(own, entry.model.clone(), source.prices.clone()));
        self.candidates.entry(key).or_default().push((0, entry));
        Ok(())
    }

    /// Whether the prices of plain text are the same; what differs much is reported.
    fn agrees(
        &mut self,
        entry: &Entry,
        (provider, model): &(Provider, Model),
        holds: Option<&Price>,
    ) -> bool {
        let (Some(holds), Some(plain)) = (holds, entry.tiers.get(&None)) else { return false };
        let mut agrees = true;
        for meter in [Meter::Input, Meter::Output] {
            let (Some(ours), Some(theirs)) = (holds.rates.get(meter), plain.rates.get(meter)) else {
                continue;
            };
            agrees &= ours == theirs;
            if differs_much(ours, theirs) {
                self.report.conflicts.push(Conflict {
                    model: format!("{provider}/{model}"),
                    name: entry.name.clone(),
                    unit: meter.to_string(),
                    holds: ours.to_string(),
                    other: theirs.to_string(),
                });
            }
        }
        agrees
    }

    /// Adds to each model of genai-prices what LiteLLM knows of it, under the nearest of its names.
    fn enrich(&mut self) -> Result<(), ImportError> {
        for (key, mut candidates) in std::mem::take(&mut self.candidates) {
            candidates
                .sort_by(|(near, a), (other, b)| (near, a.rank, &a.model).cmp(&(other, b.rank, &b.model)));
            let Some((_, entry)) = candidates.into_iter().next() else { continue };
            let latest = self.models.get(&key).and_then(latest_plain).cloned();
            let agrees = latest.is_some_and(|latest| {
                let plain = entry.tiers.get(&None);
                let same =
                    |meter| plain.is_some_and(|plain| plain.rates.get(meter) == latest.rates.get(meter));
                same(Meter::Input) && (same(Meter::Output) || latest.rates.get(Meter::Output).is_none())
            });
            let Some(model) = self.models.get_mut(&key) else { continue };
            let facts = &mut model.facts;
            facts.context_window = facts.context_window.or(entry.facts.context_window);
            facts.max_output_tokens = entry.facts.max_output_tokens;
            facts.deprecated_at = entry.facts.deprecated_at;
            facts.capabilities.clone_from(&entry.facts.capabilities);
            self.report.added("facts of models", &entry.name);
            if add_units(model, &entry)? {
                self.report.added("units other than tokens", &entry.name);
            }
            if !agrees {
                if entry.tiers.len() > 1 || !entry.uplifts.is_empty() {
                    self.report
                        .left_out("service tiers and regions of a model whose price differs", &entry.name);
                }
            } else if add_variants(model, &entry)? {
                self.report.added("models with service tiers or regions", &entry.name);
            }
        }
        Ok(())
    }

    /// The prices of one region.
    fn take_region(&mut self, entry: &Entry) -> Result<(), ImportError> {
        let own = provider(entry.provider)?;
        let named = |name: &str| name.parse().ok().map(|name: Model| (own.clone(), name));
        let by_name = named(entry.model.as_str()).filter(|key| self.models.contains_key(key));
        let by_rule = || {
            let (of, model) = self.genai.find(entry.provider, entry.model.as_str())?;
            (of.id == entry.provider).then(|| (own.clone(), model.id.clone()))
        };
        let by_stem = || without_date(entry.model.as_str()).and_then(named);
        let key = by_name.or_else(by_rule).or_else(by_stem).filter(|key| self.models.contains_key(key));
        let mut model = match key.and_then(|key| self.models.get(&key)) {
            Some(model) => model.clone(),
            None => ModelRates {
                facts: entry.facts.clone(),
                ..ModelRates::new(own.clone(), entry.model.clone(), Vec::new())
            },
        };
        let plain = entry.tiers.get(&None).cloned().unwrap_or_default();
        let mut added = false;
        for (tier, rates) in &entry.tiers {
            let variant = |price: &Price| price.region == entry.region && price.service_tier == *tier;
            if model.prices.iter().any(variant) {
                continue;
            }
            let price = price_of(&rates.clone().filled(&plain), litellm::NAME)?;
            model.prices.push(Price { service_tier: tier.clone(), region: entry.region.clone(), ..price });
            added = true;
        }
        let card = Card { models: vec![model], ..Card::default() };
        match check_card(&card) {
            Err(error) => self.report.left_out(&format!("refused: {}", error.problem), &entry.name),
            Ok(()) if added => {
                self.report.added("prices of a region", &entry.name);
                let models = card.models.into_iter();
                self.models
                    .extend(models.map(|model| ((model.provider.clone(), model.model.clone()), model)));
            }
            Ok(()) => {
                self.report.left_out("a region's price that LiteLLM has under several names", &entry.name)
            }
        }
        Ok(())
    }
}

fn differs_much(a: Rate, b: Rate) -> bool {
    let (least, most) = (a.min(b).to_scaled(), a.max(b).to_scaled());
    most.saturating_mul(10) > least.saturating_mul(11)
}

/// The price of plain calls that was the last to begin; none where it depends on the hour.
fn latest_plain(model: &ModelRates) -> Option<&Price> {
    let plain =
        |price: &&Price| price.service_tier.is_none() && price.region.is_none() && price.org.is_none();
    if model.prices.iter().any(|price| price.hours.is_some()) {
        return None;
    }
    model.prices.iter().filter(plain).max_by_key(|price| price.effective_from)
}

fn price_of(rates: &Rates, source: &str) -> Result<Price, ImportError> {
    let price = Price::new(Timestamp::EARLIEST, rates.rates.clone());
    Ok(Price { above: rates.above(), source: Some(label(source)?), ..price })
}

/// Units other than tokens that the model has no price of. Not requests: every call is one, and has its price already.
fn add_units(model: &mut ModelRates, entry: &Entry) -> Result<bool, ImportError> {
    let Some(plain) = entry.tiers.get(&None) else { return Ok(false) };
    let units: RateTable =
        plain.rates.iter().filter(|(meter, _)| !meter.is_tokens() && *meter != Meter::Requests).collect();
    let latest = model.prices.iter().map(|price| price.effective_from).max();
    let both = label(&format!("{}+{}", genai::NAME, litellm::NAME))?;
    let mut added = false;
    for price in model.prices.iter_mut().filter(|price| Some(price.effective_from) == latest) {
        for (meter, rate) in units.iter() {
            if price.rates.get(meter).is_none() {
                price.rates.set(meter, rate);
                price.source = Some(both.clone());
                added = true;
            }
        }
    }
    Ok(added)
}

/// Service tiers, and regions where everything costs more.
fn add_variants(model: &mut ModelRates, entry: &Entry) -> Result<bool, ImportError> {
    let Some(latest) = latest_plain(model).cloned() else { return Ok(false) };
    let plain = Rates::of(&latest.rates, &latest.above);
    let mut variants = Vec::new();
    for (tier, rates) in &entry.tiers {
        if tier.is_some() {
            let price = price_of(&rates.clone().filled(&plain), litellm::NAME)?;
            variants.push(Price {
                service_tier: tier.clone(),
                effective_from: latest.effective_from,
                ..price
            });
        }
    }
    let everywhere: Vec<Price> = std::iter::once(latest).chain(variants.iter().cloned()).collect();
    for (region, factor) in &entry.uplifts {
        for price in &everywhere {
            let Some(rates) = Rates::of(&price.rates, &price.above).times(*factor) else { continue };
            variants.push(Price {
                region: Some(region.clone()),
                rates: rates.rates.clone(),
                above: rates.above(),
                source: Some(label(litellm::NAME)?),
                ..price.clone()
            });
        }
    }
    let added = !variants.is_empty();
    model.prices.extend(variants);
    Ok(added)
}

/// The card, with the other names of its providers.
fn finish(genai: &Genai, models: Models) -> Card {
    let models: Vec<ModelRates> = models
        .into_values()
        .map(|mut model| {
            model.prices.sort_by(|a, b| {
                (a.effective_from, a.variant(), a.hours).cmp(&(b.effective_from, b.variant(), b.hours))
            });
            model
        })
        .collect();
    let names = models.iter().map(|model| model.provider.clone());
    let known = PROVIDERS.iter().filter_map(|known| known.name.parse().ok());
    let with_models: std::collections::BTreeSet<Provider> = names.collect();
    let of_source = genai.providers.iter().filter_map(|provider| provider.id.parse().ok());
    let all: std::collections::BTreeSet<Provider> =
        known.filter(|provider| with_models.contains(provider)).chain(of_source).collect();
    let providers = all.into_iter().map(|provider| {
        let falls_back_to = genai.provider(provider.as_str()).map(|source| source.falls_back_to.as_slice());
        ProviderNames {
            aliases: aliases(provider.as_str()).into_iter().filter_map(|alias| alias.parse().ok()).collect(),
            falls_back_to: falls_back_to
                .unwrap_or_default()
                .iter()
                .filter_map(|other| other.parse().ok())
                .collect(),
            provider,
        }
    });
    Card { providers: providers.collect(), models, ..Card::default() }
}
