//! What the host application wants of a publisher.

use std::net::SocketAddr;

use crate::rtmp::Session;
use crate::server::event::CloseReason;
use crate::server::publication::{Order, Publisher};

/// The next ones; for ever, if nobody publishes.
pub async fn orders_for(publisher: Option<&Publisher>) -> Vec<Order> {
    match publisher {
        Some(publisher) => publisher.orders().await,
        None => std::future::pending().await,
    }
}

/// Does what the host application wants; returns for whom the publisher has to make
/// way, if it has to.
pub fn obey(session: &mut Session, orders: Vec<Order>) -> Result<Option<SocketAddr>, CloseReason> {
    let mut newcomer = None;
    for order in orders {
        match order {
            Order::Disconnect => {
                let text = "the server's application ended this publication";
                session.end_publish("NetStream.Publish.Rejected", text);
                return Err(CloseReason::Disconnected);
            }
            Order::Leave => {
                session.end_publish("NetStream.Publish.Rejected", "the pipeline has ended");
                return Err(CloseReason::PipelineEnded);
            }
            Order::GiveWay { newcomer: peer } => newcomer = Some(peer),
            Order::Reconnect { tc_url } => {
                session.request_reconnect(tc_url.as_deref(), "please connect again");
            }
        }
    }
    Ok(newcomer)
}
