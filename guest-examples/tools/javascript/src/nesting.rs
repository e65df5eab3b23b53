//! How deep code is nested, before the engine reads it.
//!
//! The engine's parser and compiler recurse without a limit, and a stack that overflows would trap. So this is an estimate of
//! what they take: every bracket that is open, and every operator and keyword since the last end of a statement, for each may
//! be inside of the one before. It may refuse code that would pass. It is no parser, and what it takes wrongly for harmless
//! still ends in the sandbox.

/// Cost of a bracket within brackets.
const BRACKET: usize = 16;
/// Cost of a keyword that may stand before another of its kind.
const KEYWORD: usize = 3;
/// Cost of an operator; `=>` begins a function.
const OPERATOR: usize = 1;
const ARROW: usize = 3;
/// The most that may be open at once: 37 brackets and little else, or 640 operators. About half of what overflows.
pub const MAX_COST: usize = 640;
/// Commas in one statement outside of an array: a sequence is nested too.
pub const MAX_COMMAS: usize = 1_000;

/// Words that may stand before another of their kind, again and again.
const KEYWORDS: [&str; 16] = [
    "async", "await", "class", "delete", "do", "else", "extends", "for", "function", "if", "new", "typeof", "void",
    "while", "with", "yield",
];
/// Words before a head in parentheses; a statement follows it.
const BEFORE_HEADS: [&str; 4] = ["for", "if", "while", "with"];
/// Words that begin a statement, whatever is before them.
const BEGINNINGS: [&str; 9] = ["const", "let", "var", "function", "class", "return", "throw", "switch", "try"];
/// Words that go on with what is before them.
const GOING_ON: [&str; 4] = ["in", "instanceof", "of", "else"];

/// Whether code can be read on a small stack.
///
/// # Errors
/// For the model, with the line.
pub fn check(code: &str) -> Result<(), String> {
    let mut reader = Reader { rest: code, line: 1, levels: vec![Level::of(' ')], closed: 0, last: Last::Nothing };
    while let Some(first) = reader.rest.chars().next() {
        reader.one(first);
        let level = reader.level();
        if level.commas > MAX_COMMAS {
            return Err(format!(
                "line {}: more than {MAX_COMMAS} commas in one statement: pass data as `input`",
                reader.line
            ));
        }
        if reader.cost() > MAX_COST {
            let line = reader.line;
            return Err(format!(
                "line {line}: too deeply nested, or too long a chain of operators: make several statements"
            ));
        }
    }
    Ok(())
}

/// What was read last, as far as it tells a division from a regular expression, and the end of a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    /// A value, a name, a closing bracket: an operator may follow.
    Value,
    Operator,
    Keyword,
    /// A word before the head of a statement, which is in parentheses.
    BeforeHead,
    /// `)` or `}`.
    Closing,
}

/// What is open: a bracket, or the code itself.
struct Level {
    bracket: char,
    is_head: bool,
    /// Of the statement or element that is being read.
    cost: usize,
    commas: usize,
}

