//! `cargo xtask generate`: renews what is generated and committed.
//!
//! The ledger's queries are checked at compile time against `crates/ledger/.sqlx`, which describes each of them as a
//! real Postgres with the ledger's migrations does.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use fluxori_stack::Stack;

use crate::StackArguments;
use crate::cargo::{binaries, cargo, now, output, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stack: StackArguments,
}

const QUERIES: &str = "crates/ledger/.sqlx";
const DATABASE: &str = "fluxori_generate";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = workspace().join(QUERIES);
    let queries = generate(&arguments.stack)?;
    if target.exists() {
        std::fs::remove_dir_all(&target)?;
    }
    std::fs::create_dir_all(&target)?;
    for (name, text) in &queries {
        std::fs::write(target.join(name), text)?;
    }
    eprintln!("{} queries in {QUERIES}", queries.len());
    Ok(())
}

/// Fails if what is committed is not what would be generated.
pub(crate) fn check(stack: &StackArguments) -> Result<()> {
    if read(&workspace().join(QUERIES))? != generate(stack)? {
        bail!("{QUERIES} is not up to date: run `cargo xtask generate` and commit it");
    }
    Ok(())
}

fn generate(arguments: &StackArguments) -> Result<BTreeMap<String, String>> {
    build_stack()?;
    let options = fluxori_stack::Options { binaries: Some(binaries("debug")), ..arguments.options() };
    let stack = Stack::start(&options)?;
    let url = &stack.endpoints().database_url;
    let (server, _) = url.rsplit_once('/').context("DATABASE_URL names no database")?;
    let (drop, create) =
        (format!("DROP DATABASE IF EXISTS {DATABASE}"), format!("CREATE DATABASE {DATABASE}"));
    psql(url, &["-c", &drop, "-c", &create])?;
    let database = format!("{server}/{DATABASE}");
    migrate(&database, "control")?;
    migrate(&database, "ledger")?;
    let folder = binaries("sqlx");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    // Cargo must call the macros anew although no source has changed.
    let touched = std::fs::File::options().append(true).open(workspace().join("crates/ledger/src/lib.rs"))?;
    touched.set_modified(now())?;
    let mut check = cargo(&["check", "--package", "fluxori-ledger", "--locked"]);
    check
        .env("DATABASE_URL", in_schema(&database, "ledger"))
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &folder);
    output(&mut check)?;
    let queries = read(&folder)?;
    psql(url, &["-c", &drop])?;
    stack.stop();
    Ok(queries)
}

fn build_stack() -> Result<()> {
    output(&mut cargo(&["build", "--package", "fluxori-stack", "--bins", "--locked"])).map(drop)
}

/// Migrations name no schema: each set is for the one that its folder is named after.
fn migrate(database: &str, schema: &str) -> Result<()> {
    psql(database, &["-c", &format!("CREATE SCHEMA {schema}")])?;
    let folder = workspace().join("crates/ledger/migrations").join(schema);
    let mut migrations: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    migrations.sort();
    for migration in migrations {
        let file = migration.to_str().context("a path that is not UTF-8")?;
        psql(&in_schema(database, schema), &["-f", file])?;
    }
    Ok(())
}

/// An address whose connections take names without a schema to be in this one.
fn in_schema(database: &str, schema: &str) -> String {
    format!("{database}?options=-csearch_path%3D{schema}")
}

fn psql(url: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("psql");
    command.args([url, "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1"]).args(arguments);
    output(&mut command).context("psql is needed to generate: `apt-get install postgresql-client`")?;
    Ok(())
}

fn read(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, std::fs::read_to_string(&path)?);
    }
    Ok(files)
}
