use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::config::HttpConfig;

/// The pause after the system gave no connection, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Binds a listener; port 0 takes a free one. `key` is the configuration key that named the address.
///
/// # Errors
/// [`Error::Bind`] with the address, the key and how to mend it.
pub async fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| {
        let variable = format!("FLUXORI__{}", key.to_uppercase().replace('.', "__"));
        let mend = match source.kind() {
            ErrorKind::AddrInUse => {
                format!("another program has it: stop that one or choose another port with {variable}")
            }
            ErrorKind::PermissionDenied => format!("choose a port of 1024 or above with {variable}"),
            ErrorKind::AddrNotAvailable => format!("name an address of this machine with {variable}"),
            _ => format!("choose another address with {variable}"),
        };
        Error::Bind { address, key, mend, source }
    })
}

/// Serves `router` until `shutdown` is cancelled; requests under way are then finished first.
///
/// At most `http.max_connections` are open at once; further ones wait, unanswered, in the system's queue. A connection
/// that has not sent the head of its (next) request within `http.header_timeout_ms` is closed.
pub async fn serve(listener: TcpListener, router: Router, http: &HttpConfig, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(http.max_connections()));
    let connections = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(http.header_timeout());
    let mut is_full = false;
    loop {
        if places.available_permits() == 0 && !std::mem::replace(&mut is_full, true) {
            tracing::warn!(http.max_connections, "as many connections as may be; further ones wait");
        }
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, accept(&listener).await)
        };
        let (place, stream) = tokio::select! {
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        is_full &= places.available_permits() == 0;
        // Answers are short and written at once, so waiting for more to send would only delay them.
        _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = connections.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(place);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client has gone again.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted at the moment; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn started(http: HttpConfig) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let slow = get(async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        });
        let router = Router::new()
            .route("/slow", slow)
            .route("/", post(async |_: crate::http::JsonBody<serde_json::Value>| ()));
        let router = crate::http::finish(router, 1 << 20, http.body_timeout());
        let listener = bind("127.0.0.1:0".parse().unwrap(), "test.listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let server = tokio::spawn(async move { serve(listener, router, &http, shutdown).await });
        (address, stop, server)
    }

    /// What comes back until the server closes the connection, and how long that took.
    async fn answer(stream: &mut TcpStream, request: &str) -> (String, Duration) {
        let begin = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        (text, begin.elapsed())
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_with_the_remedy() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "ledger.listen").await.unwrap();
        let address = first.local_addr().unwrap();
        let text = bind(address, "ledger.listen").await.unwrap_err().to_string();
        assert!(text.contains(&address.to_string()) && text.contains("FLUXORI__LEDGER__LISTEN"), "{text}");
    }

    #[tokio::test]
    async fn a_connection_that_sends_no_head_in_time_is_closed_at_once_or_after_a_request() {
        let http = HttpConfig { header_timeout_ms: 200, ..HttpConfig::default() };
        let (address, _stop, _server) = started(http).await;
        for (sent, said) in [("", ""), ("GET / HT", ""), ("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", "done")] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let (text, took) = answer(&mut stream, sent).await;
            assert!(text.ends_with(said), "{text}");
            assert!(
                (Duration::from_millis(150)..Duration::from_secs(5)).contains(&took),
                "{sent:?}: {took:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_that_never_ends_or_trickles_is_answered_with_408() {
        let http = HttpConfig { body_timeout_ms: 300, ..HttpConfig::default() };
        let (address, _stop, _server) = started(http).await;
        let head =
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n1";
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (text, took) = answer(&mut stream, head).await;
        assert!(text.starts_with("HTTP/1.1 408") && text.contains("body-too-slow"), "{text}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }

    #[tokio::test]
    async fn connections_above_the_cap_wait_until_one_ends() {
        let http = HttpConfig { max_connections: 1, ..HttpConfig::default() };
        let (address, _stop, _server) = started(http).await;
        let get = "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let begin = Instant::now();
        let (one, two) = tokio::join!(answer(&mut first, get), answer(&mut second, get));
        assert!(one.0.ends_with("done") && two.0.ends_with("done"), "{one:?} {two:?}");
        assert!(begin.elapsed() >= Duration::from_millis(600), "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn at_shutdown_a_request_under_way_is_answered_and_an_idle_connection_closed() {
        let (address, stop, server) = started(HttpConfig::default()).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        let get = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
        };
        let ((busy, _), (idle, _), ()) =
            tokio::join!(answer(&mut busy, get), answer(&mut idle, ""), stopping);
        assert!(busy.ends_with("done"), "{busy}");
        assert_eq!(idle, "");
        tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
    }
}
