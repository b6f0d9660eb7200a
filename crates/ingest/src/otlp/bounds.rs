//! Pure: how much one request may hold, counted before it is unpacked: two bytes on the wire can be a span, which in memory
//! are two hundred.

use crate::{Reason, Rejection};

/// Most spans of a request; so many resources and scopes, too.
pub(super) const MAX_SPANS: usize = 100_000;
/// Most attributes of a span or a resource. OpenTelemetry's SDKs stop at 128.
pub(super) const MAX_ATTRIBUTES: usize = 1_000;

/// Counts what a request holds.
#[derive(Default)]
pub(super) struct Counted {
    resources: usize,
    scopes: usize,
    spans: usize,
}

impl Counted {
    pub(super) fn resource(&mut self) -> Result<(), Rejection> {
        count(&mut self.resources, "resources")
    }

    pub(super) fn scope(&mut self) -> Result<(), Rejection> {
        count(&mut self.scopes, "scopes")
    }

    pub(super) fn span(&mut self) -> Result<(), Rejection> {
        count(&mut self.spans, "spans")
    }
}

fn count(counted: &mut usize, what: &str) -> Result<(), Rejection> {
    *counted += 1;
    if *counted > MAX_SPANS {
        let detail = format!("the request holds more than {MAX_SPANS} {what}: send smaller batches");
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    Ok(())
}

pub(super) fn attributes(counted: usize, whose: &str) -> Result<(), Rejection> {
    if counted > MAX_ATTRIBUTES {
        let detail = format!("a {whose} has more than {MAX_ATTRIBUTES} attributes");
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    Ok(())
}

/// Counts in a request in protobuf, by the lengths alone; the numbers are those of the fields in [`super::wire`].
///
/// # Errors
/// [`Reason::TooLarge`], or [`Reason::Invalid`] where the lengths do not fit into each other.
pub(super) fn check(bytes: &[u8]) -> Result<(), Rejection> {
    let mut counted = Counted::default();
    for resource in Fields(bytes).numbered(1) {
        counted.resource()?;
        let mut of_resource = 0;
        for field in Fields(resource?) {
            match field? {
                (1, resource) => {
                    of_resource += Fields(resource).numbered(1).collect::<Counting>().0?;
                    attributes(of_resource, "resource")?;
                }
                (2, scope) => {
                    counted.scope()?;
                    for span in Fields(scope).numbered(2) {
                        counted.span()?;
                        attributes(Fields(span?).numbered(9).collect::<Counting>().0?, "span")?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// How many fields there are, if all can be told apart.
struct Counting(Result<usize, Rejection>);

impl<'b> FromIterator<Result<&'b [u8], Rejection>> for Counting {
    fn from_iter<I: IntoIterator<Item = Result<&'b [u8], Rejection>>>(fields: I) -> Self {
        Self(fields.into_iter().try_fold(0, |count, field| field.map(|_| count + 1)))
    }
}

/// The fields of a message: their numbers, and the contents of those that have a length.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn numbered(self, wanted: u64) -> impl Iterator<Item = Result<&'b [u8], Rejection>> {
        self.filter(move |field| field.as_ref().map_or(true, |(number, _)| *number == wanted))
            .map(|field| field.map(|(_, contents)| contents))
    }

    fn field(&mut self) -> Option<(u64, &'b [u8])> {
        let key = self.varint()?;
        let contents = match key & 7 {
            0 => self.varint().map(|_| &[][..])?,
            1 => self.take(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length)?
            }
            // The ends of a group: what is in it is looked at as if it stood here.
            3 | 4 => &[],
            5 => self.take(4)?,
            _ => return None,
        };
        Some((key >> 3, contents))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u64, &'b [u8]), Rejection>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.field().ok_or_else(|| {
            self.0 = &[];
            let detail =
                "the body is no ExportTraceServiceRequest in protobuf: a field is cut or has no known type";
            Rejection::new(Reason::Invalid, detail)
        }))
    }
}
