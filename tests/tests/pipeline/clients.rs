//! Clients of others as they come from their registry, pointed at the gateway: what they send ends in the exact debit.
//!
//! They live in a virtual environment under `target/clients/`, which is made once for each `tests/clients/requirements.txt`.
//! Where it cannot be made (no Python, no network) these tests say so and pass.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{balance_at, emit, eventually, grant, shared, sql, text, unique, usage};
use fluxori_stack::pipeline::Pipeline;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
/// Making the environment takes a minute; a client under test takes seconds.
const INSTALLING: Duration = Duration::from_secs(300);
const RUNNING: Duration = Duration::from_secs(90);

/// The Python that has the clients; none, with the reason said once, where it cannot be made.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| match environment() {
        Ok(python) => Some(python),
        Err(error) => {
            eprintln!("skipped: the clients cannot be installed: {error:#}");
            None
        }
    });
    found.as_deref()
}

/// Makes the environment, or finds the one that was made for the same requirements.
fn environment() -> Result<PathBuf> {
    let requirements = Path::new(FOLDER).join("requirements.txt");
    let mut hasher = DefaultHasher::new();
    std::fs::read(&requirements)?.hash(&mut hasher);
    let binaries = fluxori_stack::pipeline::binaries_beside(&std::env::current_exe()?)?;
    let all = binaries.parent().context("no target folder")?.join("clients");
    let folder = all.join(format!("{:016x}", hasher.finish()));
    let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
    if complete.exists() {
        return Ok(python);
    }
    // What is here is of other requirements, or was never finished.
    if all.exists() {
        std::fs::remove_dir_all(&all)?;
    }
    std::fs::create_dir_all(&all)?;
    let deadline = Instant::now() + INSTALLING;
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv"]).arg(&folder), deadline)?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    install.args(["--retries=1", "--timeout=15"]);
    run(install.arg("--requirement").arg(&requirements), deadline)?;
    std::fs::write(&complete, "")?;
    Ok(python)
}

/// Runs a program to its good end, and returns all that it said.
fn run(command: &mut Command, deadline: Instant) -> Result<String> {
    let log = std::env::temp_dir().join(unique("fluxori-client"));
    let file = std::fs::File::create(&log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let ended = command
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))
        .and_then(|child| wait(child, deadline));
    let said = std::fs::read_to_string(&log)?;
    std::fs::remove_file(&log)?;
    let last: Vec<&str> = said.lines().rev().take(20).collect();
    let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
    ensure!(ended.with_context(|| format!("{command:?}\n{last}"))?, "{command:?} failed:\n{last}");
    Ok(said)
}

/// True if it ended well.
fn wait(mut child: Child, deadline: Instant) -> Result<bool> {
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    bail!("it did not end in time")
}

/// Runs a client's script for an org of its own that has 100 credits, and waits for its debits. Each is a line: module, model,
/// certainty, credits.
fn debits(script: &str, settings: &[(&str, &str)], expected: &[&str], balance: &str) -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let pipeline = shared()?;
    let org = unique("client");
    grant(&pipeline, &org, "100")?;
    let (producer, authorization) = (pipeline.url("producer")?, format!("Bearer {}", pipeline.admin_key()));
    let mut command = Command::new(python);
    command.arg(Path::new(FOLDER).join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PRODUCER", &producer).env("KEY", pipeline.admin_key()).env("ORG", &org);
    command.env("GENERIC_LOGGER_ENDPOINT", format!("{producer}/v1/litellm"));
    command.env("GENERIC_LOGGER_HEADERS", format!("Authorization={authorization}"));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &producer);
    command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("Authorization={}", authorization.replace(' ', "%20")));
    command.env("OTEL_RESOURCE_ATTRIBUTES", format!("fluxori.org_id={org}"));
    command.envs(settings.iter().copied());
    let said = run(&mut command, Instant::now() + RUNNING)?;
    let charged = eventually(&format!("{script} of {org} ends in debits; it says {said}"), || {
        let charges = charges(&pipeline, &org)?;
        Ok((charges.len() >= expected.len()).then_some(charges))
    })?;
    assert_eq!(charged, expected, "{said}");
    // Whatever else it sent lies before this in the log.
    let after = emit(&pipeline, &usage(&org))?;
    let left = balance_at(&pipeline, &org, text(&after, "position")?)?;
    assert_eq!(text(&left, "balance")?, balance, "{:?}", charges(&pipeline, &org)?);
    Ok(())
}

fn charges(pipeline: &Pipeline, org: &str) -> Result<Vec<String>> {
    let query = format!(
        "SELECT module, model, certainty, amount FROM ledger.credit_transactions \
         WHERE org_id = '{org}' AND kind = 'debit' ORDER BY 1, 2, 3, 4"
    );
    Ok(sql(pipeline, &query)?.into_iter().map(|row| row.join(" ")).collect())
}

#[test]
fn openmeters_client_ends_in_debits() -> Result<()> {
    let charges = ["pim gpt-5 exact 1.25", "pim gpt-5 exact 2", "pim gpt-5 exact 3.25"];
    debits("use_openmeter.py", &[], &charges, "90.25")
}

/// The instrumentation does not say which tokens came from the cache, so all cost as others do.
#[test]
fn opentelemetrys_instrumentation_and_exporter_end_in_debits_by_older_and_present_names() -> Result<()> {
    let charges = [
        "rag-retrieval broken exact 0",
        "rag-retrieval gpt-5 exact 3.25",
        "rag-retrieval gpt-5 exact 3.25",
        "rag-retrieval gpt-5 exact 3.25",
        "rag-retrieval text-embedding-3-small exact 0.02",
    ];
    for names in ["", "gen_ai_latest_experimental"] {
        let settings = [("OTEL_SEMCONV_STABILITY_OPT_IN", names), ("OTEL_SERVICE_NAME", "rag-retrieval")];
        debits("use_opentelemetry.py", &settings, &charges, "86.98")?;
    }
    Ok(())
}

/// Of a stream that was not asked for its usage nobody knows what it used, though LiteLLM says 0.
#[test]
fn litellms_logger_ends_in_debits_in_each_of_its_formats() -> Result<()> {
    let charges = [
        "pim broken exact 0",
        "pim gpt-5 exact 2.575",
        "pim gpt-5 exact 2.575",
        "pim gpt-5 unknown 0",
        "pim text-embedding-3-small exact 0.02",
    ];
    for format in ["json_array", "ndjson", "single"] {
        let settings = [("LOG_FORMAT", format), ("LITELLM_LOCAL_MODEL_COST_MAP", "True")];
        debits("use_litellm.py", &settings, &charges, "91.58")?;
    }
    Ok(())
}
