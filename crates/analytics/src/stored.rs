//! Usage read back from the usage log, because a correction of its charge takes its row back.

use std::sync::Arc;

use fluxori_core::amount::{Credits, Usd};
use fluxori_core::digest::Digest;
use fluxori_core::id::RevisionId;
use fluxori_core::posting::PricedUsage;
use fluxori_core::pricing::{CallKind, Charge, ChargeStatus, lines_without_rates};
use fluxori_core::rates::{AppliedTerms, Rates};
use fluxori_core::usage::{UsageEvent, UsageFields};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::AnalyticsError;

/// Usage and its charge as the last correction left them.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredUsage {
    /// The event, with the quantities that are right.
    pub event: UsageEvent,
    /// Its billing digest, as it came.
    pub billing_digest: Digest,
    /// Revision of the charge.
    pub charge_revision: i32,
    /// Whether the charge was voided, and so counts nothing.
    pub voided: bool,
    /// Whether all of it has a price.
    pub status: ChargeStatus,
    /// Name and revision of the tier that priced it.
    pub tier: Option<(String, RevisionId)>,
    /// What turned the cost into credits.
    pub terms: Arc<AppliedTerms>,
    /// The exact cost at the provider.
    pub cost: Usd,
    /// What is charged.
    pub credits: Credits,
}

/// The columns beside those of the event, as the statement below names them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChargeColumns {
    digest: Digest,
    charge_revision: i32,
    voided: bool,
    status: ChargeStatus,
    tier: String,
    rates_revision: String,
    terms: String,
    cost: Usd,
    credits: Credits,
}

/// One JSON object with the event, and one with its charge, in one.
const STORED_USAGE: &str = "
SELECT event_id, producer_id, producer_seq, source, occurred_at, org_id, nullIf(user_id, '') AS user_id,
    nullIf(team_id, '') AS team_id, module, nullIf(feature, '') AS feature, nullIf(run_id, '') AS run_id, operation,
    provider, nullIf(provider_account, '') AS provider_account, request_model,
    nullIf(response_model, '') AS response_model, nullIf(region, '') AS region,
    nullIf(service_tier, '') AS service_tier, batch, input_tokens, cache_read_input_tokens,
    cache_write_5m_input_tokens, cache_write_1h_input_tokens, audio_input_tokens, image_input_tokens,
    cache_read_audio_input_tokens, cache_read_image_input_tokens, output_tokens, reasoning_output_tokens, audio_output_tokens, image_output_tokens, units, measurement, certainty, revision,
    own_key, served_from_cache, latency_ms, time_to_first_token_ms, attempt, outcome, reservation_id,
    reservation_final, nullIf(request_id, '') AS request_id, nullIf(response_id, '') AS response_id,
    nullIf(trace_id, '') AS trace_id, tags, nullIf(raw_usage, '') AS raw_usage,
    (lower(hex(billing_digest)), charge_revision, row_sign = 0, charge_status, pricing_tier, rates_revision, terms,
        cost_usd, credits)::Tuple(digest String, charge_revision Int32, voided Bool, status String, tier String,
        rates_revision String, terms String, cost Decimal(38, 12), credits Decimal(38, 12)) AS charge
FROM";

/// How the statement's answer is written, so that [`UsageFields`] can be read from it.
const FORMAT: [(&str, &str); 4] = [
    ("date_time_output_format", "iso"),
    ("output_format_json_quote_64bit_integers", "0"),
    ("output_format_json_quote_decimals", "1"),
    ("output_format_json_named_tuples_as_objects", "1"),
];

impl crate::Analytics {
    /// The usage of the rows that `rows` selects from `credit_usage_log`.
    pub(crate) async fn stored_usage(&self, rows: &str) -> Result<Vec<StoredUsage>, AnalyticsError> {
        let bytes = {
            let mut query = self.client.query_raw(&format!("{STORED_USAGE} ({rows})"));
            for (name, value) in FORMAT.into_iter().chain([crate::admission::MAX_QUERY_SIZE]) {
                query = query.with_setting(name, value);
            }
            let read = async { query.fetch_bytes("JSONEachRow")?.collect().await };
            self.answer("read credit_usage_log", read).await?
        };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| StoredUsage::read(line).map_err(bad_row)).collect()
    }
}

fn bad_row(reason: String) -> AnalyticsError {
    AnalyticsError::BadRow { table: "credit_usage_log", reason }
}

impl StoredUsage {
    fn read(line: &[u8]) -> Result<Self, String> {
        let text = |error: serde_json::Error| error.to_string();
        let mut columns: Map<String, Value> = serde_json::from_slice(line).map_err(text)?;
        let charge = columns.remove("charge").unwrap_or_default();
        let charge: ChargeColumns = serde_json::from_value(charge).map_err(text)?;
        let fields: UsageFields = serde_json::from_value(Value::Object(columns)).map_err(text)?;
        let revision = |error: fluxori_core::id::IdError| error.to_string();
        Ok(Self {
            event: UsageEvent::new(fields).map_err(|violation| violation.to_string())?,
            billing_digest: charge.digest,
            charge_revision: charge.charge_revision,
            voided: charge.voided,
            status: charge.status,
            tier: match charge.tier.is_empty() {
                true => None,
                false => Some((charge.tier, RevisionId::new(&charge.rates_revision).map_err(revision)?)),
            },
            terms: match charge.terms.as_str() {
                "" => AppliedTerms::standard(),
                json => Arc::new(serde_json::from_str(json).map_err(text)?),
            },
            cost: charge.cost,
            credits: charge.credits,
        })
    }

    /// The usage with the tier that priced it, out of the rates of its partition. The lines of the charge have no rates.
    ///
    /// # Errors
    /// [`AnalyticsError::BadRow`] if the rates have no such tier.
    pub fn resolve(self, rates: &Rates) -> Result<PricedUsage, AnalyticsError> {
        let tier = match &self.tier {
            None => None,
            Some((name, revision)) => Some(rates.tier(name, revision).cloned().ok_or_else(|| {
                bad_row(format!("the log has no pricing tier {name} of revision {revision}"))
            })?),
        };
        let Self { event, billing_digest, status, terms, cost, credits, .. } = self;
        let used = !matches!(status, ChargeStatus::Waived | ChargeStatus::Voided);
        let lines = if used { lines_without_rates(&event.quantities()) } else { Vec::new() };
        let call = CallKind::of(&event);
        let charge = Charge { status, tier, call, lines, terms, cost, credits };
        Ok(PricedUsage { event: event.into(), billing_digest, charge })
    }
}
