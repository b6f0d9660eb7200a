//! Tables for people, JSON for programs.

use std::io::Write as _;

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle, presets};
use fluxori_core::posting::{Entry, Target};
use fluxori_core::time::Timestamp;
use serde::Serialize;

use crate::error::CliError;

const RULE: LineStyle = LineStyle::none().fill('─').junction('─');
const STYLE: TableStyle =
    presets::UTF8_HORIZONTAL_ONLY.header_separator(RULE).row_separator(LineStyle::none());

/// For whom a command writes on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and sentences, for people.
    Table,
    /// One JSON document, for programs.
    Json,
}

impl Output {
    /// Prints `answer` as JSON, or what `text` makes of it.
    pub(crate) fn print<T: Serialize>(
        self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        let mut text = match self {
            Self::Table => text(answer),
            Self::Json => serde_json::to_string_pretty(answer)?,
        };
        text.push('\n');
        // A reader that has seen enough, such as `head`, is no error.
        _ = std::io::stdout().lock().write_all(text.as_bytes());
        Ok(())
    }
}

/// A table with a header and, at the numbered columns, figures aligned to the right.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    right: &[usize],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.map(Cell::new));
    for row in rows {
        table.add_row(row.map(Cell::new));
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// A time as people read it, to the second; a dash where there is none.
pub(crate) fn time(time: Option<Timestamp>) -> String {
    time.and_then(Timestamp::to_datetime)
        .map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// The legs of a posting.
pub(crate) fn entries(entries: &[Entry]) -> String {
    let entry = |entry: &Entry| match entry.target {
        Target::Allocation(id) => {
            // The end of an id tells more than its beginning, which is a time.
            let id = id.to_string();
            format!("{} …{}", entry.amount, id.get(id.len().saturating_sub(8)..).unwrap_or_default())
        }
        Target::Overdraft => format!("{} overdraft", entry.amount),
        Target::Absorbed => format!("{} absorbed", entry.amount),
        Target::Due => format!("{} due", entry.amount),
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(", ")
}
