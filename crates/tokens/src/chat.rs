//! What is sent in a call, in the shape of OpenAI's chat completions.

use serde::Deserialize;
use serde_json::Value;

use crate::images::Detail;

/// The body of a call, as far as it has tokens: other fields are passed over.
///
/// ```
/// let chat: fluxori_tokens::Chat = serde_json::from_str(r#"{
///     "model": "gpt-5", "temperature": 0.2,
///     "messages": [
///         {"role": "system", "content": "Answer briefly."},
///         {"role": "user", "content": [
///             {"type": "text", "text": "What is this?"},
///             {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "width": 800, "height": 600}}
///         ]}
///     ],
///     "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
/// }"#)?;
/// assert_eq!(chat.messages.len(), 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Chat {
    /// What was said.
    pub messages: Vec<Message>,
    /// The functions that the model may call.
    #[serde(default)]
    pub tools: Option<Vec<Tool>>,
    /// Whether it must call one.
    #[serde(default)]
    pub tool_choice: Option<ToolChoice>,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant`, `tool`.
    pub role: String,
    /// A text, or parts; none if the message only calls tools.
    #[serde(default)]
    pub content: Option<Content>,
    /// Who speaks, where several have one role.
    #[serde(default)]
    pub name: Option<String>,
    /// Calls that the model made.
    #[serde(default)]
    pub tool_calls: Option<Vec<ToolCall>>,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Just text.
    Text(String),
    /// Texts and images.
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// What the model said instead of an answer.
    Refusal {
        /// The text.
        refusal: String,
    },
    /// An image.
    ImageUrl {
        /// The image.
        image_url: Image,
    },
}

/// An image, by its size: nothing is fetched or decoded. The fields `width` and `height` are not of OpenAI's shape; without
/// them an image counts as the largest that the model takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Image {
    /// In pixels.
    #[serde(default)]
    pub width: Option<u32>,
    /// In pixels.
    #[serde(default)]
    pub height: Option<u32>,
    /// How closely it is looked at.
    #[serde(default)]
    pub detail: Detail,
}

/// A call that the model made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ToolCall {
    /// Which function, with what.
    pub function: FunctionCall,
}

/// A function's name and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FunctionCall {
    /// The name.
    pub name: String,
    /// JSON, as text.
    #[serde(default)]
    pub arguments: String,
}

/// A tool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Tool {
    /// The function that it is.
    pub function: Function,
}

/// The definition of a function.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Function {
    /// The name.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    #[serde(default)]
    pub parameters: Option<Value>,
}

/// `"none"`, `"auto"`, `"required"`, or an object that names a function.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum ToolChoice {
    /// One of the words.
    Word(String),
    /// A function that must be called.
    Named(Value),
}

impl ToolChoice {
    /// Whether the model must call a tool.
    pub(crate) fn is_forced(&self) -> bool {
        match self {
            Self::Word(word) => word == "required" || word == "any",
            Self::Named(_) => true,
        }
    }
}
