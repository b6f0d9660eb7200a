//! Pure: what all decoders do alike between the fields of a stranger and an event.

use std::collections::BTreeMap;

use fluxori_core::id::{IdError, Label, Module, OrgId};
use fluxori_core::usage::{MAX_RAW_USAGE_BYTES, MAX_TAGS, UsageEvent, UsageFields};
use serde_json::Value;

use crate::{Reason, Rejection, RequestContext};

/// Validates an event, and its time as of when the request came.
pub(crate) fn finish(fields: UsageFields, context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    let event = UsageEvent::new(fields).map_err(|violation| Rejection::of_violation(&violation))?;
    event.check_time(context.now).map_err(|violation| Rejection::of_violation(&violation))?;
    Ok(event)
}

/// Tags beyond the limits are dropped, and never cost the event: first those with too long a name or value, then, of each
/// group in the order of their names, what comes after the 32nd. Of two with one name the first given holds. A retry
/// drops the same ones, so its billing digest is the same.
#[derive(Debug, Default)]
pub(crate) struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Adds a group of tags, in the order of their names.
    pub(crate) fn extend<'t>(&mut self, group: impl IntoIterator<Item = (&'t str, String)>) {
        let mut fitting: Vec<_> = group
            .into_iter()
            .map(|(name, value)| (name.trim(), value))
            .filter(|(name, value)| (1..=64).contains(&name.len()) && value.len() <= 256)
            .collect();
        fitting.sort();
        for (name, value) in fitting {
            if self.0.len() < MAX_TAGS && !self.0.contains_key(name) {
                self.0.insert(name.to_owned(), value);
            }
        }
    }

    pub(crate) fn take(self) -> BTreeMap<String, String> {
        self.0
    }
}

/// A JSON value as the value of a tag: of texts, numbers and booleans.
pub(crate) fn tag_value(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The usage as it came, as evidence; none where it is longer than the event may hold.
pub(crate) fn raw(usage: &Value) -> Option<String> {
    let text = usage.to_string();
    (text.len() <= MAX_RAW_USAGE_BYTES && text != "{}").then_some(text)
}

/// A text of an id's form, if it is there. `field` is its path in what was sent.
///
/// # Errors
/// It is there and no such id.
pub(crate) fn id<T>(
    new: impl Fn(&str) -> Result<T, IdError>,
    field: &str,
    text: Option<&str>,
) -> Result<Option<T>, Rejection> {
    let wrong = |error: IdError| Rejection::new(Reason::Invalid, format!("{field}: {error}")).at(field);
    text.map(|text| new(text).map_err(wrong)).transpose()
}

/// A label that only informs: dropped where it is no label, rather than the event.
pub(crate) fn label(text: Option<&str>) -> Option<Label> {
    Label::new(text?.trim()).ok()
}

/// Shortest id of a response that names a call by itself: shorter ones may be numbers, as Ollama's `chatcmpl-0` to
/// `chatcmpl-998`.
pub(crate) const UNIQUE_CHARS: usize = 20;

/// Whether the id of a response names the call by itself.
pub(crate) fn is_unique(id: &str) -> bool {
    id.chars().count() >= UNIQUE_CHARS
}

/// The org: as the item says, else as the API key says.
pub(crate) fn org(
    said: Option<OrgId>,
    context: &RequestContext<'_>,
    how_to_say: &str,
) -> Result<OrgId, Rejection> {
    said.or_else(|| context.org.cloned()).ok_or_else(|| no_attribution("org", how_to_say))
}

/// The module: as the item says, else as the API key says.
pub(crate) fn module(
    said: Option<Module>,
    context: &RequestContext<'_>,
    how_to_say: &str,
) -> Result<Module, Rejection> {
    said.or_else(|| context.module.cloned()).ok_or_else(|| no_attribution("module", how_to_say))
}

/// The source: as the API key says, else that of the format.
pub(crate) fn source(context: &RequestContext<'_>, format: &'static str) -> Label {
    #[expect(clippy::expect_used, reason = "constants of this crate")]
    context.source.cloned().unwrap_or_else(|| Label::new(format).expect("a label"))
}

fn no_attribution(what: &str, how_to_say: &str) -> Rejection {
    let detail =
        format!("nothing says which {what} it is for: {how_to_say}, or use an API key for one {what}");
    Rejection::new(Reason::NoAttribution, detail)
}

/// Milliseconds of a number of seconds; none where it is no time that can have passed.
pub(crate) fn millis(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds just checked")]
    (0.0..1e12).contains(&millis).then_some(millis as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_beyond_the_limits_are_dropped_alike_on_every_retry() {
        let many: Vec<(String, String)> = (0..40).map(|n| (format!("tag{n:02}"), n.to_string())).collect();
        let read = |reversed: bool| {
            let mut group: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            group.push(("long", "x".repeat(257)));
            group.push(("", "empty".to_owned()));
            if reversed {
                group.reverse();
            }
            let mut tags = Tags::default();
            tags.extend([("zone", "eu".to_owned())]);
            tags.extend(group);
            tags.take()
        };
        let tags = read(false);
        assert_eq!(tags, read(true));
        assert_eq!(tags.len(), MAX_TAGS);
        assert!(tags.contains_key("zone") && tags.contains_key("tag30") && !tags.contains_key("tag31"));
    }
}
