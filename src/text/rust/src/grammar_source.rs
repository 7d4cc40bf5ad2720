//! From what a user gave to what llguidance reads: JSON schemas with bounded blanks, regular
//! expressions without their outer anchors, choices, Lark.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{json, Value};

use crate::failure::Failure;
use crate::gbnf;
use crate::grammar::Limits;
use crate::satisfiable;

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    JsonSchema,
    JsonObject,
    Regex,
    Choice,
    Lark,
}

/// Before anything recurses over the source.
pub fn check_size(source: &str, limits: Limits) -> Result<(), Failure> {
    if source.len() > limits.source_bytes {
        return Err(Failure::new(
            format!("the grammar has {} bytes", source.len()),
            format!(
                "grammars of up to {} bytes are accepted",
                limits.source_bytes
            ),
        ));
    }
    check_depth(source, limits)
}

/// Also of a source within another one, where brackets may have been written as escapes.
fn check_depth(source: &str, limits: Limits) -> Result<(), Failure> {
    let mut depth = 0usize;
    let mut bytes = source.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits.depth {
            return Err(Failure::new(
                format!("the grammar nests brackets more than {} deep", limits.depth),
                "",
            ));
        }
    }
    Ok(())
}

/// What a frame calls the grammar that it stands around.
const FRAMED: &str = "answer";

/// frame: Lark in which @answer stands for the grammar; empty: nothing stands around it.
pub fn read(
    kind: Kind,
    source: &str,
    frame: &str,
    limits: Limits,
) -> Result<TopLevelGrammar, Failure> {
    let mut grammar = read_alone(kind, source, limits)?;
    if frame.is_empty() {
        return Ok(grammar);
    }
    if let Some(framed) = grammar.grammars.first_mut() {
        framed.name = Some(FRAMED.into());
    }
    let frame = GrammarWithLexer {
        lark_grammar: Some(frame.to_string()),
        ..GrammarWithLexer::default()
    };
    grammar.grammars.insert(0, frame);
    Ok(grammar)
}

fn read_alone(kind: Kind, source: &str, limits: Limits) -> Result<TopLevelGrammar, Failure> {
    match kind {
        Kind::JsonSchema => schema(source, limits),
        Kind::JsonObject => schema(r#"{"type":"object"}"#, limits),
        Kind::Regex => Ok(TopLevelGrammar::from_regex(without_anchors(source))),
        Kind::Choice => choice(source),
        Kind::Lark if gbnf::is_gbnf(source) => {
            Ok(TopLevelGrammar::from_lark(gbnf::to_lark(source)?))
        }
        Kind::Lark => Ok(TopLevelGrammar::from_lark(with_parts_read(source, limits)?)),
    }
}

fn schema(source: &str, limits: Limits) -> Result<TopLevelGrammar, Failure> {
    let schema = serde_json::from_str(source)
        .map_err(|error| Failure::new("the JSON schema is not JSON", error.to_string()))?;
    Ok(TopLevelGrammar::from_json_schema(with_options(
        schema, limits,
    )?))
}

/// Between the parts of JSON stands one blank, or a line break and blanks: what a line is indented
/// by. More is of use to nobody, and a small model can go on with it for ever.
fn with_options(mut schema: Value, limits: Limits) -> Result<Value, Failure> {
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    check_divisors(&schema)?;
    satisfiable::check(&schema)?;
    let blanks = limits.json_blanks;
    let options = match &mut schema {
        Value::Object(object) => object,
        _ => return Err(Failure::new("the JSON schema is not a JSON object", "")),
    };
    // llguidance's own options, which could ask for anything.
    options.insert(
        "x-guidance".into(),
        json!({ "whitespace_pattern": format!("\\x20|\\x0A[\\x20\\x09]{{0,{blanks}}}") }),
    );
    Ok(schema)
}

/// A lexer of multiples has a state for each remainder, and looks through them for one that ends a
/// number. How many it meets differs (40 % of 86,400's, 80 % of a prime's), so what it may cost is
/// bounded by the fuel of a compilation (lexer_check.rs); but of more than these a mask may have to
/// look through more than it has time for, where the first one came at once. Where zeros alone lead
/// there it finds one at once, until llguidance's arithmetic wraps.
const MOST_REMAINDERS: u64 = 100_000;
const MOST_THAT_ZEROS_END: u64 = 400_000_000;
const MOST_DECIMALS: usize = 6;

/// Of every multipleOf, whether a schema stands there or not; but not of those within values.
fn check_divisors(schema: &Value) -> Result<(), Failure> {
    match schema {
        Value::Object(fields) => {
            fields
                .iter()
                .try_for_each(|(name, value)| match (name.as_str(), value.as_f64()) {
                    ("enum" | "const" | "default" | "examples", _) => Ok(()),
                    ("multipleOf", Some(divisor)) => check_divisor(divisor),
                    _ => check_divisors(value),
                })
        }
        Value::Array(items) => items.iter().try_for_each(check_divisors),
        _ => Ok(()),
    }
}

fn check_divisor(divisor: f64) -> Result<(), Failure> {
    let text = divisor.abs().to_string(); // never with an exponent
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{decimals}").parse().unwrap_or(u64::MAX);
    let is_ended_by_zeros = without_factor(without_factor(digits, 2), 5) == 1;
    let most = match is_ended_by_zeros {
        true => MOST_THAT_ZEROS_END,
        false => MOST_REMAINDERS,
    };
    if digits <= most && decimals.len() <= MOST_DECIMALS {
        return Ok(());
    }
    Err(Failure::new(
        format!("multipleOf {divisor} takes too many states"),
        format!(
            "without its point it may be up to {MOST_REMAINDERS}, or, with no prime factors but 2 \
             and 5, up to {MOST_THAT_ZEROS_END}; up to {MOST_DECIMALS} digits may stand behind \
             the point"
        ),
    ))
}

fn without_factor(mut number: u64, factor: u64) -> u64 {
    while number != 0 && number % factor == 0 {
        number /= factor;
    }
    number
}

/// A regular expression is matched as a whole: anchors around it say nothing more.
fn without_anchors(source: &str) -> &str {
    let source = source.strip_prefix('^').unwrap_or(source);
    match source.strip_suffix('$') {
        Some(rest) if rest.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 0 => rest,
        _ => source,
    }
}

fn choice(source: &str) -> Result<TopLevelGrammar, Failure> {
    let texts: Vec<String> = serde_json::from_str(source).map_err(|error| {
        Failure::new(
            "the choice is not a JSON array of strings",
            error.to_string(),
        )
    })?;
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(Failure::new(
            "the choice has nothing to choose from, or an empty text",
            "",
        ));
    }
    // One terminal, so that a text which begins another one stays a choice.
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    let lark = format!("start: CHOICE\nCHOICE: {}\n", texts.join(" | "));
    Ok(TopLevelGrammar::from_lark(lark))
}

