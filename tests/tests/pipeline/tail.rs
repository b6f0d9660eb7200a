//! Watching the log.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{emit, grant, publish, shared, text, unique, usage};
use fluxori_stack::pipeline::Pipeline;
use serde_json::{Value, json};

/// The lines that a reading of the log prints until it ends by itself.
fn tail(pipeline: &Pipeline, arguments: &[&str]) -> Result<Vec<String>> {
    let output = pipeline.command("credits").arg("tail").args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn json_lines(lines: &[String]) -> Result<Vec<Value>> {
    lines.iter().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn start(pipeline: &Pipeline, arguments: &[&str]) -> Result<Child> {
    let mut command = pipeline.command("credits");
    Ok(command.arg("tail").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

#[test]
fn every_record_is_a_line_whatever_its_bytes_are_and_filters_hold() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("tail");
    grant(&pipeline, &org, "100")?;
    emit(&pipeline, &usage(&org))?;
    let (partition, offset) = publish(&pipeline, &org, b"no\x1b[2JAvro")?;
    let mut other = usage(&org);
    other["module"] = json!("pim");
    emit(&pipeline, &other)?;
    let of_org = ["--org", &org, "--from-beginning", "--no-follow"];
    let lines = tail(&pipeline, &of_org)?;
    let [granted, used, broken, last] = lines.as_slice() else { anyhow::bail!("{lines:?}") };
    let place = format!("{partition}:{offset}");
    for (line, words) in [
        (granted, ["command", "grant", "by ", ": test"]),
        (used, ["rag-retrieval", "openai/gpt-5", "1000 in", "200 out"]),
        (broken, ["undecodable", "malformed", &place, "10 bytes 6e6f1b5b324a41"]),
        (last, ["usage", "pim", text(&other, "event_id")?, &org]),
    ] {
        assert!(words.iter().all(|word| line.contains(word)), "{line}: {words:?}");
    }
    let all = json_lines(&tail(&pipeline, &[&of_org[..], &["--output", "json"]].concat())?)?;
    let kinds: Vec<_> = all.iter().map(|line| line["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("command"), Some("usage"), Some("undecodable"), Some("usage")]);
    assert_eq!((&all[2]["partition"], &all[2]["offset"]), (&json!(partition), &json!(offset)));
    assert_eq!(all[1]["event"]["input_tokens"], 1000);
    let count = |more: &[&str]| Ok::<_, anyhow::Error>(tail(&pipeline, &[&of_org[..], more].concat())?.len());
    assert_eq!(count(&["--module", "pim"])?, 1);
    assert_eq!(count(&["--kind", "undecodable,command"])?, 2);
    assert_eq!(count(&["--count", "3"])?, 3);
    // The partition's genesis, keys and rates are there for the asking.
    assert!(count(&["--kind", "global"])? > 3);
    let recent = ["--org", &org, "--since", "10m", "--no-follow"];
    assert_eq!(tail(&pipeline, &recent)?.len(), 4);
    let later = ["--org", &org, "--since", &e2e::ago(-60), "--no-follow"];
    assert_eq!(tail(&pipeline, &later)?.len(), 0);
    Ok(())
}

#[test]
fn a_live_reading_shows_what_comes_from_now_on_and_ends_well_when_it_is_interrupted() -> Result<()> {
    let pipeline = shared()?;
    let org = unique("live");
    grant(&pipeline, &org, "1000")?;
    let before = usage(&org);
    emit(&pipeline, &before)?;
    let mut child = start(&pipeline, &["--org", &org, "--output", "json"])?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let (sender, receiver) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    let mut emitted = BTreeSet::new();
    let first = loop {
        let event = usage(&org);
        emitted.insert(text(&event, "event_id")?.to_owned());
        emit(&pipeline, &event)?;
        match receiver.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => break serde_json::from_str::<Value>(&line)?,
            Err(_) => ensure!(began.elapsed() < Duration::from_secs(60), "nothing was shown"),
        }
    };
    let id = first["event"]["event_id"].as_str().context("no id")?;
    assert!(emitted.contains(id), "{first}");
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    ensure!(interrupted.success(), "it cannot be interrupted");
    let ended = child.wait()?;
    assert_eq!(ended.code(), Some(0), "{ended}");
    drop(receiver);
    reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    Ok(())
}
