//! Rows as `RowBinary` has them, field by field in the order of the tables' columns.

use std::fmt;

use clickhouse::Row;
use fluxori_core::pricing::Charge;
use fluxori_core::usage::{CallOutcome, Certainty, Measurement, UsageEvent};
use rust_decimal::Decimal;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::range::{KeptRecord, UsageAt};

/// A row of `credit_usage_log`.
#[derive(Debug, Row, Serialize)]
pub(crate) struct UsageRow<'a> {
    #[serde(with = "clickhouse::serde::uuid")]
    event_id: Uuid,
    revision: u8,
    producer_id: &'a str,
    producer_seq: i64,
    source: &'a str,
    occurred_at: i64,
    org_id: &'a str,
    user_id: &'a str,
    team_id: &'a str,
    module: &'a str,
    feature: &'a str,
    run_id: &'a str,
    operation: &'a str,
    provider: &'a str,
    provider_account: &'a str,
    model: &'a str,
    request_model: &'a str,
    response_model: &'a str,
    region: &'a str,
    service_tier: &'a str,
    batch: bool,
    input_tokens: i64,
    cache_read_input_tokens: i64,
    cache_write_5m_input_tokens: i64,
    cache_write_1h_input_tokens: i64,
    audio_input_tokens: i64,
    image_input_tokens: i64,
    cache_read_audio_input_tokens: i64,
    cache_read_image_input_tokens: i64,
    output_tokens: i64,
    reasoning_output_tokens: i64,
    audio_output_tokens: i64,
    image_output_tokens: i64,
    /// Decimal(18, 6): units of 10^-6.
    units: Vec<(&'a str, i64)>,
    measurement: &'static str,
    certainty: &'static str,
    own_key: bool,
    served_from_cache: bool,
    latency_ms: Option<i64>,
    time_to_first_token_ms: Option<i64>,
    attempt: i32,
    outcome: &'static str,
    #[serde(with = "clickhouse::serde::uuid::option")]
    reservation_id: Option<Uuid>,
    reservation_final: bool,
    request_id: &'a str,
    response_id: &'a str,
    trace_id: &'a str,
    tags: Vec<(&'a str, &'a str)>,
    raw_usage: &'a str,
    charge_status: &'static str,
    pricing_tier: &'a str,
    rates_revision: &'a str,
    terms: String,
    /// Decimal(38, 12): units of 10^-12.
    cost_usd: i128,
    /// Decimal(38, 12): units of 10^-12.
    credits: i128,
    charge_revision: i32,
    made_by: &'static str,
    row_sign: i8,
    billing_digest: [u8; 32],
    appended_at: i64,
    log_partition: i32,
    log_offset: i64,
}

/// The terms of a charge, for the column `terms`.
fn terms(charge: &Charge) -> String {
    if charge.terms.is_standard() {
        String::new()
    } else {
        serde_json::to_string(&*charge.terms).unwrap_or_default()
    }
}

