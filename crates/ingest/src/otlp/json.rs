//! Pure: OTLP's trace messages in JSON: ids are hexadecimal, 64-bit numbers may be texts and enums are numbers (OTLP
//! specification, "JSON Protobuf Encoding").
//!
//! An exporter does not send a refused request again, so one odd span must not cost the others: each is read by itself,
//! and as strictly as all JSON is. What is missing or of another form than it should be is as if it were not there.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::RejectedSpan;
use super::bounds::{self, Counted, MAX_ATTRIBUTES, MAX_SPANS};
use super::wire::{
    AnyValue, CLIENT, ERROR, KeyValue, Request, Resource, ResourceSpans, Scalar, ScopeSpans, Span, Status,
};
use crate::{Reason, Rejection, json};

/// A request, and its spans that cannot be read.
///
/// # Errors
/// It is no JSON, no such request, or holds too much.
pub(super) fn read(bytes: &[u8]) -> Result<(Request, Vec<RejectedSpan>), Rejection> {
    let text = mended(bytes);
    let root: &RawValue = serde_json::from_str(&text).map_err(|error| no_json(&text, &error))?;
    if !root.get().starts_with('{') {
        crate::object::Object::root(&json::read(root.get().as_bytes())?)?;
    }
    let [resources] = members(root, ["resourceSpans"])?;
    let resources = resources.filter(|resources| resources.get() != "null");
    if resources.is_some_and(|resources| !resources.get().starts_with('[')) {
        return Err(Rejection::new(Reason::Invalid, "resourceSpans is no array").at("resourceSpans"));
    }
    let (mut request, mut rejected, mut counted) = (Request::default(), Vec::new(), Counted::default());
    for (index, resource) in items(resources, MAX_SPANS)?.into_iter().enumerate() {
        counted.resource()?;
        let place = format!("resourceSpans[{index}]");
        request.resource_spans.push(resource_spans(resource, &place, &mut counted, &mut rejected)?);
    }
    Ok((request, rejected))
}

fn resource_spans(
    raw: &RawValue,
    place: &str,
    counted: &mut Counted,
    rejected: &mut Vec<RejectedSpan>,
) -> Result<ResourceSpans, Rejection> {
    let [resource, scopes, older] = members(raw, ["resource", "scopeSpans", "instrumentationLibrarySpans"])?;
    let resource = match resource {
        None => Ok(None),
        Some(resource) => {
            check_attributes(resource, "resource")?;
            let resource = value(resource, &format!("{place}.resource"));
            resource.map(|resource| Some(Resource { attributes: attributes(&resource) }))
        }
    };
    let mut read = ResourceSpans::default();
    for (name, scopes) in [("scopeSpans", scopes), ("instrumentationLibrarySpans", older)] {
        for (index, scope) in items(scopes, MAX_SPANS)?.into_iter().enumerate() {
            counted.scope()?;
            let [spans] = members(scope, ["spans"])?;
            let mut scope = ScopeSpans::default();
            for (nth, raw) in items(spans, MAX_SPANS)?.into_iter().enumerate() {
                counted.span()?;
                check_attributes(raw, "span")?;
                let place = format!("{place}.{name}[{index}].spans[{nth}]");
                match resource.as_ref().map_err(Clone::clone).and_then(|_| value(raw, &place)) {
                    Ok(span) => scope.spans.push(span_of(&span)),
                    Err(rejection) => {
                        let span = name_of(raw).unwrap_or(place);
                        rejected.push(RejectedSpan { span, rejection });
                    }
                }
            }
            read.scope_spans.push(scope);
        }
    }
    read.resource = resource.unwrap_or_default();
    Ok(read)
}

/// What stands at one place, read strictly.
fn value(raw: &RawValue, place: &str) -> Result<Value, Rejection> {
    json::read(raw.get().as_bytes()).map_err(|rejection| {
        let field = rejection.field.as_ref().map_or(place.to_owned(), |field| format!("{place}.{field}"));
        Rejection { field: Some(field), detail: format!("{place}: {}", rejection.detail), ..rejection }
    })
}

fn name_of(span: &RawValue) -> Option<String> {
    let [name] = members(span, ["name"]).ok()?;
    let name: String = serde_json::from_str(name?.get()).ok()?;
    Some(name.chars().take(128).collect())
}

/// The shortest attribute is `{},`.
const MIN_ATTRIBUTE_BYTES: usize = 3;

fn check_attributes(raw: &RawValue, whose: &str) -> Result<(), Rejection> {
    if raw.get().len() <= MIN_ATTRIBUTE_BYTES * MAX_ATTRIBUTES {
        return Ok(());
    }
    // A key that comes twice is no business of the count, but which of the two is read is: both are refused.
    let Ok([found]) = members(raw, ["attributes"]) else { return Ok(()) };
    bounds::attributes(items(found, MAX_ATTRIBUTES)?.len(), whose)
}

/// The text of a request, with U+FFFD for what is no UTF-8 and for halves of surrogate pairs, as cut texts end in.
fn mended(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    let lone = lone_surrogates(text.as_bytes());
    if lone.is_empty() {
        return text;
    }
    let (mut mended, mut from) = (String::with_capacity(text.len()), 0);
    for at in lone {
        mended.push_str(text.get(from..at).unwrap_or_default());
        mended.push_str("\\ufffd");
        from = at + ESCAPE;
    }
    mended.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(mended)
}

