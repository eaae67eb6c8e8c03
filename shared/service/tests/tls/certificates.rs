//! Certificate authorities, and the files of the programs that they know.

use clientele_service::peer::OrgPeer;
use clientele_service::tls::ServerTls;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A certificate authority.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A server that is reached at 127.0.0.1.
    pub(crate) fn server(&self) -> Identity {
        self.server_named("127.0.0.1")
    }

    pub(crate) fn server_named(&self, name: &str) -> Identity {
        self.issue(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = CertificateParams::new([name.to_owned()]).unwrap().subject_alt_names;
        })
    }

    pub(crate) fn expired_server(&self) -> Identity {
        self.issue(|params| params.not_after = date_time_ymd(2020, 1, 1))
    }

    pub(crate) fn client(&self) -> Identity {
        self.issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    pub(crate) fn expired_client(&self) -> Identity {
        self.issue(|params| params.not_after = date_time_ymd(2020, 1, 1))
    }

    pub(crate) fn future_client(&self) -> Identity {
        self.issue(|params| params.not_before = date_time_ymd(4000, 1, 1))
    }

    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        change(&mut params);
        Identity {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A certificate with its key, both as PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Identity {
    pub(crate) fn cert(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

/// The files of one program, in a folder of their own.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new(identity: &Identity, ca: &Ca) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write_identity(identity);
        files.write("ca.pem", &ca.pem());
        files
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Both files, one after the other.
    pub(crate) fn write_identity(&self, identity: &Identity) {
        self.write("cert.pem", &identity.cert);
        self.write("key.pem", &identity.key);
    }

    /// Of a server that lets in everybody.
    pub(crate) fn tls(&self) -> ServerTls {
        ServerTls {
            tls_client_ca: None,
            ..self.mutual_tls()
        }
    }

    /// Of a server that lets in the clients of its CA.
    pub(crate) fn mutual_tls(&self) -> ServerTls {
        ServerTls {
            tls_cert: Some(self.path("cert.pem")),
            tls_key: Some(self.path("key.pem")),
            tls_client_ca: Some(self.path("ca.pem")),
        }
    }

    /// Of a service that follows another.
    pub(crate) fn peer(&self, endpoint: String) -> OrgPeer {
        OrgPeer {
            peer_ca: Some(self.path("ca.pem")),
            peer_cert: Some(self.path("cert.pem")),
            peer_key: Some(self.path("key.pem")),
            ..OrgPeer::new(endpoint, self.path("token"))
        }
    }
}
