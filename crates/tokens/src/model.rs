//! Which tokenizer a model has, by its name.

use crate::estimate::Estimator;
use crate::vocabulary::Vocabulary;

/// Who made a model, as far as what a request adds to its text differs between makers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// GPT, o-series, gpt-oss.
    OpenAi,
    /// Claude.
    Anthropic,
    /// Gemini and Gemma.
    Google,
    /// Llama.
    Meta,
    /// Mistral and its sisters.
    Mistral,
    /// DeepSeek.
    Deepseek,
    /// Qwen.
    Qwen,
    /// Everyone else; also names that say nothing.
    Other,
}

/// How the tokens of a text are counted for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenizer {
    /// The model's vocabulary is public and is this one.
    Exact(Vocabulary),
    /// It is not, or the name does not say for sure.
    Estimate(Estimator),
}

/// A model as far as counting goes: what its name says about it.
///
/// ```
/// use fluxori_tokens::{Model, Tokenizer, Vocabulary};
///
/// let model = Model::named("azure", "openai/gpt-5-mini-2025-08-07");
/// assert_eq!(model.tokenizer(), Tokenizer::Exact(Vocabulary::O200k));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    name: String,
    maker: Maker,
    tokenizer: Tokenizer,
}

impl Model {
    /// What is known of a model by its provider and name, as a call or a usage event names them.
    ///
    /// Names are matched without case, without the path before the last `/`, without the regions and vendors that Bedrock
    /// puts before a dot, and for a fine-tuned model (`ft:BASE:..`) by its base. The provider only helps where the name says
    /// nothing. A name is exact only if its maker says that names like it have that vocabulary; all others are estimates.
    #[must_use]
    pub fn named(provider: &str, model: &str) -> Self {
        let name = plain(model);
        let (maker, tokenizer) =
            by_name(&name).unwrap_or_else(|| by_provider(&provider.trim().to_ascii_lowercase()));
        Self { name, maker, tokenizer }
    }

    /// Who made it.
    #[must_use]
    pub fn maker(&self) -> Maker {
        self.maker
    }

    /// How its tokens are counted.
    #[must_use]
    pub fn tokenizer(&self) -> Tokenizer {
        self.tokenizer
    }

