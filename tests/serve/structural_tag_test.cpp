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

TEST(StructuralTag, TextsThatLeadToFormats) {
  const auto dispatch = [](const std::string& more) {
    return R"({"type": "dispatch", "rules": [["<n>", )" + kInteger + R"(], ["<y", {"type": "or",
        "elements": [)" +
           text("es>") + "," + text("ep>") + "]}]]" + more + "}";
  };
  expect_language(dispatch(""), {"", "a", "a<n>1", "<n>1b<yes>c<yep><n>2"},
                  {"<n>", "<n>a", "<y>", "a<yes"});
  expect_language(dispatch(R"(, "loop": false)"), {"a", "a<n>1", "<yes>"}, {"a<n>1b", "<n>1<n>2"});
  expect_language(R"({"type": "tag", "begin": "{", "end": "}", "content": )" +
                      dispatch(R"(, "excludes": ["!"])") + "}",
                  {"{}", "{a<n>1b}"}, {"{!}", "{a<n>1", "{a<n>}"});
}

std::string parameters(const std::string& properties, const std::string& more = "",
                       const std::string& style = "qwen_xml") {
  return R"({"type": "json_schema", "style": ")" + style +
         R"(", "json_schema": {"type": "object", "properties": )" + properties + more + "}}";
}

TEST(StructuralTag, ParametersBetweenMarks) {
  const std::string properties =
      R"({"b": {"type": "string", "title": "B"}, "a": {"type": "integer"}})";
  const std::string both = R"(, "required": ["a", "b"])";
  expect_language(parameters(properties, both),
                  {"<parameter=b>Bob</parameter><parameter=a>1</parameter>",
                   "\n<parameter=b>\n\"<b> \n</parameter>\n <parameter=a> 1\n</parameter>",
                   "<parameter=b></parameter><parameter=a>1</parameter>"},
                  {"", "<parameter=b>Bob</parameter>", "<parameter=b>Bob</parameter><parameter=a>",
                   "<parameter=a>1</parameter><parameter=b>Bob</parameter>",
                   "<parameter=b>Bob</parameter><parameter=a>x</parameter>",
                   "<parameter=b>Bob</parameter>\n\n\n<parameter=a>1</parameter>"});
  expect_language(
      parameters(properties, R"(, "required": ["a"])"),
      {"<parameter=a>1</parameter>", "<parameter=b></parameter><parameter=a>1</parameter>"},
      {"", "<parameter=b></parameter>"});
  expect_language(parameters(properties), {"", "<parameter=a>1</parameter>"},
                  {"<parameter=c>1</parameter>"});
  expect_language(R"({"type": "qwen_xml_parameter", "json_schema": true})", {""}, {"a"});
  // An end of a tag that begins with the same blanks as one more parameter.
  expect_language(R"({"type": "tag", "begin": "<f>\n", "end": "\n</f>", "content": )" +
                      parameters(R"({"b": {"type": "string"}, "a": {"type": "integer"}})") + "}",
                  {"<f>\n\n</f>", "<f>\n<parameter=b>x</parameter>\n</f>",
                   "<f>\n<parameter=b>x</parameter>\n<parameter=a>\n1\n</parameter>\n</f>"},
                  {"<f>\n<parameter=b>x</parameter></f>"});
}

TEST(StructuralTag, ParametersInOtherMarks) {
  const std::string properties = R"({"a": {"type": "boolean"}})", all = R"(, "required": ["a"])";
  expect_language(parameters(properties, all, "minimax_xml"),
                  {"<parameter name=\"a\">true</parameter>"}, {"<parameter=a>true</parameter>"});
  expect_language(parameters(properties, all, "glm_xml"),
                  {"<arg_key>a</arg_key><arg_value>true</arg_value>"},
                  {"<arg_key>a</arg_key>true"});
}

