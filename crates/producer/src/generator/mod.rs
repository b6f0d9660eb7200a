//! Pure: realistic usage from a seed. The same seed, options and end give the same events, ids included.

mod catalogue;
mod draw;
mod population;
mod rhythm;

use std::time::Duration;

use fluxori_core::digest::Canonical;
use fluxori_core::id::{EventId, Feature, IdError, Label, Model, Module, Provider};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{CallOutcome, UsageEvent, UsageFields, Violation};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use uuid::Builder;

use catalogue::{Cache, MODELS, MODULES, ModelProfile, ModuleProfile};
use draw::{Weighted, chance, log_normal, part};
use population::Population;
use rhythm::Instants;

/// No call has more input, and none more visible output.
const MOST_INPUT: u32 = 180_000;
const MOST_OUTPUT: u32 = 16_000;
/// How often a provider answers with an error, and bills nothing.
const ERRORS: f64 = 0.012;
/// How often the caller cuts the answer off.
const CANCELLED: f64 = 0.006;

/// What is to be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    /// What the events come from: part of the seed, and their `source`.
    pub(crate) source: &'static str,
    /// The seed.
    pub(crate) seed: u64,
    /// How many orgs.
    pub(crate) orgs: u32,
    /// They are named PREFIX-000, PREFIX-001, ...
    pub(crate) org_prefix: String,
    /// When the last event occurs.
    pub(crate) until: Timestamp,
}

/// Tokens of a call that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// All input tokens.
    pub(crate) input: i64,
    /// All output tokens.
    pub(crate) output: i64,
}

struct NamedModel {
    profile: &'static ModelProfile,
    provider: Provider,
    model: Model,
}

struct NamedModule {
    profile: &'static ModuleProfile,
    module: Module,
    features: Vec<Feature>,
    models: Weighted,
}

/// Makes events.
pub(crate) struct Generator {
    rng: StdRng,
    source: Label,
    population: Population,
    modules: Vec<NamedModule>,
    draw_module: Weighted,
    models: Vec<NamedModel>,
}

impl Generator {
    /// # Errors
    /// The prefix makes no org id.
    pub(crate) fn new(profile: &Profile) -> Result<Self, IdError> {
        // The orgs are the same whatever is generated for them.
        let mut people = Canonical::new("fluxori.generator.population.v1");
        people.text(&profile.seed.to_string()).text(&profile.org_prefix).text(&profile.orgs.to_string());
        let population =
            Population::new(profile.orgs, &profile.org_prefix, &mut StdRng::from_seed(people.digest().0))?;
        // Two runs that differ in anything never draw the same ids.
        let mut calls = Canonical::new("fluxori.generator.calls.v1");
        calls.text(profile.source).number(profile.until.micros()).bytes(&people.digest().0);
        let modules = MODULES.iter().enumerate().map(|(index, module)| {
            Ok(NamedModule {
                profile: module,
                module: Module::new(module.module)?,
                features: module.features.iter().map(|name| Feature::new(name)).collect::<Result<_, _>>()?,
                models: Weighted::new(
                    MODELS.iter().map(|model| model.weights.get(index).copied().unwrap_or_default()),
                ),
            })
        });
        let models = MODELS.iter().map(|model| {
            Ok(NamedModel {
                profile: model,
                provider: Provider::new(model.provider)?,
                model: Model::new(model.model)?,
            })
        });
        Ok(Self {
            rng: StdRng::from_seed(calls.digest().0),
            source: Label::new(profile.source)?,
            population,
            modules: modules.collect::<Result<_, IdError>>()?,
            draw_module: Weighted::new(MODULES.iter().map(|module| module.weight)),
            models: models.collect::<Result<_, IdError>>()?,
        })
    }

    /// Events over a span of time, with the rhythm of days and weeks; the last occurs at its end.
    pub(crate) fn events(
        mut self,
        count: u64,
        span: Duration,
        until: Timestamp,
    ) -> impl Iterator<Item = Result<UsageEvent, Violation>> {
        let mut instants = Instants::new(count, span, until, |at| self.population.activity(at));
        let mut clock = StdRng::from_rng(&mut self.rng);
        std::iter::from_fn(move || {
            let at = instants.next(&mut clock)?;
            self.event(at, None)
        })
    }

