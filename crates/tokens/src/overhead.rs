//! What marks the beginnings and ends of messages, which no text shows.

use crate::chat::{Chat, Message};
use crate::count::count_unchecked;
use crate::estimate::Estimator;
use crate::model::{Maker, Model, Tokenizer};
use crate::total::Rule;
use crate::vocabulary::Vocabulary;

/// Tokens around the messages of a chat, and whether the provider says so.
pub(crate) fn count(model: &Model, chat: &Chat) -> (u64, Rule) {
    let messages = &chat.messages;
    let calls: u64 =
        messages.iter().map(|message| message.tool_calls.as_ref().map_or(0, Vec::len) as u64).sum();
    let (tokens, rule) = match model.maker() {
        Maker::OpenAi => openai(model, messages),
        Maker::Anthropic => (anthropic(model, messages.len() as u64), Rule::Assumed),
        // "Understand and count tokens" shows counts of plain texts and of a chat that are those of their text alone.
        Maker::Google => (0, Rule::Documented),
        // The prompt format of Meta's model cards: a beginning of the text; of each message a start, the role, an end and an
        // empty line, and an end of the turn; the same but for the last of the answer.
        Maker::Meta if model.tokenizer() == Tokenizer::Exact(Vocabulary::Llama3) => {
            (1 + sum(messages, |_| 5) + 4, Rule::Documented)
        }
        // ChatML, as in the chat template of Qwen's files: `<|im_start|>`, role, line end, `<|im_end|>`, line end; the answer
        // begins with three. Without a system message Qwen 2.5 adds one of 19 tokens of its own: not counted.
        Maker::Qwen => {
            let rule = if matches!(model.tokenizer(), Tokenizer::Exact(_)) {
                Rule::Documented
            } else {
                Rule::Assumed
            };
            (sum(messages, |_| 5) + 3, rule)
        }
        // The chat template of DeepSeek's files: a beginning of the text, a mark before what user and assistant say, an end
        // after the assistant's; the answer's mark.
        Maker::Deepseek => {
            let marks = sum(messages, |message| match message.role.as_str() {
                "assistant" => 2,
                "system" | "developer" => 0,
                _ => 1,
            });
            let rule = if matches!(model.tokenizer(), Tokenizer::Exact(_)) {
                Rule::Documented
            } else {
                Rule::Assumed
            };
            (1 + marks + 1, rule)
        }
        // mistral-common's templates: a beginning of the text, two marks around what the user says, an end after the
        // assistant's. How a system message is put differs between versions.
        Maker::Mistral => {
            let marks = sum(messages, |message| if message.role == "assistant" { 1 } else { 2 });
            let rule = if matches!(model.tokenizer(), Tokenizer::Exact(_)) {
                Rule::Documented
            } else {
                Rule::Assumed
            };
            (1 + marks, rule)
        }
        // As OpenAI's.
        Maker::Meta | Maker::Other => (sum(messages, |_| 4) + 3, Rule::Assumed),
    };
    // How calls of tools are written is documented nowhere: a name and arguments, with some marks.
    let rule = if calls > 0 { Rule::Assumed } else { rule };
    (tokens + 6 * calls, rule)
}

/// OpenAI's cookbook, "How to count tokens with tiktoken", section 6: three a message and the role, one more if it has a
/// name, three for the beginning of the answer. Checked there against the API for these families; later models are assumed
/// to be like them.
fn openai(model: &Model, messages: &[Message]) -> (u64, Rule) {
    const CHECKED: [&str; 3] = ["gpt-3.5", "gpt-4", "gpt-35"];
    const LATER: [&str; 2] = ["gpt-4.5", "gpt-4.1"];
    let role = |message: &Message| count_unchecked(model.tokenizer(), &message.role);
    let tokens = sum(messages, |message| 3 + role(message) + u64::from(message.name.is_some())) + 3;
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| model.name().starts_with(prefix));
    let documented = starts(&CHECKED) && !starts(&LATER);
    (tokens, if documented { Rule::Documented } else { Rule::Assumed })
}

/// Anthropic documents none. The author of `ctok` measured with the endpoint for counting, for one message: 7 to Opus 4.6, 11
/// for Opus 4.7, 6 for later ones. Of further messages four each are assumed.
fn anthropic(model: &Model, messages: u64) -> u64 {
    let first = match model.tokenizer() {
        Tokenizer::Estimate(Estimator::Claude47) if model.name().contains("4-7") => 11,
        Tokenizer::Estimate(Estimator::Claude47) => 6,
        _ => 7,
    };
    first + 4 * messages.saturating_sub(1)
}

fn sum(messages: &[Message], tokens: impl Fn(&Message) -> u64) -> u64 {
    messages.iter().map(tokens).sum()
}
