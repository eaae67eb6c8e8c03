//! What an operator can set: each a flag and an environment variable.

use crate::tls::ServerTls;
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tonic::transport::Uri;
use tracing_subscriber::EnvFilter;

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 50051);
const MAX_IN_FLIGHT: usize = 1024;
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
const DRAIN_DELAY: &str = "5s";
const GRACE: &str = "20s";
const JOURNAL_RETENTION: &str = "400d";
const DAY: Duration = Duration::from_secs(24 * 3600);
const TRACE_RATIO: f64 = 0.01;
const LOG: &str = "info,sqlx=warn,sea_orm=warn,h2=warn,hyper=warn,tonic=warn,tower=warn,opentelemetry=warn";

/// The settings that all services share.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// The address to serve on.
    #[arg(long, env = "CLIENTELE_LISTEN", default_value_t = LISTEN)]
    pub listen: SocketAddr,
    /// The database, as in `postgres://user:password@host/name` or `sqlite://data/org.db`.
    #[arg(long, env = "CLIENTELE_DATABASE", hide_env_values = true)]
    pub database: Secret<String>,
    /// The JSON file that lists the issuers of tokens.
    #[arg(long, env = "CLIENTELE_ISSUERS")]
    pub issuers: PathBuf,
    /// What it needs to speak TLS.
    #[command(flatten)]
    pub tls: ServerTls,
    /// The most calls at a time, and apart from them the most streams; further ones are refused at once.
    #[arg(long, env = "CLIENTELE_MAX_IN_FLIGHT", default_value_t = MAX_IN_FLIGHT)]
    pub max_in_flight: usize,
    /// The largest message that is accepted, in bytes.
    #[arg(long, env = "CLIENTELE_MAX_MESSAGE_BYTES", default_value_t = MAX_MESSAGE_BYTES)]
    pub max_message_bytes: usize,
    /// How long to serve on after readiness was withdrawn, so that load balancers notice.
    #[arg(long, env = "CLIENTELE_DRAIN_DELAY", default_value = DRAIN_DELAY, value_parser = duration)]
    pub drain_delay: Duration,
    /// How long calls in flight may take to end at shutdown.
    #[arg(long, env = "CLIENTELE_GRACE", default_value = GRACE, value_parser = duration)]
    pub grace: Duration,
    /// How long entries of the journal are kept, and with them the request ids of their calls: at least `24h`.
    #[arg(long, env = "CLIENTELE_JOURNAL_RETENTION", default_value = JOURNAL_RETENTION, value_parser = duration)]
    pub journal_retention: Duration,
    /// The OpenTelemetry collector (OTLP over gRPC), as in `http://localhost:4317`; none: nothing is exported.
    #[arg(long, env = "CLIENTELE_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// The share of calls that begin a trace of their own; a caller's decision wins.
    #[arg(long, env = "CLIENTELE_TRACE_RATIO", default_value_t = TRACE_RATIO)]
    pub trace_ratio: f64,
    /// What is logged, as in `info,sqlx=warn`.
    #[arg(long, env = "CLIENTELE_LOG", default_value = LOG)]
    pub log: String,
}

impl Config {
    /// The defaults, for programs that compose services themselves.
    pub fn new(database: impl Into<String>, issuers: impl Into<PathBuf>) -> Self {
        Self {
            listen: LISTEN,
            database: Secret::new(database.into()),
            issuers: issuers.into(),
            tls: ServerTls::default(),
            max_in_flight: MAX_IN_FLIGHT,
            max_message_bytes: MAX_MESSAGE_BYTES,
            drain_delay: Duration::from_secs(5),
            grace: Duration::from_secs(20),
            journal_retention: 400 * DAY,
            otlp_endpoint: None,
            trace_ratio: TRACE_RATIO,
            log: LOG.to_owned(),
        }
    }

    /// Refuses settings that can't work, with what to set instead.
    pub fn validate(&self) -> Result<()> {
        ensure!(
            self.max_in_flight > 0,
            "max_in_flight is 0, so every call would be refused: set at least 1"
        );
        ensure!(
            (64 * 1024..=64 * 1024 * 1024).contains(&self.max_message_bytes),
            "max_message_bytes is {}: set 64 KiB to 64 MiB, in bytes",
            self.max_message_bytes
        );
        ensure!(
            (0.0..=1.0).contains(&self.trace_ratio),
            "trace_ratio is {}: set a share from 0 to 1",
            self.trace_ratio
        );
        ensure!(
            self.drain_delay + self.grace <= Duration::from_secs(600),
            "drain_delay and grace are {:?} together, and nothing waits that long for a shutdown: stay within 10 minutes",
            self.drain_delay + self.grace
        );
        ensure!(
            self.journal_retention >= DAY,
            "journal_retention is {:?}, and requests are remembered a day at least: set 24h or more",
            self.journal_retention
        );
        if let Some(endpoint) = &self.otlp_endpoint {
            let uri: Uri = endpoint
                .parse()
                .with_context(|| format!("otlp_endpoint {endpoint:?} is no URL"))?;
            ensure!(
                uri.scheme_str() == Some("http") && uri.host().is_some(),
                "otlp_endpoint is {endpoint:?}: set one that begins with http://, the exporter speaks gRPC without TLS"
            );
        }
        self.tls.validate()?;
        EnvFilter::try_new(&self.log).with_context(|| format!("log is {:?}", self.log))?;
        Ok(())
    }

