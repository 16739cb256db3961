//! Which listeners there are in this process, and who shares them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bind::{self, BindError};
use super::listener::{Listener, ListenerSettings, ListenerStats};
use super::routing::Route;
use super::tls::Certificates;

/// Where a route is to be reached, and on what terms.
#[derive(Debug, Clone)]
pub struct ListeningConfig {
    /// For people to know it by in an error.
    pub name: String,
    /// Address or name; all addresses of a name are listened on. `::` takes IPv4 too.
    pub host: String,
    /// 0 picks a free one, which is shared with nobody unless they name it.
    pub port: u16,
    pub settings: ListenerSettings,
}

/// A route's part in a listener: the first one opens it, the last one closes it.
/// Dropping it ends the route and, if it is the last, every connection.
#[derive(Debug)]
pub struct Listening {
    listener: Arc<Listener>,
    route: Arc<Route>,
}

/// A listener that is open.
struct Entry {
    /// Who shares it now, by name, in the order in which they came.
    members: Vec<(String, Arc<Route>)>,
    /// As its host resolved, with the port in use: addresses of a family that the
    /// machine lacks are not listened on, but asked for by the next one as well.
    addresses: Vec<SocketAddr>,
    listener: Arc<Listener>,
}

/// Held while a socket is bound or closed, so that who starts while the last one
/// stops neither finds the port busy nor joins a listener that is closing. Names
/// are resolved and files are read before, for they may take their time, and
/// observers are told after: they call the application, which may stop another.
static OPEN: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

fn open() -> MutexGuard<'static, Vec<Entry>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listening {
    /// Opens a listener for `route`, or joins the one that is open there. An error
    /// is of binding only; what fails later goes to the route's observer.
    pub fn start(config: ListeningConfig, route: Arc<Route>) -> Result<Self, BindError> {
        let mut addresses = bind::resolve(&config.host, config.port)?;
        if let Some(listener) = join(&mut open(), &addresses, &config, &route)? {
            return Ok(Self { listener, route });
        }
        let (certificates, news) = match &config.settings.tls {
            Some(files) => {
                let (certificates, news) = Certificates::load(files.clone())?;
                (Some(Arc::new(certificates)), news)
            }
            None => (None, None),
        };
        let mut open = open();
        // Somebody may have been faster.
        if let Some(listener) = join(&mut open, &addresses, &config, &route)? {
            return Ok(Self { listener, route });
        }
        let sockets = bind::bind(&addresses)?;
        let listener = Listener::new(sockets, config.settings, certificates, route.clone())?;
        let listener = Arc::new(listener);
        for address in &mut addresses {
            address.set_port(listener.port());
        }
        open.push(Entry {
            members: vec![(config.name, route.clone())],
            addresses,
            listener: listener.clone(),
        });
        drop(open);
        if let Some(news) = news {
            route.observer().certificate(&news);
        }
        Ok(Self { listener, route })
    }

    /// The port in use, also where 0 was asked for.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// All addresses in use.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.listener.addresses()
    }

    /// Figures of the listener, of all routes that share it together.
    pub fn stats(&self) -> ListenerStats {
        self.listener.stats()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut open = open();
        for entry in open.iter_mut() {
            let is_other = |(_, route): &(_, _)| !Arc::ptr_eq(route, &self.route);
            entry.members.retain(is_other);
        }
        self.listener.remove(&self.route);
        if !self.listener.has_routes() {
            open.retain(|entry| !Arc::ptr_eq(&entry.listener, &self.listener));
            self.listener.close();
        }
    }
}

/// Adds the route to the listener on these addresses, if there is one.
fn join(
    open: &mut [Entry],
    addresses: &[SocketAddr],
    config: &ListeningConfig,
    route: &Arc<Route>,
) -> Result<Option<Arc<Listener>>, BindError> {
    let Some(entry) = open.iter_mut().find(|entry| entry.addresses == addresses) else {
        return Ok(None);
    };
    entry.accepts(config)?;
    entry.members.push((config.name.clone(), route.clone()));
    entry.listener.add(route.clone());
    Ok(Some(entry.listener.clone()))
}

impl Entry {
    fn accepts(&self, newcomer: &ListeningConfig) -> Result<(), BindError> {
        let differences = newcomer.settings.differences(self.listener.settings());
        if differences.is_empty() {
            return Ok(());
        }
        let differences: Vec<_> = differences
            .into_iter()
            .map(|(setting, here, there)| format!("{setting} is {here} here and {there} there"))
            .collect();
        Err(BindError::Conflict {
            address: self.addresses[0],
            name: newcomer.name.clone(),
            // The one that has been there for longest.
            other: self
                .members
                .first()
                .map_or_else(String::new, |(name, _)| name.clone()),
            differences: differences.join(", "),
        })
    }
}
