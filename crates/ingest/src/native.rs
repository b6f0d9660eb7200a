//! Pure: usage in our own JSON, as the gateway and the CLI take it.
//!
//! Most events are read straight from their bytes. What cannot be is read once more as a value: that can be a provider's own
//! usage object, and can be told what is wrong with it. Both ways end in [`Completing`], so both mean the same.

use std::borrow::Cow;
use std::fmt;

use fluxori_core::id::{EventId, Label, Module, OrgId};
use fluxori_core::record::MAX_RECORD_BYTES;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, UsageFields};
use serde::de::value::{BorrowedStrDeserializer, CowStrDeserializer, MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::Value;
use uuid::Uuid;

use crate::{Reason, Rejection, RequestContext, json, provider_usage};

/// Reads one usage event, whose usage may be a provider's own object ([`provider_usage::expand`]), takes from the context what it does not say, and judges its time.
///
/// # Errors
/// Every reason there is.
pub fn usage_from_bytes(bytes: &[u8], context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    if bytes.len() > MAX_RECORD_BYTES {
        let detail = format!("{} bytes of JSON; an event has at most {MAX_RECORD_BYTES}", bytes.len());
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    straight(bytes, context).map_or_else(|| by_value(bytes, context), Ok)
}

/// Reads a usage event.
///
/// `event_id` is a UUIDv7 or any other text, which becomes a deterministic id of org, source and text. `occurred_at` may
/// be left out: then it is the time in the UUIDv7, so that a retry is the same event, or `now` for a foreign id.
///
/// # Errors
/// [`Reason::NotAnObject`], [`Reason::NoIdentity`] or [`Reason::Invalid`].
pub fn usage_from_json(value: Value, now: Timestamp) -> Result<UsageEvent, Rejection> {
    let event_id = named_id(&value);
    read(value, &RequestContext::of_nobody(now)).map_err(|rejection| rejection.of_event(event_id.as_deref()))
}

/// What holds; none if the event does not, or can only be read as a value.
fn straight(bytes: &[u8], context: &RequestContext<'_>) -> Option<UsageEvent> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let fields = deserializer.deserialize_map(Completing { context, place: &mut None }).ok()?;
    deserializer.end().ok()?;
    let event = UsageEvent::new(fields).ok()?;
    event.check_time(context.now).ok()?;
    Some(event)
}

fn by_value(bytes: &[u8], context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    usage_from_value(json::read(bytes)?, context)
}

/// As [`usage_from_bytes`], of what has been read already.
///
/// # Errors
/// As there, but for JSON itself and its size.
pub fn usage_from_value(value: Value, context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    let event_id = named_id(&value);
    let value = provider_usage::expand(value).map_err(|rejection| rejection.of_event(event_id.as_deref()))?;
    let event_id = named_id(&value);
    let judged = read(value, context).and_then(|event| match event.check_time(context.now) {
        Ok(()) => Ok(event),
        Err(violation) => Err(Rejection::of_violation(&violation)),
    });
    judged.map_err(|rejection| rejection.of_event(event_id.as_deref()))
}

fn named_id(value: &Value) -> Option<String> {
    value.get("event_id").and_then(Value::as_str).map(str::to_owned)
}

fn read(value: Value, context: &RequestContext<'_>) -> Result<UsageEvent, Rejection> {
    let Value::Object(mut object) = value else {
        return Err(Rejection::new(Reason::NotAnObject, "a usage event is a JSON object"));
    };
    let completed = Completed::ALL.map(Completed::field);
    object.retain(|field, value| !(value.is_null() && completed.contains(&field.as_str())));
    // First, because of an event without an identity nothing else matters; and for its own kind of rejection.
    let id = object.get("event_id").and_then(Value::as_str).ok_or_else(no_id)?;
    Identity::of(id.into())?;
    let mut place = None;
    let fields = Value::Object(object).deserialize_map(Completing { context, place: &mut place });
    let fields = fields.map_err(|error| {
        let detail = error.to_string();
        let missing = || detail.strip_prefix("missing field `")?.split_once('`').map(|(field, _)| field);
        let Some(field) = place.as_deref().or_else(missing) else {
            return Rejection::new(Reason::Invalid, detail);
        };
        let names_it = detail.contains(&format!("`{field}`"));
        let said = if names_it { detail.clone() } else { format!("{field}: {detail}") };
        Rejection::new(Reason::Invalid, said).at(field)
    })?;
    UsageEvent::new(fields).map_err(|violation| Rejection::of_violation(&violation))
}

fn no_id() -> Rejection {
    let detail = "event_id is missing: a UUIDv7, or any text that names the call at its source, the same on every retry";
    Rejection::new(Reason::NoIdentity, detail).at("event_id")
}

/// What names an event.
enum Identity<'t> {
    /// An id of ours, a UUIDv7.
    Native(Uuid),
    /// A text that becomes an id together with org and source.
    Foreign(Cow<'t, str>),
}

impl<'t> Identity<'t> {
    /// # Errors
    /// It is empty, or was derived from another.
    fn of(text: Cow<'t, str>) -> Result<Self, Rejection> {
        match Uuid::try_parse(&text) {
            Ok(uuid) if uuid.get_version_num() == 7 => Ok(Self::Native(uuid)),
            Ok(uuid) if uuid.get_version_num() == 8 => {
                let detail =
                    "event_id is a UUIDv8, which is derived from foreign ids: give the foreign id itself";
                Err(Rejection::new(Reason::NoIdentity, detail).at("event_id"))
            }
            _ if text.is_empty() => Err(no_id()),
            _ => Ok(Self::Foreign(text)),
        }
    }

    /// When the event occurred, if it does not say it; none if nobody can hold such a time.
    fn time(&self, now: Timestamp) -> Option<Timestamp> {
        let Self::Native(uuid) = self else { return Some(now) };
        let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
        let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
        Timestamp::from_micros(micros + i64::from(nanos / 1000)).in_range()
    }
}

/// The fields that an event need not say: what its API key stands for, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completed {
    OrgId,
    Module,
    Source,
    OccurredAt,
}

impl Completed {
    const ALL: [Self; 4] = [Self::OrgId, Self::Module, Self::Source, Self::OccurredAt];

    const fn field(self) -> &'static str {
        match self {
            Self::OrgId => "org_id",
            Self::Module => "module",
            Self::Source => "source",
            Self::OccurredAt => "occurred_at",
        }
    }

    /// What is known of it where the event says nothing. A time is put in its place when its identity is known.
    fn known<'c>(self, context: &RequestContext<'c>) -> Option<&'c str> {
        match self {
            Self::OrgId => context.org.map(OrgId::as_str),
            Self::Module => context.module.map(Module::as_str),
            Self::Source => context.source.map(Label::as_str),
            Self::OccurredAt => Some(LATER),
        }
    }
}

