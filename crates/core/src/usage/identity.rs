//! Pure: what makes two events with one id the same event.

use super::UsageEvent;
use crate::digest::{Canonical, Digest};

impl UsageEvent {
    /// The digest over everything that decides price, account or budget. Two events with one id and one billing digest
    /// are one event (a duplicate); with two digests they are a conflict. Latency, attempt, outcome, trace ids, the raw
    /// block and the producer's number have no bearing. `occurred_at` counts for native ids only, because a foreign id
    /// is retried by clients that stamp each attempt anew.
    #[must_use]
    pub fn billing_digest(&self) -> Digest {
        let mut canonical = self.subject("fluxori.billing.v1");
        for count in [
            self.input_tokens,
            self.cache_read_input_tokens,
            self.cache_write_5m_input_tokens,
            self.cache_write_1h_input_tokens,
            self.audio_input_tokens,
            self.image_input_tokens,
            self.cache_read_audio_input_tokens,
            self.cache_read_image_input_tokens,
            self.output_tokens,
            self.reasoning_output_tokens,
            self.audio_output_tokens,
            self.image_output_tokens,
        ] {
            canonical.number(count);
        }
        canonical.count(self.units.len());
        for (name, quantity) in &self.units {
            canonical.text(name).amount(quantity.scaled());
        }
        canonical.number(i64::from(self.revision));
        canonical.digest()
    }

    /// The digest over what an event that supersedes an uncertain one must have in common with it: everything that the
    /// billing digest covers but the quantities and the revision.
    #[must_use]
    pub fn subject_digest(&self) -> Digest {
        self.subject("fluxori.subject.v1").digest()
    }

    fn subject(&self, domain: &str) -> Canonical {
        let mut canonical = Canonical::new(domain);
        canonical
            .text(self.org_id.as_str())
            .optional_text(self.user_id.as_ref().map(|id| id.as_str()))
            .optional_text(self.team_id.as_ref().map(|id| id.as_str()))
            .text(self.module.as_str())
            .optional_text(self.feature.as_ref().map(|id| id.as_str()))
            .optional_text(self.run_id.as_ref().map(|id| id.as_str()))
            .count(self.tags.len());
        for (name, value) in &self.tags {
            canonical.text(name).text(value);
        }
        canonical
            .text(self.provider.as_str())
            .optional_text(self.provider_account.as_ref().map(|id| id.as_str()))
            .text(self.request_model.as_str())
            .optional_text(self.response_model.as_ref().map(|id| id.as_str()))
            .optional_text(self.service_tier.as_ref().map(|id| id.as_str()))
            .optional_text(self.region.as_ref().map(|id| id.as_str()))
            .flag(self.batch)
            .flag(self.own_key)
            .flag(self.served_from_cache)
            .optional_number(self.event_id.is_native().then(|| self.occurred_at.micros()));
        canonical
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;
    use crate::id::EventId;
    use crate::time::Timestamp;
    use crate::usage::UsageFields;

    fn digest(change: impl FnOnce(&mut UsageFields)) -> Digest {
        let mut fields = event();
        change(&mut fields);
        UsageEvent::new(fields).unwrap().billing_digest()
    }

    #[test]
    fn what_does_not_bear_on_the_price_does_not_change_the_digest() {
        let same = digest(|_| ());
        assert_eq!(same, digest(|e| e.latency_ms = Some(12)));
        assert_eq!(same, digest(|e| e.attempt = 3));
        assert_eq!(same, digest(|e| e.raw_usage = Some("{}".into())));
        assert_ne!(same, digest(|e| e.output_tokens += 1));
        assert_ne!(same, digest(|e| e.batch = true));
        assert_ne!(same, digest(|e| e.tags.insert("team".into(), "red".into()).map_or((), |_| ())));
    }

    #[test]
    fn the_time_counts_for_native_ids_and_not_for_foreign_ones() {
        let later = |e: &mut UsageFields| e.occurred_at = Timestamp::from_micros(e.occurred_at.micros() + 1);
        assert_ne!(digest(|_| ()), digest(later));
        let foreign =
            |e: &mut UsageFields| e.event_id = EventId::from_foreign(&e.org_id, &e.source, "call-7");
        assert_eq!(
            digest(foreign),
            digest(|e| {
                foreign(e);
                later(e);
            })
        );
    }
}
