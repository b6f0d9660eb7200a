//! What records change in the ledger's rows: the same for a batch that is committed and for a fold that is compared with
//! what was.

use std::sync::Arc;

use fluxori_core::command::CommandBody;
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Allocation, Applied, Context, OrgState, Outcome, PlanState, Quarantined};
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::posting::{Cause, Posting};
use fluxori_core::rates::PricingTier;
use fluxori_core::record::{Body, Record, RecordKey};
use fluxori_core::time::Timestamp;

/// What records change, the states of orgs and the cursor apart.
#[derive(Debug, Default)]
pub struct Changes {
    /// New postings.
    pub postings: Vec<PostingRow>,
    /// Plans that changed.
    pub plans: Vec<(OrgId, Option<PlanState>)>,
    /// Allocations as they are afterwards.
    pub allocations: Vec<(OrgId, Allocation)>,
    /// Outcomes of commands.
    pub commands: Vec<CommandRow>,
    /// Records that were not applied.
    pub quarantine: Vec<QuarantineRow>,
    /// Events that were released from the quarantine, and their billing digests.
    pub released: Vec<(OrgId, EventId, Digest)>,
    /// Offsets of records in the quarantine that were dismissed.
    pub dismissed: Vec<(OrgId, i64)>,
    /// Corrections that wait for their event: whose, which event, at which offset, and the record's value.
    pub waiting_corrections: Vec<(OrgId, EventId, i64, Vec<u8>)>,
    /// Events that came and took the correction that waited for them.
    pub corrected: Vec<(OrgId, EventId)>,
    /// Global records, ticks left out.
    pub globals: Vec<GlobalRecord>,
    /// The pricing tiers that each sealed revision brought.
    pub tiers: Vec<Arc<PricingTier>>,
}

/// A record as it lies in the log.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'log> {
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'log [u8]>,
    /// Its value.
    pub value: Option<&'log [u8]>,
}

impl Changes {
    /// Takes in what became of a record; `context` is that after it.
    pub fn add(&mut self, raw: RawRecord<'_>, record: &Record, applied: Applied, context: &Context) {
        let Applied { outcome, postings } = applied;
        let RawRecord { offset, key, value } = raw;
        self.commands.extend(CommandRow::of(record, &outcome, offset, context.now()));
        self.corrected.extend(corrected(&postings));
        self.postings.extend(postings.into_iter().map(|posting| PostingRow { offset, posting }));
        match outcome {
            Outcome::Command { org, released, waits, rejection: None, .. } => {
                let released = released.into_iter();
                self.released.extend(released.map(|(event, digest)| (org.clone(), event, digest)));
                self.add_command(org, record, raw, waits);
            }
            Outcome::Global(global) => {
                debug_assert_eq!(record.key, RecordKey::Global, "global commands lie under the reserved key");
                let value = value.unwrap_or_default().to_vec();
                self.globals.push(GlobalRecord { offset, append_time: record.append_time, value });
                // At every seal, not once a batch: a later revision may replace prices that postings name.
                if global.rejection.is_none() && is_seal(record) {
                    let rates = context.rates();
                    let sealed =
                        rates.tiers().filter(|tier| Some(&tier.revision) == rates.revisions().last());
                    self.tiers.extend(sealed.cloned());
                }
            }
            Outcome::Quarantined(quarantined) => self.quarantine.push(QuarantineRow {
                offset,
                append_time: record.append_time,
                key: key.map(<[u8]>::to_vec),
                value: value.map(<[u8]>::to_vec),
                quarantined,
            }),
            Outcome::Command { rejection: Some(_), .. }
            | Outcome::Debited
            | Outcome::Superseded
            | Outcome::Tick
            | Outcome::Duplicate(_) => {}
        }
    }