impl<'a> UsageRow<'a> {
    pub(crate) fn new(partition: i32, at: &'a UsageAt) -> Self {
        let event: &UsageEvent = &at.usage.event;
        let charge = &at.usage.charge;
        let tier = charge.tier.as_ref();
        Self {
            event_id: event.event_id.0,
            revision: u8::try_from(event.revision).unwrap_or(u8::MAX),
            producer_id: event.producer_id.as_str(),
            producer_seq: event.producer_seq,
            source: event.source.as_str(),
            occurred_at: event.occurred_at.micros(),
            org_id: event.org_id.as_str(),
            user_id: event.user_id.as_ref().map_or("", |id| id.as_str()),
            team_id: event.team_id.as_ref().map_or("", |id| id.as_str()),
            module: event.module.as_str(),
            feature: event.feature.as_ref().map_or("", |id| id.as_str()),
            run_id: event.run_id.as_ref().map_or("", |id| id.as_str()),
            operation: event.operation.as_str(),
            provider: event.provider.as_str(),
            provider_account: event.provider_account.as_ref().map_or("", |id| id.as_str()),
            model: event.model().as_str(),
            request_model: event.request_model.as_str(),
            response_model: event.response_model.as_ref().map_or("", |id| id.as_str()),
            region: event.region.as_ref().map_or("", |id| id.as_str()),
            service_tier: event.service_tier.as_ref().map_or("", |id| id.as_str()),
            batch: event.batch,
            input_tokens: event.input_tokens,
            cache_read_input_tokens: event.cache_read_input_tokens,
            cache_write_5m_input_tokens: event.cache_write_5m_input_tokens,
            cache_write_1h_input_tokens: event.cache_write_1h_input_tokens,
            audio_input_tokens: event.audio_input_tokens,
            image_input_tokens: event.image_input_tokens,
            cache_read_audio_input_tokens: event.cache_read_audio_input_tokens,
            cache_read_image_input_tokens: event.cache_read_image_input_tokens,
            output_tokens: event.output_tokens,
            reasoning_output_tokens: event.reasoning_output_tokens,
            audio_output_tokens: event.audio_output_tokens,
            image_output_tokens: event.image_output_tokens,
            units: event
                .units
                .iter()
                .map(|(name, quantity)| (name.as_str(), millionths(quantity.0)))
                .collect(),
            measurement: match event.measurement {
                Measurement::Measured => "measured",
                Measurement::Estimated => "estimated",
            },
            certainty: match event.certainty {
                Certainty::Exact => "exact",
                Certainty::AtLeast => "at_least",
                Certainty::Unknown => "unknown",
            },
            own_key: event.own_key,
            served_from_cache: event.served_from_cache,
            latency_ms: event.latency_ms,
            time_to_first_token_ms: event.time_to_first_token_ms,
            attempt: event.attempt,
            outcome: match event.outcome {
                CallOutcome::Success => "success",
                CallOutcome::Error => "error",
                CallOutcome::Cancelled => "cancelled",
            },
            reservation_id: event.reservation_id.map(|id| id.0),
            reservation_final: event.reservation_final,
            request_id: event.request_id.as_ref().map_or("", |id| id.as_str()),
            response_id: event.response_id.as_ref().map_or("", |id| id.as_str()),
            trace_id: event.trace_id.as_ref().map_or("", |id| id.as_str()),
            tags: event.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            raw_usage: event.raw_usage.as_deref().unwrap_or_default(),
            charge_status: charge.status.as_str(),
            pricing_tier: tier.map_or("", |tier| &*tier.name),
            rates_revision: tier.map_or("", |tier| tier.revision.as_str()),
            terms: terms(charge),
            cost_usd: charge.cost.to_scaled(),
            credits: charge.credits.to_scaled(),
            charge_revision: at.charge_revision,
            made_by: at.made_by.as_str(),
            row_sign: at.counts.sign(),
            billing_digest: at.usage.billing_digest.0,
            appended_at: at.append_time.micros(),
            log_partition: partition,
            log_offset: at.offset,
        }
    }
}

/// A quantity in units of 10^-6: a valid event has no more than 6 places and at most 10^9.
fn millionths(quantity: Decimal) -> i64 {
    let mut quantity = quantity;
    quantity.rescale(6);
    i64::try_from(quantity.mantissa()).unwrap_or(i64::MAX)
}

/// A row of `admission_records`.
#[derive(Debug, Row, Serialize, Deserialize)]
pub(crate) struct KeptRow {
    pub(crate) log_partition: i32,
    pub(crate) log_offset: i64,
    pub(crate) appended_at: i64,
    pub(crate) kind: i8,
    pub(crate) record_key: Bytes,
    pub(crate) record_value: Bytes,
    /// Nil for none.
    #[serde(with = "clickhouse::serde::uuid")]
    pub(crate) event_id: Uuid,
    /// Nil for none.
    #[serde(with = "clickhouse::serde::uuid")]
    pub(crate) command_id: Uuid,
    pub(crate) payload_digest: [u8; 32],
}

impl KeptRow {
    pub(crate) fn new(partition: i32, record: &KeptRecord) -> Self {
        Self {
            log_partition: partition,
            log_offset: record.offset,
            appended_at: record.append_time.micros(),
            kind: record.kind.code(),
            record_key: Bytes(record.key.clone()),
            record_value: Bytes(record.value.clone()),
            event_id: record.event.map_or(Uuid::nil(), |event| event.0),
            command_id: record.command.map_or(Uuid::nil(), |(command, _)| command.0),
            payload_digest: record.command.map_or([0; 32], |(_, digest)| digest.0),
        }
    }
}

/// Bytes in a `String` column, which need not be UTF-8.
#[derive(Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl Visitor<'_> for Take {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Take)
    }
}
