//! Pure: the usage event, the fact that an AI operation happened.
//!
//! [`UsageFields`] mirrors `schemas/usage_event.v1.avsc` field by field; [`UsageEvent`] is the same, validated.

mod distinct;
mod identity;
mod quantities;
mod validate;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::id::{
    EventId, Feature, Label, Model, Module, OrgId, ProducerId, Provider, ReservationId, RunId, TeamId, UserId,
};
use crate::time::Timestamp;

pub use quantities::{Quantities, TokenCounts};
pub use validate::{
    ACCEPTANCE_WINDOW, MAX_CLOCK_SKEW, MAX_QUANTITY, MAX_RAW_USAGE_BYTES, MAX_TAGS, MAX_UNITS, Violation,
};

/// How quantities came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measurement {
    /// The provider reported them.
    #[default]
    Measured,
    /// The caller counted or estimated them.
    Estimated,
}

/// How certain the quantities are, when a stream was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Final.
    #[default]
    Exact,
    /// The call used at least this much.
    AtLeast,
    /// Nothing is known for certain.
    Unknown,
}

/// How the operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename = "Outcome", rename_all = "snake_case")]
pub enum CallOutcome {
    /// With a result.
    #[default]
    Success,
    /// With an error of the provider or on the way.
    Error,
    /// Cut off by the caller.
    Cancelled,
}

/// A quantity of a named unit other than tokens: an exact decimal, not negative, with at most 6 places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity(pub Decimal);

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);
    /// One.
    pub const ONE: Self = Self(Decimal::ONE);

    /// A count of tokens.
    #[must_use]
    pub fn of_tokens(count: i64) -> Self {
        Self(Decimal::from(count))
    }

    /// The number, if it is whole.
    #[must_use]
    pub fn whole(self) -> Option<i128> {
        let divisor = 10_i128.pow(self.0.scale());
        (self.0.mantissa() % divisor == 0).then(|| self.0.mantissa() / divisor)
    }

    /// The number of units of 10^-6: the form in digests.
    #[must_use]
    pub fn scaled(self) -> i128 {
        let mut value = self.0;
        value.rescale(6);
        value.mantissa()
    }
}

impl FromStr for Quantity {
    type Err = rust_decimal::Error;

    fn from_str(text: &str) -> Result<Self, rust_decimal::Error> {
        Decimal::from_str_exact(text).map(Self)
    }
}

impl Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

const fn one() -> i32 {
    1
}

fn chat() -> Label {
    #[expect(clippy::expect_used, reason = "a constant that a test reads")]
    Label::new("chat").expect("valid")
}

fn default_source() -> Label {
    #[expect(clippy::expect_used, reason = "a constant that a test reads")]
    Label::new("default").expect("valid")
}

fn unknown_producer() -> ProducerId {
    #[expect(clippy::expect_used, reason = "a constant that a test reads")]
    ProducerId::new("unknown").expect("valid")
}

