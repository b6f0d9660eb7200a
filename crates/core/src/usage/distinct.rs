//! Pure: maps whose keys come once. A key that comes twice has two meanings, and readers disagree on which one holds.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

/// Reads a map, and refuses a key that comes twice.
pub(super) fn deserialize<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, V>, D::Error> {
    deserializer.deserialize_map(Distinct(PhantomData))
}

struct Distinct<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Distinct<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = entries.next_key()? {
            match map.entry(key) {
                Entry::Vacant(place) => place.insert(entries.next_value()?),
                Entry::Occupied(known) => {
                    return Err(A::Error::custom(format_args!("the key `{}` comes twice", known.key())));
                }
            };
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::super::UsageFields;
    use super::super::tests::event;

    #[test]
    fn a_tag_or_unit_that_comes_twice_is_refused() {
        let whole = serde_json::to_string(&event()).unwrap();
        for (field, twice) in [("tags", r#""a":"1","a":"1""#), ("units", r#""pages":"1","pages":"2""#)] {
            let text = whole.replace(&format!("\"{field}\":{{}}"), &format!("\"{field}\":{{{twice}}}"));
            assert_ne!(text, whole);
            let error = serde_json::from_str::<UsageFields>(&text).unwrap_err().to_string();
            assert!(error.contains("comes twice"), "{error}");
        }
    }
}