    /// What a command that was carried out does beside its postings.
    fn add_command(&mut self, org: OrgId, record: &Record, raw: RawRecord<'_>, waits: bool) {
        let Body::Command(signed) = &record.body else { return };
        match &signed.command.body {
            // What comes later is not dismissed ahead, however the log is cut into batches.
            CommandBody::Dismiss(_, dismiss) if dismiss.offset < raw.offset => {
                self.dismissed.push((org, dismiss.offset));
            }
            CommandBody::Correct(_, correct) if waits => {
                let value = raw.value.unwrap_or_default().to_vec();
                self.waiting_corrections.push((org, correct.event_id, raw.offset, value));
            }
            _ => {}
        }
    }

    /// Takes in how an org's plan and allocations changed.
    pub fn add_state(&mut self, state: &mut OrgState) {
        let changed = state.take_changed();
        self.allocations.extend(changed.into_iter().map(|allocation| (state.org().clone(), allocation)));
        if state.take_plan_change() {
            self.plans.push((state.org().clone(), state.record.plan.clone()));
        }
    }
}

fn is_seal(record: &Record) -> bool {
    matches!(&record.body, Body::Command(signed) if matches!(signed.command.body, CommandBody::RatesSeal(_)))
}

/// The events of a record that took the correction that waited for them: their debits are followed by it.
fn corrected(postings: &[Posting]) -> impl Iterator<Item = (OrgId, EventId)> {
    let pairs = postings.iter().zip(postings.iter().skip(1));
    pairs.filter_map(|(debit, next)| match (&debit.cause, &next.cause) {
        (Cause::Usage(usage), Cause::Correction(correction, _))
            if correction.event_id == usage.event.event_id =>
        {
            Some((debit.org.clone(), correction.event_id))
        }
        _ => None,
    })
}

/// A global record as it lies in the log.
#[derive(Debug, Clone)]
pub struct GlobalRecord {
    /// Its offset.
    pub offset: i64,
    /// When it was appended.
    pub append_time: Timestamp,
    /// Its value.
    pub value: Vec<u8>,
}

/// A posting and the offset of the record that made it.
#[derive(Debug)]
pub struct PostingRow {
    /// The record's offset.
    pub offset: i64,
    /// The posting.
    pub posting: Posting,
}

/// The outcome of a command.
#[derive(Debug)]
pub struct CommandRow {
    /// Whose; none for a global one.
    pub org: Option<OrgId>,
    /// Which.
    pub command_id: CommandId,
    /// The record's offset.
    pub offset: i64,
    /// Of which kind.
    pub kind: &'static str,
    /// Digest of its payload.
    pub payload_digest: Digest,
    /// Why it was not carried out, if so.
    pub rejection: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it refers to elsewhere.
    pub reference: Option<String>,
    /// The log's time when it was applied.
    pub recorded_at: Timestamp,
}

impl CommandRow {
    /// What became of a record that is a new command; none for every other record.
    fn of(record: &Record, outcome: &Outcome, offset: i64, recorded_at: Timestamp) -> Option<Self> {
        let Body::Command(signed) = &record.body else { return None };
        let (org, kind, payload_digest, rejection) = match outcome {
            Outcome::Command { org, kind, payload_digest, rejection, .. } => {
                (Some(org.clone()), *kind, *payload_digest, rejection)
            }
            Outcome::Global(global) => (None, global.kind, global.payload_digest, &global.rejection),
            Outcome::Debited
            | Outcome::Superseded
            | Outcome::Tick
            | Outcome::Duplicate(_)
            | Outcome::Quarantined(_) => {
                return None;
            }
        };
        let command = &signed.command;
        Some(Self {
            org,
            command_id: command.command_id,
            offset,
            kind: kind.as_str(),
            payload_digest,
            rejection: rejection.as_ref().map(|rejection| rejection.0.clone()),
            actor: command.actor.clone(),
            reason: command.reason.clone(),
            reference: command.reference.clone(),
            recorded_at,
        })
    }
}

/// A record that was not applied.
#[derive(Debug)]
pub struct QuarantineRow {
    /// The record's offset.
    pub offset: i64,
    /// When it was appended.
    pub append_time: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Why it was not applied.
    pub quarantined: Quarantined,
}
