#include "serve/structural_tag.h"

#include <gmock/gmock.h>

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
  const text::GrammarSpec some = tags(R"(, "at_least_one": true)");
  EXPECT_FALSE(matches(some, "a"));
  EXPECT_FALSE(matches(some, "a <f=two>null</f> b"));  // as xgrammar: it begins with one
  EXPECT_TRUE(matches(some, "<f=two>null</f> b <f=two>null</f>"));
  const text::GrammarSpec first = tags(R"(, "stop_after_first": true)");
  EXPECT_TRUE(matches(first, "a <f=two>null</f>"));
  EXPECT_TRUE(matches(first, "a"));
  EXPECT_FALSE(matches(first, "a <f=two>null</f> b"));
  const text::GrammarSpec one = tags(R"(, "at_least_one": true, "stop_after_first": true)");
  EXPECT_TRUE(matches(one, "<f=two>null</f>"));
  EXPECT_FALSE(matches(one, ""));
  EXPECT_FALSE(matches(one, "<f=two>null</f> b"));
}

// Of two that a parser takes for one name, the checks and the grammar are the same one's.
TEST(StructuralTag, OneFormatIsReadOfTwo) {
  const std::string shorter = R"({"type": "or", "elements": [{"type": "regex", "pattern": "a"}]})",
                    longer = R"({"type": "or", "elements": [{"type": "regex", "pattern": "b"},
      {"type": "json_schema", "json_schema": {"type": "null"}}]})";
  const auto source_of_two = [](const std::string& first, const std::string& last) {
    return spec_of(R"({"type": "structural_tag", "format": )" + first + R"(, "f\u006frmat": )" +
                   last + "}")
        .source;
  };
  const auto source_of = [](const std::string& object) {
    return spec_of(R"({"type": "structural_tag", "format": )" + object + "}").source;
  };
  EXPECT_EQ(source_of_two(shorter, longer), source_of(longer));
  EXPECT_EQ(source_of_two(longer, shorter), source_of(shorter));
}

// ---- each format by itself and within others

std::string format(const std::string& object) {
  return R"({"type": "structural_tag", "format": )" + object + "}";
}

void expect_language(const std::string& object, const std::vector<std::string>& in,
                     const std::vector<std::string>& out) {
  const text::GrammarSpec spec = spec_of(format(object));
  for (const std::string& text : in)
    EXPECT_TRUE(matches(spec, text)) << text << "\n" << spec.source;
  for (const std::string& text : out)
    EXPECT_FALSE(matches(spec, text)) << text << "\n" << spec.source;
}

std::string text(const std::string& value) {
  return R"({"type": "const_string", "value": ")" + value + R"("})";
}
const std::string kInteger = R"({"type": "json_schema", "json_schema": {"type": "integer"}})";
const std::string kAnyText = R"({"type": "any_text"})";

TEST(StructuralTag, SimpleFormats) {
  expect_language(text(R"(a\"b\n)"), {"a\"b\n"}, {"", "a", "a\"b\nc"});
  expect_language(R"({"type": "regex", "pattern": "^[a-z]+/(x|y)$"})", {"ab/x", "a/y"},
                  {"/x", "a/z", "^a/x"});
  expect_language(R"({"type": "json_schema", "json_schema": true})", {"[1]", "null"}, {"[1"});
  expect_language(R"({"type": "grammar", "grammar": "root ::= \"(\" root? \")\""})",
                  {"()", "((()))"}, {"(", "())"});
  expect_language(
      R"({"type": "grammar", "grammar": "start: thing+\nthing: \"x\" %json {\"enum\": [1]}"})",
      {"x1x1"}, {"", "x2"});
  expect_language(kAnyText, {"", "any <b>\n"}, {});
  expect_language(R"({"type": "any_text", "excludes": ["no", "<"], "max_chars": 4})",
                  {"", "nn", "4äöü"}, {"no", "a<", "12345", "anon"});
}

