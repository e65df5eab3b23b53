//! A server on loopback that lies, and name servers that lie about where it is.
//!
//! Never: answers a connection twice. Whatever it does, it ends with the scene that keeps it.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jidoka::doors::names::Names;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Between two bytes of a server that trickles.
const TRICKLE: Duration = Duration::from_millis(20);

/// What a server does with every request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Says `hello`.
    Hello,
    /// Says these bytes and closes.
    Raw(String),
    /// Sends whoever asks elsewhere. Who asks for `again` is told `hello`.
    Redirect(u16, String),
    /// Sends everybody to itself.
    Circle,
    /// Says the request again, in a header, in the body, and in base64, under this status.
    Echo(u16),
    /// Says so many bytes.
    Bytes(usize),
    /// Says the head and a body in pieces without an end.
    Endless,
    /// Says so many headers of 100 bytes.
    Headers(usize),
    /// Says a header without an end.
    EndlessHeader,
    /// Says a head and then one byte at a time, for ever.
    Trickle,
    /// Takes the request and says nothing.
    Silence,
}

/// A server.
pub struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// One that answers like this. `PORT` in what it says is its own port.
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), answer.clone());
                tokio::spawn(async move { drop(serve(stream, &log, &answer, port).await) });
            }
        });
        Self { port, heard, task }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Requests, in the order in which they came.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn whole(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} So\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

async fn serve(mut stream: TcpStream, log: &Mutex<Vec<String>>, answer: &Answer, port: u16) -> io::Result<()> {
    let request = heard(&mut stream).await?;
    log.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let said = match answer {
        Answer::Hello => whole(200, "", "hello"),
        Answer::Raw(text) => text.replace("PORT", &port.to_string()),
        Answer::Redirect(..) if request.starts_with("GET /v1/again ") => whole(200, "", "hello"),
        Answer::Redirect(status, location) => {
            whole(*status, &format!("location: {}\r\n", location.replace("PORT", &port.to_string())), "")
        }
        Answer::Circle => whole(302, "location: /v1/page\r\n", ""),
        Answer::Echo(status) => {
            let line = |name: &str| request.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            let headers = format!("x-line: {}\r\nx-echo: {}\r\n", line("GET"), line("authorization"));
            whole(*status, &headers, &request)
        }
        Answer::Bytes(count) => whole(200, "", &"x".repeat(*count)),
        Answer::Headers(count) => {
            let headers: String = (0..*count).map(|number| format!("x-{number:03}: {}\r\n", "y".repeat(93))).collect();
            whole(200, &headers, "hello")
        }
        Answer::Endless => "HTTP/1.1 200 So\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        Answer::EndlessHeader => "HTTP/1.1 200 So\r\nx-long: ".to_owned(),
        Answer::Trickle => "HTTP/1.1 200 So\r\ncontent-length: 900\r\n\r\n".to_owned(),
        Answer::Silence => String::new(),
    };
    stream.write_all(said.as_bytes()).await?;
    match answer {
        Answer::Endless => loop {
            stream.write_all(b"10\r\n0123456789abcdef\r\n").await?;
        },
        Answer::EndlessHeader => loop {
            stream.write_all(&[b'x'; 1 << 10]).await?;
        },
        Answer::Trickle => {
            let mut ticks = tokio::time::interval(TRICKLE);
            loop {
                ticks.tick().await;
                stream.write_all(b"x").await?;
            }
        }
        Answer::Silence => while stream.read(&mut [0; 64]).await? > 0 {},
        Answer::Hello
        | Answer::Raw(_)
        | Answer::Redirect(..)
        | Answer::Circle
        | Answer::Echo(_)
        | Answer::Bytes(_)
        | Answer::Headers(_) => stream.shutdown().await?,
    }
    Ok(())
}

/// One request, as far as its length says.
async fn heard(stream: &mut TcpStream) -> io::Result<String> {
    let mut request = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok(text);
            }
        }
        match stream.read(&mut chunk).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => request.extend_from_slice(&chunk[..read]),
        }
    }
}

/// A name server that gives these answers for every name, one after the other, and then the last one for ever.
pub struct LyingNames {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
}

impl LyingNames {
    /// # Panics
    /// One of them is no address.
    pub fn new(answers: &[&[&str]]) -> Self {
        let parsed = |answer: &&[&str]| answer.iter().map(|it| it.parse().expect("an address")).collect();
        Self { answers: Mutex::new(answers.iter().map(parsed).collect()) }
    }
}

#[async_trait]
impl Names for LyingNames {
    async fn look_up(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.ok_or_else(|| io::Error::other("nobody knows this name"))
    }
}
