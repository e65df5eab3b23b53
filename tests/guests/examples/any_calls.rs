//! Makes any calls at all, in any order, with any arguments: a fuzzer's bytes are its program, an act a byte.
//!
//! The bytes are an input of the task, in hexadecimal digits. Handles are kept in lists and used in any order; at the end of
//! its program it reports. Nothing that the host says stops it but a trap.

use std::time::Duration;

use jidoka::{
    Report, Result, Task, andon, budget, children, clock, evidence, human, log, model, progress, random, tools,
};
use jidoka_hostile_guests::preopen;
use wasip2::cli::{environment, exit, stderr, stdin, stdout, terminal_stdout};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DirectoryEntryStream, NewTimestamp, OpenFlags, PathFlags,
    filesystem_error_code,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::random::{insecure, insecure_seed, random as secure};
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

/// Acts of one program: enough to have every kind of handle, and few enough to be over soon.
const MOST_ACTS: usize = 256;

/// Names as a hostile program would choose them; short ones, so that two acts meet.
const NAMES: [&str; 16] = [
    "a",
    "b",
    "a/b",
    "b/a",
    ".",
    "..",
    "",
    "/",
    "/etc/passwd",
    "a/../..",
    "\u{0}",
    "a\u{0}b",
    "./a/",
    "a//b",
    "\u{1b}[2J",
    ".git",
];

/// Numbers at the edges of what is counted.
const EDGES: [u64; 12] =
    [0, 1, 2, 255, 4_096, 65_535, 65_536, 65_537, u32::MAX as u64, 1 << 40, i64::MAX as u64, u64::MAX];

struct Program {
    bytes: std::vec::IntoIter<u8>,
}

impl Program {
    fn byte(&mut self) -> u8 {
        self.bytes.next().unwrap_or_default()
    }

    /// A small number, an edge, or any.
    fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..128 => u64::from(small),
            edge @ 128..240 => EDGES[usize::from(edge) % EDGES.len()],
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn narrow(&mut self) -> u32 {
        self.number() as u32
    }

    /// A name, a few bytes of the program, or a long text.
    fn text(&mut self) -> String {
        match self.byte() {
            name @ 0..128 => NAMES[usize::from(name) % NAMES.len()].to_owned(),
            short @ 128..250 => {
                let bytes: Vec<u8> = (0..short % 16).map(|_| self.byte()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            long => "x".repeat(usize::from(long - 249) * 40_000),
        }
    }

    fn texts(&mut self) -> Vec<String> {
        (0..self.byte() % 4).map(|_| self.text()).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let number = self.number();
        vec![self.byte(); number.min(1 << 20) as usize]
    }

    fn duration(&mut self) -> Duration {
        Duration::from_millis(self.number())
    }

    fn request(&mut self) -> model::Request {
        let mut request = model::Request::new(if self.byte() < 200 { "model".to_owned() } else { self.text() });
        for _ in 0..self.byte() % 4 {
            let role = [model::Role::System, model::Role::User, model::Role::Assistant, model::Role::Tool];
            let mut message = model::Message::new(role[usize::from(self.byte()) % 4], self.text());
            if self.byte() > 200 {
                message.tool_call_id = Some(self.text());
                let call = model::ToolCall { id: self.text(), name: self.text(), arguments: self.text() };
                message.tool_calls.push(call);
            }
            request.messages.push(message);
        }
        if self.byte() > 200 {
            let schema = if self.byte() < 128 { "{}".to_owned() } else { self.text() };
            request.tools.push(model::ToolDefinition { name: self.text(), description: self.text(), schema });
        }
        if self.byte() > 200 {
            request.schema = Some(if self.byte() < 128 { "{\"type\":\"string\"}".to_owned() } else { self.text() });
        }
        request.max_output = self.narrow();
        request.min_output = self.narrow();
        request
    }

    fn time(&mut self) -> NewTimestamp {
        match self.byte() % 3 {
            0 => NewTimestamp::NoChange,
            1 => NewTimestamp::Now,
            _ => {
                let time = wall_clock::Datetime { seconds: self.number(), nanoseconds: self.narrow() };
                NewTimestamp::Timestamp(time)
            }
        }
    }

    fn path_flags(&mut self) -> PathFlags {
        PathFlags::from_bits_retain(self.byte() & 1)
    }
}

/// What it holds.
#[derive(Default)]
struct Held {
    descriptors: Vec<Descriptor>,
    listings: Vec<DirectoryEntryStream>,
    readers: Vec<InputStream>,
    writers: Vec<OutputStream>,
    waits: Vec<Pollable>,
    evidence: Vec<String>,
}

/// One of a list, whichever the program says.
fn one<'a, T>(list: &'a [T], program: &mut Program) -> Option<&'a T> {
    let at = usize::from(program.byte());
    list.get(at % list.len().max(1))
}

