//! Pure: the names that instrumentations give to what is read here: present ones first, then older and others' ones.
//!
//! Sources: OpenTelemetry's GenAI semantic conventions and `opentelemetry-util-genai` (present `gen_ai.*`), their older
//! versions (`gen_ai.system`, `prompt_tokens`), Traceloop's OpenLLMetry (`llm.usage.*`, `llm.request.type`,
//! `traceloop.*`), `OpenInference` (`llm.token_count.*`, `openinference.span.kind`), Anthropic's own SDK
//! (`anthropic.usage.*`), Sentry (`gen_ai.usage.input_tokens.cached`), Pydantic AI (`gen_ai.usage.details.*`), the Vercel
//! AI SDK (`ai.*`).

type Names = &'static [&'static str];

pub(super) const PROVIDER: Names =
    &["gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider"];
pub(super) const REQUEST_MODEL: Names = &[
    "gen_ai.request.model",
    "llm.request.model",
    "llm.request.model_name",
    "ai.model.id",
    "embedding.model_name",
    "reranker.model_name",
    "llm.model_name",
];
pub(super) const RESPONSE_MODEL: Names = &[
    "gen_ai.response.model",
    "llm.response.model",
    "llm.response.model_name",
    "llm.model_name",
    "ai.response.model",
];
/// JSON of the request's parameters, where `OpenInference` has the model when there was no answer.
pub(super) const INVOCATION: Names = &["llm.invocation_parameters", "embedding.invocation_parameters"];
pub(super) const RESPONSE_ID: Names = &["gen_ai.response.id", "llm.response.id", "ai.response.id"];
pub(super) const SERVICE_TIER: Names = &[
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "anthropic.response.service_tier",
    "openai.request.service_tier",
    "gen_ai.openai.request.service_tier",
];

pub(super) const INPUT: Names = &[
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.usage.prompt_tokens",
    "llm.usage.input_tokens",
    "llm.token_count.prompt",
    "ai.usage.inputTokens",
    "ai.usage.promptTokens",
    "ai.usage.tokens",
];
pub(super) const OUTPUT: Names = &[
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.usage.completion_tokens",
    "llm.usage.output_tokens",
    "llm.token_count.completion",
    "ai.usage.outputTokens",
    "ai.usage.completionTokens",
];
pub(super) const TOTAL: Names =
    &["gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total", "ai.usage.totalTokens"];
pub(super) const CACHE_READ: Names = &[
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.details.cache_read_tokens",
    "gen_ai.usage.details.cached_tokens",
    "llm.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
    "ai.usage.cachedInputTokens",
];
pub(super) const CACHE_WRITE: Names = &[
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.input_tokens.cache_write",
    "gen_ai.usage.details.cache_write_tokens",
    "llm.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
];
pub(super) const CACHE_WRITE_5M: Names = &["anthropic.usage.cache_creation.ephemeral_5m_input_tokens"];
pub(super) const CACHE_WRITE_1H: Names = &["anthropic.usage.cache_creation.ephemeral_1h_input_tokens"];
pub(super) const COMPACTION_INPUT: Names = &["anthropic.usage.compaction.input_tokens"];
pub(super) const COMPACTION_OUTPUT: Names = &["anthropic.usage.compaction.output_tokens"];
pub(super) const AUDIO_INPUT: Names =
    &["gen_ai.usage.audio.input_tokens", "llm.token_count.prompt_details.audio"];
pub(super) const IMAGE_INPUT: Names = &["gen_ai.usage.image.input_tokens"];
pub(super) const CACHE_READ_AUDIO: Names = &["gen_ai.usage.audio.cache_read.input_tokens"];
pub(super) const CACHE_READ_IMAGE: Names = &["gen_ai.usage.image.cache_read.input_tokens"];
pub(super) const REASONING: Names = &[
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.output_tokens.reasoning",
    "gen_ai.usage.details.reasoning_tokens",
    "llm.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
    "ai.usage.reasoningTokens",
];
pub(super) const AUDIO_OUTPUT: Names =
    &["gen_ai.usage.audio.output_tokens", "llm.token_count.completion_details.audio"];
pub(super) const IMAGE_OUTPUT: Names = &["gen_ai.usage.image.output_tokens"];

/// In seconds.
pub(super) const TIME_TO_FIRST: Names =
    &["gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token"];
/// In milliseconds.
pub(super) const MILLIS_TO_FIRST: Names = &["ai.response.msToFirstChunk", "ai.response.msToFirstToken"];

pub(super) const USER: Names = &["fluxori.user_id", "enduser.id", "user.id", "gen_ai.user", "llm.user"];
pub(super) const RUN: Names = &["fluxori.run_id", "gen_ai.conversation.id", "session.id"];
/// What a resource may say for all of its spans, beside [`TAGS`].
pub(super) const OF_RESOURCE: Names =
    &["fluxori.org_id", "fluxori.module", "fluxori.team_id", "fluxori.feature", "service.name"];
/// Attributes that become tags under other names.
pub(super) const TAGS: &[(&str, &str)] = &[
    ("gen_ai.agent.id", "agent_id"),
    ("gen_ai.agent.name", "agent_name"),
    ("deployment.environment.name", "environment"),
    ("deployment.environment", "environment"),
];
/// Attributes whose names go on with the name of a tag.
pub(super) const TAG_PREFIXES: Names = &["fluxori.tag.", "traceloop.association.properties."];
