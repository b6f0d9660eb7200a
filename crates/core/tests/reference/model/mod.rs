//! The naive ledger: one record after the other.

mod amount;
mod boundaries;
mod burn;
mod commands;
mod corrections;
mod org;
mod plans;
mod prices;
mod usage;

use std::collections::BTreeMap;

use fluxori_core::command::{CommandBody, SignedCommand};
use fluxori_core::id::{EventId, OrgId};
use fluxori_core::record::{Body, QuarantineReason, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::UsageEvent;

pub(crate) use amount::{Amount, ONE, of};
pub(crate) use org::{Leg, Movement, Org, Place, Posted, Status};
pub(crate) use plans::find as find_item;

use org::{Debit, Held};
use prices::RateCard;
use usage::Verdict;

/// Most credits that one command moves.
const MOST_CREDITS: Amount = 4_294_967_295;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Became {
    Debited,
    /// It took the place of an uncertain event.
    Superseded,
    CarriedOut,
    Rejected,
    Duplicate,
    Quarantined(QuarantineReason),
    Tick,
    Global,
}

/// Why a command is not carried out.
#[derive(Debug)]
pub(crate) struct Rejected(
    #[expect(dead_code, reason = "for who reads a failing test")] pub(crate) &'static str,
);

fn reject(when: bool, why: &'static str) -> Result<(), Rejected> {
    if when { Err(Rejected(why)) } else { Ok(()) }
}

/// The ledger of one partition.
#[derive(Clone, Default)]
pub(crate) struct Model {
    now: Timestamp,
    offset: i64,
    card: RateCard,
    orgs: BTreeMap<OrgId, Org>,
}

impl Model {
    /// Applies the next record: what became of it, and its postings.
    pub(crate) fn apply(&mut self, record: &Record) -> (Became, Vec<Posted>) {
        self.now = self.now.max(record.append_time);
        let counts: BTreeMap<OrgId, usize> =
            self.orgs.iter().map(|(id, org)| (id.clone(), org.postings.len())).collect();
        let became = match &record.body {
            Body::Usage(event) => self.usage(&record.key, event),
            Body::Command(signed) => self.command(&record.key, signed),
            Body::Tick => {
                self.orgs.values_mut().for_each(|org| org.book_due(self.now));
                Became::Tick
            }
            Body::Unreadable(reason, _) => {
                if let RecordKey::Org(key) = &record.key {
                    self.hold(&key.clone(), None, *reason);
                }
                Became::Quarantined(*reason)
            }
        };
        self.offset += 1;
        let new = |(id, org): (&OrgId, &Org)| org.postings[counts.get(id).copied().unwrap_or(0)..].to_vec();
        (became, self.orgs.iter().flat_map(new).collect())
    }

    pub(crate) fn org(&self, id: &OrgId) -> Option<&Org> {
        self.orgs.get(id)
    }

    fn org_mut(&mut self, id: &OrgId) -> &mut Org {
        self.orgs.entry(id.clone()).or_insert_with(|| Org::new(id.clone()))
    }

    fn hold(&mut self, id: &OrgId, event: Option<UsageEvent>, reason: QuarantineReason) {
        let offset = self.offset;
        self.org_mut(id).quarantine.push(Held { offset, event, reason, released: false });
    }

    fn usage(&mut self, key: &RecordKey, event: &UsageEvent) -> Became {
        if *key != RecordKey::Org(event.org_id.clone()) {
            return Became::Quarantined(QuarantineReason::WrongKey);
        }
        let (now, card) = (self.now, self.card.clone());
        let org = self.org_mut(&event.org_id);
        match org.judge(event, Some(now), &card) {
            Verdict::Debit(price, amount) => {
                org.book_due(now);
                org.debit(event, price, amount);
                Became::Debited
            }
            Verdict::Supersede(index) => {
                org.book_due(now);
                org.supersede(index, event).unwrap();
                Became::Superseded
            }
            Verdict::Duplicate => Became::Duplicate,
            Verdict::Quarantine(reason) => {
                self.hold(&event.org_id, Some(event.clone()), reason);
                Became::Quarantined(reason)
            }
        }
    }

    fn command(&mut self, key: &RecordKey, signed: &SignedCommand) -> Became {
        let command = &signed.command;
        let Some(id) = command.body.org().cloned() else {
            match &command.body {
                CommandBody::RatesPart(part) => self.card.part(part),
                CommandBody::RatesSeal(seal) => self.card.seal(seal),
                _ => {}
            }
            return Became::Global;
        };
        if *key != RecordKey::Org(id.clone()) {
            if let RecordKey::Org(key) = key {
                self.hold(&key.clone(), None, QuarantineReason::WrongKey);
            }
            return Became::Quarantined(QuarantineReason::WrongKey);
        }
        let (now, card) = (self.now, self.card.clone());
        let org = self.org_mut(&id);
        match org.commands.iter().find(|(known, _)| *known == command.command_id) {
            Some((_, payload)) if *payload == signed.payload => return Became::Duplicate,
            Some(_) => {
                self.hold(&id, None, QuarantineReason::Conflict);
                return Became::Quarantined(QuarantineReason::Conflict);
            }
            None => org.commands.push((command.command_id, signed.payload.clone())),
        }
        let opens = matches!(command.body, CommandBody::OpenOrg(..) | CommandBody::Grant(..));
        if !org.open && !opens {
            return Became::Rejected;
        }
        let was_open = org.open;
        org.book_due(now);
        if org.carry_out(command, now, &card).is_err() {
            return Became::Rejected;
        }
        // An allocation opens when the log's time passes its begin: one that began in the past opens with its grant.
        org.book_due(now);
        if !was_open {
            org.release_all(&card);
        }
        Became::CarriedOut
    }
}

impl Org {
    /// Applies the usage that waited for the org to open; what cannot be applied stays where it is.
    fn release_all(&mut self, card: &RateCard) {
        for index in 0..self.quarantine.len() {
            let held = self.quarantine[index].clone();
            let (QuarantineReason::OrgNotOpen, Some(event)) = (held.reason, held.event) else { continue };
            self.quarantine[index].released = true;
            match self.judge(&event, None, card) {
                Verdict::Debit(price, amount) => self.debit(&event, price, amount),
                Verdict::Supersede(debit) => self.supersede(debit, &event).unwrap(),
                Verdict::Duplicate | Verdict::Quarantine(_) => self.quarantine[index].released = false,
            }
        }
    }

    /// The debits so far.
    pub(crate) fn debits(&self) -> &[Debit] {
        &self.debits
    }

    /// The current revision of an event, if it was charged.
    pub(crate) fn revision_of(&self, event: EventId) -> Option<i32> {
        self.debits.iter().find(|debit| debit.event.event_id == event).map(|debit| debit.revision)
    }
}
