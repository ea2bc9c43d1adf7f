//! As much of an HTTP client as the lab needs: one connection, one request after the other.

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
};

/// A connection to a server on this machine.
pub(crate) struct Client(BufStream<TcpStream>);

/// An answer.
pub(crate) struct Answer {
    /// Its status code.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// The name and value of a cookie that it sets.
    pub(crate) cookie: Option<String>,
}

impl Client {
    pub(crate) async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufStream::new(stream)))
    }

    /// `header` is one line without its end, or nothing.
    pub(crate) async fn get(&mut self, path: &str, header: &str) -> anyhow::Result<Answer> {
        let end = if header.is_empty() { "" } else { "\r\n" };
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{header}{end}\r\n")).await
    }

    pub(crate) async fn post(&mut self, path: &str, json: &str) -> anyhow::Result<Answer> {
        self.post_with(path, "accept: */*", json).await
    }

    /// The same, with one more line in the header.
    pub(crate) async fn post_with(&mut self, path: &str, header: &str, json: &str) -> anyhow::Result<Answer> {
        let (head, length) = ("host: localhost\r\ncontent-type: application/json", json.len());
        let head = format!("{head}\r\n{header}\r\ncontent-length: {length}");
        self.ask(&format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\n{json}")).await
    }

    async fn ask(&mut self, request: &str) -> anyhow::Result<Answer> {
        self.0.write_all(request.as_bytes()).await?;
        self.0.flush().await?;
        let status = self.line().await?.get(9..12).context("no status")?.parse()?;
        let (mut length, mut cookie) = (0, None);
        while let Some((name, value)) = self.line().await?.split_once(':') {
            match (&*name.to_ascii_lowercase(), value.trim()) {
                ("content-length", value) => length = value.parse()?,
                ("set-cookie", value) => cookie = value.split(';').next().map(str::to_owned),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok(Answer { status, body, cookie })
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            bail!("the server has closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }
}
