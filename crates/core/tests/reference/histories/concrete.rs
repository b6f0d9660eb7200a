//! Steps become records.

use std::sync::Arc;
use std::time::Duration;

use fluxori_core::amount::Credits;
use fluxori_core::command::{
    Account, Adjust, Change, CommandBody, Correct, Dismiss, Extend, Grant, PlanPeriod, Release, Reprice,
    SetPlan, Transfer,
};
use fluxori_core::digest::Digest;
use fluxori_core::id::{AllocationId, CommandId, EventId};
use fluxori_core::record::{Body, QuarantineReason, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};

use super::values::{
    DEAR, MINUTE, MODELS, ORGS, absurd, account, credits, granted, is_dear, is_of_an_hour, numbered, org_id,
    pick, planned, policy, quantities, slot, user, user_set,
};
use super::{Call, Of, PeriodTwist, RightIs, Step, Target, Twist, Variant};
use crate::log::{Log, minutes};
use crate::model::{Model, find_item};

/// A log in the making; the model of it knows what there is for a step to work on.
pub(crate) struct History {
    pub(crate) log: Log,
    pub(crate) model: Model,
    /// Every event that was sent.
    events: Vec<UsageFields>,
    /// How many ids of events have been used.
    event_count: u32,
    /// Where in the log the commands of orgs lie.
    commands: Vec<usize>,
    /// Every `set_plan` that was sent, in force or not.
    revisions: Vec<CommandId>,
}

impl History {
    /// Goes on from a log and its model.
    pub(crate) fn new(log: Log, model: Model) -> Self {
        Self { log, model, events: Vec::new(), event_count: 0, commands: Vec::new(), revisions: Vec::new() }
    }

