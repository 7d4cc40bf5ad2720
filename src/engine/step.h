// A step plan and its answer: the messages between the one who plans and the workers.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/range.h"
#include "cache/prefix_match.h"
#include "model/batch.h"

namespace weft::engine {

// Plain values, so that a plan can be broadcast as bytes. Workers run plans in order.
struct StepPlan {
  // A block table from block first_block of the sequence on.
  struct TableRange {
    Range blocks;  // of block_ids
    int64_t first_block = 0;
  };
  // Some tokens of one sequence, in order of position.
  struct Chunk {
    Range tokens;  // of token_ids
    int64_t first_position = 0;
    std::array<TableRange, cache::kMostGroups> tables;  // the sequence's, one a cache group
  };

  uint64_t id = 0;
  std::vector<cache::BlockCopy> copies;  // made in this order before anything is computed
  std::vector<int32_t> token_ids;
  std::vector<Chunk> chunks;  // tile token_ids
  std::vector<int32_t> block_ids;
  std::vector<model::LogitRow> rows;
  std::vector<int64_t> states;  // tokens whose final hidden state is wanted (/v1/embeddings)
  std::vector<model::TokenAdjustment> adjustments;  // of the rows
  std::vector<uint32_t> masks;                      // of the rows

  // Empty, with the memory of the step before.
  void clear();
  // Room for so many tokens, each of a sequence of its own and with a row.
  void reserve(int64_t num_tokens);
  // Appends a chunk; returns its first token's place in the batch. block_table: of the whole
  // context, in the group of full attention.
  int64_t add(std::span<const int32_t> ids, int64_t first_position,
              std::span<const int32_t> block_table);
  // The table of the chunk added last in another group.
  void add_table(int group, int64_t first_block, std::span<const int32_t> block_ids_of_group);
  // More tokens of the chunk added last.
  void extend(std::span<const int32_t> ids);
};

// What the last stage says of a step.
struct StepAnswer {
  std::vector<model::RowResult> rows;  // one a LogitRow, in order
  std::vector<float> states;           // [StepPlan::states, hidden_size]
  std::vector<int32_t> bad_layer;      // one a sequence of the step: the first layer where a sum
                                       // of any of its tokens left its range; -1: none
};

}  // namespace weft::engine
