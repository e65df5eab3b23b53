//! The bridge, on real components.

mod component;
mod random;
