//! The engine's HTTP interface, with the official client.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chrono::{DateTime, TimeZone, Utc};
use clickhouse::sql::Identifier;
use clickhouse::{Client, Compression, Row};
use fluxori_stack::{Options, clickhouse_library};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use uuid::Uuid;

/// The server, over a folder that outlives it.
struct Engine {
    process: Child,
    url: String,
}

impl Engine {
    fn start(folder: &Path) -> Self {
        let library = clickhouse_library(&Options::default()).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_clickhouse-engine"))
            .arg("--library")
            .arg(library)
            .arg("--path")
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, url }
    }

    fn client(&self) -> Client {
        Client::default().with_url(&self.url).with_user("default")
    }

    /// One request as curl would send it: status, headers and body.
    fn request(&self, head: &str, body: &[u8]) -> String {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        let head = format!(
            "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const DDL: [&str; 4] = [
    "CREATE DATABASE credits",
    "CREATE TABLE credits.usage (
        event_id UUID COMMENT 'Identity',
        at DateTime64(6, 'UTC') COMMENT 'When',
        model LowCardinality(String),
        team Nullable(String),
        credits Decimal(38, 12) COMMENT 'What it cost',
        tags Map(String, String)
    ) ENGINE = MergeTree ORDER BY (model, at) SETTINGS non_replicated_deduplication_window = 1000
    COMMENT 'One row per call'",
    "CREATE TABLE credits.by_model (
        model LowCardinality(String),
        credits AggregateFunction(sum, Decimal(38, 12)),
        calls AggregateFunction(count)
    ) ENGINE = AggregatingMergeTree ORDER BY model SETTINGS non_replicated_deduplication_window = 1000",
    "CREATE MATERIALIZED VIEW credits.by_model_mv TO credits.by_model AS
        SELECT model, sumState(credits) AS credits, countState() AS calls FROM credits.usage GROUP BY model",
];

#[derive(Debug, Clone, PartialEq, Row, serde::Serialize, serde::Deserialize)]
struct Usage {
    #[serde(with = "clickhouse::serde::uuid")]
    event_id: Uuid,
    #[serde(with = "clickhouse::serde::chrono::datetime64::micros")]
    at: DateTime<Utc>,
    model: String,
    team: Option<String>,
    /// In units of 10^-12.
    credits: i128,
    tags: BTreeMap<String, String>,
}

fn usage(number: u128) -> Usage {
    Usage {
        event_id: Uuid::from_u128(number),
        at: Utc.timestamp_micros(1_700_000_000_000_001 + i64::try_from(number).unwrap()).unwrap(),
        model: format!("model-{}", number % 3),
        team: number.is_multiple_of(2).then(|| "search".to_owned()),
        credits: -i128::try_from(number).unwrap() * 10_i128.pow(30) - 1,
        tags: BTreeMap::from([("run".to_owned(), number.to_string())]),
    }
}

async fn set_up(client: &Client) {
    for statement in DDL {
        client.query(statement).execute().await.unwrap();
    }
}

async fn insert(client: &Client, rows: &[Usage]) -> clickhouse::error::Result<()> {
    let mut insert = client.insert::<Usage>("usage").await?;
    for row in rows {
        insert.write(row).await?;
    }
    insert.end().await
}

#[tokio::test]
async fn typed_rows_come_back_as_they_went_in_and_outlive_a_restart() {
    let folder = TempDir::new().unwrap();
    let rows: Vec<Usage> = (0..20_000).map(usage).collect();
    let engine = Engine::start(folder.path());
    let client = engine.client();
    set_up(&client).await;
    for compression in [Compression::Lz4, Compression::None] {
        let client = client.clone().with_database("credits").with_compression(compression);
        client.query("TRUNCATE TABLE usage").execute().await.unwrap();
        insert(&client, &rows).await.unwrap();
        let select = "SELECT ?fields FROM usage ORDER BY event_id";
        let back: Vec<Usage> = client.query(select).fetch_all().await.unwrap();
        assert!(back == rows);
    }
    engine.stop();

    let engine = Engine::start(folder.path());
    let count: u64 = engine.client().query("SELECT count() FROM credits.usage").fetch_one().await.unwrap();
    assert_eq!(count, 20_000);
    engine.stop();
}

#[tokio::test]
async fn the_same_token_twice_counts_once_in_the_table_and_behind_its_view() {
    let folder = TempDir::new().unwrap();
    let engine = Engine::start(folder.path());
    set_up(&engine.client()).await;
    let client = engine.client().with_database("credits").with_setting("async_insert", "0");
    let rows: Vec<Usage> = (0..100).map(usage).collect();
    for token in ["a", "a", "b", "b"] {
        let client = client
            .clone()
            .with_setting("insert_deduplication_token", token)
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1");
        insert(&client, &rows).await.unwrap();
    }
    let sums = |of: &str| format!("SELECT toUInt64(count()), sum(credits) FROM {of}");
    let raw: (u64, i128) = client.query(&sums("usage")).fetch_one().await.unwrap();
    let rolled = "SELECT toUInt64(countMerge(calls)), sumMerge(credits) FROM by_model";
    let rolled: (u64, i128) = client.query(rolled).fetch_one().await.unwrap();
    assert_eq!(raw, (200, 2 * rows.iter().map(|row| row.credits).sum::<i128>()));
    assert_eq!(rolled, raw);

    // The settings held for their own inserts only: the same rows without a token are new.
    insert(&client, &rows[..10]).await.unwrap();
    let count: u64 = client.query("SELECT count() FROM usage").fetch_one().await.unwrap();
    assert_eq!(count, 210);
    engine.stop();
}

