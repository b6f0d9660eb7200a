//! Pure: recorded requests as CSV, and when they happen again.

use std::time::Duration;

use chrono::NaiveDateTime;
use fluxori_core::time::Timestamp;
use fluxori_core::usage::MAX_QUANTITY;

use crate::generator::Tokens;

/// What stands between the last request of a trace and the first of its repetition, if one request is all there is.
const LONE_GAP: Duration = Duration::from_secs(1);

/// Names of columns as traces have them, compared by letters and digits alone.
const TIME: [&str; 6] = ["timestamp", "time", "occurredat", "datetime", "arrivaltime", "arrivedat"];
const INPUT: [&str; 7] = [
    "contexttokens",
    "inputtokens",
    "prompttokens",
    "requesttokens",
    "numprefilltokens",
    "inputlength",
    "input",
];
const OUTPUT: [&str; 7] = [
    "generatedtokens",
    "outputtokens",
    "completiontokens",
    "responsetokens",
    "numdecodetokens",
    "outputlength",
    "output",
];

/// One recorded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// When it was made.
    pub(crate) at: Timestamp,
    /// Its tokens.
    pub(crate) tokens: Tokens,
}

/// Recorded requests, in the order of time; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace(Vec<Request>);

/// Why a text is no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(crate) struct TraceError {
    line: usize,
    problem: String,
}

/// Where the columns are.
struct Columns {
    time: usize,
    input: usize,
    output: usize,
}

impl Trace {
    /// Reads a CSV with a header and columns for time (RFC 3339, or `YYYY-MM-DD HH:MM:SS.ffffff` in UTC), input and
    /// output tokens; other columns are ignored.
    pub(crate) fn parse(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let header =
            lines.next().map(|(_, header)| header.trim_start_matches('\u{feff}')).unwrap_or_default();
        let columns = Columns::find(header)?;
        let mut requests = Vec::new();
        for (line, text) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            requests.push(columns.read(text).map_err(|problem| TraceError { line, problem })?);
        }
        if requests.is_empty() {
            return Err(TraceError { line: 2, problem: "no request follows the header".to_owned() });
        }
        requests.sort_by_key(|request| request.at);
        Ok(Self(requests))
    }

    /// How many requests there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// `count` requests: the trace, again and again, one repetition after the other. `until` shifts them so that the
    /// last one happens then; without it they keep their times.
    pub(crate) fn requests(&self, count: u64, until: Option<Timestamp>) -> impl Iterator<Item = Request> {
        let length = u64::try_from(self.0.len()).unwrap_or(u64::MAX).max(1);
        let first = self.0.first().map(|request| request.at.micros()).unwrap_or_default();
        let span = self.0.last().map(|request| request.at.micros() - first).unwrap_or_default();
        // Between two repetitions lies what lies between two requests on the average.
        let steps = i64::try_from(length).unwrap_or(i64::MAX).saturating_sub(1);
        let lone = i64::try_from(LONE_GAP.as_micros()).unwrap_or(i64::MAX);
        let gap = span.checked_div(steps).unwrap_or(lone).max(1);
        let request = move |index: u64| {
            let place = usize::try_from(index % length).ok()?;
            let repetition = i64::try_from(index / length).ok()?;
            let request = self.0.get(place)?;
            let at = request.at.micros().saturating_add((span + gap).saturating_mul(repetition));
            Some(Request { at: Timestamp::from_micros(at), ..*request })
        };
        let last = count.checked_sub(1).and_then(request).map(|request| request.at.micros());
        let shift = until.zip(last).map_or(0, |(until, last)| until.micros().saturating_sub(last));
        (0..count).filter_map(request).map(move |request| Request {
            at: Timestamp::from_micros(request.at.micros().saturating_add(shift)),
            ..request
        })
    }
}

