use std::sync::Arc;

use chrono::{DateTime, Utc};
use fluxori_core::amount::{Rate, Usd};
use fluxori_core::digest::Digest;
use fluxori_core::fold::CorrectedBy;
use fluxori_core::id::{CommandId, EventId, Feature, Label, Model, Module, Provider, ReservationId, UserId};
use fluxori_core::meter::Meter;
use fluxori_core::posting::{Cause, Entry};
use fluxori_core::pricing::{CallKind, Charge, ChargeLine, ChargeStatus, LineRate};
use fluxori_core::rates::AppliedTerms;
use fluxori_core::usage::{Certainty, Quantity};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{credits, digest, to_column, unreadable};
use crate::commit::PostingRow;
use crate::content::RowText;
use crate::error::LedgerError;
use crate::read::TransactionRecord;

/// The columns of a posting.
pub(crate) struct TransactionRow {
    pub(crate) org_id: String,
    pub(crate) number: i64,
    pub(crate) kind: String,
    pub(crate) effective_at: DateTime<Utc>,
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) amount: Decimal,
    pub(crate) entries: String,
    pub(crate) event_id: Option<Uuid>,
    pub(crate) billing_digest: Option<Vec<u8>>,
    pub(crate) command_id: Option<Uuid>,
    pub(crate) user_id: Option<String>,
    pub(crate) module: Option<String>,
    pub(crate) feature: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) request_model: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) certainty: Option<String>,
    pub(crate) revision: Option<i32>,
    pub(crate) reservation_id: Option<Uuid>,
    pub(crate) charge: Option<String>,
    pub(crate) split: Option<String>,
    pub(crate) subject_digest: Option<Vec<u8>>,
    pub(crate) digest: Vec<u8>,
    pub(crate) log_partition: i32,
    pub(crate) log_offset: i64,
}

/// The columns that only postings of usage have.
#[derive(Default)]
pub(crate) struct UsageColumns<'posting> {
    pub(crate) billing_digest: Option<Digest>,
    pub(crate) user_id: Option<&'posting UserId>,
    pub(crate) module: Option<&'posting Module>,
    pub(crate) feature: Option<&'posting Feature>,
    pub(crate) provider: Option<&'posting Provider>,
    pub(crate) request_model: Option<&'posting Model>,
    pub(crate) model: Option<&'posting Model>,
    pub(crate) certainty: Option<Certainty>,
    pub(crate) revision: Option<i32>,
    pub(crate) reservation_id: Option<ReservationId>,
    pub(crate) charge: Option<&'posting Charge>,
    pub(crate) split: Option<&'posting [Entry]>,
    pub(crate) subject_digest: Option<Digest>,
}

impl<'posting> UsageColumns<'posting> {
    pub(crate) fn of(cause: &'posting Cause) -> Self {
        match cause {
            Cause::Command(..) | Cause::Boundary => Self::default(),
            Cause::Usage(usage) => {
                let event = &usage.event;
                Self {
                    billing_digest: Some(usage.billing_digest),
                    user_id: event.user_id.as_ref(),
                    module: Some(&event.module),
                    feature: event.feature.as_ref(),
                    provider: Some(&event.provider),
                    request_model: Some(&event.request_model),
                    model: Some(event.model()),
                    certainty: Some(event.certainty),
                    revision: Some(event.revision),
                    reservation_id: event.reservation_id,
                    charge: Some(&usage.charge),
                    split: None,
                    subject_digest: (event.certainty != Certainty::Exact).then(|| event.subject_digest()),
                }
            }
            Cause::Correction(correction, split) => {
                let after = &correction.after;
                let (billing_digest, certainty, reservation_id) = match &correction.by {
                    CorrectedBy::Command(..) => (None, None, None),
                    CorrectedBy::Usage(event, digest) => {
                        (Some(*digest), Some(event.certainty), event.reservation_id)
                    }
                };
                Self {
                    billing_digest,
                    user_id: after.user_id.as_ref(),
                    module: Some(&after.module),
                    feature: after.feature.as_ref(),
                    provider: Some(&after.provider),
                    request_model: Some(&after.request_model),
                    model: Some(&after.model),
                    certainty,
                    revision: Some(after.revision),
                    reservation_id,
                    charge: Some(&after.charge),
                    split: Some(split),
                    subject_digest: None,
                }
            }
        }
    }
}

