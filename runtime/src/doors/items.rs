//! Items of a reply in a dialect that says each of them up to four times: begun, in pieces, whole when it is done, and once more
//! with all others at the end.
//!
//! Never: parses a wire format, believes that an item is named alike twice. Invariants: what came in pieces is not taken again
//! from what says it whole; a provider chooses no size here but the number of items, which is bounded.

use super::kept::{KeptItem, Reasoning};

/// The most items of one reply. The host searches all of them for each event, so the provider must not choose the number.
pub const MOST_ITEMS: usize = 512;

/// What kind of item it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Message,
    Call,
    Reasoning,
}

/// How a provider names an item: servers leave out either, use one index for all, or make up an id for each event.
#[derive(Clone, Debug, Default)]
pub struct Name {
    pub index: Option<u64>,
    /// Empty: it says none.
    pub id: String,
}

/// An item that is being put together.
#[derive(Debug)]
pub struct Item {
    pub kind: Kind,
    name: Name,
    /// The text of a message, the arguments of a call, the thoughts of a reasoning.
    said: String,
    /// Where the part of the text begins that is still open.
    part: usize,
    has_pieces: bool,
    /// The last part that came whole.
    last: String,
    is_done: bool,
    /// Of a call.
    pub call_id: String,
    pub function: String,
    /// Of a message.
    pub phase: String,
    pub reasoning: Reasoning,
}

impl Item {
    fn new(kind: Kind, name: Name) -> Self {
        Self {
            kind,
            name,
            said: String::new(),
            part: 0,
            has_pieces: false,
            last: String::new(),
            is_done: false,
            call_id: String::new(),
            function: String::new(),
            phase: String::new(),
            reasoning: Reasoning::default(),
        }
    }

    /// Takes a piece.
    pub fn push(&mut self, piece: &str) {
        // A beginning that only says that there will be an object.
        if self.kind == Kind::Call && self.said == "{}" && piece.starts_with('{') {
            self.said.clear();
        }
        self.has_pieces |= !piece.is_empty();
        self.said.push_str(piece);
    }

    /// Takes a part of a message that is whole, and returns bytes of it that did not come before.
    pub fn part(&mut self, whole: &str) -> usize {
        let open = &self.said[self.part..];
        let new = match self.has_pieces {
            // Of the parts that came in pieces, the pieces hold; the last of them may be missing.
            true if open.is_empty() => "",
            true => whole.strip_prefix(open).unwrap_or_default(),
            // It is said twice, as a text and as a part.
            false if whole.trim() == self.last.trim() => "",
            false => whole,
        };
        self.said.push_str(new);
        self.part = self.said.len();
        whole.clone_into(&mut self.last);
        new.len()
    }

    /// Takes all of it, and returns bytes of it that did not come before.
    pub fn whole(&mut self, whole: &str) -> usize {
        let before = self.said.len();
        let is_object = |text: &str| serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(text).is_ok();
        match whole.strip_prefix(self.said.as_str()) {
            Some(rest) => self.said.push_str(rest),
            // The pieces of several calls came in turn and without an id, and the host joined them wrongly.
            None if self.kind == Kind::Call && is_object(whole) => whole.clone_into(&mut self.said),
            None => {}
        }
        self.said.len().saturating_sub(before)
    }

    /// Nothing of it follows.
    pub fn finish(&mut self) {
        self.is_done = true;
    }
}

/// All items of a reply, in their order.
#[derive(Debug, Default)]
pub struct Items(Vec<Item>);

impl Items {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Begins an item. Returns `None` at [`MOST_ITEMS`].
    pub fn begin(&mut self, kind: Kind, name: Name) -> Option<&mut Item> {
        if self.0.len() == MOST_ITEMS {
            return None;
        }
        self.0.push(Item::new(kind, name));
        self.0.last_mut()
    }

    /// Begins a call, or continues one that has arguments and no name yet. Returns `None` at [`MOST_ITEMS`].
    pub fn begin_call(&mut self, name: Name) -> Option<&mut Item> {
        match self.open_place(Kind::Call, &name).filter(|place| self.0[*place].function.is_empty()) {
            Some(place) => self.0.get_mut(place),
            None => self.begin(Kind::Call, name),
        }
    }

