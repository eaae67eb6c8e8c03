//! TLS: the certificate that a server shows and the clients that it lets in; the servers that a client believes and what it shows
//! them. All of it is in PEM files, which may be exchanged while calls run.

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use hyper_util::rt::TokioIo;
use opentelemetry::global;
use opentelemetry::metrics::Gauge;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tonic::transport::{Channel, Endpoint, Uri};

/// How often a server looks at its files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The only protocol that is spoken behind a handshake.
const HTTP2: &[u8] = b"h2";

/// The files that make a server speak TLS. Without any it speaks plain text.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerTls {
    /// The file with the server's certificate, and with those between it and its CA (PEM); without it plain text is spoken. It and
    /// the other files are read again when they change.
    #[arg(long, env = "CLIENTELE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// The file with the key of that certificate (PEM).
    #[arg(long, env = "CLIENTELE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// The file with the CAs whose clients are let in (PEM); without it clients need no certificate.
    #[arg(long, env = "CLIENTELE_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,
}

impl ServerTls {
    /// Refuses settings that can't work, with what to set instead.
    pub fn validate(&self) -> Result<()> {
        ensure!(
            self.tls_cert.is_some() == self.tls_key.is_some(),
            "only one of tls_cert and tls_key is set: set both, or neither for plain text"
        );
        ensure!(
            self.tls_client_ca.is_none() || self.tls_cert.is_some(),
            "tls_client_ca is set, but without a certificate of its own the server speaks plain text: set tls_cert and tls_key"
        );
        Ok(())
    }

    /// These settings, to be shown.
    pub fn settings(&self) -> Value {
        json!({ "cert": self.tls_cert, "key": self.tls_key, "client_ca": self.tls_client_ca })
    }

    /// Reads the files; None: plain text is spoken.
    pub(crate) async fn acceptor(&self) -> Result<Option<Acceptor>> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let files = ServerFiles {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: self.tls_client_ca.clone(),
        };
        Acceptor::load(files).await.map(Some)
    }
}

/// Shakes hands with clients by what the files said last.
pub(crate) struct Acceptor {
    files: ServerFiles,
    first: ServerPems,
    current: watch::Sender<Arc<ServerConfig>>,
    expiry: Gauge<u64>,
}

impl Acceptor {
    async fn load(files: ServerFiles) -> Result<Self> {
        let first = files.read().await?;
        let acceptor = Self {
            current: watch::Sender::new(Arc::new(first.config()?)),
            expiry: global::meter("clientele")
                .u64_gauge("clientele.tls.certificate.expiry")
                .with_unit("s")
                .with_description("When the server's certificate ends, in seconds since 1970.")
                .build(),
            files,
            first,
        };
        acceptor.tell_in_force(&acceptor.first)?;
        Ok(acceptor)
    }

    /// The handshake on a new connection.
    pub(crate) async fn accept(&self, connection: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let config = self.current.borrow().clone();
        TlsAcceptor::from(config).accept(connection).await
    }

    /// Takes what the files say as they change, for ever; calls in flight go on. What can't be used, perhaps half written or only one
    /// of two files that belong together, leaves the last good one in force.
    pub(crate) async fn keep_current(&self) {
        let mut seen = Ok(self.first.clone());
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // What they hold, not when they were written: of two writes within a tick of the clock the second would be missed.
            let now = self.files.read().await.map_err(|error| format!("{error:#}"));
            if now == seen {
                continue;
            }
            if let Err(error) = now
                .as_ref()
                .map_err(|error| anyhow!("{error}"))
                .and_then(|pems| self.take(pems))
            {
                let (file, error) = (self.files.cert.display(), format!("{error:#}"));
                tracing::warn!(%file, error, "the TLS files can't be used; the last good ones stay in force");
            }
            seen = now;
        }
    }

    fn take(&self, pems: &ServerPems) -> Result<()> {
        let config = pems.config()?;
        self.tell_in_force(pems)?;
        self.current.send_replace(Arc::new(config));
        Ok(())
    }

    fn tell_in_force(&self, pems: &ServerPems) -> Result<()> {
        let not_after = pems.cert.not_after()?;
        self.expiry.record(unix(not_after), &[]);
        let (file, not_after) = (self.files.cert.display(), OffsetDateTime::from(not_after));
        tracing::info!(%file, %not_after, "new connections get this certificate");
        Ok(())
    }
}

