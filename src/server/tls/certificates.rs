//! Certificate and key, from files that may change at any time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, ServerConfig};
use tokio::net::TcpStream;

use super::{CertificateError, CertificateNews, Role, TlsFiles, TlsSocket};
use crate::server::Observer;
use crate::server::buffer::ReadBuffer;
use crate::server::socket::Socket;

/// How often the files are looked at, at the most: a flood of connections must
/// not become one of file accesses.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Chains of a dozen certificates are a tenth of that.
const LARGEST_FILE: u64 = 1 << 20;

const DAY: u64 = 24 * 60 * 60;

/// What a listener proves its identity with. Renewed when the files change: seen
/// by the next connection, and by none that is there.
pub(in crate::server) struct Certificates {
    files: TlsFiles,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    /// Of the files when they were last read, usable or not: each change is tried,
    /// and told of, once.
    seen: Stamps,
    looked: Instant,
    is_looking: bool,
}

impl Certificates {
    /// Reads the files for the first time.
    pub fn load(files: TlsFiles) -> Result<(Self, Option<CertificateNews>), CertificateError> {
        let seen = Stamps::of(&files);
        let (config, news) = read(&files)?;
        let state = State {
            config,
            seen,
            looked: Instant::now(),
            is_looking: false,
        };
        let this = Self {
            files,
            state: Mutex::new(state),
        };
        Ok((this, news))
    }

    /// A connection whose first bytes may have been `received` already.
    pub async fn accept(
        self: &Arc<Self>,
        tcp: TcpStream,
        received: ReadBuffer,
        observer: Option<Arc<dyn Observer>>,
    ) -> io::Result<Socket> {
        if self.is_time_to_look() {
            let this = self.clone();
            // A file system may take its time: a worker must not, and a client only
            // for so long. If this panics, the former certificate is still there.
            let looking = tokio::task::spawn_blocking(move || this.look(observer));
            let _ = tokio::time::timeout(LOOK_EVERY, looking).await;
        }
        let config = self.lock().config.clone();
        let socket = TlsSocket::new(tcp, config, received)?;
        Ok(Socket::Tls(Box::new(socket)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One looks at a time, however many come.
    fn is_time_to_look(&self) -> bool {
        let mut state = self.lock();
        let is_time = !state.is_looking && state.looked.elapsed() >= LOOK_EVERY;
        state.is_looking |= is_time;
        is_time
    }

    fn look(&self, observer: Option<Arc<dyn Observer>>) {
        let looking = Looking(self);
        let news = self.renew();
        drop(looking);
        if let Some(observer) = observer
            && !news.is_empty()
        {
            // Nobody has to wait for who is told.
            tokio::task::spawn_blocking(move || {
                news.iter().for_each(|news| observer.certificate(news));
            });
        }
    }

    /// Reads the files again if they are others than before.
    fn renew(&self) -> Vec<CertificateNews> {
        // Before they are read: if they change meanwhile, the next look sees it.
        let stamps = Stamps::of(&self.files);
        if self.lock().seen == stamps {
            return vec![];
        }
        let result = read(&self.files);
        let mut state = self.lock();
        state.seen = stamps;
        match result {
            Ok((config, news)) => {
                state.config = config;
                [Some(CertificateNews::Renewed), news]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Err(error) => vec![CertificateNews::Kept(error)],
        }
    }
}

/// What tells that files were written or replaced, without reading them. A file
/// that is not there has none.
#[derive(Debug, PartialEq, Eq)]
struct Stamps([Option<Stamp>; 2]);

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and the time of change, which nobody can set back.
    #[cfg(unix)]
    identity: (u64, u64, i64, i64),
}

impl Stamps {
    fn of(files: &TlsFiles) -> Self {
        Self([&files.certificate, &files.private_key].map(|file| Stamp::of(file)))
    }
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(file).ok()?;
        Some(Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            identity: (
                metadata.dev(),
                metadata.ino(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ),
        })
    }
}

/// Makes of the files what rustls needs.
fn read(
    files: &TlsFiles,
) -> Result<(Arc<ServerConfig>, Option<CertificateNews>), CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = read_chain(&files.certificate)?;
    let key = read_key(&files.private_key)?;
    let news = validity(&chain[0]);
    let certified = certify(files, chain, key, &provider)?;

    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // Encoders come once in a while: nothing is gained by resuming sessions. And a
    // ticket is something that the client has not asked for: left unread in its
    // socket when it closes, it makes of the close a reset.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config), news))
}

fn read_file(role: Role, file: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read {
        role,
        file: file.to_owned(),
        source,
    };
    // Opening a FIFO waits for somebody who writes to it, and a device may have no end.
    let kind = fs::metadata(file).map_err(failed)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        let text = "it is not a regular file";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, text)));
    }
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(failed)?;
    opened
        .take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let role = Role::Certificate;
    let pem = read_file(role, file)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(role, file, error))?;
    if chain.is_empty() {
        let hint = match &pem[..] {
            [] => "it is empty",
            [0x30, ..] => "it looks like DER, not PEM",
            pem if contains(pem, "PRIVATE KEY-----") => "it holds a private key instead",
            _ => "it has no line BEGIN CERTIFICATE",
        };
        let file = file.to_owned();
        return Err(CertificateError::Nothing { role, file, hint });
    }
    Ok(chain)
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let role = Role::PrivateKey;
    let pem = read_file(role, file)?;
    // PKCS#8, and the older way of OpenSSL.
    if contains(&pem, "BEGIN ENCRYPTED PRIVATE KEY") || contains(&pem, "Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateError::EncryptedKey(file.to_owned()));
    }
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            let hint = match &pem[..] {
                [] => "it is empty",
                [0x30, ..] => "it looks like DER, not PEM",
                pem if contains(pem, "BEGIN CERTIFICATE") => "it holds a certificate instead",
                _ => "it has no line BEGIN PRIVATE KEY",
            };
            let file = file.to_owned();
            Err(CertificateError::Nothing { role, file, hint })
        }
        Err(error) => Err(damaged(role, file, error)),
    }
}

/// Brings the two together, if they belong together.
fn certify(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| damaged(Role::PrivateKey, &files.private_key, error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(CertificateError::Mismatch(files.clone())),
        Err(error) => Err(damaged(Role::Certificate, &files.certificate, error)),
    }
}

fn damaged(role: Role, file: &Path, why: impl ToString) -> CertificateError {
    CertificateError::Damaged {
        role,
        file: file.to_owned(),
        why: why.to_string(),
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

/// Whether a certificate's time has come, and is not over. Encoders that do not
/// verify it do not mind, so neither is an error.
fn validity(certificate: &CertificateDer<'_>) -> Option<CertificateNews> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let now = UnixTime::now();
    // Dates are looked at before anything else; that nobody is trusted as its
    // issuer does not matter here.
    let verified = certificate.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[],
        &[],
        now,
        webpki::KeyUsage::server_auth(),
        None,
        None,
    );
    match verified.err()? {
        webpki::Error::CertExpired { not_after, .. } => {
            let days = now.as_secs().saturating_sub(not_after.as_secs()) / DAY;
            Some(CertificateNews::Expired(days))
        }
        webpki::Error::CertNotValidYet { not_before, .. } => {
            let days = not_before.as_secs().saturating_sub(now.as_secs()) / DAY;
            Some(CertificateNews::NotYetValid(days))
        }
        _ => None,
    }
}

/// Until the next look may come, also after a panic.
struct Looking<'a>(&'a Certificates);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.looked = Instant::now();
        state.is_looking = false;
    }
}
