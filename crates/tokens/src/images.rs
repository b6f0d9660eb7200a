//! Tokens of images, by the rules that the providers document. Sizes only: nothing is decoded.

use serde::Deserialize;

use crate::chat::Image;
use crate::estimate::Estimator;
use crate::limits::{Error, MAX_PIXELS};
use crate::model::{Maker, Model, Tokenizer};
use crate::total::Rule;

/// How closely an image is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// As the provider chooses; counted as [`Detail::High`].
    #[default]
    Auto,
    /// Once, small.
    Low,
    /// In full.
    High,
    /// Not scaled down: OpenAI's newest models. Counted as [`Detail::High`], and then only assumed.
    Original,
}

/// A rule by which a model's images are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Images {
    /// Fitted into 2048 x 2048, then its shorter side to 768, then tiles of 512: OpenAI, "Images and vision", "Calculating
    /// costs".
    Tiles { base: u64, tile: u64 },
    /// Fitted into 2048 x 2048, then patches of 32, at most so many, times so many per cent: the same guide.
    Patches { most: u64, percent: u64 },
    /// Patches of 28, scaled to a longer side and a number of patches: Anthropic, "Vision". The older rule of the same page,
    /// width x height / 750, is within 5 % of it.
    Claude { side: u64, most: u64 },
    /// 258 tokens a tile: Google, "Understand and count tokens". Small images are one tile; the side of a tile is two thirds
    /// of the image's shorter side, between 256 and 768.
    GeminiTiles,
    /// A number by resolution: Google, "Media resolution", for Gemini 3.
    GeminiFixed,
}

/// The size that an image of unknown size is counted as.
const LARGEST: (u64, u64) = (8_000, 8_000);

/// Tokens of an image, and whether its model's rule is documented and its size known.
pub(crate) fn count(model: &Model, image: &Image) -> Result<(u64, Rule), Error> {
    let (rule, documented) = rule(model);
    let (size, known) = match (image.width, image.height) {
        (Some(width), Some(height)) => {
            if width.min(height) == 0 || width.max(height) > MAX_PIXELS {
                return Err(Error::Image { width, height });
            }
            ((u64::from(width), u64::from(height)), true)
        }
        _ => (LARGEST, false),
    };
    let is_documented = documented && known && image.detail != Detail::Original;
    Ok((tokens(rule, size, image.detail), if is_documented { Rule::Documented } else { Rule::Assumed }))
}

/// The models that the guides name; what they do not name is counted as its nearest relation, and only assumed.
fn rule(model: &Model) -> (Images, bool) {
    let name = model.name();
    match model.maker() {
        Maker::OpenAi => openai(name),
        Maker::Anthropic => match model.tokenizer() {
            // Anthropic, "What's new in Claude Opus 4.7": 2576 pixels. Opus 4.7 is what the guide names.
            Tokenizer::Estimate(Estimator::Claude47) => {
                (Images::Claude { side: 2_576, most: 4_784 }, name.contains("4-7"))
            }
            _ => (Images::Claude { side: 1_568, most: 1_568 }, true),
        },
        Maker::Google if name.starts_with("gemini-2") || name.starts_with("gemini-1") => {
            (Images::GeminiTiles, true)
        }
        Maker::Google => (Images::GeminiFixed, name.starts_with("gemini-3")),
        _ => (Images::Claude { side: 1_568, most: 1_568 }, false),
    }
}

fn openai(name: &str) -> (Images, bool) {
    const RULES: [(&str, Images); 16] = [
        ("gpt-5-mini", Images::Patches { most: 1_536, percent: 162 }),
        ("gpt-5-nano", Images::Patches { most: 1_536, percent: 246 }),
        ("gpt-4.1-mini", Images::Patches { most: 1_536, percent: 162 }),
        ("gpt-4.1-nano", Images::Patches { most: 1_536, percent: 246 }),
        ("o4-mini", Images::Patches { most: 1_536, percent: 172 }),
        ("gpt-4o-mini", Images::Tiles { base: 2_833, tile: 5_667 }),
        ("gpt-4o", Images::Tiles { base: 85, tile: 170 }),
        ("chatgpt-4o", Images::Tiles { base: 85, tile: 170 }),
        ("gpt-4.1", Images::Tiles { base: 85, tile: 170 }),
        ("gpt-4.5", Images::Tiles { base: 85, tile: 170 }),
        ("gpt-4-turbo", Images::Tiles { base: 85, tile: 170 }),
        ("gpt-5-chat", Images::Tiles { base: 70, tile: 140 }),
        ("gpt-5-20", Images::Tiles { base: 70, tile: 140 }),
        ("o1", Images::Tiles { base: 75, tile: 150 }),
        ("o3", Images::Tiles { base: 75, tile: 150 }),
        ("computer-use", Images::Tiles { base: 65, tile: 129 }),
    ];
    if name == "gpt-5" {
        return (Images::Tiles { base: 70, tile: 140 }, true);
    }
    // The guide gives 5.4 and later 2500 patches, and 5.2 less; it gives them no multiplier, but bills show 1.2.
    let known = RULES.iter().find(|(prefix, _)| name.starts_with(prefix));
    known.map_or((Images::Patches { most: 2_500, percent: 120 }, false), |(_, rule)| (*rule, true))
}

