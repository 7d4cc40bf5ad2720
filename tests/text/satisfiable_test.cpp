// Schemas that no JSON can satisfy, and schemas that only look like it (rust/src/satisfiable.rs).
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/byte_tokenizer.h"
#include "text/grammar.h"

namespace weft::text {
namespace {

using testing::HasSubstr;
using Kind = GrammarSpec::Kind;

std::shared_ptr<const Grammar> compiled(const GrammarSpec& spec) {
  static const auto compiler =
      GrammarCompiler::make(ByteTokenizer(), 300, std::vector<int32_t>{ByteTokenizer::kEnd});
  return compiler->compile(spec, {.compile_ms = 60'000});
}

// What compiling says; empty where it says nothing.
std::string refusal(const GrammarSpec& spec) {
  try {
    static_cast<void>(compiled(spec));
  } catch (const Error& error) {
    return error.summary() + ": " + error.why();
  }
  return "";
}

bool matches(const Grammar& grammar, std::string_view text) {
  const auto matcher = grammar.matcher();
  for (const char c : text)
    if (!matcher->advance(static_cast<unsigned char>(c))) return false;
  return matcher->may_end();
}

void expect_language(const std::string& schema, const std::vector<std::string>& in,
                     const std::vector<std::string>& out) {
  const auto grammar = compiled({Kind::kJsonSchema, schema});
  for (const std::string& text : in) EXPECT_TRUE(matches(*grammar, text)) << schema << "\n" << text;
  for (const std::string& text : out)
    EXPECT_FALSE(matches(*grammar, text)) << schema << "\n" << text;
}

TEST(Satisfiable, WhatNoJsonSatisfiesIsToldByItsPlace) {
  const auto expect_place = [](const std::string& schema, const std::string& words) {
    EXPECT_THAT(refusal({Kind::kJsonSchema, schema}),
                HasSubstr("no JSON is valid under the schema: at " + words));
  };
  expect_place("false", "# nothing is valid");
  expect_place(R"({"$ref":"#"})", "#/$ref the reference to # comes back to itself");
  expect_place(
      R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}})",
      "#/$defs/b/$ref the reference to #/$defs/a comes back");
  expect_place(R"({"type":"object","required":["x/y"],"properties":{"x/y":{"$ref":"#"}}})",
               "#/properties/x~1y/$ref the reference to # comes back");
  expect_place(R"({"type":"array","minItems":1,"items":{"$ref":"#"}})", "#/items/$ref");
  expect_place(R"({"type":"object","required":["a"],"properties":{"a":{"$ref":"#/$defs/b"}},
                   "$defs":{"b":{"anyOf":[{"type":"string","minLength":5,"maxLength":2},false]}}})",
               "#/$defs/b/anyOf/0/minLength 5 is above maxLength, 2");
  expect_place(R"({"type":["array","string"],"minItems":3,"maxItems":1,"minLength":1,
                   "maxLength":0})",
               "#/minItems");
  expect_place(R"({"allOf":[{},{"type":"integer","minimum":3,"maximum":2}]})", "#/allOf/1/minimum");
  expect_place(R"({"type":"object","required":["a","b"],"maxProperties":1})", "#/required");
  expect_place(R"({"type":"object","required":["a"],"additionalProperties":false})",
               "#/additionalProperties nothing is valid");
  expect_place(R"({"type":"array","prefixItems":[{"enum":[]}],"minItems":1})",
               "#/prefixItems/0/enum there is nothing to choose from");
  expect_place(R"({"anyOf":[]})", "#/anyOf there is nothing");
  // In a grammar around it, too.
  EXPECT_THAT(refusal({Kind::kLark, R"(start: %json {"$ref":"#"})"}), HasSubstr("#/$ref"));
}

TEST(Satisfiable, AReferenceToItselfIsFineWhereSomethingEndsIt) {
  expect_language(
      R"({"type":"object","properties":{"a":{"$ref":"#"}},"additionalProperties":false})",
      {"{}", R"({"a":{"a":{}}})"}, {R"({"a":1})"});
  expect_language(
      R"({"$ref":"#/$defs/list","$defs":{"list":{"anyOf":[{"type":"null"},
                      {"type":"object","required":["next"],"additionalProperties":false,
                       "properties":{"next":{"$ref":"#/$defs/list"}}}]}}})",
      {"null", R"({"next":{"next":null}})"}, {"{}"});
  expect_language(R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"});
}

// Other documents than this one, places that are not there: the compiler says what it makes of
// them.
TEST(Satisfiable, WhatIsNotUnderstoodIsLeftToTheCompiler) {
  for (const char* schema :
       {R"({"$ref":"#/$defs/none"})", R"({"$ref":"#name"})", R"({"$ref":"other.json"})",
        R"({"type":"string","pattern":"a{2}b{0}"})"})
    EXPECT_THAT(refusal({Kind::kJsonSchema, schema}), testing::Not(HasSubstr("at #"))) << schema;
  // A schema that has a name of its own is where references within it begin.
  EXPECT_THAT(refusal({Kind::kJsonSchema,
                       R"({"type":"object","required":["a"],"properties":{"a":{
                           "$id":"http://x/a","type":["null","array"],"items":{"$ref":"#"}}}})"}),
              testing::Not(HasSubstr("at #")));
}

TEST(Satisfiable, LongWaysAreFollowed) {
  const auto chain = [](const std::string& end) {
    std::string definitions = R"("d0":)" + end;
    for (int i = 1; i < 2000; ++i)
      definitions += fmt::format(R"(,"d{}":{{"$ref":"#/$defs/d{}"}})", i, i - 1);
    return R"({"$ref":"#/$defs/d1999","$defs":{)" + definitions + "}}";
  };
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(refusal({Kind::kJsonSchema, chain(R"({"$ref":"#/$defs/d1000"})")}),
              HasSubstr("comes back to itself"));
  EXPECT_THAT(refusal({Kind::kJsonSchema, chain(R"({"enum":[]})")}), HasSubstr("#/$defs/d0/enum"));
  EXPECT_THAT(refusal({Kind::kJsonSchema, chain(R"({"type":"null"})")}),
              testing::Not(HasSubstr("no JSON is valid")));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

}  // namespace
}  // namespace weft::text
