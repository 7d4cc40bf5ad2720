#include "engine/step_wire.h"

#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/error.h"

namespace weft::engine {
namespace {

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& bytes) : bytes_(bytes) { bytes_.clear(); }

  template <typename T>
  void values(std::span<const T> from) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto count = static_cast<uint64_t>(from.size());
    append(std::as_bytes(std::span(&count, 1)));
    append(std::as_bytes(from));
  }
  template <typename T>
  void value(const T& from) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(std::as_bytes(std::span(&from, 1)));
  }

 private:
  void append(std::span<const std::byte> from) {
    const size_t begin = bytes_.size();
    bytes_.resize(begin + from.size());
    if (!from.empty()) std::memcpy(bytes_.data() + begin, from.data(), from.size());
  }
  std::vector<std::byte>& bytes_;
};

[[noreturn]] void refuse(const char* what) {
  throw Error(ErrorKind::kCommunication, fmt::format("a step came damaged: {}", what),
              "the processes of a replica do not agree");
}

void require(bool holds, const char* what) {
  if (!holds) refuse(what);
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  void values(std::vector<T>& to) {
    static_assert(std::is_trivially_copyable_v<T>);
    uint64_t count = 0;
    value(count);
    require(count <= bytes_.size() / sizeof(T), "a list is longer than its message");
    to.resize(static_cast<size_t>(count));
    if (count > 0) std::memcpy(to.data(), take(to.size() * sizeof(T)), to.size() * sizeof(T));
  }
  template <typename T>
  void value(T& to) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::memcpy(&to, take(sizeof(T)), sizeof(T));
  }
  void end() const { require(bytes_.empty(), "it is longer than what it holds"); }

 private:
  const std::byte* take(size_t num_bytes) {
    require(num_bytes <= bytes_.size(), "it is shorter than what it holds");
    const std::byte* begin = bytes_.data();
    bytes_ = bytes_.subspan(num_bytes);
    return begin;
  }
  std::span<const std::byte> bytes_;
};

bool lies_in(Range range, size_t size) {
  return range.begin >= 0 && range.begin <= range.end && range.end <= static_cast<int64_t>(size);
}

// A bool that is neither would be undefined behaviour to look at.
bool is_flag(const bool& flag) {
  unsigned char byte;
  std::memcpy(&byte, &flag, 1);
  return byte <= 1;
}

void check_blocks(const StepPlan& plan, const PlanLimits& limits) {
  const auto num_groups = static_cast<int32_t>(limits.num_blocks.size());
  const auto blocks_of = [&](int32_t group) {
    return limits.num_blocks[static_cast<size_t>(group)];
  };
  for (const cache::BlockCopy& copy : plan.copies) {
    require(copy.group >= 0 && copy.group < num_groups, "a copy in no group of the cache");
    const int64_t most = blocks_of(copy.group);
    require(copy.from >= 0 && copy.from < most && copy.to >= 0 && copy.to < most &&
                copy.num_tokens >= 0,
            "a copy of no block");
  }
  for (const StepPlan::Chunk& chunk : plan.chunks) {
    const int64_t end = chunk.first_position + chunk.tokens.size();
    for (int32_t group = 0; group < cache::kMostGroups; ++group) {
      const auto& [blocks, first_block] = chunk.tables[static_cast<size_t>(group)];
      require(lies_in(blocks, plan.block_ids.size()) && first_block >= 0,
              "a block table beyond its ids");
      require(blocks.empty() || group < num_groups, "a block table of no group");
      for (int64_t i = blocks.begin; i < blocks.end; ++i) {
        const int32_t id = plan.block_ids[static_cast<size_t>(i)];
        require(id >= 0 && id < blocks_of(group), "a block that the cache does not have");
      }
      if (group >= num_groups) continue;
      const int64_t window = limits.windows[static_cast<size_t>(group)];
      const int64_t seen = cache::first_seen(window, chunk.first_position) / limits.block_size;
      const int64_t last = (end - 1) / limits.block_size;
      require(first_block <= seen && blocks.size() > last - first_block,
              "a block table that ends before what its tokens see");
    }
  }
}

void check_tokens(const StepPlan& plan, const PlanLimits& limits) {
  const auto num_tokens = static_cast<int64_t>(plan.token_ids.size());
  require(num_tokens >= 1 && num_tokens <= limits.max_tokens, "more tokens than a step takes");
  for (const int32_t id : plan.token_ids)
    require(id >= 0 && id < limits.vocab_size, "a token that is not in the vocabulary");
  int64_t next = 0;
  for (const StepPlan::Chunk& chunk : plan.chunks) {
    require(chunk.tokens.begin == next && chunk.tokens.end > next && chunk.tokens.end <= num_tokens,
            "chunks that do not tile the tokens");
    require(chunk.first_position >= 0 &&
                chunk.first_position <= limits.max_positions - chunk.tokens.size(),
            "a position beyond the context");
    next = chunk.tokens.end;
  }
  require(next == num_tokens, "chunks that do not tile the tokens");
  for (const int64_t token : plan.states)
    require(token >= 0 && token < num_tokens, "a state of no token");
}

