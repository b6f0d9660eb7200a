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
