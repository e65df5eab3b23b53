//! What the saboteur does: as a person in the real directories, as a cleaner or a broken disk in those of the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, renameat_with};
use rustix::process::{Pid, Signal, kill_process};

use super::truth::Truth;
use super::{LONGEST_ROUND, PLACES, Running, World, until};
use crate::chaos::Dice;

pub struct Saboteur<'a> {
    pub world: &'a World,
    pub dice: &'a Dice,
    pub truth: &'a mut Truth,
    pub acts: &'a mut BTreeMap<&'static str, u64>,
}

/// A run that has ended, and what it printed.
pub type Ended = (Running, ExitStatus, Vec<u8>, String);

impl Saboteur<'_> {
    /// Disturbs runs until all of them have ended.
    pub fn disturb(&mut self, running: &mut Vec<Running>) -> Vec<Ended> {
        let deadline = Instant::now() + LONGEST_ROUND;
        let mut ended = Vec::new();
        while !running.is_empty() {
            until(deadline, &format!("{:?}", self.world.session));
            std::thread::sleep(Duration::from_millis(self.dice.roll(25)));
            if self.dice.once_in(3) {
                self.act(running);
            }
            let mut place = 0;
            while place < running.len() {
                match running[place].child.try_wait().expect("it is our child") {
                    None => place += 1,
                    Some(status) => ended.push(finish(running.swap_remove(place), status)),
                }
            }
        }
        ended
    }

    fn act(&mut self, running: &mut [Running]) {
        let place = usize::try_from(self.dice.roll(PLACES as u64)).expect("small");
        let dir = self.world.place(place);
        let done = match self.dice.roll(24) {
            0..=2 => self.new_file(place, &dir),
            3..=6 => self.save(place, &dir),
            7 => self.take_away(&dir),
            8 => self.touch_mode(&dir),
            9 => self.make_odd_things(&dir),
            10 => self.empty_copy(),
            11 => self.remove_from_copy(),
            12 | 13 => self.edit_copy(),
            14 => self.add_to_copy(),
            15 => self.damage_blob(),
            16 => self.remove_blob(),
            17 => self.hold_store(),
            18 | 19 => self.kill(running),
            20 => self.make_and_fill_directory(place, &dir),
            _ => None,
        };
        if let Some(name) = done {
            *self.acts.entry(name).or_default() += 1;
        }
    }

    fn new_file(&mut self, place: usize, dir: &Path) -> Option<&'static str> {
        let path = format!("person-{}.txt", self.dice.roll(1_000_000));
        self.truth.person_writes(dir, place, &path);
        Some("a person made a file")
    }

    fn make_and_fill_directory(&mut self, place: usize, dir: &Path) -> Option<&'static str> {
        let name = format!("person-dir-{}", self.dice.roll(1_000_000));
        std::fs::create_dir(dir.join(&name)).ok()?;
        self.truth.person_writes(dir, place, &format!("{name}/file.txt"));
        Some("a person made a directory")
    }

    /// As editors save: a new file that takes the place of the old one, which is looked at once more.
    fn save(&mut self, place: usize, dir: &Path) -> Option<&'static str> {
        let path = self.a_name();
        let (token, draft) = (self.truth.new_token(), dir.join(format!(".save-{}", self.dice.roll(1_000_000))));
        std::fs::write(&draft, &token).ok()?;
        let target = dir.join(&path);
        match renameat_with(CWD, &draft, CWD, &target, RenameFlags::EXCHANGE) {
            Ok(()) => {
                self.truth.is_written(token, place, &path);
                self.truth.withdraw(&text_of(&draft));
                drop(std::fs::remove_file(&draft));
            }
            Err(_) => match renameat_with(CWD, &draft, CWD, &target, RenameFlags::NOREPLACE) {
                Ok(()) => self.truth.is_written(token, place, &path),
                Err(_) => drop(std::fs::remove_file(&draft)),
            },
        }
        Some("a person saved a file")
    }

    fn take_away(&mut self, dir: &Path) -> Option<&'static str> {
        let draft = dir.join(format!(".gone-{}", self.dice.roll(1_000_000)));
        std::fs::rename(dir.join(self.a_name()), &draft).ok()?;
        self.truth.withdraw(&text_of(&draft));
        std::fs::remove_file(&draft).ok()?;
        Some("a person removed a file")
    }

    fn touch_mode(&mut self, dir: &Path) -> Option<&'static str> {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if self.dice.once_in(2) { 0o755 } else { 0o644 };
        std::fs::set_permissions(dir.join(self.a_name()), std::fs::Permissions::from_mode(mode)).ok()?;
        Some("a person changed a mode")
    }

    fn make_odd_things(&mut self, dir: &Path) -> Option<&'static str> {
        let path = dir.join("odd.fifo");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).ok()?;
        std::thread::sleep(Duration::from_millis(self.dice.roll(60)));
        std::fs::remove_file(&path).ok()?;
        Some("a fifo came or went")
    }

    fn empty_copy(&mut self) -> Option<&'static str> {
        std::fs::remove_dir_all(self.a_copy()?).ok()?;
        Some("a private copy was removed")
    }

    fn remove_from_copy(&mut self) -> Option<&'static str> {
        std::fs::remove_file(self.a_copy()?.join(self.a_name())).ok()?;
        Some("a file of a private copy was removed")
    }

    fn edit_copy(&mut self) -> Option<&'static str> {
        let path = self.a_copy()?.join(self.a_name());
        path.exists().then(|| std::fs::write(&path, "SABOTAGE;").ok())??;
        Some("a file of a private copy was edited")
    }

    fn add_to_copy(&mut self) -> Option<&'static str> {
        let name = format!("added-{}.txt", self.dice.roll(1_000_000));
        std::fs::write(self.a_copy()?.join(name), "SABOTAGE;").ok()?;
        Some("a file was put into a private copy")
    }

    fn damage_blob(&mut self) -> Option<&'static str> {
        use std::os::unix::fs::PermissionsExt as _;
        let blob = self.a_blob()?;
        let length = std::fs::metadata(&blob).ok()?.len();
        self.truth.touch_blobs();
        std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o600)).ok()?;
        std::fs::write(&blob, vec![0; usize::try_from(length).ok()?]).ok()?;
        Some("a blob was damaged")
    }

    fn remove_blob(&mut self) -> Option<&'static str> {
        let blob = self.a_blob()?;
        self.truth.touch_blobs();
        std::fs::remove_file(blob).ok()?;
        Some("a blob was removed")
    }

    fn hold_store(&mut self) -> Option<&'static str> {
        let state = self.a_state();
        let lock = File::options().write(true).open(state.join("ledger.lock")).ok()?;
        lock.try_lock().ok()?;
        std::thread::sleep(Duration::from_millis(20 + self.dice.roll(300)));
        Some("the store was held")
    }

    fn kill(&mut self, running: &mut [Running]) -> Option<&'static str> {
        let run = running.iter_mut().find(|run| !run.killed)?;
        let pid = Pid::from_child(&run.child);
        run.killed = true;
        let (signal, name) = match self.dice.roll(5) {
            0 => (Signal::TERM, "a run was asked to terminate"),
            1 => (Signal::HUP, "a run lost its terminal"),
            _ => (Signal::KILL, "a run was killed"),
        };
        kill_process(pid, signal).ok()?;
        Some(name)
    }

    fn a_name(&self) -> String {
        match self.dice.roll(3) {
            0 => format!("shared-{}.txt", self.dice.roll(4)),
            _ => format!("seed-{}.txt", self.dice.roll(super::SEEDS as u64)),
        }
    }

    fn a_state(&self) -> PathBuf {
        self.world.state(usize::try_from(self.dice.roll(64)).expect("small"))
    }

    /// The private copy of a run that is on its way, as far as that can be told from outside: the newest.
    fn a_copy(&self) -> Option<PathBuf> {
        let mut runs = below(&self.a_state().join("runs"));
        runs.sort();
        let newest = runs.len().checked_sub(1 + usize::try_from(self.dice.roll(2)).ok()?)?;
        Some(runs.get(newest)?.join("work")).filter(|work| work.is_dir())
    }

    fn a_blob(&self) -> Option<PathBuf> {
        let room = if self.dice.once_in(4) { "trees" } else { "files" };
        let drawers = below(&self.a_state().join("blobs").join(room));
        let blobs: Vec<PathBuf> = drawers.iter().flat_map(|drawer| below(drawer)).collect();
        let which = usize::try_from(self.dice.roll(blobs.len().max(1) as u64)).ok()?;
        blobs.get(which).cloned()
    }
}

fn finish(mut run: Running, status: ExitStatus) -> Ended {
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    // Both are short: they fit into their pipes.
    drop(run.child.stdout.take().map(|mut pipe| pipe.read_to_end(&mut stdout)));
    drop(run.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut stderr)));
    (run, status, stdout, stderr)
}

fn below(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
