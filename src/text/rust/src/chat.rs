//! Chat templates: Jinja as `transformers` sets it up, run by minijinja.

use std::sync::Arc;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};

use crate::confinement::{confine, Bounds, Breach, LeftBehind};
use crate::failure::Failure;
use crate::python::{self, JsonStyle};

const NAME: &str = "chat_template";

/// Templates in use have up to 20 KB. The parser recurses, so this also bounds its stack.
const MAX_SOURCE_BYTES: usize = 64 << 10;

/// Steps one rendering may take, about a second's worth: templates come with the model file, and
/// one that never ends must not hold a server up.
/// A fuzzer, which finds such templates, goes on sooner.
const MAX_STEPS: u64 = if cfg!(weft_fuzz) { 50_000 } else { 20_000_000 };

/// Memory a compilation or a rendering may hold, beside what the conversation pays for: so much for
/// every byte of it (its text, and the buffers that text grows through), and for every value. A
/// value is 72 bytes while the JSON is read, in a vector that doubles, and 24 as the template sees
/// it; the least object, {"":0}, counts as three here and costs some 800 bytes in both forms.
const MAX_MEMORY_BYTES: usize = if cfg!(weft_fuzz) { 1 << 20 } else { 32 << 20 };
const MEMORY_PER_INPUT: usize = 8;
const MEMORY_PER_VALUE: usize = 384;

/// A message has a handful. What memory and stack they may take is bounded by this.
const MAX_VALUES: usize = 256 << 10;

const MAX_TIME: Duration = Duration::from_secs(5);

/// Of what a template itself gives as its reason to fail.
const MAX_REASON_CHARS: usize = 2000;

/// A rendering that was left behind keeps its memory and a core busy until its steps are used up,
/// so there are only so many of them at a time.
const MAX_LEFT_BEHIND: u32 = 3;

/// What the constants above come to, for who shows them.
#[repr(C)]
pub struct WeftTemplateLimits {
    source_bytes: i64,
    values: i64,
    steps: i64,
    run_ms: i64,
    run_bytes: i64,
    bytes_per_input: i64,
}

pub const LIMITS: WeftTemplateLimits = WeftTemplateLimits {
    source_bytes: MAX_SOURCE_BYTES as i64,
    values: MAX_VALUES as i64,
    steps: MAX_STEPS as i64,
    run_ms: MAX_TIME.as_millis() as i64,
    run_bytes: MAX_MEMORY_BYTES as i64,
    bytes_per_input: MEMORY_PER_INPUT as i64,
};

pub struct ChatTemplate {
    compiled: Arc<Compiled>,
    left_behind: Arc<LeftBehind>,
}

struct Compiled {
    environment: Environment<'static>,
    source: String,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    pub fn compile(
        source: &str,
        bos_token: &str,
        eos_token: &str,
    ) -> Result<ChatTemplate, Failure> {
        if source.len() > MAX_SOURCE_BYTES {
            let size = source.len();
            return Err(Failure::new(
                format!("the chat template has {size} bytes"),
                format!("templates of up to {MAX_SOURCE_BYTES} bytes are accepted"),
            ));
        }
        let (source, bos_token, eos_token) = (source.into(), bos_token.into(), eos_token.into());
        let left_behind = Arc::default();
        let compiled = confine(bounds(MAX_MEMORY_BYTES), &left_behind, move || {
            Compiled::new(source, bos_token, eos_token)
        });
        Ok(ChatTemplate {
            compiled: Arc::new(compiled.map_err(|breach| {
                abandoned("compiling the chat template", breach, MAX_MEMORY_BYTES)
            })??),
            left_behind,
        })
    }

    pub fn render(
        &self,
        messages_json: &[u8],
        add_generation_prompt: bool,
        extra_json: &[u8],
    ) -> Result<String, Failure> {
        if self.left_behind.count() >= MAX_LEFT_BEHIND {
            return Err(Failure::busy(
                "too many conversations are stuck in the chat template, try again later",
                format!("{MAX_LEFT_BEHIND} took too long or too much memory, and have not ended"),
            ));
        }
        let num_values = most_values(messages_json) + most_values(extra_json);
        if num_values > MAX_VALUES {
            return Err(Failure::new(
                format!("the conversation has up to {num_values} values, keys and lists"),
                format!("up to {MAX_VALUES} are accepted"),
            ));
        }
        let max_bytes = (messages_json.len() + extra_json.len())
            .saturating_mul(MEMORY_PER_INPUT)
            .saturating_add(num_values * MEMORY_PER_VALUE)
            .saturating_add(MAX_MEMORY_BYTES);
        let compiled = Arc::clone(&self.compiled);
        let (messages, extra) = (messages_json.to_vec(), extra_json.to_vec());
        confine(bounds(max_bytes), &self.left_behind, move || {
            compiled.render(&messages, add_generation_prompt, &extra)
        })
        .map_err(|breach| abandoned("running the chat template", breach, max_bytes))?
    }
}

/// Every value and every key of a JSON text comes after one of these, or is the whole.
fn most_values(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (1, false, false);
    for &byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => count += 1,
            _ => (),
        }
    }
    count
}

fn bounds(bytes: usize) -> Bounds {
    Bounds {
        name: "chat-template",
        bytes,
        time: MAX_TIME,
    }
}

fn abandoned(doing: &str, breach: Breach, max_bytes: usize) -> Failure {
    match breach {
        Breach::Memory => Failure::new(
            format!("{doing} takes too much memory"),
            format!("it may hold {} MiB at a time", max_bytes >> 20),
        ),
        Breach::Time => Failure::new(
            format!("{doing} takes too long"),
            format!("it was given {} seconds", MAX_TIME.as_secs()),
        ),
        Breach::NoThread => Failure::new(
            format!("{doing} needs a thread"),
            "the system gave none; is address space limited (ulimit -v)?",
        ),
    }
}

