//! Pure: providers as others call them, by OpenTelemetry's names (`gen_ai.provider.name`), which rate cards know.

use std::borrow::Cow;

/// The provider's name. What is not known stays as it is, in lower case: rate cards have aliases of their own.
///
/// Sources: OpenTelemetry's GenAI conventions (`gen_ai.provider.name`, and `gen_ai.system` before it), LiteLLM's
/// `custom_llm_provider`, Traceloop's and `OpenInference`'s `llm.provider`, the Vercel AI SDK's `openai.chat`.
pub(crate) fn otel(name: &str) -> Cow<'static, str> {
    let name = name.trim().to_ascii_lowercase();
    // The Vercel AI SDK puts the kind of model behind: `openai.chat`, `google.vertex.chat`.
    let plain = match name.rsplit_once('.') {
        Some((provider, kind)) if VERCEL_KINDS.contains(&kind) => provider,
        _ => name.as_str(),
    };
    Cow::Borrowed(match plain {
        "amazon-bedrock" | "amazon_bedrock" | "aws" | "bedrock" | "bedrock_converse" | "bedrock_mantle" => {
            "aws.bedrock"
        }
        "aws_polly" => "aws.polly",
        "az.ai.openai" | "azure" | "azure-openai" | "azure_openai" | "azure_text" | "azureopenai" => {
            "azure.ai.openai"
        }
        "az.ai.inference" | "azure_ai" => "azure.ai.inference",
        "gemini" | "google-gla" | "google_ai_studio" | "google-generative-ai" => "gcp.gemini",
        "google-vertex" | "google.vertex" | "vertex_ai" | "vertex_ai_beta" | "vertexai" => "gcp.vertex_ai",
        "google" | "google_genai" => "gcp.gen_ai",
        "chatgpt" | "custom_openai_responses" | "text-completion-openai" => "openai",
        "cohere_chat" => "cohere",
        "codestral" | "mistral" | "mistralai" | "text-completion-codestral" => "mistral_ai",
        "watsonx" | "watsonx_text" => "ibm.watsonx.ai",
        "xai" | "x-ai" => "x_ai",
        _ if plain.is_empty() => UNKNOWN,
        _ => return Cow::Owned(plain.to_owned()),
    })
}

const VERCEL_KINDS: [&str; 10] = [
    "chat",
    "completion",
    "embedding",
    "generative-ai",
    "image",
    "messages",
    "responses",
    "speech",
    "textembedding",
    "transcription",
];

/// Where nobody says who the provider or what the model is: the usage is kept, without a price.
pub(crate) const UNKNOWN: &str = "unknown";

/// The region in the host name of Bedrock's interface: `bedrock-runtime.eu-central-1.amazonaws.com`.
pub(crate) fn bedrock_region(address: &str) -> Option<&str> {
    let (_, behind) = address.split_once("bedrock-runtime")?;
    let (region, rest) = behind.trim_start_matches("-fips").strip_prefix('.')?.split_once('.')?;
    rest.starts_with("amazonaws.com").then_some(region)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn regions_are_read_from_hosts_of_bedrock_only() {
        assert_eq!(
            bedrock_region("https://bedrock-runtime.eu-central-1.amazonaws.com/model/x"),
            Some("eu-central-1")
        );
        assert_eq!(bedrock_region("bedrock-runtime-fips.us-gov-west-1.amazonaws.com"), Some("us-gov-west-1"));
        assert_eq!(bedrock_region("https://api.openai.com/v1"), None);
        assert_eq!(bedrock_region("bedrock-runtime.evil.example.com"), None);
    }

    #[test]
    fn the_rate_card_knows_every_name_that_others_are_given() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rates/2026-11");
        let mut known = BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let head = text
                .lines()
                .take(3)
                .filter(|line| line.starts_with("provider") || line.starts_with("aliases"));
            known.extend(head.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned));
        }
        for name in [
            "bedrock",
            "bedrock_converse",
            "aws_polly",
            "azure",
            "azure_ai",
            "azure_text",
            "gemini",
            "vertex_ai",
            "google",
            "OpenAI",
            "text-completion-openai",
            "Anthropic",
            "cohere_chat",
            "mistral",
            "codestral",
            "watsonx",
            "xai",
            "together_ai",
            "fireworks_ai",
            "deepseek",
            "groq",
            "google.vertex.chat",
            "google.generative-ai",
            "azure.chat",
            "z.ai",
            "amazon-bedrock",
            "openai.responses",
            "aws.bedrock",
            "gcp.vertex_ai",
            "az.ai.openai",
            "azure.ai.inference",
            "perplexity",
            "voyage",
            "jina_ai",
            "dashscope",
            "deepinfra",
        ] {
            assert!(known.contains(&*otel(name)), "{name} -> {}", otel(name));
        }
    }
}
