//! Pure: exact amounts of credits and of US dollars.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};

use crate::meter::Meter;
use crate::usage::Quantity;

/// Decimal places of every stored amount.
pub const PLACES: u32 = 12;

/// Units in one: 10^12.
const ONE: i128 = 1_000_000_000_000;
/// Largest magnitude of an amount, exclusive: 10^16, in units.
const LIMIT: u128 = 10_u128.pow(16 + PLACES);

/// An amount that cannot be represented or parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The text is no decimal number.
    #[error("`{0}` is no decimal number such as 12 or 0.25")]
    NotANumber(String),
    /// More than twelve places, which would need rounding.
    #[error("`{0}` has more than {PLACES} decimal places")]
    TooPrecise(String),
    /// Magnitude of 10^16 or more.
    #[error("the amount is out of range (10^16 or more)")]
    OutOfRange,
}

fn from_decimal(value: Decimal) -> Result<i128, AmountError> {
    let value = value.normalize();
    let Some(missing) = PLACES.checked_sub(value.scale()) else {
        return Err(AmountError::TooPrecise(value.to_string()));
    };
    // The 96 bits of a decimal by 10^12 may be more than 128 bits.
    value.mantissa().checked_mul(10_i128.pow(missing)).ok_or(AmountError::OutOfRange)
}

fn to_decimal(mut units: i128) -> Decimal {
    let mut scale = PLACES;
    for step in [6, 3, 2, 1] {
        let factor = 10_i128.pow(step);
        if step <= scale && units % factor == 0 {
            units /= factor;
            scale -= step;
        }
    }
    if units == 0 { Decimal::ZERO } else { Decimal::from_i128_with_scale(units, scale) }
}

/// The quotient, rounded half to even.
fn divided(dividend: i128, divisor: i128) -> Result<i128, AmountError> {
    let quotient = dividend.checked_div_euclid(divisor).ok_or(AmountError::OutOfRange)?;
    let twice = dividend.rem_euclid(divisor) * 2;
    let up = twice > divisor || (twice == divisor && quotient % 2 != 0);
    Ok(quotient + i128::from(up))
}

macro_rules! amount {
    ($name:ident, $unit:literal) => {
        #[doc = concat!("An exact amount of ", $unit, ": at most 12 decimal places, below 10^16; never a float.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(i128);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            /// From a decimal that is within range and has at most twelve places.
            pub fn new(value: Decimal) -> Result<Self, AmountError> {
                from_decimal(value).and_then(Self::from_scaled)
            }

            /// The decimal, normalized.
            #[must_use]
            pub fn decimal(self) -> Decimal {
                to_decimal(self.0)
            }

            /// The exact sum.
            pub const fn plus(self, other: Self) -> Result<Self, AmountError> {
                Self::from_scaled(self.0 + other.0)
            }

            /// The exact difference.
            pub const fn minus(self, other: Self) -> Result<Self, AmountError> {
                Self::from_scaled(self.0 - other.0)
            }

            /// The amount with the other sign.
            #[must_use]
            pub const fn negated(self) -> Self {
                Self(-self.0)
            }

            /// Whether this is nothing.
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// Whether this is above nothing.
            #[must_use]
            pub const fn is_positive(self) -> bool {
                self.0 > 0
            }

            /// Whether this is below nothing.
            #[must_use]
            pub const fn is_negative(self) -> bool {
                self.0 < 0
            }

            /// The number of units of 10^-12: the form in digests and in `Decimal(38, 12)` columns.
            #[must_use]
            pub const fn to_scaled(self) -> i128 {
                self.0
            }

            /// From a number of units of 10^-12.
            pub const fn from_scaled(units: i128) -> Result<Self, AmountError> {
                if units.unsigned_abs() < LIMIT { Ok(Self(units)) } else { Err(AmountError::OutOfRange) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.decimal(), f)
            }
        }

        impl FromStr for $name {
            type Err = AmountError;

            fn from_str(text: &str) -> Result<Self, AmountError> {
                Decimal::from_str_exact(text)
                    .map_err(|_| AmountError::NotANumber(text.to_owned()))
                    .and_then(Self::new)
            }
        }

        impl TryFrom<String> for $name {
            type Error = AmountError;

            fn try_from(text: String) -> Result<Self, AmountError> {
                text.parse()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl From<u32> for $name {
            fn from(whole: u32) -> Self {
                Self(i128::from(whole) * ONE)
            }
        }
    };
}

amount!(Credits, "credits");
amount!(Usd, "US dollars");
amount!(Rate, "money for a million tokens, or for one of any other unit, in the currency of its price");

impl Credits {
    /// This amount times a fraction, rounded once, half to even, to twelve places.
    ///
    /// # Errors
    /// Out of range; so is a fraction of nothing.
    pub fn prorated(self, numerator: u64, denominator: u64) -> Result<Self, AmountError> {
        let product = self.0.checked_mul(i128::from(numerator)).ok_or(AmountError::OutOfRange)?;
        divided(product, i128::from(denominator)).and_then(Self::from_scaled)
    }
}

impl Rate {
    /// What a quantity costs, exactly: in units of 10^-18, because a rate has at most 12 places, and a quantity of tokens
    /// none, of other units at most 6.
    ///
    /// # Errors
    /// Out of range.
    pub fn times(self, meter: Meter, quantity: Quantity) -> Result<i128, AmountError> {
        let quantity = if meter.is_tokens() { quantity.whole() } else { Some(quantity.scaled()) };
        quantity.and_then(|quantity| self.0.checked_mul(quantity)).ok_or(AmountError::OutOfRange)
    }
}

/// An exact, positive factor such as a markup or an exchange rate: at most 8 decimal places, at most a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Factor(Decimal);

/// Most decimal places of a [`Factor`].
const FACTOR_PLACES: u32 = 8;
/// Largest [`Factor`].
const MAX_FACTOR: u32 = 1_000_000;

/// A factor that cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no factor: a decimal number above 0 and at most {MAX_FACTOR}, with at most {FACTOR_PLACES} decimal places"
)]
pub struct FactorError(String);

