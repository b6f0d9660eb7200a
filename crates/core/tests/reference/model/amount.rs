//! Exact amounts: whole numbers of 10^-12 credits.

use fluxori_core::amount::Credits;

pub(crate) type Amount = i128;

/// One credit.
pub(crate) const ONE: Amount = 1_000_000_000_000;

pub(crate) fn of(credits: Credits) -> Amount {
    credits.to_scaled()
}

/// `amount * part / whole`, rounded half to even.
pub(crate) fn share(amount: Amount, part: i128, whole: i128) -> Amount {
    let product = amount * part;
    let below = product.div_euclid(whole);
    let twice_the_rest = 2 * product.rem_euclid(whole);
    if twice_the_rest > whole || (twice_the_rest == whole && below % 2 != 0) { below + 1 } else { below }
}
