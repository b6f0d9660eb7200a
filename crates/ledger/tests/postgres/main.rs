//! The shell against a real Postgres.

#[cfg(test)]
mod charges;
mod checkpoint;
mod commit;
mod plans;
mod promote;
mod roles;
mod schema;
#[cfg(test)]
mod support;
mod verify;
