//! Servers that flood, stall, lie and cut off.

use super::*;

async fn one(server: &Server) -> (Result<HttpReply, Denied>, u64) {
    let fetched = fetched(&web(here()), get(&server.url("/")), &[grant("api.example", server.port)]).await;
    (fetched.result, fetched.net_bytes)
}

async fn broken_by(server: &Server) -> String {
    match one(server).await.0 {
        Err(Denied::Failed(Failure { kind: FailureKind::Broken, message })) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_body_is_read_up_to_its_cap_and_not_a_byte_beyond() {
    let frame = |kind: usize, bytes: usize| match kind {
        0 => ok(&"x".repeat(bytes)),
        1 => format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{bytes:x}\r\n{}\r\n0\r\n\r\n",
            "x".repeat(bytes)
        ),
        _ => format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(bytes)),
    };
    for kind in 0..3 {
        let (whole, moved) = one(&Server::saying(frame(kind, 1_000)).await).await;
        assert_eq!((whole.expect("it fits").body.0.len(), moved), (1_000, 1_000), "{kind}");
        let server = Server::saying(frame(kind, 1_001)).await;
        assert_eq!(broken_by(&server).await, "the reply is longer than 1000 bytes", "{kind}");
    }
}

#[tokio::test]
async fn bodies_are_held_against_what_the_budget_has_left() {
    let server = Server::saying(ok("12345")).await;
    let of = |max_net_bytes| {
        let exchange = super::exchange(post(&server.url("/"), "body"), &[grant("api.example", server.port)]);
        Exchange { max_net_bytes, ..exchange }
    };
    let web = web(here());
    let whole = web.fetch(&of(9)).await;
    assert_eq!((whole.result.is_ok(), whole.net_bytes), (true, 9));
    let short = web.fetch(&of(8)).await;
    let Err(Denied::Refused(refusal)) = short.result else { panic!("{:?}", short.result) };
    assert_eq!((refusal.asked.as_str(), refusal.setting.as_str()), ("a reply of more than 4 bytes", "[budget] net"));
    // Also of a body of which nobody knew the length before, and that comes in one piece.
    let endless = Server::then("HTTP/1.1 200 OK\r\n\r\n12345", Then::Hang).await;
    let exchange = super::exchange(post(&endless.url("/"), "body"), &[grant("api.example", endless.port)]);
    let over = web.fetch(&Exchange { max_net_bytes: 8, ..exchange }).await;
    assert!(over.result.is_err());
    assert_eq!((short.net_bytes, over.net_bytes), (4, 8));
    let before = server.heard().len();
    let none = web.fetch(&of(3)).await;
    let Err(Denied::Refused(refusal)) = none.result else { panic!("{:?}", none.result) };
    assert_eq!((refusal.asked.as_str(), refusal.setting.as_str()), ("4 bytes of request", "[budget] net"));
    assert_eq!((none.net_bytes, server.heard().len()), (0, before));
}

#[tokio::test]
async fn an_endless_body_is_cut_off_and_what_was_read_is_counted() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"] {
        let chunk = if head.contains("chunked") { "a\r\n0123456789\r\n" } else { "0123456789" };
        let server = Server::then(head, Then::Repeat(chunk.into())).await;
        let (result, moved) = one(&server).await;
        assert!(matches!(&result, Err(Denied::Failed(failure)) if failure.message.contains("longer than 1000")));
        assert!((1_001..=1_000 + MAX_BUFFER_BYTES as u64).contains(&moved), "{moved}");
    }
}

#[tokio::test]
async fn headers_have_caps() {
    let with = |count: usize| format!("HTTP/1.1 200 OK\r\n{}content-length: 1\r\n\r\nx", "x-a: b\r\n".repeat(count));
    let (reply, _) = one(&Server::saying(with(MAX_REPLY_HEADERS - 1)).await).await;
    assert_eq!(reply.expect("as many as may be").headers.len(), MAX_REPLY_HEADERS);
    broken_by(&Server::saying(with(MAX_REPLY_HEADERS)).await).await;
    let of = |bytes: usize| {
        // The names have 17 bytes, and the length of the body one.
        let value = "v".repeat(bytes - "content-length".len() - "x-a".len() - 1);
        format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nx-a: {value}\r\n\r\nx")
    };
    assert!(one(&Server::saying(of(MAX_REPLY_HEADERS_BYTES)).await).await.0.is_ok());
    let message = broken_by(&Server::saying(of(MAX_REPLY_HEADERS_BYTES + 1)).await).await;
    assert!(message.contains("32769 bytes of headers"), "{message}");
}

#[tokio::test]
async fn floods_before_a_body_end() {
    for (head, flood) in [
        ("HTTP/1.1 200 OK\r\n", "x-flood: 0123456789\r\n"),
        ("HTTP/1.1 200 OK\r\nx-flood: ", "0123456789"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "0123456789"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "x-flood: 0123456789\r\n"),
    ] {
        let server = Server::then(head, Then::Repeat(flood.into())).await;
        let message = broken_by(&server).await;
        assert!(message.contains("broke off"), "{head:?} {flood:?}: {message}");
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_left_at_the_deadline() {
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nx"] {
        let server = Server::then(answer, Then::Hang).await;
        let mut grant = grant("api.example", server.port);
        grant.limits.total_ms = 150;
        let began = Instant::now();
        let fetched = fetched(&web(here()), post(&server.url("/"), "body"), &[grant]).await;
        let Err(Denied::Failed(failure)) = fetched.result else { panic!("{:?}", fetched.result) };
        assert_eq!(failure.kind, FailureKind::TimedOut);
        assert!(fetched.net_bytes >= 4 && began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_reply_that_breaks_its_word_is_no_reply() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nxxxxx",
        "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nxxxxx",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nxx",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nxx",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "HTTP/0.9 hello",
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-a: b\r\n folded\r\ncontent-length: 0\r\n\r\n",
        "SSH-2.0-x\r\n",
    ] {
        broken_by(&Server::saying(answer).await).await;
    }
    let (whole, moved) = one(&Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nxxHTTP/1.1 200").await).await;
    assert_eq!((whole.expect("two bytes").body.0, moved), (b"xx".to_vec(), 2));
}

#[tokio::test]
async fn a_compressed_body_comes_as_it_is() {
    let packed: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff];
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 11\r\n\r\n".to_vec();
    answer.extend_from_slice(packed);
    let reply = one(&Server::saying(answer).await).await.0.expect("a reply");
    assert_eq!(reply.body.0, packed);
    assert!(reply.headers.contains(&header("content-encoding", "gzip")));
}

#[tokio::test]
async fn a_head_alone_has_no_body_to_be_too_long() {
    let server = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n").await;
    let request = HttpRequest { method: "HEAD".into(), ..get(&server.url("/")) };
    let reply = reply(&web(here()), request, &[grant("api.example", server.port)]).await;
    assert_eq!((reply.headers, reply.body.0.len()), (vec![header("content-length", "99999")], 0));
}
