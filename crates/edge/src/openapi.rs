//! `GET /openapi.json`: the edge describes itself.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

use crate::{allocations, balance, check, commands, estimate, explain, transactions};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fluxori credits",
        description = "Balances, pre-flight checks and grants. Amounts are exact decimals, as text. An answer's \
            `position`, sent as `at_least`, makes a read wait until the ledger has come so far."
    ),
    paths(
        balance::get_balance,
        check::post_check,
        allocations::post_allocation,
        commands::get_command,
        transactions::get_transactions,
        explain::get_explanation,
        estimate::post_estimate,
        get_openapi
    ),
    components(schemas(ProblemBody)),
    security(("api_key" = [])),
    modifiers(&Additions)
)]
struct Description;

/// What the attributes cannot say.
struct Additions;

impl Modify for Additions {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key, `Authorization: Bearer KEY`; each is for some orgs, or for all"));
        let components = openapi.components.get_or_insert_with(Components::new);
        components.add_security_scheme("api_key", SecurityScheme::Http(bearer.build()));
    }
}

/// An RFC 9457 problem; kinds of problem add members of their own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// The kind of problem, stable.
    #[serde(rename = "type")]
    #[schema(example = "urn:fluxori:problem:org-not-open")]
    kind: String,
    /// The same for all problems of a kind.
    title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What is wrong this time, and how to mend it.
    detail: Option<String>,
    /// Names this instance of the problem; the service's log has it under this name.
    instance: Option<String>,
}

/// The problems of every request.
const COMMON: [(&str, &str); 8] = [
    ("400", "A parameter or the body is not readable"),
    ("401", "No valid API key"),
    ("403", "The API key is not for this org"),
    ("404", "There is no such org or command"),
    ("429", "The API key has used up its requests; `Retry-After` says when it has some again"),
    ("500", "Our fault; the service's log has the reason under the problem's instance"),
    (
        "503",
        "Kafka, Postgres or the ledger does not answer, or too many costly requests are under way; try again after `Retry-After`",
    ),
    ("504", "The ledger did not come so far in time; try again after `Retry-After`"),
];

/// The problems that a GET answers with.
#[derive(Debug)]
pub(crate) struct ReadProblems;

/// The problems that a POST answers with.
#[derive(Debug)]
pub(crate) struct WriteProblems;

impl IntoResponses for ReadProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[("409", "The position belongs to another log")])
    }
}

impl IntoResponses for WriteProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("413", "The body is too large"),
            ("415", "The body is not declared as JSON"),
            ("422", "Fields are not valid, or the ledger rejected the command"),
        ])
    }
}

fn problems(further: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let response = |(status, description): &(&str, &str)| {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let response =
            ResponseBuilder::new().description(*description).content("application/problem+json", content);
        ((*status).to_owned(), RefOr::T(response.build()))
    };
    COMMON.iter().chain(further).map(response).collect()
}

/// The description
#[utoipa::path(get, path = "/openapi.json", tag = "description", security(()),
    responses((status = 200, description = "This document, OpenAPI 3.1", content_type = "application/json")))]
pub(crate) async fn get_openapi() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(|| Description::openapi().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_operation_is_described_with_its_schemas_and_problems() {
        let text = serde_json::to_string(&Description::openapi()).unwrap();
        let description: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(description["openapi"], "3.1.0");
        for (method, path, problem) in [
            ("get", "/v1/balance", "409"),
            ("post", "/v1/check", "422"),
            ("post", "/v1/allocations", "422"),
            ("get", "/v1/commands/{id}", "404"),
            ("get", "/v1/transactions", "504"),
        ] {
            let operation = &description["paths"][path][method];
            let schema = &operation["responses"][problem]["content"]["application/problem+json"]["schema"];
            assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{method} {path}");
            assert!(operation["summary"].is_string() && operation["security"].is_null(), "{path}");
        }
        assert!(description["paths"]["/openapi.json"]["get"]["security"].is_array());
        // No reference leads nowhere.
        for reference in text.split("\"$ref\":\"").skip(1) {
            let target = reference.split('"').next().unwrap().trim_start_matches('#');
            assert!(description.pointer(target).is_some(), "{target}");
        }
        assert_eq!(description["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
    }
}
