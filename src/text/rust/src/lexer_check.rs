//! Whether a grammar's lexer can take its first steps within bounds.
//!
//! llguidance (1.9.1) takes a lexer's first steps, one for each byte, before it gives the lexer any
//! fuel: what decides whether a step leads anywhere may then visit every state there is, such as the
//! ten million of {"multipleOf": 9999991}, with nothing to end it. So they are taken here first, on
//! a lexer of the same expressions that has fuel; what comes out well here costs as much there.

use llguidance::api::ParserLimits;
use llguidance::earley::lexerspec::LexerSpec;

pub fn check_first_steps(
    spec: &LexerSpec,
    extra_lexemes: &[String],
    limits: &ParserLimits,
) -> anyhow::Result<()> {
    let mut spec = spec.clone();
    spec.add_extra_lexemes(extra_lexemes);
    let mut limits = limits.clone();
    let mut lexer = spec.to_regex_vec(&mut limits)?; // takes of their fuel
    lexer.set_max_states(limits.max_lexer_states);
    lexer.set_fuel(limits.initial_lexer_fuel);
    let start = lexer.initial_state(&spec.all_lexemes());
    for byte in 0..=u8::MAX {
        lexer.transition(start, byte);
        anyhow::ensure!(
            !lexer.has_error(),
            "too many states to see what may come first; is there a multipleOf, a maximum of \
             repetitions or a combination of expressions that could be smaller?"
        );
    }
    Ok(())
}