#[tokio::test]
async fn an_error_is_an_error_with_its_code() {
    let folder = TempDir::new().unwrap();
    let engine = Engine::start(folder.path());
    let client = engine.client();
    let error_of = async |sql: &str| client.query(sql).execute().await.unwrap_err().to_string();
    assert!(error_of("SELECT * FROM nowhere").await.contains("Code: 60. "));
    assert!(error_of("SELECT 1; SELECT 2").await.contains("Code: 62. "));
    assert!(error_of("SELEC 1").await.contains("Code: 62. "));
    assert!(error_of("SELECT throwIf(1)").await.contains("Code: 395. "));
    let error = client.query("SELECT 1").with_setting("no_such", "1").execute().await.unwrap_err();
    assert!(error.to_string().contains("Code: 115. "), "{error}");
    let error = client.clone().with_database("no_such").query("SELECT 1").execute().await.unwrap_err();
    assert!(error.to_string().contains("Code: 81. "), "{error}");

    // A wrong INSERT inserts nothing.
    set_up(&client).await;
    let answer = engine.request("POST /?query=INSERT+INTO+credits.by_model+FORMAT+RowBinary", b"\x05ab");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.to_lowercase().contains("x-clickhouse-exception-code: 33\r\n"), "{answer}");
    let damaged = engine.request("POST /?decompress=1&query=INSERT+INTO+credits.usage+FORMAT+CSV", &[7; 64]);
    assert!(damaged.to_lowercase().contains("x-clickhouse-exception-code: 271\r\n"), "{damaged}");
    let session = engine.request("POST /?session_id=x", b"SELECT 1");
    assert!(session.starts_with("HTTP/1.1 501 "), "{session}");
    engine.stop();
}

#[tokio::test]
async fn parameters_are_bound_and_never_part_of_the_text() {
    let folder = TempDir::new().unwrap();
    let engine = Engine::start(folder.path());
    let client = engine.client();
    let hostile = "it's \\ a \"text\"; DROP TABLE x -- ?";
    let back: String = client
        .query("SELECT {text:String}")
        .param("text", hostile)
        .with_setting("max_threads", "1")
        .fetch_one()
        .await
        .unwrap();
    assert_eq!(back, hostile);
    let back: (String, u64) = client
        .query("SELECT ?, number FROM ?.? WHERE number = ? LIMIT 1")
        .bind(hostile)
        .bind(Identifier("system"))
        .bind(Identifier("numbers"))
        .bind(7_u64)
        .fetch_one()
        .await
        .unwrap();
    assert_eq!(back, (hostile.to_owned(), 7));
    engine.stop();
}

#[test]
fn curl_is_served_as_by_clickhouse() {
    let folder = TempDir::new().unwrap();
    let engine = Engine::start(folder.path());
    let body = |answer: String| {
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    assert_eq!(body(engine.request("GET /ping", b"")), "Ok.\n");
    assert_eq!(body(engine.request("GET /", b"")), "Ok.\n");
    assert_eq!(body(engine.request("GET /?query=SELECT+1", b"")), "1\n");
    assert_eq!(body(engine.request("POST /?default_format=JSONEachRow", b"SELECT 1 AS x")), "{\"x\":1}\n");
    assert_eq!(body(engine.request("POST /?query=SELECT", b"2 FORMAT CSV")), "2\n");
    assert_eq!(body(engine.request("POST /?param_x=3&query=SELECT+{x:UInt8}", b"")), "3\n");

    body(engine.request("POST /", b"CREATE TABLE t (a UInt8, b String) ENGINE = MergeTree ORDER BY a"));
    body(engine.request("POST /", b"INSERT INTO t VALUES (1, 'x;y'), (2, 'VALUES')"));
    body(engine.request("POST /?query=INSERT+INTO+t+VALUES", b"(3, 'z')"));
    body(engine.request("POST /", b"INSERT INTO t FORMAT RowBinary\n\x04\x02\xff\x00"));
    body(engine.request("POST /", b"INSERT INTO t FORMAT TSV\n5\tq\n"));
    body(engine.request("POST /", b"INSERT INTO t SELECT 6, 'w'"));
    assert_eq!(
        body(engine.request("POST /", b"SELECT groupArray(a) FROM (SELECT a FROM t ORDER BY a)")),
        "[1,2,3,4,5,6]\n"
    );

    let refused = engine.request("GET /?query=DROP+TABLE+t", b"");
    assert!(refused.contains("Code: 164. "), "{refused}");
    // What one request sets does not hold for the next, on whichever connection.
    body(engine.request("POST /", b"SET max_threads = 3"));
    body(engine.request("POST /", b"CREATE DATABASE other"));
    body(engine.request("POST /", b"USE other"));
    for _ in 0..20 {
        let current = engine.request("GET /?query=SELECT+currentDatabase(),getSetting('max_threads')=3", b"");
        assert_eq!(body(current), "default\t0\n");
    }
    engine.stop();
}
