//! Pure: what admission needs to know of the past.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::admit::{AdmittedCorrection, AdmittedUsage, CorrectedBy};
use crate::command::{Command, CommandBody, MAX_REPRICED, Reprice};
use crate::digest::Digest;
use crate::id::{CommandId, EventId, Feature, Model, Module, OrgId, Provider, UserId};
use crate::pricing::Charge;
use crate::rates::Subject;
use crate::record::{Body, Record};
use crate::time::Timestamp;
use crate::usage::{Certainty, UsageEvent};

/// Usage that came before its org was opened, in the order in which it came.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingUsage {
    /// The event.
    pub event: Arc<UsageEvent>,
    /// Its billing digest.
    pub billing_digest: Digest,
}

/// An event that was charged, under the latest revision that came as usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownEvent {
    /// What makes it the same event when it comes again.
    pub billing_digest: Digest,
    /// The event's revision, 1 or 2.
    pub revision: i32,
}

impl KnownEvent {
    /// What is known of an event once it was applied.
    #[must_use]
    pub fn of(event: &UsageEvent, billing_digest: Digest) -> Self {
        Self { billing_digest, revision: event.revision }
    }
}

/// What a correction needs to know of the charge that it corrects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargedUsage {
    /// The charge's revision: that of the event at first, one more after each correction.
    pub revision: i32,
    /// When the usage occurred.
    pub occurred_at: Timestamp,
    /// Who used it.
    pub user_id: Option<UserId>,
    /// By which module.
    pub module: Module,
    /// For which feature.
    pub feature: Option<Feature>,
    /// Who served it.
    pub provider: Provider,
    /// The model that was asked for.
    pub request_model: Model,
    /// The model that answered, where it is known; else the one that was asked for.
    pub model: Model,
    /// Digest over all but quantities and revision; only where the event was not exact, and so may be superseded.
    pub subject_digest: Option<Digest>,
    /// The charge as it is now.
    pub charge: Charge,
}

impl ChargedUsage {
    /// Of an event that has just been priced.
    #[must_use]
    pub fn of(event: &UsageEvent, charge: &Charge) -> Self {
        Self {
            revision: event.revision,
            occurred_at: event.occurred_at,
            user_id: event.user_id.clone(),
            module: event.module.clone(),
            feature: event.feature.clone(),
            provider: event.provider.clone(),
            request_model: event.request_model.clone(),
            model: event.model().clone(),
            subject_digest: (event.certainty != Certainty::Exact).then(|| event.subject_digest()),
            charge: charge.clone(),
        }
    }

    /// What its price depends on.
    #[must_use]
    pub const fn subject<'usage>(&'usage self, org: &'usage OrgId) -> Subject<'usage> {
        Subject {
            org,
            module: Some(&self.module),
            feature: self.feature.as_ref(),
            provider: &self.provider,
            response_model: Some(&self.model),
            request_model: &self.request_model,
            at: self.occurred_at,
        }
    }

    /// All names that the model goes by.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        let tier = self.charge.tier.as_ref().map(|tier| &tier.model);
        [&self.request_model, &self.model].into_iter().chain(tier)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct OrgPast {
    pub(super) open: bool,
    pub(super) waiting: Vec<WaitingUsage>,
    waiting_ids: HashMap<EventId, KnownEvent>,
    /// Corrections that wait for their event.
    pub(super) corrections: HashMap<EventId, (Arc<Command>, Digest)>,
}

impl OrgPast {
    fn wait(&mut self, event: Arc<UsageEvent>, billing_digest: Digest) {
        let known = KnownEvent::of(&event, billing_digest);
        self.waiting_ids.insert(event.event_id, known);
        self.waiting.push(WaitingUsage { event, billing_digest });
    }

