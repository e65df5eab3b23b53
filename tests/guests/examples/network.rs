//! Opens sockets: TCP, UDP, a listener, a name.

use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::tell;

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let address: SocketAddr = task.input("address").expect("the test gives it").parse().expect("an address");
    tell("tcp", TcpStream::connect(address).map(|_| ()));
    tell("tcp v6", TcpStream::connect("[::1]:80").map(|_| ()));
    tell("metadata service", TcpStream::connect("169.254.169.254:80").map(|_| ()));
    tell("listen", TcpListener::bind("127.0.0.1:0").map(|_| ()));
    let udp = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"owned", address));
    tell("udp", udp);
    tell("name", "localhost:80".to_socket_addrs().map(|found| found.collect::<Vec<_>>()));
    tell("far name", "example.com:80".to_socket_addrs().map(|found| found.collect::<Vec<_>>()));
    Ok(Report::done("called"))
}
