//! Pure: a span's attributes by name, and by the several names that one thing has had.

use std::borrow::Cow;

use fluxori_core::usage::MAX_QUANTITY;
use serde_json::{Map, Value};

use super::names;
use super::wire::{KeyValue, Scalar};
use crate::{Reason, Rejection};

/// Attributes of a span, and of the resource that it is of.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'s> {
    span: &'s [KeyValue],
    resource: &'s OfResource<'s>,
}

/// What is read of a resource's attributes, by name: found once, for all of its spans.
#[derive(Default)]
pub(super) struct OfResource<'s>(Vec<(&'static str, &'s Scalar)>);

impl<'s> OfResource<'s> {
    pub(super) fn new(attributes: &'s [KeyValue]) -> Self {
        let tags = names::TAGS.iter().map(|(name, _)| *name);
        let read = names::OF_RESOURCE.iter().copied().chain(tags);
        Self(read.filter_map(|name| Some((name, find(attributes, name)?))).collect())
    }

    fn get(&self, name: &str) -> Option<&'s Scalar> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

impl<'s> Attributes<'s> {
    pub(super) const fn new(span: &'s [KeyValue], resource: &'s OfResource<'s>) -> Self {
        Self { span, resource }
    }

    fn of_span(self, name: &str) -> Option<&'s Scalar> {
        find(self.span, name)
    }

    pub(super) fn has(self, names: &[&str]) -> bool {
        names.iter().any(|name| self.of_span(name).is_some())
    }

    /// The first of these names that the span has.
    pub(super) fn first_of(self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.of_span(name).is_some())
    }

    /// The first of the span's attributes that is a text which says something, with its name.
    pub(super) fn named_text<'n>(self, names: &[&'n str]) -> Option<(&'n str, Cow<'s, str>)> {
        names.iter().find_map(|name| Some((*name, text(self.of_span(name)?)?)))
    }

    pub(super) fn text(self, names: &[&str]) -> Option<Cow<'s, str>> {
        self.named_text(names).map(|(_, text)| text)
    }

    /// As [`Self::text`], of the span, then of its resource.
    pub(super) fn text_anywhere(self, names: &[&str]) -> Option<Cow<'s, str>> {
        self.text(names).or_else(|| names.iter().find_map(|name| text(self.resource.get(name)?)))
    }

    pub(super) fn flag(self, name: &str) -> bool {
        matches!(self.of_span(name), Some(Scalar::Flag(true)))
    }

    pub(super) fn float(self, names: &[&str]) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "durations, which are rounded anyway")]
        names.iter().find_map(|name| match self.of_span(name)? {
            Scalar::Whole(whole) => Some(*whole as f64),
            Scalar::Float(float) => Some(*float),
            Scalar::Text(_) | Scalar::Flag(_) => None,
        })
    }

    /// The first of these counts. A whole float is a count, as some encoders know one kind of number only.
    ///
    /// # Errors
    /// It is no whole number, below zero or too large, by the attribute's name.
    pub(super) fn count(self, names: &[&str]) -> Result<Option<i64>, Rejection> {
        let found = names.iter().find_map(|name| Some((*name, self.of_span(name)?)));
        let Some((name, value)) = found else { return Ok(None) };
        let problem = match value {
            Scalar::Whole(count) if (0..=MAX_QUANTITY).contains(count) => return Ok(Some(*count)),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "within the bounds"
            )]
            Scalar::Float(float) if float.fract() == 0.0 && (0.0..=MAX_QUANTITY as f64).contains(float) => {
                return Ok(Some(*float as i64));
            }
            Scalar::Whole(count) if *count < 0 => format!("is negative: {count}"),
            Scalar::Whole(count) => format!("is {count}, and larger than {MAX_QUANTITY}"),
            Scalar::Float(float) => format!("is {float}, which is no whole number that a count can be"),
            Scalar::Text(_) => "is a text where a number should stand".to_owned(),
            Scalar::Flag(_) => "is a boolean where a number should stand".to_owned(),
        };
        Err(Rejection::new(Reason::Invalid, format!("{name} {problem}")).at(name))
    }

    /// The span's attributes whose names begin so, without that, and their values as texts.
    pub(super) fn behind(self, prefix: &str) -> Vec<(String, String)> {
        let behind = |attribute: &KeyValue| {
            let name = str::from_utf8(&attribute.key).ok()?.strip_prefix(prefix)?.to_owned();
            let value = match attribute.value.as_ref()?.value.as_ref()? {
                Scalar::Text(text) => String::from_utf8_lossy(text).into_owned(),
                Scalar::Flag(flag) => flag.to_string(),
                Scalar::Whole(whole) => whole.to_string(),
                Scalar::Float(float) => float.to_string(),
            };
            Some((name, value))
        };
        self.span.iter().filter_map(behind).collect()
    }

    /// The attributes that count tokens, as they came: evidence.
    pub(super) fn usage(self) -> Value {
        let counts = |attribute: &KeyValue| {
            let name = str::from_utf8(&attribute.key).ok()?;
            let is_usage = [".usage.", ".token_count."].iter().any(|part| name.contains(part));
            let value = match attribute.value.as_ref()?.value.as_ref()? {
                Scalar::Whole(whole) => Value::from(*whole),
                Scalar::Float(float) => Value::from(*float),
                Scalar::Text(_) | Scalar::Flag(_) => return None,
            };
            is_usage.then(|| (name.to_owned(), value))
        };
        Value::Object(self.span.iter().filter_map(counts).collect::<Map<_, _>>())
    }
}

/// The first attribute of that name: they should be unique.
fn find<'s>(attributes: &'s [KeyValue], name: &str) -> Option<&'s Scalar> {
    let found = attributes.iter().find(|attribute| attribute.key == name.as_bytes())?;
    found.value.as_ref()?.value.as_ref()
}

fn text(value: &Scalar) -> Option<Cow<'_, str>> {
    let Scalar::Text(bytes) = value else { return None };
    let text = String::from_utf8_lossy(bytes);
    let trimmed = text.trim();
    if trimmed.len() == text.len() {
        return (!text.is_empty()).then_some(text);
    }
    (!trimmed.is_empty()).then(|| Cow::Owned(trimmed.to_owned()))
}
