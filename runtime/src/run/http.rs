//! `wasi:http` for guests: a request is noted, its body collected as the guest writes it, and the exchange made when the guest
//! waits for it, through the gate like any effect.
//!
//! Never: serves `incoming-handler`, sends anything by itself, performs in the background: which exchange is made when follows
//! from the guest's calls alone, and so does what it sees. An exchange is made whole, so that nobody can count how fast
//! the world is: all that a guest waits for at once is one batch, and ready at once. Trailers are neither sent nor given.
//!
//! A pollable of an exchange is not ready as long as its request is not finished. Who waits for nothing but such waits for
//! what cannot come, and is told so: the exchange fails, and nothing is sent.

mod drafts;
mod resources;
mod words;

use std::collections::HashMap;

use wasmtime::StoreContextMut;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi_http::p2::bindings::LinkOptions;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode, HostFutureIncomingResponse as _};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostIncomingResponse};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView};
use wasmtime_wasi_io::bindings::wasi::io::poll;

use crate::rules::effect::{Answer, Effect};
use crate::rules::http::{HttpBody, HttpReply, HttpRequest};
use crate::rules::policy::{MAX_BATCH, MAX_HTTP_BODY_BYTES};

use super::RunEnd;
use super::gate::Ask;
use super::host::Guest;
use super::senses::GuestTime;
use super::way::Way;

use self::drafts::{Draft, Drafted, Held};
use self::resources::Hooks;

/// Exchanges that a guest has begun and not waited for. All of them fit into one batch.
pub const MAX_PENDING: usize = MAX_BATCH;

/// Bytes of bodies that the host holds for one guest at once: those that it writes and those that it has not read. Two of the
/// largest, for an exchange that sends one and gets one.
pub const MAX_HELD_BYTES: u64 = 2 * MAX_HTTP_BODY_BYTES;

/// Bytes of one resource of headers, as wasmtime counts them: with each name and value of its own. What is sent has a
/// tighter cap, in the policy.
pub const MAX_FIELDS_BYTES: usize = 32 << 10;

/// The interface as the library names it.
const TYPES: &str = "wasi:http/types@0.2.12";

type Got = Option<Result<Result<Resource<HostIncomingResponse>, ErrorCode>, ()>>;

/// What a guest has of the web, beside what stands in its table. Numbers are those of its resources; each is forgotten with
/// its resource, so there are no more than the table has room for.
pub struct Web {
    headers: WasiHttpCtx,
    hooks: Hooks,
    /// By the number of the body that the guest writes.
    bodies: HashMap<u32, Draft>,
    /// The same, by the number of the request.
    requests: HashMap<u32, Draft>,
    /// By the number of the future.
    exchanges: HashMap<u32, Exchange>,
    /// Futures by the number of their pollables.
    pollables: HashMap<u32, u32>,
    held: Held,
}

/// How far an exchange has come.
enum Exchange {
    /// The guest may still write its body, if it has one.
    Noted {
        request: HttpRequest,
        body: Option<Draft>,
    },
    Made(Result<HttpReply, ErrorCode>),
    /// The guest has what came of it.
    Taken,
}

impl Default for Web {
    fn default() -> Self {
        let mut headers = WasiHttpCtx::new();
        headers.set_field_size_limit(MAX_FIELDS_BYTES);
        Self {
            headers,
            hooks: Hooks,
            bodies: HashMap::new(),
            requests: HashMap::new(),
            exchanges: HashMap::new(),
            pollables: HashMap::new(),
            held: Held::default(),
        }
    }
}

/// Links what guests may import of `wasi:http`, and `wasi:io/poll`, where exchanges are waited for.
///
/// # Errors
/// The library names its interfaces otherwise.
pub fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    poll::add_to_linker::<_, HasWaits>(linker, Guest::waits)?;
    types::add_to_linker::<_, HasWeb>(linker, &(&LinkOptions::default()).into(), Guest::web)?;
    outgoing_handler::add_to_linker::<_, HasWeb>(linker, Guest::web)?;
    // The library's own cannot wait for the gate.
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap_async(
        "[method]future-incoming-response.get",
        |mut store: StoreContextMut<'_, Guest>, (future,): (Resource<HostFutureIncomingResponse>,)| {
            Box::new(async move { Ok((store.data_mut().get(future).await?,)) })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Guest {
    fn web(&mut self) -> WebView<'_> {
        WebView { web: &mut self.web, table: &mut self.table }
    }

    fn waits(&mut self) -> Waits<'_> {
        let time = GuestTime { clock: &self.time, alarms: &mut self.alarms, table: &mut self.table };
        Waits { gate: &self.gate, web: &mut self.web, time }
    }

    /// What came of an exchange, which is made now if its request is finished.
    async fn get(&mut self, future: Resource<HostFutureIncomingResponse>) -> wasmtime::Result<Got> {
        self.table.get(&future)?;
        let number = future.rep();
        if self.web.is_due(number) {
            self.web.make(&self.gate, &[number]).await?;
        }
        self.web().get(future)
    }
}

impl Web {
    /// Whether an exchange was noted and may be made: or its request is broken, and it is known what comes of it.
    fn is_due(&self, number: u32) -> bool {
        match self.exchanges.get(&number) {
            Some(Exchange::Noted { body: Some(body), .. }) => !body.is_open(),
            Some(Exchange::Noted { body: None, .. }) => true,
            Some(Exchange::Made(_) | Exchange::Taken) | None => false,
        }
    }

