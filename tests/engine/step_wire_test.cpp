#include "engine/step_wire.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace weft::engine {
namespace {

const PlanLimits kLimits{.max_tokens = 16,
                         .max_positions = 64,
                         .vocab_size = 100,
                         .hidden_size = 2,
                         .num_blocks = {8, 4},
                         .windows = {0, 8},
                         .block_size = 32};

StepPlan full_plan() {
  StepPlan plan;
  plan.id = 7;
  plan.copies = {{1, 2, 3, 0}, {0, 3, 4, 1}};
  const std::vector<int32_t> prompt{5, 6, 99}, one{7}, blocks{3, 7}, window{2};
  plan.add(prompt, 10, blocks);
  plan.add_table(1, 0, window);
  plan.add(one, 63, blocks);
  plan.add_table(1, 1, window);
  plan.states = {2};
  plan.adjustments = {{4, 1.5f, 0.5f, 1}};
  plan.masks = {1, 2, 3, 4};  // of 100 ids
  model::LogitRow row;
  row.token = 2;
  row.position = 12;
  row.top_p = 0.5f;
  row.seed = 9;
  row.adjustments = {0, 1};
  row.mask = {0, 4};
  row.hash = true;
  plan.rows = {row, row};  // two choices of one prompt
  row.token = 3;
  row.position = 63;
  row.mask = {};
  plan.rows.push_back(row);
  return plan;
}

std::vector<std::byte> bytes_of(const StepPlan& plan) {
  std::vector<std::byte> bytes{std::byte{1}};
  write_plan(plan, bytes);
  return bytes;
}

bool is_taken(std::span<const std::byte> bytes) {
  StepPlan plan;
  try {
    read_plan(bytes, kLimits, plan);
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCommunication);
    return false;
  }
}

TEST(StepWire, APlanComesAsItWent) {
  const StepPlan plan = full_plan();
  StepPlan read;
  read.token_ids = {1, 2, 3, 4, 5, 6};  // of the step before
  read_plan(bytes_of(plan), kLimits, read);
  EXPECT_EQ(read.id, 7u);
  EXPECT_EQ(read.token_ids, plan.token_ids);
  EXPECT_EQ(read.block_ids, plan.block_ids);
  EXPECT_EQ(read.states, plan.states);
  EXPECT_EQ(read.masks, plan.masks);
  ASSERT_EQ(read.copies.size(), 2u);
  EXPECT_EQ(read.copies[1].to, 3);
  EXPECT_EQ(read.copies[1].group, 1);
  ASSERT_EQ(read.chunks.size(), 2u);
  EXPECT_EQ(read.chunks[0].tables[1].blocks, plan.chunks[0].tables[1].blocks);
  EXPECT_EQ(read.chunks[1].first_position, 63);
  ASSERT_EQ(read.rows.size(), 3u);
  EXPECT_EQ(read.rows[0].top_p, 0.5f);
  EXPECT_EQ(read.rows[2].token, 3);
  EXPECT_TRUE(read.rows[2].hash);
  EXPECT_EQ(read.adjustments[0].penalty, 0.5f);
  EXPECT_EQ(bytes_of(read), bytes_of(plan));
}

