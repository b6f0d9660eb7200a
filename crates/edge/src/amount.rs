//! Pure: amounts of credits in requests, as text or as a JSON number, which is never read as a float.

use fluxori_core::amount::{AmountError, Credits};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// An amount as it was sent.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct AmountField(Box<RawValue>);

impl AmountField {
    /// The exact amount.
    pub(crate) fn credits(&self) -> Result<Credits, AmountError> {
        let sent = self.0.get();
        match serde_json::from_str::<String>(sent) {
            Ok(text) => text.parse(),
            Err(_) => number(sent),
        }
    }
}

/// The exact value of a JSON number, exponent included: programs write 0.0000001 as 1e-7.
fn number(text: &str) -> Result<Credits, AmountError> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return text.parse() };
    let no_number = || AmountError::NotANumber(text.to_owned());
    let mantissa = Decimal::from_str_exact(mantissa).map_err(|_| no_number())?.normalize();
    let exponent: i32 = exponent.parse().map_err(|_| no_number())?;
    let scale = i64::from(mantissa.scale()) - i64::from(exponent);
    let value = match u32::try_from(scale) {
        Ok(scale) => Decimal::try_from_i128_with_scale(mantissa.mantissa(), scale)
            .map_err(|_| AmountError::TooPrecise(text.to_owned()))?,
        Err(_) => u32::try_from(-scale)
            .ok()
            .and_then(|zeros| 10_i128.checked_pow(zeros))
            .and_then(|factor| mantissa.mantissa().checked_mul(factor))
            .and_then(|whole| Decimal::try_from_i128_with_scale(whole, 0).ok())
            .ok_or(AmountError::OutOfRange)?,
    };
    Credits::new(value)
}

impl ToSchema for AmountField {}

impl PartialSchema for AmountField {
    fn schema() -> RefOr<Schema> {
        let of_type = |kind| ObjectBuilder::new().schema_type(SchemaType::Type(kind));
        let description = "Credits, exact: at most 12 decimal places, below 10^16. Text is the safe form.";
        OneOfBuilder::new()
            .description(Some(description))
            .item(of_type(Type::String).examples(["12.5"]))
            .item(of_type(Type::Number))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<String, AmountError> {
        let field: AmountField = serde_json::from_str(json).unwrap();
        field.credits().map(|credits| credits.to_string())
    }

    #[test]
    fn text_and_numbers_are_read_to_the_last_digit() {
        for (json, amount) in [
            ("\"12.50\"", "12.5"),
            ("0.1", "0.1"),
            ("9007199254740993.000000000001", "9007199254740993.000000000001"),
            ("1e-7", "0.0000001"),
            ("1.5E+3", "1500"),
            ("-2", "-2"),
        ] {
            assert_eq!(read(json).as_deref(), Ok(amount), "{json}");
        }
    }

    #[test]
    fn what_is_no_exact_amount_is_refused() {
        for json in
            ["\"ten\"", "\"\"", "true", "{}", "[1]", "null", "1e-13", "1e400", "1e99999999999", "1e16"]
        {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