impl Level {
    fn of(bracket: char) -> Self {
        Level { bracket, is_head: false, cost: 0, commas: 0 }
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    levels: Vec<Level>,
    /// Cost of all levels but the last.
    closed: usize,
    last: Last,
}

impl<'a> Reader<'a> {
    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::of(' '));
        }
        let index = self.levels.len() - 1;
        &mut self.levels[index]
    }

    fn cost(&mut self) -> usize {
        self.closed + self.level().cost
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn spend(&mut self, cost: usize, last: Last) {
        self.level().cost += cost;
        self.last = last;
    }

    /// A statement or an element is over.
    fn boundary(&mut self) {
        let level = self.level();
        (level.cost, level.commas) = (0, 0);
    }

    fn open(&mut self, bracket: char) {
        self.closed += self.level().cost + BRACKET;
        let is_head = bracket == '(' && self.last == Last::BeforeHead;
        self.levels.push(Level { is_head, ..Level::of(bracket) });
        self.last = Last::Operator;
    }

    fn close(&mut self) {
        self.last = if self.level().is_head { Last::Operator } else { Last::Closing };
        if self.levels.len() > 1 {
            self.levels.pop();
            let cost = self.level().cost;
            self.closed = self.closed.saturating_sub(cost + BRACKET);
        }
    }

    fn one(&mut self, first: char) {
        let rest = self.rest;
        match first {
            '\n' => {
                self.skip(1);
                self.line += 1;
                self.line_end();
            }
            '/' if rest.starts_with("//") => self.skip(rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => self.comment(),
            '/' if self.last != Last::Value && self.last != Last::Closing => self.regex(),
            '\'' | '"' => self.string(first),
            '`' => {
                self.skip(1);
                self.spend(OPERATOR, Last::Value);
                self.template();
            }
            '}' if self.level().bracket == '`' => {
                self.skip(1);
                self.close();
                self.last = Last::Value;
                self.template();
            }
            '(' | '[' | '{' => {
                self.skip(1);
                // A call or an index may follow another.
                self.level().cost += OPERATOR;
                self.open(first);
            }
            ')' | ']' | '}' => {
                self.skip(1);
                self.close();
                if first == ']' {
                    self.last = Last::Value;
                }
            }
            ';' => {
                self.skip(1);
                self.boundary();
                self.last = Last::Nothing;
            }
            ',' => self.comma(),
            _ if first.is_alphanumeric() || first == '_' || first == '$' || first == '\\' => self.word(),
            _ if first.is_whitespace() => self.skip(first.len_utf8()),
            _ if rest.starts_with("=>") => {
                self.skip(2);
                self.spend(ARROW, Last::Operator);
            }
            _ => {
                self.skip(first.len_utf8());
                self.spend(OPERATOR, Last::Operator);
            }
        }
    }

    fn comma(&mut self) {
        self.skip(1);
        let level = self.level();
        level.cost = 0;
        if level.bracket != '[' {
            level.commas += 1;
        }
        self.last = Last::Operator;
    }

    fn word(&mut self) {
        let is_of_a_word = |next: char| next.is_alphanumeric() || next == '_' || next == '$' || next == '\\';
        let rest = self.rest;
        let end = rest.find(|next: char| !is_of_a_word(next)).unwrap_or(rest.len());
        let word = &rest[..end];
        self.skip(end);
        if KEYWORDS.contains(&word) {
            self.spend(KEYWORD, if BEFORE_HEADS.contains(&word) { Last::BeforeHead } else { Last::Keyword });
        } else if BEGINNINGS.contains(&word) || GOING_ON.contains(&word) || word == "case" {
            self.spend(OPERATOR, Last::Keyword);
        } else {
            self.last = Last::Value;
        }
    }

    /// At the end of a line a statement ends, unless this line or the next says that it goes on.
    fn line_end(&mut self) {
        let next = self.rest.trim_start();
        let end = next.find(|next: char| !next.is_alphanumeric() && next != '_' && next != '$').unwrap_or(next.len());
        let word = &next[..end];
        let begins = BEGINNINGS.contains(&word) && self.last != Last::Operator;
        let ends = match self.last {
            Last::Nothing | Last::Operator | Last::Keyword | Last::BeforeHead => false,
            Last::Closing | Last::Value => true,
        };
        if begins || (ends && !word.is_empty() && !GOING_ON.contains(&word)) {
            self.boundary();
        }
    }

    fn comment(&mut self) {
        let comment = &self.rest[2..];
        let bytes = comment.find("*/").map_or(comment.len(), |end| end + 2);
        self.line += comment[..bytes].matches('\n').count();
        self.skip(bytes + 2);
    }

    fn string(&mut self, quote: char) {
        let mut is_escaped = true;
        for (at, next) in self.rest.char_indices() {
            match next {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '\n' => return self.value(at),
                _ if next == quote => return self.value(at + 1),
                _ => {}
            }
        }
        self.value(self.rest.len());
    }

    fn regex(&mut self) {
        let (mut is_escaped, mut is_in_a_class) = (true, false);
        for (at, next) in self.rest.char_indices() {
            match next {
                '\n' => return self.value(at),
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '[' => is_in_a_class = true,
                ']' => is_in_a_class = false,
                '/' if !is_in_a_class => return self.value(at + 1),
                _ => {}
            }
        }
        self.value(self.rest.len());
    }

    fn value(&mut self, bytes: usize) {
        self.skip(bytes);
        self.last = Last::Value;
    }

    /// Behind a backtick, or behind the `}` of a part: up to the next part or the end.
    fn template(&mut self) {
        let mut is_escaped = false;
        let mut is_dollar = false;
        for (at, next) in self.rest.char_indices() {
            match next {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '`' => return self.value(at + 1),
                '{' if is_dollar => {
                    self.skip(at + 1);
                    return self.open('`');
                }
                '\n' => self.line += 1,
                _ => {}
            }
            is_dollar = next == '$';
        }
        self.value(self.rest.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_hold_at_n_and_are_refused_at_n_plus_1() {
        let nested = |depth: usize| check(&format!("{}1{}", "[".repeat(depth), "]".repeat(depth)));
        let most = MAX_COST / (BRACKET + OPERATOR);
        assert_eq!(nested(most), Ok(()));
        assert!(nested(most + 1).is_err());
    }

    #[test]
    fn every_way_to_nest_is_refused_when_it_is_deep() {
        for (unit, end) in [
            ("(", ")"),
            ("{", "}"),
            ("({a:", "})"),
            ("f(", ")"),
            ("a[", "]"),
            ("`${", "}`"),
            ("(class{m(){", "}})"),
            ("(()=>{", "})"),
            ("(function(){", "})"),
            ("!", ""),
            ("- ", ""),
            ("typeof ", ""),
            ("typeof\n", ""),
            ("1+", ""),
            ("1+\n", ""),
            ("1?1:", ""),
            ("a=", ""),
            ("a=>", ""),
            ("a =>\n", ""),
            ("1**", ""),
            ("a.", ""),
            ("a\n.", ""),
            ("1,", ""),
            ("1&&", ""),
            ("if(0){}else ", ""),
            ("if(0)", ""),
            ("if(0)\n", ""),
            ("if (0)\nelse ", ""),
            ("for(;0;)", ""),
            ("for(;0;)\n", ""),
            ("while(0)\n", ""),
            ("do ", ""),
            ("a:", ""),
            ("a:\n", ""),
            ("new ", ""),
            ("new\n", ""),
            ("let [", "]"),
            ("'a'+\n", ""),
            ("a\n`", "`"),
            ("/'/,(", ")"),
            ("/*'*/(", ")"),
            ("//'\n(", ")"),
        ] {
            let code = format!("{}1{}", unit.repeat(3_000), end.repeat(3_000));
            assert!(check(&code).is_err(), "{unit:?}");
        }
    }

    #[test]
    fn long_code_is_not_deep_code() {
        for statement in [
            "const a = b.c(d) + 1\n",
            "a.b(c)\n",
            "if (a) { b() }\n",
            "if (a) {\n b()\n} else {\n c()\n}\n",
            "x++;",
            "f();\n",
            "for (const a of b) { c(a) }\n",
            "const f = (a) => a + 1\n",
            "return a\n",
            "'(((('\n",
            "x = /[(]/.test(a)\n",
            "// ((((\n",
            "/* ((( */\n",
            "x = `(((${a}(((`\n",
            "a = b / c / d\n",
            "await f(a)\n",
            "const y = await g(x)\n",
            "let r = /[/'\"]/g\n",
            "x = {a: 1, b: [1, 2]};\n",
            "function f(a, b) { return a ? b : c }\n",
            "[1,2].map(x => x * 2);\n",
            "while (a) a = a.next\n",
            "if (a) b = 1\n",
        ] {
            assert_eq!(check(&statement.repeat(500)), Ok(()), "{statement:?}");
        }
        assert_eq!(check(&format!("[{}]", "1 + 2, ".repeat(5_000))), Ok(()));
        assert_eq!(check(&format!("[{}]", "{a: 1, b: 'x'},\n".repeat(2_000))), Ok(()));
        assert_eq!(check(&format!("'{}'", "(".repeat(5_000))), Ok(()));
    }

    #[test]
    fn commas_hold_at_n_and_are_refused_at_n_plus_1() {
        assert_eq!(check(&format!("1{}", ",1".repeat(MAX_COMMAS))), Ok(()));
        assert!(check(&format!("1{}", ",1".repeat(MAX_COMMAS + 1))).is_err());
    }

    #[test]
    fn any_text_is_read_to_its_end() {
        for code in [
            "'",
            "\"\\",
            "/",
            "/a",
            "/[",
            "`",
            "`${",
            "`${}",
            "}",
            ")))",
            "/*",
            "/*/",
            "//",
            "é",
            "\\",
            "a\u{2028}b",
            "=>",
        ] {
            assert_eq!(check(code), Ok(()), "{code:?}");
        }
    }
}
