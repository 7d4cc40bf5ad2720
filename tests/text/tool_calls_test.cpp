#include "text/tool_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "text/answer_pieces.h"

namespace weft::text {
namespace {

using Format = ToolFormat;

const std::vector<std::string> kNames = {"weather", "add", "files.read", "now"};

ReadAnswer read(Format format, std::string_view text, uint64_t seed = 0, size_t longest = 0) {
  const auto parser = ToolCallParser::make(format, kNames);
  AnswerParts parts;
  std::mt19937_64 random(seed);
  const Push push = [&](std::string_view piece, AnswerParts& to) { parser->push(piece, to); };
  if (longest == 0) {
    push(text, parts);
  } else {
    push_in_pieces(text, random, longest, push, parts);
  }
  parser->finish(parts);
  ReadAnswer answer;
  EXPECT_EQ(gather(parts, answer), "") << text;
  return answer;
}

struct Golden {
  Format format;
  std::string text;
  std::string content;
  std::vector<ReadCall> calls;
};

// What the models' own chat templates and the makers' documentation write.
const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all = {
      // Qwen 2.5 and 3: chat_template of Qwen2.5-0.5B-Instruct.
      {Format::kHermes,
       "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>",
       "",
       {{"weather", R"({"city": "Paris"})", true}}},
      {Format::kHermes,
       "Let me look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": "
       "\"Paris\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1.5e3, "
       "\"b\": [-0, {}]}}\n</tool_call>",
       "Let me look.\n",
       {{"weather", R"({"city": "Paris"})", true},
        {"add", R"({"a": 1.5e3, "b": [-0, {}]})", true}}},
      // SmolLM2's model card: a list in one pair of marks.
      {Format::kHermes,
       R"(<tool_call>[{"name": "add", "arguments": {"a": 1}}, {"name": "now", "arguments": {}}]</tool_call>)",
       "",
       {{"add", R"({"a": 1})", true}, {"now", "{}", true}}},
      // Several objects between the marks, arguments first, none, null, and further keys.
      {Format::kHermes,
       "<tool_call>{\"arguments\": {\"name\": \"x\"}, \"name\": \"add\"}\n{\"name\":\"now\"}\n"
       "{\"id\": 7, \"name\": \"now\", \"arguments\": null, \"more\": [1, {\"name\": 2}]}"
       "</tool_call>",
       "",
       {{"add", R"({"name": "x"})", true}, {"now", "{}", true}, {"now", "{}", true}}},
      {Format::kHermes,
       "<tool_call>{\"name\": \"add\", \"arguments\": {\"s\": \"</tool_call> \\\" } \\u00e9 日\"}}"
       "</tool_call>\n\nDone.",
       "\n\nDone.",
       {{"add", R"({"s": "</tool_call> \" } \u00e9 日"})", true}}},
      // The closing mark missing, then half of it.
      {Format::kHermes,
       R"(<tool_call>{"name": "now", "arguments": {}} <tool_call>{"name":"now"}</tool)",
       "",
       {{"now", "{}", true}, {"now", "{}", true}}},

      // Llama 3.1 and 3.2: llama-models' prompt_format.md.
      {Format::kLlama3Json,
       R"({"name": "weather", "parameters": {"city": "Paris"}})",
       "",
       {{"weather", R"({"city": "Paris"})", true}}},
      {Format::kLlama3Json,
       R"(<|python_tag|>{"type": "function", "name": "weather", "parameters": {"city": "Paris"}})",
       "",
       {{"weather", R"({"city": "Paris"})", true}}},
      {Format::kLlama3Json,
       R"(  {"name": "add", "parameters": {"a": 1}}; {"name": "now", "parameters": {}})",
       "",
       {{"add", R"({"a": 1})", true}, {"now", "{}", true}}},
      {Format::kLlama3Json,
       R"(I will. <|python_tag|>{"name": "other", "arguments": {"a": 1}} And so on.)",
       "I will.  And so on.",
       {{"other", R"({"a": 1})", true}}},

      // Mistral 7B v0.3 and NeMo, then the tokenizers of version 11.
      {Format::kMistral,
       R"([TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Paris"}, "id": "abcdefgh1"}])",
       "",
       {{"weather", R"({"city": "Paris"})", true}}},
      {Format::kMistral,
       R"(Hello[TOOL_CALLS][{"arguments":{"a":1},"name":"add"},{"name": "now", "arguments": {}}])"
       "\nmore",
       "Hello\nmore",
       {{"add", R"({"a":1})", true}, {"now", "{}", true}}},
      {Format::kMistralNamed,
       R"([TOOL_CALLS]add{"a": 3.5, "b": 4}[TOOL_CALLS]now{})",
       "",
       {{"add", R"({"a": 3.5, "b": 4})", true}, {"now", "{}", true}}},
      {Format::kMistralNamed,
       R"(Right.[TOOL_CALLS]files.read[CALL_ID]abcdefgh1[ARGS]{"path": "/[x]"}[TOOL_CALLS]now[ARGS]{})",
       "Right.",
       {{"files.read", R"({"path": "/[x]"})", true}, {"now", "{}", true}}},

      // Gemma: ai.google.dev, "Function calling with Gemma"; Llama 3.2 and 4 write the same list.
      {Format::kPythonic,
       R"([weather(city="Paris", days=[1, 2], unit=None), now()])",
       "",
       {{"weather", R"({"city": "Paris", "days": [1, 2], "unit": null})", true},
        {"now", "{}", true}}},
      // Parameters that are no identifiers.
      {Format::kPythonic,
       "[add(user-id=1, a.b=2, $x=3, 1a=[4], a b=5, a\\b =6, é=7)]",
       "",
       {{"add", R"({"user-id": 1, "a.b": 2, "$x": 3, "1a": [4], "a b": 5, "a\\b": 6, "é": 7})",
         true}}},
      {Format::kPythonic,
       "```tool_code\n[add(a=-1_000, b=.5, c=5., d=+1e3, e={'x': True, 'y': (1, 'z',)},)]\n```",
       "",
       {{"add", R"({"a": -1000, "b": 0.5, "c": 5.0, "d": 1e3, "e": {"x": true, "y": [1, "z"]}})",
         true}}},
      {Format::kPythonic,
       "Well:\n```tool_code\nadd(a=1)\nnow()\n```\nThen.",
       "Well:\n\nThen.",
       {{"add", R"({"a": 1})", true}, {"now", "{}", true}}},
      {Format::kPythonic,
       "[add(s='it\\'s \"so\"\\n', t=\"\\x41\\u00e9\\U0001F600\\d\\\\ \t日\", u=''), "
       "files.read(p='/')]",
       "",
       {{"add", R"({"s": "it's \"so\"\n", "t": "\u0041\u00e9\ud83d\ude00\\d\\ \u0009日", "u": ""})",
         true},
        {"files.read", R"({"p": "/"})", true}}},

      // ai.google.dev, "FunctionGemma formatting and best practices".
      {Format::kFunctionGemma,
       "<start_function_call>call:weather{city:<escape>Paris, {\"x\"} <b> \\ <escape>,days:[1,2],"
       "opt:{on:true,names:[<escape>a<escape>,<escape><escape>]}}<end_function_call>"
       "<start_function_call>call:now{}<end_function_call>",
       "",
       {{"weather",
         R"({"city": "Paris, {\"x\"} <b> \\ ", "days": [1, 2], "opt": {"on": true, "names": ["a", ""]}})",
         true},
        {"now", "{}", true}}},
      {Format::kFunctionGemma,
       "So: <start_function_call>call:weather{city:New York,n:7}",
       "So: ",
       {{"weather", R"({"city": "New York", "n": 7})", true}}},
  };
  return all;
}

