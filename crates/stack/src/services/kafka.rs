//! Apache Kafka: one node in KRaft mode, from Maven Central.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::cache::Entry;
use super::{Prepared, Setup, free_ports};
use crate::prerequisites;
use crate::probe;
use crate::process::{self, Terms};

const TERMS: Terms<'static> = Terms { death_signal: Signal::SIGTERM, user: None };

const JARS: Entry<'static> = Entry {
    name: "kafka",
    files: &[
        ("pom.xml", include_str!("../../kafka/pom.xml")),
        ("log4j2.xml", include_str!("../../kafka/log4j2.xml")),
    ],
    what: "Apache Kafka (54 MB)",
};

/// Whether the jars are there, so that Maven is not needed.
pub(crate) fn is_cached(cache: &Path) -> bool {
    JARS.folder(cache).is_dir()
}

pub(crate) fn prepare(context: &Setup<'_>) -> Result<Prepared> {
    let log = context.log();
    let jars = JARS.get(&context.downloads(), |folder| {
        let mut maven = context.command(TERMS, "mvn");
        // Strict checksums: a jar that is not what the repository says is an error, not a warning.
        maven
            .args(["--quiet", "--batch-mode", "--strict-checksums", "--file"])
            .arg(folder.join("pom.xml"))
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", folder.join("libs").display()));
        process::run(maven, &log, context.stop)
    })?;

    let [port, controller_port] = free_ports()?;
    let data = context.run.path().join("kafka");
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    std::fs::create_dir(&data)?;
    let properties = data.join("server.properties");
    std::fs::write(&properties, server_properties(&data, port, controller_port)?)?;

    let mut format = java(context, &jars, "kafka.tools.StorageTool", "-XX:TieredStopAtLevel=1")?;
    // The id is that of the cluster, which never meets another one: any 16 bytes in base64 do.
    format.args(["format", "--cluster-id", "Zmx1eG9yaS1zdGFjay0xMQ", "--config"]).arg(&properties);
    process::run(format, &log, context.stop)?;

    let mut command = java(context, &jars, "kafka.Kafka", "-Xms256m")?;
    command.arg(&properties);
    Ok(Prepared {
        command,
        endpoint: format!("127.0.0.1:{port}"),
        probe: probe::kafka,
        abort_signal: Signal::SIGKILL,
    })
}

/// A command that runs a class of Kafka's.
fn java(context: &Setup<'_>, jars: &Path, class: &str, option: &str) -> Result<Command> {
    let java: PathBuf = prerequisites::java().context("Java is gone")?;
    let mut command = context.command(TERMS, java);
    command
        .args(["-Xmx512m", "-Djava.awt.headless=true", option])
        .arg(format!("-Dlog4j2.configurationFile={}", jars.join("log4j2.xml").display()))
        .arg("-cp")
        .arg(jars.join("libs").join("*"))
        .arg(class);
    Ok(command)
}

/// What a single broker needs, and session time-outs short enough for tests.
fn server_properties(data: &Path, port: u16, controller_port: u16) -> Result<String> {
    let logs = data.join("logs");
    let logs = logs.to_str().context("the run's folder has a name that is not UTF-8")?;
    Ok(format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
unclean.leader.election.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
offsets.retention.minutes=2147483647
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
log.cleaner.dedupe.buffer.size=16777216
"
    ))
}