/// Length of `\ud83d`.
const ESCAPE: usize = 6;

fn lone_surrogates(text: &[u8]) -> Vec<usize> {
    let code = |at: usize| {
        let digits = text.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let (mut lone, mut at) = (Vec::new(), 0);
    while let Some(next) = text.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += next;
        match code(at) {
            Some(0xd800..=0xdbff) if matches!(code(at + ESCAPE), Some(0xdc00..=0xdfff)) => at += 2 * ESCAPE,
            Some(0xd800..=0xdfff) => {
                lone.push(at);
                at += ESCAPE;
            }
            // Of `\\` both, so that the second begins nothing.
            _ => at += 2,
        }
    }
    lone
}

/// Why a text is no JSON, with the place where the strict reader can say it.
fn no_json(text: &str, error: &serde_json::Error) -> Rejection {
    match json::read(text.as_bytes()) {
        Err(rejection) => rejection,
        Ok(_) => Rejection::new(Reason::NotJson, error.to_string()),
    }
}

/// Members of an object, unread; none of what is no object.
fn members<'j, const N: usize>(
    raw: &'j RawValue,
    names: [&'static str; N],
) -> Result<[Option<&'j RawValue>; N], Rejection> {
    if !raw.get().starts_with('{') {
        return Ok([None; N]);
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    deserializer
        .deserialize_map(Members(names))
        .map_err(|error| Rejection::new(Reason::NotJson, error.to_string()))
}

struct Members<const N: usize>([&'static str; N]);

impl<'j, const N: usize> Visitor<'j> for Members<N> {
    type Value = [Option<&'j RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(key) = entries.next_key::<String>()? {
            let place = self.0.iter().zip(&mut found).find(|(name, _)| **name == key).map(|(_, place)| place);
            match place {
                Some(Some(_)) => return Err(A::Error::custom(format!("the key {key} comes twice"))),
                Some(place) => *place = Some(entries.next_value()?),
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// The items of an array, unread; none of what is no array. There are more than `max` if one more comes out.
fn items(raw: Option<&RawValue>, max: usize) -> Result<Vec<&RawValue>, Rejection> {
    let Some(raw) = raw.filter(|raw| raw.get().starts_with('[')) else { return Ok(Vec::new()) };
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    deserializer
        .deserialize_seq(Items(max))
        .map_err(|error| Rejection::new(Reason::NotJson, error.to_string()))
}

struct Items(usize);

impl<'j> Visitor<'j> for Items {
    type Value = Vec<&'j RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element()? {
            if found.len() <= self.0 {
                found.push(item);
            }
        }
        Ok(found)
    }
}

fn span_of(span: &Value) -> Span {
    Span {
        trace_id: id(span, "traceId"),
        span_id: id(span, "spanId"),
        parent_span_id: id(span, "parentSpanId"),
        name: text(span, "name").as_bytes().to_vec(),
        kind: number(span.get("kind"), &[("SPAN_KIND_CLIENT", CLIENT)]),
        start_time_unix_nano: nanos(span.get("startTimeUnixNano")),
        end_time_unix_nano: nanos(span.get("endTimeUnixNano")),
        attributes: attributes(span),
        status: span
            .get("status")
            .map(|status| Status { code: number(status.get("code"), &[("STATUS_CODE_ERROR", ERROR)]) }),
    }
}

fn list<'v>(object: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    object.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(object: &'v Value, name: &str) -> &'v str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: Option<&Value>, names: &[(&str, i32)]) -> i32 {
    match value {
        Some(Value::Number(number)) => {
            number.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
        }
        Some(Value::String(name)) => {
            names.iter().find(|(known, _)| known == name).map_or(0, |(_, number)| *number)
        }
        _ => 0,
    }
}

fn nanos(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Bytes in hexadecimal; none where it is something else.
fn id(span: &Value, name: &str) -> Vec<u8> {
    let digits = text(span, name).as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect::<Option<_>>().unwrap_or_default()
}

fn attributes(object: &Value) -> Vec<KeyValue> {
    let attribute = |attribute: &Value| KeyValue {
        key: text(attribute, "key").as_bytes().to_vec(),
        value: attribute.get("value").map(|value| AnyValue { value: scalar(value) }),
    };
    list(object, "attributes").map(attribute).collect()
}

fn scalar(value: &Value) -> Option<Scalar> {
    if let Some(text) = value.get("stringValue") {
        return text.as_str().map(|text| Scalar::Text(text.as_bytes().to_vec()));
    }
    if let Some(flag) = value.get("boolValue") {
        return flag.as_bool().map(Scalar::Flag);
    }
    let number = value.get("intValue").or_else(|| value.get("doubleValue"))?;
    let whole = |text: &str| value.get("intValue").and_then(|_| text.parse().ok()).map(Scalar::Whole);
    match number {
        Value::Number(number) => {
            number.as_i64().map(Scalar::Whole).or_else(|| number.as_f64().map(Scalar::Float))
        }
        // What is no number stays a text, and is refused where a number is needed.
        Value::String(text) => Some(whole(text).unwrap_or_else(|| Scalar::Text(text.as_bytes().to_vec()))),
        _ => None,
    }
}
