//! Real reverse proxies, with the configurations of the examples, and an application behind them.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::cast::PATIENCE;

/// A host of another domain than Kerria's, which every proxy takes, too.
pub const OTHER: &str = "wiki.other.test";

/// An application that answers with the head of the request that it got, and takes every WebSocket.
pub struct Application {
    pub address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Application {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&counted)));
            }
        });
        Self { address, requests }
    }

    /// How many requests have got here.
    pub fn requests(&self) -> u64 {
        self.requests.load(SeqCst)
    }
}

async fn serve(mut stream: TcpStream, requests: Arc<AtomicU64>) {
    let mut got = Vec::new();
    loop {
        let mut buffer = [0; 16 * 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => got.extend_from_slice(&buffer[..length]),
        }
        let Some(end) = got.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&got[..end]).into_owned();
        requests.fetch_add(1, SeqCst);
        let answer = if head.to_ascii_lowercase().contains("\r\nupgrade: websocket") {
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                .to_owned()
        } else {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{head}", head.len())
        };
        drop(stream.write_all(answer.as_bytes()).await);
        return;
    }
}

/// A proxy of its own process.
pub struct Proxy {
    pub address: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

impl Proxy {
    pub async fn nginx(kerria: SocketAddr, application: SocketAddr) -> Self {
        let start = |folder: &Path| {
            let config = folder.join("nginx.conf");
            let text = fs::read_to_string(&config).unwrap();
            // Where whoever runs the tests may write.
            let mut own = String::from("http {\n    access_log off;\n");
            for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                own.push_str(&format!("    {kind}_temp_path {}/{kind};\n", folder.display()));
            }
            fs::write(&config, text.replacen("http {", &own, 1)).unwrap();
            let mut command = Command::new(program("nginx"));
            let rest = format!(
                "daemon off; master_process off; pid {}/nginx.pid; error_log stderr;",
                folder.display()
            );
            command.arg("-c").arg(config).arg("-p").arg(folder).args(["-e", "stderr", "-g", &rest]);
            command
        };
        Self::start("nginx", kerria, application, start).await
    }