    /// The name without what providers put around it: `claude-opus-4-5-20251101`, `gpt-4o-mini`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Bedrock's regions of inference profiles, and the vendors before its models' names.
const BEFORE_A_DOT: [&str; 15] = [
    "us",
    "us-gov",
    "eu",
    "apac",
    "jp",
    "au",
    "global",
    "anthropic",
    "meta",
    "mistral",
    "deepseek",
    "qwen",
    "openai",
    "google",
    "amazon",
];

fn plain(model: &str) -> String {
    let lower = model.trim().to_ascii_lowercase();
    let base =
        lower.strip_prefix("ft:").map_or(lower.as_str(), |tuned| tuned.split(':').next().unwrap_or(tuned));
    let (mut name, mut vendor) = (base.rsplit('/').next().unwrap_or(base), "");
    while let Some((head, tail)) = name.split_once('.')
        && BEFORE_A_DOT.contains(&head)
    {
        name = tail;
        vendor = head;
    }
    // Bedrock's `deepseek.r1` says so before the dot only.
    let said = vendor == "deepseek" && !name.starts_with(vendor);
    let name = name.replace([':', '@', '_'], "-");
    if said { format!("deepseek-{name}") } else { name }
}

fn by_name(name: &str) -> Option<(Maker, Tokenizer)> {
    use Estimator as E;
    use Maker::{Anthropic, Google, OpenAi, Other};
    use Tokenizer::{Estimate, Exact};
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if let Some(vocabulary) = openai(name) {
        Some((OpenAi, Exact(vocabulary)))
    } else if starts(&["gpt-", "chatgpt", "codex-", "o1", "o3", "o4", "o5"]) {
        Some((OpenAi, Estimate(E::OpenAiOther)))
    } else if name.contains("claude") {
        Some((Anthropic, Estimate(claude(name))))
    } else if starts(&["gemini-1", "gemini-pro", "gemma-2", "gemma2"]) {
        Some((Google, Estimate(E::Gemini1)))
    } else if starts(&["gemini", "gemma"]) {
        Some((Google, Estimate(E::Gemini)))
    } else if starts(&["grok"]) {
        Some((Other, Estimate(E::Grok)))
    } else if starts(&["meta-llama", "llama"]) {
        Some((Maker::Meta, llama(name)))
    } else if name.starts_with("deepseek") {
        Some((Maker::Deepseek, deepseek(name)))
    } else if starts(&["qwen", "qwq", "qvq"]) {
        Some((Maker::Qwen, qwen(name)))
    } else {
        mistral(name).map(|tokenizer| (Maker::Mistral, tokenizer))
    }
}

fn by_provider(provider: &str) -> (Maker, Tokenizer) {
    let (maker, estimator) = match provider {
        "openai" | "azure" | "azure-openai" => (Maker::OpenAi, Estimator::OpenAiOther),
        "anthropic" => (Maker::Anthropic, Estimator::Claude47),
        "google" | "gemini" | "google-gemini" => (Maker::Google, Estimator::Gemini),
        "xai" | "x-ai" => (Maker::Other, Estimator::Grok),
        "mistral" | "mistralai" => (Maker::Mistral, Estimator::MistralNewer),
        "deepseek" => (Maker::Deepseek, Estimator::DeepseekOther),
        "qwen" | "dashscope" | "alibaba" => (Maker::Qwen, Estimator::QwenClosed),
        _ => (Maker::Other, Estimator::Unknown),
    };
    (maker, Tokenizer::Estimate(estimator))
}

/// The table of OpenAI's own tokenizer: `tiktoken/model.py` of release 0.14, without what is no longer served.
fn openai(name: &str) -> Option<Vocabulary> {
    const NAMES: [(&str, Vocabulary); 14] = [
        ("o1", Vocabulary::O200k),
        ("o3", Vocabulary::O200k),
        ("o4-mini", Vocabulary::O200k),
        ("gpt-4.1", Vocabulary::O200k),
        ("gpt-4o", Vocabulary::O200k),
        ("gpt-4", Vocabulary::Cl100k),
        ("gpt-3.5-turbo", Vocabulary::Cl100k),
        ("gpt-3.5", Vocabulary::Cl100k),
        ("gpt-35-turbo", Vocabulary::Cl100k),
        ("davinci-002", Vocabulary::Cl100k),
        ("babbage-002", Vocabulary::Cl100k),
        ("text-embedding-ada-002", Vocabulary::Cl100k),
        ("text-embedding-3-small", Vocabulary::Cl100k),
        ("text-embedding-3-large", Vocabulary::Cl100k),
    ];
    const PREFIXES: [(&str, Vocabulary); 12] = [
        ("o1-", Vocabulary::O200k),
        ("o3-", Vocabulary::O200k),
        ("o4-mini-", Vocabulary::O200k),
        ("gpt-5", Vocabulary::O200k),
        ("gpt-4.5-", Vocabulary::O200k),
        ("gpt-4.1-", Vocabulary::O200k),
        ("chatgpt-4o-", Vocabulary::O200k),
        ("gpt-4o-", Vocabulary::O200k),
        ("gpt-oss-", Vocabulary::O200k),
        ("gpt-4-", Vocabulary::Cl100k),
        ("gpt-3.5-turbo-", Vocabulary::Cl100k),
        ("gpt-35-turbo-", Vocabulary::Cl100k),
    ];
    let named = NAMES.iter().find(|(known, _)| *known == name);
    let found = named.or_else(|| PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)));
    found.map(|(_, vocabulary)| *vocabulary)
}

/// Anthropic's documentation of Opus 4.7 says that it has a new tokenizer; later models have it too.
fn claude(name: &str) -> Estimator {
    // `claude-3-5-sonnet-20241022` and `claude-opus-4-5-20251101`: the version is the first one or two small numbers.
    let mut numbers =
        name.split(['-', '.']).skip_while(|part| number(part).is_none()).map_while(number).take(2);
    match (numbers.next(), numbers.next()) {
        (Some(..3), _) => Estimator::Claude2,
        (Some(3), _) | (Some(4), None | Some(..7)) => Estimator::Claude3,
        (None, _) if name.contains("instant") => Estimator::Claude2,
        _ => Estimator::Claude47,
    }
}

/// A version's number; years and dates are none.
fn number(part: &str) -> Option<u8> {
    let part = part.strip_prefix('v').unwrap_or(part);
    part.parse().ok().filter(|number| *number < 100)
}

/// Meta's model cards of Llama 3 to 3.3: one vocabulary of 128k. Llama 2 and 4 have others.
fn llama(name: &str) -> Tokenizer {
    let name = name.strip_prefix("meta-").unwrap_or(name);
    let version = name.trim_start_matches("llama").trim_start_matches('-').trim_start_matches('v');
    let rest = version.strip_prefix('3').filter(|rest| rest.is_empty() || rest.starts_with(['.', '-', 'p']));
    match rest.map(|rest| rest.trim_start_matches(['.', 'p'])) {
        Some(rest) if ordinary(rest, &["instruct", "chat", "vision", "text", "versatile", "instant"]) => {
            Tokenizer::Exact(Vocabulary::Llama3)
        }
        Some(_) => Tokenizer::Estimate(Estimator::Llama3Like),
        None => Tokenizer::Estimate(Estimator::LlamaOther),
    }
}

