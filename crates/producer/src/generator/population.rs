//! Pure: orgs and users of very different size.

use fluxori_core::id::{IdError, OrgId, TeamId, UserId};
use fluxori_core::time::Timestamp;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::draw::{Weighted, log_normal, zipf_weight};
use super::rhythm::Region;

/// The first org uses so much more than the others, after Zipf's law.
const ORGS_EXPONENT: f64 = 1.05;
const USERS_EXPONENT: f64 = 0.9;
/// Users of the largest org, in the median; others have fewer, by the root of their size.
const USERS_OF_THE_LARGEST: f64 = 250.0;
const USERS_PER_TEAM: usize = 8;

/// Who calls.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) org: OrgId,
    pub(super) user: UserId,
    pub(super) team: TeamId,
}

struct Org {
    users: Vec<User>,
    draw: Weighted,
}

/// All orgs, by the region where they work.
pub(super) struct Population {
    regions: Vec<(Region, Vec<Org>, Weighted)>,
}

impl Population {
    /// `count` orgs named PREFIX-000, PREFIX-001 and so on, the largest first.
    pub(super) fn new(count: u32, prefix: &str, rng: &mut StdRng) -> Result<Self, IdError> {
        let mut regions: Vec<_> = Region::ALL.map(|region| (region, Vec::new(), Vec::new())).into();
        let choice = Weighted::new([0.45, 0.40, 0.15]);
        for index in 0..count {
            let weight =
                zipf_weight(usize::try_from(index).unwrap_or(usize::MAX).saturating_add(1), ORGS_EXPONENT);
            let org = Org::new(&format!("{prefix}-{index:03}"), weight, rng)?;
            if let Some((_, orgs, weights)) = regions.get_mut(choice.draw(rng)) {
                orgs.push(org);
                weights.push(weight);
            }
        }
        let regions =
            regions.into_iter().map(|(region, orgs, weights)| (region, orgs, Weighted::new(weights)));
        Ok(Self { regions: regions.collect() })
    }

    /// How busy everybody is at an instant.
    pub(super) fn activity(&self, at: Timestamp) -> f64 {
        self.by_region(at).total()
    }

    /// Who calls at an instant.
    pub(super) fn caller(&self, at: Timestamp, rng: &mut StdRng) -> Option<&User> {
        let (_, orgs, draw) = self.regions.get(self.by_region(at).draw(rng))?;
        let org = orgs.get(draw.draw(rng))?;
        org.users.get(org.draw.draw(rng))
    }

    fn by_region(&self, at: Timestamp) -> Weighted {
        Weighted::new(self.regions.iter().map(|(region, _, orgs)| orgs.total() * region.activity(at)))
    }
}

impl Org {
    fn new(name: &str, weight: f64, rng: &mut StdRng) -> Result<Self, IdError> {
        let org = OrgId::new(name)?;
        let count = log_normal(rng, USERS_OF_THE_LARGEST * weight.sqrt(), 0.6, 2_000);
        let count = usize::try_from(count).unwrap_or(1);
        let teams = count.div_ceil(USERS_PER_TEAM);
        let users = (0..count).map(|index| {
            Ok(User {
                org: org.clone(),
                user: UserId::new(&format!("user-{index:04}"))?,
                team: TeamId::new(&format!("team-{:02}", rng.random_range(0..teams)))?,
            })
        });
        Ok(Self {
            users: users.collect::<Result<_, IdError>>()?,
            draw: Weighted::zipf(count, USERS_EXPONENT),
        })
    }
}
