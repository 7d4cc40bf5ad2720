//! Grammars of llama.cpp (GBNF), which xgrammar's EBNF is too, as Lark.
//!
//! A rule that refers to no rule above it describes a regular language and becomes a terminal: the
//! lexer matches it as a whole, as GBNF means it. The other rules stay rules, and runs of regular
//! parts within them become terminals too, since lexemes that were cut finer would be cut greedily.

use std::fmt::Write;

use crate::failure::Failure;
use crate::grammar_source::quoted;

/// GBNF defines rules with "::=", which Lark has only inside of strings.
pub fn is_gbnf(source: &str) -> bool {
    let outside = |line: &str| {
        let name = line.trim_start();
        let end = name.find(|c: char| !is_name(c)).unwrap_or(0);
        end > 0 && name[end..].trim_start().starts_with("::=")
    };
    source.lines().any(outside)
}

pub fn to_lark(source: &str) -> Result<String, Failure> {
    let rules = Parser::new(source).rules()?;
    let Some(root) = rules.iter().position(|rule| rule.name == "root") else {
        return Err(Failure::new("the grammar has no rule named root", ""));
    };
    Ok(Writer::new(&rules).write(root))
}

struct Rule {
    name: String,
    body: Node,
}

enum Node {
    Text(String),
    Class(String), // of a regular expression
    Rule(usize),
    Token(String), // "<|im_end|>"
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '-' || letter == '_'
}

// ---- reading

struct Parser<'s> {
    source: &'s str,
    rest: &'s str,
    names: Vec<String>,
    bodies: Vec<Option<Node>>,
}