/// Keeps what a call gave, if it gave anything.
fn keep<T, E>(list: &mut Vec<T>, given: std::result::Result<T, E>) {
    list.extend(given.ok());
}

/// Asks a stream's error what it is.
fn told<T>(result: std::result::Result<T, StreamError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(StreamError::LastOperationFailed(error)) => {
            filesystem_error_code(&error);
            error.to_debug_string();
            None
        }
        Err(StreamError::Closed) => None,
    }
}

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let digits = task.input("program").unwrap_or_default();
    let digits: Vec<u8> = digits.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let mut program = Program { bytes: bytes.into_iter() };
    let mut held = Held { descriptors: vec![preopen("/work"), preopen("/context")], ..Held::default() };
    for _ in 0..MOST_ACTS {
        let Some(act) = program.bytes.next() else { break };
        match act % 8 {
            0 | 1 => files(&mut program, &mut held),
            2 => names(&mut program, &mut held),
            3 => streams(&mut program, &mut held),
            4 => waits(&mut program, &mut held),
            5 => ours(&mut program, &mut held),
            6 => senses(&mut program, &mut held),
            _ => raw(&mut program, &held),
        }
    }
    let mut report = Report::done(program.text());
    report.evidence = held.evidence;
    Ok(report)
}

fn files(program: &mut Program, held: &mut Held) {
    let Some(file) = one(&held.descriptors, program) else { return };
    match program.byte() % 16 {
        0..4 => {
            let (flags, path) = (program.path_flags(), program.text());
            let how = OpenFlags::from_bits_retain(program.byte() & 15);
            let to = DescriptorFlags::from_bits_retain(program.byte() & 63);
            let opened = file.open_at(flags, &path, how, to);
            keep(&mut held.descriptors, opened);
        }
        4 => keep(&mut held.readers, file.read_via_stream(program.number())),
        5 => keep(&mut held.writers, file.write_via_stream(program.number())),
        6 => keep(&mut held.writers, file.append_via_stream()),
        7 => keep(&mut held.listings, file.read_directory()),
        8 => drop(file.read(program.number(), program.number())),
        9 => drop(file.write(&program.bytes(), program.number())),
        10 => drop(file.set_size(program.number())),
        11 => drop(file.set_times(program.time(), program.time())),
        12 => drop((file.stat(), file.get_flags(), file.get_type(), file.metadata_hash())),
        13 => drop((file.sync(), file.sync_data(), file.advise(program.number(), program.number(), Advice::WillNeed))),
        14 => {
            if let Some(listing) = one(&held.listings, program) {
                while let Ok(Some(_)) = listing.read_directory_entry() {}
            }
        }
        _ => {
            let at = usize::from(program.byte()) % held.descriptors.len();
            drop(held.descriptors.swap_remove(at));
        }
    }
}

fn names(program: &mut Program, held: &mut Held) {
    let (Some(dir), Some(other)) = (one(&held.descriptors, program), one(&held.descriptors, program)) else { return };
    let (path, flags) = (program.text(), program.path_flags());
    match program.byte() % 12 {
        0 | 1 => drop(dir.create_directory_at(&path)),
        2 => drop(dir.stat_at(flags, &path)),
        3 => drop(dir.set_times_at(flags, &path, program.time(), program.time())),
        4 => drop(dir.link_at(flags, &path, other, &program.text())),
        5 => drop(dir.readlink_at(&path)),
        6 => drop(dir.remove_directory_at(&path)),
        7 => drop(dir.rename_at(&path, other, &program.text())),
        8 => drop(dir.symlink_at(&path, &program.text())),
        9 => drop(dir.unlink_file_at(&path)),
        10 => drop(dir.metadata_hash_at(flags, &path)),
        _ => drop(std::hint::black_box(dir.is_same_object(other))),
    }
}