/// The fields of a usage event, not yet validated. In JSON, what may be left out has a default; token counts follow
/// OpenTelemetry's GenAI conventions: `input_tokens` and `output_tokens` are totals, the others subsets of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "UsageEvent", deny_unknown_fields)]
pub struct UsageFields {
    /// Identity of the event; the same id is the same event.
    pub event_id: EventId,
    /// The emitting process; stamped by the emitter.
    #[serde(default = "unknown_producer")]
    pub producer_id: ProducerId,
    /// Number of the event at its producer, gapless from 1; stamped by the emitter; 0 is unnumbered.
    #[serde(default)]
    pub producer_seq: i64,
    /// Where the event was made: names the space of foreign ids.
    #[serde(default = "default_source")]
    pub source: Label,
    /// When the operation happened.
    pub occurred_at: Timestamp,
    /// Who pays.
    pub org_id: OrgId,
    /// The user inside the org.
    #[serde(default)]
    pub user_id: Option<UserId>,
    /// The team inside the org.
    #[serde(default)]
    pub team_id: Option<TeamId>,
    /// The calling module.
    pub module: Module,
    /// The module's feature.
    #[serde(default)]
    pub feature: Option<Feature>,
    /// The run of an agent or workflow.
    #[serde(default)]
    pub run_id: Option<RunId>,
    /// `gen_ai.operation.name`: chat, embeddings, ...
    #[serde(default = "chat")]
    pub operation: Label,
    /// `gen_ai.provider.name`.
    pub provider: Provider,
    /// The account at the provider.
    #[serde(default)]
    pub provider_account: Option<Label>,
    /// `gen_ai.request.model`.
    pub request_model: Model,
    /// `gen_ai.response.model`.
    #[serde(default)]
    pub response_model: Option<Model>,
    /// The provider's region.
    #[serde(default)]
    pub region: Option<Label>,
    /// The provider's service tier.
    #[serde(default)]
    pub service_tier: Option<Label>,
    /// Through the provider's batch interface.
    #[serde(default)]
    pub batch: bool,
    /// All input tokens.
    #[serde(default)]
    pub input_tokens: i64,
    /// Input tokens read from the provider's cache.
    #[serde(default)]
    pub cache_read_input_tokens: i64,
    /// Input tokens written to the provider's cache for 5 minutes.
    #[serde(default)]
    pub cache_write_5m_input_tokens: i64,
    /// Input tokens written to the provider's cache for 1 hour.
    #[serde(default)]
    pub cache_write_1h_input_tokens: i64,
    /// Input tokens that are audio.
    #[serde(default)]
    pub audio_input_tokens: i64,
    /// Input tokens that are images.
    #[serde(default)]
    pub image_input_tokens: i64,
    /// Input tokens that are audio and were read from the provider's cache: part of both counts.
    #[serde(default)]
    pub cache_read_audio_input_tokens: i64,
    /// Input tokens that are images and were read from the provider's cache: part of both counts.
    #[serde(default)]
    pub cache_read_image_input_tokens: i64,
    /// All output tokens.
    #[serde(default)]
    pub output_tokens: i64,
    /// Output tokens spent on reasoning.
    #[serde(default)]
    pub reasoning_output_tokens: i64,
    /// Output tokens that are audio.
    #[serde(default)]
    pub audio_output_tokens: i64,
    /// Output tokens that are images.
    #[serde(default)]
    pub image_output_tokens: i64,
    /// Other units by name: images, audio_seconds, video_seconds, characters, pages, searches, requests.
    #[serde(default, deserialize_with = "distinct::deserialize")]
    pub units: BTreeMap<String, Quantity>,
    /// How the quantities came to be known.
    #[serde(default)]
    pub measurement: Measurement,
    /// How certain they are.
    #[serde(default)]
    pub certainty: Certainty,
    /// 1, or 2 where it supersedes an uncertain revision 1.
    #[serde(default = "one")]
    pub revision: i32,
    /// Paid with the org's own key at the provider: costs no credits.
    #[serde(default)]
    pub own_key: bool,
    /// Answered from a local cache, without the provider: costs no credits.
    #[serde(default)]
    pub served_from_cache: bool,
    /// How long the operation took, in milliseconds.
    #[serde(default)]
    pub latency_ms: Option<i64>,
    /// Time to the first token, in milliseconds.
    #[serde(default)]
    pub time_to_first_token_ms: Option<i64>,
    /// Which attempt this was, from 1.
    #[serde(default = "one")]
    pub attempt: i32,
    /// How it ended.
    #[serde(default)]
    pub outcome: CallOutcome,
    /// The hold that this usage settles.
    #[serde(default)]
    pub reservation_id: Option<ReservationId>,
    /// Whether it is the last event of its hold.
    #[serde(default)]
    pub reservation_final: bool,
    /// The caller's request id.
    #[serde(default)]
    pub request_id: Option<Label>,
    /// `gen_ai.response.id`.
    #[serde(default)]
    pub response_id: Option<Label>,
    /// The trace, in W3C form.
    #[serde(default)]
    pub trace_id: Option<Label>,
    /// Free tags.
    #[serde(default, deserialize_with = "distinct::deserialize")]
    pub tags: BTreeMap<String, String>,
    /// The provider's usage block as received, up to 4 KB.
    #[serde(default)]
    pub raw_usage: Option<String>,
}

