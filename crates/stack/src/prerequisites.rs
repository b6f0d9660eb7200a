//! What the machine has to have. All that is missing is named at once, with the command that installs it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;

use crate::services::{Service, clickhouse, kafka};

/// Oldest Java that Kafka's broker runs with.
const JAVA_VERSION: u32 = 17;

/// Oldest Postgres that the schema is written for.
const POSTGRES_VERSION: u32 = 15;

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Missing {
    /// What it is and who needs it.
    what: &'static str,
    /// Debian's package.
    package: &'static str,
}

/// Checks that everything is there which building and these services need.
///
/// With `install`, on Debian as root, what is missing is installed instead.
pub(crate) fn check(
    services: &[Service],
    cache: &Path,
    install: bool,
    progress: &dyn Fn(String),
) -> Result<()> {
    let missing = find_missing(services, cache);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> =
        missing.iter().map(|missing| missing.package).collect::<BTreeSet<_>>().into_iter().collect();
    let has_apt = on_path("apt-get").is_some();
    if install && has_apt && geteuid().is_root() {
        progress(format!("installing {} with apt-get", packages.join(" ")));
        apt_install(&packages)?;
        let still = find_missing(services, cache);
        ensure!(
            still.is_empty(),
            "apt-get has installed all it was asked for, and this is still missing:\n{}",
            list(&still)
        );
        return Ok(());
    }
    let remedy = if !has_apt {
        format!("Install them; on Debian the packages are: {}", packages.join(" "))
    } else if geteuid().is_root() {
        format!(
            "Install them with\n  apt-get update && apt-get install -y {}\nor let it be done with --install (or CI=true).",
            packages.join(" ")
        )
    } else {
        format!("Install them with\n  sudo apt-get update && sudo apt-get install -y {}", packages.join(" "))
    };
    bail!("missing on this machine:\n{}\n{remedy}", list(&missing))
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(|missing| format!("  - {}", missing.what)).collect::<Vec<_>>().join("\n")
}

fn find_missing(services: &[Service], cache: &Path) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut need = |is_there: bool, what, package| {
        if !is_there {
            missing.push(Missing { what, package });
        }
    };
    let compilers = ["cc", "c++", "make"].iter().all(|tool| on_path(tool).is_some());
    need(
        compilers,
        "a C and C++ compiler and make (Kafka's client library is built with them)",
        "build-essential",
    );
    for service in services {
        match service {
            Service::Kafka => {
                need(java().is_some(), "Java 17 or newer (Kafka's broker)", "default-jre-headless");
                need(
                    kafka::is_cached(cache) || on_path("mvn").is_some(),
                    "Maven (downloads Kafka's broker)",
                    "maven",
                );
            }
            Service::Postgres => {
                need(postgres_binaries().is_some(), "Postgres' server, 15 or newer", "postgresql")
            }
            Service::Clickhouse => need(
                clickhouse::is_cached(cache) || on_path("npm").is_some(),
                "npm (downloads ClickHouse's engine)",
                "npm",
            ),
        }
    }
    missing
}

fn apt_install(packages: &[&str]) -> Result<()> {
    // Debian's package starts a cluster of its own when it is installed; we start our own, and nothing else may be left
    // running. Only where nobody has configured that.
    let common = Path::new("/etc/postgresql-common");
    let cluster = common.join("createcluster.conf");
    if packages.contains(&"postgresql") && !cluster.exists() {
        std::fs::create_dir_all(common)?;
        std::fs::write(&cluster, "create_main_cluster = false\n")?;
    }
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .arg("-qq")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("cannot run apt-get")?;
    ensure!(
        output.status.success(),
        "apt-get {} failed:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A Java that is new enough: that of `JAVA_HOME`, or that on the path.
pub(crate) fn java() -> Option<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    home.into_iter()
        .chain(on_path("java"))
        .find(|java| java_version(java).is_some_and(|version| version >= JAVA_VERSION))
}

fn java_version(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").stdin(Stdio::null()).output().ok()?;
    parse_java_version(&String::from_utf8_lossy(&output.stderr))
}

/// The major version in what `java -version` says: `openjdk version "17.0.15" 2025-04-15`; before 9 it said 1.8.
fn parse_java_version(text: &str) -> Option<u32> {
    let (_, quoted) = text.split_once("version \"")?;
    let version = quoted.split('"').next()?;
    let version = version.strip_prefix("1.").unwrap_or(version);
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The folder of a Postgres server that is new enough: on the path, where `pg_config` says, or where Debian puts it;
/// the newest of those.
pub(crate) fn postgres_binaries() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    folders.extend(
        on_path("postgres").and_then(|path| path.canonicalize().ok()?.parent().map(Path::to_path_buf)),
    );
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        folders.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders
        .into_iter()
        .filter(|folder| folder.join("initdb").is_file())
        .filter_map(|folder| Some((postgres_version(&folder)?, folder)))
        .filter(|(version, _)| *version >= POSTGRES_VERSION)
        .max()
        .map(|(_, folder)| folder)
}

/// The major version in what `postgres --version` says: `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)`.
fn postgres_version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (_, version) = text.split_once("(PostgreSQL) ")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The first executable file of this name on `PATH`.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_java_is_read_from_old_and_new_forms() {
        let version = |text: &str| parse_java_version(text);
        assert_eq!(version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"), Some(17));
        assert_eq!(version("java version \"1.8.0_392\""), Some(8));
        assert_eq!(version("openjdk version \"25\" 2025-09-16"), Some(25));
        assert_eq!(version("no such thing"), None);
    }

    #[test]
    fn a_filled_cache_needs_neither_maven_nor_npm() {
        let nothing = Path::new("/nonexistent");
        let missing = find_missing(&[], nothing);
        assert!(missing.iter().all(|missing| missing.package == "build-essential"));
    }
}
