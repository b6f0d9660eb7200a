//! Our own services over a stack: a log, a ledger and a rollup database of their own, for one demo, test or bench.
//!
//! The services are the real binaries, each with its log in the pipeline's folder. They end when the pipeline is
//! dropped, and with this process however it ends.

mod http;
mod roles;
mod service;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use http::Answer;
use roles::Addresses;
use service::Running;

use crate::Endpoints;

/// The binaries of our services, and the configuration section that says where each listens.
pub const SERVICES: [(&str, &str); 5] = [
    ("producer", "PRODUCER"),
    ("ledger-consumer", "LEDGER"),
    ("analytics-consumer", "ANALYTICS"),
    ("expiry-scheduler", "SCHEDULER"),
    ("edge", "EDGE"),
];

/// How to set a pipeline up.
#[derive(Debug, Clone)]
pub struct PipelineOptions {
    /// Where Postgres, Kafka and ClickHouse answer.
    pub endpoints: Endpoints,
    /// The folder that holds our binaries.
    pub binaries: PathBuf,
    /// A folder of its own, for keys and logs; made if it is not there.
    pub folder: PathBuf,
    /// Names the topic, the databases and the consumer groups: letters, digits and `_`.
    pub name: String,
    /// Partitions of the log.
    pub partitions: u32,
    /// API keys beside the admin's, each with the org that it is for.
    pub org_keys: Vec<(String, String)>,
    /// Further configuration, as environment variables.
    pub settings: Vec<(String, String)>,
}

/// Our services over one log.
#[derive(Debug)]
pub struct Pipeline {
    options: PipelineOptions,
    environment: Vec<(String, String)>,
    database: Addresses,
    ports: BTreeMap<&'static str, u16>,
    admin_key: String,
    running: Mutex<BTreeMap<String, Running>>,
}

impl Pipeline {
    /// Makes the log, the configuration and an empty ledger; starts nothing yet.
    ///
    /// # Errors
    /// A binary is missing, or `credits log init` or `credits ledger migrate` failed.
    pub fn init(options: PipelineOptions) -> Result<Self> {
        let pipeline = Self::init_without_ledger(options)?;
        pipeline.migrate()?;
        Ok(pipeline)
    }

    /// Makes the log and the configuration; [`Pipeline::migrate`] makes the ledger.
    ///
    /// # Errors
    /// A binary is missing, or `credits log init` failed.
    pub fn init_without_ledger(options: PipelineOptions) -> Result<Self> {
        std::fs::create_dir_all(&options.folder)
            .with_context(|| format!("cannot make {}", options.folder.display()))?;
        let mut ports = BTreeMap::new();
        for (service, _) in SERVICES {
            ports.insert(service, free_port()?);
        }
        let admin_key = format!("admin-{}", options.name);
        let mut pipeline = Self {
            environment: Vec::new(),
            database: Addresses::default(),
            ports,
            admin_key,
            running: Mutex::default(),
            options,
        };
        pipeline.database = roles::make(&pipeline.options.endpoints.database_url, &pipeline.options.name)?;
        pipeline.environment = pipeline.base_environment()?;
        let partitions = pipeline.options.partitions.to_string();
        let keys = pipeline.keys_folder();
        let keys = keys.to_str().context("the folder's path is not UTF-8")?;
        let init = pipeline.credits(&[
            "log",
            "init",
            "--partitions",
            &partitions,
            "--keys",
            keys,
            "--output",
            "json",
        ])?;
        let genesis =
            init.get("genesis").and_then(Value::as_str).context("log init names no genesis")?.to_owned();
        pipeline.set("FLUXORI__LOG__GENESIS", genesis);
        pipeline.set("FLUXORI__EDGE__ISSUER_KEY_FILE", format!("{keys}/edge.key"));
        pipeline.set("FLUXORI__SCHEDULER__ISSUER_KEY_FILE", format!("{keys}/scheduler.key"));
        Ok(pipeline)
    }