/// DeepSeek's files of V3, R1 and V4 have the same vocabulary; the API's two names always were models from V3 on.
fn deepseek(name: &str) -> Tokenizer {
    let rest = name.trim_start_matches("deepseek").trim_start_matches('-');
    let of_v3 = ["chat", "reasoner", "v3", "r1", "v4"].iter().any(|known| {
        rest.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', 'p']))
    });
    let words = ["chat", "reasoner", "r1", "exp", "terminus", "speciale", "zero", "flash", "pro"];
    if of_v3 && ordinary(rest, &words) {
        Tokenizer::Exact(Vocabulary::DeepseekV3)
    } else {
        Tokenizer::Estimate(Estimator::DeepseekOther)
    }
}

/// Qwen's files of the open models 2, 2.5 and 3, whose names say their size; of the closed ones no file is public.
fn qwen(name: &str) -> Tokenizer {
    const WORDS: [&str; 15] = [
        "instruct",
        "thinking",
        "chat",
        "coder",
        "math",
        "vl",
        "omni",
        "next",
        "embedding",
        "reranker",
        "awq",
        "gptq",
        "int4",
        "int8",
        "1m",
    ];
    let size = |part: &str| part.strip_suffix('b').is_some_and(|size| size.parse::<f32>().is_ok());
    let rest = ["qwen3-", "qwen2.5-", "qwen2-"].iter().find_map(|version| name.strip_prefix(version));
    if let Some(rest) = rest
        && rest.split('-').any(size)
        && ordinary(rest, &WORDS)
    {
        return Tokenizer::Exact(Vocabulary::Qwen2);
    }
    let version = name.trim_start_matches("qwen").trim_start_matches('-');
    let newer = version.starts_with("3.") || version.starts_with(['4', '5', '6']);
    Tokenizer::Estimate(if newer { Estimator::Qwen35 } else { Estimator::QwenClosed })
}

/// The table of Mistral's own mistral-common (`MODEL_NAME_TO_TOKENIZER_CLS` of release 1.13), with the open models' full names.
fn mistral(name: &str) -> Option<Tokenizer> {
    const TEKKEN: [&str; 9] = [
        "ministral-8b-2410",
        "ministral-8b-instruct-2410",
        "open-mistral-nemo",
        "open-mistral-nemo-2407",
        "mistral-nemo-instruct-2407",
        "mistral-nemo-base-2407",
        "mistral-small-2409",
        "pixtral-12b-2409",
        "pixtral-12b-base-2409",
    ];
    const SENTENCEPIECE: [&str; 13] = [
        "mistral-tiny",
        "mistral-small-2312",
        "mistral-small-2402",
        "mistral-medium-2312",
        "mistral-large-2402",
        "mistral-large-2407",
        "mistral-large-2411",
        "open-mixtral",
        "mixtral",
        "mistral-7b",
        "open-mistral-7b",
        "codestral-2405",
        "pixtral-large-2411",
    ];
    const OURS: [&str; 9] = [
        "mistral",
        "ministral",
        "magistral",
        "devstral",
        "codestral",
        "pixtral",
        "voxtral",
        "open-mistral",
        "labs-",
    ];
    if TEKKEN.contains(&name) {
        Some(Tokenizer::Exact(Vocabulary::Tekken))
    } else if SENTENCEPIECE.iter().any(|prefix| name.starts_with(prefix))
        || name.starts_with("codestral-mamba")
    {
        Some(Tokenizer::Estimate(Estimator::MistralSentencepiece))
    } else if OURS.iter().any(|prefix| name.starts_with(prefix)) {
        Some(Tokenizer::Estimate(Estimator::MistralNewer))
    } else {
        None
    }
}

