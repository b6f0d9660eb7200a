//! Pure: drawing from distributions.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand_distr::{Distribution as _, StandardNormal};

/// Indices, each as likely as its weight says.
#[derive(Debug, Clone)]
pub(super) struct Weighted {
    cumulative: Vec<f64>,
}

impl Weighted {
    /// Weights that are negative count as zero.
    pub(super) fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut total = 0.0;
        let sums = weights.into_iter().map(|weight| {
            total += weight.max(0.0);
            total
        });
        Self { cumulative: sums.collect() }
    }

    /// Weights after Zipf's law: the first index is the likeliest.
    pub(super) fn zipf(count: usize, exponent: f64) -> Self {
        Self::new((1..=count).map(|rank| zipf_weight(rank, exponent)))
    }

    pub(super) fn total(&self) -> f64 {
        self.cumulative.last().copied().unwrap_or_default()
    }

    pub(super) fn draw(&self, rng: &mut StdRng) -> usize {
        self.at(rng.random::<f64>()).0
    }

    /// The index at a share of the total weight, and how far into the index' own weight that is; both in [0, 1).
    pub(super) fn at(&self, share: f64) -> (usize, f64) {
        let target = share * self.total();
        let last = self.cumulative.len().saturating_sub(1);
        let index = self.cumulative.partition_point(|sum| *sum <= target).min(last);
        let begin =
            index.checked_sub(1).and_then(|before| self.cumulative.get(before)).copied().unwrap_or(0.0);
        let width = self.cumulative.get(index).map_or(0.0, |end| end - begin);
        let fraction = if width > 0.0 { ((target - begin) / width).clamp(0.0, 1.0) } else { 0.0 };
        (index, fraction)
    }
}

/// The weight of a rank, from 1, after Zipf's law.
pub(super) fn zipf_weight(rank: usize, exponent: f64) -> f64 {
    let rank = u32::try_from(rank).unwrap_or(u32::MAX);
    f64::from(rank.max(1)).powf(-exponent)
}

/// A log-normal quantity around its median, from 1 to `most`.
pub(super) fn log_normal(rng: &mut StdRng, median: f64, sigma: f64, most: u32) -> i64 {
    let normal: f64 = StandardNormal.sample(rng);
    rounded(median * (sigma * normal).exp(), most).max(1)
}

/// A share of a whole, between `least` and `most` of it, never more than the whole.
pub(super) fn part(rng: &mut StdRng, whole: i64, least: f64, most: f64) -> i64 {
    let share = rng.random_range(least..=most);
    let whole = u32::try_from(whole.max(0)).unwrap_or(u32::MAX);
    rounded(f64::from(whole) * share, whole)
}

pub(super) fn chance(rng: &mut StdRng, probability: f64) -> bool {
    rng.random::<f64>() < probability
}

/// Rounds to a whole number from 0 to `most`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "clamped to a range of whole numbers that f64 holds exactly"
)]
pub(super) fn rounded(value: f64, most: u32) -> i64 {
    value.round().clamp(0.0, f64::from(most)) as i64
}

/// Uniform numbers in [0, 1), in ascending order, drawn one after the other.
pub(super) struct Ascending {
    left: u64,
    last: f64,
}

impl Ascending {
    pub(super) const fn new(count: u64) -> Self {
        Self { left: count, last: 0.0 }
    }

    /// The next order statistic: the least of the `left` numbers that lie above the last one.
    pub(super) fn next(&mut self, rng: &mut StdRng) -> Option<f64> {
        let left = f64::from(u32::try_from(self.left).unwrap_or(u32::MAX));
        self.left = self.left.checked_sub(1)?;
        let gap = (1.0 - rng.random::<f64>()).powf(left.recip());
        self.last = 1.0 - (1.0 - self.last) * gap;
        Some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn an_index_is_drawn_as_often_as_its_weight_says() {
        let weighted = Weighted::new([3.0, 0.0, 1.0]);
        let mut rng = StdRng::seed_from_u64(7);
        let mut drawn = [0_u32; 3];
        for _ in 0..10_000 {
            drawn[weighted.draw(&mut rng)] += 1;
        }
        assert_eq!(drawn[1], 0);
        assert!((7_300..7_700).contains(&drawn[0]), "{drawn:?}");
        assert_eq!(weighted.at(0.375), (0, 0.5));
    }

    #[test]
    fn ascending_numbers_are_spread_evenly() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut numbers = Ascending::new(10_000);
        let drawn: Vec<f64> = std::iter::from_fn(|| numbers.next(&mut rng)).collect();
        assert_eq!(drawn.len(), 10_000);
        assert!(drawn.is_sorted() && drawn[9_999] < 1.0);
        let low = drawn.iter().filter(|number| **number < 0.25).count();
        assert!((2_300..2_700).contains(&low), "{low}");
    }
}
