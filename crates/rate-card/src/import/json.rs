//! JSON whose numbers stay as they are written: a price never goes through a float.

use std::collections::BTreeMap;

use fluxori_core::amount::{PLACES, Rate};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number as written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// An object, by key.
    Object(BTreeMap<String, Self>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(de::Error::custom)
    }
}

impl Json {
    /// Reads a text.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let text = text.trim();
        Ok(match text.bytes().next() {
            Some(b'{') => Self::Object(serde_json::from_str(text)?),
            Some(b'[') => Self::List(serde_json::from_str(text)?),
            Some(b'"') => Self::Text(serde_json::from_str(text)?),
            Some(b't' | b'f') => Self::Flag(serde_json::from_str(text)?),
            Some(b'n') => Self::Null,
            _ => Self::Number(serde_json::from_str::<&RawValue>(text)?.get().to_owned()),
        })
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.object()?.get(key)
    }

    /// The values by key of an object.
    #[must_use]
    pub const fn object(&self) -> Option<&BTreeMap<String, Self>> {
        if let Self::Object(values) = self { Some(values) } else { None }
    }

    /// The items of a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// A text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A number as written.
    #[must_use]
    pub fn number(&self) -> Option<&str> {
        if let Self::Number(text) = self { Some(text) } else { None }
    }

    /// A whole number, also if it is written as `32000.0` or `3.2e4`.
    #[must_use]
    pub fn whole(&self) -> Option<i64> {
        let Exact { units, rounded } = Exact::scaled(self.number()?, 0)?;
        (!rounded && units % ONE == 0).then_some(units / ONE).and_then(|whole| whole.try_into().ok())
    }
}

const ONE: i128 = 10_i128.pow(PLACES);

/// A number in units of 10^-12.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exact {
    pub(crate) units: i128,
    /// Whether it had more places, as a float that was multiplied has, and was rounded half to even.
    pub(crate) rounded: bool,
}

impl Exact {
    /// A number of JSON times a power of ten.
    pub(crate) fn scaled(text: &str, power: i32) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let places = i32::try_from(PLACES).ok()?;
        let exponent = exponent.checked_add(places + power)?.checked_sub(fraction.len().try_into().ok()?)?;
        if exponent >= 0 {
            let units = digits.checked_mul(10_i128.checked_pow(exponent.unsigned_abs())?)?;
            return Some(Self { units, rounded: false });
        }
        // So small a part that nothing of it is left.
        let Some(divisor) = 10_i128.checked_pow(exponent.unsigned_abs()) else {
            return Some(Self { units: 0, rounded: digits != 0 });
        };
        let (quotient, rest) = (digits.div_euclid(divisor), digits.rem_euclid(divisor));
        let missing = divisor - rest;
        let up = rest > missing || (rest == missing && quotient % 2 != 0);
        Some(Self { units: quotient + i128::from(up), rounded: rest != 0 })
    }

    pub(crate) fn rate(self) -> Option<Rate> {
        Rate::from_scaled(self.units).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_from_their_text_and_rounded_half_to_even_at_the_twelfth_place() {
        let rate = |text: &str, power| {
            let exact = Exact::scaled(text, power).unwrap();
            (exact.rate().unwrap().to_string(), exact.rounded)
        };
        assert_eq!(rate("1.25e-06", 6), ("1.25".to_owned(), false));
        assert_eq!(rate("4.0000000000000003e-07", 6), ("0.4".to_owned(), true));
        assert_eq!(rate("0.08333333333333334", 0), ("0.083333333333".to_owned(), true));
        assert_eq!(rate("10", -3), ("0.01".to_owned(), false));
        assert_eq!(rate("0.0", 6), ("0".to_owned(), false));
        assert_eq!(rate("2.5e-12", 0), ("0.000000000002".to_owned(), true));
        assert_eq!(rate("3.5e-12", 0), ("0.000000000004".to_owned(), true));
        assert_eq!(rate("-1", 0), ("-1".to_owned(), false));
        assert_eq!(Json::parse("3.2e4").unwrap().whole(), Some(32_000));
        assert_eq!(Json::parse("[0.5]").unwrap().list().unwrap()[0].whole(), None);
        assert!(Json::parse("{\"a\": 1x}").is_err());
    }
}
