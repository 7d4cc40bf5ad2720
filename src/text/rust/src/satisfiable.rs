//! Schemas that no JSON can satisfy. llguidance refuses some of them in its own words, without a
//! place, and turns others into an answer that can never end: an object that requires another one of
//! its own kind.
//!
//! What is satisfiable is the least fixed point: a reference leads to something once the schema that
//! it names is known to allow some JSON without it. Whatever is not understood is taken to allow
//! some, so nothing is refused that might be satisfied.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::failure::Failure;

pub const NO_JSON: &str = "no JSON is valid under the schema";

/// Schemas that are looked at, a reference as often as it is followed. One of 256 KiB has some
/// 20,000, and a few turns over all references tell which of them end; beyond it the compiler says
/// what it makes of the schema.
const MOST_LOOKS: usize = 200_000;

pub fn check(schema: &Value) -> Result<(), Failure> {
    let mut search = Search {
        root: schema,
        is_one_document: !within(schema).any(has_id),
        asked: Vec::new(),
        is_satisfied: HashMap::new(),
        looks_left: MOST_LOOKS,
    };
    let Some(fault) = search.run() else {
        return Ok(());
    };
    let (place, why) = search.explain(fault);
    Err(Failure::new(NO_JSON, format!("at {place} {why}")))
}

/// Why a schema allows no JSON; `place`: from it, as in a JSON pointer.
struct Fault {
    place: String,
    why: Why,
}

enum Why {
    Said(String),
    Reference(String),
}

impl Fault {
    fn new(place: &str, why: impl Into<String>) -> Fault {
        Fault {
            place: place.into(),
            why: Why::Said(why.into()),
        }
    }

    fn inside(mut self, place: &str) -> Fault {
        self.place.insert_str(0, place);
        self
    }
}

struct Search<'a> {
    root: &'a Value,
    /// No schema within it has a name of its own, which references around it would start from.
    is_one_document: bool,
    /// References that were met, in order, and whether they are known to lead to something.
    asked: Vec<String>,
    is_satisfied: HashMap<String, bool>,
    looks_left: usize,
}

type Fields = Map<String, Value>;

