//! What is asked.

use std::collections::{BTreeMap, BTreeSet};

use fluxori_core::estimate::PlannedCall;
use fluxori_core::id::{Feature, Label, Model, Module, OrgId, Provider};
use fluxori_core::pricing::CallKind;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::Quantity;
use fluxori_tokens::{Chat, Message, Model as CountedModel, Tool, ToolChoice};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use utoipa::ToSchema;

/// Most models of one request.
pub const MAX_MODELS: usize = 50;
/// Most bytes of text to count over all models of one request: text is counted once for models that count alike, so that
/// this is a second or two of work.
pub const MAX_COUNTED_BYTES: usize = 8 << 20;

/// A request that cannot be answered, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// No model, or too many.
    #[error("models: name 1 to {MAX_MODELS} models")]
    Models,
    /// One model twice.
    #[error("models: {provider}/{model} is named twice")]
    Twice {
        /// Who serves it.
        provider: Provider,
        /// Its name.
        model: Model,
    },
    /// More text to count than [`MAX_COUNTED_BYTES`].
    #[error(
        "{bytes} bytes of text, to be counted in {ways} ways for these models, are more than {MAX_COUNTED_BYTES} bytes to \
         count; ask for fewer models at once, or count the tokens and send input_tokens"
    )]
    TooMuchToCount {
        /// Of the input.
        bytes: usize,
        /// How many counts the models need.
        ways: usize,
    },
    /// Nothing that could cost anything, or two different things.
    #[error("give the input once: as messages, as text or as input_tokens; or other units alone")]
    Input,
    /// Not a decimal number.
    #[error("cache_share: `{0}` is no decimal number from 0 to 1")]
    CacheShare(String),
    /// Beyond the limits of a count.
    #[error("{0}")]
    Tokens(String),
}

/// A call that somebody means to make, and the models that could serve it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EstimateRequest {
    /// Who pays: its own prices and terms hold.
    #[schema(value_type = String, example = "acme")]
    pub org_id: OrgId,
    /// Which module makes the call.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "rag-retrieval")]
    pub module: Option<Module>,
    /// For which feature.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub feature: Option<Feature>,
    /// The models to compare, at most 50.
    pub models: Vec<ModelName>,
    /// The input as messages, in the shape of OpenAI's chat completions.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub messages: Option<Vec<Message>>,
    /// The functions that the model may call, with `messages`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Tool>>,
    /// Whether it must call one.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub tool_choice: Option<ToolChoice>,
    /// The input as plain text.
    #[serde(default)]
    pub text: Option<String>,
    /// The input as a number of tokens.
    #[serde(default)]
    pub input_tokens: Option<u32>,
    /// Most output tokens [default: the most that the model can make].
    #[serde(default)]
    pub max_output_tokens: Option<u32>,
    /// Output tokens to expect [default: the most].
    #[serde(default)]
    pub expected_output_tokens: Option<u32>,
    /// Which part of the input the provider will have in its cache, from 0 to 1 [default: 0].
    #[serde(default)]
    #[schema(value_type = Option<f64>, example = 0.6)]
    pub cache_share: Option<Number>,
    /// The provider's service tier, such as `flex` or `priority`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub service_tier: Option<Label>,
    /// Through the provider's batch interface.
    #[serde(default)]
    pub batch: bool,
    /// The provider's region.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub region: Option<Label>,
    /// Other units by name, such as `images` or `audio_seconds`, each a decimal number as text.
    #[serde(default)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    pub units: BTreeMap<String, Quantity>,
}

/// A model at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelName {
    /// Who serves it.
    #[schema(value_type = String, example = "openai")]
    pub provider: Provider,
    /// Its name.
    #[schema(value_type = String, example = "gpt-5")]
    pub model: Model,
}

/// The input of a call.
pub(crate) enum Input {
    Chat(Chat),
    Text(String),
    Tokens(u32),
}

/// How many tokens an input has for a model.
#[derive(Clone)]
pub(crate) struct Counted {
    pub(crate) expected: i64,
    pub(crate) at_most: i64,
    /// What the count rests on; none where it was given.
    pub(crate) basis: Option<Value>,
}

