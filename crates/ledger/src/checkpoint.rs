//! Checkpoints: every row of a ledger at one moment, in files, so that a rebuild need not begin at the beginning.
//!
//! A folder with one file per table, whatever tables the schema has, in Postgres' text format for COPY, and
//! `checkpoint.json`, which is written last and names the cursors and every file with its SHA-256 digest.

mod restore;
mod take;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use fluxori_core::digest::Digest;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::error::LedgerError;

const NAME: &str = "checkpoint.json";
const FORMAT: &str = "fluxori.checkpoint.v1";

/// A checkpoint in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    folder: PathBuf,
    manifest: Manifest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    /// When it was taken, by the database's clock, RFC 3339.
    taken_at: String,
    /// Whether it was compared with a fold of the log up to its cursors.
    verified: bool,
    /// Version and checksum of every migration of the schema.
    migrations: BTreeMap<i64, String>,
    /// By partition, the offset of the first record that it does not hold.
    cursors: BTreeMap<i32, i64>,
    tables: Vec<TableFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    table: String,
    columns: Vec<String>,
    file: String,
    rows: u64,
    bytes: u64,
    sha256: Digest,
}

impl Checkpoint {
    /// The checkpoint in a folder.
    ///
    /// # Errors
    /// `Checkpoint` if there is none, or it is another format.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        let text = fs::read(folder.join(NAME)).map_err(|error| {
            let problem = format!("cannot read {NAME}: {error}; was it completed?");
            broken(folder, problem)
        })?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| broken(folder, format!("{NAME}: {error}")))?;
        if manifest.format != FORMAT {
            let problem = format!("its format is {}, this build reads {FORMAT}", manifest.format);
            return Err(broken(folder, problem));
        }
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// By partition, the offset of the first record that it does not hold.
    #[must_use]
    pub const fn cursors(&self) -> &BTreeMap<i32, i64> {
        &self.manifest.cursors
    }

    /// Whether it was compared with a fold of the log up to its cursors.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.manifest.verified
    }

    /// By table, how many rows it holds.
    pub fn tables(&self) -> impl Iterator<Item = (&str, u64)> {
        self.manifest.tables.iter().map(|table| (table.table.as_str(), table.rows))
    }

    /// By table, the digest of its rows; equal ledgers have equal ones but for when their cursors were committed.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<&str, Digest> {
        self.manifest.tables.iter().map(|table| (table.table.as_str(), table.sha256)).collect()
    }

    /// Notes that a fold of the log says the same.
    ///
    /// # Errors
    /// `Checkpoint` if the folder cannot be written.
    pub fn mark_verified(&mut self) -> Result<(), LedgerError> {
        self.manifest.verified = true;
        self.write()
    }

    fn write(&self) -> Result<(), LedgerError> {
        let (path, draft) = (self.folder.join(NAME), self.folder.join(format!("{NAME}.unfinished")));
        let written =
            serde_json::to_vec_pretty(&self.manifest).map_err(std::io::Error::other).and_then(|mut text| {
                text.push(b'\n');
                let mut out = File::create(&draft)?;
                out.write_all(&text)?;
                out.sync_all()?;
                fs::rename(&draft, &path)?;
                File::open(&self.folder)?.sync_all()
            });
        written.map_err(|error| broken(&self.folder, format!("cannot write {NAME}: {error}")))
    }
}

fn broken(folder: &Path, problem: impl Into<String>) -> LedgerError {
    LedgerError::Checkpoint { folder: folder.to_owned(), problem: problem.into() }
}

/// A table of the ledger, its names quoted as SQL needs them.
struct Table {
    name: String,
    columns: Vec<String>,
    key: Vec<String>,
}

/// All tables of the schema that the search path names, as the catalogue has them; the notes of migrations left out.
async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, LedgerError> {
    let rows: Vec<(String, Vec<String>, Vec<String>)> = sqlx::query_as(
        "SELECT quote_ident(c.relname),
                (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum) FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
                (SELECT array_agg(quote_ident(a.attname) ORDER BY array_position(i.indkey::smallint[], a.attnum))
                 FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
                 WHERE i.indrelid = c.oid AND i.indisprimary)
         FROM pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND c.relname <> '_sqlx_migrations'
         ORDER BY 1",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(name, columns, key)| Table { name, columns, key }).collect())
}

/// Version and checksum of the migrations that made the schema.
async fn migrations(connection: &mut PgConnection) -> Result<BTreeMap<i64, String>, LedgerError> {
    let query = "SELECT version, encode(checksum, 'hex') FROM _sqlx_migrations";
    let rows: Vec<(i64, String)> = sqlx::query_as(AssertSqlSafe(query)).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}
