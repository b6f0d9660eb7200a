//! The decoders against what the real libraries send: captures of LiteLLM 1.106 and of OpenTelemetry's, Traceloop's and
//! OpenInference's instrumentations, and responses in the form of the providers' API references.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod litellm;
mod litellm_callers;
mod otlp;
mod otlp_wire;
mod properties;
mod provider_usage;

use std::path::PathBuf;

use fluxori_core::id::{Module, OrgId};
use fluxori_core::usage::UsageEvent;
use fluxori_ingest::RequestContext;

/// When the captures were made.
const NOW: &str = "2026-11-23T05:30:00Z";

fn fixtures(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(fixtures(path)).unwrap()
}

/// Of a key that is for no org, module or source in particular.
fn anyone() -> RequestContext<'static> {
    RequestContext::of_nobody(NOW.parse().unwrap())
}

/// Of a key for one org and module.
fn with_key<T>(test: impl FnOnce(&RequestContext<'_>) -> T) -> T {
    let (org, module) = (OrgId::new("globex").unwrap(), Module::new("key-module").unwrap());
    test(&RequestContext { org: Some(&org), module: Some(&module), ..anyone() })
}

/// The quantities of an event in one line: those that are not zero.
fn used(event: &UsageEvent) -> String {
    let tokens = event.tokens();
    let counts = [
        ("in", tokens.input),
        ("read", tokens.cache_read),
        ("w5m", tokens.cache_write_5m),
        ("w1h", tokens.cache_write_1h),
        ("audio_in", tokens.audio_input),
        ("image_in", tokens.image_input),
        ("read_audio", tokens.cache_read_audio),
        ("read_image", tokens.cache_read_image),
        ("out", tokens.output),
        ("reasoning", tokens.reasoning),
        ("audio_out", tokens.audio_output),
        ("image_out", tokens.image_output),
    ];
    let counts =
        counts.iter().filter(|(_, count)| *count != 0).map(|(name, count)| format!("{name} {count}"));
    let units = event.units.iter().map(|(name, quantity)| format!("{name} {}", quantity.0.normalize()));
    counts.chain(units).collect::<Vec<_>>().join(", ")
}