impl TransactionRow {
    /// The row of a posting.
    pub(crate) fn of(row: &PostingRow, partition: i32) -> Result<Self, LedgerError> {
        let posting = &row.posting;
        let usage = UsageColumns::of(&posting.cause);
        Ok(Self {
            org_id: posting.org.to_string(),
            number: posting.number,
            kind: posting.kind.as_str().to_owned(),
            effective_at: to_column(posting.effective_at),
            recorded_at: to_column(posting.recorded_at),
            amount: posting.amount.decimal(),
            entries: entries(&posting.entries)?,
            event_id: posting.event_id().map(|id| id.0),
            billing_digest: usage.billing_digest.map(|digest| digest.0.to_vec()),
            command_id: posting.command_id().map(|id| id.0),
            user_id: usage.user_id.map(ToString::to_string),
            module: usage.module.map(ToString::to_string),
            feature: usage.feature.map(ToString::to_string),
            provider: usage.provider.map(ToString::to_string),
            request_model: usage.request_model.map(ToString::to_string),
            model: usage.model.map(ToString::to_string),
            certainty: usage.certainty.map(|found| certainty(found).to_owned()),
            revision: usage.revision,
            reservation_id: usage.reservation_id.map(|id| id.0),
            charge: usage.charge.map(charge).transpose()?,
            split: usage.split.map(entries).transpose()?,
            subject_digest: usage.subject_digest.map(|digest| digest.0.to_vec()),
            digest: posting.digest.0.to_vec(),
            log_partition: partition,
            log_offset: row.offset,
        })
    }

    pub(crate) fn read(self) -> Result<TransactionRecord, LedgerError> {
        let entries = serde_json::from_str(&self.entries);
        Ok(TransactionRecord {
            number: self.number,
            kind: self.kind,
            effective_at: self.effective_at.into(),
            recorded_at: self.recorded_at.into(),
            amount: credits(self.amount)?,
            entries: entries.map_err(|error| unreadable("a posting's entries", error))?,
            event_id: self.event_id.map(EventId),
            command_id: self.command_id.map(CommandId),
            user_id: self.user_id,
            module: self.module,
            feature: self.feature,
            provider: self.provider,
            request_model: self.request_model,
            model: self.model,
            certainty: self.certainty,
            revision: self.revision,
            reservation_id: self.reservation_id.map(ReservationId),
            charge: self.charge.as_deref().map(read_charge).transpose()?,
            digest: digest(&self.digest)?,
            partition: self.log_partition,
            offset: self.log_offset,
        })
    }

    /// The row in words, to be compared.
    pub(crate) fn text(&self) -> RowText {
        let mut text = RowText::default();
        text.put("org_id", &self.org_id)
            .put("number", self.number)
            .put("kind", &self.kind)
            .put_time("effective_at", Some(self.effective_at))
            .put_time("recorded_at", Some(self.recorded_at))
            .put("amount", self.amount.normalize())
            .put("entries", &self.entries)
            .put_some("event_id", self.event_id)
            .put_bytes("billing_digest", self.billing_digest.as_deref())
            .put_some("command_id", self.command_id)
            .put_some("user_id", self.user_id.as_deref())
            .put_some("module", self.module.as_deref())
            .put_some("feature", self.feature.as_deref())
            .put_some("provider", self.provider.as_deref())
            .put_some("request_model", self.request_model.as_deref())
            .put_some("model", self.model.as_deref())
            .put_some("certainty", self.certainty.as_deref())
            .put_some("revision", self.revision)
            .put_some("reservation_id", self.reservation_id)
            .put_some("charge", self.charge.as_deref())
            .put_some("split", self.split.as_deref())
            .put_bytes("subject_digest", self.subject_digest.as_deref())
            .put_bytes("digest", Some(&self.digest))
            .put("log_partition", self.log_partition)
            .put("log_offset", self.log_offset);
        text
    }
}