    /// An event at an instant; with the tokens of a recorded call, or drawn ones.
    pub(crate) fn event(
        &mut self,
        at: Timestamp,
        tokens: Option<Tokens>,
    ) -> Option<Result<UsageEvent, Violation>> {
        let rng = &mut self.rng;
        let user = self.population.caller(at, rng)?;
        let module = self.modules.get(self.draw_module.draw(rng))?;
        let model = self.models.get(module.models.draw(rng))?;
        let mut fields = UsageFields::new(
            event_id(at, rng),
            at,
            user.org.clone(),
            module.module.clone(),
            model.provider.clone(),
            model.model.clone(),
        );
        fields.source = self.source.clone();
        fields.user_id = Some(user.user.clone());
        fields.team_id = Some(user.team.clone());
        fields.feature = module.features.get(rng.random_range(0..module.features.len().max(1))).cloned();
        match tokens {
            Some(tokens) => {
                fields.input_tokens = tokens.input;
                fields.output_tokens = tokens.output;
                if model.profile.reasons {
                    fields.reasoning_output_tokens = part(rng, tokens.output, 0.2, 0.7);
                }
            }
            None => draw_tokens(&mut fields, module.profile, model.profile, rng),
        }
        if fields.outcome != CallOutcome::Error && chance(rng, module.profile.cached) {
            draw_cache(&mut fields, model.profile.cache, rng);
        }
        draw_latency(&mut fields, model.profile, rng);
        Some(UsageEvent::new(fields))
    }
}

/// UUIDv7: the time of the event, and random bits of the seed.
fn event_id(at: Timestamp, rng: &mut StdRng) -> EventId {
    let mut random = [0; 10];
    rng.fill_bytes(&mut random);
    let millis = u64::try_from(at.micros().div_euclid(1000)).unwrap_or_default();
    EventId(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

fn draw_tokens(fields: &mut UsageFields, module: &ModuleProfile, model: &ModelProfile, rng: &mut StdRng) {
    let input = log_normal(rng, module.input.0, module.input.1, MOST_INPUT);
    let visible = log_normal(rng, module.output.0, module.output.1, MOST_OUTPUT);
    if chance(rng, ERRORS) {
        fields.outcome = CallOutcome::Error;
        return;
    }
    fields.input_tokens = input;
    fields.output_tokens = visible;
    if model.reasons {
        let reasoning = log_normal(rng, 1.5 * module.output.0, 0.9, 2 * MOST_OUTPUT);
        fields.reasoning_output_tokens = reasoning;
        fields.output_tokens += reasoning;
    }
    if chance(rng, CANCELLED) {
        fields.outcome = CallOutcome::Cancelled;
        fields.output_tokens = part(rng, fields.output_tokens, 0.0, 0.8);
        fields.reasoning_output_tokens = fields.reasoning_output_tokens.min(fields.output_tokens);
    }
}

/// Providers cache prompts from about a thousand tokens on.
fn draw_cache(fields: &mut UsageFields, cache: Cache, rng: &mut StdRng) {
    if fields.input_tokens < 1024 {
        return;
    }
    match cache {
        Cache::No => {}
        Cache::ReadsAndWrites if chance(rng, 0.25) => {
            fields.cache_write_5m_input_tokens = part(rng, fields.input_tokens, 0.4, 0.9);
        }
        Cache::Reads | Cache::ReadsAndWrites => {
            fields.cache_read_input_tokens = part(rng, fields.input_tokens, 0.4, 0.95);
        }
    }
}

fn draw_latency(fields: &mut UsageFields, model: &ModelProfile, rng: &mut StdRng) {
    let first = log_normal(rng, 450.0, 0.5, 60_000);
    fields.time_to_first_token_ms = (fields.output_tokens > 0).then_some(first);
    let output = f64::from(u32::try_from(fields.output_tokens).unwrap_or_default());
    let answering = log_normal(rng, model.ms_per_output_token * output.max(1.0), 0.2, 3_600_000);
    fields.latency_ms = Some(first + answering);
}

#[cfg(test)]
mod tests;