    /// Opens the org and takes what waited for that.
    fn open(&mut self) -> Vec<WaitingUsage> {
        self.open = true;
        self.waiting_ids = HashMap::new();
        std::mem::take(&mut self.waiting)
    }
}

/// What admission needs to know of the past: loaded before a batch, kept up by [`super::Context::admit`] within it.
///
/// Of most events the id and digest will do. What a batch's corrections, superseding events and releases name is
/// *watched* ([`Past::watch`]): of it all that they need is loaded first, and noted when it comes within the batch.
#[derive(Debug, Clone, Default)]
pub struct Past {
    orgs: HashMap<OrgId, OrgPast>,
    events: HashMap<(OrgId, EventId), KnownEvent>,
    commands: HashMap<(OrgId, CommandId), Digest>,
    /// How many events wait, over all orgs.
    waiting: usize,
    charged: HashMap<(OrgId, EventId), Option<Box<ChargedUsage>>>,
    quarantined: HashMap<(OrgId, EventId), Vec<Arc<UsageEvent>>>,
}

impl Past {
    /// An org that is open.
    pub fn add_open_org(&mut self, org: OrgId) {
        self.orgs.entry(org).or_default().open = true;
    }

    /// Usage of an org that is not open, in the order of the log.
    pub fn add_waiting(&mut self, event: Arc<UsageEvent>) {
        let billing_digest = event.billing_digest();
        self.wait(event, billing_digest);
    }

    pub(super) fn wait(&mut self, event: Arc<UsageEvent>, billing_digest: Digest) {
        self.waiting += 1;
        self.org_mut(&event.org_id.clone()).wait(event, billing_digest);
    }

    /// How many events of all orgs wait for their org to be opened.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Opens an org and takes what waited for that.
    pub(super) fn open(&mut self, org: &OrgId) -> Vec<WaitingUsage> {
        let waiting = self.org_mut(org).open();
        self.waiting -= waiting.len();
        waiting
    }

    /// A correction that waits for its event.
    pub fn add_waiting_correction(&mut self, command: Command, payload_digest: Digest) {
        if let CommandBody::Correct(org, correct) = &command.body {
            let past = self.orgs.entry(org.clone()).or_default();
            past.corrections.insert(correct.event_id, (Arc::new(command), payload_digest));
        }
    }

    /// An event that was charged; of several revisions the latest counts.
    pub fn add_event(&mut self, org: OrgId, event: EventId, known: KnownEvent) {
        let latest = self.events.entry((org, event)).or_insert(known);
        if known.revision >= latest.revision {
            *latest = known;
        }
    }

    /// A command that was carried out or rejected.
    pub fn add_command(&mut self, org: OrgId, command: CommandId, payload_digest: Digest) {
        self.commands.insert((org, command), payload_digest);
    }

    /// The charge of a watched event.
    pub fn add_charged(&mut self, org: OrgId, event: EventId, usage: ChargedUsage) {
        self.charged.insert((org, event), Some(Box::new(usage)));
    }

    /// Usage in the quarantine under a watched id.
    pub fn add_quarantined(&mut self, event: Arc<UsageEvent>) {
        self.quarantined.entry((event.org_id.clone(), event.event_id)).or_default().push(event);
    }

    /// Keeps what is to come of an event that a later record of the batch corrects, reprices, supersedes or releases.
    pub fn watch(&mut self, org: &OrgId, event: EventId) {
        self.charged.entry((org.clone(), event)).or_default();
        self.quarantined.entry((org.clone(), event)).or_default();
    }

    /// The events that a record corrects, reprices, supersedes or releases: they must be watched and loaded first.
    pub fn to_watch(record: &Record) -> impl Iterator<Item = (&OrgId, EventId)> {
        let (one, several): (_, Option<(&OrgId, &Reprice)>) = match &record.body {
            Body::Usage(event) if event.revision > 1 => (Some((&event.org_id, event.event_id)), None),
            Body::Command(signed) => match &signed.command.body {
                CommandBody::Correct(org, correct) => (Some((org, correct.event_id)), None),
                CommandBody::Release(org, release) => (Some((org, release.event_id)), None),
                CommandBody::Reprice(org, reprice) => (None, Some((org, reprice))),
                _ => (None, None),
            },
            Body::Usage(_) | Body::Tick | Body::Unreadable(..) => (None, None),
        };
        let several = several.into_iter().flat_map(|(org, reprice)| {
            // No more than a command that holds has.
            reprice.events.iter().take(MAX_REPRICED).map(move |(event, _)| (org, *event))
        });
        one.into_iter().chain(several)
    }

