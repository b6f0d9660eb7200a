//! The live rate over a table that has grown, by the rate over a young one.
//!
//! The table grows by copies of real postings of the same orgs: numbered below them, with random ids of an earlier time,
//! so that every index is as deep as it would be, and grows where it would grow.

use anyhow::Result;

use crate::consumer::Consumer;
use crate::figures::one_run;
use crate::floor::{drop_database, output};
use crate::log::Log;

/// Postings in the table before the second rate is measured.
const POSTINGS: i64 = 20_000_000;

pub(crate) fn ratio(log: &Log<'_>, warm_up: i64) -> Result<f64> {
    let young = one_run(log, "young", warm_up)?;
    let consumer = Consumer::start(log, "grown")?;
    consumer.wait(|_, debited| debited >= warm_up)?;
    let database = consumer.database.clone();
    consumer.stop()?;
    grow(&database)?;
    let consumer = Consumer::start(log, "grown")?;
    let begin: i64 = consumer.cursors()?.iter().map(|found| found.cursor.counters.debited).sum();
    // Its first batches load the orgs again.
    let grown = consumer.measure(begin + warm_up)?;
    consumer.stop()?;
    drop_database(&database)?;
    eprintln!(
        "  {:.0} debits/s in a young table, {:.0} in a grown one",
        young.debits_per_s, grown.debits_per_s
    );
    Ok(grown.debits_per_s / young.debits_per_s)
}

fn grow(database: &str) -> Result<()> {
    let columns = output(
        database,
        "SELECT string_agg(CASE column_name
             WHEN 'number' THEN 'number - 1000000 * n'
             WHEN 'event_id' THEN 'overlay(gen_random_uuid()::text placing left(event_id::text, 8) from 1 for 8)::uuid'
             ELSE column_name::text END, ', ' ORDER BY ordinal_position)
         FROM information_schema.columns
         WHERE table_schema = 'ledger' AND table_name = 'credit_transactions'",
    )?;
    let sources: i64 =
        output(database, "SELECT count(*) FROM ledger.credit_transactions WHERE kind = 'debit'")?
            .trim()
            .parse()?;
    let rounds = POSTINGS / sources.max(1) + 1;
    output(
        database,
        &format!(
            "CREATE TABLE sources AS SELECT * FROM ledger.credit_transactions WHERE kind = 'debit';
             INSERT INTO ledger.credit_transactions SELECT {} FROM generate_series(1, {rounds}) n, sources;
             DROP TABLE sources",
            columns.trim()
        ),
    )?;
    output(database, "VACUUM ANALYZE")?;
    output(database, "CHECKPOINT")?;
    Ok(())
}
