//! Pure: postings, the ledger's immutable transactions.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::amount::Credits;
use crate::command::{Account, Command};
use crate::digest::{Canonical, Digest};
use crate::fold::{AdmittedCorrection, CorrectedBy, KnownEvent};
use crate::id::{AllocationId, CommandId, EventId, OrgId};
use crate::pricing::Charge;
use crate::rates::AppliedTerms;
use crate::time::Timestamp;
use crate::usage::UsageEvent;

/// The kinds of posting: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostingKind {
    /// An allocation was granted; it counts once it opens.
    Grant,
    /// An allocation became spendable.
    Open,
    /// Usage was charged.
    Debit,
    /// An allocation that opened paid off overdraft.
    Repay,
    /// What was left of a period went into the next.
    Rollover,
    /// An allocation ended and its rest expired.
    Close,
    /// An allocation was changed by hand.
    Adjust,
    /// Credits moved between accounts of the org.
    Transfer,
    /// A charge was corrected.
    Correct,
    /// The org was opened or its policy set.
    Setting,
}

impl PostingKind {
    /// The name in tables and digests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Open => "open",
            Self::Debit => "debit",
            Self::Repay => "repay",
            Self::Rollover => "rollover",
            Self::Close => "close",
            Self::Adjust => "adjust",
            Self::Transfer => "transfer",
            Self::Correct => "correct",
            Self::Setting => "setting",
        }
    }
}

/// Where an entry's credits lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// In an allocation.
    Allocation(AllocationId),
    /// In the org's overdraft: a negative amount is owed.
    Overdraft,
    /// In the expense that is recorded and not owed.
    Absorbed,
    /// In what credit limits lent until their end: a negative amount is to be paid.
    Due,
}

/// One leg of a posting. The org's balance is the sum of its entries over allocations and overdraft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose account.
    pub account: Account,
    /// Where in it.
    pub target: Target,
    /// Credits added, or taken if negative.
    pub amount: Credits,
}

/// What made a posting.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// A usage event and what it cost.
    Usage(Box<PricedUsage>),
    /// A command, and the digest of its payload as signed.
    Command(Arc<Command>, Digest),
    /// A correction, and what the charge took, in order, after it.
    Correction(Box<AdmittedCorrection>, Vec<Entry>),
    /// An allocation's opening or closing that came due.
    Boundary,
}

/// A usage event with its charge.
#[derive(Debug, Clone, PartialEq)]
pub struct PricedUsage {
    /// The event.
    pub event: Arc<UsageEvent>,
    /// What makes it the same event when it comes again.
    pub billing_digest: Digest,
    /// What it costs.
    pub charge: Charge,
}

/// One immutable transaction of an org.
#[derive(Debug, Clone, PartialEq)]
pub struct Posting {
    /// Whose.
    pub org: OrgId,
    /// Gapless per org, from 1, whatever the account.
    pub number: i64,
    /// What it is.
    pub kind: PostingKind,
    /// When it took effect: the usage's occurrence, the boundary's instant, the command's time of issue.
    pub effective_at: Timestamp,
    /// The log's time when it was booked.
    pub recorded_at: Timestamp,
    /// Credits: charged, granted, opened, repaid, expired or adjusted.
    pub amount: Credits,
    /// The legs.
    pub entries: Vec<Entry>,
    /// What made it.
    pub cause: Cause,
    /// Running digest over all postings of the org up to this one.
    pub digest: Digest,
}

