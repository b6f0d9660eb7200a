//! Pure: how a price was found, for whoever asks.

use std::sync::Arc;

use super::{Call, Charge};
use crate::id::Model;
use crate::meter::Meter;
use crate::rates::{Audience, Found, Rates, Terms};

/// How the charge of a call came about, beside what the charge itself says.
#[derive(Debug, Clone)]
pub struct PricingTrace<'rates> {
    /// Which name led to the tier, and how; none where no model has a price.
    pub found: Option<Found<'rates>>,
    /// Where none has: the names most like it.
    pub nearest: Vec<Model>,
    /// The terms that fit, the most specific first.
    pub terms: Vec<&'rates Arc<Terms>>,
    /// How many input tokens made the context.
    pub context: i128,
    /// The longest length of context that was exceeded, if the tier has other rates above it.
    pub above: Option<i64>,
}

impl<'rates> PricingTrace<'rates> {
    /// Of a charge that these rates made for a call.
    #[must_use]
    pub fn of(call: &Call<'_>, charge: &Charge, rates: &'rates Rates) -> Self {
        let Call { subject, kind } = call;
        let found = rates.find(subject.provider, subject.models(), kind.variant(subject.org), subject.at);
        let terms = rates.terms_for(subject, found.as_ref().map(|found| &**found.tier)).collect();
        let is_context = |meter: Meter| meter.is_input_tokens();
        let counted = charge.lines.iter().filter(|line| is_context(line.meter));
        let context = counted.filter_map(|line| line.quantity.whole()).sum();
        let lengths =
            found.iter().flat_map(|found| &found.tier.price.above).map(|longer| longer.input_tokens);
        let above = lengths.filter(|length| context > i128::from(*length)).max();
        let unknown = || {
            subject
                .models()
                .next()
                .map(|name| rates.nearest(subject.provider, name, Audience::Org(subject.org)))
        };
        let nearest = if found.is_none() { unknown().unwrap_or_default() } else { Vec::new() };
        Self { found, nearest, terms, context, above }
    }
}
