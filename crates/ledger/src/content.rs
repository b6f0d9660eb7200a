//! What the ledger's rows hold, in words: from Postgres and from a fold of the log alike, so that the two can be compared
//! column by column.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use fluxori_core::digest::{Canonical, Digest};
use fluxori_core::fold::{Allocation, PlanState};
use fluxori_core::id::{EventId, OrgId};
use fluxori_core::rates::PricingTier;
use serde_json::Value;
use uuid::Uuid;

use crate::Changes;
use crate::commit::{CommandRow, GlobalRecord, PostingRow, QuarantineRow};
use crate::error::LedgerError;
use crate::rows::allocation::AllocationRow;
use crate::rows::global::{GlobalColumns, TierColumns};
use crate::rows::organization::PlanRow;
use crate::rows::outcome::{CommandColumns, DISMISSED, QuarantineColumns, RELEASED, STATUS, WAITING};
use crate::rows::posting::TransactionRow;

/// Which row, of whom: in words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// Whose it is; [`crate::GLOBAL_ORG`] for global commands, empty for global records and prices, and where no org could be
    /// read.
    pub org_id: String,
    /// In which partition its record lies; none for allocations.
    pub partition: Option<i32>,
    /// Which row, such as `allocation 019a...`.
    pub row: String,
}

impl RowKey {
    pub(crate) fn new(org_id: &str, partition: Option<i32>, row: String) -> Self {
        Self { org_id: org_id.to_owned(), partition, row }
    }
}

/// The columns of a row as texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowText(Vec<(&'static str, Option<String>)>);

/// The first column in which two rows differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDifference {
    /// Its name.
    pub column: &'static str,
    /// What the log says.
    pub log: String,
    /// What Postgres holds.
    pub ledger: String,
}

impl RowText {
    /// The first column in which a row of Postgres differs from this one, which the log makes.
    #[must_use]
    pub fn first_difference(&self, ledger: &Self) -> Option<ColumnDifference> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        let (log, ledger) = self.0.iter().zip(&ledger.0).find(|(log, ledger)| log != ledger)?;
        Some(ColumnDifference { column: log.0, log: text(&log.1), ledger: text(&ledger.1) })
    }

    /// The digest of this row after `previous`.
    fn chained_digest(&self, previous: Digest) -> Digest {
        let mut canonical = Canonical::new("fluxori.row.v1");
        canonical.bytes(&previous.0);
        for (column, value) in &self.0 {
            canonical.text(column).optional_text(value.as_deref());
        }
        canonical.digest()
    }

    pub(crate) fn put(&mut self, column: &'static str, value: impl Display) -> &mut Self {
        self.put_some(column, Some(value))
    }

    pub(crate) fn put_some(&mut self, column: &'static str, value: Option<impl Display>) -> &mut Self {
        self.0.push((column, value.map(|value| value.to_string())));
        self
    }

    pub(crate) fn put_time(&mut self, column: &'static str, value: Option<DateTime<Utc>>) -> &mut Self {
        self.put_some(column, value.map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true)))
    }

    pub(crate) fn put_bytes(&mut self, column: &'static str, value: Option<&[u8]>) -> &mut Self {
        let hexadecimal = |bytes: &[u8]| {
            bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        self.put_some(column, value.map(hexadecimal))
    }

    pub(crate) fn put_json(&mut self, column: &'static str, value: Option<&Value>) -> &mut Self {
        self.put_some(column, value.map(SortedJson))
    }

    fn holds(&self, column: &'static str, value: &str) -> bool {
        self.0.iter().any(|(name, found)| *name == column && found.as_deref() == Some(value))
    }

    fn replace(&mut self, column: &'static str, value: &str) {
        if let Some(found) = self.0.iter_mut().find(|(name, _)| *name == column) {
            found.1 = Some(value.to_owned());
        }
    }
}

/// JSON with the keys of objects in order, whatever order Postgres or a library gives them.
struct SortedJson<'a>(&'a Value);

impl Display for SortedJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{}", SortedJson(item))?;
                }
                f.write_str("]")
            }
            Value::Object(fields) => {
                let fields: BTreeMap<_, _> = fields.iter().collect();
                f.write_str("{")?;
                for (index, (name, value)) in fields.into_iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{}:{}", Value::from(name.as_str()), SortedJson(value))?;
                }
                f.write_str("}")
            }
            scalar => write!(f, "{scalar}"),
        }
    }
}

