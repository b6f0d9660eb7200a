//! Charges page by page, and those without a full price.

use anyhow::Result;
use fluxori_core::digest::Digest;
use fluxori_core::fold::{AdmittedCorrection, ChargedUsage, CorrectedBy, OrgRecord, OrgState};
use fluxori_core::id::{EventId, OrgId};
use fluxori_core::posting::{Cause, Posting, PostingKind};
use fluxori_core::pricing::ChargeStatus;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::UsageEvent;
use fluxori_ledger::{ChargeFilter, Ledger, ModelNames, OrgRow, PostingRow};
use uuid::Uuid;

use crate::support::{NOW, credits, debit, ledger, org, posting, state, write};

/// A debit of an event of a model; nothing where its charge is not complete.
fn charged(org_id: &str, number: i64, model: &str, status: ChargeStatus) -> Posting {
    let mut posting = debit(number);
    posting.org = org(org_id);
    let Cause::Usage(usage) = &mut posting.cause else { unreachable!() };
    let mut fields = UsageEvent::clone(&usage.event).into_fields();
    fields.event_id = EventId(Uuid::from_u128(u128::try_from(number).unwrap()));
    fields.org_id = org(org_id);
    fields.request_model = model.parse().unwrap();
    fields.response_model = None;
    usage.event = UsageEvent::new(fields).unwrap().into();
    usage.charge.status = status;
    if status != ChargeStatus::Complete {
        (usage.charge.credits, posting.amount) = (credits("0"), credits("0"));
        posting.entries.clear();
    }
    posting
}

/// The posting after a debit that gives its charge another status.
fn corrected(first: &Posting, number: i64, status: ChargeStatus) -> Posting {
    let Cause::Usage(usage) = &first.cause else { unreachable!() };
    let before = ChargedUsage::of(&usage.event, &usage.charge);
    let mut after = ChargedUsage { revision: 2, ..before.clone() };
    after.charge.status = status;
    let given = posting(number);
    let Cause::Command(command, digest) = given.cause.clone() else { unreachable!() };
    let by = CorrectedBy::Command(command, digest);
    let (org, event_id) = (first.org.clone(), usage.event.event_id);
    let correction = AdmittedCorrection { org, event_id, by, quantities: None, before, after };
    Posting {
        org: first.org.clone(),
        kind: PostingKind::Correct,
        amount: credits("0"),
        cause: Cause::Correction(Box::new(correction), Vec::new()),
        digest: Digest::of(b"corrected"),
        ..given
    }
}

async fn filled() -> Result<Ledger> {
    let ledger = ledger().await?;
    let epoch = ledger.take_over(3, "test").await?.epoch;
    let mut batch = write(epoch, 0, 10);
    for id in ["acme", "globex"] {
        let record = OrgRecord { org: org(id), ..state().record };
        batch.orgs.push(OrgRow::of(&OrgState::restore(record, Vec::new()))?);
    }
    let first = charged("acme", 1, "gpt-99", ChargeStatus::Unpriced);
    let priced = corrected(&first, 5, ChargeStatus::Complete);
    let still = charged("globex", 1, "gpt-99-2026-11-01", ChargeStatus::Unpriced);
    let partial = corrected(&still, 2, ChargeStatus::Partial);
    for posting in [
        first,
        charged("acme", 2, "gpt-5", ChargeStatus::Complete),
        charged("acme", 3, "gpt_99", ChargeStatus::Partial),
        charged("acme", 4, "gpt-99", ChargeStatus::Provisional),
        priced,
        still,
        partial,
    ] {
        batch.changes.postings.push(PostingRow { offset: posting.number, posting });
    }
    ledger.commit(&batch).await?;
    Ok(ledger)
}

fn filter() -> ChargeFilter {
    ChargeFilter {
        orgs: Vec::new(),
        models: None,
        since: Timestamp::EARLIEST,
        until: None,
        incomplete: false,
    }
}

/// Org and number of the event of each charge, by pages of so many.
async fn found(ledger: &Ledger, filter: &ChargeFilter, size: u32) -> Result<Vec<(OrgId, u128)>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (page, place) = ledger.charges(filter, after.as_ref(), size).await?;
        assert!(page.len() <= usize::try_from(size)?);
        all.extend(page.into_iter().map(|charge| (charge.org.clone(), charge.event.0.as_u128())));
        match place {
            Some(_) => after = place,
            None => return Ok(all),
        }
    }
}

#[tokio::test]
async fn charges_come_once_each_in_pages_of_any_size() -> Result<()> {
    let ledger = filled().await?;
    let all: Vec<_> = [("acme", 1), ("acme", 2), ("acme", 3), ("acme", 4), ("globex", 1)]
        .map(|(id, n)| (org(id), n))
        .into();
    for size in [1, 2, 5, 100] {
        assert_eq!(found(&ledger, &filter(), size).await?, all);
    }
    let names = ModelNames { names: vec!["gpt-99".to_owned()], patterns: Vec::new() };
    let named = ChargeFilter { models: Some(names), ..filter() };
    assert_eq!(
        found(&ledger, &named, 2).await?,
        [("acme", 1), ("acme", 4), ("globex", 1)].map(|(id, n)| (org(id), n))
    );
    let patterns = ModelNames { names: Vec::new(), patterns: vec!["gpt_*".parse()?] };
    let fitting = ChargeFilter { models: Some(patterns), ..filter() };
    assert_eq!(found(&ledger, &fitting, 2).await?, [(org("acme"), 3)]);
    let of_one = ChargeFilter { orgs: vec![org("globex")], ..filter() };
    assert_eq!(found(&ledger, &of_one, 2).await?, [(org("globex"), 1)]);
    let later = ChargeFilter { since: Timestamp::from_micros(NOW.micros() + 1), ..filter() };
    assert!(found(&ledger, &later, 2).await?.is_empty());
    let earlier = ChargeFilter { until: Some(NOW), ..filter() };
    assert!(found(&ledger, &earlier, 2).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_has_no_full_price_is_what_has_none_now() -> Result<()> {
    let ledger = filled().await?;
    let incomplete = ChargeFilter { incomplete: true, ..filter() };
    let expected = [("acme", 3), ("acme", 4), ("globex", 1)].map(|(id, n)| (org(id), n));
    for size in [1, 100] {
        assert_eq!(found(&ledger, &incomplete, size).await?, expected);
    }
    let usage = ledger.incomplete_usage(10).await?;
    let lines: Vec<_> = usage.iter().map(|u| (&*u.model, &*u.status, u.events, u.orgs)).collect();
    let expected = [
        ("gpt-99", "provisional", 1, 1),
        ("gpt-99-2026-11-01", "partial", 1, 1),
        ("gpt_99", "partial", 1, 1),
    ];
    assert_eq!(lines, expected);
    assert_eq!(ledger.incomplete_usage(1).await?.len(), 1);
    Ok(())
}
