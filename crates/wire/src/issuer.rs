//! Issuers: who may sign commands, and the files that hold their private keys.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;

use ed25519_dalek::{Signer, SigningKey};
use fluxori_core::command::{Command, key_id, signed_bytes};
use fluxori_core::digest::Digest;
use fluxori_core::id::{KeyId, LogId};
use serde::{Deserialize, Serialize};

use crate::command::{SignedCommandRecord, encode_payload};
use crate::error::WireError;
use crate::schema::COMMAND;

/// An issuer: a log, a name and a private key. Its file is JSON that only its owner can read.
#[derive(Clone)]
pub struct Issuer {
    log_id: LogId,
    name: String,
    key: SigningKey,
}

#[derive(Serialize, Deserialize)]
struct IssuerFile {
    log_id: LogId,
    issuer: String,
    secret_key: String,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// An issuer with the private key made of 32 random bytes.
    #[must_use]
    pub fn new(log_id: LogId, name: &str, secret_key: [u8; 32]) -> Self {
        Self { log_id, name: name.to_owned(), key: SigningKey::from_bytes(&secret_key) }
    }

    /// The log that it signs for.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The name of its key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        key_id(&self.public_key())
    }

    /// Signs a command: the value of its record.
    pub fn sign(&self, command: &Command) -> Result<Vec<u8>, WireError> {
        let payload = encode_payload(command)?;
        let signature = self.key.sign(&signed_bytes(self.log_id, &payload)).to_bytes();
        COMMAND.encode(&SignedCommandRecord { issuer_key_id: self.key_id().into(), payload, signature })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// It is missing, readable by others than its owner, or not an issuer's.
    pub fn read(path: &Path) -> Result<Self, WireError> {
        let problem = |problem: String| WireError::KeyFile { path: path.display().to_string(), problem };
        let text = fs::read_to_string(path).map_err(|error| {
            problem(format!("{error}; `credits log init --keys FOLDER` makes the issuers' key files"))
        })?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(path).map_err(|error| problem(error.to_string()))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(problem("others can read it; mend it with `chmod 600`".to_owned()));
            }
        }
        let file: IssuerFile =
            serde_json::from_str(&text).map_err(|error| problem(format!("no issuer's key file: {error}")))?;
        let secret: Digest = file
            .secret_key
            .parse()
            .map_err(|_| problem("secret_key must have 64 hexadecimal digits".to_owned()))?;
        Ok(Self::new(file.log_id, &file.issuer, secret.0))
    }

    /// Writes a key file that only its owner can read; never over an existing one.
    pub fn write_new(&self, path: &Path) -> Result<(), WireError> {
        let problem = |error: std::io::Error| WireError::KeyFile {
            path: path.display().to_string(),
            problem: error.to_string(),
        };
        let file = IssuerFile {
            log_id: self.log_id,
            issuer: self.name.clone(),
            secret_key: Digest(self.key.to_bytes()).to_string(),
        };
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let mut out = options.open(path).map_err(problem)?;
        let text = serde_json::to_string_pretty(&file).map_err(|error| WireError::KeyFile {
            path: path.display().to_string(),
            problem: error.to_string(),
        })?;
        out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(problem)
    }
}
