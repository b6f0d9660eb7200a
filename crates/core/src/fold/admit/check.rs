//! Pure: what a command must hold whatever the state of its org.

use super::Rejection;
use crate::amount::Credits;
use crate::command::{
    AllocationKind, CommandBody, Correct, Grant, MAX_COMMAND_CREDITS, MAX_GRACE, MAX_REPRICED, Reprice,
    SetPlan, Transfer,
};
use std::collections::BTreeSet;

const TOO_MUCH: &str = "a command moves at most 4,294,967,295 credits";

pub(super) fn check(body: &CommandBody) -> Result<(), Rejection> {
    let reject = |text: &str| Err(Rejection(text.to_owned()));
    match body {
        CommandBody::Grant(_, grant) => check_grant(grant),
        CommandBody::Adjust(_, adjust) if adjust.amount.is_zero() => reject("an adjustment of nothing"),
        CommandBody::Adjust(_, adjust) if is_too_much(adjust.amount) => reject(TOO_MUCH),
        CommandBody::Transfer(_, Transfer { amount, .. }) if !amount.is_positive() => {
            reject("a transfer must be of more than nothing")
        }
        CommandBody::OpenOrg(_, policy) | CommandBody::SetPolicy(_, policy) if policy.grace > MAX_GRACE => {
            reject("the grace is longer than 35 days")
        }
        CommandBody::SetPlan(_, SetPlan { effective_at, plan: Some(plan) }) => {
            plan.check(*effective_at).map_err(Rejection)
        }
        CommandBody::Correct(_, Correct { revision, .. }) if *revision < 1 => {
            reject("revisions count from 1")
        }
        CommandBody::Reprice(_, reprice) => check_reprice(reprice),
        _ => Ok(()),
    }
}

fn check_reprice(Reprice { events, .. }: &Reprice) -> Result<(), Rejection> {
    let reject = |text: String| Err(Rejection(text));
    if events.is_empty() || events.len() > MAX_REPRICED {
        return reject(format!("a command reprices 1 to {MAX_REPRICED} events"));
    }
    if events.iter().any(|(_, revision)| *revision < 1) {
        return reject("revisions count from 1".to_owned());
    }
    let distinct: BTreeSet<_> = events.iter().map(|(event, _)| event).collect();
    if distinct.len() < events.len() {
        return reject("an event is named twice".to_owned());
    }
    Ok(())
}

fn is_too_much(amount: Credits) -> bool {
    let most = Credits::from(MAX_COMMAND_CREDITS);
    amount > most || amount < most.negated()
}

fn check_grant(grant: &Grant) -> Result<(), Rejection> {
    let reject = |text: &str| Err(Rejection(text.to_owned()));
    if !grant.amount.is_positive() {
        return reject("a grant must be of more than nothing");
    }
    if is_too_much(grant.amount) {
        return reject(TOO_MUCH);
    }
    if grant.expires_at.is_some_and(|expires_at| expires_at <= grant.effective_at) {
        return reject("expires_at must be after effective_at");
    }
    if grant.kind != AllocationKind::Prepaid && grant.expires_at.is_none() {
        return reject("only prepaid credits may never expire: name expires_at");
    }
    if let Some(period) = &grant.period
        && (period.start != grant.effective_at || Some(period.end) != grant.expires_at)
    {
        return reject("a period is granted from its start to its end");
    }
    Ok(())
}
