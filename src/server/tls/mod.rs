//! RTMPS: RTMP inside TLS 1.2 or 1.3, from the first byte on.
//!
//! [`Certificates`] are what a listener has, `TlsSocket` is what a connection
//! reads from. Without the feature `tls` there are neither, and asking for them
//! is an error.

#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "tls")]
mod socket;

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::proxy::ProxyError;
#[cfg(feature = "tls")]
pub(super) use certificates::Certificates;
#[cfg(feature = "tls")]
pub(super) use socket::TlsSocket;

/// Where the certificate and its key are. Two listeners with equal ones offer the
/// same TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's own certificate first, then those between it and the
    /// authority, if any.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1, not encrypted. May be the same file.
    pub private_key: PathBuf,
}

impl fmt::Display for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "certificate {} with key {}",
            self.certificate.display(),
            self.private_key.display()
        )
    }
}

/// Why there is no TLS with the files that were given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    #[error("can't read the {role} '{}': {source}", file.display())]
    Read {
        role: Role,
        file: PathBuf,
        source: io::Error,
    },
    #[error("the {role} '{}' holds no {}: {hint}", file.display(), role.content())]
    Nothing {
        role: Role,
        file: PathBuf,
        hint: &'static str,
    },
    #[error("the {role} '{}' is damaged: {why}", file.display())]
    Damaged {
        role: Role,
        file: PathBuf,
        why: String,
    },
    #[error("the private key file '{}' is encrypted, and there is nobody to ask for its passphrase", .0.display())]
    EncryptedKey(PathBuf),
    #[error("the private key is not that of the certificate ({0})")]
    Mismatch(TlsFiles),
    #[error("this build of the plugin has no TLS (feature \"tls\")")]
    NotBuilt,
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Certificate,
    PrivateKey,
}

impl Role {
    fn content(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::PrivateKey => "private key",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} file", self.content())
    }
}

impl CertificateError {
    /// What the person who sees the error can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check its path and its permissions",
            Self::Nothing { .. } | Self::Damaged { .. } => {
                "certificate-file and private-key-file must be PEM files, of lines \
                 BEGIN CERTIFICATE and BEGIN PRIVATE KEY"
            }
            Self::EncryptedKey(_) => {
                "write it without one: openssl pkey -in KEY -out KEY.plain, readable by this \
                 user alone"
            }
            Self::Mismatch(_) => {
                "set the two files that were made together; in a chain, the server's own \
                 certificate comes first"
            }
            Self::NotBuilt => "unset certificate-file and private-key-file, or build it with TLS",
        }
    }
}

/// What became of the certificate while the listener runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum CertificateNews {
    /// The files changed; new connections get the new one.
    Renewed,
    /// The files changed, and can't be used: new connections get the former one.
    Kept(CertificateError),
    /// Clients that verify it will refuse it. For so many days.
    Expired(u64),
    /// Clients that verify it will refuse it. For so many days more.
    NotYetValid(u64),
}

impl fmt::Display for CertificateNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Renewed => f.write_str("the certificate was renewed"),
            Self::Kept(error) => write!(
                f,
                "the new certificate is not used, the former one stays: {error}: {}",
                error.advice()
            ),
            Self::Expired(days) => write!(f, "the certificate expired {days} days ago"),
            Self::NotYetValid(days) => {
                write!(f, "the certificate is not valid for another {days} days")
            }
        }
    }
}

/// Why a connection's TLS failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    #[error("the client speaks RTMP without TLS, but this port is RTMPS: its URL must be rtmps://")]
    PlainRtmp,
    #[error("the client speaks HTTP without TLS, and this port is RTMPS")]
    PlainHttp,
    #[error("the client does not speak TLS, and this port is RTMPS")]
    NoTls,
    #[error(transparent)]
    Proxy(ProxyError),
    #[error("a TLS handshake of more than {0} bytes")]
    TooLong(usize),
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    #[error("the encrypted stream is damaged: {0}")]
    Record(String),
}

/// Stands in where TLS is not built in.
#[cfg(not(feature = "tls"))]
pub(super) enum Certificates {}

#[cfg(not(feature = "tls"))]
impl Certificates {
    pub fn load(_: TlsFiles) -> Result<(Self, Option<CertificateNews>), CertificateError> {
        Err(CertificateError::NotBuilt)
    }

    pub async fn accept(
        self: &std::sync::Arc<Self>,
        _: tokio::net::TcpStream,
        _: super::buffer::ReadBuffer,
        _: Option<std::sync::Arc<dyn super::Observer>>,
    ) -> io::Result<super::socket::Socket> {
        match **self {}
    }
}