/// A string of Lark, which is one of JSON without DEL.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\x7f', "\\u007f")
}

const JSON_MARK: &str = "%json";
const GRAMMAR_MARK: &str = "%grammar";

/// The schemas that follow %json get bounded blanks too, and the text that follows %grammar becomes
/// a grammar within this one. The rest stays as it is.
fn with_parts_read(source: &str, limits: Limits) -> Result<String, Failure> {
    let mut lark = String::with_capacity(source.len() + 64);
    let mut rest = source;
    while let Some(length) = part_length(rest) {
        let (part, after) = rest.split_at(length);
        rest = after;
        match part {
            JSON_MARK => {
                let (schema, length) = value_after(JSON_MARK, rest)?;
                lark.push_str("%json ");
                lark.push_str(&with_options(schema, limits)?.to_string());
                rest = &rest[length..];
            }
            GRAMMAR_MARK => {
                let (inner, length) = value_after(GRAMMAR_MARK, rest)?;
                let Value::String(inner) = inner else {
                    return Err(Failure::new("what follows %grammar is not a string", ""));
                };
                check_depth(&inner, limits)?;
                lark.push_str("%lark {\n");
                lark.push_str(&match gbnf::is_gbnf(&inner) {
                    true => gbnf::to_lark(&inner)?,
                    false => with_parts_read(&inner, limits)?,
                });
                lark.push_str("\n}");
                rest = &rest[length..];
            }
            _ => lark.push_str(part),
        }
    }
    Ok(lark)
}

/// The JSON that a text begins with, and its bytes.
fn value_after(mark: &str, text: &str) -> Result<(Value, usize), Failure> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match stream.next() {
        Some(Ok(value)) => Ok((value, stream.byte_offset())),
        Some(Err(error)) => Err(Failure::new(
            format!("what follows {mark} is not JSON"),
            error.to_string(),
        )),
        None => Err(Failure::new(format!("nothing follows {mark}"), "")),
    }
}

/// Bytes of the string, regular expression, comment, mark or character that a Lark source begins
/// with.
fn part_length(source: &str) -> Option<usize> {
    let first = source.chars().next()?;
    let length = match first {
        '%' if source.starts_with(JSON_MARK) => JSON_MARK.len(),
        '%' if source.starts_with(GRAMMAR_MARK) => GRAMMAR_MARK.len(),
        '#' => line_length(source),
        '/' if source.starts_with("//") => line_length(source),
        '"' | '/' => 1 + quoted_length(&source[1..], first),
        _ => first.len_utf8(),
    };
    Some(length)
}

fn line_length(source: &str) -> usize {
    source.find('\n').unwrap_or(source.len())
}

/// Up to and with the closing mark; all where there is none.
fn quoted_length(source: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, letter) in source.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == mark => return at + mark.len_utf8(),
            _ => {}
        }
    }
    source.len()
}
