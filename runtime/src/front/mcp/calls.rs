//! How many calls run at once, of one client and of all.
//!
//! Never: lets one wait for room. A queue would hide from a client that it asks for too much, and hold its memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls of all clients that run at once, tasks not counted: each may be a run of its own, with its memory.
pub const MOST_CALLS: usize = 64;

/// Calls that run at once of one connection or session: a client that floods leaves room for others.
pub const MOST_CALLS_OF_ONE: usize = 16;

/// The room of a server.
#[derive(Debug)]
pub(super) struct Calls(Arc<Semaphore>);

/// The room of one connection or session.
#[derive(Debug)]
pub(super) struct CallsOfOne(Arc<Semaphore>);

/// A call that has room; the room is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    _of_all: OwnedSemaphorePermit,
    _of_one: OwnedSemaphorePermit,
}

impl Calls {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_CALLS)))
    }

    /// Room for a call of one client.
    ///
    /// # Errors
    /// Words for that client: there is none.
    pub fn enter(&self, one: &CallsOfOne) -> Result<Room, String> {
        let full = |whose: &str, most: usize| {
            format!("{most} calls of {whose} are running, which is the most; make this one again when one has ended")
        };
        let of_one = Arc::clone(&one.0).try_acquire_owned();
        let of_one = of_one.map_err(|_| full("this connection", MOST_CALLS_OF_ONE))?;
        let of_all = Arc::clone(&self.0).try_acquire_owned().map_err(|_| full("all clients", MOST_CALLS))?;
        Ok(Room { _of_all: of_all, _of_one: of_one })
    }

    /// Until no call runs.
    pub async fn idle(&self) {
        // It is never closed.
        let _ = self.0.acquire_many(u32::try_from(MOST_CALLS).expect("a small number")).await;
    }
}

impl CallsOfOne {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_CALLS_OF_ONE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_beyond_the_room_is_refused_and_the_next_fits_again() {
        let (all, one, other) = (Calls::new(), CallsOfOne::new(), CallsOfOne::new());
        let mut rooms: Vec<Room> = (0..MOST_CALLS_OF_ONE).map(|_| all.enter(&one).unwrap()).collect();
        assert!(all.enter(&one).unwrap_err().contains("16 calls of this connection"));
        assert!(all.enter(&other).is_ok());
        rooms.pop();
        assert!(all.enter(&one).is_ok());
    }

    #[test]
    fn the_room_of_all_is_bounded_too() {
        let all = Calls::new();
        let ones: Vec<CallsOfOne> = (0..=MOST_CALLS / MOST_CALLS_OF_ONE).map(|_| CallsOfOne::new()).collect();
        let rooms: Vec<Room> = (0..MOST_CALLS).map(|at| all.enter(&ones[at / MOST_CALLS_OF_ONE]).unwrap()).collect();
        assert_eq!(rooms.len(), MOST_CALLS);
        let last = ones.last().unwrap();
        assert!(all.enter(last).unwrap_err().contains("64 calls of all clients"));
        drop(rooms);
        assert!(all.enter(last).is_ok());
    }
}
