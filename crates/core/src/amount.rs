//! Pure: exact amounts of credits and of US dollars.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};

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

impl Usd {
    /// What a quantity costs at this price of a million: exact, because a price has at most 6 places.
    ///
    /// # Errors
    /// Out of range; too precise, if the price has more places.
    pub fn for_part_of_million(self, quantity: i64) -> Result<Self, AmountError> {
        const MILLION: i128 = 1_000_000;
        let product = self.0.checked_mul(i128::from(quantity)).ok_or(AmountError::OutOfRange)?;
        if product % MILLION != 0 {
            return Err(AmountError::TooPrecise(format!("{quantity} millionths of {self}")));
        }
        Self::from_scaled(product / MILLION)
    }

    /// Converts at `credits_per_usd`, rounded once, half to even, to twelve places.
    pub fn to_credits(self, credits_per_usd: Decimal) -> Result<Credits, AmountError> {
        let product = self.0.checked_mul(credits_per_usd.mantissa()).ok_or(AmountError::OutOfRange)?;
        divided(product, 10_i128.pow(credits_per_usd.scale())).and_then(Credits::from_scaled)
    }
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
    fn conversion_rounds_half_to_even_at_the_twelfth_place() {
        let usd: Usd = "0.000000000001".parse().unwrap();
        let half = Decimal::new(5, 1);
        assert_eq!(usd.to_credits(half).unwrap(), Credits::ZERO);
        let usd: Usd = "0.000000000003".parse().unwrap();
        assert_eq!(usd.to_credits(half).unwrap().to_string(), "0.000000000002");
    }
}
