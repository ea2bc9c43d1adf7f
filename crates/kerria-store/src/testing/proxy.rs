//! What lies between a node and its database, and breaks when it is told to.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// The state of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// Everything gets through.
    Whole,
    /// Everything gets through, so much later, there and back.
    Slow(Duration),
    /// What is sent gets through, and no answer comes back. In the connections of that time, none ever does.
    OneWay,
    /// What there was is closed, and nobody gets a new connection.
    Cut,
    /// Connections are accepted and kept, and nothing gets through. In those, nothing ever does again.
    BlackHole,
}

/// Forwards to a server, as far as its cable allows.
pub struct Proxy {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    cable: Cable,
    connections: Vec<Connection>,
}

/// Both ends.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    there: Arc<Direction>,
    back: Arc<Direction>,
}

/// What happens to what is sent in one direction.
#[derive(Default)]
struct Direction {
    /// Nothing gets through any more.
    swallows: AtomicBool,
    /// How long everything takes, in milliseconds.
    delay: AtomicU64,
}

impl Proxy {
    /// In front of the server in this URL.
    ///
    /// # Panics
    /// If the URL has no server and database, or there is no port for the proxy.
    #[must_use]
    pub fn to(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("the URL has a scheme");
        let (authority, database) = rest.split_once('/').expect("the URL names a database");
        let (user, server) = authority.rsplit_once('@').map_or(("", authority), |(user, at)| (user, at));
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{user}{}/{database}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { cable: Cable::Whole, connections: Vec::new() }));
        let (server, accepting) = (server.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            // A client that is gone already, or a server that is, ends its connection and nothing else.
            listener.incoming().flatten().for_each(|client| drop(connect(client, &server, &accepting)));
        });
        Self { url, state }
    }

    /// The URL that leads through it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Breaks the cable, or mends it.
    pub fn set(&self, cable: Cable) {
        let mut state = lock(&self.state);
        state.cable = cable;
        if cable == Cable::Cut {
            state.connections.drain(..).for_each(|connection| connection.close());
        }
        state.connections.iter().for_each(|connection| connection.set(cable));
    }
}

fn connect(client: TcpStream, server: &str, state: &Mutex<State>) -> std::io::Result<()> {
    if lock(state).cable == Cable::Cut {
        return Ok(());
    }
    let server = TcpStream::connect(server)?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    let mut state = lock(state);
    let (there, back) = (Arc::<Direction>::default(), Arc::<Direction>::default());
    let connection = Connection {
        client: client.try_clone()?,
        server: server.try_clone()?,
        there: Arc::clone(&there),
        back: Arc::clone(&back),
    };
    connection.set(state.cable);
    if state.cable == Cable::Cut {
        connection.close();
        return Ok(());
    }
    state.connections.push(connection);
    drop(state);
    let answers = (server.try_clone()?, client.try_clone()?, back);
    for (from, to, direction) in [(client, server, there), answers] {
        thread::spawn(move || forward(from, to, &direction));
    }
    Ok(())
}

fn forward(mut from: TcpStream, mut to: TcpStream, direction: &Direction) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut bytes) {
        direction.take_its_time();
        match (direction.swallows.load(SeqCst), count) {
            // Not even that it has ended.
            (true, 0) => return,
            (true, _) => {}
            (false, 0) => break,
            (false, _) if to.write_all(&bytes[..count]).is_err() => break,
            (false, _) => {}
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

impl Direction {
    #[expect(clippy::disallowed_methods, reason = "being slow is what it is for")]
    fn take_its_time(&self) {
        thread::sleep(Duration::from_millis(self.delay.load(SeqCst)));
    }
}

impl Connection {
    fn set(&self, cable: Cable) {
        let delay = if let Cable::Slow(delay) = cable { delay } else { Duration::ZERO };
        for direction in [&self.there, &self.back] {
            direction.delay.store(delay.as_millis() as u64, SeqCst);
        }
        if cable == Cable::BlackHole {
            self.there.swallows.store(true, SeqCst);
        }
        if matches!(cable, Cable::BlackHole | Cable::OneWay) {
            self.back.swallows.store(true, SeqCst);
        }
    }

    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

fn lock(mutex: &Mutex<State>) -> MutexGuard<'_, State> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
