//! Where an attack takes place: a home of its own with things around it that nobody may touch, and two listeners on
//! loopback that nobody may reach.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use super::GUEST_BYTES;
use super::server::Server;
use crate::bench::{Bench, End, Home};
use crate::provider::{FakeProvider, Seen};

/// What stands in files that no guest may read.
pub const SECRET: &str = "canary-of-the-operator";

/// One place.
pub struct Scene {
    pub home: Arc<Home>,
    /// A directory that no run knows of.
    outside: TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
    number: usize,
    /// Servers that live as long as the scene.
    providers: Mutex<Vec<FakeProvider>>,
    servers: Mutex<Vec<Server>>,
}

impl Scene {
    /// A new one, with a secret at every place that `..` leads to.
    pub fn new() -> Arc<Self> {
        let home = Home::new();
        let outside = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(home.state().join("runs")).expect("a directory");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = UdpSocket::bind(tcp.local_addr().expect("an address")).expect("the same port");
        tcp.set_nonblocking(true).expect("can be told");
        udp.set_nonblocking(true).expect("can be told");
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let scene = Self { home, outside, tcp, udp, number, providers: Mutex::default(), servers: Mutex::default() };
        scene.secrets().iter().for_each(|path| std::fs::write(path, SECRET).expect("a file"));
        Arc::new(scene)
    }

    fn secrets(&self) -> [PathBuf; 4] {
        let (dir, state) = (self.home.dir(), self.home.state());
        [dir.join("secret"), state.join("secret"), state.join("runs/secret"), self.outside().join("secret")]
    }

    /// A directory that no run knows of.
    pub fn outside(&self) -> &Path {
        self.outside.path()
    }

    /// Where nobody may call.
    pub fn address(&self) -> SocketAddr {
        self.tcp.local_addr().expect("an address")
    }

    /// A run of a guest here.
    pub fn guest(&self, component: &str) -> Bench {
        self.dressed(Bench::new(component))
    }

    /// A run of these bytes here.
    pub fn bytes(&self, component: Vec<u8>) -> Bench {
        self.dressed(Bench::of_bytes(component))
    }

    fn dressed(&self, bench: Bench) -> Bench {
        bench
            .at(&self.home)
            .set("", &format!("line = \"attacks-{}\"", self.number))
            .set("caps", &format!("memory = \"{}MiB\"", GUEST_BYTES >> 20))
            // Long enough for a machine that is busy with other things.
            .wall("120s")
            .file("a.txt", "before")
            .file("src/b.txt", "two")
    }

    /// Keeps a server until the scene is over.
    pub fn keep(&self, provider: FakeProvider) {
        self.providers.lock().unwrap_or_else(PoisonError::into_inner).push(provider);
    }

    /// Requests that its servers have seen.
    pub fn asked(&self) -> Vec<Seen> {
        let providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        providers.iter().flat_map(FakeProvider::seen).collect()
    }

    /// Keeps a server of the web until the scene is over.
    pub fn keep_server(&self, server: Server) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).push(server);
    }

    /// Requests that its servers of the web have heard, as they came.
    pub fn heard(&self) -> Vec<String> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).iter().flat_map(Server::heard).collect()
    }

    /// The name of an item that no other scene has.
    pub fn item(&self) -> String {
        format!("item-{}", self.number)
    }

    /// What the host says of a run, as it wrote it down.
    pub fn verdict(&self, end: &End) -> String {
        let path = self.home.state().join(&end.record.kept).join("verdict.json");
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Bytes that the host wrote down about a run, the guest's own files not counted.
    pub fn written_down(&self, end: &End) -> u64 {
        (end.journal().len() + self.verdict(end).len()) as u64
    }

    /// The names in a directory, sorted.
    pub fn names(&self, dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).expect("is there").map(|entry| entry.expect("can be read").file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Whether everything around the run is as it was, and nothing of a secret is in what the host kept of it.
    ///
    /// # Errors
    /// What is not.
    pub fn is_untouched(&self, end: &End) -> Result<(), String> {
        let is = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        for path in self.secrets() {
            let read = std::fs::read_to_string(&path).unwrap_or_default();
            is(read == SECRET, &format!("{} was touched", path.display()))?;
        }
        let around = self.names(self.home.dir());
        is(around == ["context", "secret", "state", "workspace"], &format!("around the workspace are {around:?}"))?;
        let outside = self.names(self.outside());
        is(outside == ["secret"], &format!("outside are {outside:?}"))?;
        is(self.tcp.accept().is_err(), "somebody called")?;
        is(self.udp.recv(&mut [0; 16]).is_err(), "somebody sent a packet")?;
        let (journal, verdict) = (end.journal(), self.verdict(end));
        is(!journal.contains(SECRET) && !verdict.contains(SECRET), "a secret is in what the host keeps")?;
        is(
            !journal.contains('\u{1b}') && !verdict.contains('\u{1b}'),
            "a control character is in what the host keeps",
        )?;
        is(end.record.verdict != "fault", &end.record.why)
    }
}
