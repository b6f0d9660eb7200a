//! Pure: from what records turned out to be to what is stored of them.

use std::collections::{BTreeMap, HashMap};

use fluxori_analytics::{KeptKind, KeptRecord, MadeBy, RangeRows};
use fluxori_core::command::CommandBody;
use fluxori_core::fold::{Admission, AdmittedCommand, AdmittedCorrection, AdmittedUsage, Quarantined};
use fluxori_core::id::{EventId, OrgId};
use fluxori_core::posting::PricedUsage;
use fluxori_core::record::QuarantineReason;
use fluxori_core::time::Timestamp;

use crate::AdmitError;
use crate::charges::{CountedUsage, Place};

/// How many records became what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Usage admitted at once.
    pub usage: u64,
    /// Usage that was released from the quarantine.
    pub released: u64,
    /// Usage that took the place of an uncertain event.
    pub superseded: u64,
    /// Charges that were corrected by command.
    pub corrected: u64,
    /// Charges that were put to what the rates in force make of them.
    pub repriced: u64,
    /// Commands of orgs, rejected ones among them.
    pub commands: u64,
    /// Global commands and ticks.
    pub global: u64,
    /// Events and commands that were known already.
    pub duplicates: u64,
    /// Usage that waits for its org to be opened.
    pub waiting: u64,
    /// Everything else in the quarantine.
    pub quarantined: u64,
}

impl Tally {
    /// Names and counts, for metrics.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("usage", self.usage),
            ("released", self.released),
            ("superseded", self.superseded),
            ("corrected", self.corrected),
            ("repriced", self.repriced),
            ("command", self.commands),
            ("global", self.global),
            ("duplicate", self.duplicates),
            ("waiting", self.waiting),
            ("quarantined", self.quarantined),
        ])
    }
}

/// What the usage log counts of the events that a batch corrects, supersedes or releases.
pub(crate) type Watched = HashMap<(OrgId, EventId), Option<CountedUsage>>;

/// What a batch comes to.
pub(crate) struct Output {
    watched: Watched,
    pub(crate) rows: RangeRows,
    pub(crate) tally: Tally,
}

impl Output {
    pub(crate) fn new(watched: Watched) -> Self {
        Self { watched, rows: RangeRows::default(), tally: Tally::default() }
    }

    /// Takes in what a record turned out to be.
    pub(crate) fn take(
        &mut self,
        raw: &fluxori_stream::Record<'_>,
        append_time: Timestamp,
        admission: Admission,
    ) -> Result<(), AdmitError> {
        let place = Place { offset: raw.offset, append_time };
        let kept = |kind| keep(kind, raw, append_time);
        match admission {
            Admission::Usage(usage) => {
                match &usage {
                    AdmittedUsage::First(..) => self.tally.usage += 1,
                    AdmittedUsage::Superseding(..) => self.tally.superseded += 1,
                }
                self.take_usage(usage, place)?;
            }
            Admission::Command(command) => {
                self.tally.commands += 1;
                self.rows.kept.push(keep_command(&command, raw, append_time));
                self.take_command(*command, place)?;
            }
            Admission::Global(_) => {
                self.tally.global += 1;
                self.rows.kept.push(kept(KeptKind::Global));
            }
            Admission::Tick => self.tally.global += 1,
            Admission::Duplicate(_) => self.tally.duplicates += 1,
            Admission::Quarantined(Quarantined { reason: QuarantineReason::OrgNotOpen, event, .. }) => {
                self.tally.waiting += 1;
                let event = event.map(|(event, _)| event);
                self.rows.kept.push(KeptRecord { event, ..kept(KeptKind::Waiting) });
            }
            Admission::Quarantined(Quarantined { event, .. }) => {
                self.tally.quarantined += 1;
                // Other records cannot be released.
                if let Some((event, _)) = event {
                    self.rows.kept.push(KeptRecord { event: Some(event), ..kept(KeptKind::Quarantined) });
                }
            }
        }
        Ok(())
    }

    fn take_command(&mut self, command: AdmittedCommand, place: Place) -> Result<(), AdmitError> {
        let reprices = matches!(command.command.body, CommandBody::Reprice(..));
        for correction in command.corrections {
            *(if reprices { &mut self.tally.repriced } else { &mut self.tally.corrected }) += 1;
            self.correct(&correction, place)?;
        }
        for usage in command.released {
            self.tally.released += 1;
            self.take_usage(usage, place)?;
        }
        Ok(())
    }

    fn take_usage(&mut self, usage: AdmittedUsage, place: Place) -> Result<(), AdmitError> {
        match usage {
            AdmittedUsage::First(usage, correction) => self.count(*usage, correction, place),
            AdmittedUsage::Superseding(correction, _) => self.correct(&correction, place),
        }
    }

    /// Usage, and the correction that waited for it.
    fn count(
        &mut self,
        usage: PricedUsage,
        correction: Option<Box<AdmittedCorrection>>,
        place: Place,
    ) -> Result<(), AdmitError> {
        let watched = match self.watched.is_empty() {
            true => None,
            false => self.watched.get_mut(&(usage.event.org_id.clone(), usage.event.event_id)),
        };
        let mut counted = CountedUsage::of(usage);
        if watched.is_none() && correction.is_none() {
            self.rows.usage.push(counted.row(MadeBy::Usage, place));
            return Ok(());
        }
        self.rows.usage.push(counted.clone().row(MadeBy::Usage, place));
        if let Some(correction) = correction {
            self.tally.corrected += 1;
            self.rows.usage.extend(counted.correct(&correction, place)?);
        }
        if let Some(watched) = watched {
            *watched = Some(counted);
        }
        Ok(())
    }

    /// A correction of usage that was counted before.
    fn correct(&mut self, correction: &AdmittedCorrection, place: Place) -> Result<(), AdmitError> {
        let event = (correction.org.clone(), correction.event_id);
        let Some(Some(counted)) = self.watched.get_mut(&event) else {
            return Err(AdmitError::NotLoaded { org: event.0, event: event.1 });
        };
        self.rows.usage.extend(counted.correct(correction, place)?);
        Ok(())
    }
}

fn keep(kind: KeptKind, raw: &fluxori_stream::Record<'_>, append_time: Timestamp) -> KeptRecord {
    let bytes = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
    KeptRecord {
        offset: raw.offset,
        append_time,
        kind,
        key: bytes(raw.key),
        value: bytes(raw.value),
        event: None,
        command: None,
    }
}

/// Every command of an org is kept: its id is taken, so that another one under it can neither open the org nor correct
/// or release anything.
fn keep_command(
    admitted: &AdmittedCommand,
    raw: &fluxori_stream::Record<'_>,
    append_time: Timestamp,
) -> KeptRecord {
    let command = Some((admitted.command.command_id, admitted.payload_digest));
    match &admitted.command.body {
        CommandBody::Correct(_, correct)
            if admitted.rejection.is_none() && admitted.corrections.is_empty() =>
        {
            let event = Some(correct.event_id);
            KeptRecord { event, command, ..keep(KeptKind::WaitingCorrection, raw, append_time) }
        }
        _ => {
            let kind = if admitted.opens { KeptKind::Opening } else { KeptKind::Command };
            KeptRecord { value: Vec::new(), command, ..keep(kind, raw, append_time) }
        }
    }
}
