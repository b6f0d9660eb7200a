//! Pure: what is called, and how such calls look. The figures are plausible, not measured.

/// How a provider's prompt cache shows in its usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// None.
    No,
    /// Reads are counted.
    Reads,
    /// Reads and writes are counted.
    ReadsAndWrites,
}

/// A model and how it answers.
pub(super) struct ModelProfile {
    pub(super) provider: &'static str,
    pub(super) model: &'static str,
    pub(super) cache: Cache,
    /// Whether it spends output tokens on reasoning.
    pub(super) reasons: bool,
    pub(super) ms_per_output_token: f64,
    /// How often each module, in the order of [`MODULES`], calls it.
    pub(super) weights: [f64; 4],
}

/// A module and how its calls look.
pub(super) struct ModuleProfile {
    pub(super) module: &'static str,
    pub(super) weight: f64,
    pub(super) features: &'static [&'static str],
    /// Median of all input tokens, and the spread of their logarithm.
    pub(super) input: (f64, f64),
    /// The same of the output without reasoning.
    pub(super) output: (f64, f64),
    /// How often a call finds, or fills, a provider's prompt cache.
    pub(super) cached: f64,
}

/// Fluxori's modules.
pub(super) const MODULES: [ModuleProfile; 4] = [
    ModuleProfile {
        module: "agent-framework",
        weight: 0.42,
        features: &["planning", "tool-use", "code-review", "summary"],
        input: (3_800.0, 1.0),
        output: (320.0, 0.9),
        cached: 0.65,
    },
    ModuleProfile {
        module: "rag-retrieval",
        weight: 0.33,
        features: &["answer", "query-rewrite", "rerank"],
        input: (4_200.0, 0.7),
        output: (260.0, 0.7),
        cached: 0.25,
    },
    ModuleProfile {
        module: "ai-insights",
        weight: 0.13,
        features: &["report", "anomaly-explanation", "forecast-narrative"],
        input: (6_500.0, 0.9),
        output: (900.0, 0.6),
        cached: 0.15,
    },
    ModuleProfile {
        module: "pim",
        weight: 0.12,
        features: &["product-description", "translation", "attribute-extraction"],
        input: (750.0, 0.6),
        output: (190.0, 0.6),
        cached: 0.35,
    },
];

const fn model(
    provider: &'static str,
    model: &'static str,
    cache: Cache,
    reasons: bool,
    ms_per_output_token: f64,
    weights: [f64; 4],
) -> ModelProfile {
    ModelProfile { provider, model, cache, reasons, ms_per_output_token, weights }
}

/// Models that the rate card which ships with the project has prices for.
pub(super) const MODELS: [ModelProfile; 11] = [
    model("openai", "gpt-5", Cache::Reads, true, 14.0, [14.0, 6.0, 16.0, 1.0]),
    model("openai", "gpt-5-mini", Cache::Reads, true, 8.0, [10.0, 22.0, 8.0, 20.0]),
    model("openai", "gpt-4.1", Cache::Reads, false, 12.0, [8.0, 14.0, 8.0, 8.0]),
    model("openai", "o3", Cache::Reads, true, 16.0, [5.0, 1.0, 9.0, 0.0]),
    model("anthropic", "claude-sonnet-4-5", Cache::ReadsAndWrites, false, 15.0, [26.0, 8.0, 18.0, 3.0]),
    model("anthropic", "claude-haiku-4-5", Cache::ReadsAndWrites, false, 7.0, [12.0, 12.0, 5.0, 10.0]),
    model("anthropic", "claude-opus-4-1", Cache::ReadsAndWrites, false, 24.0, [3.0, 0.5, 4.0, 0.0]),
    model("google", "gemini-2.5-pro", Cache::Reads, true, 13.0, [7.0, 6.0, 14.0, 2.0]),
    model("google", "gemini-2.5-flash", Cache::Reads, true, 5.0, [8.0, 20.0, 9.0, 26.0]),
    model("deepseek", "deepseek-chat", Cache::Reads, false, 18.0, [4.0, 6.0, 5.0, 14.0]),
    model("mistral", "mistral-large-latest", Cache::No, false, 14.0, [3.0, 4.5, 4.0, 16.0]),
];