/// Stand for an id and a time until they are known.
const LATER_ID: &str = "00000000-0000-0000-0000-000000000000";
const LATER: &str = "1970-01-01T00:00:00Z";

/// Reads an object as an event, completes it from the context and makes its id.
struct Completing<'c, 'p, 'de> {
    context: &'c RequestContext<'c>,
    /// The field that is being read.
    place: &'p mut Option<Cow<'de, str>>,
}

impl<'de> Visitor<'de> for Completing<'_, '_, 'de> {
    type Value = UsageFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a usage event")
    }

    fn visit_map<A: MapAccess<'de>>(self, said: A) -> Result<UsageFields, A::Error> {
        let (mut identity, mut unsaid) = (None, Completed::ALL.map(Some));
        let mut fields = UsageFields::deserialize(MapAccessDeserializer::new(Entries {
            said,
            context: self.context,
            place: self.place,
            identity: &mut identity,
            unsaid: &mut unsaid,
            completed: 0,
            next: Next::Said,
        }))?;
        let identity = identity.ok_or_else(|| A::Error::missing_field("event_id"))?;
        fields.event_id = match &identity {
            Identity::Native(uuid) => EventId(*uuid),
            Identity::Foreign(text) => EventId::from_foreign(&fields.org_id, &fields.source, text),
        };
        if unsaid.contains(&Some(Completed::OccurredAt)) {
            let time = identity.time(self.context.now);
            fields.occurred_at =
                time.ok_or_else(|| A::Error::custom("event_id: its time is after the year 9999"))?;
        }
        Ok(fields)
    }
}

