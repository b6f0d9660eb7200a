//! The tokens of a whole call, part by part, each with what it rests on.

use serde::{Deserialize, Serialize};

use crate::chat::{Chat, Content, Image, Message, Part};
use crate::count::{Basis, count_unchecked};
use crate::estimate::Scripts;
use crate::limits::{Error, MAX_MESSAGES, MAX_PARTS, MAX_TOOLS, check_bytes};
use crate::model::{Model, Tokenizer};
use crate::{images, overhead, tools};

/// What a number rests on that is not a count of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The provider documents it for this model, or the model's public chat template says it.
    Documented,
    /// The rule of a similar model, or a third party's measurement.
    Assumed,
}

/// The tokens of a call's input.
///
/// Exact as a whole is none of these sums: what a provider adds to the text of a call is documented at best, never promised.
/// `text_basis` says whether the text itself is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatCount {
    /// All parts together.
    pub tokens: u64,
    /// What to reserve for: as `tokens`, with text and tools taken at the upper end of their margin.
    pub upper: u64,
    /// The contents of messages, names and calls of tools.
    pub text: u64,
    /// What `text` rests on, and the text in `tools`.
    pub text_basis: Basis,
    /// What marks where messages begin and end, and the beginning of the answer.
    pub overhead: u64,
    /// What `overhead` rests on.
    pub overhead_rule: Rule,
    /// Definitions of tools, with the prompt that a provider adds because of them.
    pub tools: u64,
    /// What the form of `tools` rests on; none without tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools_rule: Option<Rule>,
    /// Images.
    pub images: u64,
    /// What `images` rests on; none without images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_rule: Option<Rule>,
}

/// Adds up counts of texts. An estimate is made once, of all of them, so that no rounding adds up.
pub(crate) struct Tally {
    tokenizer: Tokenizer,
    base: u64,
    scripts: Scripts,
}

impl Tally {
    pub(crate) fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, base: 0, scripts: Scripts::default() }
    }

    pub(crate) fn add(&mut self, text: &str) {
        match self.tokenizer {
            Tokenizer::Exact(_) => self.base += count_unchecked(self.tokenizer, text),
            Tokenizer::Estimate(estimator) => {
                self.base += count_unchecked(Tokenizer::Exact(estimator.base()), text);
                self.scripts.add(text);
            }
        }
    }

    pub(crate) fn tokens(&self) -> u64 {
        match self.tokenizer {
            Tokenizer::Exact(_) => self.base,
            Tokenizer::Estimate(estimator) => estimator.scaled(self.base, &self.scripts),
        }
    }
}

impl Chat {
    /// Bytes of all its text, with the definitions of tools as they are sent: what counting its tokens takes time for.
    ///
    /// # Errors
    ///
    /// Those of [`Error`] that do not concern images.
    pub fn bytes(&self) -> Result<usize, Error> {
        check(self)?;
        Ok(bytes(self, &tools::check_and_write(self.tools.as_deref().unwrap_or_default())?))
    }
}

fn bytes(chat: &Chat, written: &tools::Written) -> usize {
    let roles = chat.messages.iter().map(|message| message.role.as_str());
    chat.messages.iter().flat_map(texts).chain(roles).chain(written.texts()).map(str::len).sum()
}

impl Model {
    /// Tokens of the input of a call.
    ///
    /// # Errors
    ///
    /// Those of [`Error`]; nothing is counted before all limits have been checked.
    ///
    /// ```
    /// use fluxori_tokens::{Chat, Model, Rule};
    ///
    /// let chat: Chat = serde_json::from_str(r#"{"messages": [{"role": "user", "content": "Hello!"}]}"#)?;
    /// let count = Model::named("openai", "gpt-4o").count_chat(&chat)?;
    /// // Two tokens of text; one of the role, three of the message and three of the beginning answer.
    /// assert_eq!((count.text, count.overhead, count.tokens), (2, 7, 9));
    /// assert_eq!(count.overhead_rule, Rule::Documented);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count_chat(&self, chat: &Chat) -> Result<ChatCount, Error> {
        let tools = chat.tools.as_deref().unwrap_or_default();
        check(chat)?;
        let written = tools::check_and_write(tools)?;
        check_bytes(bytes(chat, &written))?;

        let mut text = Tally::new(self.tokenizer());
        chat.messages.iter().flat_map(texts).for_each(|part| text.add(part));
        let (mut images, mut images_rule) = (0, None);
        for image in chat.messages.iter().flat_map(pictures) {
            let (tokens, rule) = images::count(self, image)?;
            images += tokens;
            images_rule = images_rule.max(Some(rule));
        }
        let (overhead, overhead_rule) = overhead::count(self, chat);
        let forced = chat.tool_choice.as_ref().is_some_and(crate::ToolChoice::is_forced);
        let tools = written.count(self, forced);
        let (tool_tokens, tools_rule) =
            tools.map_or((tools::Counted::default(), None), |(counted, rule)| (counted, Some(rule)));
        let text_basis = Basis::of(self.tokenizer());
        let fixed = overhead + images + tool_tokens.fixed;
        Ok(ChatCount {
            tokens: text.tokens() + tool_tokens.text + fixed,
            upper: text_basis.upper(text.tokens() + tool_tokens.text) + fixed,
            text: text.tokens(),
            text_basis,
            overhead,
            overhead_rule,
            tools: tool_tokens.text + tool_tokens.fixed,
            tools_rule,
            images,
            images_rule,
        })
    }
}

fn check(chat: &Chat) -> Result<(), Error> {
    let messages = chat.messages.len();
    if messages > MAX_MESSAGES {
        return Err(Error::TooManyMessages { messages });
    }
    let tools = chat.tools.as_ref().map_or(0, Vec::len);
    if tools > MAX_TOOLS {
        return Err(Error::TooManyTools { tools });
    }
    let parts = chat.messages.iter().map(|message| {
        let content = match &message.content {
            Some(Content::Parts(parts)) => parts.len(),
            Some(Content::Text(_)) => 1,
            None => 0,
        };
        content + message.tool_calls.as_ref().map_or(0, Vec::len)
    });
    let parts = parts.sum();
    if parts > MAX_PARTS { Err(Error::TooManyParts { parts }) } else { Ok(()) }
}

/// Everything in a message that is text, each as it is counted: alone.
fn texts(message: &Message) -> impl Iterator<Item = &str> {
    let (whole, parts) = match &message.content {
        Some(Content::Text(text)) => (Some(text.as_str()), &[][..]),
        Some(Content::Parts(parts)) => (None, parts.as_slice()),
        None => (None, &[][..]),
    };
    let parts = parts.iter().filter_map(|part| match part {
        Part::Text { text } | Part::Refusal { refusal: text } => Some(text.as_str()),
        Part::ImageUrl { .. } => None,
    });
    let calls = message.tool_calls.iter().flatten();
    let calls = calls.flat_map(|call| [call.function.name.as_str(), call.function.arguments.as_str()]);
    whole.into_iter().chain(parts).chain(message.name.as_deref()).chain(calls)
}

fn pictures(message: &Message) -> impl Iterator<Item = &Image> {
    let parts = match &message.content {
        Some(Content::Parts(parts)) => parts.as_slice(),
        _ => &[],
    };
    parts.iter().filter_map(|part| match part {
        Part::ImageUrl { image_url } => Some(image_url),
        _ => None,
    })
}
