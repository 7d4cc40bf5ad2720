#include "text/reasoning.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "text/answer_parser.h"
#include "text/answer_pieces.h"

namespace weft::text {
namespace {

using Format = ReasoningFormat;

ReadAnswer read(const AnswerFormat& format, std::string_view text, uint64_t seed = 0,
                size_t longest = 1000) {
  AnswerParser parser(format);
  AnswerParts parts;
  std::mt19937_64 random(seed);
  const auto add = [](const AnswerParts& from, AnswerParts& to) {
    to.insert(to.end(), from.begin(), from.end());
  };
  push_in_pieces(
      text, random, longest,
      [&](std::string_view piece, AnswerParts& to) { add(parser.push(piece), to); }, parts);
  add(parser.finish(), parts);
  ReadAnswer answer;
  EXPECT_EQ(gather(parts, answer), "") << text;
  EXPECT_EQ(parser.num_calls(), answer.calls.size());
  return answer;
}

struct Golden {
  Format format;
  bool opened;
  std::string text, reasoning, content;
};

const Golden kGoldens[] = {
    // Qwen 3 opens it itself; the template does where thinking models of 2507 and later are asked.
    {Format::kQwen3, false, "<think>\nHm, 1 < 2.\n\nSo.\n</think>\n\nYes.", "Hm, 1 < 2.\n\nSo.",
     "Yes."},
    {Format::kQwen3, true, "Hm.\n</think>\n\nYes.\n", "Hm.", "Yes.\n"},
    {Format::kQwen3, false, "\n<think>\n\n</think>\n\nYes.", "", "Yes."},
    {Format::kQwen3, false, "Yes, <think>no</think>.", "", "Yes, <think>no</think>."},
    {Format::kQwen3, false, "  Yes.", "", "  Yes."},
    {Format::kQwen3, false, "<thin", "", "<thin"},
    {Format::kQwen3, false, "<<think>a</think>", "", "<<think>a</think>"},
    {Format::kQwen3, true, "cut off </thi", "cut off </thi", ""},
    {Format::kQwen3, true, "a</think>b</think>c", "a", "b</think>c"},
    {Format::kDeepSeekR1, false, "<think>\nHm.\n</think>\n\nYes.", "Hm.", "Yes."},
    {Format::kDeepSeekR1, false, "Hm.</think>Yes.", "Hm.", "Yes."},
    {Format::kDeepSeekR1, false, "</think>Yes.", "", "Yes."},
    {Format::kDeepSeekR1, false, " <thin <think> </thi </think>Yes.", " <thin <think> </thi ",
     "Yes."},
    {Format::kDeepSeekR1, true, "never ends", "never ends", ""},
    {Format::kMistral, false, "[THINK]a[/THINK[/THINK]b", "a[/THINK", "b"},
};

TEST(Reasoning, IsSplitFromTheAnswer) {
  for (const Golden& golden : kGoldens) {
    AnswerFormat format{.reasoning = golden.format, .reasoning_opened = golden.opened};
    const ReadAnswer expected{golden.reasoning, golden.content, {}};
    for (uint64_t seed = 0; seed < 30; ++seed)
      EXPECT_EQ(read(format, golden.text, seed, 1 + seed), expected) << golden.text;
  }
}

TEST(Reasoning, CallsFollowIt) {
  const AnswerFormat format{.reasoning = Format::kQwen3,
                            .reasoning_opened = true,
                            .tools = ToolFormat::kHermes,
                            .tool_names = {"now"}};
  const std::string text =
      "A <tool_call>{\"name\": \"now\"}</tool_call>?\n</think>\n\n<tool_call>\n{\"name\": \"now\", "
      "\"arguments\": {}}\n</tool_call>";
  const ReadAnswer expected{
      "A <tool_call>{\"name\": \"now\"}</tool_call>?", "", {{"now", "{}", true}}};
  for (uint64_t seed = 0; seed < 30; ++seed) EXPECT_EQ(read(format, text, seed, 7), expected);
}

TEST(Reasoning, WithoutFormatsAllIsContent) {
  const std::string text = "<think>a</think><tool_call>{\"name\": \"now\"}</tool_call>";
  EXPECT_EQ(read({}, text, 1, 5), (ReadAnswer{"", text, {}}));
}

TEST(Reasoning, ArrivesWhileItIsWritten) {
  ReasoningSplitter splitter(Format::kQwen3, true);
  AnswerParts parts;
  splitter.push("\nIt is\n", parts);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].text, "It is");
  EXPECT_FALSE(splitter.in_content());
}

TEST(Reasoning, PromptsMayOpenIt) {
  EXPECT_TRUE(opens_reasoning(Format::kQwen3, "<|im_start|>assistant\n<think>\n"));
  EXPECT_FALSE(opens_reasoning(Format::kQwen3, "<|im_start|>assistant\n<think>\n\n</think>\n\n"));
  EXPECT_FALSE(opens_reasoning(Format::kQwen3, "<|im_start|>assistant\n"));
}

TEST(Reasoning, FormatsHaveNames) {
  for (int f = 0; f < 3; ++f) {
    const auto format = static_cast<Format>(f);
    EXPECT_EQ(find_reasoning_format(name(format)), format);
    EXPECT_THAT(reasoning_format_names(), testing::Contains(std::string(name(format))));
  }
  EXPECT_FALSE(find_reasoning_format("none"));
}

}  // namespace
}  // namespace weft::text
