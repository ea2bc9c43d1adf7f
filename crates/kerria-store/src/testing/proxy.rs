//! What lies between a node and its database, and breaks when it is told to.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

/// The state of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// Everything gets through.
    Whole,
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
    swallows: Arc<AtomicBool>,
}

impl Proxy {
    /// In front of the server in this URL.
    ///
    /// # Panics
    /// If the URL has no user, server and database, or there is no port for the proxy.
    #[must_use]
    pub fn to(url: &str) -> Self {
        let (before, rest) = url.split_once('@').expect("the URL names a user");
        let (server, database) = rest.split_once('/').expect("the URL names a database");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{before}@{}/{database}", listener.local_addr().unwrap());
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
        match cable {
            Cable::Whole => {}
            Cable::Cut => state.connections.drain(..).for_each(|connection| connection.close()),
            Cable::BlackHole => {
                state.connections.iter().for_each(|connection| connection.swallows.store(true, SeqCst));
            }
        }
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
    let swallows = Arc::new(AtomicBool::new(state.cable == Cable::BlackHole));
    let connection = Connection {
        client: client.try_clone()?,
        server: server.try_clone()?,
        swallows: Arc::clone(&swallows),
    };
    if state.cable == Cable::Cut {
        connection.close();
        return Ok(());
    }
    state.connections.push(connection);
    drop(state);
    let back = (server.try_clone()?, client.try_clone()?);
    for (from, to) in [(client, server), back] {
        let swallows = Arc::clone(&swallows);
        thread::spawn(move || forward(from, to, &swallows));
    }
    Ok(())
}

fn forward(mut from: TcpStream, mut to: TcpStream, swallows: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut bytes) {
        match (swallows.load(SeqCst), count) {
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

impl Connection {
    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

fn lock(mutex: &Mutex<State>) -> MutexGuard<'_, State> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