struct ServerFiles {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl ServerFiles {
    async fn read(&self) -> Result<ServerPems> {
        Ok(ServerPems {
            cert: Pem::read(&self.cert).await?,
            key: Pem::read(&self.key).await?,
            client_ca: match &self.client_ca {
                Some(path) => Some(Pem::read(path).await?),
                None => None,
            },
        })
    }
}

#[derive(Clone, PartialEq, Eq)]
struct ServerPems {
    cert: Pem,
    key: Pem,
    client_ca: Option<Pem>,
}

impl ServerPems {
    fn config(&self) -> Result<ServerConfig> {
        let not_after = self.cert.not_after()?;
        ensure!(
            not_after > SystemTime::now(),
            "the certificate in {} ended at {}",
            self.cert.path.display(),
            OffsetDateTime::from(not_after)
        );
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            Some(pem) => {
                let roots = Arc::new(pem.roots()?);
                builder
                    .with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(self.cert.certificates()?, self.key.key()?)
            .with_context(|| pair(&self.cert, &self.key))?;
        config.alpn_protocols = vec![HTTP2.to_vec()];
        // A session that is resumed would not show its certificate again, however long ago that has ended.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// What a client needs to speak TLS: whom it believes, and who it is. Its files are read anew for every connection.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    ca: PathBuf,
    /// Certificate and key.
    identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate is for, if that is not the host of its address.
    name: Option<String>,
}

impl ClientTls {
    /// What is needed for this address, or why it can't work; None: plain text. The settings' names begin with `prefix`.
    pub(crate) fn for_address(
        address: &str,
        prefix: &str,
        ca: Option<&Path>,
        cert: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Option<Self>> {
        let uri: Uri = address.parse().with_context(|| format!("{address:?} is no URL"))?;
        ensure!(
            cert.is_some() == key.is_some(),
            "only one of {prefix}cert and {prefix}key is set: set both or neither"
        );
        if uri.scheme_str() != Some("https") {
            ensure!(
                ca.is_none() && cert.is_none(),
                "{prefix}ca or {prefix}cert is set, but {address} is plain text: set an address that begins with https://"
            );
            return Ok(None);
        }
        let ca = ca.with_context(|| {
            format!("{address} is TLS: set {prefix}ca, the file with the CA that the server's certificate is of")
        })?;
        Ok(Some(Self {
            ca: ca.to_owned(),
            identity: cert.zip(key).map(|(cert, key)| (cert.to_owned(), key.to_owned())),
            name: None,
        }))
    }

    /// Expects a certificate for this name, whatever the address.
    pub(crate) fn expecting(self, name: Option<String>) -> Self {
        Self { name, ..self }
    }

    async fn connect(&self, uri: Uri) -> Result<client::TlsStream<TcpStream>> {
        let config = self.config().await?;
        let host = uri.host().context("the address names no host")?;
        let host = host.trim_matches(['[', ']']); // of IPv6
        let name = ServerName::try_from(self.name.as_deref().unwrap_or(host).to_owned())?;
        let connection = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
        connection.set_nodelay(true)?;
        let connection = TlsConnector::from(Arc::new(config)).connect(name, connection);
        connection.await.with_context(|| format!("TLS with {host}"))
    }

    async fn config(&self) -> Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Pem::read(&self.ca).await?.roots()?);
        let mut config = match &self.identity {
            Some((cert, key)) => {
                let (cert, key) = (Pem::read(cert).await?, Pem::read(key).await?);
                builder
                    .with_client_auth_cert(cert.certificates()?, key.key()?)
                    .with_context(|| pair(&cert, &key))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(config)
    }
}

/// A connection that is made when it is first used, and again when it was lost.
pub(crate) fn connect_lazy(endpoint: &Endpoint, tls: Option<ClientTls>) -> Channel {
    let Some(tls) = tls else {
        return endpoint.connect_lazy();
    };
    endpoint.connect_with_connector_lazy(tower::service_fn(move |uri| {
        let tls = tls.clone();
        // All of it in one text: where this is shown, causes are not.
        async move {
            tls.connect(uri)
                .await
                .map(TokioIo::new)
                .map_err(|error| format!("{error:#}"))
        }
    }))
}

/// A PEM file as it was read.
#[derive(Clone, PartialEq, Eq)]
struct Pem {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Pem {
    async fn read(path: &Path) -> Result<Self> {
        let bytes = tokio::fs::read(path).await;
        Ok(Self {
            bytes: bytes.with_context(|| format!("{} can't be read", path.display()))?,
            path: path.to_owned(),
        })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} is no PEM file", self.path.display()))?;
        ensure!(!certificates.is_empty(), "{} holds no certificate", self.path.display());
        Ok(certificates)
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .with_context(|| format!("{} holds a malformed certificate", self.path.display()))?;
        }
        Ok(roots)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.bytes).with_context(|| format!("{} holds no key", self.path.display()))
    }

    /// When its first certificate ends.
    fn not_after(&self) -> Result<SystemTime> {
        let certificates = self.certificates()?;
        let first = certificates.first().context("no certificate")?;
        not_after(first).with_context(|| format!("{} holds a malformed certificate", self.path.display()))
    }
}

/// Reads on to the end of a certificate's validity (RFC 5280, 4.1): whatever else it says is for the library to judge.
fn not_after(certificate: &[u8]) -> der::Result<SystemTime> {
    let certificate = AnyRef::from_der(certificate)?;
    let to_be_signed: AnyRef<'_> = SliceReader::new(certificate.value())?.decode()?;
    let mut fields = SliceReader::new(to_be_signed.value())?;
    for _version_serial_algorithm_issuer in 0..4 {
        fields.decode::<AnyRef<'_>>()?;
    }
    let validity: AnyRef<'_> = fields.decode()?;
    let mut validity = SliceReader::new(validity.value())?;
    validity.decode::<AnyRef<'_>>()?;
    let not_after: AnyRef<'_> = validity.decode()?;
    Ok(match not_after.tag() {
        Tag::UtcTime => not_after.decode_as::<UtcTime>()?.to_system_time(),
        _ => not_after.decode_as::<GeneralizedTime>()?.to_system_time(),
    })
}

fn pair(cert: &Pem, key: &Pem) -> String {
    format!("{} and {} are no pair", cert.path.display(), key.path.display())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
