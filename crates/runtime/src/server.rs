use std::future::IntoFuture as _;
use std::io::ErrorKind;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;

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
/// # Errors
/// [`Error::Serve`] if accepting connections fails.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> Result<(), Error> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = listener.local_addr().unwrap_or(unknown);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .into_future()
        .await
        .map_err(|source| Error::Serve { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_named_with_the_remedy() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "ledger.listen").await.unwrap();
        let address = first.local_addr().unwrap();
        let text = bind(address, "ledger.listen").await.unwrap_err().to_string();
        assert!(text.contains(&address.to_string()) && text.contains("FLUXORI__LEDGER__LISTEN"), "{text}");
    }
}
