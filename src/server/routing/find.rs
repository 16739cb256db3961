//! Which of several routes a publisher gets.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::{Claim, PublisherPolicy, Route, Specificity};
use crate::rtmp::PublishRequest;
use crate::server::Publisher;
use crate::server::event::Rejection;
use crate::server::login::Credentials;
use crate::server::publication::identity;

/// Silence after which a publisher has to give way to the next one with
/// [`PublisherPolicy::TakeoverIfIdle`]. Longer than the gaps of a slow encoder,
/// shorter than one that reconnects is ready to wait.
pub const IDLE: Duration = Duration::from_secs(2);

/// Who may be moved for a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movers {
    /// Whoever their routes' policies allow.
    ByPolicy,
    Nobody,
}

/// What a publish request finds.
#[derive(Debug)]
pub enum Found {
    /// The most specific free route.
    Free(Claim),
    /// This one can be had if `incumbent` gives way. Of routes with the same
    /// specificity a free one comes before it, unless the incumbent is dead and most
    /// likely the same encoder; a wider one comes before it only if neither the same
    /// encoder is there, nor a silent one, nor one that has to go in any case.
    Busy {
        route: Arc<Route>,
        incumbent: Arc<Publisher>,
        policy: PublisherPolicy,
    },
    /// All are busy, but this one may be free again soon: the application has yet to say
    /// whether who asked first may have it.
    Undecided(Arc<Route>),
    /// None is to be had. The route is the one that came closest, whose element
    /// shall hear of it: one, or a wrong key would ring two hundred bells.
    Refused {
        rejection: Rejection,
        closest: Option<Arc<Route>>,
    },
}

impl Found {
    /// Whether it has to do with this route.
    pub fn is_on(&self, this: &Arc<Route>) -> bool {
        match self {
            Self::Free(claim) => Arc::ptr_eq(claim.route(), this),
            Self::Busy { route, .. } | Self::Undecided(route) => Arc::ptr_eq(route, this),
            Self::Refused { .. } => false,
        }
    }
}

/// Routes that take a request, the narrowest first.
type Matching<'a> = Vec<(Specificity, &'a Arc<Route>)>;

/// The best reason so far why there is none, and whose it is.
type Refused<'a> = (Rejection, Option<&'a Arc<Route>>);

/// Looks for a route for `request` of a client that proved `login`.
pub fn find(
    routes: &[Arc<Route>],
    request: &PublishRequest,
    login: Option<&Credentials>,
    movers: Movers,
) -> Found {
    let mut refused = (Rejection::WrongApplication, routes.first());
    let matching = matching(routes, request, login, &mut refused);
    let movable = movable(&matching, identity(request), movers, &mut refused);
    for level in matching.chunk_by(|a, b| a.0 == b.0) {
        let here = movable.iter().filter(|m| m.specificity == level[0].0);
        if let Some(found) = found_on(level, &here.collect::<Vec<_>>()) {
            return found;
        }
    }
    // The narrowest, then who has been silent for longest.
    let best = movable.iter().max_by_key(|m| (m.specificity, m.silence));
    if let Some(best) = best {
        return best.found();
    }
    let (rejection, closest) = refused;
    let undecided = matching.iter().find(|(_, route)| route.is_undecided());
    if let (Rejection::Busy, Some((_, route))) = (rejection, undecided) {
        return Found::Undecided(Arc::clone(route));
    }
    Found::Refused {
        rejection,
        closest: closest.cloned(),
    }
}

fn matching<'a>(
    routes: &'a [Arc<Route>],
    request: &PublishRequest,
    login: Option<&Credentials>,
    refused: &mut Refused<'a>,
) -> Matching<'a> {
    let mut matching = Vec::new();
    for route in routes {
        match route.judge(request, login) {
            Ok(specificity) => matching.push((specificity, route)),
            Err(Rejection::WrongApplication) => {}
            // Where its key is right, it came closer.
            Err(Rejection::WrongStreamKey) if refused.0 == Rejection::NotLoggedIn => {}
            Err(rejection) => *refused = (rejection, Some(route)),
        }
    }
    // Stable: of equal routes, the one that came first.
    matching.sort_by_key(|(specificity, _)| Reverse(*specificity));
    matching
}

/// Those of the matching ones on which somebody publishes who may be moved.
fn movable<'a>(
    matching: &[(Specificity, &'a Arc<Route>)],
    wanted: u64,
    movers: Movers,
    refused: &mut Refused<'a>,
) -> Vec<Movable<'a>> {
    let mut movable = Vec::new();
    // The most specific one's reason last, unless it is merely over: of a pool,
    // it matters more that somebody publishes there.
    for &(specificity, route) in matching.iter().rev() {
        match route.incumbent() {
            Ok(_) if movers == Movers::Nobody => *refused = (Rejection::Busy, Some(route)),
            Ok((incumbent, policy)) => movable.push(Movable {
                specificity,
                route,
                returns: incumbent.identity == wanted,
                silence: incumbent.silence(),
                incumbent,
                policy,
            }),
            Err(Rejection::Ended) if refused.0 == Rejection::Busy => {}
            Err(rejection) => *refused = (rejection, Some(route)),
        }
    }
    movable
}

/// What is to be had on routes of one specificity before wider ones are looked at.
fn found_on(level: &[(Specificity, &Arc<Route>)], movable: &[&Movable<'_>]) -> Option<Found> {
    let movable = || movable.iter().copied();
    // Its own place, rather than a free one beside it, if it is dead there.
    let own = movable().filter(|m| m.returns && m.silence >= IDLE);
    if let Some(own) = own.max_by_key(|m| m.silence) {
        return Some(own.found());
    }
    if let Some(claim) = level.iter().find_map(|(_, route)| route.claim()) {
        return Some(Found::Free(claim));
    }
    // And rather than a wider one.
    let likely = movable()
        .filter(|m| m.returns || m.silence >= IDLE || m.policy == PublisherPolicy::Takeover);
    let likely = likely.max_by_key(|m| (m.returns, m.silence))?;
    Some(likely.found())
}

/// A route on which somebody publishes who may be moved.
struct Movable<'a> {
    specificity: Specificity,
    route: &'a Arc<Route>,
    incumbent: Arc<Publisher>,
    policy: PublisherPolicy,
    /// It published the same as is asked for: most likely it is the same encoder.
    returns: bool,
    silence: Duration,
}

impl Movable<'_> {
    fn found(&self) -> Found {
        Found::Busy {
            route: self.route.clone(),
            incumbent: self.incumbent.clone(),
            policy: self.policy,
        }
    }
}
