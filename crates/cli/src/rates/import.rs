//! `credits rates import`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use fluxori_core::id::RevisionId;
use fluxori_core::time::Timestamp;
use fluxori_rate_card::import::{Counted, Import, Report, import};
use fluxori_rate_card::{RateCard, to_files};
use fluxori_runtime::clock;
use serde::Serialize;

use crate::error::CliError;
use crate::output::table;
use crate::session::Session;

/// Differences between the sources that are shown to people.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// genai-prices: its data in format v2 (JSON)
    #[arg(long, value_name = "FILE")]
    genai_prices: PathBuf,
    /// LiteLLM: its model_prices_and_context_window.json
    #[arg(long, value_name = "FILE")]
    litellm: PathBuf,
    /// The folder to write the card into; a card that is there is replaced
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// The name of the card's revision, such as 2026-12-01
    #[arg(long)]
    revision: RevisionId,
    /// When the card was made [default: now]
    #[arg(long, value_name = "TIME")]
    issued_at: Option<Timestamp>,
    /// Which state of genai-prices it is, for the record
    #[arg(long, value_name = "TEXT")]
    genai_prices_version: Option<String>,
    /// Which release of LiteLLM it is, for the record
    #[arg(long, value_name = "TEXT")]
    litellm_version: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    revision: String,
    folder: String,
    files: usize,
    report: Report,
}

pub(crate) fn run(session: &Session, arguments: &ImportArguments) -> Result<(), CliError> {
    let (card, report) = import(&Import {
        revision: &arguments.revision,
        issued_at: arguments.issued_at.unwrap_or_else(|| clock::now().into()),
        genai: &read(&arguments.genai_prices)?,
        litellm: &read(&arguments.litellm)?,
        genai_version: arguments.genai_prices_version.as_deref(),
        litellm_version: arguments.litellm_version.as_deref(),
    })?;
    let files = write(&card, &arguments.to)?;
    let folder = arguments.to.display().to_string();
    let answer = Answer { revision: card.revision.to_string(), folder, files, report };
    session.output.print(&answer, text)
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| file_error("cannot read", path, source))
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> CliError {
    CliError::File { action, path: path.display().to_string(), source }
}

/// Writes the card's files, and removes those of providers that it does not have any more.
fn write(card: &RateCard, folder: &Path) -> Result<usize, CliError> {
    let files =
        to_files(card).map_err(|error| CliError::Refused(format!("the card cannot be written: {error}")))?;
    let unwritable = |source| file_error("cannot write into", folder, source);
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    let names = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let there = names().map_err(unwritable)?;
    let is_card = there.iter().any(|path| path.ends_with("card.toml"));
    if !there.is_empty() && !is_card {
        return Err(CliError::Refused(format!(
            "{} holds other files than a rate card; name a new folder with --to",
            folder.display()
        )));
    }
    for path in there {
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        let is_written =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| files.contains_key(name));
        if is_toml && !is_written {
            std::fs::remove_file(&path).map_err(|source| file_error("cannot remove", &path, source))?;
        }
    }
    for (name, text) in &files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|source| file_error("cannot write", &path, source))?;
    }
    Ok(files.len())
}

fn text(answer: &Answer) -> String {
    let Answer { revision, folder, files, report } = answer;
    let read: Vec<String> = report.read.iter().map(|(name, count)| format!("{count} of {name}")).collect();
    let mut text = format!(
        "Revision {revision} is in {folder}: {} prices of {} models at {} providers, in {files} files. Read: {} models.\n",
        report.prices,
        report.models,
        report.providers,
        read.join(", ")
    );
    let lines = |counts: &std::collections::BTreeMap<String, Counted>| -> Vec<[String; 3]> {
        let line = |(what, counted): (&String, &Counted)| {
            [counted.count.to_string(), what.clone(), counted.examples.join(", ")]
        };
        counts.iter().map(line).collect()
    };
    for (title, counts) in [("Added", &report.added), ("Left out", &report.left_out)] {
        _ = writeln!(text, "\n{title}\n{}", table(["count", "what", "such as"], &[0], lines(counts)));
    }
    if report.rounded.count > 0 {
        _ = writeln!(
            text,
            "\n{} prices had more than twelve decimal places and were rounded, such as {}",
            report.rounded.count,
            report.rounded.examples.join(", ")
        );
    }
    if !report.conflicts.is_empty() {
        let rows = report.conflicts.iter().take(SHOWN).map(|conflict| {
            let unit = conflict.unit.clone();
            [
                conflict.model.clone(),
                unit,
                conflict.holds.clone(),
                conflict.other.clone(),
                conflict.name.clone(),
            ]
        });
        let header = ["model", "unit", "genai-prices", "LiteLLM", "there as"];
        _ = writeln!(
            text,
            "\nPrices that differ by more than a tenth: {}\n{}",
            report.conflicts.len(),
            table(header, &[2, 3], rows)
        );
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::in_force::tests::{CARD, card};

    #[test]
    fn a_card_replaces_a_card_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let card = card(CARD);
        let target = folder.path().join("rates");
        assert_eq!(write(&card, &target).unwrap(), 3);
        std::fs::write(target.join("gone.toml"), "provider = \"gone\"").unwrap();
        write(&card, &target).unwrap();
        assert!(!target.join("gone.toml").exists());
        assert_eq!(RateCard::read(&target).unwrap().card.models.len(), 2);
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        assert!(write(&card, folder.path()).is_err(), "no card's folder");
    }
}