void check_rows(const StepPlan& plan, const PlanLimits& limits) {
  const auto num_tokens = static_cast<int64_t>(plan.token_ids.size());
  const int64_t mask_words = (limits.vocab_size + 31) / 32;
  int64_t last = 0;
  for (const model::LogitRow& row : plan.rows) {
    require(row.token >= last && row.token < num_tokens, "rows that are not in order");
    last = row.token;
    require(row.position >= 0 && row.position < limits.max_positions, "a row beyond the context");
    require(row.target < limits.vocab_size, "a target that is not in the vocabulary");
    require(row.num_logprobs <= limits.vocab_size || row.num_logprobs == model::kAllLogprobs,
            "more logprobs than the vocabulary has");
    for (const float number :
         {row.temperature, row.top_p, row.min_p, row.typical_p, row.repetition_penalty})
      require(std::isfinite(number), "a parameter that is no number");
    require(lies_in(row.adjustments, plan.adjustments.size()), "adjustments beyond their list");
    require(
        lies_in(row.mask, plan.masks.size()) && (row.mask.empty() || row.mask.size() == mask_words),
        "a mask of another size");
    require(is_flag(row.hash) && is_flag(row.full_logits), "a flag that is none");
  }
  for (const model::TokenAdjustment& adjustment : plan.adjustments)
    require(adjustment.id >= 0 && adjustment.id < limits.vocab_size,
            "an adjustment that is not in the vocabulary");
}

void write_row(const model::RowResult& row, Writer& writer) {
  writer.value(row.id);
  writer.value(row.logprob);
  writer.value(row.rank);
  writer.value(row.hash);
  writer.value(static_cast<uint8_t>((row.bad_logits ? 1 : 0) | (row.no_choice ? 2 : 0)));
  writer.values<kernels::Candidate>(row.top);
  writer.values<float>(row.logits);
}

void read_row(Reader& reader, const PlanLimits& limits, model::RowResult& row) {
  uint8_t flags = 0;
  reader.value(row.id);
  reader.value(row.logprob);
  reader.value(row.rank);
  reader.value(row.hash);
  reader.value(flags);
  reader.values(row.top);
  reader.values(row.logits);
  require(flags <= 3, "a flag that is none");
  row.bad_logits = (flags & 1) != 0;
  row.no_choice = (flags & 2) != 0;
  require(row.id >= -1 && row.id < limits.vocab_size, "a choice that is not in the vocabulary");
  require(row.logits.empty() || static_cast<int64_t>(row.logits.size()) == limits.vocab_size,
          "logits of another vocabulary");
  for (const kernels::Candidate& candidate : row.top)
    require(candidate.id >= -1 && candidate.id < limits.vocab_size,
            "a candidate that is not in the vocabulary");
}

}  // namespace

void write_plan(const StepPlan& plan, std::vector<std::byte>& bytes) {
  Writer writer(bytes);
  writer.value(plan.id);
  writer.values<cache::BlockCopy>(plan.copies);
  writer.values<int32_t>(plan.token_ids);
  writer.values<StepPlan::Chunk>(plan.chunks);
  writer.values<int32_t>(plan.block_ids);
  writer.values<model::LogitRow>(plan.rows);
  writer.values<int64_t>(plan.states);
  writer.values<model::TokenAdjustment>(plan.adjustments);
  writer.values<uint32_t>(plan.masks);
}

void read_plan(std::span<const std::byte> bytes, const PlanLimits& limits, StepPlan& plan) {
  Reader reader(bytes);
  reader.value(plan.id);
  reader.values(plan.copies);
  reader.values(plan.token_ids);
  reader.values(plan.chunks);
  reader.values(plan.block_ids);
  reader.values(plan.rows);
  reader.values(plan.states);
  reader.values(plan.adjustments);
  reader.values(plan.masks);
  reader.end();
  check_tokens(plan, limits);
  check_blocks(plan, limits);
  check_rows(plan, limits);
}

void write_answer(const StepAnswer& answer, int64_t work_ns, std::vector<std::byte>& bytes) {
  Writer writer(bytes);
  writer.value(work_ns);
  writer.value(static_cast<uint64_t>(answer.rows.size()));
  for (const model::RowResult& row : answer.rows) write_row(row, writer);
  writer.values<float>(answer.states);
  writer.values<int32_t>(answer.bad_layer);
}

void read_answer(std::span<const std::byte> bytes, const PlanLimits& limits, const StepPlan& plan,
                 StepAnswer* answer, int64_t& work_ns) {
  Reader reader(bytes);
  reader.value(work_ns);
  require(work_ns >= 0, "a time below 0");
  StepAnswer none;
  StepAnswer& taken = answer != nullptr ? *answer : none;
  uint64_t num_rows = 0;
  reader.value(num_rows);
  require(num_rows == (answer != nullptr ? plan.rows.size() : 0), "another number of rows");
  taken.rows.resize(static_cast<size_t>(num_rows));
  for (model::RowResult& row : taken.rows) read_row(reader, limits, row);
  reader.values(taken.states);
  reader.values(taken.bad_layer);
  reader.end();
  if (answer == nullptr) return;
  require(static_cast<int64_t>(taken.states.size()) ==
              static_cast<int64_t>(plan.states.size()) * limits.hidden_size,
          "states of another size");
  require(taken.bad_layer.size() == plan.chunks.size(), "layers of other sequences");
}

}  // namespace weft::engine
