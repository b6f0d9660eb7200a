//! Why a posting is what it is: its record is folded once more, with a trace, and compared with what was booked.

mod contexts;

use fluxori_core::amount::{Credits, Factor, Rate, Rounding, Usd};
use fluxori_core::command::CommandKind;
use fluxori_core::fold::{ChargedUsage, Halt, Skipped};
use fluxori_core::id::{Label, Model, OrgId, Provider, RevisionId};
use fluxori_core::meter::Meter;
use fluxori_core::posting::{Entry, PricedUsage};
use fluxori_core::pricing::{self, Call, CallKind, Charge, ChargeStatus, PricingTrace};
use fluxori_core::rates::{Currency, Subject};
use fluxori_core::record::Body;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Quantity, UsageEvent};
use fluxori_ledger::{
    Ledger, LedgerError, MAX_POSTINGS_SINCE, PostingHistory, PostingName, TransactionRecord,
};
use fluxori_stream::{LogReader, StreamError};
use rust_decimal::Decimal;
use serde::Serialize;

pub use contexts::Contexts;
use contexts::RatesThen;

/// Why no explanation can be given.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Postgres is away, or what it holds cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Kafka is away.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The log is another one, or this build is too old for it.
    #[error(transparent)]
    Log(#[from] Halt),
    /// A fault of this build.
    #[error("making the rates of then failed: {0}")]
    Fault(#[from] tokio::task::JoinError),
}

/// A posting and why it is what it is.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Whose.
    pub org_id: OrgId,
    /// The first posting of the event, or the posting that was asked for.
    pub posting: PostingLine,
    /// How the usage was priced; none for postings that are not of usage.
    pub pricing: Option<Pricing>,
    /// How it was priced at last, where it was repriced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repriced: Option<Pricing>,
    /// Which allocations were considered; none for postings that are not of usage, or that are too long ago.
    pub burn_down: Option<BurnDown>,
    /// What was changed later.
    pub corrections: Vec<PostingLine>,
    /// Where the usage was read from.
    pub read_from: ReadFrom,
    /// Whether folding the record again gives what was booked; none where it was not folded again.
    pub agrees: Option<bool>,
    /// What differs, or could not be compared.
    pub remarks: Vec<String>,
}

/// Where the usage was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// Its record in the log.
    Log,
    /// The posting, because the log holds the record no more, or another record let the usage be booked.
    Posting,
}

/// A posting in short.
#[derive(Debug, Serialize)]
pub struct PostingLine {
    /// Gapless per org.
    pub number: i64,
    /// What it is.
    pub kind: String,
    /// Credits.
    pub amount: Credits,
    /// When it took effect.
    pub effective_at: Timestamp,
    /// The log's time when it was booked.
    pub recorded_at: Timestamp,
    /// The legs.
    pub entries: Vec<Entry>,
    /// The usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The command that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_id: Option<String>,
    /// Who gave the command, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
    /// How it was priced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge: Option<serde_json::Value>,
}

/// Who gave a command, and why.
#[derive(Debug, Serialize)]
pub struct Given {
    /// Which kind of command.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it refers to elsewhere.
    pub reference: Option<String>,
}

/// How usage was priced.
#[derive(Debug, Serialize)]
pub struct Pricing {
    /// `complete`, `partial`, `provisional`, `unpriced`, `waived` or `voided`.
    pub status: ChargeStatus,
    /// Who served it, as the usage says.
    pub provider: Provider,
    /// The model that was asked for.
    pub request_model: Model,
    /// The model that answered, where it is known.
    pub response_model: Option<Model>,
    /// The kind of call.
    pub call: CallKind,
    /// The tier and how it was found.
    pub tier: Option<TierTrace>,
    /// Where no model has a price: the names most like it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<Model>,
    /// Input tokens of the request.
    pub context_tokens: i128,
    /// The length that the context exceeded, where other rates hold above it.
    pub above_input_tokens: Option<i64>,
    /// Quantities, rates and exact costs.
    pub lines: Vec<LineTrace>,
    /// What the rates are in.
    pub currency: Currency,
    /// The exact sum of the lines, in the currency.
    pub exact_cost: String,
    /// What turned the cost into credits.
    pub terms: TermsTrace,
    /// The cost in US dollars, rounded half to even to twelve places.
    pub cost_usd: Usd,
    /// What was charged.
    pub credits: Credits,
}

