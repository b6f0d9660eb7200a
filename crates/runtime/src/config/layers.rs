//! The sources of a configuration as layers of values, checked for unknown keys one by one, so that
//! a complaint can say where the key came from.

use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::sections::Problems;

const PREFIX: &str = "FLUXORI__";
const FILE_VARIABLE: &str = "FLUXORI_CONFIG";

/// Variables that others set by convention, with the key that each stands for. They rank below
/// `FLUXORI__` variables and above the file.
const CONVENTIONAL: [(&str, &str); 3] = [
    ("KAFKA_BROKERS", "kafka.brokers"),
    ("DATABASE_URL", "postgres.url"),
    ("CLICKHOUSE_URL", "clickhouse.url"),
];

/// Where a configuration comes from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if any.
    pub file: Option<PathBuf>,
    /// Environment variables; only those with a meaning for us are looked at.
    pub env: Vec<(String, String)>,
}

impl Sources {
    /// The environment of this process and `file`; without one, the file that `FLUXORI_CONFIG` names.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let env: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let named = || env.iter().find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
        let file = file.or_else(|| named().map(|(_, value)| PathBuf::from(value)));
        Self { file, env }
    }
}

/// One layer: values by dotted key (environment) or nested tables (file).
#[derive(Clone, Debug)]
pub(super) struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// The file as a layer, without its unknown keys, which are reported.
pub(super) fn from_file(path: &Path, known: &serde_json::Value, problems: &mut Problems) -> Layer {
    let shown = path.display();
    if !path.is_file() {
        problems.push(format!(
            "there is no file {shown} (named by --config or {FILE_VARIABLE}); correct the path"
        ));
        return Layer(Map::new());
    }
    let mut values = match config::File::from(path).format(FileFormat::Toml).collect() {
        Ok(values) => values,
        Err(error) => {
            problems.push(format!("{shown} cannot be read as TOML: {error}"));
            return Layer(Map::new());
        }
    };
    let mut unknown = Vec::new();
    drop_unknown(&mut values, known, "", &mut unknown);
    unknown.sort();
    problems.extend(unknown.iter().map(|key| unknown_key(key, &format!("in {shown}"), known)));
    Layer(values)
}

/// The environment as layers, lowest first, without unknown keys, which are reported.
pub(super) fn from_env(
    env: &[(String, String)],
    known: &serde_json::Value,
    problems: &mut Problems,
) -> [Layer; 2] {
    let mut conventional = Map::new();
    let mut ours = Map::new();
    for (name, value) in env.iter().filter(|(_, value)| !value.is_empty()) {
        let origin = format!("environment variable {name}");
        if let Some((_, key)) = CONVENTIONAL.iter().find(|(variable, _)| variable == name) {
            conventional.insert((*key).to_owned(), Value::new(Some(&origin), value.as_str()));
        }
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let key = rest.to_lowercase().replace("__", ".");
        match look_up(known, &key) {
            None => problems.push(unknown_key(&key, &format!("({origin})"), known)),
            Some(serde_json::Value::Object(_)) => problems
                .push(format!("{origin} names the section [{key}] and no key in it; add __ and the key")),
            Some(serde_json::Value::Array(_)) => match serde_json::from_str::<Value>(value) {
                Ok(list) => _ = ours.insert(key, list),
                Err(error) => problems.push(format!("{origin} must hold a JSON array: {error}")),
            },
            Some(_) => _ = ours.insert(key, Value::new(Some(&origin), value.as_str())),
        }
    }
    [Layer(conventional), Layer(ours)]
}

fn look_up<'k>(known: &'k serde_json::Value, key: &str) -> Option<&'k serde_json::Value> {
    key.split('.').try_fold(known, |node, part| node.as_object()?.get(part))
}

fn drop_unknown(
    values: &mut Map<String, Value>,
    known: &serde_json::Value,
    path: &str,
    unknown: &mut Vec<String>,
) {
    values.retain(|name, value| {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(node) = known.as_object().and_then(|map| map.get(name)) else {
            unknown.push(key);
            return false;
        };
        if let (ValueKind::Table(inner), true) = (&mut value.kind, node.is_object()) {
            drop_unknown(inner, node, &key, unknown);
        }
        true
    });
}

fn unknown_key(key: &str, place: &str, known: &serde_json::Value) -> String {
    let mut keys = Vec::new();
    leaves(known, "", &mut keys);
    // Nearest by edits, of the whole key or of its last part (a key in the wrong section).
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |candidate: &String| {
        let in_place = edits(key, candidate);
        if last(key) == last(candidate) { in_place.min(1) } else { in_place }
    };
    keys.sort_by_key(distance);
    let near: Vec<_> =
        keys.iter().filter(|candidate| distance(candidate) <= key.len() / 4 + 1).take(2).collect();
    if near.is_empty() {
        let section = key.split('.').next().unwrap_or_default();
        let siblings: Vec<_> =
            keys.iter().filter(|candidate| candidate.split('.').next() == Some(section)).cloned().collect();
        if siblings.is_empty() {
            let sections: Vec<_> =
                known.as_object().into_iter().flat_map(|map| map.keys().cloned()).collect();
            return format!("unknown key {key} {place}; the sections are {}", sections.join(", "));
        }
        return format!("unknown key {key} {place}; [{section}] has {}", siblings.join(", "));
    }
    let near: Vec<_> = near.into_iter().map(String::as_str).collect();
    format!("unknown key {key} {place}; did you mean {}?", near.join(" or "))
}

fn leaves(node: &serde_json::Value, path: &str, keys: &mut Vec<String>) {
    match node.as_object() {
        None => keys.push(path.to_owned()),
        Some(map) => {
            for (name, inner) in map {
                let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(inner, &key, keys);
            }
        }
    }
}

/// Levenshtein's distance in characters.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        let mut next = vec![before];
        for (b, above) in right.iter().zip(row.iter().skip(1)) {
            let cost = if a == *b { diagonal } else { diagonal + 1 };
            before = cost.min(above + 1).min(before + 1);
            diagonal = *above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
