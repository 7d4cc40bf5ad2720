// weft inspect MODEL: what a model is, and what each rank of a split would hold. Reads metadata
// only.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/counted.h"
#include "base/error.h"
#include "cli/banner.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/quantity.h"
#include "engine/limits.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

Json model_json(const engine::ModelReport& model, bool with_tensors) {
  Json types = Json::array();
  for (const auto& type : model.types) {
    types.push_back(
        {{"dtype", type.dtype}, {"num_tensors", type.num_tensors}, {"num_bytes", type.num_bytes}});
  }
  Json object = {{"path", model.path},
                 {"name", model.name},
                 {"architecture", model.architecture},
                 {"family", model.family},
                 {"tokenizer", model.tokenizer},
                 {"file_type", model.file_type},
                 {"num_parameters", model.num_parameters},
                 {"file_bytes", model.file_bytes},
                 {"num_layers", model.num_layers},
                 {"hidden_size", model.hidden_size},
                 {"num_heads", model.num_heads},
                 {"num_kv_heads", model.num_kv_heads},
                 {"head_dim", model.head_dim},
                 {"ffn_size", model.ffn_size},
                 {"vocab_size", model.vocab_size},
                 {"context_length", model.context_length},
                 {"tied_embeddings", model.tied_embeddings},
                 {"types", std::move(types)}};
  if (!with_tensors) return object;
  Json tensors = Json::array();
  for (const auto& tensor : model.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"dtype", tensor.dtype},
                       {"shape", tensor.shape},
                       {"num_bytes", tensor.num_bytes}});
  }
  object["tensors"] = std::move(tensors);
  return object;
}

// The cache's bytes of each rank for one context of max_model_len: whole blocks, as a run allocates
// them.
void size_cache(const engine::EngineOptions& options, engine::SplitReport* split) {
  const int64_t tokens = round_up(options.max_model_len, options.block_size);
  for (engine::RankShare& share : split->draft_ranks)
    share.kv_bytes = share.kv_bytes_per_token * tokens;
  for (engine::RankShare& share : split->ranks)
    share.kv_bytes = engine::context_bytes(*split, share, options.max_model_len, options);
}

// "the cache of 32768 tokens", and what layers with a window save of it.
std::string cache_line(const engine::Inspection& inspection, int64_t max_model_len) {
  std::string line = fmt::format("cache      of {}", counted(max_model_len, "token"));
  int64_t kept = 0, whole = 0, sliding = 0, window = 0;
  for (const engine::RankShare& share : inspection.split.ranks) {
    kept += share.kv_bytes;
    whole += share.kv_bytes_per_token * max_model_len;
  }
  for (const engine::KvGroup& group : inspection.split.kv_groups) {
    sliding += group.window > 0 ? group.num_layers : 0;
    window = std::max(window, group.window);
  }
  if (sliding == 0) return line;
  return line +
         fmt::format("; {} of {} layers keep the last {} and those of a step: {} in place of {}",
                     sliding, inspection.model.num_layers, window, bytes_text(kept),
                     bytes_text(whole));
}

// max_model_len: 0 where none was given.
Json ranks_json(const std::vector<engine::RankShare>& shares, int64_t max_model_len) {
  Json ranks = Json::array();
  for (const engine::RankShare& share : shares) {
    ranks.push_back({{"rank", share.rank},
                     {"stage", share.stage},
                     {"shard", share.shard},
                     {"layers", {share.layers.begin, share.layers.end}},
                     {"heads", share.heads},
                     {"kv_heads", share.kv_heads},
                     {"ffn", share.ffn},
                     {"vocab_rows", share.vocab_rows},
                     {"weight_bytes", share.weight_bytes},
                     {"kv_bytes", max_model_len > 0 ? Json(share.kv_bytes) : Json(nullptr)},
                     {"kv_bytes_per_token", share.kv_bytes_per_token},
                     {"logits_bytes", share.logits_bytes},
                     {"step_bytes", share.step_bytes},
                     {"reduce_bytes_per_token", share.reduce_bytes_per_token}});
  }
  return ranks;
}

