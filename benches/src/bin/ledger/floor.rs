//! The raw floor: what Postgres does with the same rows when nothing else happens.
//!
//! The rows that a run of the ledger left behind are taken out of its table as binary COPY files, a file per batch as the
//! ledger cuts them, with the sums per org beside them. The floor writes them into an empty copy of the schema, so into
//! the same columns and indexes: two connections, and per batch one transaction of COPY (guarded by the unique
//! indexes), one grouped update of balances, and the cursor. The client is `psql`, which does little else than pass bytes on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fluxori_ledger::Ledger;

use crate::log::Bench;

/// Records in a batch, as the ledger consumer's configuration has it by default.
const BATCH: i64 = 5_000;
const CONNECTIONS: usize = 2;

/// Batches in files, ready to be written.
pub(crate) struct Floor<'bench> {
    bench: &'bench Bench,
    folder: PathBuf,
    scripts: Vec<PathBuf>,
    rows: usize,
}

impl<'bench> Floor<'bench> {
    /// Takes the debits out of a database in which all records up to `ends` were applied.
    pub(crate) fn prepare(
        bench: &'bench Bench,
        database: &str,
        ends: &[i64],
        folder: PathBuf,
    ) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let count = output(database, "SELECT count(*) FROM ledger.credit_transactions WHERE kind = 'debit'")?;
        let mut taking = String::from(
            "CREATE TEMP TABLE source AS SELECT * FROM ledger.credit_transactions WHERE kind = 'debit';\n\
             CREATE INDEX ON source (log_partition, log_offset);\nANALYZE source;\n",
        );
        let mut scripts = vec![String::new(); CONNECTIONS];
        let most = ends.iter().copied().max().unwrap_or_default();
        // In rounds over the partitions, as the consumer works.
        for start in (0..most).step_by(usize::try_from(BATCH)?) {
            for (partition, end) in ends.iter().enumerate() {
                if start >= *end {
                    continue;
                }
                let place = format!(
                    "log_partition = {partition} AND log_offset >= {start} AND log_offset < {}",
                    start + BATCH
                );
                let name = folder.join(format!("{partition}-{start}"));
                let name = name.to_str().context("a path that is not UTF-8")?;
                writeln!(
                    taking,
                    "\\copy (SELECT * FROM source WHERE {place} ORDER BY org_id, number) TO '{name}.bin' BINARY\n\
                     \\o '{name}.sql'\n{}\n\\o",
                    sums(&place)
                )?;
                let script = scripts.get_mut(partition % CONNECTIONS).context("a connection")?;
                writeln!(
                    script,
                    "BEGIN;\n\\copy ledger.credit_transactions FROM '{name}.bin' BINARY\n\\i '{name}.sql'\n\
                     UPDATE floor_cursors SET next_offset = {} WHERE log_partition = {partition};\nCOMMIT;",
                    start + BATCH
                )?;
            }
        }
        let file = folder.join("take.sql");
        std::fs::write(&file, taking)?;
        finish(script(database, &file)?)?;
        let mut files = Vec::new();
        for (number, text) in scripts.iter().enumerate() {
            let file = folder.join(format!("connection-{number}.sql"));
            std::fs::write(&file, text)?;
            files.push(file);
        }
        Ok(Self { bench, folder, scripts: files, rows: count.trim().parse()? })
    }

    /// Writes all batches into a new database. Returns rows per second.
    pub(crate) fn run(&self, run: &str) -> Result<f64> {
        let (server, _) =
            self.bench.endpoints.database_url.rsplit_once('/').context("DATABASE_URL names no database")?;
        let database = format!("{server}/bench_{}_floor_{run}", std::process::id());
        drop(self.bench.runtime.block_on(Ledger::prepare(&database, 1))?);
        output(
            &database,
            "CREATE TABLE floor_accounts (org_id text PRIMARY KEY, balance numeric NOT NULL) WITH (fillfactor = 50);
             INSERT INTO floor_accounts SELECT 'org-' || lpad(n::text, 6, '0'), 0 FROM generate_series(0, 99999) n;
             CREATE TABLE floor_cursors (log_partition integer PRIMARY KEY, next_offset bigint NOT NULL);
             INSERT INTO floor_cursors SELECT n, 0 FROM generate_series(0, 63) n;
             ANALYZE floor_accounts; CHECKPOINT",
        )?;
        let begin = Instant::now();
        let running: Vec<Child> =
            self.scripts.iter().map(|file| script(&database, file)).collect::<Result<_>>()?;
        running.into_iter().try_for_each(finish)?;
        let took = begin.elapsed();
        drop_database(&database)?;
        Ok(benches::per_second(self.rows, took))
    }
}

impl Drop for Floor<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A query that writes the statement which updates the balances of a batch.
fn sums(place: &str) -> String {
    format!(
        "SELECT 'UPDATE floor_accounts a SET balance = a.balance - d.amount FROM (SELECT unnest(''{{' || \
         string_agg(org_id, ',') || '}}''::text[]) AS org_id, unnest(''{{' || string_agg(amount::text, ',') || \
         '}}''::numeric[]) AS amount) d WHERE a.org_id = d.org_id;' FROM (SELECT org_id, sum(amount) AS amount FROM \
         source WHERE {place} GROUP BY org_id ORDER BY org_id) s;"
    )
}

fn psql(database: &str) -> Command {
    let mut command = Command::new("psql");
    command
        .arg(database)
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"])
        .stdin(Stdio::null());
    command
}

fn script(database: &str, file: &Path) -> Result<Child> {
    psql(database)
        .arg("--file")
        .arg(file)
        .spawn()
        .context("psql is needed: `apt-get install postgresql-client`")
}

fn finish(mut child: Child) -> Result<()> {
    let status = child.wait()?;
    ensure!(status.success(), "psql failed ({status})");
    Ok(())
}

/// Runs statements and returns what the last one answers.
pub(crate) fn output(database: &str, statements: &str) -> Result<String> {
    let output = psql(database).arg("--command").arg(statements).output().context("cannot run psql")?;
    ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// Removes a database that nobody uses any more, and lets the server write back what the next run should not wait for.
pub(crate) fn drop_database(database: &str) -> Result<()> {
    let (server, name) = database.rsplit_once('/').context("a database's address")?;
    let server = format!("{server}/postgres");
    output(&server, &format!("DROP DATABASE {name} WITH (FORCE)"))?;
    output(&server, "CHECKPOINT")?;
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}