/// The entries of an object, and behind them those that it leaves unsaid.
struct Entries<'c, 'p, 'de, A> {
    said: A,
    context: &'c RequestContext<'c>,
    place: &'p mut Option<Cow<'de, str>>,
    identity: &'p mut Option<Identity<'de>>,
    unsaid: &'p mut [Option<Completed>; 4],
    /// How many of the unsaid ones have been looked at.
    completed: usize,
    next: Next<'c>,
}

/// The value that comes next.
enum Next<'c> {
    Said,
    Identity,
    Known(&'c str),
}

/// A text, borrowed where it can be.
#[derive(serde::Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, '_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        *self.place = None;
        if self.completed == 0
            && let Some(Text(key)) = self.said.next_key()?
        {
            self.next = if key == "event_id" { Next::Identity } else { Next::Said };
            if let Some(unsaid) =
                self.unsaid.iter_mut().find(|unsaid| unsaid.is_some_and(|it| it.field() == key))
            {
                *unsaid = None;
            }
            let key = self.place.insert(key).clone();
            return seed.deserialize(CowStrDeserializer::new(key)).map(Some);
        }
        while let Some(unsaid) = self.unsaid.get(self.completed) {
            self.completed += 1;
            if let Some(field) = unsaid
                && let Some(known) = field.known(self.context)
            {
                self.next = Next::Known(known);
                return seed.deserialize(BorrowedStrDeserializer::new(field.field())).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match self.next {
            Next::Said => self.said.next_value_seed(seed),
            Next::Known(text) => seed.deserialize(StrDeserializer::new(text)),
            Next::Identity => {
                let Text(id) = self.said.next_value()?;
                let identity = Identity::of(id).map_err(A::Error::custom)?;
                *self.identity = Some(identity);
                seed.deserialize(StrDeserializer::new(LATER_ID))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<UsageEvent, Rejection> {
        usage_from_json(value, "2026-11-22T12:00:00Z".parse().unwrap())
    }

    fn minimal() -> Value {
        json!({"event_id": "01a2030f-794e-7f50-8a6b-7c8d9e0f1a2b", "org_id": "acme", "module": "pim",
               "provider": "openai", "request_model": "gpt-5", "input_tokens": 10, "output_tokens": 2})
    }

    #[test]
    fn the_time_of_a_native_id_stands_in_for_a_missing_one() {
        let event = read(minimal()).unwrap();
        let (seconds, _) = event.event_id.0.get_timestamp().unwrap().to_unix();
        assert_eq!(event.occurred_at.micros() / 1_000_000, i64::try_from(seconds).unwrap());
        assert_eq!(event.billing_digest(), read(minimal()).unwrap().billing_digest());
    }

    #[test]
    fn a_foreign_id_is_the_same_event_on_every_retry() {
        let mut value = minimal();
        value["event_id"] = json!("chatcmpl-123");
        let event = read(value.clone()).unwrap();
        assert_eq!(event.event_id, read(value.clone()).unwrap().event_id);
        value["org_id"] = json!("other");
        assert_ne!(event.event_id, read(value).unwrap().event_id);
    }

    #[test]
    fn unknown_missing_and_impossible_fields_are_named() {
        let error = |change: &dyn Fn(&mut Value)| {
            let mut value = minimal();
            change(&mut value);
            read(value).unwrap_err().to_string()
        };
        assert!(error(&|v| v["input_token"] = json!(1)).contains("input_token"));
        assert!(error(&|v| drop(v.as_object_mut().unwrap().remove("module"))).contains("module"));
        assert!(error(&|v| v["output_tokens"] = json!(-1)).contains("output_tokens is negative"));
        assert!(error(&|v| v["org_id"] = json!("")).contains("org id"));
        assert!(error(&|v| v["event_id"] = json!("")).contains("event_id is missing"));
    }

    #[test]
    fn what_the_key_stands_for_fills_what_is_not_said_and_nothing_else() {
        let (org, module, source) =
            (OrgId::new("of-key").unwrap(), "chat".parse().unwrap(), Label::new("gateway").unwrap());
        let context = RequestContext {
            org: Some(&org),
            module: Some(&module),
            source: Some(&source),
            now: "2026-11-22T12:00:00Z".parse().unwrap(),
        };
        let mut value = minimal();
        value["event_id"] = json!("call-1");
        let said = usage_from_bytes(value.to_string().as_bytes(), &context).unwrap();
        assert_eq!((said.org_id.as_str(), said.module.as_str()), ("acme", "pim"));
        assert_eq!(said.source.as_str(), "gateway");
        value.as_object_mut().unwrap().retain(|name, _| name != "org_id" && name != "module");
        let filled = usage_from_bytes(value.to_string().as_bytes(), &context).unwrap();
        assert_eq!((filled.org_id.as_str(), filled.module.as_str()), ("of-key", "chat"));
        assert_eq!(filled.event_id, EventId::from_foreign(&org, &source, "call-1"));
    }

    #[test]
    fn a_rejection_bears_the_id_that_the_caller_gave() {
        let context = RequestContext::of_nobody("2026-11-22T12:00:00Z".parse().unwrap());
        let mut value = minimal();
        value["event_id"] = json!("call-1");
        value["occurred_at"] = json!("2026-11-22T13:00:00Z");
        let rejection = usage_from_bytes(value.to_string().as_bytes(), &context).unwrap_err();
        assert_eq!(rejection.reason, Reason::OccurredInFuture);
        assert_eq!(rejection.event_id.as_deref(), Some("call-1"));
        assert_eq!(rejection.field.as_deref(), Some("occurred_at"));
    }

    #[test]
    fn a_value_of_a_wrong_type_is_told_with_its_field() {
        for (field, wrong) in [
            ("input_tokens", json!("12")),
            ("tags", json!([])),
            ("org_id", json!(7)),
            ("occurred_at", json!(0)),
        ] {
            let mut value = minimal();
            value[field] = wrong;
            let rejection = read(value).unwrap_err();
            assert_eq!(rejection.field.as_deref(), Some(field));
            assert!(rejection.detail.starts_with(&format!("{field}: ")), "{rejection}");
        }
    }

    #[test]
    fn events_with_ids_of_either_kind_are_read_straight_from_their_bytes() {
        let context = RequestContext::of_nobody("2026-11-22T12:00:00Z".parse().unwrap());
        for id in [minimal()["event_id"].as_str().unwrap(), "call-1"] {
            let mut value = minimal();
            value["event_id"] = json!(id);
            value["tags"] = json!({"a": "1"});
            assert!(straight(value.to_string().as_bytes(), &context).is_some(), "{id}");
        }
    }

    #[test]
    fn an_id_whose_time_nobody_can_hold_is_refused() {
        let mut value = minimal();
        value["event_id"] = json!("ffffffff-ffff-7f50-8a6b-7c8d9e0f1a2b");
        assert!(read(value).unwrap_err().detail.contains("year 9999"));
    }

    /// A field and its value, right more often than not.
    fn entry() -> impl Strategy<Value = (&'static str, &'static str)> {
        let entries = [
            (
                "event_id",
                &[
                    r#""01a2030f-794e-7f50-8a6b-7c8d9e0f1a2b""#,
                    r#""call-1""#,
                    r#""""#,
                    "null",
                    r#""01a2030f-794e-8f50-8a6b-7c8d9e0f1a2b""#,
                ][..],
            ),
            ("org_id", &[r#""acme""#, r#""\u0061cme""#, "null", "7", r#""$global""#]),
            ("module", &[r#""pim""#, "null", r#""""#]),
            ("source", &[r#""gateway""#, "null"]),
            ("occurred_at", &[r#""2026-11-22T11:00:00.5Z""#, "null", r#""2027-01-01T00:00:00Z""#, "1"]),
            ("provider", &[r#""openai""#, "null"]),
            ("request_model", &[r#""gpt-5""#]),
            ("input_tokens", &["10", "1e1", "-1", r#""10""#, "null"]),
            ("output_tokens", &["2", "18446744073709551615"]),
            ("units", &["{}", r#"{"pages":"1.5"}"#, r#"{"pages":"1","pages":"2"}"#, r#"{"pages":1}"#]),
            ("tags", &["{}", r#"{"a":"1","b":"2"}"#, r#"{"a":"1","a":"1"}"#, "null"]),
            ("usage", &["null", r#"{"prompt_tokens":3,"completion_tokens":4}"#]),
            ("response", &["null", "{}"]),
            ("measurement", &[r#""estimated""#, r#"{"measured":null}"#, "null"]),
            ("batch", &["true", "0"]),
            ("unknown", &["1"]),
            (r"event\u005fid", &[r#""call-2""#]),
            (r"input\u005ftokens", &["11"]),
        ];
        prop::sample::select(entries.to_vec()).prop_flat_map(|(field, values)| {
            let right = values.first().copied().unwrap_or_default();
            let value = prop_oneof![3 => Just(right), 1 => prop::sample::select(values)];
            value.prop_map(move |value| (field, value))
        })
    }

    proptest! {
        /// What is read straight from bytes is what the way by a value reads.
        #[test]
        fn both_ways_mean_the_same(
            more in prop::collection::vec(entry(), 0..6),
            left_out in 0_usize..40,
            turned in 0_usize..10,
            replaces in any::<bool>(),
            behind in prop::sample::select(vec!["", "", "", " \n", "{}"]),
            key in any::<[bool; 3]>(),
        ) {
            let minimal = minimal().as_object().unwrap().clone();
            let mut entries: Vec<_> =
                minimal.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
            if left_out < entries.len() {
                entries.remove(left_out);
            }
            for (name, value) in more {
                match entries.iter_mut().find(|entry| entry.0 == name && replaces) {
                    Some(entry) => value.clone_into(&mut entry.1),
                    None => entries.push((name, value.to_owned())),
                }
            }
            let places = entries.len();
            entries.rotate_left(turned % places);
            let entries: Vec<_> = entries.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let text = format!("{{{}}}{behind}", entries.join(","));
            let (org, module, source) = (OrgId::new("of-key").unwrap(), "chat".parse().unwrap(), Label::new("of-key").unwrap());
            let context = RequestContext {
                org: key[0].then_some(&org),
                module: key[1].then_some(&module),
                source: key[2].then_some(&source),
                now: "2026-11-22T12:00:00Z".parse().unwrap(),
            };
            let straight = straight(text.as_bytes(), &context);
            let by_value = by_value(text.as_bytes(), &context);
            if let Some(event) = straight {
                prop_assert_eq!(Ok(event), by_value, "{}", text);
            } else if let Ok(event) = by_value {
                let nulls = Completed::ALL.map(|completed| format!("\"{}\":null", completed.field()));
                let is_for_the_other = ["\"usage\"", "\"response\""].iter().any(|it| text.contains(it))
                    || nulls.iter().any(|it| text.contains(it));
                prop_assert!(is_for_the_other, "{} {:?}", text, event);
            }
        }
    }
}
