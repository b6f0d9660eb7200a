//! The shipped card in force, and calls that it prices.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use fluxori_core::id::EventId;
use fluxori_core::pricing::{Charge, price};
use fluxori_core::rates::Rates;
use fluxori_core::usage::{UsageEvent, UsageFields};
use fluxori_rate_card::RateCard;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rates/2026-11")
}

pub(crate) fn shipped() -> &'static RateCard {
    static CARD: LazyLock<RateCard> = LazyLock::new(|| RateCard::read(&folder()).unwrap());
    &CARD
}

pub(crate) fn rates() -> &'static Rates {
    static RATES: LazyLock<Rates> = LazyLock::new(|| {
        let mut rates = Rates::default();
        rates.put_in_force(&shipped().revision, shipped().card.clone()).unwrap();
        rates
    });
    &RATES
}

/// What a call costs that differs from an empty one as `change` says.
pub(crate) fn charge(
    rates: &Rates,
    provider: &str,
    model: &str,
    at: &str,
    change: impl FnOnce(&mut UsageFields),
) -> Charge {
    let id = EventId::from_foreign(&"acme".parse().unwrap(), &"test".parse().unwrap(), "1");
    let mut fields = UsageFields::new(
        id,
        at.parse().unwrap(),
        "acme".parse().unwrap(),
        "test".parse().unwrap(),
        provider.parse().unwrap(),
        model.parse().unwrap(),
    );
    change(&mut fields);
    price(&UsageEvent::new(fields).unwrap(), rates).unwrap()
}

/// A file of the data sets, if they are there.
pub(crate) fn data(name: &str) -> Option<String> {
    let folder = std::env::var_os("FLUXORI_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|above| above.join("shared/data"));
    let found =
        folder.into_iter().chain(beside).map(|folder| folder.join(name)).find(|path| path.is_file())?;
    Some(std::fs::read_to_string(found).unwrap())
}
