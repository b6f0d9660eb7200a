//! The group roles and what each may do. The roles that services log in as are members of one of them; who makes those,
//! and how they prove who they are, is the operator's.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::error::LedgerError;
use crate::schema::CONTROL;

/// May read and write the ledger, and take partitions over: the ledger consumer's.
pub const LEDGER_ROLE: &str = "fluxori_ledger";
/// May read the ledger: everybody else's.
pub const READER_ROLE: &str = "fluxori_reader";

/// Makes the group roles that are missing, and says which.
pub(crate) async fn make_groups(owner: &mut PgConnection) -> Result<Vec<&'static str>, LedgerError> {
    let mut made = Vec::new();
    for role in [LEDGER_ROLE, READER_ROLE] {
        if exists(owner, role).await? {
            continue;
        }
        match sqlx::raw_sql(AssertSqlSafe(format!("CREATE ROLE {role}"))).execute(&mut *owner).await {
            Ok(_) => made.push(role),
            // Roles are the whole server's: somebody may have made it meanwhile from another database.
            Err(_) if exists(owner, role).await? => {}
            Err(error) if is_refusal(&error) => {
                let user = sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut *owner).await?;
                return Err(LedgerError::MissingRole { role, user });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(made)
}

async fn exists(owner: &mut PgConnection, role: &str) -> Result<bool, LedgerError> {
    let query = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)").bind(role);
    Ok(query.fetch_one(owner).await?)
}

/// 42501 `insufficient_privilege`.
fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42501"))
}

/// Epochs may be raised and never taken away.
pub(crate) async fn grant_control(owner: &mut PgConnection) -> Result<(), LedgerError> {
    let grants = format!(
        "GRANT USAGE ON SCHEMA {CONTROL} TO {LEDGER_ROLE};
         GRANT SELECT ON ALL TABLES IN SCHEMA {CONTROL} TO {LEDGER_ROLE};
         GRANT INSERT, UPDATE ON {CONTROL}.partition_epochs TO {LEDGER_ROLE}"
    );
    sqlx::raw_sql(AssertSqlSafe(grants)).execute(owner).await?;
    Ok(())
}

/// Also for what the owner makes in the schema later on. The notes of the migrations are the owner's alone.
pub(crate) async fn grant_ledger(owner: &mut PgConnection, schema: &str) -> Result<(), LedgerError> {
    let grants = format!(
        "GRANT USAGE ON SCHEMA {schema} TO {LEDGER_ROLE}, {READER_ROLE};
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {LEDGER_ROLE}, {READER_ROLE};
         GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {LEDGER_ROLE};
         REVOKE INSERT, UPDATE, DELETE ON {schema}._sqlx_migrations FROM {LEDGER_ROLE};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {LEDGER_ROLE};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {LEDGER_ROLE}, {READER_ROLE};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT INSERT, UPDATE, DELETE ON TABLES TO {LEDGER_ROLE};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {LEDGER_ROLE}"
    );
    sqlx::raw_sql(AssertSqlSafe(grants)).execute(owner).await?;
    Ok(())
}

/// Takes from the ledger consumer's role what it may write in a schema that is the ledger no more.
pub(crate) async fn freeze(owner: &mut PgConnection, schema: &str) -> Result<(), LedgerError> {
    let revokes = format!(
        "REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} FROM {LEDGER_ROLE};
         REVOKE USAGE ON ALL SEQUENCES IN SCHEMA {schema} FROM {LEDGER_ROLE};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} REVOKE INSERT, UPDATE, DELETE ON TABLES FROM {LEDGER_ROLE};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} REVOKE USAGE ON SEQUENCES FROM {LEDGER_ROLE}"
    );
    sqlx::raw_sql(AssertSqlSafe(revokes)).execute(owner).await?;
    Ok(())
}