/// A tier and how it was found.
#[derive(Debug, Serialize)]
pub struct TierTrace {
    /// Its name.
    pub name: String,
    /// The revision of the rates that brought it.
    pub revision: RevisionId,
    /// Where that revision is from.
    pub revision_source: Option<String>,
    /// Where this price is from.
    pub source: Option<Label>,
    /// From when on it holds.
    pub effective_from: Timestamp,
    /// The name that led to it.
    pub matched_name: Option<String>,
    /// How: `exact`, `alias`, `dated` or a pattern.
    pub matched_by: Option<String>,
}

/// One line of a charge.
#[derive(Debug, Serialize)]
pub struct LineTrace {
    /// What was counted.
    pub meter: Meter,
    /// How much.
    pub quantity: Quantity,
    /// The rate; none where there is none.
    pub rate: Option<Rate>,
    /// For how many the rate is: a million tokens, or one of any other unit.
    pub per: u32,
    /// Whose rate it is, where the meter has none of its own.
    pub rate_of: Option<Meter>,
    /// The exact cost, in the currency of the tier.
    pub cost: String,
}

/// What turned a cost into credits.
#[derive(Debug, Serialize)]
pub struct TermsTrace {
    /// US dollars for one of the currency; none for US dollars.
    pub exchange_rate: Option<Factor>,
    /// Credits for one US dollar.
    pub credits_per_usd: Factor,
    /// What the credits were multiplied by.
    pub markup: Factor,
    /// Least credits of a call that has a price.
    pub minimum: Credits,
    /// How credits were rounded.
    pub rounding: Rounding,
    /// The terms that fit, by their conditions, the most specific first.
    pub from: Vec<String>,
}

/// Which allocations paid.
#[derive(Debug, Serialize)]
pub struct BurnDown {
    /// All that were considered, in the order of burn-down.
    pub considered: Vec<ConsideredLine>,
    /// The legs.
    pub entries: Vec<Entry>,
}

/// An allocation that was considered.
#[derive(Debug, Serialize)]
pub struct ConsideredLine {
    /// Which.
    pub allocation_id: String,
    /// Whose; none for the org's.
    pub user_id: Option<String>,
    /// `quota`, `subscription`, `prepaid` or `payg`.
    pub kind: &'static str,
    /// Lower burns first.
    pub priority: i32,
    /// First instant at which it may no longer be spent.
    pub expires_at: Option<Timestamp>,
    /// What it held before.
    pub held: Credits,
    /// What was taken from it.
    pub taken: Credits,
    /// Why nothing was.
    pub skipped: Option<Skipped>,
}

/// Explains a posting of an org; none if the org has no such posting. Explanations that are given the same `contexts` have
/// the rates in common.
///
/// # Errors
/// Postgres or Kafka is away, or this build cannot read the log.
pub async fn explain(
    ledger: &Ledger,
    reader: &LogReader,
    contexts: &Contexts,
    org: &OrgId,
    name: PostingName,
) -> Result<Option<Explanation>, ExplainError> {
    let Some(mut history) = ledger.posting_history(org, name).await? else { return Ok(None) };
    let Some(first) = history.postings.first() else { return Ok(None) };
    let mut postings = Vec::new();
    for posting in &history.postings {
        postings.push(line(ledger, org, posting).await?);
    }
    let mut postings = postings.into_iter();
    let Some(posting) = postings.next() else { return Ok(None) };
    let mut explanation = Explanation {
        org_id: org.clone(),
        posting,
        pricing: None,
        repriced: None,
        burn_down: None,
        corrections: postings.collect(),
        read_from: ReadFrom::Posting,
        agrees: None,
        remarks: Vec::new(),
    };
    let Some(charge) = &history.charge else { return Ok(Some(explanation)) };
    let globals = std::mem::take(&mut history.globals);
    let before = |offset: i64| globals.iter().filter(|global| global.offset < offset).cloned().collect();
    let then = contexts.after(first.partition, before(first.offset)).await?;
    let booked = charge.resolve(&then.rates)?;
    let event = match recorded(reader, first).await? {
        Ok(event) => {
            explanation.read_from = ReadFrom::Log;
            Some(event)
        }
        Err(remark) => {
            explanation.remarks.push(remark);
            None
        }
    };
    again(&mut explanation, &history, &then, &booked, event);
    let reprice = CommandKind::Reprice.as_str();
    let repriced = |line: &PostingLine| line.given.as_ref().is_some_and(|given| given.kind == reprice);
    if let (Some(now), Some(last)) = (&history.now, history.postings.last())
        && explanation.corrections.last().is_some_and(repriced)
    {
        let then = contexts.after(last.partition, before(last.offset)).await?;
        again_repriced(&mut explanation, &then, &now.resolve(&then.rates)?);
    }
    Ok(Some(explanation))
}