    /// Makes the ledger, as its owner.
    ///
    /// # Errors
    /// `credits ledger migrate` failed.
    pub fn migrate(&self) -> Result<()> {
        let mut command = self.command("credits");
        command.env("FLUXORI__POSTGRES__MIGRATE_URL", self.owner_url());
        let output = command.args(["ledger", "migrate"]).output().context("cannot run credits")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "credits ledger migrate: {}", said.trim());
        Ok(())
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    fn base_environment(&self) -> Result<Vec<(String, String)>> {
        let Endpoints { kafka_brokers, clickhouse_url, .. } = &self.options.endpoints;
        let name = &self.options.name;
        let mut environment = vec![
            ("KAFKA_BROKERS".to_owned(), kafka_brokers.clone()),
            ("DATABASE_URL".to_owned(), self.database.reader.clone()),
            ("CLICKHOUSE_URL".to_owned(), clickhouse_url.clone()),
            ("FLUXORI__CLICKHOUSE__DATABASE".to_owned(), name.clone()),
            ("FLUXORI__KAFKA__TOPIC".to_owned(), name.clone()),
            ("FLUXORI__LEDGER__GROUP".to_owned(), format!("{name}-ledger")),
            ("FLUXORI__ANALYTICS__GROUP".to_owned(), format!("{name}-analytics")),
            ("FLUXORI__API_KEYS".to_owned(), self.api_keys()),
        ];
        for (service, section) in SERVICES {
            environment.push((format!("FLUXORI__{section}__LISTEN"), self.address(service)?));
        }
        environment.extend(self.options.settings.iter().cloned());
        Ok(environment)
    }

