//! What a call will cost, before it is made: its tokens are counted for each model, and priced by the rates in force. Pure:
//! no clock, no I/O, no randomness.
//!
//! The same request over REST (`POST /v1/estimate`) and from the CLI (`credits estimate`) gives the same answer.

mod answer;
mod request;

pub use answer::{Estimates, Line, Refused};
pub use request::{EstimateRequest, InvalidRequest, MAX_COUNTED_BYTES, MAX_MODELS, ModelName};

use fluxori_core::estimate::{TokenRange, sort_by_price};
use fluxori_core::rates::Rates;
use fluxori_core::time::Timestamp;

use answer::line;

/// What the call costs with each of its models, the cheapest first.
///
/// # Errors
/// The request cannot be; what is wrong with one model alone is said beside it, in the answer.
pub fn estimate(
    request: &EstimateRequest,
    at: Timestamp,
    rates: &Rates,
) -> Result<Estimates, InvalidRequest> {
    let call = request.call(at)?;
    let counts = request.input()?.count(&request.models)?;
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for (name, counted) in request.models.iter().zip(counts) {
        let estimated = counted.map_err(|error| error.to_string()).and_then(|counted| {
            let range = TokenRange { expected: counted.expected, at_most: counted.at_most };
            let estimated = call.estimate(&name.provider, &name.model, range, rates);
            estimated.map(|estimated| (counted.basis, estimated)).map_err(|error| error.to_string())
        });
        match estimated {
            Ok((basis, estimated)) => found.push((name.clone(), basis, estimated)),
            Err(reason) => refused.push(Refused {
                provider: name.provider.to_string(),
                model: name.model.to_string(),
                reason,
            }),
        }
    }
    sort_by_price(&mut found, |(_, _, estimated)| &estimated.expected);
    Ok(Estimates {
        org_id: request.org_id.to_string(),
        at,
        rates_revision: rates.revisions().last().map(ToString::to_string),
        estimates: found.into_iter().map(|(name, basis, estimated)| line(&name, basis, estimated)).collect(),
        refused,
    })
}

#[cfg(test)]
mod tests;
