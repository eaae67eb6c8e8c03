//! A bad network: between a service and its database, or between a client and a service.

use http::Uri;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// A TCP proxy in this process, on a free port of its own. It ends when it is dropped.
///
/// A fault strikes the connections that there are and those that are made while it lasts. [`Proxy::restore`] is for new ones: what a
/// bad network has swallowed does not come back, so connections that were struck stay as they are.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// `host:port` of what is behind it.
    target: String,
    weather: watch::Sender<Weather>,
    /// Bound and never listening: keeps the port while the proxy refuses connections.
    _port: TcpSocket,
}

/// What connections have to go through.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// Of each chunk, in each direction.
    delay: Duration,
    /// What meets new connections.
    now: Option<Fault>,
    /// The fault that struck last, and how many there were.
    last: Option<Fault>,
    faults: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Cut,
    HalfClosed,
    Mute,
    BlackHole,
}

impl Proxy {
    /// Stands before a URL.
    pub async fn start(target: &str) -> Self {
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = port.local_addr().unwrap();
        let target = place(target);
        let (weather, told) = watch::channel(Weather::default());
        tokio::spawn(accept(address, listen(address), target.clone(), told));
        Self {
            address,
            target,
            weather,
            _port: port,
        }
    }

    /// The same URL, through the proxy.
    pub fn url(&self, url: &str) -> String {
        assert_eq!(place(url), self.target, "{url} is not what is behind this proxy");
        url.replacen(&self.target, &self.address.to_string(), 1)
    }

    /// From now on every chunk is carried so much later, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Closes all connections and refuses new ones.
    pub fn cut(&self) {
        self.strike(Fault::Cut);
    }

    /// Ends the direction to who has connected, while what they send goes on to the target.
    pub fn half_close(&self) {
        self.strike(Fault::HalfClosed);
    }

    /// Goes on to carry what is sent to the target, and nothing of what it answers.
    pub fn mute(&self) {
        self.strike(Fault::Mute);
    }

    /// Accepts connections and carries nothing at all.
    pub fn black_hole(&self) {
        self.strike(Fault::BlackHole);
    }

    /// New connections are good again, and nothing is late.
    pub fn restore(&self) {
        self.weather.send_modify(|weather| {
            weather.now = None;
            weather.delay = Duration::ZERO;
        });
    }

    fn strike(&self, fault: Fault) {
        self.weather.send_modify(|weather| {
            weather.now = Some(fault);
            weather.last = Some(fault);
            weather.faults += 1;
        });
    }
}

/// `host:port` of a URL.
fn place(url: &str) -> String {
    let uri: Uri = url.parse().unwrap();
    let authority = uri.authority().expect("the URL must name a host");
    let port = authority.port_u16().expect("the URL must name a port");
    format!("{}:{port}", authority.host())
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap(); // beside the socket that keeps the port
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

/// Accepts connections until the proxy is dropped. While it is cut, nobody listens.
async fn accept(address: SocketAddr, mut listener: TcpListener, target: String, weather: watch::Receiver<Weather>) {
    let mut cut = weather.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                tokio::spawn(carry(stream, target.clone(), weather.clone()));
            }
            lives = becomes(&mut cut, |weather| weather.now == Some(Fault::Cut)) => {
                drop(listener);
                if !lives || !becomes(&mut cut, |weather| weather.now != Some(Fault::Cut)).await {
                    return;
                }
                listener = listen(address);
            }
        }
    }
}

/// Waits until the weather is so; false: the proxy is gone.
async fn becomes(weather: &mut watch::Receiver<Weather>, wanted: impl FnMut(&Weather) -> bool) -> bool {
    weather.wait_for(wanted).await.is_ok()
}

/// Carries one connection until both sides have ended it, or it is cut.
async fn carry(client: TcpStream, target: String, weather: watch::Receiver<Weather>) {
    let born = *weather.borrow();
    let luck = Luck { born, weather };
    let mut cut = luck.clone();
    let carried = async {
        let server = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            pump(from_client, to_server, luck.clone(), &[Fault::Cut, Fault::BlackHole]),
            pump(
                from_server,
                to_client,
                luck,
                &[Fault::Cut, Fault::BlackHole, Fault::Mute, Fault::HalfClosed]
            ),
        )
    };
    tokio::select! {
        _ = carried => {} // an error is one of the two who are connected: they see it themselves
        () = cut.struck_by(Fault::Cut) => {}
    }
}

/// Carries one direction; what these faults strike is swallowed.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut luck: Luck, swallowed: &[Fault]) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut ended = false;
    loop {
        let half_closes = swallowed.contains(&Fault::HalfClosed) && !ended;
        let read = tokio::select! {
            biased;
            () = luck.struck_by(Fault::HalfClosed), if half_closes => {
                to.shutdown().await?;
                ended = true;
                continue;
            }
            read = from.read(&mut buffer) => read?,
        };
        if read == 0 {
            return to.shutdown().await;
        }
        let delay = luck.weather.borrow().delay;
        tokio::time::sleep(delay).await;
        if luck.fault().is_none_or(|fault| !swallowed.contains(&fault)) {
            to.write_all(&buffer[..read]).await?;
        }
    }
}

/// What has struck one connection.
#[derive(Debug, Clone)]
struct Luck {
    /// The weather when it was made.
    born: Weather,
    weather: watch::Receiver<Weather>,
}

impl Luck {
    fn fault(&self) -> Option<Fault> {
        struck(&self.born, &self.weather.borrow())
    }

    /// Waits for this fault; for ever, if the proxy is gone before.
    async fn struck_by(&mut self, fault: Fault) {
        let born = self.born;
        if !becomes(&mut self.weather, |now| struck(&born, now) == Some(fault)).await {
            std::future::pending().await
        }
    }
}

/// The fault of a connection that was made in one weather and has lived until another.
fn struck(born: &Weather, now: &Weather) -> Option<Fault> {
    if now.faults == born.faults { born.now } else { now.last }
}
