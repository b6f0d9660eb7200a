//! A ledger of its own for each test, and what to write into it.

use anyhow::{Context, Result};
use fluxori_core::amount::Credits;
use fluxori_core::command::{
    Account, AllocationKind, Command, CommandBody, Grant, OverdraftPolicy, Policy, Scope,
};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{
    Allocation, AllocationStatus, Counters, OrgRecord, OrgState, OrgTotals, Quarantined,
};
use fluxori_core::id::{AllocationId, CommandId, EventId, OrgId, ReservationId};
use fluxori_core::meter::Meter;
use fluxori_core::posting::{Cause, Entry, Posting, PostingKind, PricedUsage, Target};
use fluxori_core::pricing::{CallKind, Charge, ChargeLine, ChargeStatus, LineRate};
use fluxori_core::rates::AppliedTerms;
use fluxori_core::record::QuarantineReason;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{Certainty, Quantity, UsageEvent, UsageFields};
use fluxori_ledger::{BatchWrite, Changes, CommandRow, Cursor, Ledger, OrgRow, QuarantineRow};
use uuid::Uuid;

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_795_348_800_123_456);

/// A ledger of its own, in a new database.
pub(crate) async fn ledger() -> Result<Ledger> {
    Ok(Ledger::prepare(&database()?, 4).await?)
}

/// The address of a database that is not there yet.
pub(crate) fn database() -> Result<String> {
    let url = std::env::var("DATABASE_URL").context(
        "DATABASE_URL is not set: run `cargo xtask test`, or evaluate what `cargo xtask up` prints",
    )?;
    let (server, _) = url.rsplit_once('/').context("DATABASE_URL names no database")?;
    Ok(format!("{server}/ledger_{}", Uuid::now_v7().simple()))
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

pub(crate) fn org(text: &str) -> OrgId {
    text.parse().unwrap()
}

pub(crate) fn write(epoch: i64, start_offset: i64, next_offset: i64) -> BatchWrite {
    BatchWrite {
        partition: 3,
        epoch,
        start_offset,
        cursor: Cursor {
            next_offset,
            log_time: NOW,
            last_append_time: NOW,
            last_record_digest: Digest::of(b"record"),
            outcomes: Digest::of(b"outcomes"),
            counters: Counters { records: next_offset, debited: 1, ..Counters::default() },
        },
        orgs: Vec::new(),
        changes: Changes::default(),
    }
}

pub(crate) fn allocation() -> Allocation {
    Allocation {
        id: AllocationId(Uuid::from_u128(5)),
        account: Account::User("ann".parse().unwrap()),
        kind: AllocationKind::Subscription,
        purchased: true,
        priority: -3,
        scope: Scope { models: ["gpt-5".parse().unwrap()].into(), ..Scope::default() },
        effective_at: NOW,
        expires_at: Some(NOW.after(std::time::Duration::from_secs(60))),
        period: None,
        status: AllocationStatus::Open,
        granted: credits("10"),
        adjusted: credits("-1"),
        moved: credits("0"),
        consumed: credits("2.000000000001"),
        repaid: credits("0"),
        repaid_in: 0,
        expired: credits("0"),
        remaining: credits("6.999999999999"),
    }
}

pub(crate) fn state() -> OrgState {
    let policy =
        Policy { overdraft: Some(OverdraftPolicy::Absorb), grace: std::time::Duration::from_millis(1500) };
    let totals = OrgTotals {
        granted: credits("10"),
        adjusted: credits("-1"),
        charged: credits("2.000000000001"),
        consumed: credits("2.000000000001"),
        ..OrgTotals::default()
    };
    let record = OrgRecord {
        org: org("acme"),
        number: 1,
        head: Digest::of(b"head"),
        policy,
        totals,
        suspended: [Account::User("bob".parse().unwrap())].into(),
        plan: None,
        plan_changed_at: Some(Timestamp::from_micros(7)),
    };
    OrgState::restore(record, vec![allocation()])
}

pub(crate) fn org_row() -> OrgRow {
    OrgRow::of(&state()).unwrap()
}

pub(crate) fn posting(number: i64) -> Posting {
    let grant = Grant {
        account: Account::Organization,
        kind: AllocationKind::Prepaid,
        amount: credits("10"),
        effective_at: NOW,
        expires_at: None,
        priority: 0,
        scope: Scope::default(),
        purchased: false,
        period: None,
    };
    let command = Command {
        command_id: CommandId(Uuid::from_u128(9)),
        issued_at: NOW,
        actor: "test".to_owned(),
        reason: "test".to_owned(),
        reference: None,
        body: CommandBody::Grant(org("acme"), grant),
    };
    Posting {
        org: org("acme"),
        number,
        kind: PostingKind::Grant,
        effective_at: NOW,
        recorded_at: NOW,
        amount: credits("10"),
        entries: Vec::new(),
        cause: Cause::Command(command.into(), Digest::of(b"payload")),
        digest: Digest::of(b"head"),
    }
}

pub(crate) fn command() -> CommandRow {
    CommandRow {
        org: Some(org("acme")),
        command_id: CommandId(Uuid::from_u128(9)),
        offset: 4,
        kind: "grant",
        payload_digest: Digest::of(b"payload"),
        rejection: None,
        actor: "ann \0".to_owned(),
        reason: "a trial".to_owned(),
        reference: Some("invoice 7".to_owned()),
        recorded_at: NOW,
    }
}

pub(crate) fn quarantined(offset: i64, reason: QuarantineReason) -> QuarantineRow {
    QuarantineRow {
        offset,
        append_time: NOW,
        key: Some(b"acme".to_vec()),
        value: Some(offset.to_string().into_bytes()),
        quarantined: Quarantined {
            reason,
            detail: "quotes \0 what came".to_owned(),
            org: Some(org("acme")),
            event: Some((EventId(Uuid::from_u128(u128::try_from(offset).unwrap())), Digest::of(b"billing"))),
        },
    }
}

/// A debit of two credits, of an event with every field that has a column.
pub(crate) fn debit(number: i64) -> Posting {
    let id = EventId(Uuid::from_u128(77));
    let mut fields = UsageFields::new(
        id,
        NOW,
        org("acme"),
        "rag-retrieval".parse().unwrap(),
        "openai".parse().unwrap(),
        "gpt-5".parse().unwrap(),
    );
    fields.feature = Some("search".parse().unwrap());
    fields.response_model = Some("gpt-5-2025-08-07".parse().unwrap());
    fields.certainty = Certainty::AtLeast;
    fields.reservation_id = Some(ReservationId(Uuid::from_u128(78)));
    let lines = vec![ChargeLine {
        meter: Meter::Input,
        quantity: Quantity::of_tokens(1600),
        rate: Some(LineRate { rate: "1.25".parse().unwrap(), of: Meter::Input }),
    }];
    let charge = Charge {
        status: ChargeStatus::Complete,
        tier: None,
        call: CallKind::default(),
        lines,
        terms: AppliedTerms::standard(),
        cost: "0.002".parse().unwrap(),
        credits: credits("2"),
    };
    let event = UsageEvent::new(fields).unwrap();
    let usage = PricedUsage { event: event.into(), billing_digest: Digest::of(b"billing"), charge };
    let target = Target::Allocation(allocation().id);
    Posting {
        kind: PostingKind::Debit,
        amount: credits("2"),
        entries: vec![Entry { account: allocation().account, target, amount: credits("-2") }],
        cause: Cause::Usage(Box::new(usage)),
        ..posting(number)
    }
}
