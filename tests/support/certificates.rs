//! Certificates for `localhost`, made anew for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// A certificate with the one between it and the authority, the key, and the authority that a client trusts.
pub struct Identity {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    /// The server's own, as a client sees it.
    pub own: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    /// The same, for whoever reads files.
    pub authority_pem: String,
}

impl Identity {
    /// Writes `cert.pem` and `key.pem`, in place of those that are there, one after the other.
    pub fn write_to(directory: &Path) -> Identity {
        Identity::with(directory, |_| ())
    }

    /// The same with something changed in the server's certificate.
    pub fn with(directory: &Path, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let authority = issuer("authority", |params| {
            CertifiedIssuer::self_signed(params, key()).unwrap()
        });
        let between = issuer("intermediate", |params| {
            CertifiedIssuer::signed_by(params, key(), &authority).unwrap()
        });
        let own_key = key();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let own = params.signed_by(&own_key, &between).unwrap();

        let (certificate, private_key) = (directory.join("cert.pem"), directory.join("key.pem"));
        fs::write(&certificate, own.pem() + &between.pem()).unwrap();
        fs::write(&private_key, own_key.serialize_pem()).unwrap();
        Identity {
            certificate,
            private_key,
            own: own.der().clone(),
            authority: authority.der().clone(),
            authority_pem: authority.pem(),
        }
    }

    /// The element's properties.
    pub fn properties(&self) -> String {
        format!(
            "certificate-file={} private-key-file={}",
            self.certificate.display(),
            self.private_key.display()
        )
    }

    /// A client that trusts this authority alone, and speaks these versions alone.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn issuer<T>(name: &str, make: impl FnOnce(CertificateParams) -> T) -> T {
    let mut params = CertificateParams::new([]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    make(params)
}