// Texts without any call, and calls that break off.
const std::vector<Golden>& no_calls() {
  static const std::vector<Golden> all = {
      {Format::kHermes, "", "", {}},
      {Format::kHermes, " \n ", " \n ", {}},
      {Format::kHermes, "  Plain < text <tool <tool_cal", "  Plain < text <tool <tool_cal", {}},
      {Format::kHermes, "<tool_call> soon", "<tool_call> soon", {}},
      {Format::kHermes,
       "\n<tool_call>\n{\"name\": \"now\"",
       "\n<tool_call>\n{\"name\": \"now\"",
       {}},
      {Format::kHermes,
       R"(<tool_call>{"nome": "now"}</tool_call>)",
       R"(<tool_call>{"nome": "now"}</tool_call>)",
       {}},
      {Format::kHermes,
       R"(<tool_call>{"name": "a b", "arguments": {}})",
       R"(<tool_call>{"name": "a b", "arguments": {}})",
       {}},
      {Format::kHermes,
       R"(<tool_call>{"name": "now", "arguments": [1]}</tool_call>)",
       R"(<tool_call>{"name": "now", "arguments": [1]}</tool_call>)",
       {}},
      {Format::kHermes,
       R"(<tool_call>{"name": "now", "name": "add", "arguments": {}})",
       R"(<tool_call>{"name": "now", "name": "add", "arguments": {}})",
       {}},
      {Format::kHermes, "<tool_call>[]</tool_call>", "<tool_call>[]</tool_call>", {}},
      {Format::kHermes,
       "<tool_call><tool_call>{\"name\":\"now\"}",
       "<tool_call>",
       {{"now", "{}", true}}},
      {Format::kLlama3Json, R"({"name": "Bob", "age": 3})", R"({"name": "Bob", "age": 3})", {}},
      {Format::kLlama3Json,
       R"({"name": "Bob", "parameters": {}})",
       R"({"name": "Bob", "parameters": {}})",
       {}},
      {Format::kLlama3Json,
       R"(See {"name": "now", "parameters": {}})",
       R"(See {"name": "now", "parameters": {}})",
       {}},
      {Format::kLlama3Json,
       R"(<|python_tag|>brave_search.call(query="x"))",
       R"(<|python_tag|>brave_search.call(query="x"))",
       {}},
      {Format::kMistral, "[TOOL_CALLS] not json at all", "[TOOL_CALLS] not json at all", {}},
      {Format::kMistral, "[TOOL_CALLS][1]", "[TOOL_CALLS][1]", {}},
      {Format::kMistralNamed, "[TOOL_CALLS]f[WHAT]{}", "[TOOL_CALLS]f[WHAT]{}", {}},
      {Format::kPythonic, "[1, 2, 3] and [weather(city=1)]", "[1, 2, 3] and [weather(city=1)]", {}},
      {Format::kPythonic, "[weather(\"Paris\")]", "[weather(\"Paris\")]", {}},
      {Format::kPythonic, "[exec(code='x')]", "[exec(code='x')]", {}},
      {Format::kPythonic, "```tool_code\nprint(now())\n```", "```tool_code\nprint(now())\n```", {}},
      {Format::kFunctionGemma, "<start_function_call>run:x{}", "<start_function_call>run:x{}", {}},
  };
  return all;
}

