//! The one seam between the SDK and its host: in a component the generated imports, natively the fake host of
//! `testing`. Both sides have the same modules with the same functions; nothing else in the SDK knows which it is.

#[cfg(target_arch = "wasm32")]
mod component {
    pub(crate) use crate::bindings::worker::jidoka::agent::{
        andon, budget, children, clock, evidence, human, log, model, progress, random, tools,
    };
    pub(crate) use crate::web as fetch;
    use std::path::PathBuf;

    pub(crate) fn work_dir() -> PathBuf {
        PathBuf::from("/work")
    }

    pub(crate) fn context_dir() -> PathBuf {
        PathBuf::from("/context")
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) use component::*;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::interfaces::*;