    /// Whether a call of this id was begun and may go on: one with the id of another item is another call.
    pub fn has_call(&self, call_id: &str, name: &Name) -> bool {
        let is_next = |item: &Item| item.is_done && !name.id.is_empty() && item.name.id != name.id;
        let calls = self.0.iter().filter(|item| item.kind == Kind::Call);
        calls.filter(|item| !call_id.is_empty() && item.call_id == call_id).any(|item| !is_next(item))
    }

    /// Inserts an item after the first `others_before` items of other kinds. Returns `None` at [`MOST_ITEMS`].
    pub fn insert(&mut self, kind: Kind, others_before: usize) -> Option<&mut Item> {
        if self.0.len() == MOST_ITEMS {
            return None;
        }
        let mut others = self.0.iter().enumerate().filter(|(_, item)| item.kind != kind).map(|(place, _)| place);
        let place = others.nth(others_before).unwrap_or(self.0.len());
        self.0.insert(place, Item::new(kind, Name::default()));
        self.0.get_mut(place)
    }

    /// The item that a piece belongs to, as far as its name says it; else the last that is not done.
    pub fn open(&mut self, kind: Kind, name: &Name) -> Option<&mut Item> {
        let place = self.open_place(kind, name)?;
        self.0.get_mut(place)
    }

    fn open_place(&self, kind: Kind, name: &Name) -> Option<usize> {
        let is_unnamed = |item: &Item| name.index.is_none() || item.name.index.is_none();
        let is_open = |item: &Item| item.kind == kind && !item.is_done && is_unnamed(item);
        self.place(kind, name).or_else(|| self.0.iter().rposition(is_open))
    }

    /// The item that says itself whole.
    pub fn known(&mut self, kind: Kind, name: &Name, call_id: &str) -> Option<&mut Item> {
        // Some give two calls one id; the items have two.
        let is_next = |item: &Item| item.is_done && !name.id.is_empty() && item.name.id != name.id;
        let by_call =
            |item: &Item| item.kind == kind && !call_id.is_empty() && item.call_id == call_id && !is_next(item);
        let is_other = |item: &Item| !call_id.is_empty() && !item.call_id.is_empty() && item.call_id != call_id;
        let place = match self.0.iter().rposition(by_call) {
            Some(place) => place,
            None => {
                let place = self.place(kind, name);
                let open = || self.0.iter().rposition(|item| item.kind == kind && !item.is_done);
                place
                    .filter(|place| !is_other(&self.0[*place]))
                    .or_else(|| open().filter(|place| !is_other(&self.0[*place])))?
            }
        };
        self.0.get_mut(place)
    }

    fn place(&self, kind: Kind, name: &Name) -> Option<usize> {
        let find = |is_it: &dyn Fn(&Item) -> bool| self.0.iter().rposition(|item| item.kind == kind && is_it(item));
        let by_id = find(&|item| !name.id.is_empty() && item.name.id == name.id);
        let is_next = |item: &Item| item.is_done && !name.id.is_empty() && !item.name.id.is_empty();
        by_id.or_else(|| find(&|item| name.index.is_some() && item.name.index == name.index && !is_next(item)))
    }

    /// Those of a kind, in their order.
    pub fn of(&mut self, kind: Kind) -> Vec<&mut Item> {
        self.0.iter_mut().filter(|item| item.kind == kind).collect()
    }

    /// All that was said.
    pub fn said(&self) -> String {
        self.0.iter().filter(|item| item.kind == Kind::Message).map(|item| item.said.as_str()).collect()
    }

    /// The text of the reply: all that was said, without what the model said aside of its answer.
    pub fn text(&self) -> String {
        let messages = self.0.iter().filter(|item| item.kind == Kind::Message && !self.is_aside(item));
        messages.map(|item| item.said.as_str()).collect()
    }

    /// Whether a message was said on the way to an answer that is there too: `{"n":1}` must not be `I look.{"n":1}`.
    fn is_aside(&self, item: &Item) -> bool {
        item.phase == "commentary" && self.0.iter().any(|other| other.phase == "final_answer")
    }