// A call that had begun, and went wrong: its end says so, the rest is content.
const std::vector<Golden>& broken_calls() {
  static const std::vector<Golden> all = {
      {Format::kHermes,
       R"(<tool_call>{"name": "add", "arguments": {"a": 1, "b)",
       "",
       {{"add", R"({"a": 1, "b)", false}}},
      {Format::kHermes,
       R"(<tool_call>{"name": "add", "arguments": {"a": tru! }} more)",
       "! }} more",
       {{"add", R"({"a": tru)", false}}},
      {Format::kHermes,
       R"(<tool_call>[{"name": "now", "arguments": {}}, {"name": "ad)",
       R"(, {"name": "ad)",
       {{"now", "{}", true}}},
      {Format::kLlama3Json,
       R"({"name": "add", "parameters": {"a": 1}} is what I would call)",
       " is what I would call",
       {{"add", R"({"a": 1})", true}}},
      {Format::kPythonic, "[add(a=1, b=now())]", "())]", {{"add", R"({"a": 1, "b": )", false}}},
      {Format::kPythonic, "[add(a=1), exec(b=1)]", ", exec(b=1)]", {{"add", R"({"a": 1})", true}}},
  };
  return all;
}

TEST(ToolCalls, ReadsWhatEachFamilyWrites) {
  for (const auto* texts : {&goldens(), &no_calls(), &broken_calls()}) {
    for (const Golden& golden : *texts) {
      const ReadAnswer expected{"", golden.content, golden.calls};
      EXPECT_EQ(read(golden.format, golden.text), expected) << golden.text;
    }
  }
}