TEST(StructuralTag, FormatsFollowOneAnotherAndStandForOneAnother) {
  expect_language(R"({"type": "sequence", "elements": [)" + text("n=") + "," + kInteger + "," +
                      R"({"type": "regex", "pattern": "[a-z;]*"},)" + text(";") + "]}",
                  {"n=12;", "n=-3abc;", "n=3a;b;"}, {"n=", "n=1", "n=1;A"});
  expect_language(R"({"type": "or", "elements": [)" + text("yes") + "," + text("yesterday") + "," +
                      kInteger + "]}",
                  {"yes", "yesterday", "7"}, {"", "yester", "yes7"});
  expect_language(R"({"type": "sequence", "elements": [{"type": "optional", "content": )" +
                      text("a") + R"(}, {"type": "plus", "content": )" + kInteger +
                      R"(}, {"type": "star", "content": )" + text("b") +
                      R"(}, {"type": "repeat", "min": 1, "max": 2, "content": )" + text("c") +
                      "}]}",
                  {"a1bbc", "1cc", "1-1c"}, {"ac", "aa1c", "1", "1ccc"});
  // Free text at the end of what stands for one another.
  expect_language(
      R"({"type": "tag", "begin": "<", "end": ">", "content": {"type": "or", "elements": [)" +
          kInteger + "," + kAnyText + "]}}",
      {"<1>", "<1x>", "<>"}, {"<1", "<1>>", "1>"});
}

TEST(StructuralTag, TagsEndWhereTheirEndStands) {
  const auto tag = [](const std::string& content, const std::string& end) {
    return R"({"type": "tag", "begin": "<t>", "content": )" + content + R"(, "end": )" + end + "}";
  };
  expect_language(tag(kAnyText, R"("</t>")"), {"<t></t>", "<t>a < b </ t></t>", "<t></t</t>"},
                  {"<t>", "<t>a</t>b", "<t></t></t>"});
  expect_language(tag(kAnyText, R"(["</t>", "<end>"])"), {"<t>a</t>", "<t>a<end>"},
                  {"<t>a</t><end>", "<t>a"});
  expect_language(tag(R"({"type": "regex", "pattern": "[a-z<]*"})", R"("</t>")"),
                  {"<t>a</t>", "<t><<</t>"}, {"<t>a</t", "<t>1</t>"});
  expect_language(tag(kInteger, R"("")"), {"<t>1"}, {"<t>", "<t>1</t>"});
  // What comes behind it is not a part of it.
  expect_language(
      R"({"type": "sequence", "elements": [)" + tag(kAnyText, R"("</t>")") + "," + kInteger + "]}",
      {"<t>1</t>2"}, {"<t>1</t>", "<t>1</t>2</t>"});
}

TEST(StructuralTag, TriggersWithinATag) {
  const std::string call =
      R"({"type": "tag", "begin": "<f>", "content": )" + kInteger + R"(, "end": "</f>"})";
  const std::string calls = R"({"type": "triggered_tags", "triggers": ["<f"], "tags": [)" + call +
                            R"(], "excludes": ["!"]})";
  expect_language(R"({"type": "tag", "begin": "{", "content": )" + calls + R"(, "end": "}"})",
                  {"{}", "{a}", "{a<f>1</f>b<f>2</f>}"},
                  {"{a", "{a!}", "{<f>a</f>}", "{a}b", "{<f}"});
  expect_language(R"({"type": "tags_with_separator", "separator": ", ", "tags": [)" + call + "]}",
                  {"", "<f>1</f>", "<f>1</f>, <f>2</f>"}, {"a", "<f>1</f><f>2</f>", "<f>1</f>, "});
  expect_language(R"({"type": "tags_with_separator", "separator": ",", "at_least_one": true,
                      "stop_after_first": true, "tags": [)" +
                      call + "]}",
                  {"<f>1</f>"}, {"", "<f>1</f>,<f>1</f>"});
}

std::string refusal_of(const std::string& object) {
  try {
    spec_of(format(object));
  } catch (const Error& error) {
    return std::string(error.what());
  }
  return "";
}