impl Posting {
    /// The event that was charged, or whose charge was corrected.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        match &self.cause {
            Cause::Usage(usage) => Some(usage.event.event_id),
            Cause::Correction(correction, _) => Some(correction.event_id),
            Cause::Command(..) | Cause::Boundary => None,
        }
    }

    /// The event that was applied with it, first or in the place of an uncertain one, as it is known from then on.
    #[must_use]
    pub fn known_event(&self) -> Option<(EventId, KnownEvent)> {
        let (event, billing_digest) = match &self.cause {
            Cause::Usage(usage) => (&usage.event, usage.billing_digest),
            Cause::Correction(correction, _) => match &correction.by {
                CorrectedBy::Usage(event, billing_digest) => (event, *billing_digest),
                CorrectedBy::Command(..) => return None,
            },
            Cause::Command(..) | Cause::Boundary => return None,
        };
        Some((event.event_id, KnownEvent::of(event, billing_digest)))
    }

    /// The command that was carried out.
    #[must_use]
    pub fn command_id(&self) -> Option<CommandId> {
        match &self.cause {
            Cause::Command(command, _) => Some(command.command_id),
            Cause::Correction(correction, _) => match &correction.by {
                CorrectedBy::Command(command, _) => Some(command.command_id),
                CorrectedBy::Usage(..) => None,
            },
            Cause::Usage(_) | Cause::Boundary => None,
        }
    }

    /// The digest of this posting after `previous`: over everything but the log's place and time of booking, so that
    /// a move to another partition or topic changes nothing.
    #[must_use]
    pub fn chained_digest(&self, previous: Digest) -> Digest {
        let mut canonical = Canonical::new("fluxori.posting.v1");
        canonical
            .bytes(&previous.0)
            .text(self.org.as_str())
            .number(self.number)
            .text(self.kind.as_str())
            .number(self.effective_at.micros())
            .amount(self.amount.to_scaled())
            .count(self.entries.len());
        for entry in &self.entries {
            canonical.optional_text(entry.account.user().map(|user| user.as_str()));
            match entry.target {
                Target::Allocation(id) => canonical.text("allocation").bytes(id.0.as_bytes()),
                Target::Overdraft => canonical.text("overdraft"),
                Target::Absorbed => canonical.text("absorbed"),
                Target::Due => canonical.text("due"),
            };
            canonical.amount(entry.amount.to_scaled());
        }
        match &self.cause {
            Cause::Boundary => {
                canonical.text("boundary");
            }
            Cause::Command(command, payload_digest) => {
                canonical.text("command").bytes(command.command_id.0.as_bytes()).bytes(&payload_digest.0);
            }
            Cause::Usage(usage) => {
                canonical
                    .text("usage")
                    .bytes(usage.event.event_id.0.as_bytes())
                    .bytes(&usage.billing_digest.0);
                encode_charge(&mut canonical, &usage.charge);
            }
            Cause::Correction(correction, _) => {
                canonical.text("correction").bytes(correction.event_id.0.as_bytes());
                match &correction.by {
                    CorrectedBy::Command(command, payload_digest) => canonical
                        .text("command")
                        .bytes(command.command_id.0.as_bytes())
                        .bytes(&payload_digest.0),
                    CorrectedBy::Usage(_, billing_digest) => canonical.text("usage").bytes(&billing_digest.0),
                };
                canonical.number(i64::from(correction.after.revision));
                encode_charge(&mut canonical, &correction.after.charge);
            }
        }
        canonical.digest()
    }
}

fn encode_charge(canonical: &mut Canonical, charge: &Charge) {
    canonical.text(charge.status.as_str()).flag(charge.tier.is_some());
    if let Some(tier) = &charge.tier {
        canonical.text(&tier.name).text(tier.revision.as_str());
    }
    canonical
        .optional_text(charge.call.service_tier.as_ref().map(|tier| tier.as_str()))
        .optional_text(charge.call.region.as_ref().map(|region| region.as_str()))
        .flag(charge.terms.is_standard());
    if !charge.terms.is_standard() {
        // Provisional rates stand in the lines.
        let AppliedTerms { credits_per_usd, markup, minimum, rounding, exchange, provisional: _ } =
            &*charge.terms;
        canonical
            .text(&credits_per_usd.to_string())
            .text(&markup.to_string())
            .amount(minimum.to_scaled())
            .text(rounding.rule.as_str())
            .number(i64::from(rounding.places))
            .flag(exchange.is_some());
        if let Some((currency, usd)) = exchange {
            canonical.text(currency.as_str()).text(&usd.to_string());
        }
    }
    canonical.amount(charge.cost.to_scaled()).count(charge.lines.len());
    for line in &charge.lines {
        canonical.text(line.meter.as_str()).amount(line.quantity.scaled()).flag(line.rate.is_some());
        if let Some(rate) = line.rate {
            canonical.text(rate.of.as_str()).amount(rate.rate.to_scaled());
        }
    }
}