    pub async fn caddy(kerria: SocketAddr, application: SocketAddr) -> Self {
        let start = |folder: &Path| {
            let mut command = Command::new(program("caddy"));
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.join("Caddyfile"));
            command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
            command
        };
        Self::start("caddy", kerria, application, start).await
    }

    pub async fn haproxy(kerria: SocketAddr, application: SocketAddr) -> Self {
        let start = |folder: &Path| {
            let mut command = Command::new(program("haproxy"));
            command.args(["-db", "-f", "haproxy.cfg"]).current_dir(folder);
            command
        };
        Self::start("haproxy", kerria, application, start).await
    }

    pub async fn apache(kerria: SocketAddr, application: SocketAddr) -> Self {
        let start = |folder: &Path| {
            let mut command = Command::new(program("apache2"));
            // One process, so that nothing is left of it when it is killed.
            command.args(["-X", "-f"]).arg(folder.join("apache.conf"));
            command.env("HERE", folder);
            command
        };
        Self::start("apache", kerria, application, start).await
    }

    /// Envoy is no package of Debian's: the variable `ENVOY` says where it is.
    pub async fn envoy(kerria: SocketAddr, application: SocketAddr) -> Self {
        let start = |folder: &Path| {
            let mut command = Command::new(envoy().unwrap_or_else(|| program("envoy")));
            command
                .args(["--concurrency", "1", "--use-dynamic-base-id", "-c"])
                .arg(folder.join("envoy.yaml"));
            command
        };
        Self::start("envoy", kerria, application, start).await
    }

    /// Nor is Traefik: the variable `TRAEFIK` says where it is.
    pub async fn traefik(kerria: SocketAddr, application: SocketAddr) -> Self {
        let start = |folder: &Path| {
            let mut command = Command::new(traefik().unwrap_or_else(|| program("traefik")));
            command.arg("--configFile=traefik.yml").current_dir(folder);
            command
        };
        let proxy = Self::start("traefik", kerria, application, start).await;
        // It listens before it has read where requests go.
        let knows_hosts = async {
            while proxy.knows_nothing().await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, knows_hosts).await.expect("it reads its configuration");
        proxy
    }

    /// Whether it answers that there is nothing.
    async fn knows_nothing(&self) -> bool {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET /public/ HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", self.address.port());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut beginning = [0; 12];
        stream.read_exact(&mut beginning).await.unwrap();
        beginning.ends_with(b" 404")
    }

    /// Copies an example, puts the addresses of this test in the place of its own, and waits until the proxy listens.
    async fn start(
        name: &str,
        kerria: SocketAddr,
        application: SocketAddr,
        command: impl FnOnce(&Path) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let example =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/forward-auth").join(name);
        for entry in fs::read_dir(&example).unwrap().map(Result::unwrap) {
            let text = fs::read_to_string(entry.path()).unwrap();
            let text = text
                .replace("127.0.0.1:8080", &kerria.to_string())
                .replace("127.0.0.1:3000", &application.to_string())
                .replace("127.0.0.1:8000", &address.to_string())
                .replace("127.0.0.1, port_value: 8080", &port_value(kerria))
                .replace("127.0.0.1, port_value: 3000", &port_value(application))
                .replace("127.0.0.1, port_value: 8000", &port_value(address))
                .replace("localhost:8000", &format!("localhost:{}", address.port()))
                .replace("{host}:8000", &format!("{{host}}:{}", address.port()))
                .replace("port = 8000", &format!("port = {}", address.port()));
            let text = with_other_host(&text, address.port());
            fs::write(folder.path().join(entry.file_name()), text).unwrap();
        }
        // Servers that begin as root read their files as somebody else.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = command(folder.path());
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
        let mut process =
            command.spawn().unwrap_or_else(|why| panic!("{name}: {why}; scripts/test installs it"));
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                let over = process.try_wait().unwrap().is_some();
                assert!(!over, "{name} ended:\n{}", fs::read_to_string(folder.path().join("log")).unwrap());
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, listens).await.unwrap_or_else(|_| panic!("{name} does not listen"));
        Self { address, _process: process, _folder: folder }
    }
}

/// Where Envoy is, if it is installed for the tests.
pub fn envoy() -> Option<PathBuf> {
    std::env::var_os("ENVOY").map(PathBuf::from)
}

/// Where Traefik is, if it is installed for the tests.
pub fn traefik() -> Option<PathBuf> {
    std::env::var_os("TRAEFIK").map(PathBuf::from)
}

/// The configuration for one more host, whichever proxy's it is.
fn with_other_host(text: &str, port: u16) -> String {
    text.replace("server_name localhost;", &format!("server_name localhost {OTHER};"))
        .replace(
            &format!("http://localhost:{port} {{"),
            &format!("http://localhost:{port}, http://{OTHER}:{port} {{"),
        )
        .replace(
            &format!("-m str localhost:{port} }}"),
            &format!("-m str localhost:{port} {OTHER}:{port} }}"),
        )
        .replace(
            "    ServerName localhost\n",
            &format!("    ServerName localhost\n    ServerAlias {OTHER}\n"),
        )
        .replace("\"Host(`localhost`)\"", &format!("\"Host(`localhost`) || Host(`{OTHER}`)\""))
        .replace(&format!("[\"localhost:{port}\"]"), &format!("[\"{OTHER}:{port}\", \"localhost:{port}\"]"))
}

/// An address as Envoy writes it.
fn port_value(address: SocketAddr) -> String {
    format!("{}, port_value: {}", address.ip(), address.port())
}

/// Debian keeps servers out of the path of everyone but root.
fn program(name: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| PathBuf::from(name))
}
