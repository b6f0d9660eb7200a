//! The events of a log, from a seed: the same seed gives the same events but for their times.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fluxori_core::command::{Account, AllocationKind, Command, CommandBody, Grant, Scope};
use fluxori_core::id::{CommandId, EventId, OrgId};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_wire::encode_usage;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};
use uuid::Builder;

/// Users inside each org.
const USERS_OF_ORG: usize = 5;
/// What each org is granted: enough that none runs dry.
const GRANTED: u32 = 1_000_000_000;
/// Models of the rate card, with the answering model's name.
const MODELS: [(&str, &str); 3] =
    [("gpt-5", "gpt-5-2025-08-07"), ("gpt-5-mini", "gpt-5-mini-2025-08-07"), ("gpt-5-nano", "gpt-5-nano")];
const MODULES: [(&str, &str); 4] = [
    ("rag-retrieval", "answer"),
    ("agent-framework", "plan"),
    ("ai-insights", "report"),
    ("pim", "describe"),
];

/// How events are spread over orgs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spread {
    /// Zipf with exponent 1, over orgs and over the users of each.
    Zipf,
    /// Every org in turn.
    Even,
}

/// Orgs, and events drawn for them.
pub(crate) struct Workload {
    orgs: Vec<OrgId>,
    spread: Spread,
    of_orgs: Zipf<f64>,
    of_users: Zipf<f64>,
    random: StdRng,
    /// The next event's time of occurrence, and its place.
    occurred_at: Timestamp,
    drawn: usize,
}

impl Workload {
    /// Events that occur from `begin` on, one a microsecond.
    pub(crate) fn new(orgs: usize, spread: Spread, seed: u64, begin: Timestamp) -> Result<Self> {
        let count = u32::try_from(orgs)?;
        let users = u32::try_from(USERS_OF_ORG)?;
        Ok(Self {
            orgs: (0..orgs).map(|number| format!("org-{number:06}").parse()).collect::<Result<_, _>>()?,
            spread,
            of_orgs: Zipf::new(f64::from(count), 1.0)?,
            of_users: Zipf::new(f64::from(users), 1.0)?,
            random: StdRng::seed_from_u64(seed),
            occurred_at: begin,
            drawn: 0,
        })
    }

    pub(crate) fn orgs(&self) -> &[OrgId] {
        &self.orgs
    }

    /// The command that opens an org.
    pub(crate) fn grant(&mut self, org: &OrgId) -> Command {
        let grant = Grant {
            account: Account::Organization,
            kind: AllocationKind::Prepaid,
            amount: GRANTED.into(),
            effective_at: self.occurred_at.before(Duration::from_hours(24)),
            expires_at: None,
            priority: 0,
            scope: Scope::default(),
            purchased: true,
            period: None,
        };
        Command {
            command_id: CommandId(Builder::from_random_bytes(self.random.random()).into_uuid()),
            issued_at: self.occurred_at,
            actor: "bench".to_owned(),
            reason: "bench".to_owned(),
            reference: None,
            body: CommandBody::Grant(org.clone(), grant),
        }
    }

    /// The next event: whose it is, and its record's value.
    pub(crate) fn event(&mut self) -> Result<(OrgId, Vec<u8>)> {
        let org = match self.spread {
            Spread::Zipf => rank(&self.of_orgs, &mut self.random),
            Spread::Even => self.drawn % self.orgs.len(),
        };
        let user = format!("user-{:06}", org * USERS_OF_ORG + rank(&self.of_users, &mut self.random));
        let org = self.orgs.get(org).context("an org of the workload")?.clone();
        let millis = u64::try_from(self.occurred_at.micros() / 1000)?;
        let id = Builder::from_unix_timestamp_millis(millis, &self.random.random()).into_uuid();
        let (model, answered) = pick(&MODELS, self.random.random_range(0..MODELS.len()))?;
        let (module, feature) = pick(&MODULES, self.random.random_range(0..MODULES.len()))?;
        let mut fields = UsageFields::new(
            EventId(id),
            self.occurred_at,
            org.clone(),
            module.parse()?,
            "openai".parse()?,
            model.parse()?,
        );
        fields.user_id = Some(user.parse()?);
        fields.feature = Some(feature.parse()?);
        fields.response_model = Some(answered.parse()?);
        fields.input_tokens = self.random.random_range(1..8000);
        fields.cache_read_input_tokens = fields.input_tokens / 2;
        fields.output_tokens = self.random.random_range(1..900);
        fields.reasoning_output_tokens = fields.output_tokens / 3;
        fields.latency_ms = Some(self.random.random_range(100..5000));
        fields.tags.insert("environment".to_owned(), "production".to_owned());
        self.occurred_at = self.occurred_at.after(Duration::from_micros(1));
        self.drawn += 1;
        Ok((org, encode_usage(&UsageEvent::new(fields)?)?))
    }

    /// From now on events occur from `begin` on.
    pub(crate) fn move_to(&mut self, begin: Timestamp) {
        self.occurred_at = begin;
    }
}

/// A rank from 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is a small whole number")]
fn rank(zipf: &Zipf<f64>, random: &mut StdRng) -> usize {
    (zipf.sample(random) as usize).saturating_sub(1)
}

fn pick(names: &[(&'static str, &'static str)], index: usize) -> Result<(&'static str, &'static str)> {
    names.get(index).copied().context("a name of the workload")
}