TEST(ToolCalls, CutsDoNotMatter) {
  for (const auto* texts : {&goldens(), &no_calls(), &broken_calls()}) {
    for (const Golden& golden : *texts) {
      const ReadAnswer whole = read(golden.format, golden.text);
      for (uint64_t seed = 0; seed < 40; ++seed)
        ASSERT_EQ(read(golden.format, golden.text, seed, 1 + seed % 9), whole) << golden.text;
    }
  }
}

TEST(ToolCalls, ArgumentsAreJson) {
  for (const Golden& golden : goldens())
    for (const ReadCall& call : golden.calls)
      EXPECT_TRUE(nlohmann::json::accept(call.arguments)) << call.arguments;
}

// Random splices of texts and marks: any cut gives the same, and where nothing is a call nothing is
// lost.
TEST(ToolCalls, RandomTextsReadTheSameInAnyPieces) {
  std::vector<std::string> bits = {"<tool_call>",
                                   "</tool_call>",
                                   "[TOOL_CALLS]",
                                   "[ARGS]",
                                   "{",
                                   "}",
                                   "\"name\": ",
                                   "\"now\"",
                                   ", ",
                                   "[",
                                   "]",
                                   "```tool_code",
                                   "```",
                                   "now(",
                                   "a=",
                                   ")",
                                   "<|python_tag|>",
                                   "\n",
                                   "\"arguments\": ",
                                   "1",
                                   "'",
                                   "<start_function_call>",
                                   "call:now{",
                                   "<escape>",
                                   "\\",
                                   "x:"};
  for (const Golden& golden : goldens()) bits.push_back(golden.text);
  std::mt19937_64 random(7);
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) text += bits[random() % bits.size()];
    const auto format = static_cast<Format>(random() % 6);
    const ReadAnswer whole = read(format, text);
    ASSERT_EQ(read(format, text, random(), 1 + random() % 20), whole) << text;
    if (whole.calls.empty()) {
      ASSERT_EQ(whole.content, text);
    }
  }
}

TEST(ToolCalls, ArgumentsArriveWhileTheyAreWritten) {
  const auto parser = ToolCallParser::make(Format::kHermes, kNames);
  AnswerParts parts;
  parser->push(R"(Hm <tool_call>{"name": "add", "arguments": {"a": "lo)", parts);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].text, "Hm ");
  EXPECT_EQ(parts[1].text, "add");
  EXPECT_EQ(parts[2].text, R"({"a": "lo)");
  parts.clear();
  parser->push("ng", parts);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].text, "ng");
}