fn streams(program: &mut Program, held: &mut Held) {
    let (reader, writer) = (one(&held.readers, program), one(&held.writers, program));
    match (program.byte() % 16, reader, writer) {
        (0, Some(reader), _) => drop(told(reader.read(program.number()))),
        (1, Some(reader), _) => drop(told(reader.blocking_read(program.number()))),
        (2, Some(reader), _) => drop(told(reader.skip(program.number()))),
        (3, Some(reader), _) => drop(told(reader.blocking_skip(program.number()))),
        (4, Some(reader), _) => held.waits.push(reader.subscribe()),
        (5, _, Some(writer)) => {
            // As WASI wants it, or one more than that.
            let permit = told(writer.check_write()).unwrap_or_default().min(1 << 20) as usize;
            let more = usize::from(program.byte() > 250);
            told(writer.write(&vec![b'w'; permit.min(program.number() as usize) + more]));
        }
        (6, _, Some(writer)) => drop(told(writer.write(&program.bytes()))),
        (7, _, Some(writer)) => drop(told(writer.blocking_write_and_flush(&program.bytes()))),
        (8, _, Some(writer)) => drop((told(writer.flush()), told(writer.blocking_flush()))),
        (9, _, Some(writer)) => held.waits.push(writer.subscribe()),
        (10, _, Some(writer)) => drop(told(writer.write_zeroes(program.number()))),
        (11, _, Some(writer)) => drop(told(writer.blocking_write_zeroes_and_flush(program.number()))),
        (12, Some(reader), Some(writer)) => drop(told(writer.splice(reader, program.number()))),
        (13, Some(reader), Some(writer)) => drop(told(writer.blocking_splice(reader, program.number()))),
        (14, Some(_), _) => drop(held.readers.pop()),
        (15, _, Some(_)) => drop(held.writers.pop()),
        (0..4, None, _) => held.readers.push(stdin::get_stdin()),
        (_, _, None) if program.byte() < 128 => held.writers.push(stdout::get_stdout()),
        _ => held.writers.push(stderr::get_stderr()),
    }
}

fn waits(program: &mut Program, held: &mut Held) {
    match program.byte() % 8 {
        0 => held.waits.push(monotonic_clock::subscribe_duration(program.number())),
        1 => held.waits.push(monotonic_clock::subscribe_instant(program.number())),
        2 => drop(one(&held.waits, program).map(Pollable::ready)),
        3 => drop(one(&held.waits, program).map(Pollable::block)),
        4 | 5 => {
            let chosen: Vec<&Pollable> = (0..program.byte() % 8).filter_map(|_| one(&held.waits, program)).collect();
            poll(&chosen);
        }
        6 => drop(held.waits.pop()),
        _ => poll(&held.waits.iter().collect::<Vec<_>>()).clear(),
    }
}

fn ours(program: &mut Program, held: &mut Held) {
    match program.byte() % 20 {
        0 | 1 => {
            let (texts, text) = (program.texts(), program.text());
            let fields: Vec<(&str, &str)> = texts.iter().map(|field| (&field[..], &text[..])).collect();
            log::emit(log::Level::Info, &text, &fields);
        }
        2 | 3 => {
            let attached = evidence::attach(&program.text(), &program.text(), program.bytes());
            keep(&mut held.evidence, attached);
        }
        4 | 5 => drop(model::ask(&program.request())),
        6 => {
            let requests: Vec<model::Request> = (0..program.byte() % 20).map(|_| program.request()).collect();
            model::ask_all(&requests);
        }
        7 => drop(model::catalogue()),
        8 => drop(budget::left()),
        9 => drop(clock::sleep(program.duration())),
        10 => drop(random::bytes(program.narrow())),
        11 => drop(progress::check_in(&program.text())),
        12 => {
            let child = children::Child::new(program.text(), program.text());
            let child = child.may_spend(jidoka::Line::Tokens, program.number());
            drop((children::run(&child), children::run_all(&[child.clone(), child])));
        }
        13 => {
            let call = tools::Invocation { name: program.text(), input: program.text() };
            drop((tools::catalogue(), tools::call_all(&[call])));
        }
        14 if program.byte() > 128 => {
            let options = program.texts();
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            drop(human::ask(&program.text(), &options, human::Risk::High));
        }
        15 if program.byte() > 240 => andon::pull(andon::Category::Defect, &program.text(), &held.evidence),
        16 => held.evidence.push(program.text()),
        17 if program.byte() > 250 => exit::exit(Ok(())),
        18 if program.byte() > 250 => panic!("{}", program.text()),
        _ => drop(clock::now_ms()),
    }
}

