//! Sends events as a module would, `emit` and go on, but paced, and waiting where a module would not.

use std::collections::{BTreeSet, VecDeque};
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fluxori_core::time::Timestamp;
use fluxori_core::usage::{UsageEvent, Violation};
use fluxori_emitter::{EmitError, Emitted, Emitter};
use serde::Serialize;

use crate::error::ProducerError;
use crate::progress::Progress;

/// An event is sent again after so many others, so that the two copies seldom travel together.
const DUPLICATE_LAG: u64 = 1_000;
/// Nothing acknowledged for so long, with events waiting: nobody is there.
const SILENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// How fast events are sent against the time between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// As fast as the broker takes them.
    Max,
    /// 1 is as it happened, 60 a minute in a second.
    Factor(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let factor = text.parse::<f64>().ok().filter(|factor| factor.is_finite() && *factor > 0.0);
        factor.map(Self::Factor).ok_or_else(|| "write `max`, or a factor above 0 such as 1 or 60".to_owned())
    }
}

/// How to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// How fast.
    pub(crate) speed: Speed,
    /// Every so many events, one is sent twice.
    pub(crate) duplicate_every: Option<u64>,
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Different events.
    pub(crate) emitted: u64,
    /// Of these, sent a second time.
    pub(crate) duplicates_sent: u64,
    /// Records that the broker has, duplicates included.
    pub(crate) acknowledged: u64,
    /// Records that it has not.
    pub(crate) failed: u64,
    /// Different orgs.
    pub(crate) orgs: usize,
    /// From the first event to the last acknowledgement.
    pub(crate) seconds: f64,
    /// Records acknowledged per second.
    pub(crate) events_per_s: f64,
    /// When the first event occurred.
    pub(crate) first_occurred_at: Option<Timestamp>,
    /// When the last one did.
    pub(crate) last_occurred_at: Option<Timestamp>,
}

/// Sends all events, waits until the broker has them, and says what was sent.
pub(crate) fn send(
    emitter: &Emitter,
    events: impl Iterator<Item = Result<UsageEvent, Violation>>,
    plan: Plan,
    progress: &mut Progress,
) -> Result<Summary, ProducerError> {
    let started = Instant::now();
    let mut orgs = BTreeSet::new();
    let mut again = VecDeque::new();
    let (mut emitted, mut duplicates_sent) = (0_u64, 0_u64);
    let (mut first, mut last) = (None, None);
    let mut silence = Silence::new();
    for event in events {
        let event = event?;
        let begin = *first.get_or_insert(event.occurred_at);
        last = Some(event.occurred_at);
        wait_until_due(started, begin, event.occurred_at, plan.speed, || progress.show(emitted, emitter));
        if !orgs.contains(&event.org_id) {
            orgs.insert(event.org_id.clone());
        }
        let copy = plan.duplicate_every.is_some_and(|every| (emitted + 1).is_multiple_of(every));
        if copy {
            again.push_back((emitted + DUPLICATE_LAG, event.clone()));
        }
        emit(emitter, event, &mut silence)?;
        emitted += 1;
        if let Some((_, event)) = again.pop_front_if(|(due, _)| *due <= emitted) {
            emit(emitter, event, &mut silence)?;
            duplicates_sent += 1;
        }
        progress.show(emitted, emitter);
    }
    for (_, event) in again {
        emit(emitter, event, &mut silence)?;
        duplicates_sent += 1;
    }
    while let Err(error) = emitter.close(Duration::from_millis(200)) {
        silence.check(emitter, &error)?;
        progress.show(emitted, emitter);
    }
    let counts = emitter.counts();
    let seconds = started.elapsed().as_secs_f64();
    let acknowledged = f64::from(u32::try_from(counts.acknowledged).unwrap_or(u32::MAX));
    Ok(Summary {
        emitted,
        duplicates_sent,
        acknowledged: counts.acknowledged,
        failed: counts.damaged + counts.dropped,
        orgs: orgs.len(),
        seconds: (seconds * 1e3).round() / 1e3,
        events_per_s: (acknowledged / seconds.max(1e-3)).round(),
        first_occurred_at: first,
        last_occurred_at: last,
    })
}

/// A call site would drop the event or keep it for later; a tool has the time to wait for room.
fn emit(emitter: &Emitter, event: UsageEvent, silence: &mut Silence) -> Result<(), ProducerError> {
    let mut event = event;
    loop {
        match emitter.emit(event) {
            Emitted::Accepted(_) | Emitted::Queued => return Ok(()),
            Emitted::Rejected { event: back, reason: reason @ EmitError::QueueFull { .. } } => {
                silence.check(emitter, &reason)?;
                event = *back;
                sleep(PAUSE);
            }
            Emitted::Rejected { reason, .. } => return Err(reason.into()),
        }
    }
}

/// Notices that no acknowledgement comes any more.
struct Silence {
    acknowledged: u64,
    since: Instant,
}

impl Silence {
    fn new() -> Self {
        Self { acknowledged: 0, since: Instant::now() }
    }

    fn check(&mut self, emitter: &Emitter, waiting_for: &EmitError) -> Result<(), ProducerError> {
        let counts = emitter.counts();
        if counts.acknowledged != self.acknowledged {
            *self = Self { acknowledged: counts.acknowledged, since: Instant::now() };
        }
        if self.since.elapsed() > SILENCE {
            return Err(ProducerError::Silence {
                brokers: emitter.options().brokers.clone(),
                seconds: SILENCE.as_secs(),
                waiting: waiting_for.to_string(),
            });
        }
        Ok(())
    }
}

fn wait_until_due(
    started: Instant,
    begin: Timestamp,
    at: Timestamp,
    speed: Speed,
    mut meanwhile: impl FnMut(),
) {
    let Speed::Factor(factor) = speed else { return };
    let since = Duration::from_micros(u64::try_from(at.micros() - begin.micros()).unwrap_or_default());
    let due = Duration::try_from_secs_f64(since.as_secs_f64() / factor).unwrap_or(Duration::MAX);
    loop {
        let ahead = due.saturating_sub(started.elapsed());
        if ahead.is_zero() {
            return;
        }
        sleep(ahead.min(Duration::from_millis(200)));
        meanwhile();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_max_or_a_factor_above_zero() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("60".parse(), Ok(Speed::Factor(60.0)));
        for wrong in ["0", "-1", "fast", "inf", "NaN", ""] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_paced_event_waits_for_its_time_and_a_late_one_does_not() {
        let begin = Timestamp::from_millis(0);
        let due = Timestamp::from_millis(6_000);
        let speed = Speed::Factor(60.0);
        let (started, mut naps) = (Instant::now(), 0);
        wait_until_due(started, begin, due, speed, || naps += 1);
        assert!(started.elapsed() >= Duration::from_millis(100) && naps > 0, "{:?}", started.elapsed());
        // 6 s at 60 times the speed are over by now.
        wait_until_due(started, begin, due, speed, || panic!("it waits"));
        wait_until_due(Instant::now(), begin, due, Speed::Max, || panic!("it waits"));
    }
}
