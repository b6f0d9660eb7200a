//! Pure: what is wrong with the fields of a request, all of it at once.

use std::fmt::Display;

use axum::http::StatusCode;
use fluxori_runtime::http::Problem;
use serde_json::{Value, json};

use crate::refusal::Refusal;

/// The fields that are wrong, and why.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// The value, or none and a note of what is wrong with the field.
    pub(crate) fn read<T, E: Display>(&mut self, field: &'static str, value: Result<T, E>) -> Option<T> {
        value.map_err(|problem| self.refuse(field, problem)).ok()
    }

    /// As [`Self::read`], for a field that may be left out.
    pub(crate) fn read_optional<T, E: Display>(
        &mut self,
        field: &'static str,
        value: Option<Result<T, E>>,
    ) -> Option<T> {
        value.and_then(|value| self.read(field, value))
    }

    /// Notes what is wrong with a field.
    pub(crate) fn refuse(&mut self, field: &'static str, problem: impl Display) {
        self.0.push((field, problem.to_string()));
    }

    /// True if nothing is wrong.
    pub(crate) fn are_valid(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Fields> for Refusal {
    fn from(fields: Fields) -> Self {
        let texts: Vec<String> =
            fields.0.iter().map(|(field, problem)| format!("{field}: {problem}")).collect();
        let errors: Vec<Value> = fields
            .0
            .into_iter()
            .map(|(field, problem)| json!({"field": field, "problem": problem}))
            .collect();
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-fields",
            "Fields of the request are not valid",
        )
        .detail(texts.join("; "))
        .with("errors", errors)
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wrong_fields_are_named_in_one_problem() {
        let mut fields = Fields::default();
        assert_eq!(fields.read("amount", "12".parse::<i32>()), Some(12));
        assert!(fields.are_valid());
        assert_eq!(fields.read("kind", Err::<i32, _>("no such kind")), None);
        fields.refuse("expires_at", "must be after effective_at");
        let problem = serde_json::to_value(Refusal::from(fields).problem()).unwrap();
        assert_eq!(problem["status"], 422);
        assert_eq!(problem["detail"], "kind: no such kind; expires_at: must be after effective_at");
        assert_eq!(problem["errors"][1]["field"], "expires_at");
    }
}
