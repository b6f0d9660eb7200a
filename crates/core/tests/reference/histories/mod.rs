//! Random histories: abstract steps, made concrete while they run.
//!
//! A step names what it works on by an index into whatever there is when its turn comes, so that steps can be left out and
//! made smaller (shrinking) and the rest still means something.

mod concrete;
mod strategies;
mod values;

use fluxori_core::command::{AllocationKind, OverdraftPolicy, Share};
use fluxori_core::usage::Certainty;

pub(crate) use concrete::History;
pub(crate) use strategies::steps;

/// Which org, and which of the things that it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of {
    pub(crate) org: usize,
    pub(crate) index: usize,
}

/// What a call used and how it is to be accounted for.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) model: usize,
    pub(crate) tokens: Tokens,
    /// Minutes before now at which it occurred; negative: ahead of the clock.
    pub(crate) ago: i64,
    pub(crate) user: usize,
    pub(crate) module: usize,
    pub(crate) feature: bool,
    pub(crate) certainty: Certainty,
    pub(crate) variant: Variant,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens {
    pub(crate) input: i64,
    pub(crate) cached: i64,
    pub(crate) output: i64,
    /// Of which reasoning, audio or written to a cache.
    pub(crate) special: i64,
    pub(crate) pages: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Variant {
    Plain,
    OwnKey,
    FromCache,
    Batch,
    /// The event is the second of its id, and comes first.
    Revision2,
    /// More than an event can cost.
    Absurd,
}

/// How an event that came before comes again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Twist {
    Same,
    NoBearing,
    OtherTokens,
    OtherUser,
    Supersedes { tokens: Tokens, certainty: Certainty },
    SupersedesAnotherUsers { tokens: Tokens },
    Revision1 { tokens: Tokens },
}

/// Amounts are quarters of credits, and perhaps a very little more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quarters {
    pub(crate) count: i32,
    pub(crate) more: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) kind: AllocationKind,
    pub(crate) amount: Quarters,
    pub(crate) priority: i32,
    /// 0: everything; else something narrower.
    pub(crate) scope: usize,
    pub(crate) purchased: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) id: usize,
    pub(crate) terms: Terms,
    pub(crate) share: Share,
    pub(crate) max_rollover: i32,
    /// Its periods are an hour long, rather than half of one.
    pub(crate) hour: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct NewPlan {
    pub(crate) items: Vec<Item>,
    pub(crate) trial: bool,
    pub(crate) seats: u32,
    pub(crate) users: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum PeriodTwist {
    Right,
    /// Of a plan that is not in force any more.
    Stale,
    /// A minute too late.
    Gap,
    WrongAmount,
    WrongAccount,
    /// To an org without the plan, perhaps one that is not open.
    OtherOrg,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// An event that came.
    Known(usize),
    /// One that is about to come.
    Coming(u32),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum RightIs {
    Nothing,
    Used(Tokens),
    Absurd,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Tick,
    PassMinutes(u64),
    PassMicros(u64),
    PassHours(u64),
    PassDays(u64),
    /// The next record's append time lies before the last one's.
    GoBack(u64),
    Usage {
        org: usize,
        call: Call,
    },
    Again {
        event: usize,
        twist: Twist,
    },
    WrongKey {
        org: usize,
        call: Call,
    },
    Unreadable {
        org: usize,
    },
    Grant {
        org: usize,
        account: usize,
        terms: Terms,
        start: i64,
        lasts: Option<u64>,
    },
    OpenOrg {
        org: usize,
        overdraft: Option<OverdraftPolicy>,
        grace: u64,
    },
    SetPolicy {
        org: usize,
        overdraft: Option<OverdraftPolicy>,
        grace: u64,
    },
    Adjust {
        of: Of,
        amount: Quarters,
    },
    Transfer {
        of: Of,
        to: usize,
        amount: Quarters,
    },
    Extend {
        of: Of,
        by: Option<i64>,
    },
    Suspend {
        org: usize,
        account: usize,
        resume: bool,
    },
    SetPlan {
        org: usize,
        plan: Option<NewPlan>,
        ago: i64,
    },
    /// The plan as it is, with other seats and users.
    ChangePlan {
        org: usize,
        seats: u32,
        users: usize,
        ago: i64,
    },
    Period {
        of: Of,
        twist: PeriodTwist,
        own_id: bool,
    },
    Correct {
        org: usize,
        target: Target,
        older: bool,
        right: RightIs,
    },
    Reprice {
        org: usize,
        /// From which of the charged events on, and how many.
        first: usize,
        count: usize,
        /// Revisions of charges, and of the rates, as they were before.
        older: bool,
        rates_ago: u32,
        /// One that may not have come beside them.
        beside: Option<Target>,
    },
    Release {
        of: Of,
        other_digest: bool,
    },
    Dismiss {
        of: Of,
        elsewhere: bool,
    },
    CommandAgain {
        command: usize,
        other: bool,
    },
    NewRates,
}
