//! `/healthz`: the process lives. `/readyz`: it can do its work, by named checks with their reasons.
//! `/metrics`: Prometheus' text format.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};

use crate::telemetry::Metrics;

/// The checks of a service. A service is ready when all of them are.
#[derive(Clone, Debug)]
pub struct Health {
    service: &'static str,
    /// The reason why a check is not ready, by its name.
    checks: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Health {
    /// No checks yet, which is ready.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self { service, checks: Arc::default() }
    }

    /// Adds a check, not ready until it says so.
    #[must_use]
    pub fn check(&self, name: impl Into<String>) -> Check {
        let check = Check { health: self.clone(), name: name.into() };
        check.not_ready("starting");
        check
    }

    /// True if every check is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    /// `/healthz`, `/readyz` and `/metrics`, to be merged into a service's router.
    pub fn router(&self, metrics: Metrics) -> Router {
        let (alive, ready) = (self.clone(), self.clone());
        Router::new()
            .route("/healthz", get(async move || Json(json!({"status": "ok", "service": alive.service}))))
            .route("/readyz", get(async move || ready.report()))
            .route(
                "/metrics",
                get(async move || {
                    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
                }),
            )
    }

    fn report(&self) -> impl IntoResponse + use<> {
        let checks = self.lock();
        let ready = checks.values().all(Option::is_none);
        let report: BTreeMap<&String, Value> = checks
            .iter()
            .map(|(name, reason)| {
                (
                    name,
                    match reason {
                        None => json!({"ready": true}),
                        Some(reason) => json!({"ready": false, "reason": reason}),
                    },
                )
            })
            .collect();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let word = if ready { "ready" } else { "not ready" };
        (status, Json(json!({"status": word, "service": self.service, "checks": report})))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One named check, set by the part of the service that knows.
#[derive(Clone, Debug)]
pub struct Check {
    health: Health,
    name: String,
}

impl Check {
    /// All is well.
    pub fn ready(&self) {
        self.health.lock().insert(self.name.clone(), None);
    }

    /// The work cannot be done, and why.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.health.lock().insert(self.name.clone(), Some(reason.into()));
    }

    /// Removes the check, such as that of a partition that was given up.
    pub fn remove(self) {
        self.health.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_is_ready_when_all_its_checks_are() {
        let health = Health::new("test");
        let (kafka, postgres) = (health.check("kafka"), health.check("postgres"));
        kafka.ready();
        assert!(!health.is_ready());
        postgres.not_ready("connection refused");
        let response = health.report().into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["checks"]["postgres"], json!({"ready": false, "reason": "connection refused"}));
        assert_eq!(body["checks"]["kafka"], json!({"ready": true}));
        postgres.ready();
        assert_eq!(health.report().into_response().status(), StatusCode::OK);
    }
}