impl Search<'_> {
    fn run(&mut self) -> Option<Fault> {
        let mut explored = 0;
        loop {
            let fault = self.fault_of(self.root)?;
            let mut has_more = false;
            while explored < self.asked.len() {
                has_more |= self.becomes_satisfied(explored);
                explored += 1;
            }
            // What was met last is mostly what the others wait for.
            for i in (0..self.asked.len()).rev() {
                has_more |= self.becomes_satisfied(i);
            }
            if !has_more {
                return Some(fault);
            }
        }
    }

    fn becomes_satisfied(&mut self, reference: usize) -> bool {
        let target = self.asked[reference].clone();
        if self.is_satisfied[&target] || self.fault_behind(&target).is_some() {
            return false;
        }
        self.is_satisfied.insert(target, true);
        true
    }

    /// Follows references to what is wrong behind them, or back to where they were.
    fn explain(&mut self, mut fault: Fault) -> (String, String) {
        self.looks_left = MOST_LOOKS;
        let mut base = "#".to_string();
        let mut met = HashSet::new();
        loop {
            let place = format!("{base}{}", fault.place);
            match fault.why {
                Why::Said(why) => return (place, why),
                Why::Reference(target) => {
                    let next = self.fault_behind(&target);
                    let is_new = met.insert(target.clone());
                    match next.filter(|_| is_new) {
                        Some(next) => (base, fault) = (target, next),
                        None => return (place, circle(&target)),
                    }
                }
            }
        }
    }

    fn fault_behind(&mut self, target: &str) -> Option<Fault> {
        let root = self.root;
        self.fault_of(root.pointer(&target[1..])?)
    }

    fn fault_of(&mut self, schema: &Value) -> Option<Fault> {
        self.looks_left = self.looks_left.checked_sub(1)?;
        match schema {
            Value::Bool(false) => Some(Fault::new("", "nothing is valid under the schema false")),
            Value::Object(fields) => match fields.get("$ref") {
                Some(reference) => self.fault_of_reference(reference),
                None => self.fault_of_fields(fields),
            },
            _ => None,
        }
    }

    fn fault_of_reference(&mut self, reference: &Value) -> Option<Fault> {
        let target = reference.as_str()?;
        let is_place = target == "#" || target.starts_with("#/");
        if !is_place || !self.is_one_document {
            return None;
        }
        match self.is_satisfied.get(target) {
            Some(true) => return None,
            Some(false) => {}
            None => {
                self.root.pointer(&target[1..])?;
                self.asked.push(target.to_string());
                self.is_satisfied.insert(target.to_string(), false);
            }
        }
        Some(Fault {
            place: "/$ref".into(),
            why: Why::Reference(target.to_string()),
        })
    }

    fn fault_of_fields(&mut self, fields: &Fields) -> Option<Fault> {
        for (i, part) in list(fields, "allOf").iter().enumerate() {
            if let Some(fault) = self.fault_of(part) {
                return Some(fault.inside(&format!("/allOf/{i}")));
            }
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(fault) = self.fault_of_branches(fields, key) {
                return Some(fault);
            }
        }
        if matches!(fields.get("enum"), Some(Value::Array(values)) if values.is_empty()) {
            return Some(Fault::new("/enum", "there is nothing to choose from"));
        }
        match fields.get("type") {
            Some(Value::String(name)) => self.fault_of_type(fields, name),
            Some(Value::Array(names)) => {
                let faults: Vec<_> = names
                    .iter()
                    .map(|name| self.fault_of_type(fields, name.as_str().unwrap_or_default()))
                    .collect::<Option<_>>()?;
                faults.into_iter().next()
            }
            _ => None,
        }
    }

    /// The first branch's, where none allows anything.
    fn fault_of_branches(&mut self, fields: &Fields, key: &str) -> Option<Fault> {
        let Some(Value::Array(branches)) = fields.get(key) else {
            return None;
        };
        let faults: Vec<_> = branches
            .iter()
            .map(|branch| self.fault_of(branch))
            .collect::<Option<_>>()?;
        let first = faults.into_iter().next();
        Some(match first {
            Some(fault) => fault.inside(&format!("/{key}/0")),
            None => Fault::new(&format!("/{key}"), "there is nothing to choose from"),
        })
    }

    fn fault_of_type(&mut self, fields: &Fields, name: &str) -> Option<Fault> {
        match name {
            "object" => self.fault_of_object(fields),
            "array" => self.fault_of_array(fields),
            "string" => above(fields, "minLength", "maxLength"),
            "number" | "integer" => above(fields, "minimum", "maximum"),
            _ => None,
        }
    }

    fn fault_of_object(&mut self, fields: &Fields) -> Option<Fault> {
        let required: HashSet<&str> = list(fields, "required")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let most = fields.get("maxProperties").and_then(Value::as_f64);
        if most.is_some_and(|most| required.len() as f64 > most) {
            return Some(Fault::new(
                "/required",
                "it names more than maxProperties allows",
            ));
        }
        for name in list(fields, "required").iter().filter_map(Value::as_str) {
            let fault = match fields.get("properties").and_then(|all| all.get(name)) {
                Some(schema) => self
                    .fault_of(schema)
                    .map(|fault| fault.inside(&format!("/properties/{}", escaped(name)))),
                None if fields.contains_key("patternProperties") => None,
                None => fields
                    .get("additionalProperties")
                    .and_then(|schema| self.fault_of(schema))
                    .map(|fault| fault.inside("/additionalProperties")),
            };
            if fault.is_some() {
                return fault;
            }
        }
        above(fields, "minProperties", "maxProperties")
    }

    fn fault_of_array(&mut self, fields: &Fields) -> Option<Fault> {
        let least = fields.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        // A list of items is the older way to say prefixItems.
        let (first, rest) = match fields.get("items") {
            Some(Value::Array(items)) => (("items", items.as_slice()), "additionalItems"),
            _ => (("prefixItems", list(fields, "prefixItems")), "items"),
        };
        for (i, item) in first.1.iter().enumerate().take(least as usize) {
            if let Some(fault) = self.fault_of(item) {
                return Some(fault.inside(&format!("/{}/{i}", first.0)));
            }
        }
        if least > first.1.len() as u64 {
            let fault = fields.get(rest).and_then(|items| self.fault_of(items));
            if let Some(fault) = fault {
                return Some(fault.inside(&format!("/{rest}")));
            }
        }
        above(fields, "minItems", "maxItems")
    }
}

fn circle(target: &str) -> String {
    format!(
        "the reference to {target} comes back to itself, and nothing ends it (an optional property \
         would, an empty list or another branch)"
    )
}

fn has_id(schema: &Value) -> bool {
    schema.get("$id").is_some_and(Value::is_string)
}

/// What a value is made of, without itself.
fn within(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    let below = |part| std::iter::once(part).chain(within(part));
    match value {
        Value::Object(fields) => Box::new(fields.values().flat_map(below)),
        Value::Array(items) => Box::new(items.iter().flat_map(below)),
        _ => Box::new(std::iter::empty()),
    }
}

fn list<'a>(fields: &'a Fields, key: &str) -> &'a [Value] {
    match fields.get(key) {
        Some(Value::Array(values)) => values,
        _ => &[],
    }
}

fn above(fields: &Fields, least: &str, most: &str) -> Option<Fault> {
    let low = fields.get(least)?.as_f64()?;
    let high = fields.get(most)?.as_f64()?;
    (low > high).then(|| {
        Fault::new(
            &format!("/{least}"),
            format!("{low} is above {most}, {high}"),
        )
    })
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
