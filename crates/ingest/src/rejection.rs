use fluxori_core::usage::Violation;

/// Why an item is no usage event. Says which of the caller's fields is wrong, in the caller's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
#[must_use]
pub struct Rejection {
    /// The id that the caller gave the item, if one could be read; at most 256 characters.
    pub event_id: Option<String>,
    /// The kind.
    pub reason: Reason,
    /// The field, by its path in what was sent, where it is one: `data.usage.prompt_tokens`.
    pub field: Option<String>,
    /// For people: what is wrong, and how to mend it.
    pub detail: String,
}

/// The kinds of rejection; each protocol answers them in its own form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No JSON, or none that may be read: nested too deep, a key that comes twice.
    NotJson,
    /// Another JSON value stands where an object should.
    NotAnObject,
    /// Larger than a record of the log may be.
    TooLarge,
    /// Nothing that stays the same on a retry names the call, so a retry would count twice.
    NoIdentity,
    /// A field is missing, unknown, of a wrong type, or cannot be.
    Invalid,
    /// Neither the item nor the API key says which org or module it is for.
    NoAttribution,
    /// It occurred later than a clock may run ahead.
    OccurredInFuture,
    /// It occurred before the acceptance window.
    TooLate,
}

/// Longest id of an event in a rejection, in characters.
const MAX_ID_CHARS: usize = 256;

impl Rejection {
    /// A rejection of an item as a whole.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { event_id: None, reason, field: None, detail: detail.into() }
    }

    /// Names the field.
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names the event, as the caller did, cut to its first 256 characters.
    pub fn of_event(mut self, id: Option<&str>) -> Self {
        self.event_id = id.map(|id| id.chars().take(MAX_ID_CHARS).collect());
        self
    }

    /// What core says of an event that cannot be.
    pub fn of_violation(violation: &Violation) -> Self {
        let (reason, field) = match violation {
            Violation::Negative(field) | Violation::TooLarge(field) => (Reason::Invalid, Some(*field)),
            Violation::SubsetAboveTotal { total, .. } => (Reason::Invalid, Some(*total)),
            Violation::Limit(_) | Violation::Impossible(_) => (Reason::Invalid, None),
            Violation::InFuture { .. } => (Reason::OccurredInFuture, Some("occurred_at")),
            Violation::TooLate { .. } => (Reason::TooLate, Some("occurred_at")),
        };
        let field = field.map(str::to_owned);
        Self { event_id: None, reason, field, detail: violation.to_string() }
    }
}
