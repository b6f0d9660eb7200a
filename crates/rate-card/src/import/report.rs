//! What an import did and did not do.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many examples of one kind are kept.
const EXAMPLES: usize = 5;

/// What was read, added, left out and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Models that each source has.
    pub read: BTreeMap<String, usize>,
    /// Providers of the card.
    pub providers: usize,
    /// Models of the card.
    pub models: usize,
    /// Prices of the card: of all dates, hours, service tiers and regions.
    pub prices: usize,
    /// What was taken, by kind.
    pub added: BTreeMap<String, Counted>,
    /// What was not, by reason.
    pub left_out: BTreeMap<String, Counted>,
    /// Prices with more than twelve decimal places, which were rounded.
    pub rounded: Counted,
    /// Where both sources have a price and they differ.
    pub conflicts: Vec<Conflict>,
}

/// How many there are, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// How many.
    pub count: usize,
    /// Some of them.
    pub examples: Vec<String>,
}

impl Counted {
    fn add(&mut self, example: &str) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example.to_owned());
        }
    }
}

/// A price that two sources give differently; the first holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// `provider/model`.
    pub model: String,
    /// Under which name the second source has it.
    pub name: String,
    /// Of which unit.
    pub unit: String,
    /// What holds.
    pub holds: String,
    /// What the second source says.
    pub other: String,
}

impl Report {
    pub(crate) fn added(&mut self, kind: &str, example: &str) {
        self.added.entry(kind.to_owned()).or_default().add(example);
    }

    pub(crate) fn left_out(&mut self, reason: &str, example: &str) {
        self.left_out.entry(reason.to_owned()).or_default().add(example);
    }

    pub(crate) fn rounded(&mut self, example: &str) {
        self.rounded.add(example);
    }
}
