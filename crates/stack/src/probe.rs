//! Does a server answer? One small exchange in each server's own protocol, so that a port which is merely open, or
//! belongs to something else, does not count.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Fails, saying why, when the server at this address or URL does not answer.
pub(crate) type Probe = fn(&str) -> Result<()>;

/// The longest a server may take to accept a connection, and again to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest answer that a probe reads.
const ANSWER_LIMIT: usize = 1 << 20;

/// Asks a Kafka broker for the cluster's metadata; fine when at least one broker is registered.
///
/// `brokers` is a list of `host:port` separated by commas; one that answers is enough.
pub(crate) fn kafka(brokers: &str) -> Result<()> {
    let mut last = None;
    for broker in brokers.split(',').map(str::trim).filter(|broker| !broker.is_empty()) {
        match kafka_broker(broker) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error.context(format!("broker {broker}"))),
        }
    }
    match last {
        Some(error) => Err(error),
        None => bail!("no broker is named"),
    }
}

fn kafka_broker(address: &str) -> Result<()> {
    // Metadata, version 1, with an empty list of topics: key 3, version, correlation id, client id, count of topics.
    let mut request = Vec::new();
    request.extend_from_slice(&3_i16.to_be_bytes());
    request.extend_from_slice(&1_i16.to_be_bytes());
    request.extend_from_slice(&1_i32.to_be_bytes());
    request.extend_from_slice(&5_i16.to_be_bytes());
    request.extend_from_slice(b"probe");
    request.extend_from_slice(&0_i32.to_be_bytes());
    let mut stream = connect(address)?;
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes())?;
    stream.write_all(&request)?;
    let length = usize::try_from(read_u32(&mut stream).context("no answer in Kafka's protocol")?)?;
    ensure!((12..ANSWER_LIMIT).contains(&length), "an answer that is not Kafka's");
    ensure!(read_u32(&mut stream)? == 1, "an answer that is not Kafka's (correlation id)");
    ensure!(read_u32(&mut stream)? > 0, "no broker is registered in the cluster yet");
    Ok(())
}

/// Opens a session as the URL's user as far as Postgres' first answer; fine when it lets us in or asks for a password.
pub(crate) fn postgres(url: &str) -> Result<()> {
    let authority = Authority::of(url, &["postgres", "postgresql"], 5432)?;
    let mut stream = connect(&authority.address)?;
    // The request for TLS: its length and a code. 'S' is yes, 'N' is no; nobody but Postgres answers it so.
    stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])?;
    let mut answer = [0_u8];
    stream.read_exact(&mut answer).context("no answer in Postgres' protocol")?;
    match answer {
        [b'S'] => return Ok(()),
        [b'N'] => {}
        _ => bail!("an answer that is not Postgres'"),
    }
    let mut startup = vec![0, 3, 0, 0];
    for (name, value) in [("user", authority.user.as_str()), ("database", authority.path.as_str())] {
        startup.extend_from_slice(name.as_bytes());
        startup.push(0);
        startup.extend_from_slice(value.as_bytes());
        startup.push(0);
    }
    startup.push(0);
    stream.write_all(&u32::try_from(startup.len() + 4)?.to_be_bytes())?;
    stream.write_all(&startup)?;
    stream.read_exact(&mut answer).context("no answer to the startup message")?;
    match answer {
        [b'R'] => Ok(()),
        [b'E'] => {
            let length = usize::try_from(read_u32(&mut stream)?)?.saturating_sub(4);
            let mut fields = vec![0; length.min(ANSWER_LIMIT)];
            stream.read_exact(&mut fields)?;
            // Fields are a letter and a text that ends with zero; 'M' is the message.
            let message = fields
                .split(|byte| *byte == 0)
                .find_map(|field| field.strip_prefix(b"M"))
                .map_or_else(|| "an error".into(), String::from_utf8_lossy);
            bail!("Postgres refuses the session: {message}")
        }
        _ => bail!("an answer that is not Postgres'"),
    }
}

/// Asks ClickHouse's `/ping`; over https only the connection is tried.
pub(crate) fn clickhouse(url: &str) -> Result<()> {
    let authority =
        Authority::of(url, &["http", "https"], if url.starts_with("https:") { 8443 } else { 8123 })?;
    let mut stream = connect(&authority.address)?;
    if url.starts_with("https:") {
        return Ok(());
    }
    let host = &authority.address;
    stream
        .write_all(format!("GET /ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).context("no answer over HTTP")?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(
        answer.starts_with("HTTP/1.") && answer.contains(" 200 ") && answer.contains("Ok."),
        "an answer that is not ClickHouse's"
    );
    Ok(())
}

/// The part of a URL that says who and where.
#[derive(Debug, PartialEq, Eq)]
struct Authority {
    user: String,
    /// `host:port`.
    address: String,
    /// Without the leading slash and the query.
    path: String,
}

impl Authority {
    fn of(url: &str, schemes: &[&str], default_port: u16) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").context("not a URL (no ://)")?;
        ensure!(
            schemes.contains(&scheme),
            "the URL begins with {scheme}://, not {}://",
            schemes.join(":// or ")
        );
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let user = credentials.split(':').next().unwrap_or_default();
        let has_port =
            host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        ensure!(!host.is_empty(), "the URL names no host");
        Ok(Self {
            user: if user.is_empty() { "postgres" } else { user }.to_owned(),
            address: if has_port { host.to_owned() } else { format!("{host}:{default_port}") },
            path: if path.is_empty() { user } else { path }.to_owned(),
        })
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let mut last = None;
    for socket in address.to_socket_addrs().with_context(|| format!("cannot resolve {address}"))? {
        match TcpStream::connect_timeout(&socket, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("cannot connect to {address}")),
        None => bail!("{address} resolves to no address"),
    }
}

fn read_u32(stream: &mut TcpStream) -> Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_who_and_where() -> Result<()> {
        let full = Authority::of("postgres://ann:secret@db:6000/credits?sslmode=off", &["postgres"], 5432)?;
        assert_eq!(
            (full.user.as_str(), full.address.as_str(), full.path.as_str()),
            ("ann", "db:6000", "credits")
        );
        let bare = Authority::of("postgres://ann@db", &["postgres"], 5432)?;
        assert_eq!((bare.address.as_str(), bare.path.as_str()), ("db:5432", "ann"));
        assert!(Authority::of("mysql://db", &["postgres"], 5432).is_err());
        assert!(Authority::of("db:5432", &["postgres"], 5432).is_err());
        Ok(())
    }

    #[test]
    fn a_closed_port_is_named_in_the_error() {
        // Port 1 of the loopback interface: nothing listens there.
        let error = kafka("127.0.0.1:1").unwrap_err();
        assert!(format!("{error:#}").contains("127.0.0.1:1"), "{error:#}");
    }
}