fn senses(program: &mut Program, held: &mut Held) {
    match program.byte() % 10 {
        0 => drop(secure::get_random_bytes(program.number())),
        1 => drop(insecure::get_insecure_random_bytes(program.number())),
        2 => drop(std::hint::black_box((secure::get_random_u64(), insecure_seed::insecure_seed()))),
        3 => drop(std::hint::black_box((monotonic_clock::now(), wall_clock::now(), wall_clock::resolution()))),
        4 => drop((environment::get_environment(), environment::get_arguments(), environment::initial_cwd())),
        5 => drop(tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)),
        6 => drop(udp_create_socket::create_udp_socket(IpAddressFamily::Ipv6)),
        7 => {
            let lookup = ip_name_lookup::resolve_addresses(&instance_network::instance_network(), &program.text());
            if let Ok(addresses) = lookup {
                held.waits.push(addresses.subscribe());
                std::hint::black_box(addresses.resolve_next_address().is_ok());
            }
        }
        8 => drop(terminal_stdout::get_terminal_stdout()),
        _ => {
            // Each grows its memory.
            let grown = vec![1_u8; (program.number().min(64 << 20)) as usize];
            std::hint::black_box(&grown);
        }
    }
}

/// The same imports without what a language makes of them: handles that are none, pointers into nothing, texts that are none.
mod imports {
    #[link(wasm_import_module = "jidoka:agent/log@0.1.0")]
    unsafe extern "C" {
        #[link_name = "emit"]
        pub fn emit(level: i32, message: i32, length: i32, fields: i32, count: i32);
    }
    #[link(wasm_import_module = "jidoka:agent/evidence@0.1.0")]
    unsafe extern "C" {
        #[link_name = "attach"]
        pub fn attach(kind: i32, length: i32, name: i32, name_length: i32, bytes: i32, count: i32, back: i32);
    }
    #[link(wasm_import_module = "jidoka:agent/model@0.1.0")]
    unsafe extern "C" {
        #[link_name = "ask-all"]
        pub fn ask_all(requests: i32, count: i32, back: i32);
    }
    #[link(wasm_import_module = "wasi:io/poll@0.2.12")]
    unsafe extern "C" {
        #[link_name = "poll"]
        pub fn poll(list: i32, count: i32, back: i32);
        #[link_name = "[resource-drop]pollable"]
        pub fn drop_pollable(handle: i32);
    }
    #[link(wasm_import_module = "wasi:io/streams@0.2.12")]
    unsafe extern "C" {
        #[link_name = "[method]output-stream.write"]
        pub fn write(handle: i32, bytes: i32, count: i32, back: i32);
        #[link_name = "[method]output-stream.splice"]
        pub fn splice(handle: i32, source: i32, count: i64, back: i32);
    }
    #[link(wasm_import_module = "wasi:filesystem/types@0.2.12")]
    unsafe extern "C" {
        #[link_name = "[method]descriptor.open-at"]
        pub fn open_at(handle: i32, flags: i32, path: i32, length: i32, how: i32, to: i32, back: i32);
        #[link_name = "[resource-drop]descriptor"]
        pub fn drop_descriptor(handle: i32);
    }
}

#[expect(unsafe_code, reason = "the attack: arguments that no language would pass")]
fn raw(program: &mut Program, held: &Held) {
    let place = Box::leak(vec![0xff_u8; 1 << 10].into_boxed_slice());
    for byte in place.iter_mut().take(usize::from(program.byte() % 32)) {
        *byte = program.byte();
    }
    let place = place.as_mut_ptr() as usize as i32;
    let handle = held.descriptors.first().map_or(0, |descriptor| descriptor.handle() as i32);
    let mut next = || match program.byte() {
        0..96 => place,
        96..128 => handle,
        small @ 128..192 => i32::from(small - 128),
        _ => program.number() as i32,
    };
    let (a, b, c, d, e, f) = (next(), next(), next(), next(), next(), next());
    let back = place + 512;
    // SAFETY: whatever the host reads or writes is this guest's own memory, and it has nothing to lose.
    unsafe {
        match program.byte() % 9 {
            0 => imports::emit(a, b, c, d, e),
            1 => imports::attach(a, b, c, d, e, f, back),
            2 => imports::ask_all(a, b, back),
            3 => imports::poll(a, b, back),
            4 => imports::drop_pollable(a),
            5 => imports::write(a, b, c, back),
            6 => imports::splice(a, b, i64::from(c), back),
            7 => imports::open_at(a, b, c, d, e, f, back),
            _ => imports::drop_descriptor(a),
        }
    }
}
