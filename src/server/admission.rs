//! Letting a publisher in: which route it gets, and who is asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::event::Rejection;
use super::login::Credentials;
use super::publication::{Publication, Publisher};
use super::routing::{self, Claim, Found, IDLE, Movers, PublisherPolicy, Route};
use super::slot::{Slot, Standing};
use super::socket::Socket;
use crate::rtmp::PublishRequest;

/// How long the host application may think about a publisher.
const DECISION: Duration = Duration::from_secs(5);

/// How long it may take to get the last data of a publisher that has to give way
/// into the queue. A pipeline that does not take them has no use for the next
/// publisher either.
const SUCCESSION: Duration = Duration::from_secs(5);

/// How long somebody waits while the host application thinks about others: longer than
/// about one of them. Without that, who guesses keys would keep everybody else out.
const TURN: Duration = Duration::from_secs(8);

/// How often a route is looked for anew when somebody else got it first, or the
/// one who had it left by itself.
const ATTEMPTS: u32 = 8;

/// Why a publisher was not let in.
#[derive(Debug)]
pub(super) enum Refusal {
    Rejected {
        rejection: Rejection,
        /// Whose element shall hear of it.
        closest: Option<Arc<Route>>,
    },
    /// It has to make way: its place among the connections is gone already.
    Evicted,
}

/// A connection that wants to publish.
pub(super) struct Candidate<'a> {
    pub slot: &'a mut Slot,
    pub socket: &'a Socket,
    pub request: &'a PublishRequest,
    /// What it proved to know when it connected.
    pub login: Option<&'a Credentials>,
}

