//! A TCP proxy that can be closed and opened again.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) struct Proxy {
    address: SocketAddr,
    target: String,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before `host:port`.
    pub(crate) async fn open(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, target.to_owned()));
        Self { address, target: target.to_owned(), serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts all connections and refuses new ones.
    pub(crate) fn close(&self) {
        self.serving.abort();
    }

    pub(crate) async fn reopen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = tokio::spawn(serve(listener, self.target.clone()));
    }
}

async fn serve(listener: TcpListener, target: String) {
    // Dropped with this task, which cuts what it holds.
    let mut connections = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let target = target.clone();
        connections.spawn(async move {
            let mut far = TcpStream::connect(target).await.unwrap();
            _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