TEST(StructuralTag, WhatCannotBeSaidIsRefusedByName) {
  EXPECT_THAT(refusal_of(R"({"type": "dispatch", "rules": []})"), testing::HasSubstr("'dispatch'"));
  EXPECT_THAT(refusal_of(R"({"type": "json_schema", "json_schema": {}, "style": "qwen_xml"})"),
              testing::HasSubstr("'qwen_xml'"));
  EXPECT_THAT(refusal_of(R"({"type": "any_text", "max_tokens": 3})"),
              testing::HasSubstr("max_tokens"));
  EXPECT_THAT(
      refusal_of(R"({"type": "sequence", "elements": [)" + kAnyText + "," + kInteger + "]}"),
      testing::HasSubstr("free text"));
  EXPECT_THAT(refusal_of(R"({"type": "star", "content": )" + kAnyText + "}"),
              testing::HasSubstr("free text"));
  EXPECT_THAT(
      refusal_of(R"({"type": "tag", "begin": "a", "end": "", "content": )" + kAnyText + "}"),
      testing::HasSubstr("end"));
  EXPECT_THAT(refusal_of(R"({"type": "triggered_tags", "triggers": ["<", "<f"], "tags": [
                          {"begin": "<f>", "end": "", "content": )" +
                         kInteger + "}]}"),
              testing::HasSubstr("two of the triggers"));
  EXPECT_THAT(refusal_of(R"({"type": "token", "token": "<[1-5]>"})"), testing::HasSubstr("token"));
  EXPECT_THAT(refusal_of(R"({"type": "sequence", "elements": []})"),
              testing::HasSubstr("elements"));
  std::string deep = kInteger;
  for (int i = 0; i < kMostFormatDepth; ++i) deep = R"({"type": "or", "elements": [)" + deep + "]}";
  EXPECT_THAT(refusal_of(deep), testing::HasSubstr("16 deep"));
}

TEST(StructuralTag, PatternsEndWhereTheyEnd) {
  EXPECT_THAT(refusal_of(R"({"type": "regex", "pattern": "a\\"})"), testing::HasSubstr("pattern"));
  EXPECT_THAT(refusal_of(R"({"type": "regex", "pattern": "\\"})"), testing::HasSubstr("pattern"));
  expect_language(R"({"type": "regex", "pattern": "a\\\\"})", {"a\\"}, {"a", "a/"});
}

// An end is a part of each free text within its tag: few bytes of a request could ask for many.
TEST(StructuralTag, WhatMultipliesIsRefused) {
  const std::string end(60'000, 'e');
  std::string texts = kAnyText;
  for (int i = 1; i < 100; ++i) texts += "," + kAnyText;
  const std::string tag = R"({"type": "tag", "begin": "<", "end": ")" + end +
                          R"(", "content": {"type": "or", "elements": [)" + texts + "]}}";
  EXPECT_THAT(refusal_of(tag), testing::HasSubstr("more than 262144 bytes"));
  EXPECT_THAT(refusal_of(text(std::string(300'000, 'a'))), testing::HasSubstr("above 262144"));
}

TEST(StructuralTag, SpecialTokensAreNamed) {
  const text::GrammarSpec spec =
      spec_of(R"({"triggers": ["<|call|>"], "structures": [{"begin": "<|call|>x", "schema": {},
                  "end": "<|end|>"}]})");
  EXPECT_THAT(spec.source, testing::HasSubstr(R"(/(?s:.*)/ <|call|> "x" r0 <|end|>)"));
  const text::GrammarSpec tokens = spec_of(format(
      R"({"type": "tag", "begin": {"type": "token", "token": 7}, "content": {"type": "any_text"},
          "end": {"type": "token", "token": "<|end|>"}})"));
  EXPECT_THAT(tokens.source, testing::HasSubstr("<[7]> /(?s:.*)/ <|end|>"));
  // Nothing of a mark gets into the grammar around it.
  EXPECT_THAT(spec_of(format(text("<|a|>|<|b|>"))).source, testing::HasSubstr(R"("<|a|>|<|b|>")"));
}

}  // namespace
}  // namespace weft::serve
