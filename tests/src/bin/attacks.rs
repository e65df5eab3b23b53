//! Makes every attack of the table and its control, one after another, each attack a second time with eight innocent
//! runs beside it; and prints one table.
//!
//! Usage: `attacks [--wall none|process] [--only FAMILY[/NAME]] [--rounds N] [--json]`, or `attacks --advisories`
//! for the page of advisories. Exits with 1 if an attack gave more than
//! its refusal, a control failed, the host grew past a row's cap, or innocent runs ended otherwise or too slowly; with 2
//! if it does not understand its words.

use std::process::ExitCode;

use jidoka_tests::advisories;
use jidoka_tests::attacks::measure::{self, Innocents};
use jidoka_tests::attacks::{Attack, Fate, Scene, Wall, all};
use serde_json::{Value, json};

/// How often innocents are looked at again before they count as disturbed: a shared machine has other work too.
const LOOKS: usize = 4;

/// Innocents that were so much faster with a neighbour than alone say that the machine is less busy than it was.
const LESS_BUSY: f64 = 0.7;

struct Options {
    wall: Wall,
    only: Option<String>,
    rounds: usize,
    json: bool,
}

impl Options {
    fn of(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { wall: Wall::None, only: None, rounds: 1, json: false };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--wall" => match value()?.as_str() {
                    "none" => options.wall = Wall::None,
                    "process" => options.wall = Wall::Process,
                    other => return Err(format!("no wall is called {other:?}; there are none and process")),
                },
                "--only" => options.only = Some(value()?),
                "--rounds" => options.rounds = value()?.parse().map_err(|_| "--rounds needs a number".to_owned())?,
                "--json" => options.json = true,
                other => return Err(format!("no such word: {other}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, attack: &Attack) -> bool {
        let whole = format!("{}/{}", attack.family.name(), attack.name);
        self.only.as_ref().is_none_or(|only| *only == whole || only == attack.family.name())
    }
}

/// What came of one row.
struct Row {
    attack: Attack,
    fate: Fate,
    control: Fate,
    growth_bytes: u64,
    cap_bytes: u64,
    slowdown: f64,
    is_disturbed: bool,
    /// Verdicts of innocents that are not theirs.
    wrong: Vec<String>,
}

impl Row {
    fn is_refused(&self) -> bool {
        self.fate.is_as_expected
    }

    fn is_within_its_cap(&self) -> bool {
        self.growth_bytes <= self.cap_bytes
    }

    fn holds(&self) -> bool {
        let innocents_are_well = self.wrong.is_empty() && !self.is_disturbed;
        self.is_refused() && self.control.is_as_expected && self.is_within_its_cap() && innocents_are_well
    }

    fn json(&self) -> Value {
        json!({
            "family": self.attack.family.name(),
            "attack": self.attack.name,
            "tries": self.attack.tries,
            "expected": self.attack.expected(),
            "got": self.fate.got,
            "refused": self.is_refused(),
            "control-expected": self.attack.granted(),
            "control-got": self.control.got,
            "control": self.control.is_as_expected,
            "growth-bytes": self.growth_bytes,
            "cap-bytes": self.cap_bytes,
            "within-cap": self.is_within_its_cap(),
            "deadline-ms": self.attack.deadline_ms,
            "stopped-after-ms": self.fate.took_ms,
            "innocents-wrong": self.wrong,
            "innocents-slowdown": self.slowdown,
            "innocents-disturbed": self.is_disturbed,
            "holds": self.holds(),
        })
    }

