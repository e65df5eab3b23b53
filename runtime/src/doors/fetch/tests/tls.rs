//! Servers that show certificates.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A certificate authority that this test alone trusts.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions");
        config.with_root_certificates(roots).with_no_client_auth()
    }

    /// A server that has a certificate for a name, and says the same to all.
    async fn server(&self, name: &str, answer: String) -> Server {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("its own key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions");
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("its own certificate")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let named = stream.get_mut().1.server_name().unwrap_or_default().to_owned();
                log.lock().unwrap().push(format!("to {named}"));
                serve(stream, Arc::clone(&log), |_| (answer.clone().into_bytes(), Then::Close)).await;
            }
        });
        Server { port, heard, task }
    }
}

fn secure(port: u16) -> HttpGrant {
    HttpGrant { scheme: Scheme::Https, ..grant("api.example", port) }
}

#[tokio::test]
async fn a_server_must_show_that_it_has_the_name_that_was_judged() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let web = web(here()).trusting(authority.client());
    let of = |server: &Server| get(&format!("https://api.example:{}/a", server.port));
    let right = authority.server("api.example", ok("hello")).await;
    assert_eq!(body(&reply(&web, of(&right), &[secure(right.port)]).await), "hello");
    assert_eq!(right.heard()[0], "to api.example");
    assert!(right.heard()[1].starts_with("GET /a HTTP/1.1\r\n"));
    for wrong in [authority.server("evil.example", ok("x")).await, stranger.server("api.example", ok("x")).await] {
        let (kind, message) = failure(&web, of(&wrong), &[secure(wrong.port)]).await;
        assert_eq!(kind, FailureKind::Unavailable);
        assert!(message.contains("could not be trusted"), "{message}");
        assert!(!wrong.heard().iter().any(|heard| heard.contains("HTTP/1.1")), "{:?}", wrong.heard());
    }
    // One that speaks no TLS is not spoken to without it.
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = plain.local_addr().expect("bound").port();
    let task = tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.expect("a client");
        stream.write_all(ok("x").as_bytes()).await.expect("it listens");
    });
    let (kind, _) = failure(&web, get(&format!("https://api.example:{port}/a")), &[secure(port)]).await;
    assert_eq!(kind, FailureKind::Unavailable);
    task.await.expect("it answered");
}

#[tokio::test]
async fn a_redirect_from_https_to_http_needs_a_rule_for_http() {
    let authority = Authority::new();
    let plain = Server::saying(ok("plain")).await;
    let server = authority.server("api.example", redirect(302, &plain.url("/"))).await;
    let web = web(here()).trusting(authority.client());
    let request = get(&format!("https://api.example:{}/", server.port));
    let alike = HttpGrant { scheme: Scheme::Https, ..grant("api.example", plain.port) };
    let refusal = refused(&web, request.clone(), &[secure(server.port), alike]).await;
    assert!(refusal.asked.starts_with("after a redirect, GET http://"), "{}", refusal.asked);
    assert!(plain.heard().is_empty());
    let granted = [secure(server.port), grant("api.example", plain.port)];
    assert_eq!(body(&reply(&web, request, &granted).await), "plain");
}

#[tokio::test]
async fn this_machine_trusts_nobody_whom_only_a_test_knows() {
    let server = Authority::new().server("api.example", ok("x")).await;
    let request = get(&format!("https://api.example:{}/", server.port));
    let (kind, _) = failure(&web(here()), request, &[secure(server.port)]).await;
    assert_eq!(kind, FailureKind::Unavailable);
}
