//! Pure: what a usage event used, every token and unit in one line.

use std::collections::BTreeMap;

use crate::meter::Meter;
use crate::usage::{Quantities, Quantity, TokenCounts};

/// How much of each meter was used, in the order of meters; the classes are disjoint.
pub(super) type Used = Vec<(Meter, Quantity)>;

/// What these quantities are by meter.
pub(super) fn used(quantities: &Quantities) -> Used {
    of(&quantities.tokens, &quantities.units)
}

/// As [`used`], of quantities that lie apart.
pub(super) fn of(tokens: &TokenCounts, units: &BTreeMap<String, Quantity>) -> Used {
    let mut used = Vec::with_capacity(6);
    for (meter, count) in classes(tokens) {
        if count > 0 {
            used.push((meter, Quantity::of_tokens(count)));
        }
    }
    let mut others = Quantity::ZERO;
    for (name, quantity) in units {
        match Meter::of_unit(name) {
            Meter::OtherUnits => others.0 += quantity.0,
            // That there was no request is said, and so there is not one.
            meter @ Meter::Requests => used.push((meter, *quantity)),
            meter if !quantity.0.is_zero() => used.push((meter, *quantity)),
            _ => (),
        }
    }
    if !others.0.is_zero() {
        used.push((Meter::OtherUnits, others));
    }
    if !units.is_empty() {
        used.sort_by_key(|(meter, _)| *meter);
    }
    used
}

/// A call is one request, unless it says how many: where requests have a rate, that is one more line.
pub(super) fn with_request(mut used: Used, have_rate: bool) -> Used {
    if have_rate && used.iter().all(|(meter, _)| *meter != Meter::Requests) {
        let place = used.partition_point(|(meter, _)| *meter < Meter::Requests);
        used.insert(place, (Meter::Requests, Quantity::ONE));
    }
    used
}

/// The tokens of each class. What is cached and of a medium is counted as cached; where an event does not say how much
/// that is, it is the least that its totals allow, so that no token is in two lines.
fn classes(tokens: &TokenCounts) -> [(Meter, i64); 12] {
    let cached = tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h;
    let audio = tokens.audio_input - tokens.cache_read_audio;
    let image = tokens.image_input - tokens.cache_read_image;
    let overlap = (cached + audio + image - tokens.input).max(0);
    let cached_audio = overlap.min(audio);
    let (audio, image) = (audio - cached_audio, (image - (overlap - cached_audio)).max(0));
    let media_output = tokens.audio_output + tokens.image_output;
    let reasoning = tokens.reasoning.min(tokens.output - media_output);
    [
        (Meter::Input, tokens.input - cached - audio - image),
        (Meter::CacheRead, tokens.cache_read - tokens.cache_read_audio - tokens.cache_read_image),
        (Meter::CacheWrite5m, tokens.cache_write_5m),
        (Meter::CacheWrite1h, tokens.cache_write_1h),
        (Meter::AudioInput, audio),
        (Meter::ImageInput, image),
        (Meter::CacheReadAudio, tokens.cache_read_audio),
        (Meter::CacheReadImage, tokens.cache_read_image),
        (Meter::Output, tokens.output - reasoning - media_output),
        (Meter::Reasoning, reasoning),
        (Meter::AudioOutput, tokens.audio_output),
        (Meter::ImageOutput, tokens.image_output),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::usage::Quantities;

    prop_compose! {
        fn tokens()(input in 0..1000_i64, output in 0..1000_i64, parts in prop::array::uniform10(0..1000_i64)) -> TokenCounts {
            let [read, write_5m, write_1h, audio, image, read_audio, read_image, reasoning, audio_out, image_out] = parts;
            let part = |part: i64, of: i64| if of > 0 { part % (of + 1) } else { 0 };
            let cache_read = part(read, input);
            let cache_write_5m = part(write_5m, input - cache_read);
            let audio_input = part(audio, input);
            let image_input = part(image, input - audio_input);
            let cache_read_audio = part(read_audio, cache_read.min(audio_input));
            let audio_output = part(audio_out, output);
            TokenCounts {
                input,
                cache_read,
                cache_write_5m,
                cache_write_1h: part(write_1h, input - cache_read - cache_write_5m),
                audio_input,
                image_input,
                cache_read_audio,
                cache_read_image: part(read_image, (cache_read - cache_read_audio).min(image_input)),
                output,
                reasoning: part(reasoning, output),
                audio_output,
                image_output: part(image_out, output - audio_output),
            }
        }
    }

    proptest! {
        #[test]
        fn every_token_is_in_one_line(tokens in tokens()) {
            let quantities = Quantities { tokens, units: BTreeMap::new() };
            prop_assert!(quantities.check().is_ok());
            let classes = classes(&tokens);
            prop_assert!(classes.iter().all(|(_, count)| *count >= 0), "{classes:?}");
            let sum = |input| classes.iter().filter(|(meter, _)| meter.is_input_tokens() == input).map(|(_, count)| count).sum::<i64>();
            prop_assert_eq!(sum(true), tokens.input);
            prop_assert_eq!(sum(false), tokens.output);
        }
    }
}
