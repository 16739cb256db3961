//! One publication of a connection, from the request to the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::orders::obey;
use super::{Connection, GRACE, LINGER, Phase, flush};
use crate::queue::Closed;
use crate::rtmp::{Media, PublishRequest};
use crate::server::admission::{Candidate, Refusal};
use crate::server::event::{CloseReason, ConnectionEvent};
use crate::server::publication::{EndReason, PublisherStats};
use crate::server::slot::Standing;

impl Connection {
    pub(super) async fn publish(&mut self, request: PublishRequest) -> Result<(), CloseReason> {
        // What was answered so far must not wait for anybody's decision.
        self.flush()?;
        if let Phase::Leaving { last, .. } = &mut self.phase {
            // What it published before is over now.
            drop(last.take());
        }
        let mut candidate = Candidate {
            slot: &mut self.slot,
            socket: &self.socket,
            request: &request,
            login: self.login.as_ref(),
        };
        match candidate.admit().await {
            Ok(publication) => {
                let timeout = publication.route().settings().timeout;
                self.session.accept_publish();
                let observer = publication.route().observer().clone();
                self.slot.follow(observer);
                let publisher = publication.publisher();
                self.slot.notify(ConnectionEvent::Published(publisher));
                self.phase = Phase::Publishing {
                    publication,
                    timeout: Some(timeout).filter(|t| !t.is_zero()),
                    successor: None,
                };
                Ok(())
            }
            Err(Refusal::Evicted) => Err(CloseReason::Evicted),
            Err(Refusal::Rejected { rejection, closest }) => {
                self.slot.stand(Standing::Idle);
                let shared = &self.slot.shared;
                shared.rejected.fetch_add(1, Ordering::Relaxed);
                self.session
                    .reject_publish(rejection.code(), &rejection.to_string());
                if let Some(route) = closest {
                    self.slot.follow(route.observer().clone());
                }
                let event = ConnectionEvent::Rejected(&request, &rejection);
                self.slot.notify(event);
                Err(CloseReason::Rejected)
            }
        }
    }

    pub(super) async fn media(&mut self, media: Media) -> Result<(), CloseReason> {
        // The session hands out media between accept and unpublish only.
        let Phase::Publishing { publication, .. } = &self.phase else {
            return Ok(());
        };
        let pushed = match publication.try_push(media) {
            Ok(None) => Ok(()),
            Ok(Some(media)) => self.push_when_there_is_room(media).await?,
            Err(closed) => Err(closed),
        };
        pushed.map_err(|_| {
            self.session
                .end_publish("NetStream.Publish.Rejected", "the pipeline has ended");
            CloseReason::PipelineEnded
        })
    }

    /// Back-pressure: while this waits, the socket is not read.
    async fn push_when_there_is_room(
        &mut self,
        media: Media,
    ) -> Result<Result<(), Closed>, CloseReason> {
        // The answers so far must not wait for the pipeline, nor the figures.
        self.flush()?;
        let since = Instant::now();
        self.stalled_since = Some(since);
        self.update_stats();
        let mut newcomer = None;
        let pushed = {
            let Phase::Publishing { publication, .. } = &self.phase else {
                return Ok(Ok(()));
            };
            let publisher = publication.publisher().clone();
            let mut push = std::pin::pin!(publication.push(media));
            loop {
                // An order to leave is obeyed at once, full queue or not.
                tokio::select! {
                    pushed = &mut push => break pushed,
                    orders = publisher.orders() => {
                        newcomer = obey(&mut self.session, orders)?.or(newcomer);
                        flush(&mut self.socket, &mut self.session, &mut self.out_bytes_total)?;
                    }
                }
            }
        };
        self.make_way_for(newcomer);
        self.backpressure += since.elapsed();
        self.stalled_since = None;
        // It may have had more to say all the time.
        self.heard = Some(Instant::now());
        self.update_stats();
        Ok(pushed)
    }

    pub(super) fn unpublish(&mut self, reason: EndReason) {
        self.update_stats();
        let leaving = Phase::Leaving {
            deadline: Instant::now() + LINGER,
            last: None,
        };
        let Phase::Publishing {
            mut publication, ..
        } = std::mem::replace(&mut self.phase, leaving)
        else {
            return;
        };
        let publisher = Arc::clone(publication.publisher());
        let event = ConnectionEvent::Unpublished(&publisher, &reason);
        self.slot.notify(event);
        let waits = reason.is_clean() && !publisher.goes_on;
        if waits {
            publisher.set_leaving();
        }
        publication.wake();
        publication.set_reason(reason);
        if waits {
            self.phase = Phase::Leaving {
                deadline: Instant::now() + GRACE,
                last: Some(publication),
            };
        } else {
            drop(publication);
            self.slot.stand(Standing::Idle);
        }
    }

    pub(super) fn update_stats(&self) {
        if let Phase::Publishing { publication, .. } = &self.phase {
            publication.publisher().update(PublisherStats {
                session: self.session.counters(),
                out_bytes_total: self.out_bytes_total,
                backpressure: self.backpressure,
                stalled_since: self.stalled_since.map(Instant::into_std),
                heard: self.heard.map(Instant::into_std),
            });
        }
    }
}