/// What the rows of a ledger hold: of postings, which are many, a running digest per org; all others one by one.
#[derive(Debug, Default)]
pub struct Contents {
    /// By org: digest over every column of every posting, in order.
    pub postings: BTreeMap<String, Digest>,
    /// All others: allocations, outcomes of commands, quarantined and global records, prices, plans.
    pub rows: BTreeMap<RowKey, RowText>,
    quarantined: HashMap<(OrgId, EventId, Digest), Vec<RowKey>>,
}

impl Contents {
    /// What records changed, in their order.
    ///
    /// # Errors
    /// Something cannot be written as a row.
    pub fn add(&mut self, partition: i32, changes: &Changes) -> Result<(), LedgerError> {
        for row in &changes.postings {
            self.add_posting(partition, row)?;
        }
        changes.commands.iter().for_each(|row| self.put_command(partition, row));
        changes.quarantine.iter().for_each(|row| self.put_quarantined(partition, row));
        changes.released.iter().for_each(|(org, event, digest)| self.release(org, *event, *digest));
        changes.dismissed.iter().for_each(|(org, offset)| self.dismiss(org, partition, *offset));
        for (org, event, offset, _) in &changes.waiting_corrections {
            self.put_waiting_correction(org, *event, *offset);
        }
        changes.corrected.iter().for_each(|(org, event)| self.remove_waiting_correction(org, *event));
        for (org, plan) in &changes.plans {
            self.put_plan(org, plan.as_ref())?;
        }
        for (org, allocation) in &changes.allocations {
            self.put_allocation(org, allocation)?;
        }
        changes.globals.iter().for_each(|record| self.put_global(partition, record));
        changes.tiers.iter().try_for_each(|tier| self.put_tier(tier))
    }

    /// The next posting of its org.
    ///
    /// # Errors
    /// It cannot be written as a row.
    pub fn add_posting(&mut self, partition: i32, row: &PostingRow) -> Result<(), LedgerError> {
        self.add_posting_row(&TransactionRow::of(row, partition)?);
        Ok(())
    }

    pub(crate) fn add_posting_row(&mut self, row: &TransactionRow) {
        let text = row.text();
        if let Some(digest) = self.postings.get_mut(&row.org_id) {
            *digest = text.chained_digest(*digest);
        } else {
            self.postings.insert(row.org_id.clone(), text.chained_digest(Digest::default()));
        }
    }

    /// An allocation as it is now.
    ///
    /// # Errors
    /// It cannot be written as a row.
    pub fn put_allocation(&mut self, org: &OrgId, allocation: &Allocation) -> Result<(), LedgerError> {
        self.put(AllocationRow::of(org, allocation)?.text());
        Ok(())
    }

    /// The outcome of a command.
    pub fn put_command(&mut self, partition: i32, row: &CommandRow) {
        self.put(CommandColumns::of(row, partition).text());
    }

    /// A record that was not applied.
    pub fn put_quarantined(&mut self, partition: i32, row: &QuarantineRow) {
        let (key, text) = QuarantineColumns::of(row, partition).text();
        let quarantined = &row.quarantined;
        if let (Some(org), Some((event, digest))) = (&quarantined.org, quarantined.event) {
            self.quarantined.entry((org.clone(), event, digest)).or_default().push(key.clone());
        }
        self.put((key, text));
    }

    /// Usage that was released from the quarantine, by name or when its org was opened.
    pub fn release(&mut self, org: &OrgId, event: EventId, billing_digest: Digest) {
        for key in self.quarantined.get(&(org.clone(), event, billing_digest)).into_iter().flatten() {
            if let Some(text) = self.rows.get_mut(key) {
                text.replace(STATUS, RELEASED);
            }
        }
    }

    /// A record that was dismissed, unless it was released.
    pub fn dismiss(&mut self, org: &OrgId, partition: i32, offset: i64) {
        let key = quarantine_key(org.as_str(), partition, offset);
        if let Some(text) = self.rows.get_mut(&key).filter(|text| text.holds(STATUS, WAITING)) {
            text.replace(STATUS, DISMISSED);
        }
    }