    /// Calls as id, name and arguments.
    pub fn calls(&self) -> impl Iterator<Item = [String; 3]> {
        self.0.iter().filter(|item| item.kind == Kind::Call).map(|item| {
            let id = if item.call_id.is_empty() { &item.name.id } else { &item.call_id };
            [id.clone(), item.function.clone(), item.said.clone()]
        })
    }

    /// What goes back with the next turn. Nothing, if no server asks for any of it.
    pub fn kept(&self) -> Vec<KeptItem> {
        let kept = |item: &Item| match item.kind {
            Kind::Message if self.is_aside(item) => {
                Some(KeptItem::Aside { text: item.said.clone(), phase: item.phase.clone() })
            }
            Kind::Message => Some(KeptItem::Said { bytes: item.said.len(), phase: item.phase.clone() }),
            Kind::Call => Some(KeptItem::Call),
            Kind::Reasoning => {
                let mut reasoning = item.reasoning.clone();
                if reasoning.content.is_empty() && !item.said.is_empty() {
                    reasoning.content.push(item.said.clone());
                }
                reasoning.is_wanted().then_some(KeptItem::Reasoning(reasoning))
            }
        };
        let all: Vec<KeptItem> = self.0.iter().filter_map(kept).collect();
        let is_wanted = |item: &KeptItem| match item {
            KeptItem::Reasoning(_) | KeptItem::Aside { .. } => true,
            KeptItem::Said { phase, .. } => !phase.is_empty(),
            KeptItem::Call => false,
        };
        if all.iter().any(is_wanted) { all } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(index: Option<u64>, id: &str) -> Name {
        Name { index, id: id.into() }
    }

    #[test]
    fn what_came_in_pieces_is_not_taken_again_and_what_did_not_is_taken_once() {
        let mut item = Item::new(Kind::Message, Name::default());
        item.push("Hi");
        assert_eq!(
            (item.part("Hi you"), item.part("Hi you"), item.whole("Hi you."), item.whole("Hi you.")),
            (4, 0, 1, 0)
        );
        assert_eq!(item.said, "Hi you.");
        let mut item = Item::new(Kind::Message, Name::default());
        assert_eq!((item.part("Hi"), item.part("Hi "), item.part("you"), item.whole("Hiyou")), (2, 0, 3, 0));
        // Said otherwise when it is done.
        let mut item = Item::new(Kind::Message, Name::default());
        item.push("Hi, you");
        assert_eq!((item.part("Hi you"), item.part("Hi you"), item.whole("Hi you")), (0, 0, 0));
        assert_eq!(item.said, "Hi, you");
    }

    #[test]
    fn whole_arguments_hold_against_pieces_that_are_no_beginning_of_them() {
        let mut item = Item::new(Kind::Call, Name::default());
        item.push("{}");
        item.push("{\"n\":1}{\"n\":2}");
        assert_eq!(item.whole("{\"n\":1}"), 0);
        assert_eq!(item.said, "{\"n\":1}");
        item.whole("no object");
        assert_eq!(item.said, "{\"n\":1}");
    }

    #[test]
    fn an_item_is_found_by_its_id_then_by_its_index_then_as_the_open_one() {
        let mut items = Items::default();
        for (index, id) in [(Some(0), "a"), (Some(1), "b"), (None, "")] {
            items.begin(Kind::Call, name(index, id)).unwrap().function = id.into();
        }
        let mut found = |index, id: &str| items.open(Kind::Call, &name(index, id)).map(|item| item.function.clone());
        assert_eq!(found(Some(1), "a").as_deref(), Some("a"));
        assert_eq!(found(Some(1), "made up").as_deref(), Some("b"));
        assert_eq!(found(None, "").as_deref(), Some(""));
        assert!(items.open(Kind::Message, &Name::default()).is_none());
    }

    #[test]
    fn a_reply_may_have_512_items_and_not_513() {
        let mut items = Items::default();
        (0..MOST_ITEMS).for_each(|_| assert!(items.begin(Kind::Message, Name::default()).is_some()));
        assert!(items.begin(Kind::Message, Name::default()).is_none());
        assert!(items.insert(Kind::Reasoning, 0).is_none());
    }
}