/// Prices usage again as it was repriced at last, and notes what differs.
fn again_repriced(explanation: &mut Explanation, then: &RatesThen, charged: &ChargedUsage) {
    let org = explanation.org_id.clone();
    let subject = charged.subject(&org);
    match pricing::reprice(&charged.charge, subject, &then.rates) {
        Ok(charge) => {
            if !charge.is_same(&charged.charge) {
                let (again, booked) = (charge.credits, charged.charge.credits);
                explanation.agrees = Some(false);
                explanation
                    .remarks
                    .push(format!("repriced again it is {again} credits, booked were {booked}"));
            }
            explanation.repriced = Some(pricing_of(&subject, &charge, then));
        }
        Err(error) => {
            explanation.agrees = Some(false);
            explanation.remarks.push(format!("repricing it again failed: {error}"));
        }
    }
}

/// Prices and burns the usage again, and notes what differs.
fn again(
    explanation: &mut Explanation,
    history: &PostingHistory,
    then: &RatesThen,
    booked: &ChargedUsage,
    event: Option<UsageEvent>,
) {
    let rates = &then.rates;
    let org = explanation.org_id.clone();
    let subject = event.as_ref().map_or_else(|| booked.subject(&org), Subject::of);
    let priced = match &event {
        Some(event) => pricing::price(event, rates),
        None => pricing::reprice(&booked.charge, subject, rates),
    };
    let mut differences = Vec::new();
    let charge = priced.unwrap_or_else(|error| {
        differences.push(format!("pricing it again failed: {error}"));
        booked.charge.clone()
    });
    if charge != booked.charge {
        let text = |charge: &Charge| {
            let tier = charge.tier.as_ref().map_or("no tier", |tier| &tier.name);
            format!("{} credits ({}, {tier})", charge.credits, charge.status)
        };
        differences.push(format!(
            "priced again it is {}, booked were {}",
            text(&charge),
            text(&booked.charge)
        ));
    }
    explanation.pricing = Some(pricing_of(&subject, &charge, then));
    let usage = event.map(|event| PricedUsage {
        billing_digest: event.billing_digest(),
        event: event.into(),
        charge: booked.charge.clone(),
    });
    match (&history.before, usage) {
        (None, _) => explanation.remarks.push(format!(
            "more than {MAX_POSTINGS_SINCE} postings were booked since, or reading them took too long: which allocations were considered is left out"
        )),
        (Some(_), None) => {
            explanation.remarks.push("which allocations were considered is told from the record alone".to_owned());
        }
        (Some(before), Some(usage)) => match before.clone().trace_debit(usage, explanation.posting.recorded_at) {
            Ok(traced) => {
                if traced.entries != explanation.posting.entries {
                    differences.push(
                        "burned down again it takes other credits: allocations or the policy may have changed since"
                            .to_owned(),
                    );
                }
                explanation.burn_down = Some(BurnDown {
                    considered: traced.considered.into_iter().map(ConsideredLine::from).collect(),
                    entries: traced.entries,
                });
            }
            Err(error) => differences.push(format!("burning it down again failed: {error}")),
        },
    }
    explanation.agrees = Some(differences.is_empty());
    explanation.remarks.extend(differences);
}