impl Candidate<'_> {
    /// Finds a route, asks whoever watches it, and takes it, from another publisher
    /// if its policy says so.
    pub async fn admit(&mut self) -> Result<Publication, Refusal> {
        let mut movers = Movers::ByPolicy;
        let mut attempts = 0;
        let mut told: Option<Arc<Route>> = None;
        let turn = Instant::now() + TURN;
        while attempts < ATTEMPTS {
            let routes = self.slot.shared.routes();
            let found = routing::find(&routes, self.request, self.login, movers);
            if let Some(told) = told.take()
                && !found.is_on(&told)
            {
                told.tell_next();
            }
            let (route, claimed) = match found {
                Found::Refused { rejection, closest } => {
                    return Err(Refusal::Rejected { rejection, closest });
                }
                Found::Undecided(route) => {
                    // In the order in which they came.
                    let waited = tokio::select! {
                        waited = timeout_at(turn, route.decided()) => waited.map_err(|_| Rejection::Busy),
                        () = self.socket.hung_up() => Err(Rejection::Gone),
                    };
                    match waited {
                        Ok(()) => {
                            told = Some(route);
                            continue;
                        }
                        Err(rejection) => (route, Err(rejection.into())),
                    }
                }
                Found::Free(claim) => {
                    attempts += 1;
                    let route = claim.route().clone();
                    (route, self.take(claim).await)
                }
                Found::Busy {
                    route,
                    incumbent,
                    policy,
                } => {
                    attempts += 1;
                    let claimed = self.succeed(&route, &incumbent, policy).await;
                    (route, claimed)
                }
            };
            let claim = match claimed {
                Ok(claim) => claim,
                Err(Unclaimed::LookAgain) => continue,
                Err(Unclaimed::Lively) => {
                    movers = Movers::Nobody;
                    continue;
                }
                Err(Unclaimed::Evicted) => return Err(Refusal::Evicted),
                Err(Unclaimed::Rejected(rejection)) => {
                    return Err(Refusal::Rejected {
                        rejection,
                        closest: Some(route),
                    });
                }
            };
            let tls = self.slot.shared.certificates.is_some();
            return Publication::begin(claim, self.slot.peer, tls, self.request)
                .await
                .map_err(|_| Refusal::Rejected {
                    rejection: Rejection::Ended,
                    closest: Some(route),
                });
        }
        Err(Refusal::Rejected {
            rejection: Rejection::Busy,
            closest: None,
        })
    }

    /// A route that was free. It is kept meanwhile: what the application decides may be
    /// about this element and no other.
    async fn take(&mut self, claim: Claim) -> Result<Claim, Unclaimed> {
        // Nobody makes way with a route in its hands, nor takes one on the way out:
        // that would be the end of a publication, and so of the stream.
        self.stand()?;
        self.ask(claim.route()).await?;
        Ok(claim)
    }

    /// A route on which somebody publishes. It stays there until all is decided.
    async fn succeed(
        &mut self,
        route: &Route,
        incumbent: &Arc<Publisher>,
        policy: PublisherPolicy,
    ) -> Result<Claim, Unclaimed> {
        let only_if_idle = policy == PublisherPolicy::TakeoverIfIdle;
        if only_if_idle {
            // One that lives says something soon, and the newcomer is turned away
            // then; one that is dead already need not be waited for.
            let silent = tokio::select! {
                silent = incumbent.stays_silent(IDLE) => silent,
                () = self.socket.hung_up() => return Err(Rejection::Gone.into()),
            };
            if !silent {
                return Err(self.lost_to(route, incumbent));
            }
        }
        self.ask(route).await?;
        if only_if_idle && incumbent.silence() < IDLE {
            return Err(self.lost_to(route, incumbent));
        }
        self.stand()?;
        let Some(succession) = route.take_over(incumbent, self.slot.peer) else {
            return Err(Unclaimed::LookAgain);
        };
        match tokio::time::timeout(SUCCESSION, succession).await {
            Ok(Ok(claim)) => Ok(claim),
            Ok(Err(_)) => Err(Rejection::Ended.into()),
            // It stays then: see `Route::has_successor`.
            Err(_) => Err(Rejection::Stalled.into()),
        }
    }

    /// Of an incumbent that turned out to be alive, or to have left by itself.
    fn lost_to(&self, route: &Route, incumbent: &Arc<Publisher>) -> Unclaimed {
        match route.publisher() {
            Some(publisher) if Arc::ptr_eq(&publisher, incumbent) => Unclaimed::Lively,
            _ => Unclaimed::LookAgain,
        }
    }

    fn stand(&mut self) -> Result<(), Unclaimed> {
        match self.slot.stand(Standing::Publishing) {
            true => Ok(()),
            false => Err(Unclaimed::Evicted),
        }
    }

    /// Asks whoever watches a route.
    async fn ask(&self, route: &Route) -> Result<(), Rejection> {
        let Some(gate) = route.watched_gate() else {
            return Ok(());
        };
        let (peer, request) = (self.slot.peer, self.request.clone());
        let username = self.login.and_then(|login| login.username.clone());
        // Nobody is asked about who is gone, nor about more at once than threads are to
        // block: to come and hang up is cheap.
        let question = tokio::select! {
            biased;
            () = self.socket.hung_up() => return Err(Rejection::Gone),
            question = tokio::time::timeout(TURN, route.question()) => question,
        };
        let Ok(question) = question else {
            return Err(Rejection::Undecided);
        };
        let asked = tokio::task::spawn_blocking(move || {
            let _question = question;
            gate.admit(peer, &request, username.as_deref())
        });
        let decided = tokio::select! {
            biased;
            decided = tokio::time::timeout(DECISION, asked) => decided,
            () = self.socket.hung_up() => return Err(Rejection::Gone),
        };
        match decided {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Rejection::Refused),
            // Too late, or it panicked: nobody said yes.
            Ok(Err(_)) | Err(_) => Err(Rejection::Undecided),
        }
    }
}

/// Why a route that was found was not to be had.
enum Unclaimed {
    Rejected(Rejection),
    /// Things have changed since.
    LookAgain,
    /// Who has it is alive: there may be a free one, and nobody else has to go.
    Lively,
    Evicted,
}

impl From<Rejection> for Unclaimed {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}