    /// All settings in force, secrets masked.
    pub fn effective(&self) -> Value {
        json!({
            "listen": self.listen,
            "database": self.database,
            "issuers": self.issuers,
            "tls": self.tls.settings(),
            "max_in_flight": self.max_in_flight,
            "max_message_bytes": self.max_message_bytes,
            "drain_delay": format!("{:?}", self.drain_delay),
            "grace": format!("{:?}", self.grace),
            "journal_retention": format!("{:?}", self.journal_retention),
            "otlp_endpoint": self.otlp_endpoint,
            "trace_ratio": self.trace_ratio,
            "log": self.log,
        })
    }
}

/// A length of time: `5s`, `500ms`, `2m`, `24h`, `400d`, or seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u32 = number
        .parse()
        .map_err(|_| format!("{text:?} must be a length of time, as in 5s, 500ms or 24h"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "" | "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        "h" => Ok(Duration::from_secs(u64::from(number) * 3600)),
        "d" => Ok(DAY * number),
        _ => Err(format!("{unit:?} must be one of the units ms, s, m, h and d")),
    }
}

/// A value that is never shown. Of a URL only the passwords are hidden.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl FromStr for Secret<String> {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl<T: AsRef<str>> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(self.0.as_ref()))
    }
}

impl<T: AsRef<str>> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&masked(self.0.as_ref()), f)
    }
}

impl<T: AsRef<str>> Serialize for Secret<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&masked(self.0.as_ref()))
    }
}

fn masked(text: &str) -> String {
    const MASK: &str = "***";
    let Some((scheme, rest)) = text.split_once("://") else {
        return MASK.to_owned();
    };
    // A password may hold an unescaped `?` or `@`: everything from the first colon to the last `@` is taken for it.
    let (login, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => (Some(login.split(':').next().unwrap_or_default()), rest),
        None => (None, rest),
    };
    let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    let mut masked = format!("{scheme}://");
    if let Some(user) = login {
        masked += &format!("{user}:{MASK}@");
    }
    masked += place;
    for (at, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        masked.push(if at == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, _)) if key.contains("pass") => masked += &format!("{key}={MASK}"),
            _ => masked += pair,
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn the_defaults_of_the_flags_are_those_of_new() {
        let program = Program::try_parse_from(["x", "--database", "sqlite://a.db", "--issuers", "i.json"]).unwrap();
        let new = Config::new("sqlite://a.db", "i.json");
        assert_eq!(program.config.effective(), new.effective());
        new.validate().unwrap();
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let good = Config::new("sqlite://a.db", "i.json");
        let bad: [fn(&mut Config); 11] = [
            |config| config.max_in_flight = 0,
            |config| config.journal_retention = DAY - Duration::from_secs(1),
            |config| config.max_message_bytes = 4,
            |config| config.trace_ratio = f64::NAN,
            |config| config.grace = Duration::from_secs(3600),
            |config| config.otlp_endpoint = Some("localhost:4317".into()),
            |config| config.otlp_endpoint = Some("https://collector:4317".into()),
            |config| config.log = "info,=x=".into(),
            |config| config.tls.tls_cert = Some("cert.pem".into()),
            |config| config.tls.tls_key = Some("key.pem".into()),
            |config| config.tls.tls_client_ca = Some("ca.pem".into()),
        ];
        for (at, spoil) in bad.iter().enumerate() {
            let mut config = good.clone();
            spoil(&mut config);
            assert!(config.validate().is_err(), "{at}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for (url, shown) in [
            (
                "postgres://ann:pw@db/x?sslmode=require",
                "postgres://ann:***@db/x?sslmode=require",
            ),
            ("postgres://ann:p@:/?w@db:5432/x", "postgres://ann:***@db:5432/x"),
            (
                "postgres://db/x?user=ann&password=pw",
                "postgres://db/x?user=ann&password=***",
            ),
            ("sqlite://data/org.db?mode=rwc", "sqlite://data/org.db?mode=rwc"),
            ("hunter2", "***"),
        ] {
            let secret: Secret<String> = url.parse().unwrap();
            assert_eq!(secret.to_string(), shown);
            assert_eq!(format!("{secret:?}"), format!("{shown:?}"));
            assert_eq!(serde_json::to_value(&secret).unwrap(), shown);
            assert_eq!(secret.expose(), url);
        }
    }

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("24h"), Ok(DAY));
        assert_eq!(duration("400d"), Ok(400 * DAY));
        assert!(duration(&format!("{}d", u32::MAX)).is_ok());
        for bad in ["", "s", "-1s", "5w", "1.5s", "99999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