impl Factor {
    /// One.
    pub const ONE: Self = Self(Decimal::ONE);

    /// A whole factor.
    #[must_use]
    pub fn whole(factor: std::num::NonZeroU16) -> Self {
        Self(Decimal::from(factor.get()))
    }

    /// Checks a decimal.
    pub fn new(value: Decimal) -> Result<Self, FactorError> {
        let value = value.normalize();
        let fits =
            value > Decimal::ZERO && value <= Decimal::from(MAX_FACTOR) && value.scale() <= FACTOR_PLACES;
        if fits { Ok(Self(value)) } else { Err(FactorError(value.to_string())) }
    }

    /// The decimal, normalized.
    #[must_use]
    pub const fn decimal(self) -> Decimal {
        self.0
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Factor {
    type Err = FactorError;

    fn from_str(text: &str) -> Result<Self, FactorError> {
        Decimal::from_str_exact(text).map_err(|_| FactorError(text.to_owned())).and_then(Self::new)
    }
}

impl TryFrom<String> for Factor {
    type Error = FactorError;

    fn try_from(text: String) -> Result<Self, FactorError> {
        text.parse()
    }
}

impl Serialize for Factor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How what lies between two amounts is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundingRule {
    /// To the nearest; from the middle to the even one (banker's rounding).
    #[default]
    HalfEven,
    /// To the nearest; from the middle up.
    HalfUp,
    /// Up.
    Up,
    /// Down.
    Down,
}

impl RoundingRule {
    /// The name in rate cards and digests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HalfEven => "half_even",
            Self::HalfUp => "half_up",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// The quotient of a dividend that is not negative and a positive divisor.
    fn divide(self, dividend: i128, divisor: i128) -> Option<i128> {
        let (quotient, rest) = (dividend.checked_div_euclid(divisor)?, dividend.checked_rem_euclid(divisor)?);
        let missing = divisor - rest;
        let up = match self {
            Self::HalfEven => rest > missing || (rest == missing && quotient % 2 != 0),
            Self::HalfUp => rest >= missing,
            Self::Up => rest > 0,
            Self::Down => false,
        };
        quotient.checked_add(i128::from(up))
    }
}

/// To how many places and by which rule an amount of credits is rounded, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rounding {
    /// The rule.
    pub rule: RoundingRule,
    /// Decimal places, at most 12.
    pub places: u32,
}

impl Default for Rounding {
    /// Half to even, to twelve places.
    fn default() -> Self {
        Self { rule: RoundingRule::HalfEven, places: PLACES }
    }
}

/// Multiplies an exact sum (units of 10^-18, not negative) by factors and rounds the product once. The result is in units
/// of 10^-12.
///
/// # Errors
/// Out of range: the product has more than 38 digits that count. A cost of a million dollars with all its 18 places leaves
/// room for 14 digits of factors.
pub fn product(exact: i128, factors: &[Factor], rounding: Rounding) -> Result<i128, AmountError> {
    let places = rounding.places.min(PLACES);
    let mut exponent = 18 - places;
    let mut product = exact;
    for factor in factors {
        // Zeros at the end of the sum are taken off against the denominator, so that only real digits need room.
        while exponent > 0 && product % 10 == 0 && product != 0 {
            product /= 10;
            exponent -= 1;
        }
        product = product.checked_mul(factor.0.mantissa()).ok_or(AmountError::OutOfRange)?;
        exponent += factor.0.scale();
    }
    let rounded = match 10_i128.checked_pow(exponent) {
        Some(divisor) => rounding.rule.divide(product, divisor).ok_or(AmountError::OutOfRange)?,
        // The product is less than half of one, whatever it is.
        None => i128::from(product > 0 && rounding.rule == RoundingRule::Up),
    };
    rounded.checked_mul(10_i128.pow(PLACES - places)).ok_or(AmountError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_normalized() {
        let a: Credits = "0.100000000001".parse().unwrap();
        let b: Credits = "0.2".parse().unwrap();
        assert_eq!(a.plus(b).unwrap().to_string(), "0.300000000001");
        assert_eq!("1.50".parse::<Credits>().unwrap().to_string(), "1.5");
        assert_eq!(Credits::from_scaled(a.to_scaled()).unwrap(), a);
        for text in
            ["0", "7", "-120", "1000000", "0.000001", "12.000001", "-0.00001", "1234567890.12345678901"]
        {
            let amount: Credits = text.parse().unwrap();
            assert_eq!(
                (amount.to_string().as_str(), amount.decimal().scale()),
                (text, amount.decimal().normalize().scale())
            );
        }
    }

    #[test]
    fn what_would_need_rounding_or_does_not_fit_is_refused() {
        assert!(matches!("0.1234567890123".parse::<Usd>(), Err(AmountError::TooPrecise(_))));
        assert_eq!("10000000000000000".parse::<Usd>(), Err(AmountError::OutOfRange));
        assert!(matches!("1e3x".parse::<Usd>(), Err(AmountError::NotANumber(_))));
        let most: Credits = "9999999999999999.999999999999".parse().unwrap();
        assert_eq!(most.plus(Credits::from(1)), Err(AmountError::OutOfRange));
    }

    #[test]
    fn a_share_is_rounded_once_half_to_even_at_the_twelfth_place() {
        let share =
            |amount: &str, of, to| amount.parse::<Credits>().unwrap().prorated(of, to).unwrap().to_string();
        assert_eq!(share("1000", 15, 30), "500");
        assert_eq!(share("100", 1, 3), "33.333333333333");
        assert_eq!(share("0.000000000001", 1, 2), "0");
        assert_eq!(share("0.000000000003", 1, 2), "0.000000000002");
        assert_eq!(share("-0.000000000003", 1, 2), "-0.000000000002");
        assert!(Credits::from(1).prorated(1, 0).is_err());
    }

    #[test]
    fn a_product_is_rounded_once_by_the_rule_that_is_named() {
        let product = |exact, factors: &[&str], rule, places| {
            let factors: Vec<Factor> = factors.iter().map(|text| text.parse().unwrap()).collect();
            Credits::from_scaled(product(exact, &factors, Rounding { rule, places }).unwrap())
                .unwrap()
                .to_string()
        };
        let half: i128 = 2_500_000;
        assert_eq!(product(half, &[], RoundingRule::HalfEven, 12), "0.000000000002");
        assert_eq!(product(half, &[], RoundingRule::HalfUp, 12), "0.000000000003");
        assert_eq!(product(half, &[], RoundingRule::Up, 2), "0.01");
        assert_eq!(product(half, &[], RoundingRule::Down, 12), "0.000000000002");
        // 0.002575 dollars of 1,000 credits with a markup of 7.5 %.
        assert_eq!(
            product(2_575_000_000_000_000, &["1000", "1.075"], RoundingRule::HalfEven, 12),
            "2.768125"
        );
        assert_eq!(product(2_575_000_000_000_000, &["1000", "1.075"], RoundingRule::Up, 0), "3");
    }

    #[test]
    fn a_product_that_does_not_fit_is_an_error_and_never_wraps() {
        let most: Factor = "999999.99999999".parse().unwrap();
        assert_eq!(product(i128::MAX, &[most], Rounding::default()), Err(AmountError::OutOfRange));
        assert_eq!(
            product(10_i128.pow(24) - 1, &[most; 4], Rounding::default()),
            Err(AmountError::OutOfRange)
        );
    }

    #[test]
    fn a_product_too_small_for_its_places_is_rounded_like_any_other() {
        let tiny: Factor = "0.00000001".parse().unwrap();
        let whole = |exact, rule| product(exact, &[tiny; 3], Rounding { rule, places: 0 }).unwrap();
        assert_eq!((whole(1, RoundingRule::HalfUp), whole(1, RoundingRule::Up)), (0, 10_i128.pow(12)));
        assert_eq!(whole(0, RoundingRule::Up), 0);
    }

    #[test]
    fn a_factor_is_positive_and_has_at_most_eight_places() {
        for text in ["0", "-1", "1000000.1", "0.000000001", "1e3"] {
            assert!(text.parse::<Factor>().is_err(), "{text}");
        }
        assert_eq!("1.50".parse::<Factor>().unwrap().to_string(), "1.5");
    }
}
