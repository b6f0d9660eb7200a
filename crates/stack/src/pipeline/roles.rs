//! Who logs in to a pipeline's Postgres: an owner that makes the ledger, its consumer that writes it, and a reader for all
//! others. Their group roles are those of the ledger.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// The addresses of a pipeline's database.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses {
    /// For the role that makes the database and its schemas.
    pub(super) owner: String,
    /// For the ledger consumer.
    pub(super) consumer: String,
    /// For everybody else.
    pub(super) reader: String,
}

/// Makes the login roles of the pipeline `name`, by way of a role that may.
pub(super) fn make(database_url: &str, name: &str) -> Result<Addresses> {
    let mut statements = vec![group("fluxori_ledger"), group("fluxori_reader")];
    let mut login = |suffix: &str, attributes: &str| -> Result<String> {
        let role = format!("{name}_{suffix}");
        let (address, password) = address(database_url, &role, name)?;
        let password = password.map_or_else(String::new, |password| format!("PASSWORD '{password}'"));
        statements
            .push(unless_there(&role, &format!("CREATE ROLE \"{role}\" LOGIN {password} {attributes}")));
        Ok(address)
    };
    let addresses = Addresses {
        owner: login("owner", "CREATEDB CREATEROLE")?,
        consumer: login("consumer", "IN ROLE fluxori_ledger")?,
        reader: login("reader", "IN ROLE fluxori_reader")?,
    };
    let mut psql = Command::new("psql");
    psql.args([database_url, "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1"]);
    psql.args(statements.iter().flat_map(|statement| ["--command", statement])).stdin(Stdio::null());
    let output = psql.output().context("psql is needed: `apt-get install postgresql-client`")?;
    ensure!(
        output.status.success(),
        "the login roles cannot be made: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(addresses)
}

/// `credits ledger migrate` makes the groups, too; but members of them must be there before services start.
fn group(role: &str) -> String {
    unless_there(role, &format!("CREATE ROLE {role}"))
}

/// Somebody else may make it at the same moment.
fn unless_there(role: &str, create: &str) -> String {
    format!(
        "DO $$ BEGIN
             IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN {create}; END IF;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
         END $$"
    )
}

/// The address of database `name` for `role`, and the role's password where the server wants one: as secret as that of
/// `database_url`, out of which it is made.
fn address(database_url: &str, role: &str, name: &str) -> Result<(String, Option<String>)> {
    let (scheme, rest) = database_url.split_once("://").context("DATABASE_URL is no address")?;
    let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (server, _) = place.rsplit_once('/').context("DATABASE_URL names no database")?;
    let password = user.contains(':').then(|| {
        let digest = Sha256::digest(format!("{role} {database_url}"));
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    let login = password.as_ref().map_or_else(|| role.to_owned(), |password| format!("{role}:{password}"));
    Ok((format!("{scheme}://{login}@{server}/{name}"), password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_a_password_where_the_server_wants_one() {
        let (url, password) =
            address("postgres://fluxori@127.0.0.1:5/postgres", "demo_reader", "demo").unwrap();
        assert_eq!((&*url, password), ("postgres://demo_reader@127.0.0.1:5/demo", None));
        let (url, password) = address("postgres://a:b@host/x", "demo_reader", "demo").unwrap();
        assert_eq!(url, format!("postgres://demo_reader:{}@host/demo", password.unwrap()));
    }
}