TEST(StepWire, WhatDoesNotFitIsRefused) {
  const auto refused = [](const char* what, void (*change)(StepPlan&)) {
    StepPlan plan = full_plan();
    change(plan);
    EXPECT_FALSE(is_taken(bytes_of(plan))) << what;
  };
  EXPECT_TRUE(is_taken(bytes_of(full_plan())));
  refused("a token", [](StepPlan& p) { p.token_ids[0] = 100; });
  refused("a negative token", [](StepPlan& p) { p.token_ids[0] = -1; });
  refused("no token", [](StepPlan& p) { p.clear(); });
  refused("too many tokens", [](StepPlan& p) {
    p.token_ids.resize(17);
    p.chunks[1].tokens.end = 17;
  });
  refused("a gap", [](StepPlan& p) { p.chunks[1].tokens.begin = 2; });
  refused("a position", [](StepPlan& p) { p.chunks[0].first_position = 62; });
  refused("a large position", [](StepPlan& p) { p.chunks[0].first_position = INT64_MAX; });
  refused("a block", [](StepPlan& p) { p.block_ids[0] = 8; });
  refused("a block of the small group", [](StepPlan& p) { p.block_ids[2] = 4; });
  refused("a table", [](StepPlan& p) { p.chunks[0].tables[0].blocks.end = 100; });
  refused("no table", [](StepPlan& p) { p.chunks[0].tables[0].blocks = {}; });
  refused("a short table", [](StepPlan& p) { --p.chunks[1].tables[0].blocks.end; });
  refused("a table from too far on", [](StepPlan& p) { p.chunks[0].tables[1].first_block = 1; });
  refused("a table that ends early", [](StepPlan& p) { p.chunks[1].tables[1].first_block = 0; });
  refused("a huge first block", [](StepPlan& p) { p.chunks[0].tables[0].first_block = INT64_MAX; });
  refused("a table of no group", [](StepPlan& p) { p.chunks[0].tables[2].blocks = {0, 1}; });
  refused("a copy", [](StepPlan& p) { p.copies[1].to = 4; });
  refused("a copy's group", [](StepPlan& p) { p.copies[1].group = 2; });
  refused("a row", [](StepPlan& p) { p.rows[2].token = 4; });
  refused("rows out of order", [](StepPlan& p) { p.rows[0].token = 3; });
  refused("a target", [](StepPlan& p) { p.rows[0].target = 100; });
  refused("a mask", [](StepPlan& p) { p.rows[0].mask = {0, 3}; });
  refused("a mask beyond", [](StepPlan& p) { p.rows[0].mask = {1, 5}; });
  refused("adjustments", [](StepPlan& p) { p.rows[0].adjustments = {0, 2}; });
  refused("an adjustment", [](StepPlan& p) { p.adjustments[0].id = 100; });
  refused("a state", [](StepPlan& p) { p.states[0] = 4; });
}

TEST(StepWire, PiecesAndDamageAreNeverRead) {
  const std::vector<std::byte> whole = bytes_of(full_plan());
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(is_taken(std::span(whole).first(size))) << size;
  std::vector<std::byte> longer = whole;
  longer.push_back({});
  EXPECT_FALSE(is_taken(longer));
  // Whatever is changed, it is a plan within its limits or an error.
  int num_taken = 0;
  for (uint64_t i = 0; i < 20'000; ++i) {
    std::vector<std::byte> damaged = whole;
    const uint64_t dice = uniform_bits(1, i, 0);
    damaged[dice % damaged.size()] ^= static_cast<std::byte>(1 + (dice >> 40) % 255);
    num_taken += is_taken(damaged) ? 1 : 0;
  }
  EXPECT_GT(num_taken, 0);
}

TEST(StepWire, AnAnswerComesAsItWent) {
  const StepPlan plan = full_plan();
  StepAnswer answer;
  answer.rows.resize(3);
  answer.rows[0].id = 42;
  answer.rows[0].hash = 0x123456789;
  answer.rows[1].top = {{-0.5f, 3}, {-1.5f, 4}};
  answer.rows[2].no_choice = true;
  answer.rows[2].logits.assign(100, 0.25f);
  answer.states = {1.0f, 2.0f};
  answer.bad_layer = {-1, 3};
  std::vector<std::byte> bytes;
  write_answer(answer, 1234, bytes);
  StepAnswer read;
  int64_t work_ns = 0;
  read_answer(bytes, kLimits, plan, &read, work_ns);
  EXPECT_EQ(work_ns, 1234);
  ASSERT_EQ(read.rows.size(), 3u);
  EXPECT_EQ(read.rows[0].id, 42);
  EXPECT_EQ(read.rows[0].hash, 0x123456789u);
  EXPECT_EQ(read.rows[1].top[1].id, 4);
  EXPECT_TRUE(read.rows[2].no_choice);
  EXPECT_FALSE(read.rows[2].bad_logits);
  EXPECT_EQ(read.rows[2].logits.size(), 100u);
  EXPECT_EQ(read.states, answer.states);
  EXPECT_EQ(read.bad_layer, answer.bad_layer);
  EXPECT_THROW(read_answer(bytes, kLimits, plan, nullptr, work_ns), Error);
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW(read_answer(std::span(bytes).first(size), kLimits, plan, &read, work_ns), Error);
  write_answer({}, 5, bytes);
  read_answer(bytes, kLimits, plan, nullptr, work_ns);
  EXPECT_EQ(work_ns, 5);
}

}  // namespace
}  // namespace weft::engine
