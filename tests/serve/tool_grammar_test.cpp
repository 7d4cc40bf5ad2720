#include "serve/tool_grammar.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "serve/lark_marks.h"
#include "text/byte_tokenizer.h"
#include "text/tool_calls.h"

namespace weft::serve {
namespace {

using testing::HasSubstr;
using text::ReasoningFormat;
using text::ToolFormat;

// A vocabulary of marks alone: the first of each pair are special tokens.
class MarkTokenizer final : public text::Tokenizer {
 public:
  explicit MarkTokenizer(std::vector<std::string> special) : special_(std::move(special)) {}
  int64_t vocab_size() const override { return 1000; }
  std::vector<int32_t> encode(std::string_view, bool, bool) const override { return {}; }
  std::string piece(int32_t, bool) const override { return {}; }
  std::string decode(std::span<const int32_t>, bool) const override { return {}; }
  bool is_special(int32_t) const override { return true; }
  std::optional<int32_t> find_token(std::string_view text) const override {
    for (size_t i = 0; i < special_.size(); ++i)
      if (special_[i] == text) return static_cast<int32_t>(100 + i);
    return {};
  }
  std::string description() const override { return "marks"; }

 private:
  std::vector<std::string> special_;
};

const char* kTools =
    R"("tools":[{"type":"function","function":{"name":"weather","strict":true,"parameters":{
    "type":"object","properties":{"city":{"type":"string"},"days":{"$ref":"#/$defs/count"},
    "metric":{"type":"boolean"}},"required":["city"],"$defs":{"count":{"type":"integer"}}}}},
    {"type":"function","function":{"name":"now"}}])";

std::optional<text::GrammarSpec> grammar(ToolFormat format, const std::string& choice,
                                         const MarkTokenizer& tokenizer) {
  const ChatTools tools = read_tools(std::string("{") + kTools + choice + "}");
  text::ChatProfile profile;
  profile.tools = format;
  return tool_grammar(tools, profile, tokenizer);
}

const std::string kRequired = R"(,"tool_choice":"required")";
const std::string kNamed = R"(,"tool_choice":{"type":"function","function":{"name":"now"}})";

TEST(ToolGrammar, IsForRequiredCallsAlone) {
  const MarkTokenizer plain({});
  EXPECT_FALSE(grammar(ToolFormat::kLlama3Json, "", plain));
  EXPECT_FALSE(grammar(ToolFormat::kHermes, R"(,"tool_choice":"none")", plain));
  ASSERT_TRUE(grammar(ToolFormat::kHermes, "", plain));  // a tool is strict
  ASSERT_TRUE(grammar(ToolFormat::kHermes, kRequired, plain));
  const std::string named = grammar(ToolFormat::kHermes, kNamed, plain)->source;
  EXPECT_THAT(named, HasSubstr("now"));
  EXPECT_THAT(named, testing::Not(HasSubstr("weather")));
}

TEST(ToolGrammar, MarksAreTokensWhereTheVocabularyHasThem) {
  const std::string special =
      grammar(ToolFormat::kMistral, kRequired, MarkTokenizer({"[TOOL_CALLS]"}))->source;
  EXPECT_THAT(special, HasSubstr("start: <[100]> \"[\""));
  EXPECT_THAT(grammar(ToolFormat::kMistral, kRequired, MarkTokenizer({}))->source,
              HasSubstr("start: \"[TOOL_CALLS]\" \"[\""));
}

TEST(ToolGrammar, OneCallWhereOneIsWanted) {
  const MarkTokenizer plain({});
  EXPECT_THAT(grammar(ToolFormat::kHermes, kRequired, plain)->source, HasSubstr("{0,15}"));
  EXPECT_THAT(
      grammar(ToolFormat::kHermes, kRequired + R"(,"parallel_tool_calls":false)", plain)->source,
      testing::Not(HasSubstr("{0,15}")));
}

// Its rules grow with the square of what may be left out.
TEST(ToolGrammar, PythonicCallsHaveSoManyOptionalParameters) {
  const auto asked = [](int count) {
    std::string properties;
    for (int i = 0; i < count; ++i)
      properties += fmt::format("{}\"p{}\":{{}}", i > 0 ? "," : "", i);
    text::ChatProfile profile;
    profile.tools = ToolFormat::kPythonic;
    const ChatTools tools = read_tools(
        R"({"tool_choice":"required","tools":[{"type":"function","function":{"name":"f",
            "parameters":{"properties":{)" +
        properties + "}}}}]}");
    return tool_grammar(tools, profile, MarkTokenizer({}));
  };
  EXPECT_TRUE(asked(128));
  EXPECT_THROW(asked(129), Error);
}

// Whether an answer, byte by byte, is one that the grammar allows from beginning to end.
bool allows(text::GrammarCompiler& compiler, const text::GrammarSpec& spec,
            std::string_view answer) {
  const auto matcher = compiler.compile(spec)->matcher();
  for (const char c : answer)
    if (!matcher->advance(static_cast<unsigned char>(c))) return false;
  return matcher->may_end();
}

// What a grammar lets a model write, the parser has to take for a call.
TEST(ToolGrammar, PythonicCallsOfAnyNameAreReadAgain) {
  const text::ByteTokenizer tokenizer;
  const int32_t end = text::ByteTokenizer::kEnd;
  const auto compiler = text::GrammarCompiler::make(tokenizer, 300, {&end, 1});
  const auto grammar_of = [&](const std::string& name, const std::string& parameter) {
    const std::string quoted = fmt::format("\"{}\"", parameter);
    const ChatTools tools = read_tools(fmt::format(
        R"({{"tool_choice":"required","tools":[{{"type":"function","function":{{"name":"{}",
            "parameters":{{"properties":{{{}:{{"type":"integer"}}}},"required":[{}]}}}}}}]}})",
        name, quoted, quoted));
    return tool_grammar(tools, {.tools = ToolFormat::kPythonic, .reasoning = {}}, tokenizer)
        .value();
  };
  for (const char* name : {"f", "a/b", "1f", "a:b", "a-b", ".a", "-", "9"})
    for (const char* parameter : {"a", "a-b", "a.b", "$x", "1a", "a b", "é", "#", "*a"}) {
      const std::string answer = fmt::format("[{}({}=1)]", name, parameter);
      EXPECT_TRUE(allows(*compiler, grammar_of(name, parameter), answer)) << answer;
      const text::ToolAnswer read = text::parse_tool_calls(ToolFormat::kPythonic, answer, {name});
      ASSERT_EQ(read.calls.size(), 1u) << answer;
      EXPECT_EQ(read.calls[0].name, name);
      EXPECT_EQ(read.calls[0].arguments, fmt::format("{{\"{}\": 1}}", parameter));
    }
  for (const char* parameter : {"", " a", "a=b", "f(x)", "a,b", "a'b", "a\\nb"})
    EXPECT_THROW(grammar_of("f", parameter), Error) << parameter;
}

