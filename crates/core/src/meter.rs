//! Pure: what is counted and priced.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What one line of a charge counts. The classes of tokens are disjoint: every token of a call is in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// Input tokens of text that were neither read from nor written to a cache.
    Input,
    /// Input tokens read from the provider's cache, of text or of an unknown medium.
    CacheRead,
    /// Input tokens written to the cache for 5 minutes.
    #[serde(rename = "cache_write_5m")]
    CacheWrite5m,
    /// Input tokens written to the cache for 1 hour.
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    /// Input tokens that are audio.
    AudioInput,
    /// Input tokens that are images.
    ImageInput,
    /// Input tokens of audio read from the provider's cache.
    CacheReadAudio,
    /// Input tokens of images read from the provider's cache.
    CacheReadImage,
    /// Output tokens of text other than reasoning.
    Output,
    /// Reasoning tokens.
    Reasoning,
    /// Output tokens that are audio.
    AudioOutput,
    /// Output tokens that are images.
    ImageOutput,
    /// Images.
    Images,
    /// Seconds of audio.
    AudioSeconds,
    /// Seconds of video.
    VideoSeconds,
    /// Characters.
    Characters,
    /// Pages.
    Pages,
    /// Searches.
    Searches,
    /// Requests. An event that does not count them is one.
    Requests,
    /// Units that these rules have no name for; they never have a rate.
    OtherUnits,
}

/// A name that is no meter with a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no unit that can have a rate: use one of {names}", names = Meter::rated().map(Meter::as_str).collect::<Vec<_>>().join(", "))]
pub struct UnknownMeter(String);

impl Meter {
    /// Every meter.
    pub const ALL: [Self; 20] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::AudioInput,
        Self::ImageInput,
        Self::CacheReadAudio,
        Self::CacheReadImage,
        Self::Output,
        Self::Reasoning,
        Self::AudioOutput,
        Self::ImageOutput,
        Self::Images,
        Self::AudioSeconds,
        Self::VideoSeconds,
        Self::Characters,
        Self::Pages,
        Self::Searches,
        Self::Requests,
        Self::OtherUnits,
    ];

    /// The meters that a rate card can have rates for.
    pub fn rated() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|meter| *meter != Self::OtherUnits)
    }

    /// The name in rate cards and postings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::ImageInput => "image_input",
            Self::CacheReadAudio => "cache_read_audio",
            Self::CacheReadImage => "cache_read_image",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
            Self::ImageOutput => "image_output",
            Self::Images => "images",
            Self::AudioSeconds => "audio_seconds",
            Self::VideoSeconds => "video_seconds",
            Self::Characters => "characters",
            Self::Pages => "pages",
            Self::Searches => "searches",
            Self::Requests => "requests",
            Self::OtherUnits => "other_units",
        }
    }

    /// The meter of a named unit of a usage event.
    #[must_use]
    pub fn of_unit(name: &str) -> Self {
        match name {
            "images" => Self::Images,
            "audio_seconds" => Self::AudioSeconds,
            "video_seconds" => Self::VideoSeconds,
            "characters" => Self::Characters,
            "pages" => Self::Pages,
            "searches" => Self::Searches,
            "requests" => Self::Requests,
            _ => Self::OtherUnits,
        }
    }

    /// Whether it counts tokens: its rate is for a million of them. The rates of all others are for one unit.
    #[must_use]
    pub const fn is_tokens(self) -> bool {
        self.is_input_tokens()
            || matches!(self, Self::Output | Self::Reasoning | Self::AudioOutput | Self::ImageOutput)
    }

    /// Whether it counts input tokens, which make the length of the context.
    #[must_use]
    pub const fn is_input_tokens(self) -> bool {
        matches!(
            self,
            Self::Input
                | Self::CacheRead
                | Self::CacheWrite5m
                | Self::CacheWrite1h
                | Self::AudioInput
                | Self::ImageInput
                | Self::CacheReadAudio
                | Self::CacheReadImage
        )
    }

    /// Whose rate holds where this meter has none of its own.
    #[must_use]
    pub const fn parent(self) -> Option<Self> {
        match self {
            Self::CacheRead | Self::CacheWrite5m | Self::AudioInput | Self::ImageInput => Some(Self::Input),
            Self::CacheWrite1h => Some(Self::CacheWrite5m),
            Self::CacheReadAudio | Self::CacheReadImage => Some(Self::CacheRead),
            Self::Reasoning | Self::AudioOutput | Self::ImageOutput => Some(Self::Output),
            Self::Input
            | Self::Output
            | Self::Images
            | Self::AudioSeconds
            | Self::VideoSeconds
            | Self::Characters
            | Self::Pages
            | Self::Searches
            | Self::Requests
            | Self::OtherUnits => None,
        }
    }

    /// This meter, its parent, and so on: the first of them that has a rate is the one that is charged.
    pub fn with_parents(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |meter| meter.parent())
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Meter {
    type Err = UnknownMeter;

    /// Of a meter that can have a rate.
    fn from_str(name: &str) -> Result<Self, UnknownMeter> {
        Self::rated().find(|meter| meter.as_str() == name).ok_or_else(|| UnknownMeter(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meter_reads_and_writes_under_its_name() {
        for meter in Meter::ALL {
            let json = serde_json::to_string(&meter).unwrap();
            assert_eq!(json, format!("\"{meter}\""));
            assert_eq!(serde_json::from_str::<Meter>(&json).unwrap(), meter);
            assert_eq!(meter.as_str().parse::<Meter>().is_ok(), meter != Meter::OtherUnits);
        }
        let unknown = "tokens".parse::<Meter>().unwrap_err().to_string();
        assert!(unknown.contains("`tokens`") && unknown.contains("cache_write_5m"), "{unknown}");
    }
}
