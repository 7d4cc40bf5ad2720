#include "cli/speculation_report.h"

#include <fmt/format.h>

namespace weft::cli {
namespace {

double share_of(double part_s, double seconds) { return seconds > 0 ? part_s / seconds : 0.0; }

}  // namespace

nlohmann::ordered_json speculation_json(const engine::SpeculationStats& s, double seconds) {
  return {{"num_verifications", s.num_verifications},
          {"guessed_tokens", s.guessed_tokens},
          {"accepted_tokens", s.accepted_tokens},
          {"acceptance_rate", s.acceptance_rate()},
          {"mean_accepted_length", s.mean_accepted_length()},
          {"gain_estimate", s.gain()},
          {"draft_s", s.draft_s},
          {"draft_share", share_of(s.draft_s, seconds)},
          {"num_draft_steps", s.num_draft_steps},
          {"draft_tokens", s.draft_tokens},
          {"num_draft_failures", s.num_draft_failures}};
}

std::string speculation_line(const engine::SpeculationStats& s, double seconds) {
  if (s.guessed_tokens == 0 && s.num_draft_steps == 0) return {};
  std::string line = fmt::format(
      "{} tokens guessed, {} right ({:.1f} %): {:.2f} tokens a step that guesses, about {:.2f} "
      "times as fast",
      s.guessed_tokens, s.accepted_tokens, 100.0 * s.acceptance_rate(), s.mean_accepted_length(),
      s.gain());
  if (s.num_draft_steps > 0)
    line += fmt::format("; {:.1f} % of the time in the draft model",
                        100.0 * share_of(s.draft_s, seconds));
  if (s.num_draft_failures > 0)
    line += fmt::format(", which failed for {} sequences", s.num_draft_failures);
  return line;
}

}  // namespace weft::cli
