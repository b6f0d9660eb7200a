//! Log lines by `tracing`, on standard error: pretty with colours on a terminal, JSON elsewhere.
//! Metrics by the `metrics` crate, rendered for Prometheus.

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::Error;
use crate::config::{LogFormat, TelemetryConfig};

/// Upper bounds of the buckets of histograms whose names end in `_seconds`.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often samples are summed up.
const UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);

/// The process' metrics.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

/// Installs tracing and the metrics recorder for this process.
///
/// # Errors
/// [`Error::LogFilter`] for a filter that cannot be parsed, [`Error::Telemetry`] the second time.
pub fn init(config: &TelemetryConfig) -> Result<Metrics, Error> {
    init_logs(config)?;
    let install = |reason: String| Error::Telemetry { what: "the metrics recorder", reason };
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| install(error.to_string()))?;
    // Samples are kept until somebody sums them up, whether anybody asks for them or not.
    let upkeep = handle.clone();
    let thread = std::thread::Builder::new().name("metrics-upkeep".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(UPKEEP);
            upkeep.run_upkeep();
        }
    });
    thread.map_err(|error| install(error.to_string()))?;
    Ok(Metrics(handle))
}

/// Installs tracing alone, for programs that serve no metrics.
///
/// # Errors
/// As [`init`].
pub fn init_logs(config: &TelemetryConfig) -> Result<(), Error> {
    let filter = EnvFilter::builder()
        .parse(&config.filter)
        .map_err(|error| Error::LogFilter { filter: config.filter.clone(), reason: error.to_string() })?;
    let terminal = std::io::stderr().is_terminal();
    let pretty = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = if pretty {
        lines.with_ansi(terminal).try_init()
    } else {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
    installed.map_err(|error| Error::Telemetry { what: "tracing", reason: error.to_string() })
}