fn tokens(rule: Images, (width, height): (u64, u64), detail: Detail) -> u64 {
    match rule {
        Images::Tiles { base, .. } if detail == Detail::Low => base,
        Images::Tiles { base, tile } => {
            let (width, height) = shrink((width, height), width.max(height), 2_048);
            let (width, height) = shrink((width, height), width.min(height), 768);
            base + tile * width.div_ceil(512) * height.div_ceil(512)
        }
        Images::Patches { most, percent } => {
            let (width, height) = shrink((width, height), width.max(height), 2_048);
            (openai_patches(width, height, most) * percent).div_ceil(100)
        }
        Images::Claude { side, most } => {
            let (width, height) = shrink((width, height), width.max(height), side);
            claude_patches(width, height, most)
        }
        Images::GeminiTiles if width <= 384 && height <= 384 => 258,
        Images::GeminiTiles => {
            let side = (width.min(height) * 2 / 3).clamp(256, 768);
            258 * width.div_ceil(side) * height.div_ceil(side)
        }
        Images::GeminiFixed => {
            if detail == Detail::Low {
                280
            } else {
                1_120
            }
        }
    }
}

/// Scaled so that `side` becomes `most` if it is longer; never to nothing.
fn shrink((width, height): (u64, u64), side: u64, most: u64) -> (u64, u64) {
    if side <= most {
        return (width, height);
    }
    let scaled = |length: u64| (length * most / side).max(1);
    (scaled(width), scaled(height))
}

/// Patches of 32 pixels; of an image that has more than `most`, as the guide's formula scales it: so that the side that loses
/// more by rounding down has whole patches.
fn openai_patches(width: u64, height: u64, most: u64) -> u64 {
    let all = width.div_ceil(32) * height.div_ceil(32);
    if all <= most {
        return all;
    }
    let (across, down) = ((most * width / height).isqrt().max(1), (most * height / width).isqrt().max(1));
    let scaled = if across * height < down * width {
        across * (across * height).div_ceil(width)
    } else {
        down * (down * width).div_ceil(height)
    };
    scaled.min(most)
}

/// Patches of 28 pixels; of an image that has more than `most`, as many as fit in its proportion.
fn claude_patches(width: u64, height: u64, most: u64) -> u64 {
    let all = width.div_ceil(28) * height.div_ceil(28);
    if all <= most {
        return all;
    }
    let column = |across: u64| (across * height).div_ceil(width);
    let widest = (1..=most).take_while(|across| across * column(*across) <= most).last().unwrap_or(1);
    (widest * column(widest)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens_of(model: &str, width: u32, height: u32, detail: Detail) -> u64 {
        let image = Image { width: Some(width), height: Some(height), detail };
        count(&Model::named("", model), &image).unwrap().0
    }

    #[test]
    fn images_cost_what_the_providers_examples_say() {
        // OpenAI's guide: 1024 x 1024 in high detail, 2048 x 4096, and any in low detail.
        assert_eq!(tokens_of("gpt-4o", 1_024, 1_024, Detail::High), 765);
        assert_eq!(tokens_of("gpt-4o", 2_048, 4_096, Detail::High), 1_105);
        assert_eq!(tokens_of("gpt-4o", 4_096, 8_192, Detail::Low), 85);
        assert_eq!(tokens_of("gpt-5", 1_024, 1_024, Detail::Auto), 630);
        // The same guide: 1024 x 1024 are 1024 patches, 1800 x 2400 are 1452.
        assert_eq!(tokens_of("gpt-4.1-mini", 1_024, 1_024, Detail::High), 1_659);
        assert_eq!(tokens_of("gpt-4.1-mini", 1_800, 2_400, Detail::High), 2_353);
        // Anthropic's guide: 200 x 200, 1000 x 1000 and 1092 x 1092 are about 54, 1334 and 1590.
        assert_eq!(tokens_of("claude-sonnet-4-5", 200, 200, Detail::Auto), 64);
        assert_eq!(tokens_of("claude-sonnet-4-5", 1_000, 1_000, Detail::Auto), 1_296);
        assert_eq!(tokens_of("claude-sonnet-4-5", 1_092, 1_092, Detail::Auto), 1_521);
        assert_eq!(tokens_of("claude-sonnet-4-5", 1_920, 1_080, Detail::Auto), 1_560);
        assert_eq!(tokens_of("claude-opus-4-7", 1_920, 1_080, Detail::Auto), 2_691);
        // Google's guide: small ones are 258; 960 x 540 are six tiles of 360.
        assert_eq!(tokens_of("gemini-2.5-pro", 384, 384, Detail::Auto), 258);
        assert_eq!(tokens_of("gemini-2.5-pro", 960, 540, Detail::Auto), 6 * 258);
        assert_eq!(tokens_of("gemini-3-pro", 960, 540, Detail::Auto), 1_120);
    }

    #[test]
    fn an_image_of_unknown_size_or_rule_is_only_assumed_and_one_of_no_size_an_error() {
        let known = Image { width: Some(640), height: Some(480), detail: Detail::Auto };
        let rule = |model: &str, image: &Image| count(&Model::named("", model), image).unwrap();
        assert_eq!(rule("gpt-4o", &known).1, Rule::Documented);
        assert_eq!(rule("gpt-4o", &Image::default()), (85 + 4 * 170, Rule::Assumed));
        assert_eq!(rule("pixtral-12b-2409", &known).1, Rule::Assumed);
        assert_eq!(rule("gpt-7", &known).1, Rule::Assumed);
        let empty = Image { width: Some(0), ..known };
        let error = count(&Model::named("", "gpt-4o"), &empty).unwrap_err();
        assert_eq!(error, Error::Image { width: 0, height: 480 });
        let extreme = Image { width: Some(MAX_PIXELS), height: Some(1), detail: Detail::High };
        for model in ["gpt-4o", "o4-mini", "claude-opus-4-7", "gemini-2.5-pro", "gemini-3-pro"] {
            assert!(rule(model, &extreme).0 < 150_000, "{model}");
        }
    }
}
