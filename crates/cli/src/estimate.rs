//! `credits estimate`: what will this call cost?

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use fluxori_core::id::{Feature, Label, Module, OrgId};
use fluxori_core::usage::Quantity;
use fluxori_estimate::{EstimateRequest, Estimates, Line, ModelName, estimate};
use fluxori_runtime::clock;
use serde_json::Number;

use crate::error::CliError;
use crate::output::table;
use crate::session::Session;

/// Most of a file that is read: what can be counted at once, with room for what is around it.
const MAX_FILE: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(crate) struct EstimateArguments {
    /// The organization that would pay: its own prices and terms hold
    org: OrgId,
    /// A model to compare, such as openai/gpt-5; may be given up to 50 times
    #[arg(long = "model", value_name = "PROVIDER/MODEL", required = true, value_parser = model_name)]
    models: Vec<ModelName>,
    /// The input: a JSON file with `messages` and perhaps `tools`, as in a chat completion; `-` is standard input
    #[arg(long, value_name = "FILE", group = "input")]
    messages: Option<PathBuf>,
    /// The input: a text file; `-` is standard input
    #[arg(long, value_name = "FILE", group = "input")]
    text: Option<PathBuf>,
    /// The input: a number of tokens
    #[arg(long, value_name = "N", group = "input")]
    input_tokens: Option<u32>,
    /// Most output tokens [default: the most that the model can make]
    #[arg(long, value_name = "N")]
    max_output_tokens: Option<u32>,
    /// Output tokens to expect [default: the most]
    #[arg(long, value_name = "N")]
    expected_output_tokens: Option<u32>,
    /// Which part of the input the provider will have in its cache, from 0 to 1
    #[arg(long, value_name = "SHARE")]
    cache_share: Option<Number>,
    /// The provider's service tier, such as flex or priority
    #[arg(long, value_name = "TIER")]
    service_tier: Option<Label>,
    /// Through the provider's batch interface
    #[arg(long)]
    batch: bool,
    /// The provider's region
    #[arg(long)]
    region: Option<Label>,
    /// The module that makes the call
    #[arg(long)]
    module: Option<Module>,
    /// The feature of the module
    #[arg(long)]
    feature: Option<Feature>,
    /// Another unit that the call uses, such as images=2 or audio_seconds=12.5; may be given several times
    #[arg(long = "unit", value_name = "NAME=QUANTITY", value_parser = unit)]
    units: Vec<(String, Quantity)>,
}

fn model_name(text: &str) -> Result<ModelName, String> {
    let (provider, model) =
        text.split_once('/').ok_or("write the provider and the model, such as openai/gpt-5")?;
    let text = |error: fluxori_core::id::IdError| error.to_string();
    Ok(ModelName { provider: provider.parse().map_err(text)?, model: model.parse().map_err(text)? })
}

fn unit(text: &str) -> Result<(String, Quantity), String> {
    let (name, quantity) = text.split_once('=').ok_or("write a name and a quantity, such as images=2")?;
    let quantity = quantity.parse().map_err(|_| format!("`{quantity}` is no decimal number"))?;
    Ok((name.to_owned(), quantity))
}

/// A chat, as far as it has tokens.
#[derive(serde::Deserialize)]
struct ChatFile {
    messages: serde_json::Value,
    #[serde(default)]
    tools: serde_json::Value,
    #[serde(default)]
    tool_choice: serde_json::Value,
}

pub(crate) async fn run(session: &Session, arguments: &EstimateArguments) -> Result<(), CliError> {
    let request = request(arguments)?;
    let rates = session.rates().await?;
    let answer = estimate(&request, clock::now().into(), &rates)
        .map_err(|error| CliError::Refused(error.to_string()))?;
    session.output.print(&answer, text)?;
    if answer.estimates.is_empty() {
        return Err(CliError::Refused("there is no estimate for any of the models".to_owned()));
    }
    Ok(())
}

fn request(arguments: &EstimateArguments) -> Result<EstimateRequest, CliError> {
    let not_chat = |path: &Path| {
        let path = path.display().to_string();
        move |error: serde_json::Error| {
            CliError::Refused(format!("{path} is no JSON with `messages` as in a chat completion: {error}"))
        }
    };
    let (mut messages, mut tools, mut tool_choice) = (None, None, None);
    if let Some(path) = &arguments.messages {
        let chat: ChatFile = serde_json::from_str(&read(path)?).map_err(not_chat(path))?;
        messages = Some(serde_json::from_value(chat.messages).map_err(not_chat(path))?);
        tools = serde_json::from_value(chat.tools).map_err(not_chat(path))?;
        tool_choice = serde_json::from_value(chat.tool_choice).map_err(not_chat(path))?;
    }
    Ok(EstimateRequest {
        org_id: arguments.org.clone(),
        module: arguments.module.clone(),
        feature: arguments.feature.clone(),
        models: arguments.models.clone(),
        messages,
        tools,
        tool_choice,
        text: arguments.text.as_deref().map(read).transpose()?,
        input_tokens: arguments.input_tokens,
        max_output_tokens: arguments.max_output_tokens,
        expected_output_tokens: arguments.expected_output_tokens,
        cache_share: arguments.cache_share.clone(),
        service_tier: arguments.service_tier.clone(),
        batch: arguments.batch,
        region: arguments.region.clone(),
        units: arguments.units.iter().cloned().collect::<BTreeMap<_, _>>(),
    })
}

/// A file, or standard input for `-`.
fn read(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File { action: "cannot read", path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(CliError::Refused(format!(
            "{} is longer than {} MiB; count it in parts and give --input-tokens",
            path.display(),
            MAX_FILE >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::Refused(format!("{} is no UTF-8 text: byte {at} is wrong", path.display()))
    })
}

fn text(answer: &Estimates) -> String {
    let mut parts = Vec::new();
    if !answer.estimates.is_empty() {
        let header = [
            "model",
            "status",
            "input",
            "output",
            "expected USD",
            "credits",
            "at most USD",
            "credits",
            "notes",
        ];
        parts.push(table(header, &[2, 3, 4, 5, 6, 7], answer.estimates.iter().map(row)));
    }
    for refused in &answer.refused {
        parts.push(format!("{}/{}: {}", refused.provider, refused.model, refused.reason));
    }
    let revision = answer.rates_revision.as_deref().unwrap_or("none");
    parts.push(format!("By revision {revision} of the rates. Nothing is reserved."));
    parts.join("\n")
}

fn row(line: &Line) -> [String; 9] {
    let tokens = |expected: i64, at_most: i64| {
        if expected == at_most { expected.to_string() } else { format!("{expected} to {at_most}") }
    };
    let mut notes = Vec::new();
    if !line.nearest.is_empty() {
        notes.push(format!("nearest names: {}", line.nearest.join(", ")));
    }
    if line.fits_context == Some(false) {
        notes.push(format!("may not fit its context of {}", line.context_window.unwrap_or_default()));
    }
    notes.extend(line.deprecated_at.map(|at| format!("withdrawn at {at}")));
    [
        format!("{}/{}", line.provider, line.model),
        line.status.clone(),
        tokens(line.input_tokens.expected, line.input_tokens.at_most),
        tokens(line.output_tokens.expected, line.output_tokens.at_most),
        line.expected.cost_usd.clone(),
        line.expected.credits.clone(),
        line.at_most.cost_usd.clone(),
        line.at_most.credits.clone(),
        notes.join("; "),
    ]
}
