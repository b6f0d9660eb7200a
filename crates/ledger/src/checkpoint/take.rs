use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use fluxori_core::digest::Digest;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use super::{Checkpoint, FORMAT, Manifest, Table, TableFile, broken, migrations, tables};
use crate::Ledger;
use crate::error::LedgerError;
use crate::read::{Heads, cursors_in, heads_in};

/// How values look in text, whatever the database was told.
const FORMATS: &str =
    "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL bytea_output = 'hex';
                       SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL extra_float_digits = 1";

impl Ledger {
    /// Writes all rows of this ledger at one moment into a folder, which must be empty or missing; for `with_heads` also
    /// gives them as they are compared with the log, of the same moment. Tells `seen` how many bytes
    /// were written.
    ///
    /// # Errors
    /// `Checkpoint` if the folder is in use or cannot be written, `Database` if Postgres failed; the folder then holds no
    /// checkpoint.
    pub async fn checkpoint(
        &self,
        folder: &Path,
        with_heads: bool,
        seen: impl Fn(u64),
    ) -> Result<(Checkpoint, Option<Heads>), LedgerError> {
        fs::create_dir_all(folder).map_err(|error| broken(folder, format!("cannot make it: {error}")))?;
        let mut entries = fs::read_dir(folder).map_err(|error| broken(folder, error.to_string()))?;
        if entries.next().is_some() {
            return Err(broken(folder, "it is not empty; name a new folder"));
        }
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        sqlx::raw_sql(FORMATS).execute(&mut *transaction).await?;
        let cursors = cursors_in(&mut *transaction).await?;
        let taken_at: String =
            sqlx::query_scalar("SELECT to_char(now(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
                .fetch_one(&mut *transaction)
                .await?;
        let mut manifest = Manifest {
            format: FORMAT.to_owned(),
            taken_at,
            verified: false,
            migrations: migrations(&mut transaction).await?,
            cursors: cursors.iter().map(|cursor| (cursor.partition, cursor.cursor.next_offset)).collect(),
            tables: Vec::new(),
        };
        for table in tables(&mut transaction).await? {
            manifest.tables.push(copy_out(&mut transaction, &table, folder, &seen).await?);
        }
        let heads = if with_heads { Some(heads_in(&mut transaction, None).await?) } else { None };
        transaction.commit().await?;
        let checkpoint = Checkpoint { folder: folder.to_owned(), manifest };
        checkpoint.write()?;
        Ok((checkpoint, heads))
    }
}

async fn copy_out(
    connection: &mut PgConnection,
    table: &Table,
    folder: &Path,
    seen: &impl Fn(u64),
) -> Result<TableFile, LedgerError> {
    let Table { name, columns, key } = table;
    let unwritable =
        |error: std::io::Error| broken(folder, format!("cannot write the rows of {name}: {error}"));
    let file = format!("{name}.copy");
    let mut out = BufWriter::new(File::create(folder.join(&file)).map_err(unwritable)?);
    let (mut hasher, mut rows, mut bytes) = (Sha256::new(), 0, 0);
    // In the order of the key, so that equal tables are equal files.
    let query = format!(
        "COPY (SELECT {columns} FROM {name} ORDER BY {key}) TO STDOUT",
        columns = columns.join(", "),
        key = key.join(", "),
    );
    let mut stream = connection.copy_out_raw(&query).await?;
    // A row comes in one piece.
    while let Some(row) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
        let row = row?;
        out.write_all(&row).map_err(unwritable)?;
        hasher.update(&row);
        let length = u64::try_from(row.len()).unwrap_or_default();
        (rows, bytes) = (rows + 1, bytes + length);
        seen(length);
    }
    let out = out.into_inner().map_err(|error| unwritable(error.into_error()))?;
    out.sync_all().map_err(unwritable)?;
    let sha256 = Digest(hasher.finalize().into());
    Ok(TableFile { table: name.clone(), columns: columns.clone(), file, rows, bytes, sha256 })
}