impl Compiled {
    fn new(source: String, bos_token: String, eos_token: String) -> Result<Compiled, Failure> {
        let mut environment = environment();
        environment
            .add_template_owned(NAME, without_generation_tags(&source))
            .map_err(|error| explain("cannot be read", &source, &error))?;
        Ok(Compiled {
            environment,
            source,
            bos_token,
            eos_token,
        })
    }

    fn render(
        &self,
        messages_json: &[u8],
        add_generation_prompt: bool,
        extra_json: &[u8],
    ) -> Result<String, Failure> {
        let messages = match serde_json::from_slice(messages_json) {
            Ok(messages @ serde_json::Value::Array(_)) => value_of(&messages),
            Ok(_) => return Err(Failure::new("the messages are not a JSON array", "")),
            Err(error) => {
                let why = error.to_string();
                return Err(Failure::new("the messages are not JSON", why));
            }
        };
        // transformers always passes these two, as None where the caller has none.
        let mut variables: Vec<(String, Value)> = vec![
            ("tools".into(), Value::from(())),
            ("documents".into(), Value::from(())),
            ("bos_token".into(), self.bos_token.as_str().into()),
            ("eos_token".into(), self.eos_token.as_str().into()),
        ];
        if !extra_json.is_empty() {
            let extra: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(extra_json).map_err(|error| {
                    Failure::new(
                        "the template's variables are no JSON object",
                        error.to_string(),
                    )
                })?;
            variables.extend(
                extra
                    .iter()
                    .map(|(name, value)| (name.clone(), value_of(value))),
            );
        }
        variables.push(("messages".into(), messages));
        variables.push(("add_generation_prompt".into(), add_generation_prompt.into()));
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Value::from_pairs(variables)))
            .map_err(|error| explain("failed", &self.source, &error))
    }
}

/// Keys keep the order of the JSON text.
fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            _ => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(value_of).collect(),
        serde_json::Value::Object(map) => Value::from_pairs(
            map.iter()
                .map(|(key, value)| (key.as_str(), value_of(value))),
        ),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let whitespace = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(whitespace.unwrap_or_default());
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, _, value| {
        out.write_str(&python::to_str(value)?)
            .map_err(|_| ErrorKind::WriteFailure.into())
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", |value: &Value| python::to_str(value));
    environment.add_function("raise_exception", |message: &Value| {
        Err::<Value, Error>(Error::new(
            ErrorKind::InvalidOperation,
            python::to_str(message)?,
        ))
    });
    environment.add_function("strftime_now", strftime_now);
    environment
}

/// transformers' own filter: json.dumps without Jinja's HTML escaping.
fn tojson(value: &Value, ensure_ascii: Option<bool>, options: Kwargs) -> Result<Value, Error> {
    let indent = match options.get::<Option<Value>>("indent")? {
        Some(indent) if !indent.is_none() => Some(match indent.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(usize::try_from(indent)?.min(64)),
        }),
        _ => None,
    };
    let (item, key) = match options.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => (
            pair.get_item_by_index(0)?.to_string(),
            pair.get_item_by_index(1)?.to_string(),
        ),
        _ if indent.is_some() => (",".into(), ": ".into()),
        _ => (", ".into(), ": ".into()),
    };
    let ensure_ascii = match ensure_ascii {
        Some(positional) => positional,
        None => options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
    };
    let style = JsonStyle {
        indent,
        item_separator: item,
        key_separator: key,
        ensure_ascii,
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    python::to_json(value, &style).map(Value::from)
}

/// datetime.now().strftime(format): Python hands the format to the C library as well.
fn strftime_now(format: &str) -> Result<String, Error> {
    let refused = |why: &'static str| Error::new(ErrorKind::InvalidOperation, why);
    let format = std::ffi::CString::new(format).map_err(|_| refused("strftime_now: a NUL byte"))?;
    if format.is_empty() {
        return Ok(String::new());
    }
    let mut buffer = vec![0u8; 1024];
    // SAFETY: plain C calls on memory owned here; strftime writes at most buffer.len() bytes.
    let written = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut parts).is_null() {
            return Err(refused("strftime_now: no local time"));
        }
        libc::strftime(
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            format.as_ptr(),
            &parts,
        )
    };
    buffer.truncate(written);
    String::from_utf8(buffer).map_err(|_| refused("strftime_now: not UTF-8"))
}

/// `{% generation %}` marks the model's own words for training and changes nothing that is
/// rendered. Replaced by a condition that holds, on the same line, with the same trimming.
fn without_generation_tags(source: &str) -> String {
    let tags = regex::Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}");
    match tags {
        Err(_) => source.into(),
        Ok(tags) => tags
            .replace_all(source, |found: &regex::Captures| {
                let tag = if found.get(2).is_some() {
                    "endif"
                } else {
                    "if true"
                };
                format!("{{%{} {tag} {}%}}", &found[1], &found[3])
            })
            .into_owned(),
    }
}

/// "the chat template failed at line 3: {{ raise_exception('…') }}".
fn explain(verb: &str, source: &str, error: &Error) -> Failure {
    let mut what = format!("the chat template {verb}");
    if let Some(line) = error.line() {
        let text = source
            .lines()
            .nth(line.saturating_sub(1))
            .unwrap_or_default()
            .trim();
        let shown: String = text.chars().take(160).collect();
        let dots = if shown.len() < text.len() { "…" } else { "" };
        what += &format!(" at line {line}: {shown}{dots}");
    }
    let why = match error.detail() {
        Some(detail) => detail.chars().take(MAX_REASON_CHARS).collect(),
        None => error.kind().to_string(),
    };
    Failure::new(what, why)
}
