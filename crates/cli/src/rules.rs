//! `credits rules set`.

use clap::Args;
use fluxori_core::command::CommandBody;
use fluxori_core::fold::RULES_VERSION;

use crate::error::CliError;
use crate::everywhere::{self, Order, RootArguments};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct SetArguments {
    /// The version of the ledger's rules
    version: i32,
    #[command(flatten)]
    root: RootArguments,
}

pub(crate) async fn set(session: &Session, arguments: &SetArguments) -> Result<(), CliError> {
    let version = arguments.version;
    if version > RULES_VERSION {
        return Err(CliError::Refused(format!(
            "this build knows the rules up to version {RULES_VERSION}, and every consumer of this build would stop at \
             version {version}; upgrade all services first, then use their `credits`"
        )));
    }
    let log = session.log(&session.reader()?).await?;
    let order = Order {
        name: format!("rules-{version}"),
        body: CommandBody::SetRules(version),
        what: format!("rules version {version}"),
    };
    everywhere::give(session, &log, order, &arguments.root).await
}