    /// The plan of an org as it is now, if it is on one.
    ///
    /// # Errors
    /// It cannot be written as a row.
    pub fn put_plan(&mut self, org: &OrgId, plan: Option<&PlanState>) -> Result<(), LedgerError> {
        match plan {
            Some(plan) => self.put(PlanRow::of(org, plan)?.text()),
            None => _ = self.rows.remove(&plan_key(org.as_str())),
        }
        Ok(())
    }

    /// A correction that waits for its event.
    pub fn put_waiting_correction(&mut self, org: &OrgId, event: EventId, offset: i64) {
        self.put(waiting_correction(org.as_str(), event.0, offset));
    }

    /// The event of a correction that waited has come.
    pub fn remove_waiting_correction(&mut self, org: &OrgId, event: EventId) {
        self.rows.remove(&waiting_correction(org.as_str(), event.0, 0).0);
    }

    /// A global record that was carried out or rejected.
    pub fn put_global(&mut self, partition: i32, record: &GlobalRecord) {
        self.put(GlobalColumns::of(partition, record).text());
    }

    /// A price that came into force.
    ///
    /// # Errors
    /// It cannot be written as a row.
    pub fn put_tier(&mut self, tier: &Arc<PricingTier>) -> Result<(), LedgerError> {
        self.put(TierColumns::of(tier)?.text());
        Ok(())
    }

    /// Leaves out what is not an org's.
    pub fn keep_org(&mut self, org: &OrgId) {
        self.postings.retain(|of, _| of == org.as_str());
        self.rows.retain(|key, _| key.org_id == org.as_str());
    }

    pub(crate) fn put(&mut self, (key, text): (RowKey, RowText)) {
        self.rows.insert(key, text);
    }
}

pub(crate) fn plan_key(org_id: &str) -> RowKey {
    RowKey::new(org_id, None, "the plan".to_owned())
}

pub(crate) fn waiting_correction(org_id: &str, event: Uuid, offset: i64) -> (RowKey, RowText) {
    let mut text = RowText::default();
    text.put("log_offset", offset);
    (RowKey::new(org_id, None, format!("the correction that waits for event {event}")), text)
}

pub(crate) fn quarantine_key(org_id: &str, partition: i32, offset: i64) -> RowKey {
    RowKey::new(org_id, Some(partition), format!("the quarantined record at offset {offset}"))
}

/// The row of a posting in words.
///
/// # Errors
/// It cannot be written as a row.
pub fn posting_text(partition: i32, row: &PostingRow) -> Result<RowText, LedgerError> {
    Ok(TransactionRow::of(row, partition)?.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(amount: &str, scope: Option<Value>) -> RowText {
        let mut text = RowText::default();
        text.put("kind", "debit").put("amount", amount).put_json("scope", scope.as_ref());
        text
    }

    #[test]
    fn the_first_column_that_differs_is_named_with_both_values() {
        let log = row("1", Some(serde_json::json!({"models": ["gpt-5"]})));
        assert_eq!(log.first_difference(&log), None);
        let found = log.first_difference(&row("2", None)).unwrap();
        assert_eq!((found.column, &*found.log, &*found.ledger), ("amount", "1", "2"));
        let found = log.first_difference(&row("1", None)).unwrap();
        assert_eq!((found.column, &*found.ledger), ("scope", "null"));
    }

    #[test]
    fn the_order_of_the_keys_of_json_is_no_difference() {
        let text = |text: &str| row("1", Some(serde_json::from_str(text).unwrap()));
        let log = text(r#"{"a": {"x": "\"", "y": [1, null]}, "b": true}"#);
        assert_eq!(log, text(r#"{"b": true, "a": {"y": [1, null], "x": "\""}}"#));
        assert_ne!(log, text(r#"{"b": true, "a": {"y": [null, 1], "x": "\""}}"#));
    }

    #[test]
    fn digests_of_postings_tell_rows_from_each_other_and_know_their_order() {
        let chain = |rows: &[RowText]| rows.iter().fold(Digest::default(), |d, row| row.chained_digest(d));
        let (a, b) = (row("1", None), row("2", None));
        assert_eq!(chain(&[a.clone(), b.clone()]), chain(&[a.clone(), b.clone()]));
        assert_ne!(chain(&[a.clone(), b.clone()]), chain(&[b.clone(), a.clone()]));
        assert_ne!(chain(&[a.clone(), a.clone()]), chain(&[a, b]));
    }
}