impl<'s> Parser<'s> {
    fn new(source: &'s str) -> Parser<'s> {
        Parser {
            source,
            rest: source,
            names: Vec::new(),
            bodies: Vec::new(),
        }
    }

    fn rules(mut self) -> Result<Vec<Rule>, Failure> {
        self.skip_blanks();
        while !self.rest.is_empty() {
            let name = self.name();
            self.skip_blanks();
            if name.is_empty() || !self.take("::=") {
                return Err(self.fail("a rule (name ::= ...) is expected"));
            }
            let place = self.place_of(name);
            if self.bodies[place].is_some() {
                return Err(self.fail(&format!("the rule {name} is defined twice")));
            }
            self.bodies[place] = Some(self.alternatives()?);
        }
        let rules = self.names.into_iter().zip(self.bodies);
        rules
            .map(|(name, body)| match body {
                Some(body) => Ok(Rule { name, body }),
                None => Err(Failure::new(
                    format!("the grammar has no rule named {name}"),
                    "",
                )),
            })
            .collect()
    }

    fn place_of(&mut self, name: &str) -> usize {
        if let Some(place) = self.names.iter().position(|known| known == name) {
            return place;
        }
        self.names.push(name.to_string());
        self.bodies.push(None);
        self.names.len() - 1
    }

    fn alternatives(&mut self) -> Result<Node, Failure> {
        let mut all = vec![self.sequence()?];
        while self.take("|") {
            all.push(self.sequence()?);
        }
        Ok(match all.len() {
            1 => all.remove(0),
            _ => Node::Either(all),
        })
    }

    fn sequence(&mut self) -> Result<Node, Failure> {
        let mut parts = Vec::new();
        loop {
            self.skip_blanks();
            let ends = self.rest.is_empty() || self.rest.starts_with(['|', ')']);
            if ends || self.begins_rule() {
                return Ok(Node::Sequence(parts));
            }
            let part = self.part()?;
            parts.push(self.repeated(part)?);
        }
    }

    fn begins_rule(&self) -> bool {
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(0);
        end > 0 && self.rest[end..].trim_start().starts_with("::=")
    }

    fn part(&mut self) -> Result<Node, Failure> {
        match self.rest.chars().next() {
            Some(mark @ ('"' | '\'')) => self.text(mark),
            Some('[') => self.class(),
            Some('.') => {
                self.rest = &self.rest[1..];
                Ok(Node::Class("(?s:.)".into()))
            }
            Some('<') => self.token(),
            Some('(') => {
                self.rest = &self.rest[1..];
                let inner = self.alternatives()?;
                match self.take(")") {
                    true => Ok(inner),
                    false => Err(self.fail("a ) is expected")),
                }
            }
            Some(letter) if is_name(letter) => {
                let name = self.name();
                Ok(Node::Rule(self.place_of(name)))
            }
            _ => Err(self.fail("a text, a class of characters, a rule or ( is expected")),
        }
    }

    fn text(&mut self, mark: char) -> Result<Node, Failure> {
        let mut text = String::new();
        self.rest = &self.rest[1..];
        loop {
            match self.rest.chars().next() {
                None | Some('\n') => return Err(self.fail("the text is not closed")),
                Some(letter) if letter == mark => break,
                Some(_) => text.push(self.letter()?),
            }
        }
        self.rest = &self.rest[1..];
        Ok(match text.is_empty() {
            true => Node::Sequence(Vec::new()),
            false => Node::Text(text),
        })
    }

    fn class(&mut self) -> Result<Node, Failure> {
        let mut regex = String::from("[");
        self.rest = &self.rest[1..];
        if self.rest.starts_with('^') {
            regex.push('^');
            self.rest = &self.rest[1..];
        }
        let first = regex.len();
        while !self.rest.starts_with(']') {
            if self.rest.is_empty() {
                return Err(self.fail("the class of characters is not closed"));
            }
            let low = self.letter()?;
            let _ = write!(regex, "\\x{{{:x}}}", low as u32);
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if !is_range {
                continue;
            }
            self.rest = &self.rest[1..];
            let high = self.letter()?;
            if high < low {
                return Err(self.fail("a range of characters ends before it begins"));
            }
            let _ = write!(regex, "-\\x{{{:x}}}", high as u32);
        }
        if regex.len() == first {
            return Err(self.fail("the class of characters is empty"));
        }
        self.rest = &self.rest[1..];
        regex.push(']');
        Ok(Node::Class(regex))
    }

    /// One character of a text or a class, perhaps escaped.
    fn letter(&mut self) -> Result<char, Failure> {
        let mut letters = self.rest.chars();
        let first = letters.next();
        if first != Some('\\') {
            self.rest = letters.as_str();
            return first.ok_or_else(|| self.fail("a character is expected"));
        }
        let escape = letters.next();
        self.rest = letters.as_str();
        let digits = match escape {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(letter) if letter.is_ascii_punctuation() => return Ok(letter),
            _ => return Err(self.fail("the escape is unknown")),
        };
        let code = self.rest.get(..digits).and_then(|hex| {
            let all_hex = hex.bytes().all(|b| b.is_ascii_hexdigit());
            let code = u32::from_str_radix(hex, 16).ok().filter(|_| all_hex)?;
            char::from_u32(code)
        });
        match code {
            Some(letter) => {
                self.rest = &self.rest[digits..];
                Ok(letter)
            }
            None => Err(self.fail("the escape names no character")),
        }
    }

    fn token(&mut self) -> Result<Node, Failure> {
        let end = self.rest.find('>').unwrap_or(0);
        let token = &self.rest[..=end];
        if end < 2 || token.contains(char::is_whitespace) {
            return Err(self.fail("a token (<name> or <[id]>) is expected"));
        }
        self.rest = &self.rest[end + 1..];
        Ok(Node::Token(token.to_string()))
    }

    fn repeated(&mut self, mut node: Node) -> Result<Node, Failure> {
        loop {
            let (least, most) = match self.rest.chars().next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    let (least, most) = self.counts()?;
                    node = Node::Repeat(Box::new(node), least, most);
                    continue;
                }
                _ => return Ok(node),
            };
            self.rest = &self.rest[1..];
            // Repeated again and again it is the same, and would nest without end.
            node = match node {
                Node::Repeat(inner, 0, None) => Node::Repeat(inner, 0, None),
                other => Node::Repeat(Box::new(other), least, most),
            };
        }
    }

    /// "{2}", "{2,}", "{,3}" or "{2,3}".
    fn counts(&mut self) -> Result<(u32, Option<u32>), Failure> {
        let end = self.rest.find('}').unwrap_or(self.rest.len());
        let inside = self.rest.get(1..end).unwrap_or("").trim();
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let counts = match inside.split_once(',') {
            None => number(inside).map(|count| (count, Some(count))),
            Some(("", most)) => number(most).map(|most| (0, Some(most))),
            Some((least, most)) if most.trim().is_empty() => number(least).map(|n| (n, None)),
            Some((least, most)) => number(least).zip(number(most).map(Some)),
        };
        match counts {
            Some((least, most)) if end < self.rest.len() && most.is_none_or(|m| m >= least) => {
                self.rest = &self.rest[end + 1..];
                Ok((least, most))
            }
            _ => Err(self.fail("a number of repetitions ({2,3}) is expected")),
        }
    }

    fn name(&mut self) -> &'s str {
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name
    }

    fn take(&mut self, mark: &str) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    fn fail(&self, expected: &str) -> Failure {
        let read = &self.source[..self.source.len() - self.rest.len()];
        let line = read.matches('\n').count() + 1;
        Failure::new(format!("line {line} of the grammar: {expected}"), "")
    }
}

// ---- writing

struct Writer<'r> {
    rules: &'r [Rule],
    is_regular: Vec<bool>,
    is_nullable: Vec<bool>,
    lark: String,
    num_runs: usize,
}