pub(crate) const fn certainty(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Exact => "exact",
        Certainty::AtLeast => "at_least",
        Certainty::Unknown => "unknown",
    }
}

/// The legs, for the column `entries`: JSON as text, because Postgres would spend more on parsing it than on all the
/// other columns, and only readers of single postings look into it.
fn entries(entries: &[Entry]) -> Result<String, LedgerError> {
    serde_json::to_string(entries).map_err(|error| unreadable("entries", error))
}

/// How a debit was priced, as it lies in the column `charge`: status, tier, revision, cost in US dollars, the lines,
/// service tier and region of the call, and the terms where they are not the standard ones. An array without names,
/// because there is one in every row.
type ChargeColumn<Text, Lines, Terms> =
    (ChargeStatus, Option<Text>, Option<Text>, Usd, Lines, Option<Label>, Option<Label>, Option<Terms>);
/// A line: meter, quantity, rate, and whose rate it is where that is another meter.
type Line = (Meter, Quantity, Option<Rate>, Option<Meter>);

/// How a debit was priced, for the column `charge`.
fn charge(charge: &Charge) -> Result<String, LedgerError> {
    serde_json::to_string(&charge_column(charge)).map_err(|error| unreadable("a charge", error))
}

pub(crate) fn charge_column(charge: &Charge) -> impl Serialize {
    let line = |line: &ChargeLine| {
        let of = line.rate.map(|rate| rate.of).filter(|of| *of != line.meter);
        (line.meter, line.quantity, line.rate.map(|rate| rate.rate), of)
    };
    let lines: Vec<Line> = charge.lines.iter().map(line).collect();
    let column: ChargeColumn<&str, Vec<Line>, &AppliedTerms> = (
        charge.status,
        charge.tier.as_ref().map(|tier| &*tier.name),
        charge.tier.as_ref().map(|tier| tier.revision.as_str()),
        charge.cost,
        lines,
        charge.call.service_tier.clone(),
        charge.call.region.clone(),
        (!charge.terms.is_standard()).then_some(&*charge.terms),
    );
    column
}

/// How a debit was priced, out of the column `charge`.
#[derive(Debug, Clone)]
pub(crate) struct StoredPricing {
    pub(crate) status: ChargeStatus,
    pub(crate) tier: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) cost: Usd,
    pub(crate) lines: Vec<ChargeLine>,
    pub(crate) call: CallKind,
    pub(crate) terms: Arc<AppliedTerms>,
}

impl StoredPricing {
    pub(crate) fn read(column: &str) -> Result<Self, LedgerError> {
        let (status, tier, revision, cost, lines, service_tier, region, terms): ChargeColumn<
            String,
            Vec<Line>,
            AppliedTerms,
        > = serde_json::from_str(column).map_err(|error| unreadable("a posting's charge", error))?;
        let line = |(meter, quantity, rate, of): Line| {
            let rate = rate.map(|rate| LineRate { rate, of: of.unwrap_or(meter) });
            ChargeLine { meter, quantity, rate }
        };
        Ok(Self {
            status,
            tier,
            revision,
            cost,
            lines: lines.into_iter().map(line).collect(),
            call: CallKind { service_tier, region },
            terms: terms.map_or_else(AppliedTerms::standard, Arc::new),
        })
    }
}

/// With names, for readers.
fn read_charge(column: &str) -> Result<Value, LedgerError> {
    let StoredPricing { status, tier, revision, cost, lines, call, terms } = StoredPricing::read(column)?;
    let lines = lines.iter().map(|line| {
        let rate = line.rate.map(|rate| rate.rate);
        json!({ "meter": line.meter, "quantity": line.quantity, "rate": rate, "rate_of": line.rate.map(|rate| rate.of) })
    });
    Ok(json!({
        "status": status,
        "tier": tier,
        "revision": revision,
        "cost_usd": cost,
        "lines": lines.collect::<Vec<_>>(),
        "service_tier": call.service_tier,
        "region": call.region,
        "terms": *terms,
    }))
}
