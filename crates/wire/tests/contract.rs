//! The contract: examples that never change their bytes, and schemas that can always read what was written.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use fluxori_core::command::{Account, AllocationKind, Command, CommandBody, Grant, Scope};
use fluxori_core::id::{CommandId, LogId, OrgId};
use fluxori_core::record::{Body, QuarantineReason, Record, RecordKey};
use fluxori_core::time::Timestamp;
use fluxori_core::usage::UsageFields;
use fluxori_ingest::usage_from_json;
use fluxori_wire::{Issuer, SCHEMAS, decode, encode_usage};
use uuid::Uuid;

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> =
        bytes.chunks(40).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    digits.join("\n") + "\n"
}

/// Compares with the file; writes it when `UPDATE_EXAMPLES` is set.
fn expect_example(name: &str, text: &str) {
    let path = schemas().join("examples").join(name);
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{}", path.display());
}

const APPENDED: Timestamp = Timestamp::from_micros(1_795_348_801_000_000);

fn example_usage() -> fluxori_core::usage::UsageEvent {
    let text = fs::read_to_string(schemas().join("examples/usage_event.v1.json")).unwrap();
    usage_from_json(serde_json::from_str(&text).unwrap(), APPENDED).unwrap()
}

#[test]
fn the_example_of_a_usage_event_keeps_its_bytes_and_comes_back() {
    let event = example_usage();
    let bytes = encode_usage(&event).unwrap();
    expect_example("usage_event.v1.hex", &hex(&bytes));
    let record = decode(Some(b"acme"), Some(&bytes), APPENDED);
    assert_eq!(record.key, RecordKey::Org(OrgId::new("acme").unwrap()));
    let Body::Usage(decoded) = record.body else { panic!("{:?}", record.body) };
    assert_eq!(*decoded, event);
    let fields: &UsageFields = &decoded;
    let all = serde_json::to_value(fields).unwrap();
    let given: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(schemas().join("examples/usage_event.v1.json")).unwrap())
            .unwrap();
    assert_eq!(all, given, "the example shows every field");
}

fn example_command() -> (Issuer, Command) {
    let issuer = Issuer::new(LogId(Uuid::from_u128(7)), "edge", [2; 32]);
    let command = Command {
        command_id: CommandId(Uuid::from_u128(0x019a_1b2c_3d4e_7f50_8a6b_7c8d_9e0f_1a2b)),
        issued_at: Timestamp::from_micros(1_795_348_800_000_000),
        actor: "billing@acme.example".to_owned(),
        reason: "purchase".to_owned(),
        reference: Some("INV-2026-1042".to_owned()),
        body: CommandBody::Grant(
            OrgId::new("acme").unwrap(),
            Grant {
                account: Account::Organization,
                kind: AllocationKind::Prepaid,
                amount: "100000".parse().unwrap(),
                effective_at: Timestamp::from_micros(1_795_348_800_000_000),
                expires_at: None,
                priority: 0,
                scope: Scope { modules: ["rag-retrieval".parse().unwrap()].into(), ..Scope::default() },
                purchased: true,
                period: None,
            },
        ),
    };
    (issuer, command)
}

#[test]
fn the_example_of_a_command_keeps_its_bytes_and_its_signature_holds() {
    let (issuer, command) = example_command();
    let bytes = issuer.sign(&command).unwrap();
    expect_example("command.v1.hex", &hex(&bytes));
    expect_example("command_payload.v1.hex", &hex(&fluxori_wire::encode_payload(&command).unwrap()));
    let Body::Command(signed) = decode(Some(b"acme"), Some(&bytes), APPENDED).body else {
        panic!("no command")
    };
    assert_eq!(signed.command, command);
    assert!(signed.is_signed_by(&issuer.public_key(), issuer.log_id()));
    assert!(!signed.is_signed_by(&issuer.public_key(), LogId(Uuid::nil())), "another log");
}

fn why(value: &[u8]) -> QuarantineReason {
    match decode(Some(b"acme"), Some(value), APPENDED).body {
        Body::Unreadable(reason, _) => reason,
        other => panic!("readable: {other:?}"),
    }
}

#[test]
fn what_cannot_be_read_says_why_and_never_panics() {
    let bytes = encode_usage(&example_usage()).unwrap();
    assert_eq!(why(b"hello"), QuarantineReason::Malformed);
    assert_eq!(why(&bytes[..bytes.len() - 1]), QuarantineReason::Malformed);
    let mut other = bytes.clone();
    other[5] ^= 1;
    assert_eq!(why(&other), QuarantineReason::SchemaNotInForce);
    assert_eq!(why(&vec![0; 1024 * 1024 + 1]), QuarantineReason::TooLarge);
    for index in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut broken = bytes.clone();
            broken[index] = value;
            let _: Record = decode(Some(b"acme"), Some(&broken), APPENDED);
        }
    }
}

#[test]
fn an_event_that_cannot_be_is_invalid() {
    let mut fields = example_usage().into_fields();
    fields.output_tokens = -5;
    let schema = Schema::parse_str(SCHEMAS[0].text).unwrap();
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().unwrap();
    let mut bytes = encode_usage(&example_usage()).unwrap()[..10].to_vec();
    bytes.extend(writer.write_ser_to_vec(&fields).unwrap());
    assert_eq!(why(&bytes), QuarantineReason::Invalid);
}

#[test]
fn keys_are_orgs_or_reserved_or_nobodys() {
    let key = |key: Option<&[u8]>| decode(key, Some(b""), APPENDED).key;
    assert_eq!(key(Some(b"$global")), RecordKey::Global);
    assert_eq!(key(Some(b"$other")), RecordKey::Invalid);
    assert_eq!(key(Some(&[0xff])), RecordKey::Invalid);
    assert_eq!(key(None), RecordKey::Invalid);
}

/// All versions of all schemas: `NAME.vN.avsc` under `schemas/` and `schemas/old/`.
fn versions() -> BTreeMap<String, BTreeMap<u32, Schema>> {
    let mut versions: BTreeMap<String, BTreeMap<u32, Schema>> = BTreeMap::new();
    for folder in [schemas(), schemas().join("old")] {
        let Ok(files) = fs::read_dir(folder) else { continue };
        for file in files.map(|file| file.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let Some((name, version)) = name.strip_suffix(".avsc").and_then(|name| name.split_once(".v"))
            else {
                continue;
            };
            let schema = Schema::parse_str(&fs::read_to_string(&file).unwrap()).unwrap();
            versions.entry(name.to_owned()).or_default().insert(version.parse().unwrap(), schema);
        }
    }
    versions
}

#[test]
fn every_version_of_a_schema_reads_all_earlier_ones() {
    let versions = versions();
    assert!(versions.len() >= 3);
    for (name, schemas) in versions {
        for (newer, reader) in &schemas {
            for (older, writer) in schemas.range(..=newer) {
                let compatible = SchemaCompatibility::can_read(writer, reader);
                assert!(compatible.is_ok(), "{name}: v{newer} cannot read v{older}: {compatible:?}");
            }
        }
    }
}

#[test]
fn a_field_without_a_default_would_be_caught() {
    let current = Schema::parse_str(SCHEMAS[0].text).unwrap();
    let changed = SCHEMAS[0].text.replacen(
        "\"fields\": [",
        "\"fields\": [{\"name\": \"extra\", \"type\": \"string\"},",
        1,
    );
    let changed = Schema::parse_str(&changed).unwrap();
    assert!(SchemaCompatibility::can_read(&current, &changed).is_err());
}
