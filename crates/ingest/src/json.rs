//! Pure: JSON in which no key comes twice.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{Reason, Rejection};

/// Reads one JSON value. Two readers of an object that has a key twice may see two different objects, so it is refused,
/// and so is what is nested deeper than 128.
///
/// # Errors
/// [`Reason::NotJson`] with the place; where a key comes twice, `field` is that key.
pub fn read_json(bytes: &[u8]) -> Result<Value, Rejection> {
    let twice = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { twice: &twice }.deserialize(&mut reader).and_then(|value| {
        reader.end()?;
        Ok(value)
    });
    value.map_err(|error| Rejection {
        event_id: None,
        reason: Reason::NotJson,
        field: twice.into_inner(),
        detail: error.to_string(),
    })
}

/// Builds a [`Value`], and leaves word of the first key that comes twice.
#[derive(Clone, Copy)]
struct Strict<'t> {
    twice: &'t RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let detail = format!("the key {key:?} comes twice in one object");
                self.twice.borrow_mut().get_or_insert(key);
                return Err(Error::custom(detail));
            }
            let value = entries.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_it_is() {
        let text = r#"{"a": [1, -2, 2.5, null, true, "x", {"a": "\u00e9"}], "b": {}}"#;
        assert_eq!(read_json(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_key_that_comes_twice_is_refused_by_name_however_deep() {
        for (text, key) in [
            (r#"{"org_id": "a", "module": "m", "org_id": "b"}"#, "org_id"),
            (r#"[{"x": {"tags": {"t\u0065am": 1, "team": 2}}}]"#, "team"),
        ] {
            let rejection = read_json(text.as_bytes()).unwrap_err();
            assert_eq!((rejection.reason, rejection.field.as_deref()), (Reason::NotJson, Some(key)));
            assert!(rejection.detail.contains("comes twice"), "{rejection}");
        }
    }

    #[test]
    fn what_is_no_json_or_too_deep_or_more_than_one_value_is_refused() {
        for text in ["", "{", "{} {}", "{\"a\": 1e999}", &"[".repeat(10_000)] {
            assert_eq!(read_json(text.as_bytes()).unwrap_err().reason, Reason::NotJson);
        }
    }
}