    /// Appends the records of a step, if it means anything now. The caller applies them to the model.
    pub(crate) fn take(&mut self, step: &Step) {
        match step {
            Step::Tick => self.log.tick(),
            Step::PassMinutes(count) => self.pass(minutes(*count)),
            Step::PassMicros(count) => self.pass(Duration::from_micros(*count)),
            Step::PassHours(count) => self.pass(minutes(60 * count)),
            Step::PassDays(count) => self.pass(minutes(24 * 60 * count)),
            Step::GoBack(count) => self.log.now = self.log.now.before(minutes(*count)),
            Step::Usage { org, call } => {
                let fields = self.fresh(*org, call);
                self.send(fields);
            }
            Step::Again { event, twist } => self.again(*event, *twist),
            Step::WrongKey { org, call } => {
                let event = UsageEvent::new(self.fresh(*org, call)).unwrap();
                let key = RecordKey::Org(ORGS[(org + 1) % ORGS.len()].parse().unwrap());
                self.log.push(key, Body::Usage(Arc::new(event)));
            }
            Step::Unreadable { org } => {
                let body = Body::Unreadable(QuarantineReason::Malformed, "not Avro".to_owned());
                self.log.push(RecordKey::Org(org_id(*org)), body);
            }
            Step::NewRates => self.log.next_rates(),
            Step::CommandAgain { command, other } => self.command_again(*command, *other),
            Step::Period { of, twist, own_id } => self.period(*of, *twist, *own_id),
            step => {
                let body = self.body(step);
                self.command(body);
            }
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.log.now = self.log.now.after(duration);
    }

    fn command(&mut self, body: Option<CommandBody>) {
        let Some(body) = body else { return };
        self.commands.push(self.log.records.len());
        let sets_plan = matches!(body, CommandBody::SetPlan(..));
        let id = self.log.command(body);
        if sets_plan {
            self.revisions.push(id);
        }
    }

    /// The command of a step that is nothing but one.
    fn body(&self, step: &Step) -> Option<CommandBody> {
        Some(match step {
            Step::Grant { org, account: whose, terms, start, lasts } => {
                let effective_at = self.minutes_from_now(*start);
                let expires_at = lasts.map(|lasts| effective_at.after(minutes(lasts)));
                CommandBody::Grant(org_id(*org), granted(account(*whose), terms, effective_at, expires_at))
            }
            Step::OpenOrg { org, overdraft, grace } => {
                CommandBody::OpenOrg(org_id(*org), policy(*overdraft, *grace))
            }
            Step::SetPolicy { org, overdraft, grace } => {
                CommandBody::SetPolicy(org_id(*org), policy(*overdraft, *grace))
            }
            Step::Adjust { of, amount } => {
                let (allocation_id, _) = self.allocation(*of)?;
                CommandBody::Adjust(org_id(of.org), Adjust { allocation_id, amount: credits(*amount) })
            }
            Step::Transfer { of, to, amount } => {
                let (allocation_id, _) = self.allocation(*of)?;
                let transfer = Transfer { allocation_id, to: account(*to), amount: credits(*amount) };
                CommandBody::Transfer(org_id(of.org), transfer)
            }
            Step::Extend { of, by } => {
                let (allocation_id, expires_at) = self.allocation(*of)?;
                let from = expires_at.unwrap_or(self.log.now);
                let expires_at = by.map(|by| Timestamp::from_micros(from.micros() + by * MINUTE));
                CommandBody::Extend(org_id(of.org), Extend { allocation_id, expires_at })
            }
            Step::Suspend { org, account: whose, resume: false } => {
                CommandBody::Suspend(org_id(*org), account(*whose))
            }
            Step::Suspend { org, account: whose, resume: true } => {
                CommandBody::Resume(org_id(*org), account(*whose))
            }
            Step::SetPlan { org, plan, ago } => {
                let effective_at = self.minutes_from_now(-ago);
                let plan = plan.as_ref().map(|plan| planned(plan, effective_at));
                CommandBody::SetPlan(org_id(*org), SetPlan { effective_at, plan })
            }
            Step::ChangePlan { org, seats, users, ago } => {
                let effective_at = self.minutes_from_now(-ago);
                let mut plan = self.model.org(&org_id(*org))?.plan.as_ref()?.plan.clone();
                plan.seats = *seats;
                plan.users = user_set(*users);
                for item in &mut plan.items {
                    (item.period_start, item.period_end) = slot(effective_at, is_of_an_hour(item));
                }
                CommandBody::SetPlan(org_id(*org), SetPlan { effective_at, plan: Some(plan) })
            }
            Step::Correct { org, target, older, right } => {
                let event_id = self.target(*org, *target)?;
                let current = self.model.org(&org_id(*org)).and_then(|org| org.revision_of(event_id));
                let revision = current.unwrap_or(1) - i32::from(*older);
                let event = self.events.iter().find(|event| event.event_id == event_id);
                let dear = event.is_some_and(is_dear);
                let change = match right {
                    RightIs::Nothing => Change::Void,
                    RightIs::Used(tokens) => Change::Replace(Box::new(quantities(*tokens, dear))),
                    RightIs::Absurd if dear => Change::Replace(Box::new(absurd())),
                    RightIs::Absurd => Change::Void,
                };
                CommandBody::Correct(org_id(*org), Correct { event_id, revision, change })
            }
            Step::Reprice { org, first, count, older, rates_ago, beside } => {
                let debits = self.model.org(&org_id(*org))?.debits();
                let first = first.checked_rem(debits.len()).unwrap_or(0);
                let named = debits.iter().skip(first).take(*count);
                let mut events: Vec<_> =
                    named.map(|debit| (debit.event.event_id, debit.revision - i32::from(*older))).collect();
                let beside = beside.and_then(|target| self.target(*org, target));
                events.extend(beside.map(|event| (event, 1)));
                CommandBody::Reprice(org_id(*org), Reprice { rates: self.log.revision(*rates_ago), events })
            }
            Step::Release { of, other_digest } => {
                let held = &self.model.org(&org_id(of.org))?.quarantine;
                let there = held.iter().filter(|held| !held.released || of.index % 8 == 7);
                let events: Vec<_> = there.filter_map(|held| held.event.as_ref()).collect();
                let event = pick(&events, of.index / 8)?;
                let billing_digest = if *other_digest { Digest::default() } else { event.billing_digest() };
                CommandBody::Release(org_id(of.org), Release { event_id: event.event_id, billing_digest })
            }
            Step::Dismiss { of, elsewhere } => {
                let held = &self.model.org(&org_id(of.org))?.quarantine;
                let offset = pick(held, of.index)?.offset + i64::from(*elsewhere);
                CommandBody::Dismiss(org_id(of.org), Dismiss { offset })
            }
            _ => return None,
        })
    }

    /// An event of an org that came, or one of the next ones.
    fn target(&self, org: usize, target: Target) -> Option<EventId> {
        match target {
            Target::Known(index) => {
                let org = org_id(org);
                let own: Vec<_> = self.events.iter().filter(|event| event.org_id == org).collect();
                pick(&own, index).map(|event| event.event_id)
            }
            Target::Coming(ahead) => Some(numbered(self.event_count + ahead)),
        }
    }

    fn minutes_from_now(&self, count: i64) -> Timestamp {
        Timestamp::from_micros(self.log.now.micros() + count * MINUTE)
    }

    /// An allocation and its expiry: mostly one that is scheduled or open.
    fn allocation(&self, of: Of) -> Option<(AllocationId, Option<Timestamp>)> {
        let all = &self.model.org(&org_id(of.org))?.allocations;
        let live: Vec<_> = all.iter().filter(|allocation| allocation.is_live()).collect();
        let any: Vec<_> = all.iter().collect();
        let from = if live.is_empty() || of.index % 8 == 7 { &any } else { &live };
        pick(from, of.index / 8).map(|allocation| (allocation.id, allocation.expires_at))
    }

    fn fresh(&mut self, org: usize, call: &Call) -> UsageFields {
        let id = numbered(self.event_count);
        self.event_count += 1;
        let mut fields = self.log.event(ORGS[org], id, MODELS[call.model]);
        fields.occurred_at = self.minutes_from_now(-call.ago);
        fields.user_id = call.user.checked_sub(1).map(user);
        if call.module == 1 {
            fields.module = "pim".parse().unwrap();
        }
        fields.feature = call.feature.then(|| "search".parse().unwrap());
        if call.model == 7 {
            fields.response_model = Some("o3".parse().unwrap());
        }
        fields.certainty = call.certainty;
        let dear = is_dear(&fields);
        fields.set_quantities(quantities(call.tokens, dear));
        match call.variant {
            Variant::Plain => {}
            Variant::OwnKey => fields.own_key = true,
            Variant::FromCache => fields.served_from_cache = true,
            Variant::Batch => fields.batch = true,
            Variant::Revision2 => fields.revision = 2,
            Variant::Absurd => {
                fields.request_model = DEAR.parse().unwrap();
                fields.response_model = None;
                fields.set_quantities(absurd());
            }
        }
        fields
    }

    fn send(&mut self, fields: UsageFields) {
        self.events.push(fields.clone());
        self.log.usage(fields);
    }

    fn again(&mut self, event: usize, twist: Twist) {
        let Some(mut fields) = pick(&self.events, event).cloned() else { return };
        let org = self.model.org(&fields.org_id);
        let charged = org.is_some_and(|org| org.revision_of(fields.event_id).is_some());
        let native = fields.event_id.is_native();
        let dear = is_dear(&fields);
        match twist {
            Twist::Same => {}
            Twist::NoBearing => {
                fields.latency_ms = Some(17);
                fields.attempt = 2;
                // Of two that wait in the quarantine under one digest, no rule says which is released.
                if charged && !native {
                    fields.occurred_at = self.minutes_from_now(-3);
                }
            }
            // Not beyond the most that an event can have.
            Twist::OtherTokens => fields.output_tokens ^= 1 << 20,
            Twist::OtherUser => fields.user_id = Some("carol".parse().unwrap()),
            Twist::Supersedes { tokens, certainty } => {
                fields.revision = 2;
                fields.certainty = certainty;
                fields.set_quantities(quantities(tokens, dear));
                if charged && !native {
                    fields.occurred_at = self.minutes_from_now(-3);
                }
            }
            Twist::SupersedesAnotherUsers { tokens } => {
                fields.revision = 2;
                fields.user_id = Some("carol".parse().unwrap());
                fields.set_quantities(quantities(tokens, dear));
            }
            Twist::Revision1 { tokens } => {
                fields.revision = 1;
                fields.set_quantities(quantities(tokens, dear));
            }
        }
        self.send(fields);
    }

    fn command_again(&mut self, command: usize, other: bool) {
        let Some(index) = pick(&self.commands, command) else { return };
        let record = &self.log.records[*index];
        let (key, body) = (record.key.clone(), record.body.clone());
        let Body::Command(signed) = &body else { return };
        if other {
            let RecordKey::Org(org) = key else { return };
            let id = signed.command.command_id;
            self.log.command_with_id(CommandBody::Suspend(org, account(1)), id);
        } else {
            self.log.push(key, body);
        }
    }

    /// The next period of an item and account of the plan in force, or something like it.
    fn period(&mut self, of: Of, twist: PeriodTwist, own_id: bool) {
        let mut org = org_id(of.org);
        let Some(now) = self.model.org(&org).and_then(|org| org.plan.as_ref()) else { return };
        let ends: Vec<_> = now.ends.iter().collect();
        let Some(((item_id, whose), end)) = pick(&ends, of.index).copied() else { return };
        let item = find_item(&now.plan, item_id).unwrap();
        let (mut revision, mut account, mut start) = (now.revision, whose.clone(), *end);
        let mut amount = now.plan.amount(item).unwrap();
        match twist {
            PeriodTwist::Right => {}
            PeriodTwist::Stale => revision = *pick(&self.revisions, of.index).unwrap(),
            PeriodTwist::Gap => start = start.after(minutes(1)),
            PeriodTwist::WrongAmount => amount = amount.plus(Credits::from(1)).unwrap(),
            PeriodTwist::OtherOrg => org = org_id((of.org + 1) % ORGS.len()),
            PeriodTwist::WrongAccount => account = Account::User("carol".parse().unwrap()),
        }
        let length = if is_of_an_hour(item) { 60 } else { 30 };
        let period_end = start.after(minutes(length));
        let grant = Grant {
            account: account.clone(),
            kind: item.kind,
            amount,
            effective_at: start,
            expires_at: Some(period_end),
            priority: item.priority,
            scope: item.scope.clone(),
            purchased: item.purchased,
            period: Some(PlanPeriod { plan: revision, item: item.id.clone(), start, end: period_end }),
        };
        let id = CommandId::of_period(&org, revision, &item.id, &account, start);
        let body = CommandBody::Grant(org, grant);
        if own_id {
            self.commands.push(self.log.records.len());
            self.log.command_with_id(body, id);
        } else {
            self.command(Some(body));
        }
    }
}