    fn line(&self) -> String {
        let deadline = self.attack.deadline_ms;
        let stopped = match self.fate.took_ms.checked_sub(deadline) {
            Some(late) if deadline > 0 => format!("{deadline}+{late}"),
            _ => self.fate.took_ms.to_string(),
        };
        let mark = if self.holds() { ' ' } else { '!' };
        let innocents = if self.wrong.is_empty() { format!("{:.2}x", self.slowdown) } else { "wrong".to_owned() };
        let control = if self.control.is_as_expected { "ok" } else { "failed" };
        let name = format!("{}/{}", self.attack.family.name(), self.attack.name);
        let expected = if self.is_refused() { String::new() } else { format!("  expected {}", self.attack.expected()) };
        let control_got =
            if self.control.is_as_expected { String::new() } else { format!("  control {}", self.control.got) };
        let growth = self.growth_bytes as f64 / f64::from(1 << 20);
        format!(
            "{mark} {name:<44} {stopped:>9} {growth:>7.1} {control:>7} {innocents:>9}  {}{expected}{control_got}",
            self.fate.got
        )
    }
}

/// Makes a row: the control, the attack by itself, and the attack with innocents beside it.
async fn make(attack: Attack, options: &Options, alone: &mut Innocents) -> Row {
    let wall = options.wall;
    // The control comes first, so that what it costs to compile the guest is not counted as the attack's.
    let control = attack.control(&Scene::new(), wall).await;
    let (mut fate, mut growth_bytes) = measure::by_itself(&attack, wall).await;
    let (mut slowdown, mut is_disturbed, mut wrong) = (0.0_f64, false, Vec::new());
    for _ in 0..options.rounds {
        if options.rounds > 1 {
            let (again, growth) = measure::by_itself(&attack, wall).await;
            growth_bytes = growth_bytes.max(growth);
            fate = worse(fate, again);
        }
        let mut looks = 1;
        let beside = loop {
            let (again, beside) = measure::beside(&attack, wall).await;
            fate = worse(fate, again);
            wrong.extend(beside.wrong.iter().cloned());
            if !measure::is_disturbed(&beside, alone) || looks == LOOKS {
                break beside;
            }
            // The machine may be busier than it was: what innocents take alone is looked at again as well.
            *alone = measure::alone(wall).await;
            looks += 1;
        };
        if measure::slowdown(&beside, alone) < LESS_BUSY {
            *alone = measure::alone(wall).await;
        }
        slowdown = slowdown.max(measure::slowdown(&beside, alone));
        is_disturbed |= measure::is_disturbed(&beside, alone);
    }
    let cap_bytes = attack.cap_bytes + wall.own_bytes();
    Row { attack, fate, control, growth_bytes, cap_bytes, slowdown, is_disturbed, wrong }
}

/// The one that says more against the host. The times are those of the first: nobody was beside it.
fn worse(first: Fate, again: Fate) -> Fate {
    if first.is_as_expected && !again.is_as_expected { again } else { first }
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().skip(1).eq(["--advisories"]) {
        print!("{}", advisories::page());
        return ExitCode::SUCCESS;
    }
    let options = match Options::of(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    let table: Vec<Attack> = all().into_iter().filter(|attack| options.wants(attack)).collect();
    if table.is_empty() {
        eprintln!("no attack is called {:?}", options.only);
        return ExitCode::from(2);
    }
    // The first runs of a process compile and fault in what all later ones have.
    measure::alone(options.wall).await;
    let mut alone = measure::alone(options.wall).await;
    if !options.json {
        println!("  {:<44} {:>9} {:>7} {:>7} {:>9}  got", "family/attack", "stop ms", "MiB", "control", "innocents");
    }
    let mut rows = Vec::new();
    for attack in table {
        let row = make(attack, &options, &mut alone).await;
        if !options.json {
            println!("{}", row.line());
        }
        rows.push(row);
    }
    let failed = rows.iter().filter(|row| !row.holds()).count();
    if options.json {
        let floor_ms = u64::try_from(measure::FLOOR.as_millis()).unwrap_or(u64::MAX);
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        println!(
            "{}",
            json!({ "rows": rows, "innocents": measure::INNOCENTS, "slowest": measure::SLOWEST, "floor-ms": floor_ms })
        );
    } else {
        println!(
            "{} attacks, {failed} of which did not hold; {} innocents beside each, alone {:?} at the median",
            rows.len(),
            measure::INNOCENTS,
            alone.median()
        );
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
