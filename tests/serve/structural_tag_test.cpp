#include "serve/structural_tag.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/byte_tokenizer.h"

namespace weft::serve {
namespace {

text::GrammarSpec spec_of(const std::string& object) {
  const nlohmann::json parsed = parse_json(object, "the body");
  return read_structural_tag(Fields(parsed, "", "", object));
}

bool matches(const text::GrammarSpec& spec, std::string_view text) {
  static const auto compiler = text::GrammarCompiler::make(
      text::ByteTokenizer(), 300, std::vector<int32_t>{text::ByteTokenizer::kEnd});
  const auto matcher = compiler->compile(spec)->matcher();
  for (const char c : text)
    if (!matcher->advance(static_cast<unsigned char>(c))) return false;
  return matcher->may_end();
}

const std::string kSchema =
    R"({"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "boolean"}},
        "required": ["z", "a"], "additionalProperties": false})";
const std::string kStructures =
    R"({"type": "structural_tag", "triggers": ["<f=", "[call"], "structures": [
        {"begin": "<f=one>", "schema": )" +
    kSchema + R"(, "end": "</f>"}, {"begin": "<f=two>", "schema": {"type": "null"}, "end": "</f>"},
        {"begin": "[call]", "schema": {"enum": [7]}, "end": ""}]})";

TEST(StructuralTag, WhatBeginsLikeATagEndsAsOne) {
  const text::GrammarSpec spec = spec_of(kStructures);
  for (const char* text : {"", "free <b>text</b>", "x <f=one>{\"z\": 1, \"a\": true}</f> y",
                           "<f=two>null</f>[call]7.", "<f=two>null</f><f=two>null</f>"})
    EXPECT_TRUE(matches(spec, text)) << text << "\n" << spec.source;
  for (const char* text : {"x <f=three>", "<f=one>{\"a\": true, \"z\": 1}</f>", "<f=two>null",
                           "<f=two>nul</f>", "[call]8", "<f=", "a [call"})
    EXPECT_FALSE(matches(spec, text)) << text << "\n" << spec.source;
}

TEST(StructuralTag, TheNewerFormSaysTheSame) {
  const auto tags = [](const std::string& more) {
    return spec_of(R"({"type": "structural_tag", "format": {"type": "triggered_tags",
        "triggers": ["<f="], "tags": [{"begin": "<f=two>", "end": "</f>",
        "content": {"type": "json_schema", "json_schema": {"type": "null"}}}])" +
                   more + "}}");
  };
  EXPECT_TRUE(matches(tags(""), "a <f=two>null</f> b"));
  EXPECT_TRUE(matches(tags(""), "a"));
  EXPECT_FALSE(matches(tags(R"(, "at_least_one": true)"), "a"));
  EXPECT_TRUE(matches(tags(R"(, "at_least_one": true)"), "a <f=two>null</f> b"));
  const text::GrammarSpec first = tags(R"(, "stop_after_first": true)");
  EXPECT_TRUE(matches(first, "a <f=two>null</f>"));
  EXPECT_TRUE(matches(first, "a"));
  EXPECT_FALSE(matches(first, "a <f=two>null</f> b"));
}

TEST(StructuralTag, SpecialTokensAreNamed) {
  const text::GrammarSpec spec =
      spec_of(R"({"triggers": ["<|call|>"], "structures": [{"begin": "<|call|>x", "schema": {},
                  "end": "<|end|>"}]})");
  EXPECT_NE(spec.source.find("/(?s:.*)/ <|call|>\n"), std::string::npos) << spec.source;
  EXPECT_NE(spec.source.find("schema_0 <|end|>"), std::string::npos) << spec.source;
}

}  // namespace
}  // namespace weft::serve
