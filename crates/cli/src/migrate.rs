//! `credits ledger migrate`.

use fluxori_ledger::{LEDGER_ROLE, Ledger, Migrated, READER_ROLE, Schema};
use serde::Serialize;

use crate::error::CliError;
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer {
    database: String,
    is_new_database: bool,
    schema: String,
    applied_migrations: usize,
    new_roles: Vec<&'static str>,
}

pub(crate) async fn run(session: &Session) -> Result<(), CliError> {
    let schema = Schema::default();
    let Migrated { database, is_new_database, new_roles, applied } =
        Ledger::migrate(session.owner_url()?, &schema).await?;
    let answer = Answer {
        database,
        is_new_database,
        schema: schema.to_string(),
        applied_migrations: applied,
        new_roles,
    };
    session.output.print(&answer, text)
}

fn text(answer: &Answer) -> String {
    let Answer { database, schema, applied_migrations, .. } = answer;
    let made = if answer.is_new_database { ", which is new" } else { "" };
    let roles = match &*answer.new_roles {
        [] => String::new(),
        roles => format!("\nNew roles: {}.", roles.join(", ")),
    };
    let done = match applied_migrations {
        0 => "was up to date".to_owned(),
        1 => "is up to date; 1 migration was applied".to_owned(),
        count => format!("is up to date; {count} migrations were applied"),
    };
    format!(
        "Schema {schema} of database {database}{made} {done}.{roles}\n\n\
         The ledger consumer's role must be a member of {LEDGER_ROLE}, those of all others that read of {READER_ROLE}."
    )
}