impl<'r> Writer<'r> {
    fn new(rules: &'r [Rule]) -> Writer<'r> {
        let mut writer = Writer {
            rules,
            is_regular: vec![false; rules.len()],
            is_nullable: vec![false; rules.len()],
            lark: String::new(),
            num_runs: 0,
        };
        // A rule is regular once all that it refers to are, so no rule of a cycle ever is.
        loop {
            let before = (writer.is_regular.clone(), writer.is_nullable.clone());
            for (place, rule) in rules.iter().enumerate() {
                writer.is_regular[place] = writer.regular(&rule.body);
                writer.is_nullable[place] = writer.nullable(&rule.body);
            }
            if before == (writer.is_regular.clone(), writer.is_nullable.clone()) {
                return writer;
            }
        }
    }

    fn regular(&self, node: &Node) -> bool {
        match node {
            Node::Text(_) | Node::Class(_) => true,
            Node::Token(_) => false,
            Node::Rule(place) => self.is_regular[*place],
            Node::Sequence(parts) | Node::Either(parts) => parts.iter().all(|p| self.regular(p)),
            Node::Repeat(inner, _, _) => self.regular(inner),
        }
    }

    fn nullable(&self, node: &Node) -> bool {
        match node {
            Node::Text(_) | Node::Class(_) | Node::Token(_) => false,
            Node::Rule(place) => self.is_nullable[*place],
            Node::Sequence(parts) => parts.iter().all(|part| self.nullable(part)),
            Node::Either(parts) => parts.iter().any(|part| self.nullable(part)),
            Node::Repeat(inner, least, _) => *least == 0 || self.nullable(inner),
        }
    }

    fn write(mut self, root: usize) -> String {
        let start = self.rule_part(&Node::Rule(root));
        let _ = writeln!(self.lark, "start: {start}");
        for (place, rule) in self.rules.iter().enumerate() {
            if self.is_regular[place] {
                let body = self.terminal(&rule.body);
                let _ = writeln!(self.lark, "T{place}: {body}");
            } else {
                let body = self.rule_part(&rule.body);
                let _ = writeln!(self.lark, "r{place}: {body}");
            }
        }
        self.lark
    }

    /// As it stands in a terminal. The whole may match nothing.
    fn terminal(&self, node: &Node) -> String {
        match node {
            Node::Text(text) => quoted(text),
            Node::Class(regex) => format!("/{regex}/"),
            Node::Rule(place) => format!("T{place}"),
            Node::Token(token) => token.clone(),
            Node::Sequence(parts) if parts.is_empty() => "\"\"".into(),
            Node::Sequence(parts) => joined(parts.iter().map(|part| self.terminal(part)), " "),
            Node::Either(parts) => joined(parts.iter().map(|part| self.terminal(part)), " | "),
            Node::Repeat(inner, least, most) => {
                format!("{}{}", self.terminal(inner), counts(*least, *most))
            }
        }
    }

    /// As it stands in a rule.
    fn rule_part(&mut self, node: &Node) -> String {
        if self.regular(node) {
            return self.run(std::slice::from_ref(node));
        }
        match node {
            Node::Rule(place) => format!("r{place}"),
            Node::Sequence(parts) => {
                let mut words = Vec::new();
                let mut begin = 0;
                while begin < parts.len() {
                    let length = parts[begin..]
                        .iter()
                        .take_while(|part| self.regular(part))
                        .count();
                    words.push(match length {
                        0 => self.rule_part(&parts[begin]),
                        _ => self.run(&parts[begin..begin + length]),
                    });
                    begin += length.max(1);
                }
                joined(words.into_iter(), " ")
            }
            Node::Either(parts) => {
                let words: Vec<String> = parts.iter().map(|part| self.rule_part(part)).collect();
                joined(words.into_iter(), " | ")
            }
            Node::Repeat(inner, least, most) => {
                format!("{}{}", self.rule_part(inner), counts(*least, *most))
            }
            _ => self.terminal(node),
        }
    }

    /// A terminal of its own for parts of a rule that are regular.
    fn run(&mut self, parts: &[Node]) -> String {
        let is_nullable = parts.iter().all(|part| self.nullable(part));
        let body = joined(parts.iter().map(|part| self.terminal(part)), " ");
        if body == "\"\"" {
            return body;
        }
        let name = format!("RUN{}", self.num_runs);
        self.num_runs += 1;
        let _ = writeln!(self.lark, "{name}: {body}");
        if is_nullable {
            format!("({name} | \"\")")
        } else {
            name
        }
    }
}

fn counts(least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => "*".into(),
        (1, None) => "+".into(),
        (0, Some(1)) => "?".into(),
        (least, None) => format!("{{{least},}}"),
        (least, Some(most)) => format!("{{{least},{most}}}"),
    }
}

fn joined(words: impl Iterator<Item = String>, mark: &str) -> String {
    let words: Vec<String> = words.collect();
    match words.len() {
        1 => words.into_iter().next().unwrap_or_default(),
        _ => format!("({})", words.join(mark)),
    }
}
