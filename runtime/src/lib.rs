//! Jidoka runs AI-agent workers that nobody has to trust.
//!
//! Four floors, imported only downwards: **front -> run -> doors -> rules**. An embedder opens a
//! [`Sandbox`](run::sandbox::Sandbox), makes a [`Runner`](run::runner::Runner), starts [`Job`](run::runner::Job)s, and
//! reads [`Entry`](rules::effect::Entry)s and a [`Record`](rules::record::Record). Its `main` begins with
//! [`serve`](run::cell::inside::serve) for the roles that its own program is started in: one that forgets that is ended
//! before it starts itself a second time.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make their own files and processes"))]

/// Decisions: plain data in, plain answer out. No I/O, no clock, no async, no wasmtime.
#[deny(clippy::wildcard_enum_match_arm)]
pub mod rules {
    pub mod address;
    pub mod andon;
    pub mod authored;
    pub mod calendar;
    pub mod call;
    pub mod child;
    pub mod digest;
    pub mod divergence;
    pub mod effect;
    pub mod egress;
    pub mod expectation;
    pub mod explanation;
    pub mod facts;
    pub mod guard;
    pub mod hook;
    pub mod http;
    pub mod interface;
    pub mod item;
    pub mod ledger;
    pub mod left_out;
    pub mod line;
    pub mod mcp;
    pub mod model;
    pub mod operate;
    pub mod pin;
    pub mod policy;
    pub mod progress;
    pub mod question;
    pub mod quote;
    pub mod record;
    pub mod retry;
    pub mod scope;
    pub mod secret;
    pub mod signature;
    pub mod spec;
    pub mod tool;
    pub mod trap;
    pub mod units;
    pub mod verdict;
    pub mod why;
    pub mod window;
}

/// The world, one effect family a file, each handed its authority.
pub mod doors {
    pub mod accepted;
    mod anthropic;
    pub mod apply;
    pub mod blobs;
    mod bucket;
    pub mod cache;
    pub mod chain;
    mod client;
    pub mod clock;
    pub mod command;
    mod complaint;
    mod dial;
    mod disk;
    mod draft;
    pub mod ed25519;
    pub mod enclosure;
    mod encode;
    pub mod evidence;
    pub mod export;
    pub mod fetch;
    pub mod fold;
    mod frames;
    pub mod ignored;
    mod items;
    mod json;
    mod kept;
    pub mod launcher;
    pub mod lines;
    pub mod lockdown;
    pub mod mcp;
    pub mod model;
    mod moment;
    pub mod names;
    mod node;
    mod openai;
    pub mod pace;
    mod plan;
    pub mod program;
    pub mod provider;
    pub mod rates;
    pub mod recorded;
    mod responses;
    mod rows;
    pub mod schema;
    pub mod script;
    mod scrub;
    pub mod secret;
    pub mod sqlite;
    pub mod sse;
    pub mod state;
    pub mod store;
    pub mod toolchain;
    pub mod trail;
    pub mod tree;
    mod usage;
    mod walk;
    pub mod webhook;
    pub mod workspace;
}

/// One run, from admission to verdict.
pub mod run {
    mod absent;
    mod admission;
    pub mod alarms;
    pub mod anatomy;
    mod applying;
    pub mod around;
    mod aside;
    pub mod bindings;
    pub mod bridge;
    pub mod cell;
    mod checks;
    mod children;
    pub mod compiler;
    pub mod cord;
    pub mod desk;
    pub mod files;
    pub mod fixture;
    pub mod fork;
    pub mod gate;
    pub mod held;
    pub mod hooks;
    pub mod host;
    pub mod http;
    mod inspection;
    pub mod journal;
    mod launch;
    pub mod limits;
    pub mod line;
    mod lost;
    pub mod meter;
    pub mod output;
    pub mod past;
    pub mod pinned;
    mod race;
    mod recovery;
    pub mod replay;
    mod resume;
    pub mod retention;
    pub mod runner;
    pub mod sandbox;
    pub mod seat;
    pub mod senses;
    pub mod shape;
    pub mod standing;
    mod supervisor;
    pub mod tape;
    pub mod tools;
    pub mod transfer;
    mod waits;
    pub mod way;

    /// A poisoned lock means a panic of ours in another task of the same run; the data is plain and still true.
    fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A serial number for a run that starts now: sortable by time, and not to be guessed twice.
    pub fn serial(unix_ms: u64, chance: u32) -> String {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let digit = |word: u64, place: u32| char::from(DIGITS[(word >> (5 * place) & 31) as usize]);
        let time: String = (0..10).rev().map(|place| digit(unix_ms, place)).collect();
        let chance: String = (0..6).rev().map(|place| digit(u64::from(chance), place)).collect();
        format!("{time}-{chance}")
    }

    /// Why a host call does not return to its guest: the run is over.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum RunEnd {
        /// The cord was pulled; it knows why.
        #[error("the run was stopped")]
        Stopped,
        /// The guest is past a cap on what it may hold.
        #[error("past a cap: {0}")]
        Cap(String),
        /// The host itself broke.
        #[error("the host failed: {0}")]
        Fault(String),
        /// The guest went another way than its journal.
        #[error("{0}")]
        Diverged(Box<crate::rules::divergence::Divergence>),
    }
}

/// How people reach a run. No decisions.
pub mod front {
    pub mod andon;
    mod books;
    pub mod budget;
    pub mod call;
    pub mod cli;
    pub mod doctor;
    mod failure;
    mod fixture;
    pub mod help;
    mod inspect;
    pub mod items;
    pub mod load;
    pub mod machine;
    pub mod mcp;
    pub mod overrides;
    mod patch;
    pub mod quote;
    mod repository;
    pub mod runs;
    pub mod screen;
    mod serial;
    pub mod serve;
    mod served;
    pub mod show;
    mod sign;
    mod table;
    pub mod template;
    pub mod terminal;
    mod ticket;
    pub mod tools;
    mod trace;
    mod watch;
    mod why;
    pub mod wrap;
}