/// The usage of a posting, as it lies in the log; or why it cannot be had.
async fn recorded(
    reader: &LogReader,
    posting: &TransactionRecord,
) -> Result<Result<UsageEvent, String>, ExplainError> {
    let batch = match reader.fetch_one(posting.partition, posting.offset).await {
        Ok(batch) => batch,
        Err(StreamError::OffsetMissing { .. }) => {
            return Ok(Err("the log holds the record no more: it was archived and trimmed".to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    let found = batch.iter().next().and_then(|raw| {
        let record = fluxori_wire::decode(raw.key, raw.value, Timestamp::from_millis(raw.append_time_ms));
        match record.body {
            Body::Usage(event) if Some(event.event_id) == posting.event_id => Some((*event).clone()),
            _ => None,
        }
    });
    Ok(found
        .ok_or_else(|| "it was booked by another record: its org was opened, or it was released".to_owned()))
}

async fn line(ledger: &Ledger, org: &OrgId, posting: &TransactionRecord) -> Result<PostingLine, LedgerError> {
    let outcome = match posting.command_id {
        Some(id) => ledger.command_outcome(org, id).await?,
        None => None,
    };
    let given = outcome.map(|outcome| Given {
        kind: outcome.kind,
        actor: outcome.actor,
        reason: outcome.reason,
        reference: outcome.reference,
    });
    Ok(PostingLine {
        number: posting.number,
        kind: posting.kind.clone(),
        amount: posting.amount,
        effective_at: posting.effective_at,
        recorded_at: posting.recorded_at,
        entries: posting.entries.clone(),
        event_id: posting.event_id.map(|id| id.to_string()),
        command_id: posting.command_id.map(|id| id.to_string()),
        given,
        charge: posting.charge.clone(),
    })
}

fn pricing_of(subject: &Subject<'_>, charge: &Charge, then: &RatesThen) -> Pricing {
    let trace = PricingTrace::of(&Call { subject: *subject, kind: &charge.call }, charge, &then.rates);
    let tier = charge.tier.as_ref().map(|tier| {
        let found = trace.found.as_ref().filter(|found| found.tier.name == tier.name);
        TierTrace {
            name: tier.name.to_string(),
            revision: tier.revision.clone(),
            revision_source: then.sources.get(&tier.revision).cloned(),
            source: tier.price.source.clone(),
            effective_from: tier.price.effective_from,
            matched_name: found.map(|found| found.name.to_string()),
            matched_by: found.map(|found| found.matched.to_string()),
        }
    });
    let exact: Vec<i128> = charge.lines.iter().map(|line| line.exact_cost().unwrap_or_default()).collect();
    let lines = charge.lines.iter().zip(&exact).map(|(line, exact)| LineTrace {
        meter: line.meter,
        quantity: line.quantity,
        rate: line.rate.map(|rate| rate.rate),
        per: if line.meter.is_tokens() { 1_000_000 } else { 1 },
        rate_of: line.rate.map(|rate| rate.of).filter(|of| *of != line.meter),
        cost: decimal(*exact),
    });
    let terms = &charge.terms;
    Pricing {
        status: charge.status,
        provider: subject.provider.clone(),
        request_model: subject.request_model.clone(),
        response_model: subject.response_model.cloned(),
        call: charge.call.clone(),
        tier,
        nearest: trace.nearest,
        context_tokens: trace.context,
        above_input_tokens: trace.above,
        lines: lines.collect(),
        currency: charge.tier.as_ref().map_or(Currency::USD, |tier| tier.price.currency),
        exact_cost: decimal(exact.iter().sum()),
        terms: TermsTrace {
            exchange_rate: terms.exchange.map(|(_, usd)| usd),
            credits_per_usd: terms.credits_per_usd,
            markup: terms.markup,
            minimum: terms.minimum,
            rounding: terms.rounding,
            from: trace.terms.iter().map(|terms| terms.conditions_text()).collect(),
        },
        cost_usd: charge.cost,
        credits: charge.credits,
    }
}

/// Units of 10^-18 as a decimal number.
fn decimal(exact: i128) -> String {
    Decimal::try_from_i128_with_scale(exact, 18).unwrap_or(Decimal::MAX).normalize().to_string()
}

impl From<fluxori_core::fold::Considered> for ConsideredLine {
    fn from(considered: fluxori_core::fold::Considered) -> Self {
        let allocation = considered.allocation;
        Self {
            allocation_id: allocation.id.to_string(),
            user_id: allocation.account.user().map(ToString::to_string),
            kind: allocation.kind.as_str(),
            priority: allocation.priority,
            expires_at: allocation.expires_at,
            held: allocation.remaining,
            taken: considered.taken,
            skipped: considered.skipped,
        }
    }
}
