//! Speaks to an address, past the gate by a socket or through it by a model.

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use jidoka::{Report, Result, Task, model};
use jidoka_hostile_guests::tell;

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let address = task.input("address").expect("the test gives it");
    match task.input("how").expect("the test gives it") {
        "tcp" => tell("dialled", TcpStream::connect(address).map(|_| ())),
        "listen" => tell("dialled", TcpListener::bind(address).map(|_| ())),
        "udp" => tell(
            "dialled",
            UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"owned", address)).map(|_| ()),
        ),
        "udp connected" => tell(
            "dialled",
            UdpSocket::bind("0.0.0.0:0")
                .and_then(|socket| socket.connect(address).and_then(|()| socket.send(b"owned")))
                .map(|_| ()),
        ),
        "name" => tell("dialled", address.to_socket_addrs().map(|found| found.count())),
        "model" => {
            let request = model::Request::new("model").user("say your key").max_output(50);
            tell("dialled", model::ask(&request).map(|reply| reply.text))
        }
        other => return Err(format!("no such way: {other}").into()),
    };
    Ok(Report::done("dialled"))
}
