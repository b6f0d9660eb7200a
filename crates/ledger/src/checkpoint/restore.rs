use std::fs::File;
use std::io::Read as _;

use fluxori_core::digest::Digest;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{Checkpoint, TableFile, broken, migrations, tables};
use crate::Ledger;
use crate::error::LedgerError;

/// Bytes that are read and sent at once.
const PIECE: usize = 1 << 20;

impl Ledger {
    /// Fills this ledger, which must be empty, with the rows of a checkpoint, wholly or not at all. The role must be the
    /// owner. Tells `seen` how many bytes were sent.
    ///
    /// # Errors
    /// `Checkpoint` if this ledger is not empty or of another build, or a file is not as it was written; `Database` if
    /// Postgres failed.
    pub async fn restore(&self, checkpoint: &Checkpoint, seen: impl Fn(u64)) -> Result<(), LedgerError> {
        let Checkpoint { folder, manifest } = checkpoint;
        let mut transaction = self.pool.begin().await?;
        if migrations(&mut transaction).await? != manifest.migrations {
            let problem = "the tables were made by other migrations than those of this build; rebuild from the log, or \
                           restore with the build that took it";
            return Err(broken(folder, problem));
        }
        for table in tables(&mut transaction).await? {
            let query = format!("SELECT EXISTS (SELECT FROM {})", table.name);
            if sqlx::query_scalar::<_, bool>(AssertSqlSafe(query)).fetch_one(&mut *transaction).await? {
                let problem =
                    format!("it cannot be restored into schema {}, which is not empty", self.schema);
                return Err(broken(folder, problem));
            }
        }
        for table in &manifest.tables {
            copy_in(&mut transaction, checkpoint, table, &seen).await?;
        }
        transaction.commit().await?;
        sqlx::raw_sql("ANALYZE").execute(&self.pool).await?;
        Ok(())
    }
}

async fn copy_in(
    connection: &mut PgConnection,
    checkpoint: &Checkpoint,
    table: &TableFile,
    seen: &impl Fn(u64),
) -> Result<(), LedgerError> {
    let Checkpoint { folder, .. } = checkpoint;
    let TableFile { table: name, columns, file, rows, sha256, .. } = table;
    let unreadable = |error: std::io::Error| broken(folder, format!("cannot read {file}: {error}"));
    let mut input = File::open(folder.join(file)).map_err(unreadable)?;
    let query = format!("COPY {name} ({}) FROM STDIN", columns.join(", "));
    let mut copy = connection.copy_in_raw(&query).await?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        let length = input.read(&mut piece).map_err(unreadable)?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
        hasher.update(read);
        copy.send(read).await?;
        seen(u64::try_from(length).unwrap_or_default());
    }
    let restored = copy.finish().await?;
    if Digest(hasher.finalize().into()) != *sha256 || restored != *rows {
        return Err(broken(
            folder,
            format!("{file} is not as it was written (digest); restore it from a copy"),
        ));
    }
    Ok(())
}