    /// Whether the org is open.
    #[must_use]
    pub fn is_open(&self, org: &OrgId) -> bool {
        self.orgs.get(org).is_some_and(|past| past.open)
    }

    /// Forgets the ids of events; they must then be loaded again before they are needed.
    pub fn forget_events(&mut self) {
        self.events.clear();
    }

    /// Forgets the ids of commands; they must then be loaded again before they are needed.
    pub fn forget_commands(&mut self) {
        self.commands.clear();
    }

    /// Forgets whether an org is open and what waits for it; both must then be loaded again before they are needed.
    pub fn forget_org(&mut self, org: &OrgId) {
        if let Some(past) = self.orgs.remove(org) {
            self.waiting -= past.waiting.len();
        }
    }

    /// Forgets what was watched.
    pub fn forget_watched(&mut self) {
        self.charged.clear();
        self.quarantined.clear();
    }

    pub(super) fn org_mut(&mut self, org: &OrgId) -> &mut OrgPast {
        self.orgs.entry(org.clone()).or_default()
    }

    /// Under which digest and revision an event is known, charged or waiting.
    pub(super) fn known_event(&self, org: &OrgId, event: EventId) -> Option<KnownEvent> {
        let waiting = || self.orgs.get(org)?.waiting_ids.get(&event).copied();
        self.events.get(&(org.clone(), event)).copied().or_else(waiting)
    }

    pub(super) fn known_command(&self, org: &OrgId, command: CommandId) -> Option<Digest> {
        self.commands.get(&(org.clone(), command)).copied()
    }

    pub(super) fn charged(&self, org: &OrgId, event: EventId) -> Option<&ChargedUsage> {
        self.charged.get(&(org.clone(), event))?.as_deref()
    }

    /// Notes the charge of an event, if it is watched.
    pub(super) fn note_charged(&mut self, org: &OrgId, event: EventId, usage: impl FnOnce() -> ChargedUsage) {
        if self.charged.is_empty() {
            return;
        }
        if let Some(watched) = self.charged.get_mut(&(org.clone(), event)) {
            *watched = Some(Box::new(usage()));
        }
    }

    /// Notes that usage went into the quarantine, if its id is watched.
    pub(super) fn note_quarantined(&mut self, event: &Arc<UsageEvent>) {
        if self.quarantined.is_empty() {
            return;
        }
        if let Some(watched) = self.quarantined.get_mut(&(event.org_id.clone(), event.event_id)) {
            watched.push(event.clone());
        }
    }

    /// Usage in the quarantine of this id and digest.
    pub(super) fn quarantined(
        &self,
        org: &OrgId,
        event: EventId,
        billing_digest: Digest,
    ) -> Option<&Arc<UsageEvent>> {
        let watched = self.quarantined.get(&(org.clone(), event))?;
        watched.iter().find(|event| event.billing_digest() == billing_digest)
    }

    /// Forgets released usage of this id and digest.
    pub(super) fn forget_quarantined(&mut self, org: &OrgId, event: EventId, billing_digest: Digest) {
        if let Some(watched) = self.quarantined.get_mut(&(org.clone(), event)) {
            watched.retain(|event| event.billing_digest() != billing_digest);
        }
    }

    /// Takes back that usage was admitted, which could not be applied and goes into the quarantine.
    pub(super) fn take_back(&mut self, usage: AdmittedUsage) {
        match usage {
            AdmittedUsage::First(usage, correction) => {
                let event = (usage.event.org_id.clone(), usage.event.event_id);
                self.events.remove(&event);
                if let Some(watched) = self.charged.get_mut(&event) {
                    *watched = None;
                }
                if let Some(AdmittedCorrection { by: CorrectedBy::Command(command, digest), .. }) =
                    correction.map(|correction| *correction)
                {
                    self.org_mut(&event.0).corrections.insert(event.1, (command, digest));
                }
                self.note_quarantined(&usage.event);
            }
            AdmittedUsage::Superseding(correction, known) => {
                let AdmittedCorrection { org, event_id, by, before, .. } = *correction;
                self.events.insert((org.clone(), event_id), known);
                self.add_charged(org, event_id, before);
                if let CorrectedBy::Usage(event, _) = by {
                    self.note_quarantined(&event);
                }
            }
        }
    }
}