TEST(ToolGrammar, AnswersFollowTheirGrammarFromTheEndOfTheReasoningOn) {
  using Kind = text::GrammarSpec::Kind;
  const text::ByteTokenizer tokenizer;
  const int32_t end = text::ByteTokenizer::kEnd;
  const auto compiler = text::GrammarCompiler::make(tokenizer, 300, {&end, 1});
  const text::GrammarSpec strict =
      tool_grammar(read_tools(std::string("{") + kTools + "}"),
                   {.tools = ToolFormat::kHermes, .reasoning = {}}, tokenizer)
          .value();
  const std::vector<std::pair<text::GrammarSpec, std::string>> specs = {
      {{Kind::kJsonSchema, R"({"type":"array",
                               "items":{"type":"integer"}})"},
       "[1, 2]"},
      {{Kind::kJsonObject, ""}, R"({"a": [null]})"},
      {{Kind::kRegex, "^[ab]+/\\/\nc$"}, "aba//\nc"},
      {{Kind::kChoice, R"(["yes","ye","n\"o"])"}, "n\"o"},
      {{Kind::kChoice, R"(["yes","ye"])"}, "ye"},
      {{Kind::kLark, "start: thought \"!\"\nthought: \"x\""}, "x!"},  // names are its own
      {{Kind::kLark, "root ::= \"(\" root? \")\""}, "(())"},
      {strict, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"}};
  for (const auto& [spec, answer] : specs) {
    const auto of = [&](ReasoningFormat format, bool opened) {
      text::GrammarSpec framed = spec;
      framed.frame = reasoning_frame(format, opened, tokenizer);
      return framed;
    };
    const text::GrammarSpec may = of(ReasoningFormat::kQwen3, false),
                            must = of(ReasoningFormat::kQwen3, true);
    for (const std::string thought : {"", "I < you\n{\"", "<think>"}) {
      EXPECT_TRUE(allows(*compiler, may, "<think>" + thought + "</think>\n\n" + answer)) << answer;
      EXPECT_TRUE(allows(*compiler, must, thought + "</think>" + answer)) << answer;
    }
    EXPECT_TRUE(allows(*compiler, may, answer)) << answer;
    EXPECT_FALSE(allows(*compiler, must, answer)) << answer;
    EXPECT_FALSE(allows(*compiler, of(ReasoningFormat::kDeepSeekR1, false), answer)) << answer;
    if (spec == strict) continue;  // its text is free
    EXPECT_FALSE(allows(*compiler, may, "a</think>" + answer)) << answer;
    EXPECT_FALSE(allows(*compiler, must, "a</think>~" + answer)) << answer;
  }
  // What is thought of a call is none.
  text::GrammarSpec framed = strict;
  framed.frame = reasoning_frame(ReasoningFormat::kQwen3, true, tokenizer);
  EXPECT_TRUE(allows(*compiler, framed, "a <tool_call>?</think>Yes."));
  EXPECT_FALSE(allows(*compiler, framed, "a</think><tool_call>?"));
}

TEST(ToolGrammar, ReasoningIsFramedByTheMarksOfTheVocabulary) {
  const auto frame = [](ReasoningFormat format, const MarkTokenizer& tokenizer, bool opened) {
    return reasoning_frame(format, opened, tokenizer);
  };
  const MarkTokenizer plain({}), marked({"<think>", "</think>"});
  EXPECT_THAT(frame(ReasoningFormat::kQwen3, plain, false),
              HasSubstr("(\"<think>\" thought BREAKS)? @answer"));
  EXPECT_THAT(frame(ReasoningFormat::kQwen3, plain, true),
              HasSubstr("thought[suffix=\"</think>\"]"));
  EXPECT_THAT(frame(ReasoningFormat::kQwen3, marked, false),
              HasSubstr("(<[100]> thought BREAKS)? @answer"));
  EXPECT_THAT(frame(ReasoningFormat::kQwen3, marked, true),
              HasSubstr("thought: /(?s:.*)/ <[101]>"));
  EXPECT_EQ(lark_literal("a\"\n\x7f"), "\"a\\\"\\n\\u007f\"");
}

TEST(ToolGrammar, SchemasAreClosed) {
  EXPECT_THAT(grammar(ToolFormat::kHermes, kNamed, MarkTokenizer({}))->source,
              HasSubstr("\"additionalProperties\":false"));
}

}  // namespace
}  // namespace weft::serve