    /// The setting `FLUXORI__API_KEYS`: the digest of each key and the orgs that it is for.
    fn api_keys(&self) -> String {
        let keys = [(&self.admin_key, "*")];
        let of_orgs = self.options.org_keys.iter().map(|(key, org)| (key, org.as_str()));
        let keys = keys.into_iter().chain(of_orgs).map(|(key, org)| {
            let digest: String =
                Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"name": format!("key of {org}"), "sha256": digest, "orgs": [org]})
        });
        Value::Array(keys.collect()).to_string()
    }

    /// The address of the ledger's database for the role that owns it and may do everything in it.
    pub fn owner_url(&self) -> &str {
        &self.database.owner
    }

    /// The address of the ledger's database for the role that the ledger consumer logs in as.
    pub fn consumer_url(&self) -> &str {
        &self.database.consumer
    }

    /// What services and the CLI are configured with. `DATABASE_URL` is a reader's; the ledger consumer gets another.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The key that may do everything.
    pub fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// Where the key files of issuers are.
    pub fn keys_folder(&self) -> PathBuf {
        self.options.folder.join("keys")
    }

    /// The address of a service.
    pub fn address(&self, service: &str) -> Result<String> {
        let port = self.ports.get(service).with_context(|| format!("there is no service {service}"))?;
        Ok(format!("127.0.0.1:{port}"))
    }

    /// The URL of a service.
    pub fn url(&self, service: &str) -> Result<String> {
        Ok(format!("http://{}", self.address(service)?))
    }

    /// Starts all five services and waits until they are ready.
    pub fn start_all(&self) -> Result<()> {
        for (service, _) in SERVICES {
            self.start(service)?;
        }
        SERVICES.iter().try_for_each(|(service, _)| self.wait_ready(service))
    }

    /// Starts a service at its address.
    pub fn start(&self, service: &str) -> Result<()> {
        self.start_as(service, service, &[])
    }

    /// Starts a service at its address, with some settings changed.
    pub fn start_with(&self, service: &str, settings: &[(&str, &str)]) -> Result<()> {
        self.start_as(service, service, settings)
    }

    /// Starts a further instance of a service, at an address of its own, which it returns, with some settings changed.
    pub fn start_instance(&self, service: &str, instance: &str, settings: &[(&str, &str)]) -> Result<String> {
        let section = SERVICES.iter().find(|(name, _)| *name == service).map(|(_, section)| *section);
        let listen =
            format!("FLUXORI__{}__LISTEN", section.with_context(|| format!("no service {service}"))?);
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut settings = settings.to_vec();
        settings.push((&listen, &address));
        self.start_as(service, instance, &settings)?;
        Ok(address)
    }

    fn start_as(&self, service: &str, instance: &str, settings: &[(&str, &str)]) -> Result<()> {
        let mut environment = self.environment.clone();
        if service == "ledger-consumer" {
            environment.push(("DATABASE_URL".to_owned(), self.database.consumer.clone()));
        }
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let log = self.log_file(instance);
        let running = Running::start(&self.options.binaries, service, environment, &log)?;
        let before = self.lock().insert(instance.to_owned(), running);
        ensure!(before.is_none_or(|mut before| before.has_ended()), "{instance} is running already");
        Ok(())
    }

    /// The log of a service's instance.
    pub fn log_file(&self, instance: &str) -> PathBuf {
        self.options.folder.join(format!("{instance}.log"))
    }

    /// Waits until a service at its own address is ready.
    pub fn wait_ready(&self, service: &str) -> Result<()> {
        let url = format!("{}/readyz", self.url(service)?);
        let begin = Instant::now();
        let mut last = String::from("it does not listen yet");
        while begin.elapsed() < Duration::from_secs(60) {
            match http::get(&url, None) {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => last = answer.body.to_string(),
                Err(_) => {}
            }
            if let Some(running) = self.lock().get_mut(service)
                && running.has_ended()
            {
                bail!("{service} has ended; the end of its log:\n{}", running.log_tail());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{service} is not ready after 60 s: {last}; see {}", self.log_file(service).display())
    }

    /// The process of an instance.
    pub fn pid(&self, instance: &str) -> Result<u32> {
        let running = self.lock();
        Ok(running.get(instance).with_context(|| format!("{instance} is not running"))?.pid())
    }

    /// Sends a signal to an instance.
    pub fn signal(&self, instance: &str, signal: Signal) -> Result<()> {
        let running = self.lock();
        running.get(instance).with_context(|| format!("{instance} is not running"))?.signal(signal)
    }

    /// Kills an instance (SIGKILL) and waits until it is gone.
    pub fn kill(&self, instance: &str) -> Result<()> {
        let mut running =
            self.lock().remove(instance).with_context(|| format!("{instance} is not running"))?;
        running.kill();
        Ok(())
    }

    /// Stops an instance (SIGTERM) and returns whether it ended cleanly.
    pub fn stop(&self, instance: &str) -> Result<bool> {
        let mut running =
            self.lock().remove(instance).with_context(|| format!("{instance} is not running"))?;
        Ok(running.stop())
    }

    /// A command of ours with the pipeline's configuration, its output to be taken.
    pub fn command(&self, binary: &str) -> Command {
        let mut command = Command::new(self.options.binaries.join(binary));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("FLUXORI__CLI__ISSUER_KEY_FILE", self.keys_folder().join("cli.key")).stdin(Stdio::null());
        command
    }

    /// Runs `credits` and reads the JSON that it prints.
    ///
    /// # Errors
    /// It failed (with what it said), or printed no JSON.
    pub fn credits(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.command("credits").args(arguments).output().context("cannot run credits")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "credits {}: {}", arguments.join(" "), said.trim());
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("credits {} printed no JSON", arguments.join(" ")))
    }

    /// A GET at a service, with the admin's key.
    pub fn get(&self, service: &str, path: &str) -> Result<Answer> {
        http::get(&format!("{}{path}", self.url(service)?), Some(&self.admin_key))
    }

    /// A POST of JSON to a service, with the admin's key and an idempotency key that nothing else has.
    pub fn post(&self, service: &str, path: &str, body: &Value) -> Result<Answer> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let body = serde_json::to_vec(body)?;
        let key = format!("{}-{}", self.options.name, NEXT.fetch_add(1, Ordering::Relaxed));
        let headers = [("content-type", "application/json"), ("idempotency-key", &key)];
        self.post_as(service, path, &headers, &body, Some(&self.admin_key))
    }

    /// A POST with headers, bytes and key as given.
    pub fn post_as(
        &self,
        service: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        key: Option<&str>,
    ) -> Result<Answer> {
        self.post_url(&format!("{}{path}", self.url(service)?), headers, body, key)
    }

    /// A POST to a URL, such as that of a further instance.
    pub fn post_url(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        key: Option<&str>,
    ) -> Result<Answer> {
        http::post(url, headers, body, key)
    }

    /// A GET with another key.
    pub fn get_as(&self, service: &str, path: &str, key: Option<&str>) -> Result<Answer> {
        http::get(&format!("{}{path}", self.url(service)?), key)
    }

    /// What a service counts, in Prometheus' text format.
    pub fn metrics(&self, service: &str) -> Result<String> {
        http::get_text(&format!("{}/metrics", self.url(service)?))
    }

    /// The rows of a query in ClickHouse, each an object.
    pub fn clickhouse(&self, query: &str) -> Result<Vec<Value>> {
        let url = format!("{}/?database={}", self.options.endpoints.clickhouse_url, self.options.name);
        let body = format!("{query} FORMAT JSONEachRow");
        let text = http::post_text(&url, body.as_bytes())?;
        text.lines().map(|line| serde_json::from_str(line).context("a row that is no JSON")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let mut running = std::mem::take(&mut *self.lock());
        // All at once, then wait for each.
        for service in running.values() {
            let _ = service.signal(Signal::SIGTERM);
            let _ = service.signal(Signal::SIGCONT);
        }
        for service in running.values_mut() {
            service.stop();
        }
    }
}

/// The folder of binaries that a program built by cargo lies in.
pub fn binaries_beside(program: &Path) -> Result<PathBuf> {
    let folder = program.parent().context("a program without a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_path_buf())
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on the loopback interface")?;
    Ok(listener.local_addr()?.port())
}