    fn is_open(&self, number: u32) -> bool {
        let noted = matches!(self.exchanges.get(&number), Some(Exchange::Noted { .. }));
        noted && !self.is_due(number)
    }

    /// Exchanges that were begun and not waited for.
    fn pending(&self) -> usize {
        self.exchanges.values().filter(|exchange| matches!(exchange, Exchange::Noted { .. })).count()
    }

    /// Makes exchanges that are due, as one batch in this order.
    async fn make(&mut self, gate: &Way, numbers: &[u32]) -> wasmtime::Result<()> {
        let (mut asks, mut asking) = (Vec::new(), Vec::new());
        for &number in numbers {
            let Some(exchange @ Exchange::Noted { .. }) = self.exchanges.get_mut(&number) else { continue };
            match std::mem::replace(exchange, Exchange::Taken).into_request() {
                Ok(request) => {
                    asks.push(Ask::from(Effect::Fetch { request }));
                    asking.push(number);
                }
                Err(error) => *exchange = Exchange::Made(Err(error)),
            }
        }
        if asks.is_empty() {
            return Ok(());
        }
        for (number, heard) in asking.into_iter().zip(gate.pass_all(asks).await?) {
            let made = match heard {
                Ok(Answer::Fetched { reply }) => Ok(reply),
                Ok(other) => {
                    let fault = format!("the gate gave a wrong kind of answer: {other:?}");
                    return Err(RunEnd::Fault(fault).into());
                }
                Err(denied) => Err(words::error_code(&denied)),
            };
            self.exchanges.insert(number, Exchange::Made(made));
        }
        Ok(())
    }

    /// Fails an exchange whose request nobody can finish any more.
    fn give_up(&mut self, number: u32) {
        self.exchanges.insert(number, Exchange::Made(Err(words::unfinished())));
    }
}

impl Exchange {
    /// The request, whole.
    fn into_request(self) -> Result<HttpRequest, ErrorCode> {
        match self {
            Exchange::Noted { request, body: None } => Ok(request),
            Exchange::Noted { request, body: Some(body) } => match body.take() {
                Drafted::Finished(bytes) => Ok(HttpRequest { body: HttpBody(bytes), ..request }),
                Drafted::Broken(error) => Err(error),
                Drafted::Open => Err(words::unfinished()),
            },
            Exchange::Made(_) | Exchange::Taken => Err(words::unfinished()),
        }
    }
}

/// The web of a guest, for one call.
pub struct WebView<'a> {
    web: &'a mut Web,
    table: &'a mut ResourceTable,
}

struct HasWeb;

impl HasData for HasWeb {
    type Data<'a> = WebView<'a>;
}

impl WebView<'_> {
    /// The library's own way with its resources.
    fn library(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.web.hooks, table: self.table, ctx: &mut self.web.headers }
    }
}

/// Whatever a guest may wait for, for one call.
struct Waits<'a> {
    gate: &'a Way,
    web: &'a mut Web,
    time: GuestTime<'a>,
}

struct HasWaits;

impl HasData for HasWaits {
    type Data<'a> = Waits<'a>;
}

impl Waits<'_> {
    /// The exchange that a pollable is of, if it is one's.
    fn exchange(&self, pollable: &Resource<DynPollable>) -> Option<u32> {
        self.web.pollables.get(&pollable.rep()).copied()
    }

    fn is_open(&self, pollable: &Resource<DynPollable>) -> bool {
        self.exchange(pollable).is_some_and(|number| self.web.is_open(number))
    }
}

impl poll::Host for Waits<'_> {
    /// Makes what is due, as one batch, and then waits for the rest.
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        for pollable in &pollables {
            self.time.table.get(pollable)?;
        }
        let mut due: Vec<u32> = Vec::new();
        for number in pollables.iter().filter_map(|pollable| self.exchange(pollable)) {
            if self.web.is_due(number) && !due.contains(&number) {
                due.push(number);
            }
        }
        self.web.make(self.gate, &due).await?;
        if !pollables.is_empty() && pollables.iter().all(|pollable| self.is_open(pollable)) {
            for number in pollables.iter().filter_map(|pollable| self.exchange(pollable)).collect::<Vec<_>>() {
                self.web.give_up(number);
            }
        }
        let (places, pollables): (Vec<usize>, Vec<_>) =
            pollables.into_iter().enumerate().filter(|(_, pollable)| !self.is_open(pollable)).unzip();
        let ready = poll::Host::poll(&mut self.time, pollables).await?;
        ready.into_iter().map(|index| Ok(u32::try_from(places[index as usize])?)).collect()
    }
}

impl poll::HostPollable for Waits<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::Host::poll(self, vec![pollable]).await.map(drop)
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.time.table.get(&pollable)?;
        if let Some(number) = self.exchange(&pollable) {
            if self.web.is_due(number) {
                self.web.make(self.gate, &[number]).await?;
            }
            return Ok(!self.web.is_open(number));
        }
        poll::HostPollable::ready(&mut self.time, pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.web.pollables.remove(&pollable.rep());
        poll::HostPollable::drop(&mut self.time, pollable)
    }
}
