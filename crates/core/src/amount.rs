//! Pure: exact amounts of credits and of US dollars.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

/// Decimal places of every stored amount.
pub const PLACES: u32 = 12;

/// Largest magnitude of an amount, exclusive: 10^16, so that 12 places always fit the 96 bits of a decimal.
const LIMIT: i64 = 10_000_000_000_000_000;

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

fn check(value: Decimal) -> Result<Decimal, AmountError> {
    if value.abs() >= Decimal::from(LIMIT) {
        return Err(AmountError::OutOfRange);
    }
    let value = value.normalize();
    if value.scale() > PLACES { Err(AmountError::TooPrecise(value.to_string())) } else { Ok(value) }
}

fn parse(text: &str) -> Result<Decimal, AmountError> {
    Decimal::from_str_exact(text).map_err(|_| AmountError::NotANumber(text.to_owned())).and_then(check)
}

macro_rules! amount {
    ($name:ident, $unit:literal) => {
        #[doc = concat!("An exact amount of ", $unit, ": at most 12 decimal places, below 10^16; never a float.")]
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Decimal);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(Decimal::ZERO);

            /// From a decimal that is within range and has at most twelve places.
            pub fn new(value: Decimal) -> Result<Self, AmountError> {
                check(value).map(Self)
            }

            /// The decimal, normalized.
            #[must_use]
            pub const fn decimal(self) -> Decimal {
                self.0
            }

            /// The exact sum.
            pub fn plus(self, other: Self) -> Result<Self, AmountError> {
                self.0.checked_add(other.0).ok_or(AmountError::OutOfRange).and_then(Self::new)
            }

            /// The exact difference.
            pub fn minus(self, other: Self) -> Result<Self, AmountError> {
                self.plus(other.negated())
            }

            /// The amount with the other sign.
            #[must_use]
            pub fn negated(self) -> Self {
                if self.0.is_zero() { Self::ZERO } else { Self(-self.0) }
            }

            /// Whether this is nothing.
            #[must_use]
            pub fn is_zero(self) -> bool {
                self.0.is_zero()
            }

            /// Whether this is above nothing.
            #[must_use]
            pub fn is_positive(self) -> bool {
                self.0 > Decimal::ZERO
            }

            /// Whether this is below nothing.
            #[must_use]
            pub fn is_negative(self) -> bool {
                self.0 < Decimal::ZERO
            }

            /// The number of units of 10^-12: the form in digests and in `Decimal(38, 12)` columns.
            #[must_use]
            pub fn to_scaled(self) -> i128 {
                let mut value = self.0;
                value.rescale(PLACES);
                value.mantissa()
            }

            /// From a number of units of 10^-12.
            pub fn from_scaled(units: i128) -> Result<Self, AmountError> {
                Decimal::try_from_i128_with_scale(units, PLACES)
                    .map_err(|_| AmountError::OutOfRange)
                    .and_then(Self::new)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = AmountError;

            fn from_str(text: &str) -> Result<Self, AmountError> {
                parse(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = AmountError;

            fn try_from(text: String) -> Result<Self, AmountError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(amount: $name) -> Self {
                amount.to_string()
            }
        }

        impl From<u32> for $name {
            fn from(whole: u32) -> Self {
                Self(Decimal::from(whole))
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
        let product = self.to_scaled().checked_mul(i128::from(numerator)).ok_or(AmountError::OutOfRange)?;
        let divisor = i128::from(denominator);
        let quotient = product.checked_div_euclid(divisor).ok_or(AmountError::OutOfRange)?;
        let twice = product.rem_euclid(divisor) * 2;
        let up = twice > divisor || (twice == divisor && quotient % 2 != 0);
        Self::from_scaled(quotient + i128::from(up))
    }
}

impl Usd {
    /// Converts at `credits_per_usd`, rounded once, half to even, to twelve places.
    pub fn to_credits(self, credits_per_usd: Decimal) -> Result<Credits, AmountError> {
        let exact = self.0.checked_mul(credits_per_usd).ok_or(AmountError::OutOfRange)?;
        Credits::new(exact.round_dp_with_strategy(PLACES, RoundingStrategy::MidpointNearestEven))
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
