//! Counting the tokens of text, chat messages, tools and images before a call. Pure: no clock, no I/O, no randomness.
//!
//! ```
//! use fluxori_tokens::{Basis, Model, Vocabulary};
//!
//! let exact = Model::named("openai", "gpt-5-mini").count_text("How many tokens is this?")?;
//! assert_eq!((exact.tokens, exact.basis), (6, Basis::Exact { vocabulary: Vocabulary::O200k }));
//!
//! let estimate = Model::named("anthropic", "claude-sonnet-4-5").count_text("How many tokens is this?")?;
//! assert!(matches!(estimate.basis, Basis::Estimate { margin_percent: 25, measured: true, .. }));
//! # Ok::<(), fluxori_tokens::Error>(())
//! ```

mod chat;
mod count;
mod estimate;
mod images;
mod limits;
mod merge;
mod model;
mod overhead;
mod pieces;
mod stream;
mod text;
mod tools;
mod total;
mod vocabulary;

pub use chat::{Chat, Content, Function, FunctionCall, Image, Message, Part, Tool, ToolCall, ToolChoice};
pub use count::{Basis, Count};
pub use estimate::Estimator;
pub use images::Detail;
pub use limits::{Error, MAX_BYTES, MAX_DEPTH, MAX_MESSAGES, MAX_PARTS, MAX_PIXELS, MAX_TOOLS};
pub use model::{Maker, Model, Tokenizer};
pub use stream::StreamCounter;
pub use total::{ChatCount, Rule};
pub use vocabulary::Vocabulary;
