//! A proxy before Postgres that loses commits: it understands just enough of the wire protocol to see a COMMIT, and cuts
//! the connection before it reaches the server, or after the server has carried it out and before the answer is heard.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Codes in place of a protocol's version: the client asks for TLS or for GSS encryption.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];
/// A transaction that sent less than this is no batch: a take-over, or nothing.
const SMALLEST_BATCH: usize = 4_096;

/// Where the connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The COMMIT does not reach the server.
    BeforeCommit,
    /// The server has carried the COMMIT out, and its answer does not reach the client.
    BeforeAnswer,
}

/// The proxy; it ends when it is dropped, and its connections with it.
#[derive(Debug)]
pub struct CommitProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<(Cut, u32)>,
    cuts: u32,
}

impl CommitProxy {
    /// Begins to listen, before a server (`host:port`).
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(server: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let (address, state) = (listener.local_addr()?, Arc::<Mutex<State>>::default());
        let (server, shared) = (server.to_owned(), Arc::clone(&state));
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, state) = (server.clone(), Arc::clone(&shared));
                // A connection that breaks is what this is for.
                tokio::spawn(async move { _ = forward(client, &server, &state).await });
            }
        });
        Ok(Self { address, state, _runtime: runtime })
    }

    /// A proxy before the server of a URL, and the URL by way of it.
    ///
    /// # Errors
    /// As [`CommitProxy::start`], or the URL names no server.
    pub fn before(database_url: &str) -> Result<(Self, String)> {
        let (user, rest) = database_url.rsplit_once('@').context("the URL names no user")?;
        let (server, database) = rest.split_once('/').context("the URL names no database")?;
        let proxy = Self::start(server)?;
        let url = format!("{user}@{}/{database}", proxy.address);
        Ok((proxy, url))
    }

    /// Cuts the connections of the next batches that commit.
    pub fn cut_next(&self, cut: Cut, batches: u32) {
        self.lock().armed = Some((cut, batches));
    }

    /// How many connections were cut as wanted.
    #[must_use]
    pub fn cuts(&self) -> u32 {
        self.lock().cuts
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_cut(&mut self) -> Option<Cut> {
        let (cut, left) = self.armed?;
        self.armed = left.checked_sub(1).filter(|left| *left > 0).map(|left| (cut, left));
        Some(cut)
    }
}

async fn forward(mut client: TcpStream, server: &str, state: &Mutex<State>) -> io::Result<()> {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    loop {
        let startup = startup_message(&mut client).await?;
        let code = startup.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
        if code.is_some_and(|code| ENCRYPTION_REQUESTS.contains(&code)) {
            client.write_all(b"N").await?;
        } else {
            server.write_all(&startup).await?;
            break;
        }
    }
    let (from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let (mut asked, mut answered) = (Messages::new(from_client), Messages::new(from_server));
    let (mut commits, mut sent) = (Commits::default(), 0);
    loop {
        tokio::select! {
            message = asked.next() => {
                let message = message?;
                sent += message.len();
                if commits.is_commit(&message) {
                    let cut = if std::mem::take(&mut sent) < SMALLEST_BATCH { None } else { lock().take_cut() };
                    match cut {
                        None => {}
                        Some(Cut::BeforeCommit) => {
                            lock().cuts += 1;
                            return Ok(());
                        }
                        Some(Cut::BeforeAnswer) => {
                            to_server.write_all(&message).await?;
                            // In the extended protocol the answer comes after what follows.
                            to_server.write_all(asked.rest()).await?;
                            while !is_committed(&answered.next().await?) {}
                            lock().cuts += 1;
                            return Ok(());
                        }
                    }
                }
                to_server.write_all(&message).await?;
            }
            message = answered.next() => to_client.write_all(&message?).await?,
        }
    }
}

/// The first message of a connection has no type.
async fn startup_message(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = client.read_u32().await?;
    let mut message = length.to_be_bytes().to_vec();
    let rest = usize::try_from(length).map_err(io::Error::other)?.saturating_sub(4).min(10_000);
    message.resize(4 + rest, 0);
    client.read_exact(message.get_mut(4..).unwrap_or_default()).await?;
    Ok(message)
}

/// Messages with a type and a length, whole.
struct Messages<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new() }
    }

    /// The next message. What was read stays in the buffer if the caller stops waiting.
    async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let length =
                self.buffer.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
            if let Some(length) = length {
                let end = usize::try_from(length).map_err(io::Error::other)? + 1;
                if self.buffer.len() >= end {
                    let rest = self.buffer.split_off(end);
                    return Ok(std::mem::replace(&mut self.buffer, rest));
                }
            }
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// What was read and not asked for yet.
    fn rest(&self) -> &[u8] {
        &self.buffer
    }
}

/// Whether a message says that the server has carried a COMMIT out.
fn is_committed(message: &[u8]) -> bool {
    message.first() == Some(&b'C') && message.get(5..).is_some_and(|body| body.starts_with(b"COMMIT"))
}

/// Sees COMMITs go by, as simple queries and as prepared statements.
#[derive(Debug, Default)]
struct Commits {
    statements: HashSet<Vec<u8>>,
    portals: HashSet<Vec<u8>>,
}

impl Commits {
    fn is_commit(&mut self, message: &[u8]) -> bool {
        let body = message.get(5..).unwrap_or_default();
        let mut texts = body.split(|byte| *byte == 0);
        let mut text = || texts.next().unwrap_or_default();
        match message.first() {
            Some(b'Q') => names_commit(text()),
            Some(b'P') => {
                let (statement, query) = (text(), text());
                note(&mut self.statements, statement, names_commit(query));
                false
            }
            Some(b'B') => {
                let (portal, statement) = (text(), text());
                note(&mut self.portals, portal, self.statements.contains(statement));
                false
            }
            Some(b'E') => self.portals.contains(text()),
            _ => false,
        }
    }
}

fn names_commit(query: &[u8]) -> bool {
    let query = query.trim_ascii();
    query.strip_suffix(b";").unwrap_or(query).eq_ignore_ascii_case(b"COMMIT")
}

fn note(names: &mut HashSet<Vec<u8>>, name: &[u8], is_commit: bool) {
    if is_commit {
        names.insert(name.to_vec());
    } else {
        names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind, 0, 0, 0, 0], body].concat()
    }

    #[test]
    fn a_commit_is_seen_in_the_simple_and_in_the_extended_protocol() {
        let mut commits = Commits::default();
        assert!(commits.is_commit(&message(b'Q', b"commit;\0")));
        assert!(!commits.is_commit(&message(b'Q', b"SELECT 'COMMIT'\0")));
        assert!(!commits.is_commit(&message(b'P', b"s1\0COMMIT\0\0\0")));
        assert!(!commits.is_commit(&message(b'B', b"\0s1\0\0\0")));
        assert!(commits.is_commit(&message(b'E', b"\0\0\0\0\0")));
        assert!(!commits.is_commit(&message(b'B', b"\0s2\0\0\0")));
        assert!(!commits.is_commit(&message(b'E', b"\0\0\0\0\0")));
    }
}