impl EstimateRequest {
    /// The call, whatever the model.
    pub(crate) fn call(&self, at: Timestamp) -> Result<PlannedCall, InvalidRequest> {
        if self.models.is_empty() || self.models.len() > MAX_MODELS {
            return Err(InvalidRequest::Models);
        }
        let mut named = BTreeSet::new();
        if let Some(twice) = self.models.iter().find(|name| !named.insert((&name.provider, &name.model))) {
            return Err(InvalidRequest::Twice {
                provider: twice.provider.clone(),
                model: twice.model.clone(),
            });
        }
        let share = |share: &Number| {
            let text = share.to_string();
            let parsed = text.parse().or_else(|_| Decimal::from_scientific(&text)).ok();
            parsed
                .filter(|share| (Decimal::ZERO..=Decimal::ONE).contains(share))
                .ok_or(InvalidRequest::CacheShare(text))
        };
        Ok(PlannedCall {
            org: self.org_id.clone(),
            module: self.module.clone(),
            feature: self.feature.clone(),
            kind: CallKind::new(self.batch, self.service_tier.as_ref(), self.region.as_ref()),
            at,
            cache_share: self.cache_share.as_ref().map(share).transpose()?.unwrap_or_default(),
            expected_output_tokens: self.expected_output_tokens.map(i64::from),
            max_output_tokens: self.output_limit(),
            units: self.units.clone(),
        })
    }

    /// A call that has no input, only other units, has no output tokens unless they are asked for.
    fn output_limit(&self) -> Option<i64> {
        let only_units = self.messages.is_none() && self.text.is_none() && self.input_tokens.is_none();
        let none = (only_units && self.expected_output_tokens.is_none()).then_some(0);
        self.max_output_tokens.map(i64::from).or(none)
    }

    pub(crate) fn input(&self) -> Result<Input, InvalidRequest> {
        match (&self.messages, &self.text, self.input_tokens) {
            (Some(messages), None, None) => Ok(Input::Chat(Chat {
                messages: messages.clone(),
                tools: self.tools.clone(),
                tool_choice: self.tool_choice.clone(),
            })),
            (None, Some(text), None) => Ok(Input::Text(text.clone())),
            (None, None, Some(tokens)) => Ok(Input::Tokens(tokens)),
            (None, None, None) if !self.units.is_empty() => Ok(Input::Tokens(0)),
            _ => Err(InvalidRequest::Input),
        }
    }
}

impl Input {
    /// Its tokens for each of these models, in their order; or why they cannot be told. What models count alike is counted
    /// once.
    pub(crate) fn count(
        &self,
        models: &[ModelName],
    ) -> Result<Vec<Result<Counted, InvalidRequest>>, InvalidRequest> {
        let named = |name: &ModelName| CountedModel::named(name.provider.as_str(), name.model.as_str());
        let models: Vec<CountedModel> = models.iter().map(named).collect();
        let mut different: Vec<&CountedModel> = Vec::new();
        for model in &models {
            if !different.iter().any(|other| self.is_alike(model, other)) {
                different.push(model);
            }
        }
        let (bytes, ways) = (self.bytes()?, different.len());
        if bytes.saturating_mul(ways) > MAX_COUNTED_BYTES {
            return Err(InvalidRequest::TooMuchToCount { bytes, ways });
        }
        let counts: Vec<_> = different.into_iter().map(|model| (model, self.count_for(model))).collect();
        let count = |model: &CountedModel| {
            let (_, counted) = counts.iter().find(|(other, _)| self.is_alike(model, other))?;
            Some(counted.clone())
        };
        Ok(models.iter().filter_map(count).collect())
    }

    /// Whether the input has the same tokens for both. That of a text rests on the tokenizer alone; what surrounds messages,
    /// tools and images also on the maker and the name.
    fn is_alike(&self, one: &CountedModel, other: &CountedModel) -> bool {
        match self {
            Self::Tokens(_) => true,
            Self::Text(_) => one.tokenizer() == other.tokenizer(),
            Self::Chat(_) => one == other,
        }
    }

    /// Bytes of text to be counted.
    fn bytes(&self) -> Result<usize, InvalidRequest> {
        match self {
            Self::Tokens(_) => Ok(0),
            Self::Text(text) => Ok(text.len()),
            Self::Chat(chat) => chat.bytes().map_err(|error| InvalidRequest::Tokens(error.to_string())),
        }
    }

    fn count_for(&self, model: &CountedModel) -> Result<Counted, InvalidRequest> {
        let error = |error: fluxori_tokens::Error| InvalidRequest::Tokens(error.to_string());
        let (expected, at_most, basis) = match self {
            Self::Tokens(tokens) => (u64::from(*tokens), u64::from(*tokens), None),
            Self::Text(text) => {
                let count = model.count_text(text).map_err(error)?;
                (count.tokens, count.upper(), serde_json::to_value(count.basis).ok())
            }
            Self::Chat(chat) => {
                let count = model.count_chat(chat).map_err(error)?;
                (count.tokens, count.upper, serde_json::to_value(count).ok())
            }
        };
        let whole = |tokens| i64::try_from(tokens).unwrap_or(i64::MAX);
        Ok(Counted { expected: whole(expected), at_most: whole(at_most), basis })
    }
}