/// Whether every part of a name is one of `words`, a number, a size, or what says how a model is served: nothing that could
/// make it another model.
fn ordinary(name: &str, words: &[&str]) -> bool {
    const SERVED: [&str; 10] =
        ["", "base", "turbo", "preview", "latest", "free", "fp8", "hf", "lite", "beta"];
    name.split(['-', '.']).all(|part| {
        let digits = part.trim_start_matches(['v', 'a', 'p']).trim_end_matches(['b', 'p']);
        let numeric = digits.chars().all(|c| c.is_ascii_digit() || c == 'p') && !digits.is_empty();
        numeric || words.contains(&part) || SERVED.contains(&part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(provider: &str, model: &str) -> Tokenizer {
        Model::named(provider, model).tokenizer()
    }

    #[test]
    fn names_whose_makers_say_so_are_exact_however_they_are_dressed() {
        let cases = [
            ("openai/gpt-5-mini", Vocabulary::O200k),
            ("gpt-5.1-codex", Vocabulary::O200k),
            ("GPT-4o-2024-08-06", Vocabulary::O200k),
            ("ft:gpt-4o-mini-2024-07-18:acme::AbC1", Vocabulary::O200k),
            ("o3-mini", Vocabulary::O200k),
            ("openai.gpt-oss-120b-1:0", Vocabulary::O200k),
            ("gpt-4-0613", Vocabulary::Cl100k),
            ("gpt-35-turbo", Vocabulary::Cl100k),
            ("text-embedding-3-large", Vocabulary::Cl100k),
            ("accounts/fireworks/models/llama-v3p3-70b-instruct", Vocabulary::Llama3),
            ("meta-llama/Llama-3.3-70B", Vocabulary::Llama3),
            ("meta-llama/Meta-Llama-3.1-405B-Instruct-FP8", Vocabulary::Llama3),
            ("us.meta.llama3-1-70b-instruct-v1:0", Vocabulary::Llama3),
            ("llama3.1:8b", Vocabulary::Llama3),
            ("llama-3.3-70b-versatile", Vocabulary::Llama3),
            ("deepseek-chat", Vocabulary::DeepseekV3),
            ("deepseek-ai/DeepSeek-V3.2-Exp", Vocabulary::DeepseekV3),
            ("us.deepseek.r1-v1:0", Vocabulary::DeepseekV3),
            ("deepseek/deepseek-r1-0528:free", Vocabulary::DeepseekV3),
            ("Qwen/Qwen3-235B-A22B-Instruct-2507", Vocabulary::Qwen2),
            ("qwen3:8b", Vocabulary::Qwen2),
            ("Qwen/Qwen2.5-Coder-32B-Instruct", Vocabulary::Qwen2),
            ("mistralai/Mistral-Nemo-Instruct-2407", Vocabulary::Tekken),
            ("ministral-8b-2410", Vocabulary::Tekken),
        ];
        for (name, vocabulary) in cases {
            assert_eq!(tokenizer("", name), Tokenizer::Exact(vocabulary), "{name}");
        }
    }

    #[test]
    fn a_name_that_does_not_say_for_sure_is_an_estimate() {
        let cases = [
            ("us.anthropic.claude-opus-4-5-20251101-v1:0", Estimator::Claude3),
            ("claude-3-5-sonnet-20241022", Estimator::Claude3),
            ("anthropic/claude-sonnet-4.5", Estimator::Claude3),
            ("claude-sonnet-4-20250514", Estimator::Claude3),
            ("claude-opus-4-1@20250805", Estimator::Claude3),
            ("claude-opus-4-7", Estimator::Claude47),
            ("claude-sonnet-5", Estimator::Claude47),
            ("claude-next", Estimator::Claude47),
            ("claude-instant-1.2", Estimator::Claude2),
            ("models/gemini-2.5-pro", Estimator::Gemini),
            ("gemini-1.5-flash-002", Estimator::Gemini1),
            ("x-ai/grok-4", Estimator::Grok),
            ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", Estimator::LlamaOther),
            ("llama-2-70b-chat", Estimator::LlamaOther),
            ("llama-guard-3-8b", Estimator::LlamaOther),
            ("llama-3-taiwan-8b", Estimator::Llama3Like),
            ("deepseek-r1-distill-llama-70b", Estimator::DeepseekOther),
            ("deepseek-coder-33b", Estimator::DeepseekOther),
            ("qwen3-max", Estimator::QwenClosed),
            ("qwen-plus", Estimator::QwenClosed),
            ("qwen3.5-27b", Estimator::Qwen35),
            ("mistral-large-latest", Estimator::MistralNewer),
            ("mistral-large-2407", Estimator::MistralSentencepiece),
            ("mixtral-8x7b-instruct", Estimator::MistralSentencepiece),
            ("gpt-6", Estimator::OpenAiOther),
            ("my-own-model", Estimator::Unknown),
            ("", Estimator::Unknown),
        ];
        for (name, estimator) in cases {
            assert_eq!(tokenizer("", name), Tokenizer::Estimate(estimator), "{name}");
        }
        assert_eq!(tokenizer("anthropic", "our-alias"), Tokenizer::Estimate(Estimator::Claude47));
        assert_eq!(tokenizer("openai", "our-alias"), Tokenizer::Estimate(Estimator::OpenAiOther));
    }
}
