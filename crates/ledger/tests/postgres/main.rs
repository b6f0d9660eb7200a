//! The shell against a real Postgres.

mod commit;
#[cfg(test)]
mod support;
mod verify;
