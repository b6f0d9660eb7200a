use std::future::Future;
use std::time::Duration;

use clickhouse::Client;
use clickhouse::error::Error;

use crate::AnalyticsError;

/// A question is answered in this time, or the server counts as away.
const ANSWER: Duration = Duration::from_secs(60);

/// Where the tables are.
#[derive(Clone)]
pub struct AnalyticsOptions {
    /// `http://host:port`, perhaps with `user:password@` before the host.
    pub url: String,
    /// The database that holds our tables: letters, digits and underscores.
    pub database: String,
    /// Who we are to the server; outranks the URL.
    pub user: Option<String>,
    /// That user's password; outranks the URL.
    pub password: Option<String>,
}

impl std::fmt::Debug for AnalyticsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnalyticsOptions").field("database", &self.database).finish_non_exhaustive()
    }
}

/// The analysts' database. Clones share one pool of connections.
#[derive(Clone)]
pub struct Analytics {
    pub(crate) client: Client,
    pub(crate) database: String,
    url: String,
}

impl std::fmt::Debug for Analytics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analytics")
            .field("url", &self.url)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl Analytics {
    /// A handle; connects when it is used.
    ///
    /// # Errors
    /// [`AnalyticsError::Url`] if the address makes no sense.
    pub fn new(options: &AnalyticsOptions) -> Result<Self, AnalyticsError> {
        let address = Address::parse(&options.url)?;
        let mut client = Client::default().with_url(&address.url).with_database(&options.database);
        if let Some(user) = options.user.clone().or(address.user) {
            client = client.with_user(user);
        }
        if let Some(password) = options.password.clone().or(address.password) {
            client = client.with_password(password);
        }
        Ok(Self { client, database: options.database.clone(), url: address.url })
    }

    /// The address, without credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    /// [`AnalyticsError::Unreachable`], or [`AnalyticsError::Refused`], as for wrong credentials.
    pub async fn ping(&self) -> Result<(), AnalyticsError> {
        // The database may not exist yet.
        let client = self.client.clone().with_database("default");
        self.answer("answer", client.query("SELECT 1").fetch_one::<u8>()).await.map(|_| ())
    }

    /// Waits for an answer, with a bound, and sorts the error.
    pub(crate) async fn answer<T>(
        &self,
        action: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, AnalyticsError> {
        let outcome = tokio::time::timeout(ANSWER, call).await.unwrap_or(Err(Error::TimedOut));
        outcome.map_err(|error| self.sort(action, &error))
    }

    pub(crate) fn sort(&self, action: &str, error: &Error) -> AnalyticsError {
        let url = self.url.clone();
        match error {
            Error::Network(_) => AnalyticsError::Unreachable { url, reason: chain(error) },
            Error::TimedOut => AnalyticsError::Unreachable { url, reason: "no answer in time".into() },
            _ => AnalyticsError::Refused { action: action.to_owned(), reason: chain(error) },
        }
    }
}

/// An error with its causes, the shortest way that says it all.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.truncate(text.floor_char_boundary(2_000));
    text
}

/// A URL taken apart, because credentials go into headers.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    url: String,
    user: Option<String>,
    password: Option<String>,
}

impl Address {
    fn parse(url: &str) -> Result<Self, AnalyticsError> {
        let wrong = |what: &str| AnalyticsError::Url(what.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        if scheme == "https" {
            return Err(wrong("is https, which this build does not speak: put a TLS proxy before it"));
        }
        if scheme != "http" {
            return Err(wrong("is not http"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (credentials, host) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(credentials, host)| (Some(credentials), host));
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
            None => (None, None),
        };
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self { url: format!("http://{host}{path}"), user: some(user), password: some(password) })
    }
}

/// Undoes percent-encoding (RFC 3986).
fn decoded(text: &str) -> Result<String, AnalyticsError> {
    let wrong = || AnalyticsError::Url("has credentials that are not percent-encoded UTF-8".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_the_address() {
        let address = Address::parse("http://a%40b:p%2Fw@host:8123/").unwrap();
        assert_eq!((address.user.as_deref(), address.password.as_deref()), (Some("a@b"), Some("p/w")));
        assert_eq!(address.url, "http://host:8123/");
        let address = Address::parse("http://default:@127.0.0.1:8123").unwrap();
        assert_eq!((address.user.as_deref(), address.password), (Some("default"), None));
        assert_eq!(Address::parse("http://host:1").unwrap().user, None);
    }

    #[test]
    fn an_address_that_makes_no_sense_is_refused_with_the_remedy() {
        for wrong in ["host:8123", "ftp://host", "http://", "https://host", "http://a%4@host"] {
            let text = Address::parse(wrong).unwrap_err().to_string();
            assert!(text.contains("write http://host:port"), "{text}");
        }
    }
}
