//! Listening sockets: host names, dual stack, and errors that say what to do.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};

use super::tls::CertificateError;

/// Connections that the kernel completes while the accept loop is busy.
const BACKLOG: i32 = 1024;
/// How often a free port is looked for that all addresses of a name have free.
const PORT_ATTEMPTS: usize = 16;

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("the host name '{host}' has no address: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("can't listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    /// Another element listens there and would have to be reached on other terms.
    #[error("{name} can't share {address} with {other}: {differences}")]
    Conflict {
        address: SocketAddr,
        name: String,
        other: String,
        differences: String,
    },
    #[error("no threads for the server: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl BindError {
    /// What the person who sees the error can do about it.
    pub fn advice(&self) -> &'static str {
        let source = match self {
            Self::Resolve { .. } => {
                return "set host to an address of this machine, to 0.0.0.0 for all IPv4 \
                        addresses, or to :: for IPv6 and IPv4";
            }
            Self::Conflict { .. } => {
                return "elements on one port share its listener: set these alike, or use \
                        another port";
            }
            Self::Bind { source, .. } | Self::Runtime(source) => source,
            Self::Certificate(error) => return error.advice(),
        };
        if lacks_family(source) {
            return "this machine has no IPv6: set host to 0.0.0.0 or to an IPv4 address";
        }
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there, or an element with another host (those with the \
                 same host and port share it): stop it, or set another port; port=0 picks a free \
                 one"
            }
            io::ErrorKind::AddrNotAvailable => {
                "that address is not one of this machine: set host to one that is, to 0.0.0.0 \
                 for all IPv4 addresses, or to :: for IPv6 and IPv4"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege: set a higher port"
            }
            _ => "check the host and port properties",
        }
    }

    /// Whether the port is taken.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

/// Listens on all of `addresses`, on one port. 0 picks a free one.
///
/// A name may have several addresses (`localhost` is `::1` and `127.0.0.1`), and
/// a client tries any of them first.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    for attempt in 1.. {
        match bind_all(addresses) {
            Err(error)
                if addresses.iter().any(|a| a.port() == 0)
                    && error.is_busy()
                    && attempt < PORT_ATTEMPTS =>
            {
                continue;
            }
            result => return result,
        }
    }
    unreachable!("the last attempt returns")
}

/// The addresses of `host`, in order and without repetitions. May take the time that
/// a name server takes.
pub(super) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, BindError> {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let failed = |source| BindError::Resolve {
        host: host.to_owned(),
        source,
    };
    let mut addresses: Vec<_> = (bare, port).to_socket_addrs().map_err(failed)?.collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(addresses.len());
    for address in addresses {
        let mut address = *address;
        if let Some(first) = listeners.first().and_then(|l| l.local_addr().ok()) {
            address.set_port(first.port());
        }
        match bind_one(address) {
            Ok(listener) => listeners.push(listener),
            // `localhost` names ::1 on machines that have no IPv6.
            Err(source) if addresses.len() > 1 && is_absent(&source) => {}
            Err(source) => return Err(BindError::Bind { address, source }),
        }
    }
    if listeners.is_empty() {
        return Err(BindError::Bind {
            address: addresses[0],
            source: io::ErrorKind::AddrNotAvailable.into(),
        });
    }
    Ok(listeners)
}

/// Whether the machine lacks the address or its whole family.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || lacks_family(error)
}

/// `EAFNOSUPPORT`, for which the standard library has no name: a machine without
/// IPv6.
fn lacks_family(error: &io::Error) -> bool {
    let code = match () {
        () if cfg!(windows) => 10047,
        () if cfg!(any(target_os = "linux", target_os = "android")) => 97,
        () => 47,
    };
    error.raw_os_error() == Some(code)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if let SocketAddr::V6(v6) = address {
        // "::" takes IPv4 clients too; any other address is itself alone.
        socket.set_only_v6(*v6.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    // So that a restart is not refused while old connections are in TIME-WAIT.
    // On Windows the option means something else: sharing the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(host: &str, port: u16) -> Result<Vec<TcpListener>, BindError> {
        super::bind(&resolve(host, port)?)
    }

    fn port_of(listener: &TcpListener) -> u16 {
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn a_name_listens_on_all_its_addresses_with_one_port() {
        let listeners = bind("localhost", 0).unwrap();
        assert!(
            listeners
                .iter()
                .all(|l| port_of(l) == port_of(&listeners[0]))
        );
        assert!(listeners.iter().any(|l| l.local_addr().unwrap().is_ipv4()));
    }

    #[test]
    fn errors_say_what_to_do() {
        let taken = bind("127.0.0.1", 0).unwrap();
        let error = bind("127.0.0.1", port_of(&taken[0])).unwrap_err();
        assert!(error.is_busy() && error.advice().contains("port=0"));

        let error = bind("192.0.2.1", 0).unwrap_err();
        assert!(
            error.advice().contains("not one of this machine"),
            "{error}"
        );

        let error = bind("no such host", 0).unwrap_err();
        assert!(matches!(error, BindError::Resolve { .. }));
        assert!(bind("", 0).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_machine_without_ipv6_is_told_so() {
        let source = io::Error::from_raw_os_error(97);
        assert!(is_absent(&source));
        let address = ([0, 0, 0, 0], 1).into();
        let error = BindError::Bind { address, source };
        assert!(error.advice().contains("no IPv6"));
    }

    #[test]
    fn brackets_around_an_ipv6_address_are_fine() {
        if let Ok(listeners) = bind("[::1]", 0) {
            assert!(listeners[0].local_addr().unwrap().is_ipv6());
        }
    }
}
