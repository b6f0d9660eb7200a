use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use clap::{Arg, Command, value_parser};

use crate::config::{self, Config, Sources};
use crate::health::Health;
use crate::lifecycle::Lifecycle;
use crate::telemetry::{self, Metrics};
use crate::{Error, bind, serve};

/// A request body may be so large, unless the service limits it itself.
const MAX_BODY_BYTES: usize = 16 << 20;
/// A wrong configuration ends the process with this code (sysexits.h, EX_CONFIG).
const EXIT_CONFIG: u8 = 78;

/// What a service is given to work with.
#[derive(Clone, Debug)]
pub struct Context {
    /// The name of the service.
    pub name: &'static str,
    /// The configuration of all services.
    pub config: Config,
    /// Tokens and tracked tasks.
    pub lifecycle: Lifecycle,
    /// The checks behind `/readyz`.
    pub health: Health,
    /// The process' metrics.
    pub metrics: Metrics,
}

impl Context {
    /// Serves `router` with `/healthz`, `/readyz` and `/metrics` as a tracked task until shutdown, and
    /// returns the address, which is logged too. `key` is the configuration key of `listen`.
    ///
    /// # Errors
    /// [`Error::Bind`] if the address cannot be had.
    pub async fn serve(
        &self,
        key: &'static str,
        listen: SocketAddr,
        router: Router,
    ) -> Result<SocketAddr, Error> {
        let listener = bind(listen, key).await?;
        let address = listener.local_addr().unwrap_or(listen);
        tracing::info!("listening on http://{address}");
        let http = self.config.http.clone();
        let router = router.merge(self.health.router(self.metrics.clone()));
        let router = crate::http::finish(router, MAX_BODY_BYTES, http.body_timeout());
        let stop = self.lifecycle.soft();
        self.lifecycle.spawn("http server", async move {
            serve(listener, router, &http, stop).await;
            Ok::<(), Error>(())
        });
        Ok(address)
    }
}

/// The whole `main` of a service: takes `--config FILE` from the command line, loads the configuration,
/// starts telemetry and runs `body` until it ends or a signal comes.
///
/// `body` should end soon after [`Lifecycle::soft`] is cancelled; that it ends means that the service
/// ends. The process' code is 0 after a clean end, 78 for a wrong configuration, and 1 if anything else
/// failed.
pub fn run<B, F, E>(name: &'static str, body: B) -> ExitCode
where
    B: FnOnce(Context) -> F,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let config = Arg::new("config")
        .long("config")
        .env("FLUXORI_CONFIG")
        .value_name("FILE")
        .help("Configuration file (TOML); environment variables FLUXORI__SECTION__KEY outrank it")
        .value_parser(value_parser!(PathBuf));
    let matches = Command::new(name).version(env!("CARGO_PKG_VERSION")).arg(config).get_matches();
    run_with(name, matches.get_one("config").cloned(), body)
}

/// As [`run`], for a service that reads its command line itself; `config_file` is what `--config` named.
pub fn run_with<B, F, E>(name: &'static str, config_file: Option<PathBuf>, body: B) -> ExitCode
where
    B: FnOnce(Context) -> F,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let prepared = config::load(&Sources::of_process(config_file))
        .map_err(Error::from)
        .and_then(|config| Ok((telemetry::init(&config.telemetry)?, config)));
    let (metrics, config) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            // There is no tracing yet.
            eprintln!("{name}: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the async runtime cannot start");
            return ExitCode::FAILURE;
        }
    };
    let lifecycle = Lifecycle::new();
    let context = Context { name, config, lifecycle: lifecycle.clone(), health: Health::new(name), metrics };
    let failures = runtime.block_on(live(context, body));
    // Blocking calls that nobody waits for any more must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match failures.as_slice() {
        [] => {
            tracing::info!("{name} ended");
            ExitCode::SUCCESS
        }
        failures => {
            tracing::error!(failures = failures.join("; "), "{name} ended with failures");
            ExitCode::FAILURE
        }
    }
}

async fn live<B, F, E>(context: Context, body: B) -> Vec<String>
where
    B: FnOnce(Context) -> F,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let life = context.lifecycle.clone();
    if let Err(error) = life.listen_for_signals() {
        return vec![format!("signals cannot be listened for: {error}")];
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{} starts", context.name);
    let shutting_down = (context.health.clone(), life.soft());
    tokio::spawn(async move {
        shutting_down.1.cancelled().await;
        shutting_down.0.check("lifecycle").not_ready("shutting down");
    });
    let body = body(context);
    let stop = life.clone();
    life.spawn("main", async move {
        let ended = body.await;
        stop.stop();
        ended
    });
    life.finished().await
}