impl Columns {
    fn find(header: &str) -> Result<Self, TraceError> {
        let names: Vec<String> = header
            .split(',')
            .map(|name| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase())
            .collect();
        let find = |what: &str, known: &[&str]| {
            let place = known.iter().find_map(|known| names.iter().position(|name| name == known));
            place.ok_or_else(|| TraceError {
                line: 1,
                problem: format!(
                    "no column for {what} in the header `{}`; name it {}",
                    header.trim(),
                    known.get(..3).unwrap_or(known).join(" or ")
                ),
            })
        };
        Ok(Self {
            time: find("the time", &TIME)?,
            input: find("input tokens", &INPUT)?,
            output: find("output tokens", &OUTPUT)?,
        })
    }

    fn read(&self, line: &str) -> Result<Request, String> {
        let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let field = |place: usize| fields.get(place).copied().ok_or_else(|| "a column is missing".to_owned());
        let count = |place: usize, what: &str| {
            let text = field(place)?;
            let count = text.parse::<i64>().ok().filter(|count| (0..=MAX_QUANTITY).contains(count));
            count.ok_or_else(|| format!("{what} `{text}` is no count from 0 to {MAX_QUANTITY}"))
        };
        Ok(Request {
            at: time(field(self.time)?)?,
            tokens: Tokens {
                input: count(self.input, "input tokens")?,
                output: count(self.output, "output tokens")?,
            },
        })
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let plain = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    plain.map(|time| Timestamp::from(time.and_utc())).ok_or_else(|| {
        format!("`{text}` is no time; write 2026-11-22T16:00:00Z or 2026-11-22 16:00:00.000000 (UTC)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
        2023-11-16 18:17:03.9799600,4808,10\r\n\
        2023-11-16 18:17:04.0319600,3180,8\r\n\
        2023-11-16 18:17:05.9799600,110,27";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn columns_are_found_by_their_usual_names() {
        let trace = Trace::parse(AZURE).unwrap();
        assert_eq!(trace.len(), 3);
        assert_eq!(trace.0[0].at, at("2023-11-16T18:17:03.97996Z"));
        assert_eq!(trace.0[2].tokens, Tokens { input: 110, output: 27 });
        let other = "id,Output Tokens,\"Prompt_Tokens\",time\n7,27,110,2023-11-16T19:17:05.97996+01:00\n\n";
        assert_eq!(Trace::parse(other).unwrap().0, trace.0[2..]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let error = |text: &str| Trace::parse(text).unwrap_err().to_string();
        assert_eq!(
            error(""),
            "line 1: no column for the time in the header ``; name it timestamp or time or occurredat"
        );
        assert!(error("time,input\n").contains("output tokens"), "{}", error("time,input\n"));
        assert!(error("time,input,output\n").starts_with("line 2: no request"));
        let body = |row: &str| error(&format!("time,input,output\n2026-11-22T16:00:00Z,1,2\n{row}\n"));
        assert!(body("2026-11-22T16:00:00Z,1").starts_with("line 3: a column is missing"));
        assert!(body("2026-11-22T16:00:00Z,-1,2").starts_with("line 3: input tokens `-1`"));
        assert!(body("yesterday,1,2").starts_with("line 3: `yesterday` is no time"));
    }

    #[test]
    fn a_short_trace_is_repeated_and_the_last_request_is_now() {
        let trace = Trace::parse(AZURE).unwrap();
        let until = at("2026-11-22T12:00:00Z");
        let requests: Vec<Request> = trace.requests(7, Some(until)).collect();
        assert_eq!(requests.len(), 7);
        assert_eq!(requests[6].at, until);
        assert!(requests.is_sorted_by_key(|request| request.at));
        // Two seconds of trace, and a second between two repetitions.
        assert_eq!(requests[0].at, until.before(Duration::from_secs(6)));
        assert_eq!(requests[3].tokens, requests[0].tokens);
        assert_eq!(trace.requests(3, None).collect::<Vec<_>>(), trace.0);
    }
}