Json split_json(const engine::SplitReport& split, int64_t max_model_len) {
  Json groups = Json::array();
  for (const engine::KvGroup& group : split.kv_groups) {
    groups.push_back({{"window", group.window > 0 ? Json(group.window) : Json(nullptr)},
                      {"num_layers", group.num_layers},
                      {"kv_bytes_per_token", group.bytes_per_token}});
  }
  Json object = {{"topology", split.topology},
                 {"kv_groups", std::move(groups)},
                 {"max_model_len", max_model_len > 0 ? Json(max_model_len) : Json(nullptr)},
                 {"imbalance", split.imbalance},
                 {"asked_and_got", split.asked_and_got},
                 {"warnings", split.warnings},
                 {"ranks", ranks_json(split.ranks, max_model_len)}};
  if (!split.draft_ranks.empty())
    object["draft"] = {{"model", split.draft_model},
                       {"ranks", ranks_json(split.draft_ranks, max_model_len)}};
  return object;
}

void print_model(const engine::ModelReport& model, bool with_tensors, std::ostream& out) {
  out << model_line(model) << "\n"
      << "path       " << model.path << "\n"
      << "shape      " << shape_line(model) << "\n"
      << "context    " << model.context_length << " tokens\n"
      << "tokenizer  " << model.tokenizer << "\n";
  out << "tensors\n";
  TextTable types({"<type", "tensors", "bytes"});
  for (const auto& type : model.types) {
    types.add_row({type.dtype, fmt::format("{}", type.num_tensors), bytes_text(type.num_bytes)});
  }
  for (const std::string& line : types.lines()) out << line << "\n";
  if (with_tensors) {
    TextTable tensors({"<name", "<type", "shape", "bytes"});
    for (const auto& tensor : model.tensors) {
      tensors.add_row(
          {tensor.name, tensor.dtype, tensor.shape, fmt::format("{}", tensor.num_bytes)});
    }
    for (const std::string& line : tensors.lines()) out << line << "\n";
  }
}

void print_split(const engine::Inspection& inspection, int64_t max_model_len, std::ostream& out) {
  const engine::SplitReport& split = inspection.split;
  out << fmt::format("split      {}; the slowest rank holds {:.2f} times the mean of its stage\n",
                     split.topology, split.imbalance);
  const bool per_token = max_model_len == 0;
  for (const std::string& line : rank_lines(split.ranks, split.ranks.size(), per_token)) {
    out << line << "\n";
  }
  if (!split.draft_ranks.empty()) {
    out << "draft      " << split.draft_model << " guesses tokens ahead\n";
    for (const std::string& line :
         rank_lines(split.draft_ranks, split.draft_ranks.size(), per_token)) {
      out << line << "\n";
    }
  }
  if (!per_token) out << cache_line(inspection, max_model_len) << "\n";
  int64_t reduced = 0;
  for (const engine::RankShare& share : split.ranks) reduced += share.reduce_bytes_per_token;
  out << fmt::format("all-reduce {} a token, over all ranks\n", bytes_text(reduced));
  for (const std::string& line : split.asked_and_got) out << "  " << line << "\n";
  for (const std::string& warning : split.warnings) out << "warning: " << warning << "\n";
}

class InspectCommand : public Command {
 public:
  InspectCommand() {
    model_.declare_split(&options_);
    model_.declare_draft(&options_);
    options_.group("Memory");
    model_.declare_context("the cache is shown for one token", &options_);
    options_.group("Output");
    options_.add("--json", &json_, {"", "one JSON object in place of the text"});
    options_.add("--tensors", &tensors_, {"", "list every tensor"});
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    const engine::EngineOptions asked = model_.resolve(context, false);
    engine::Inspection inspection = context.engine.inspect(asked);
    engine::check_model_len(asked.max_model_len, inspection.model.context_length);
    if (asked.max_model_len > 0) size_cache(asked, &inspection.split);
    std::ostream& out = context.console.out;
    if (json_) {
      Json object = {{"model", model_json(inspection.model, tensors_)},
                     {"split", split_json(inspection.split, asked.max_model_len)}};
      out << object.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
    } else {
      print_model(inspection.model, tensors_, out);
      print_split(inspection, asked.max_model_len, out);
    }
    return 0;
  }

 private:
  OptionSet options_{"inspect", "show what a model is and what each rank would hold"};
  ModelOptions model_;
  bool json_ = false, tensors_ = false;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command() { return std::make_unique<InspectCommand>(); }

}  // namespace weft::cli
