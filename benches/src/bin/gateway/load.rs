//! Clients that post the same body again and again, each on a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What is posted where.
pub(crate) struct Load {
    address: SocketAddr,
    request: Arc<[u8]>,
}

/// What came of it.
pub(crate) struct Measured {
    /// Requests answered with 200.
    pub(crate) per_second: f64,
    /// The 99th percentile of their times; of paced ones from when each was due.
    pub(crate) p99_ms: f64,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, key: &str, body: String) -> Self {
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { address, request: request.into_bytes().into() }
    }

    /// Posts for so long, after a second that does not count: as fast as answers come, or so many requests a second in all.
    pub(crate) async fn run(&self, clients: usize, rate: Option<f64>, time: Duration) -> Result<Measured> {
        let begin = Instant::now();
        let (counts_from, end) = (begin + Duration::from_secs(1), begin + Duration::from_secs(1) + time);
        let each = u32::try_from(clients)?;
        let pace = rate.map(|rate| Duration::from_secs_f64(f64::from(each) / rate));
        let mut running = JoinSet::new();
        for client in 0..each {
            let (address, request) = (self.address, Arc::clone(&self.request));
            // Paced clients take turns.
            let first = begin + pace.map_or(Duration::ZERO, |pace| pace * client / each);
            running.spawn(async move { post(address, &request, first, pace, counts_from, end).await });
        }
        let mut times = Vec::new();
        while let Some(done) = running.join_next().await {
            times.extend(done??);
        }
        times.sort_unstable();
        let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
        let per_second = f64::from(u32::try_from(times.len())?) / time.as_secs_f64();
        Ok(Measured { per_second, p99_ms: p99.as_secs_f64() * 1e3 })
    }
}

async fn post(
    address: SocketAddr,
    request: &[u8],
    first: Instant,
    pace: Option<Duration>,
    counts_from: Instant,
    end: Instant,
) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut times, mut due, mut answer) = (Vec::new(), first, Vec::with_capacity(64 << 10));
    loop {
        let begin = match pace {
            Some(pace) => {
                sleep_until(due).await;
                let begin = due;
                due += pace;
                begin
            }
            None => Instant::now(),
        };
        if begin >= end {
            return Ok(times);
        }
        stream.write_all(request).await?;
        read_answer(&mut stream, &mut answer).await?;
        if begin >= counts_from {
            times.push(begin.elapsed());
        }
    }
}

/// Reads one answer, which says its length, and requires 200.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    loop {
        if let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(answer.get(..head).unwrap_or_default()).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("an answer without its length")?.trim().parse()?;
            while answer.len() < head + 4 + length {
                ensure!(stream.read_buf(answer).await? > 0, "the connection ended within an answer");
            }
            ensure!(text.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(answer));
            return Ok(());
        }
        ensure!(stream.read_buf(answer).await? > 0, "the connection ended before an answer");
    }
}
