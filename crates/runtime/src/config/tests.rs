use super::*;

const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn env(pairs: &[(&str, &str)]) -> Sources {
    Sources { file: None, env: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
}

/// A file that is gone when the test ends.
struct TempFile(std::path::PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fluxori-config-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = load(&Sources::default()).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.kafka.topic, "credits.events.v1");
    assert_eq!(config.edge.listen.to_string(), "127.0.0.1:8080");
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = TempFile::new(
        "precedence",
        "[kafka]\nbrokers = \"file:9092\"\ntopic = \"from-file\"\n[ledger]\nbatch_max_records = 7\n[postgres]\nurl = \"postgres://file/x\"\n",
    );
    let mut sources = env(&[
        ("KAFKA_BROKERS", "conventional:9092"),
        ("FLUXORI__KAFKA__BROKERS", "ours:9092"),
        ("DATABASE_URL", "postgres://conventional/x"),
        ("FLUXORI__LEDGER__LISTEN", "127.0.0.1:0"),
        ("FLUXORI__TELEMETRY__FORMAT", "json"),
        ("UNRELATED", "ignored"),
    ]);
    sources.file = Some(file.0.clone());
    let config = load(&sources).unwrap();
    assert_eq!(config.kafka.brokers, "ours:9092");
    assert_eq!(config.kafka.topic, "from-file");
    assert_eq!(config.postgres.url.expose(), "postgres://conventional/x");
    assert_eq!(config.ledger.batch_max_records, 7);
    assert_eq!(config.ledger.listen.port(), 0);
    assert_eq!(config.telemetry.format, LogFormat::Json);
    assert_eq!(config.scheduler, SchedulerConfig::default());
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    let file = TempFile::new("unknown", "[kafka]\nbroker = \"a:1\"\n[postgress]\nurl = \"x\"\n");
    let mut sources = env(&[("FLUXORI__LEDGER__BATCH_MAX_RECORD", "5"), ("FLUXORI__NONSENSE", "5")]);
    sources.file = Some(file.0.clone());
    let text = load(&sources).unwrap_err().to_string();
    let place = format!("unknown key kafka.broker in {}; did you mean kafka.brokers", file.0.display());
    assert!(text.contains(&place), "{text}");
    assert!(text.contains("unknown key postgress in"), "{text}");
    let variable = "unknown key ledger.batch_max_record (environment variable FLUXORI__LEDGER__BATCH_MAX_RECORD); \
                    did you mean ledger.batch_max_records";
    assert!(text.contains(variable), "{text}");
    assert!(text.contains("the configuration has 4 problems"), "{text}");
    assert!(text.contains("unknown key nonsense") && text.contains("the sections are"), "{text}");
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_the_right_one() {
    let text = load(&env(&[("FLUXORI__LOG__SESSION_TIMEOUT_MS", "6000")])).unwrap_err().to_string();
    assert!(text.contains("did you mean kafka.session_timeout_ms"), "{text}");
}

#[test]
fn wrong_values_are_refused_together_with_what_is_wrong_and_how_to_mend_it() {
    let text = load(&env(&[
        ("KAFKA_BROKERS", "localhost"),
        ("FLUXORI__KAFKA__SESSION_TIMEOUT_MS", "5"),
        ("FLUXORI__LEDGER__BATCH_MAX_RECORDS", "many"),
        ("FLUXORI__EDGE__LISTEN", "everywhere"),
        ("FLUXORI__LOG__GENESIS", "abc"),
        ("FLUXORI__TELEMETRY__FORMAT", "fancy"),
        ("DATABASE_URL", "mysql://root:hunter2@x/y"),
        ("FLUXORI__POSTGRES__MIGRATE_URL", "mysql://root:hunter2@x/y"),
    ]))
    .unwrap_err()
    .to_string();
    for part in [
        "kafka.brokers = \"localhost\" is no list of brokers; write host:port",
        "kafka.session_timeout_ms = 5 is out of range; choose 6000 to 1800000",
        "ledger.batch_max_records (environment variable FLUXORI__LEDGER__BATCH_MAX_RECORDS): string \"many\" is not an",
        "edge.listen (environment variable FLUXORI__EDGE__LISTEN): \"everywhere\" is no address",
        "telemetry.format (environment variable FLUXORI__TELEMETRY__FORMAT): \"fancy\" is no format",
        "log.genesis (environment variable FLUXORI__LOG__GENESIS): 3 characters that are not",
        "write 64 hexadecimal digits",
        "postgres.url (or DATABASE_URL) is no address of a Postgres; write postgres://user:password@host:port/database",
        "postgres.migrate_url is no address of a Postgres; write postgres://user:password@host:port/database",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_missing_file_is_refused() {
    let sources = Sources { file: Some("/nowhere/fluxori.toml".into()), env: Vec::new() };
    assert!(load(&sources).unwrap_err().to_string().contains("there is no file /nowhere/fluxori.toml"));
}

#[test]
fn api_keys_come_as_tables_or_as_a_json_array() {
    let table = format!("[[api_keys]]\nname = \"demo\"\nsha256 = \"{DIGEST}\"\norgs = [\"*\"]\n");
    let file = TempFile::new("keys", &table);
    let from_file = load(&Sources { file: Some(file.0.clone()), env: Vec::new() }).unwrap();
    let json = format!(r#"[{{"name": "demo", "sha256": "{DIGEST}", "orgs": ["*"]}}]"#);
    let from_env = load(&env(&[("FLUXORI__API_KEYS", &json)])).unwrap();
    assert_eq!(from_file.api_keys, from_env.api_keys);
    assert_eq!(from_env.api_keys[0].sha256.to_string(), DIGEST);

    let wrong = json.replace("name", "nam");
    let text = load(&env(&[("FLUXORI__API_KEYS", &wrong)])).unwrap_err().to_string();
    assert!(text.contains("unknown field `nam`") && text.contains("api_keys"), "{text}");
    let text = load(&env(&[("FLUXORI__API_KEYS", "demo")])).unwrap_err().to_string();
    assert!(text.contains("FLUXORI__API_KEYS must hold a JSON array"), "{text}");
}

#[test]
fn a_key_may_be_bound_to_modules_and_sources_and_end() {
    let table = |more: &str| {
        let name = format!("bound-keys-{}", more.len());
        let head = format!("[[api_keys]]\nname = \"demo\"\nsha256 = \"{DIGEST}\"\norgs = [\"acme\"]\n");
        let file = TempFile::new(&name, &format!("{head}{more}"));
        load(&Sources { file: Some(file.0.clone()), env: Vec::new() }).map_err(|error| error.to_string())
    };
    let free = &table("").unwrap().api_keys[0];
    assert_eq!((&free.modules, &free.sources, free.expires_at), (&None, &None, None));
    let more =
        "modules = [\"pim\"]\nsources = [\"crm\", \"shop\"]\nexpires_at = \"2027-01-31T01:00:00+01:00\"\n";
    let bound = &table(more).unwrap().api_keys[0];
    assert_eq!(bound.modules.as_deref().unwrap(), ["pim"]);
    assert_eq!(bound.sources.as_deref().unwrap(), ["crm", "shop"]);
    assert_eq!(bound.expires_at.unwrap().to_rfc3339(), "2027-01-31T00:00:00+00:00");
    assert!(
        table("modules = []\n")
            .unwrap_err()
            .contains("api_keys[0].modules is empty; list names, or leave it out")
    );
    assert!(table("expires_at = \"soon\"\n").unwrap_err().contains("\"soon\" is no time; write one such as"));
}

#[test]
fn rules_of_cloudevents_are_read_with_paths_one_or_several() {
    let text = "[[cloudevents.rules]]\n\
        when = { type = \"image.*\", \"data.size\" = [\"hd\", \"sd\"] }\n\
        fields = { org_id = \"tenant\", request_model = [\"data.modelName\", \"data.engine\"] }\n\
        defaults = { provider = \"openai\" }\n";
    let file = TempFile::new("cloudevents", text);
    let config = load(&Sources { file: Some(file.0.clone()), env: Vec::new() }).unwrap();
    let [rule] = config.cloudevents.rules.as_slice() else { panic!("{:?}", config.cloudevents) };
    assert_eq!(rule.when["type"], ["image.*"]);
    assert_eq!(rule.when["data.size"], ["hd", "sd"]);
    assert_eq!(rule.fields["request_model"], ["data.modelName", "data.engine"]);
    assert_eq!(rule.defaults["provider"], "openai");
    let json = r#"[{"fields": {"org_id": "tenant"}, "default": {}}]"#;
    let text = load(&env(&[("FLUXORI__CLOUDEVENTS__RULES", json)])).unwrap_err().to_string();
    assert!(text.contains("unknown field `default`") && text.contains("cloudevents"), "{text}");
}

#[test]
fn limits_and_the_spool_are_checked_by_name() {
    let refused = |pairs: &[(&str, &str)]| load(&env(pairs)).unwrap_err().to_string();
    let ranges =
        refused(&[("FLUXORI__HTTP__MAX_CONNECTIONS", "0"), ("FLUXORI__PRODUCER__MAX_BODY_BYTES", "1")]);
    let words = refused(&[
        ("FLUXORI__PRODUCER__DURABILITY", "forever"),
        ("FLUXORI__PRODUCER__WHEN_SPOOL_FULL", "panic"),
    ]);
    for (part, text) in [
        ("http.max_connections = 0 is out of range", &ranges),
        ("producer.max_body_bytes = 1 is out of range", &ranges),
        ("\"forever\" is no durability; choose power, process or none", &words),
        ("\"panic\" is no policy for a full spool; choose reject or drop_oldest", &words),
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let config = load(&env(&[
        ("FLUXORI__PRODUCER__SPOOL_DIR", "/spool"),
        ("FLUXORI__PRODUCER__DURABILITY", "process"),
        ("FLUXORI__PRODUCER__WHEN_SPOOL_FULL", "drop_oldest"),
    ]));
    let producer = config.unwrap().producer;
    assert_eq!(producer.spool_dir.as_deref(), Some(std::path::Path::new("/spool")));
    assert_eq!(
        (producer.durability, producer.when_spool_full),
        (SpoolDurability::Process, WhenSpoolFull::DropOldest)
    );
}

#[test]
fn a_service_is_told_how_to_name_what_it_cannot_do_without() {
    let config = Config::default();
    assert!(config.require_kafka().unwrap_err().to_string().contains("set KAFKA_BROKERS=host:port"));
    assert!(config.require_postgres().unwrap_err().to_string().contains("DATABASE_URL"));
    assert!(config.require_clickhouse().unwrap_err().to_string().contains("CLICKHOUSE_URL"));
    assert!(config.require_genesis().unwrap_err().to_string().contains("credits log init"));
    let pinned = load(&env(&[("FLUXORI__LOG__GENESIS", DIGEST)])).unwrap();
    assert_eq!(pinned.require_genesis().unwrap()[1], 0x11);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let config = load(&env(&[("DATABASE_URL", "postgres://u:hunter2@h/d")])).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
