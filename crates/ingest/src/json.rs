//! Pure: JSON as strangers send it, read once and strictly, so that everything behind it sees one meaning.
//!
//! A key that comes twice has two meanings, and parsers disagree on which one holds: refused, by name. So is what is no
//! JSON at all (`NaN` and `Infinity` as Python writes them, text after the value) and what nests deeper than
//! [`MAX_DEPTH`]. Every refusal says where: `metadata.usage_object.prompt_tokens`, `spans[3].attributes`.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{Reason, Rejection};

/// Deepest nesting of arrays and objects: LiteLLM writes up to 100 levels and some around them.
pub const MAX_DEPTH: usize = 120;

/// Reads one JSON value.
///
/// # Errors
/// [`Reason::NotJson`], with the path of the place where it went wrong.
pub fn read(bytes: &[u8]) -> Result<Value, Rejection> {
    let place = RefCell::new(Place::default());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(&place).deserialize(&mut deserializer).and_then(|value| {
        deserializer.end()?;
        Ok(value)
    });
    value.map_err(|error| {
        let place = place.into_inner();
        let problem = place.problem.unwrap_or_else(|| syntax_problem(bytes, &error));
        let path = place.path;
        let detail = if path.is_empty() { problem } else { format!("{path}: {problem}") };
        let field = Some(path).filter(|path| !path.is_empty());
        Rejection { event_id: None, reason: Reason::NotJson, field, detail }
    })
}

/// Where the reader is.
#[derive(Default)]
struct Place {
    path: String,
    depth: usize,
    /// What it found wrong itself, where the parser saw nothing.
    problem: Option<String>,
}

/// Longest path in a message: a hostile key may be long.
const MAX_PATH_BYTES: usize = 512;

#[derive(Clone, Copy)]
struct Strict<'p>(&'p RefCell<Place>);

impl Strict<'_> {
    /// Goes one step down for `inner`. The path stays where it went wrong.
    fn inside<T, E: de::Error>(
        self,
        step: impl FnOnce(&mut String),
        inner: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let length = {
            let mut place = self.0.borrow_mut();
            let length = place.path.len();
            if length < MAX_PATH_BYTES {
                step(&mut place.path);
            }
            length
        };
        let value = inner()?;
        self.0.borrow_mut().path.truncate(length);
        Ok(value)
    }

    fn down<E: de::Error>(self) -> Result<(), E> {
        let mut place = self.0.borrow_mut();
        place.depth += 1;
        if place.depth > MAX_DEPTH {
            return Err(wrong(&mut place, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    fn up(self) {
        self.0.borrow_mut().depth -= 1;
    }
}

fn wrong<E: de::Error>(place: &mut Place, problem: String) -> E {
    let error = E::custom(&problem);
    place.problem = Some(problem);
    error
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
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

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.down()?;
        let mut values = Vec::new();
        let step = |index: usize| move |path: &mut String| path.push_str(&format!("[{index}]"));
        while let Some(value) = self.inside(step(values.len()), || items.next_element_seed(self))? {
            values.push(value);
        }
        self.up();
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.down()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let step = |path: &mut String| {
                if !path.is_empty() {
                    path.push('.');
                }
                path.extend(key.chars().filter(|char| !char.is_control()).take(128));
            };
            let known = object.contains_key(&key);
            let value = self.inside(step, || {
                if known {
                    return Err(wrong(
                        &mut self.0.borrow_mut(),
                        "the key comes twice in its object".to_owned(),
                    ));
                }
                entries.next_value_seed(self)
            })?;
            object.insert(key, value);
        }
        self.up();
        Ok(Value::Object(object))
    }
}

/// What the parser says, or better where a well-known mistake stands at the place.
fn syntax_problem(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return format!("the JSON ends too early ({error})");
    }
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let from = error.column().saturating_sub(3);
    let near = line.get(from..line.len().min(from + 12)).unwrap_or_default();
    for name in ["NaN", "Infinity"] {
        if near.windows(name.len()).any(|window| window == name.as_bytes()) {
            return format!("{name} is no number of JSON: leave the field out, or send null ({error})");
        }
    }
    if error.to_string().starts_with("number out of range") {
        return format!("the number is too large ({error})");
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (String, String) {
        let rejection = read(text.as_bytes()).unwrap_err();
        assert_eq!(rejection.reason, Reason::NotJson);
        (rejection.field.unwrap_or_default(), rejection.detail)
    }

    #[test]
    fn a_key_that_comes_twice_is_refused_by_name() {
        let (field, detail) = refused(r#"{"a": [{"n": 1}, {"usage": {"n": 1, "n": 2}}]}"#);
        assert_eq!(field, "a[1].usage.n");
        assert!(detail.contains("comes twice"), "{detail}");
        assert!(read(br#"{"a": {"n": 1}, "b": {"n": 2}}"#).is_ok());
    }

    #[test]
    fn what_python_writes_for_no_number_is_refused_with_its_path() {
        let (field, detail) = refused(r#"{"id": "x", "usage": {"cost": NaN}}"#);
        assert_eq!(field, "usage.cost");
        assert!(detail.contains("NaN is no number"), "{detail}");
        let (field, detail) = refused("{\"id\": \"x\",\n \"cost\": [1, -Infinity]}");
        assert_eq!(field, "cost[1]");
        assert!(detail.contains("Infinity is no number"), "{detail}");
        assert_eq!(refused(r#"{"n": 1e999}"#).0, "n");
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(refused(&nested(MAX_DEPTH + 1)).1.contains("nested deeper than"));
        assert!(refused(&"{\"a\":".repeat(100_000)).1.contains("nested deeper than"));
    }

    #[test]
    fn text_that_is_cut_or_goes_on_is_refused() {
        assert!(refused("").1.contains("too early"));
        assert_eq!(refused(r#"{"a": {"b": 1"#).0, "a");
        assert!(refused("{} {}").1.contains("trailing"));
        let invalid = read(b"{\"a\": \"\xff\"}").unwrap_err();
        assert_eq!(invalid.field.as_deref(), Some("a"));
    }

    #[test]
    fn everything_else_is_read_as_serde_reads_it() {
        let text = r#"{"a": [1, -2, 3.5, "x\u00e9", null, true, {}, []], "b": {"c": 18446744073709551615}}"#;
        assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }
}
