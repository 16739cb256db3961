use super::*;
use crate::queue::Consumer;
use crate::rtmp::{Connect, UnpublishReason};
use crate::server::publication::Publication;
use crate::server::{ConnectionEvent, EndReason, ItemQueue};

struct Deaf;

impl Observer for Deaf {
    fn connection(&self, _: SocketAddr, _: ConnectionEvent<'_>) {}
    fn accept_failed(&self, _: &std::io::Error) {}
    fn certificate(&self, _: &crate::server::CertificateNews) {}
}

fn route_with(
    application: Option<&str>,
    stream_key: Option<&str>,
    policy: PublisherPolicy,
    keep_listening: bool,
) -> Arc<Route> {
    let settings = RouteSettings {
        application: application.map(Into::into),
        stream_key: stream_key.map(Into::into),
        login: None,
        timeout: Duration::ZERO,
        keep_listening,
        policy,
    };
    Arc::new(Route::new(settings, 1 << 20, Arc::new(Deaf), None))
}

fn route(application: Option<&str>, stream_key: Option<&str>) -> Arc<Route> {
    route_with(application, stream_key, PublisherPolicy::Reject, false)
}

fn request(app: &str, key: &str) -> PublishRequest {
    PublishRequest {
        stream_key: key.into(),
        query: String::new(),
        connect: Arc::new(Connect {
            app_as_sent: app.into(),
            ..Connect::default()
        }),
    }
}

/// For somebody who did not log in.
fn find(routes: &[Arc<Route>], request: &PublishRequest) -> Found {
    super::find(routes, request, None, Movers::ByPolicy)
}

fn claim(routes: &[Arc<Route>], request: &PublishRequest) -> Result<Claim, Rejection> {
    claim_as(None, routes, request)
}

fn claim_as(
    login: Option<&Credentials>,
    routes: &[Arc<Route>],
    request: &PublishRequest,
) -> Result<Claim, Rejection> {
    match super::find(routes, request, login, Movers::ByPolicy) {
        Found::Free(claim) => Ok(claim),
        Found::Refused { rejection, .. } => Err(rejection),
        Found::Undecided(_) => Err(Rejection::Busy),
        Found::Busy { .. } => panic!("the policy is to reject"),
    }
}

fn peer(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Runs what does not have to wait for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

fn begin(claim: Claim, port: u16, request: &PublishRequest) -> Publication {
    now(Publication::begin(claim, peer(port), false, request)).unwrap()
}

/// What is in a queue: `+` and `-` with the publisher's port, `.` if it was the last.
fn marks(queue: &ItemQueue) -> String {
    queue.close();
    let (mut consumer, mut marks) = (Consumer::default(), Vec::new());
    while let Ok(item) = consumer.pop(queue) {
        marks.push(match item {
            Item::Begin(publisher) => format!("+{}", publisher.peer.port()),
            Item::End {
                publisher, last, ..
            } => format!("-{}{}", publisher.peer.port(), if last { "." } else { "" }),
            Item::Media(_) => "m".into(),
        });
    }
    marks.join(" ")
}

#[test]
fn the_most_specific_free_route_takes_a_publisher() {
    let routes = [
        route(None, None),
        route(Some("/live/"), None),
        route(None, Some("k")),
        route(Some("live"), Some("k")),
    ];
    let order: Vec<_> = (0..4)
        .map(|_| claim(&routes, &request("live", "k")).unwrap().into_route())
        .map(|got| routes.iter().position(|r| Arc::ptr_eq(r, &got)).unwrap())
        .collect();
    assert_eq!(order, [3, 2, 1, 0]);
    let err = claim(&routes, &request("live", "k")).unwrap_err();
    assert_eq!(err, Rejection::Busy);
}

#[test]
fn a_rejection_says_why() {
    let routes = [route(Some("live"), Some("right"))];
    let reject = |app, key| claim(&routes, &request(app, key)).unwrap_err();
    assert_eq!(reject("other", "right"), Rejection::WrongApplication);
    for wrong in ["wrong", "", "righ", "rightr", "rightright", "Right"] {
        assert_eq!(reject("live", wrong), Rejection::WrongStreamKey);
    }
    routes[0].end();
    assert_eq!(reject("live", "right"), Rejection::Ended);
}

#[test]
fn of_a_pool_it_matters_more_that_it_is_busy_than_that_a_part_of_it_is_over() {
    let routes = [route(None, None), route(None, None), route(None, None)];
    routes[0].end();
    routes[2].end();
    let _busy = claim(&routes, &request("live", "k")).unwrap();
    let err = claim(&routes, &request("live", "k")).unwrap_err();
    assert_eq!(err, Rejection::Busy);
}

#[test]
fn a_refusal_names_the_route_that_came_closest() {
    let routes = [
        route(Some("a"), Some("k")),
        route(Some("b"), Some("k")),
        route(Some("c"), None),
    ];
    for (app, closest) in [("b", 1), ("none", 0)] {
        let Found::Refused { closest: found, .. } = find(&routes, &request(app, "wrong")) else {
            panic!("refused");
        };
        assert!(Arc::ptr_eq(&found.unwrap(), &routes[closest]), "{app}");
    }
    assert!(matches!(
        find(&[], &request("a", "k")),
        Found::Refused { closest: None, .. }
    ));
}

#[test]
fn a_claim_that_comes_to_nothing_frees_the_route() {
    let routes = [route(None, None)];
    let claimed = claim(&routes, &request("live", "k")).unwrap();
    assert!(claim(&routes, &request("live", "k")).is_err());
    drop(claimed);
    assert!(claim(&routes, &request("live", "k")).is_ok());
}

#[test]
fn an_empty_key_is_a_key() {
    let routes = [route(None, Some(""))];
    assert!(claim(&routes, &request("live", "a")).is_err());
    assert!(claim(&routes, &request("live", "")).is_ok());
}

#[test]
fn a_route_that_is_taken_over_goes_on() {
    for keep_listening in [false, true] {
        let route = route_with(None, None, PublisherPolicy::Takeover, keep_listening);
        let routes = [route.clone()];
        let request = request("live", "k");
        let first = begin(claim(&routes, &request).unwrap(), 1, &request);

        let Found::Busy { incumbent, .. } = find(&routes, &request) else {
            panic!("it can be taken over");
        };
        let mut succession = route.take_over(&incumbent, peer(2)).unwrap();
        assert!(succession.try_recv().is_err(), "the first has not left yet");
        // A third has to wait for its turn.
        assert!(matches!(
            find(&routes, &request),
            Found::Refused {
                rejection: Rejection::Busy,
                ..
            }
        ));
        drop(first);
        let succeeded = succession.try_recv().unwrap();
        assert!(matches!(find(&routes, &request), Found::Undecided(_)));
        let second = begin(succeeded, 2, &request);
        assert_eq!(second.publisher().taken_from, Some(peer(1)));
        assert_eq!(route.takeovers(), 1);
        drop(second);
        let last = if keep_listening { "-2" } else { "-2." };
        assert_eq!(marks(route.queue()), format!("+1 -1 +2 {last}"));
    }
}

#[test]
fn a_successor_that_comes_to_nothing_leaves_the_end_as_it_was() {
    for (keep_listening, end) in [(false, "+1 -1."), (true, "+1 -1")] {
        for lost_late in [false, true] {
            let route = route_with(None, None, PublisherPolicy::Takeover, keep_listening);
            let request = request("live", "k");
            let claimed = claim(std::slice::from_ref(&route), &request).unwrap();
            let first = begin(claimed, 1, &request);
            let incumbent = first.publisher().clone();
            let mut succession = route.take_over(&incumbent, peer(2)).unwrap();
            if lost_late {
                drop(first);
                drop(succession.try_recv().unwrap());
            } else {
                drop(succession);
                drop(first);
            }
            assert_eq!(
                claim(std::slice::from_ref(&route), &request).is_ok(),
                keep_listening
            );
            assert_eq!(route.takeovers(), 0);
            assert_eq!(marks(route.queue()), end);
        }
    }
}

#[test]
fn who_waits_for_a_route_that_ends_is_told() {
    let route = route_with(None, None, PublisherPolicy::Takeover, true);
    let request = request("live", "k");
    let first = begin(
        claim(std::slice::from_ref(&route), &request).unwrap(),
        1,
        &request,
    );
    let mut succession = route.take_over(first.publisher(), peer(2)).unwrap();
    route.end();
    assert!(succession.try_recv().is_err());
    drop(first);
    assert!(claim(&[route], &request).is_err());
}

#[test]
fn who_said_goodbye_is_not_taken_over() {
    let route = route_with(None, None, PublisherPolicy::Takeover, false);
    let request = request("live", "k");
    let mut first = begin(
        claim(std::slice::from_ref(&route), &request).unwrap(),
        1,
        &request,
    );
    first.set_reason(EndReason::Unpublished(UnpublishReason::DeleteStream));
    first.publisher().set_leaving();
    let Found::Refused { rejection, .. } = find(&[route], &request) else {
        panic!("it is over");
    };
    assert_eq!(rejection, Rejection::Ended);
}

#[test]
fn in_a_busy_pool_an_encoder_gets_its_own_place_back() {
    let routes: Vec<_> = (0..3)
        .map(|_| route_with(None, None, PublisherPolicy::TakeoverIfIdle, true))
        .collect();
    let keys = ["a", "b", "c"];
    let _publications: Vec<_> = keys
        .iter()
        .map(|key| {
            let request = request("live", key);
            let Found::Free(claim) = find(&routes, &request) else {
                panic!("one is free");
            };
            begin(claim, 1, &request)
        })
        .collect();
    for (n, key) in keys.iter().enumerate() {
        let Found::Busy { route, .. } = find(&routes, &request("live", key)) else {
            panic!("all are busy");
        };
        assert!(Arc::ptr_eq(&route, &routes[n]), "{key}");
    }
    // A stranger gets the one that has been silent for longest.
    let Found::Busy { route, .. } = find(&routes, &request("live", "d")) else {
        panic!("all are busy");
    };
    assert!(Arc::ptr_eq(&route, &routes[0]));
}

#[test]
fn an_encoder_that_comes_again_gets_its_own_place_rather_than_a_wider_one() {
    for policy in [PublisherPolicy::TakeoverIfIdle, PublisherPolicy::Takeover] {
        let own = route_with(None, Some("cam"), policy, true);
        let any = route_with(None, None, policy, true);
        let routes = [any, own.clone()];
        let request = request("live", "cam");
        let Found::Free(claim) = find(&routes, &request) else {
            panic!("both are free");
        };
        let _publication = begin(claim, 1, &request);
        let Found::Busy { route, .. } = find(&routes, &request) else {
            panic!("the wider one");
        };
        assert!(Arc::ptr_eq(&route, &own));
        // If it turns out that somebody else is alive there, a wider one will do.
        let Found::Free(claim) = super::find(&routes, &request, None, Movers::Nobody) else {
            panic!("it is free");
        };
        let _other = begin(claim, 2, &request);
        assert!(matches!(
            super::find(&routes, &request, None, Movers::Nobody),
            Found::Refused {
                rejection: Rejection::Busy,
                ..
            }
        ));
    }
}

#[test]
fn nobody_waits_for_a_place_that_is_lively_and_anothers_while_one_is_free() {
    let policy = PublisherPolicy::TakeoverIfIdle;
    let narrow = route_with(Some("live"), None, policy, true);
    let any = route_with(None, None, policy, true);
    let routes = [narrow, any.clone()];
    let Found::Free(claim) = find(&routes, &request("live", "a")) else {
        panic!("both are free");
    };
    let _publication = begin(claim, 1, &request("live", "a"));
    let Found::Free(claim) = find(&routes, &request("live", "b")) else {
        panic!("one is free");
    };
    assert!(Arc::ptr_eq(claim.route(), &any));
}

#[test]
fn who_gave_up_waiting_leaves_the_publisher_where_it_is() {
    let route = route_with(None, None, PublisherPolicy::Takeover, false);
    let routes = [route.clone()];
    let request = request("live", "k");
    let first = begin(claim(&routes, &request).unwrap(), 1, &request);
    let succession = route.take_over(first.publisher(), peer(2)).unwrap();
    assert!(route.has_successor());
    drop(succession);
    assert!(!route.has_successor());
    // And the next one may try.
    assert!(matches!(find(&routes, &request), Found::Busy { .. }));
    assert!(route.take_over(first.publisher(), peer(3)).is_some());
}

#[test]
fn a_login_is_for_the_routes_that_want_it() {
    let credentials = |username: &str, password: &str| Credentials {
        username: Some(username.into()),
        password: Some(password.into()),
    };
    let wants = |key, login| {
        let route = route(Some("live"), Some(key));
        route.update(|settings| settings.login = Some(login));
        route
    };
    let routes = [
        wants("a", credentials("u", "p")),
        wants("b", credentials("u", "other")),
        route(None, Some("c")),
    ];
    let login = credentials("u", "p");
    let claim = |key, login| claim_as(login, &routes, &request("live", key)).map(drop);
    assert_eq!(claim("a", Some(&login)), Ok(()));
    assert_eq!(claim("a", None), Err(Rejection::NotLoggedIn));
    assert_eq!(claim("b", Some(&login)), Err(Rejection::NotLoggedIn));
    assert_eq!(claim("c", Some(&login)), Ok(()));
    assert_eq!(claim("c", None), Ok(()));
    // What was proved counts by what is set now.
    routes[0].update(|settings| settings.login = Some(credentials("u", "new")));
    assert_eq!(claim("a", Some(&login)), Err(Rejection::NotLoggedIn));
    routes[0].update(|settings| settings.login = None);
    assert_eq!(claim("a", None), Ok(()));
}

#[test]
fn who_did_not_log_in_takes_nothing_over() {
    let route = route_with(None, None, PublisherPolicy::Takeover, true);
    let routes = [route.clone()];
    let publication = begin(
        claim(&routes, &request("live", "k")).unwrap(),
        1,
        &request("live", "k"),
    );
    route.update(|settings| {
        settings.login = Some(Credentials {
            username: Some("u".into()),
            password: Some("p".into()),
        })
    });
    let refused = claim(&routes, &request("live", "k")).map(drop);
    assert_eq!(refused, Err(Rejection::NotLoggedIn));
    drop(publication);
}
