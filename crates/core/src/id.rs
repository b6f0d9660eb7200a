//! Pure: identifiers, each a type of its own; a value that you hold is valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;
use uuid::{Builder, Uuid};

use crate::command::Account;
use crate::time::Timestamp;

/// The key of records that hold for all orgs of a partition; no org id can begin with `$`.
pub const GLOBAL_KEY: &str = "$global";

/// Longest identifier, in bytes.
pub const MAX_BYTES: usize = 256;

/// A text that cannot be an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct IdError {
    what: &'static str,
    problem: &'static str,
}

fn check_text(what: &'static str, text: &str) -> Result<(), IdError> {
    let problem = if text.is_empty() {
        "must not be empty"
    } else if text.len() > MAX_BYTES {
        "is longer than 256 bytes"
    } else if text.chars().any(char::is_control) {
        "holds control characters"
    } else if text.trim() != text {
        "begins or ends with white space"
    } else {
        return Ok(());
    };
    Err(IdError { what, problem })
}

fn check_key(what: &'static str, text: &str) -> Result<(), IdError> {
    check_text(what, text)?;
    let problem = if text.len() > 128 {
        "is longer than 128 bytes"
    } else if text.starts_with('$') {
        "begins with `$`, which is reserved"
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "may hold printable ASCII characters only"
    } else {
        return Ok(());
    };
    Err(IdError { what, problem })
}

/// Reads an identifier from a text that need not be owned.
struct TextVisitor<T> {
    what: &'static str,
    new: fn(&str) -> Result<T, IdError>,
}

impl<T> de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.new)(text).map_err(E::custom)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks and takes the text.
            pub fn new(text: &str) -> Result<Self, IdError> {
                $check($what, text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor { what: $what, new: Self::new })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// An organization: who pays. The key of its records. Up to 128 printable ASCII characters, not beginning with `$`.
    OrgId, "the org id", check_key);
text_id!(
    /// A user inside an organization; may be opaque.
    UserId, "the user id", check_text);
text_id!(
    /// A team inside an organization.
    TeamId, "the team id", check_text);
text_id!(
    /// The module that made the call, such as `agent-framework`.
    Module, "the module", check_text);
text_id!(
    /// A feature of a module.
    Feature, "the feature", check_text);
text_id!(
    /// One run of an agent or workflow, over several calls.
    RunId, "the run id", check_text);
text_id!(
    /// Who serves a model: `gen_ai.provider.name` of OpenTelemetry's GenAI conventions.
    Provider, "the provider", check_text);
text_id!(
    /// A model's name: `gen_ai.request.model` and `gen_ai.response.model`.
    Model, "the model", check_text);
text_id!(
    /// Any other short label of a usage event: source, operation, region and the like.
    Label, "the label", check_text);
text_id!(
    /// One emitting process; numbers its events.
    ProducerId, "the producer id", check_text);
text_id!(
    /// Names a revision of the rates.
    RevisionId, "the revision", check_key);
text_id!(
    /// Names an item of a plan, such as `monthly-credits`.
    ItemId, "the item id", check_key);
text_id!(
    /// Names an issuer's key: the first 16 hexadecimal digits of the SHA-256 of its public key.
    KeyId, "the key id", check_key);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// A usage event. Native ids are time-ordered (UUIDv7), ids made from a foreign id are UUIDv8.
    EventId);
uuid_id!(
    /// A command; the same command twice is one command.
    CommandId);
uuid_id!(
    /// An allocation. A granted one bears the id of its command.
    AllocationId);
uuid_id!(
    /// A hold of credits.
    ReservationId);
uuid_id!(
    /// A log: made once by its genesis record.
    LogId);

impl EventId {
    /// The deterministic id (UUIDv8) of an event that came with a foreign id: a function of org, source and foreign id
    /// alone, so that a retry by any client is the same event.
    #[must_use]
    pub fn from_foreign(org: &OrgId, source: &Label, foreign_id: &str) -> Self {
        Self(derived_uuid("fluxori.event.v1", &[org.as_str(), source.as_str(), foreign_id]))
    }

    /// Whether a call site of ours made the id (UUIDv7), so that it is bound to one time of occurrence.
    #[must_use]
    pub fn is_native(self) -> bool {
        self.0.get_version_num() == 7
    }
}

impl CommandId {
    /// The deterministic id of a command that a client names with a key of its own (`Idempotency-Key`), per org.
    #[must_use]
    pub fn from_idempotency_key(org: &OrgId, key: &str) -> Self {
        Self(derived_uuid("fluxori.command.v1", &[org.as_str(), key]))
    }

    /// The deterministic id of the grant of a plan's period, so that two schedulers, or one restarted, grant it once.
    #[must_use]
    pub fn of_period(org: &OrgId, plan: Self, item: &ItemId, account: &Account, start: Timestamp) -> Self {
        let user = account.user().map_or("", |user| user.as_str());
        let parts = [org.as_str(), &plan.to_string(), item.as_str(), user, &start.micros().to_string()];
        Self(derived_uuid("fluxori.period.v1", &parts))
    }

    /// The deterministic id of an allocation that a command makes for an item of a plan.
    #[must_use]
    pub fn allocation_of(self, item: &ItemId, account: &Account) -> AllocationId {
        let user = account.user().map_or("", |user| user.as_str());
        AllocationId(derived_uuid("fluxori.plan.v1", &[&self.to_string(), item.as_str(), user]))
    }
}

/// UUIDv8 (RFC 9562) from the SHA-256 of a domain tag and length-prefixed parts.
fn derived_uuid(domain: &str, parts: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    for part in [domain].iter().chain(parts) {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_id_can_never_be_the_reserved_key() {
        assert!(OrgId::new(GLOBAL_KEY).is_err());
        assert!(OrgId::new("acme corp").is_err());
        assert!(OrgId::new("acme-corp.eu").is_ok());
    }

    #[test]
    fn a_foreign_id_depends_on_org_source_and_id_and_not_on_how_they_are_split() {
        let id = |org: &str, source: &str, foreign: &str| {
            EventId::from_foreign(&OrgId::new(org).unwrap(), &Label::new(source).unwrap(), foreign)
        };
        assert_eq!(id("acme", "litellm", "call-1"), id("acme", "litellm", "call-1"));
        assert_ne!(id("acme", "litellm", "call-1"), id("acme", "litellmc", "all-1"));
        assert!(!id("acme", "litellm", "call-1").is_native());
    }
}