impl UsageFields {
    /// The least that makes an event; everything else at its default.
    #[must_use]
    pub fn new(
        event_id: EventId,
        occurred_at: Timestamp,
        org_id: OrgId,
        module: Module,
        provider: Provider,
        request_model: Model,
    ) -> Self {
        Self {
            event_id,
            producer_id: unknown_producer(),
            producer_seq: 0,
            source: default_source(),
            occurred_at,
            org_id,
            user_id: None,
            team_id: None,
            module,
            feature: None,
            run_id: None,
            operation: chat(),
            provider,
            provider_account: None,
            request_model,
            response_model: None,
            region: None,
            service_tier: None,
            batch: false,
            input_tokens: 0,
            cache_read_input_tokens: 0,
            cache_write_5m_input_tokens: 0,
            cache_write_1h_input_tokens: 0,
            audio_input_tokens: 0,
            image_input_tokens: 0,
            cache_read_audio_input_tokens: 0,
            cache_read_image_input_tokens: 0,
            output_tokens: 0,
            reasoning_output_tokens: 0,
            audio_output_tokens: 0,
            image_output_tokens: 0,
            units: BTreeMap::new(),
            measurement: Measurement::default(),
            certainty: Certainty::default(),
            revision: 1,
            own_key: false,
            served_from_cache: false,
            latency_ms: None,
            time_to_first_token_ms: None,
            attempt: 1,
            outcome: CallOutcome::default(),
            reservation_id: None,
            reservation_final: false,
            request_id: None,
            response_id: None,
            trace_id: None,
            tags: BTreeMap::new(),
            raw_usage: None,
        }
    }
}

/// A usage event whose counts are possible: no count is negative, no subset above its total, nothing beyond its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageEvent(UsageFields);

impl UsageEvent {
    /// Validates the fields.
    ///
    /// # Errors
    /// The first violation found, which names the field.
    pub fn new(fields: UsageFields) -> Result<Self, Violation> {
        validate::check(&fields)?;
        Ok(Self(fields))
    }

    /// Stamps the emitting process and its number of the event; neither has a bearing on the price.
    #[must_use]
    pub fn numbered(mut self, producer_id: ProducerId, producer_seq: i64) -> Self {
        self.0.producer_id = producer_id;
        self.0.producer_seq = producer_seq;
        self
    }

    /// Refuses an event whose time of occurrence cannot be admitted at `now`.
    ///
    /// # Errors
    /// Too far ahead of `now`, or older than the acceptance window.
    pub fn check_time(&self, now: Timestamp) -> Result<(), Violation> {
        validate::check_time(self.occurred_at, now)
    }

    /// The model that decides the price where it is known, else the one that was asked for.
    #[must_use]
    pub fn model(&self) -> &Model {
        self.response_model.as_ref().unwrap_or(&self.request_model)
    }

    /// The fields, to change them and validate again.
    #[must_use]
    pub fn into_fields(self) -> UsageFields {
        self.0
    }
}

impl Deref for UsageEvent {
    type Target = UsageFields;

    fn deref(&self) -> &UsageFields {
        &self.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use uuid::Uuid;

    use super::*;

    /// A valid event of gpt-5 with 1,000 input and 200 output tokens.
    pub(crate) fn event() -> UsageFields {
        let id = EventId(Uuid::parse_str("019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b").unwrap());
        let mut fields = UsageFields::new(
            id,
            "2026-11-22T12:00:00Z".parse().unwrap(),
            OrgId::new("acme").unwrap(),
            Module::new("rag-retrieval").unwrap(),
            Provider::new("openai").unwrap(),
            Model::new("gpt-5").unwrap(),
        );
        fields.input_tokens = 1000;
        fields.output_tokens = 200;
        fields
    }
}
