//! How providers are called by OpenTelemetry's `gen_ai.provider.name`, by gateways, and by LiteLLM.

/// A provider of the card.
pub(crate) struct Known {
    /// The name under which its models stand: that of genai-prices, where it has the provider.
    pub(crate) name: &'static str,
    /// Names in `litellm_provider`, the one whose prices come first first; also other names of the provider.
    pub(crate) litellm: &'static [&'static str],
    /// Other names.
    pub(crate) others: &'static [&'static str],
}

const fn known(
    name: &'static str,
    litellm: &'static [&'static str],
    others: &'static [&'static str],
) -> Known {
    Known { name, litellm, others }
}

/// Every provider whose models are taken from LiteLLM, and what providers are called elsewhere. Not taken are resellers
/// with subscriptions instead of prices, models that run locally, and gateways that pass on prices of others.
pub(crate) const PROVIDERS: &[Known] = &[
    known("ai21", &["ai21"], &[]),
    known("anthropic", &["anthropic"], &[]),
    known("assemblyai", &["assemblyai"], &[]),
    known(
        "aws",
        &["bedrock", "bedrock_converse"],
        &["aws.bedrock", "aws-bedrock", "aws_bedrock", "amazon-bedrock", "amazon_bedrock"],
    ),
    known("aws.polly", &["aws_polly"], &[]),
    known(
        "azure",
        &["azure", "azure_ai", "azure_text"],
        &[
            "azure.ai.inference",
            "azure.ai.openai",
            "az.ai.inference",
            "az.ai.openai",
            "azure-openai",
            "azure_openai",
        ],
    ),
    known("baseten", &["baseten"], &[]),
    known("black-forest-labs", &["black_forest_labs"], &[]),
    known("cerebras", &["cerebras"], &[]),
    known("cloudflare", &["cloudflare"], &["workers-ai"]),
    known("cohere", &["cohere", "cohere_chat"], &[]),
    known("crusoe", &["crusoe"], &[]),
    known("dashscope", &["dashscope"], &["qwen", "alibaba", "qwencloud", "qwen_ai_platform"]),
    known("databricks", &["databricks"], &[]),
    known("deepgram", &["deepgram"], &[]),
    known("deepinfra", &["deepinfra"], &[]),
    known("deepseek", &["deepseek"], &[]),
    known("elevenlabs", &["elevenlabs"], &[]),
    known("exa", &["exa_ai"], &[]),
    known("fal", &["fal_ai"], &[]),
    known("fireworks", &["fireworks_ai", "fireworks_ai-embedding-models"], &["fireworks-ai"]),
    known(
        "google",
        &[
            "gemini",
            "vertex_ai-language-models",
            "vertex_ai",
            "vertex_ai-embedding-models",
            "vertex_ai-video-models",
            "vertex_ai-anthropic_models",
            "vertex_ai-mistral_models",
            "vertex_ai-llama_models",
            "vertex_ai-deepseek_models",
            "vertex_ai-qwen_models",
            "vertex_ai-openai_models",
            "vertex_ai-zai_models",
            "vertex_ai-minimax_models",
            "vertex_ai-moonshot_models",
            "vertex_ai-ai21_models",
            "vertex_ai-text-models",
        ],
        &[
            "gcp.gemini",
            "gcp.gen_ai",
            "gcp.vertex_ai",
            "google-gla",
            "google-vertex",
            "google_genai",
            "vertexai",
        ],
    ),
    known("groq", &["groq"], &[]),
    known("hyperbolic", &["hyperbolic"], &[]),
    known("ibm.watsonx.ai", &["watsonx"], &[]),
    known("jina", &["jina_ai"], &[]),
    known("linkup", &["linkup"], &[]),
    known("meta", &["meta", "meta_llama"], &[]),
    known("minimax", &["minimax"], &[]),
    known("mistral", &["mistral", "codestral", "text-completion-codestral"], &["mistral_ai", "mistralai"]),
    known("moonshotai", &["moonshot"], &["moonshot_ai", "moonshot-ai"]),
    known("nebius", &["nebius"], &[]),
    known("novita", &["novita"], &["novita-ai"]),
    known("oci", &["oci"], &["oracle"]),
    known("openai", &["openai", "text-completion-openai"], &[]),
    known("openrouter", &[], &[]),
    known("ovhcloud", &["ovhcloud"], &[]),
    known("parallel", &["parallel_ai"], &[]),
    known("perplexity", &["perplexity"], &["perplexity_ai", "perplexity-ai"]),
    known("recraft", &["recraft"], &[]),
    known("replicate", &["replicate"], &[]),
    known("runwayml", &["runwayml"], &["runway"]),
    known("sambanova", &["sambanova"], &[]),
    known("scaleway", &["scaleway"], &[]),
    known("serper", &["serper"], &[]),
    known("soniox", &["soniox"], &[]),
    known("stability", &["stability"], &["stability_ai", "stability-ai"]),
    known("tavily", &["tavily"], &[]),
    known("tencent", &["tencent"], &["hunyuan"]),
    known("together", &["together_ai"], &["together-ai"]),
    known("volcengine", &["volcengine"], &["doubao", "bytedance"]),
    known("voyageai", &["voyage"], &["voyage-ai", "voyage_ai"]),
    known("wandb", &["wandb"], &[]),
    known("x-ai", &["xai"], &["x_ai"]),
    known("you", &["you_com"], &[]),
    known("zai", &["zai"], &["z-ai", "z_ai", "z.ai"]),
    known("zhipuai", &[], &["zhipu", "bigmodel"]),
];

/// The provider of the card that a `litellm_provider` means, and how early its prices come among those of the provider.
pub(crate) fn of_litellm(name: &str) -> Option<(&'static str, usize)> {
    PROVIDERS.iter().find_map(|known| {
        let rank = known.litellm.iter().position(|other| *other == name)?;
        Some((known.name, rank))
    })
}

/// The other names of a provider.
pub(crate) fn aliases(name: &str) -> Vec<&'static str> {
    let known = PROVIDERS.iter().find(|known| known.name == name);
    let mut names: Vec<_> = known
        .into_iter()
        .flat_map(|known| known.litellm.iter().chain(known.others))
        .copied()
        .filter(|other| *other != name)
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_means_two_providers() {
        let mut seen = BTreeSet::new();
        for known in PROVIDERS {
            for name in std::iter::once(known.name).chain(aliases(known.name)) {
                assert!(seen.insert(name), "{name}");
            }
        }
    }

    #[test]
    fn the_names_of_opentelemetry_are_known() {
        let names: BTreeSet<_> = PROVIDERS
            .iter()
            .flat_map(|known| std::iter::once(known.name).chain(aliases(known.name)))
            .collect();
        for name in [
            "anthropic",
            "aws.bedrock",
            "azure.ai.inference",
            "azure.ai.openai",
            "cohere",
            "deepseek",
            "gcp.gemini",
            "gcp.gen_ai",
            "gcp.vertex_ai",
            "groq",
            "ibm.watsonx.ai",
            "mistral_ai",
            "moonshot_ai",
            "openai",
            "perplexity",
            "x_ai",
        ] {
            assert!(names.contains(name), "{name}");
        }
    }
}