TEST(ToolCalls, HoldsBackNoMoreThanItsBound) {
  for (const std::string& begin :
       {std::string("<tool_call>"), std::string(R"(<tool_call>{"arguments": {"a": ")"),
        std::string(R"(<tool_call>{"more": ")"), std::string()}) {
    const auto parser = ToolCallParser::make(Format::kHermes, kNames);
    AnswerParts parts;
    parser->push(begin, parts);
    parser->push(std::string(3 * kMostHeldBytes, ' '), parts);
    ReadAnswer answer;
    EXPECT_EQ(gather(parts, answer), "");
    EXPECT_GE(answer.content.size(), 2 * kMostHeldBytes) << begin;
  }
}

TEST(ToolCalls, DepthIsBounded) {
  const std::string deep(100, '[');
  const std::string text = R"(<tool_call>{"name": "add", "arguments": {"a": )" + deep;
  EXPECT_FALSE(read(Format::kHermes, text).calls.at(0).complete);
  EXPECT_FALSE(read(Format::kPythonic, "[add(a=" + deep).calls.at(0).complete);
}

TEST(ToolCalls, WholeAnswersKeepBrokenCallsAsContent) {
  const std::string text =
      R"(Hm <tool_call>{"name": "now"}</tool_call> <tool_call>{"name": "add", "arguments": {"a"! x)";
  const ToolAnswer answer = parse_tool_calls(Format::kHermes, text, kNames);
  ASSERT_EQ(answer.calls.size(), 1u);
  EXPECT_EQ(answer.content, R"(Hm  <tool_call>{"name": "add", "arguments": {"a"! x)");
}

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double seconds_for(Format format, const std::string& text) {
  const double begin = thread_seconds();
  const auto parser = ToolCallParser::make(format, kNames);
  AnswerParts parts;
  for (size_t at = 0; at < text.size(); at += 5) {
    parser->push(std::string_view(text).substr(at, 5), parts);
    if (parts.size() > 100) parts.clear();
  }
  parser->finish(parts);
  return thread_seconds() - begin;
}

// CVE-2025-48887 was a pattern of quadratic time in a parser of tool calls.
TEST(ToolCalls, TakesLinearTime) {
  const std::vector<std::string> bits = {"<tool_call>",
                                         "<tool_cal<",
                                         "{\"name\": \"",
                                         "<tool_call>{\"arguments\": {",
                                         "[[[",
                                         "\\\"",
                                         "[TOOL_CALLS]",
                                         "[TOOL_CALLS]a",
                                         "[add(a=",
                                         "[now(), ",
                                         "```tool_code add(",
                                         "<escape><esc",
                                         "<start_function_call>call:f{a:",
                                         "word ",
                                         "\n",
                                         "{\"name\": \"now\", \"parameters\": {}};"};
  for (int f = 0; f < 6; ++f) {
    for (const std::string& bit : bits) {
      std::string text;
      while (text.size() < 100'000) text += bit;
      const auto format = static_cast<Format>(f);
      const std::string longer = text + text + text + text;
      double once = 1e9, four_times = 1e9;
      for (int i = 0; i < 3; ++i) {  // in turn, so that a slow moment of the machine is in both
        once = std::min(once, seconds_for(format, text));
        four_times = std::min(four_times, seconds_for(format, longer));
      }
      // Quadratic time would be 16 times as much. The slack is a clock's tick: 100 KB take about a
      // millisecond.
      EXPECT_LT(four_times, 8 * once + 2e-3) << name(format) << " " << bit;
    }
  }
}

TEST(ToolCalls, FormatsHaveNames) {
  for (int f = 0; f < 6; ++f) {
    const auto format = static_cast<Format>(f);
    EXPECT_EQ(find_tool_format(name(format)), format);
    EXPECT_THAT(tool_format_names(), testing::Contains(std::string(name(format))));
  }
  for (const std::string& name : tool_format_names()) EXPECT_TRUE(find_tool_format(name)) << name;
  EXPECT_EQ(find_tool_format("llama4_pythonic"), ToolFormat::kPythonic);
  EXPECT_FALSE(find_tool_format("hermès"));
}

}  // namespace
}  // namespace weft::text