TEST(StructuralTag, ParametersOfAllKinds) {
  const auto one = [](const std::string& schema, const std::string& more = "") {
    return parameters(R"({"a": )" + schema + "}", R"(, "required": ["a"])" + more);
  };
  const auto among = [](std::string value) {
    return "<parameter=a>" + std::move(value) + "</parameter>";
  };
  expect_language(one(R"({"enum": ["x y", "x", 3]})"), {among("x y"), among("\nx\n"), among("3")},
                  {among("\"x\""), among("xy"), among("")});
  expect_language(one(R"({"const": "x"})"), {among("x")}, {among("y")});
  expect_language(one(R"({"type": "string", "pattern": "^[a-z]+$"})"), {among("ab")},
                  {among("1"), among("")});
  expect_language(one(R"({"type": "string", "minLength": 2, "maxLength": 3})"),
                  {among("ab"), among("abc")}, {among("a"), among("abcd")});
  expect_language(one(R"({"type": "string", "minLength": 2})"), {among("abcd")}, {among("a")});
  expect_language(one(R"({"type": ["integer", "null"]})"), {among("1"), among("null")},
                  {among("a")});
  expect_language(one(R"({"anyOf": [{"type": "string", "maxLength": 1}, {"type": "null"}]})"),
                  {among("x"), among("null")}, {among("xy")});
  // A text has room for whatever else there is.
  expect_language(one(R"({"anyOf": [{"type": "string"}, {"type": "integer"}]})"),
                  {among("x </"), among("1"), among("")},
                  {among("</parameter>"), "<parameter=a>x"});
  expect_language(one(R"({"anyOf": [{"type": "null"}, {"type": "string"}]})"),
                  {among("a"), among("null")}, {});
  expect_language(one("{}"), {among("anything </p>")}, {among("</parameter>")});
  expect_language(one(R"({"type": "object", "properties": {"s": {"type": "string"}},
                          "required": ["s"], "additionalProperties": false})"),
                  {among("{\"s\": \"</parameter>\"}")}, {among("{}"), among("<parameter=s>")});
  expect_language(one(R"({"$ref": "#/$defs/list"})",
                      R"(, "$defs": {"list": {"type": "array", "maxItems": 1,
                         "items": {"$ref": "#/$defs/list"}}})"),
                  {among("[]"), among("[[[]]]")}, {among("[1]")});
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
  EXPECT_THAT(refusal_of(R"({"type": "any_tokens"})"), testing::HasSubstr("'any_tokens'"));
  EXPECT_THAT(refusal_of(R"({"type": "dispatch", "rules": []})"), testing::HasSubstr("rules"));
  EXPECT_THAT(refusal_of(R"({"type": "dispatch", "rules": [["", )" + kInteger + "]]}"),
              testing::HasSubstr("rules"));
  EXPECT_THAT(refusal_of(R"({"type": "dispatch", "rules": [["a", )" + kAnyText + "]]}"),
              testing::HasSubstr("free text"));
  EXPECT_THAT(refusal_of(R"({"type": "json_schema", "json_schema": {}, "style": "cohere_xml"})"),
              testing::HasSubstr("'cohere_xml'"));
  EXPECT_THAT(refusal_of(R"({"type": "json_schema", "json_schema": {}, "excludes": ["a"]})"),
              testing::HasSubstr("excludes"));
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

TEST(StructuralTag, ParametersThatNoMarkHoldsAreRefused) {
  const auto refusal = [](const std::string& schema) {
    return refusal_of(R"({"type": "json_schema", "style": "qwen_xml", "json_schema": )" + schema +
                      "}");
  };
  const auto property = [&](const std::string& schema) {
    return refusal(R"({"type": "object", "properties": {"a": )" + schema + "}}");
  };
  const auto says = [](const char* words) { return testing::HasSubstr(words); };
  EXPECT_THAT(refusal(R"({"type": "array"})"), says("those of an object"));
  EXPECT_THAT(refusal("false"), says("nothing is valid"));
  EXPECT_THAT(refusal(R"({"properties": [1]})"), says("an object of schemas"));
  EXPECT_THAT(refusal(R"({"required": "a"})"), says("a list of names"));
  EXPECT_THAT(refusal(R"({"anyOf": []})"), says("cannot honour 'anyOf'"));
  EXPECT_THAT(refusal(R"({"type": "object", "required": ["x"]})"), says("none of the properties"));
  EXPECT_THAT(refusal(R"({"properties": {"a>b": {}}})"), says("no mark can hold such a name"));
  EXPECT_THAT(property(R"({"type": "string", "format": "date"})"), says("'format'"));
  EXPECT_THAT(property(R"({"type": "string", "minLength": 3, "maxLength": 2})"),
              says("above maxLength"));
  EXPECT_THAT(property(R"({"type": "string", "maxLength": 1e9})"), says("from 0 to 4096"));
  EXPECT_THAT(property(R"({"type": "string", "pattern": "a\\"})"), says("regular expression"));
  EXPECT_THAT(property(R"({"oneOf": [{"type": "string"}]})"), says("'oneOf'"));
  EXPECT_THAT(property(R"({"enum": ["a</parameter>"]})"), says("closing mark"));
  EXPECT_THAT(property(R"({"$ref": "#/$defs/a"})"), says("nothing is found"));
  EXPECT_THAT(property(R"({"$ref": "#/properties/a"})"), says("#/$defs"));
  EXPECT_THAT(refusal(R"({"properties": {"a": {"$ref": "#/$defs/a"}},
                          "$defs": {"a": {"$ref": "#/$defs/a"}}})"),
              says("not in circles"));
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
