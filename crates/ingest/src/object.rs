//! Pure: fields of a JSON object, each known by its path.

use fluxori_core::usage::{MAX_QUANTITY, Quantity};
use serde_json::{Map, Value};

use crate::{Reason, Rejection};

/// An object that may be there, and its path in what was sent.
#[derive(Debug, Clone)]
pub(crate) struct Object<'v> {
    fields: Option<&'v Map<String, Value>>,
    path: String,
}

impl<'v> Object<'v> {
    /// The outermost object.
    ///
    /// # Errors
    /// [`Reason::NotAnObject`].
    pub(crate) fn root(value: &'v Value) -> Result<Self, Rejection> {
        match value {
            Value::Object(fields) => Ok(Self { fields: Some(fields), path: String::new() }),
            other => {
                let detail = format!("{} stands where a JSON object should", kind(other));
                Err(Rejection::new(Reason::NotAnObject, detail))
            }
        }
    }

    /// The same object, as it is called in what was sent.
    pub(crate) fn named(fields: &'v Map<String, Value>, path: &str) -> Self {
        Self { fields: Some(fields), path: path.to_owned() }
    }

    /// An object inside; empty where it is missing, null or something else.
    pub(crate) fn object(&self, name: &str) -> Self {
        Self { fields: self.get(name).and_then(Value::as_object), path: self.path_of(name) }
    }

    /// The first of these that is an object with fields.
    pub(crate) fn first_object(&self, names: &[&str]) -> Self {
        let found = names.iter().map(|name| self.object(name)).find(|object| !object.is_empty());
        found.unwrap_or_else(|| Self { fields: None, path: self.path.clone() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_none_or(Map::is_empty)
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'v str, &'v Value)> + use<'v> {
        self.fields.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn map(&self) -> Option<&'v Map<String, Value>> {
        self.fields
    }

    /// A field that is not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'v Value> {
        self.fields?.get(name).filter(|value| !value.is_null())
    }

    /// A text that says something: neither empty nor white space around it.
    pub(crate) fn text(&self, name: &str) -> Option<&'v str> {
        self.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A count. `10.0` is 10: encoders that know one kind of number only write it so. Null counts as missing.
    ///
    /// # Errors
    /// A text, a fraction, what is below zero or too large, by its path.
    pub(crate) fn count(&self, name: &str) -> Result<Option<i64>, Rejection> {
        self.get(name).map(|value| count(value).map_err(|problem| self.wrong(name, &problem))).transpose()
    }

    /// The first of these counts that is there.
    pub(crate) fn first_count(&self, names: &[&str]) -> Result<Option<i64>, Rejection> {
        for name in names {
            if let Some(count) = self.count(name)? {
                return Ok(Some(count));
            }
        }
        Ok(None)
    }

    /// A quantity, with fractions: seconds, credits. What is finer than a millionth is rounded half to even.
    ///
    /// # Errors
    /// A text, what is below zero or too large, by its path.
    pub(crate) fn quantity(&self, name: &str) -> Result<Option<Quantity>, Rejection> {
        self.get(name).map(|value| quantity(value).map_err(|problem| self.wrong(name, &problem))).transpose()
    }

    pub(crate) fn wrong(&self, name: &str, problem: &str) -> Rejection {
        let path = self.path_of(name);
        Rejection::new(Reason::Invalid, format!("{path} {problem}")).at(path)
    }
}

/// What a JSON value is, for people.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn count(value: &Value) -> Result<i64, String> {
    let Value::Number(number) = value else {
        return Err(format!("is {} where a number should stand", kind(value)));
    };
    let whole = number.as_i64().or_else(|| whole_float(number.as_f64()?));
    match whole {
        Some(count) if count < 0 => Err(format!("is negative: {count}")),
        Some(count) if count > MAX_QUANTITY => Err(format!("is {count}, and larger than {MAX_QUANTITY}")),
        Some(count) => Ok(count),
        None if number.as_f64().is_some_and(|float| float.fract() == 0.0) => {
            Err(format!("is {number}, and larger than {MAX_QUANTITY}"))
        }
        None => Err(format!("is {number}, which is no whole number")),
    }
}

/// A float as a whole number, if it is one and exact.
fn whole_float(float: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and within the floats that are exact")]
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
}

fn quantity(value: &Value) -> Result<Quantity, String> {
    let Value::Number(number) = value else {
        return Err(format!("is {} where a number should stand", kind(value)));
    };
    let float = number.as_f64().unwrap_or(f64::INFINITY);
    if float < 0.0 {
        return Err(format!("is negative: {number}"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a billion is exact")]
    if float > MAX_QUANTITY as f64 {
        return Err(format!("is {number}, and larger than {MAX_QUANTITY}"));
    }
    // Half to even, as the formatting of floats does it.
    format!("{float:.6}").parse().map_err(|_| format!("is {number}, which cannot be read"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_whole_numbers_and_everything_else_is_refused_by_its_path() {
        let value = json!({"usage": {"whole": 10.0, "int": 7, "none": null, "text": "10", "part": 1.5, "minus": -1,
            "large": 1e12, "huge": 1e300, "flag": true}});
        let usage = Object::root(&value).unwrap().object("usage");
        assert_eq!(usage.count("whole").unwrap(), Some(10));
        assert_eq!(usage.count("int").unwrap(), Some(7));
        assert_eq!(usage.count("none").unwrap(), None);
        assert_eq!(usage.count("missing").unwrap(), None);
        for name in ["text", "part", "minus", "large", "huge", "flag"] {
            let rejection = usage.count(name).unwrap_err();
            assert_eq!(rejection.field, Some(format!("usage.{name}")), "{rejection}");
            assert_eq!(rejection.reason, Reason::Invalid);
        }
    }

    #[test]
    fn quantities_have_at_most_six_places() {
        let value = json!({"seconds": 12.345_678_9, "whole": 3, "text": "3", "minus": -0.5});
        let root = Object::root(&value).unwrap();
        assert_eq!(root.quantity("seconds").unwrap().unwrap(), "12.345679".parse().unwrap());
        assert_eq!(root.quantity("whole").unwrap().unwrap().whole(), Some(3));
        assert!(root.quantity("text").is_err() && root.quantity("minus").is_err());
    }
}
