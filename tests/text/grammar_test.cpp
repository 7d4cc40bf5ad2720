#include "text/grammar.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/byte_tokenizer.h"
#include "text/matcher_memory.h"

namespace weft::text {
namespace {

using Kind = GrammarSpec::Kind;
using Mask = std::vector<uint32_t>;

constexpr int64_t kVocabSize = 300;  // the model's, padded
constexpr int32_t kEnd = ByteTokenizer::kEnd;

GrammarCompiler& compiler() {
  static const std::unique_ptr<GrammarCompiler> compiler =
      GrammarCompiler::make(ByteTokenizer(), kVocabSize, std::vector<int32_t>{kEnd});
  return *compiler;
}

// Enough of it, however slow the machine: what ends such a compilation is what it counts.
constexpr GrammarLimits kUnhurried{.compile_ms = 60'000};

std::shared_ptr<const Grammar> compiled(Kind kind, const std::string& source) {
  return compiler().compile({kind, source}, kUnhurried);
}

Mask mask_of(GrammarMatcher& matcher) {
  Mask mask((kVocabSize + 31) / 32, 0xdeadbeef);
  matcher.fill(mask);
  return mask;
}

bool allows(const Mask& mask, int32_t id) {
  return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
}

// How far into the text a matcher comes, a byte at a time; what masks say is what advance does.
size_t follow(GrammarMatcher& matcher, std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const int32_t id = static_cast<unsigned char>(text[i]);
    const bool is_allowed = allows(mask_of(matcher), id);
    EXPECT_EQ(matcher.advance(id), is_allowed) << text.substr(0, i + 1);
    if (!is_allowed) return i;
  }
  return text.size();
}

bool matches(const Grammar& grammar, std::string_view text) {
  const auto matcher = grammar.matcher();
  if (follow(*matcher, text) < text.size()) return false;
  const bool may_end = matcher->may_end();
  EXPECT_EQ(allows(mask_of(*matcher), kEnd), may_end);
  return may_end;
}

void expect_language(Kind kind, const std::string& source, const std::vector<std::string>& in,
                     const std::vector<std::string>& out) {
  const auto grammar = compiled(kind, source);
  for (const std::string& text : in) EXPECT_TRUE(matches(*grammar, text)) << source << "\n" << text;
  for (const std::string& text : out)
    EXPECT_FALSE(matches(*grammar, text)) << source << "\n" << text;
}

// What compiling says, in one line; empty where it says nothing.
std::string refusal(Kind kind, const std::string& source,
                    const GrammarLimits& limits = kUnhurried) {
  try {
    static_cast<void>(compiler().compile({kind, source}, limits));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.summary() + ": " + error.why();
  }
  return "";
}

void expect_refused(Kind kind, const std::string& source, const std::string& words) {
  const std::string said = refusal(kind, source);
  EXPECT_NE(said.find(words), std::string::npos) << source.substr(0, 200) << "\nsays: " << said;
  EXPECT_EQ(said.find("backtrace"), std::string::npos) << said;
}

TEST(Grammar, SchemasWithNestingEnumsAndPatterns) {
  expect_language(Kind::kJsonSchema, R"({
      "type": "object", "additionalProperties": false, "required": ["name", "tags"],
      "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-z]+$"},
        "kind": {"enum": ["a", 7, null]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 2}},
      "$defs": {"tag": {"type": "object", "properties": {"on": {"type": "boolean"}},
                "required": ["on"], "additionalProperties": false}}})",
                  {R"({"name":"Ab","tags":[]})", R"({"name": "Abc", "kind": 7, "tags": []})",
                   R"({"name":"Ab","kind":null,"tags":[{"on":true},{"on":false}]})",
                   "{\n  \"name\": \"Ab\",\n  \"tags\": [\n    {\"on\": true}\n  ]\n}"},
                  {R"({"name":"ab","tags":[]})", R"({"name":"Ab"})", R"({"tags":[],"name":"Ab"})",
                   R"({"name":"Ab","kind":"c","tags":[]})", R"({"name":"Ab","tags":[{}]})",
                   R"({"name":"Ab","tags":[{"on":true},{"on":true},{"on":true}]})",
                   R"({"name":"Ab","tags":[],"more":1})"});
}

TEST(Grammar, SchemasThatReferToThemselves) {
  expect_language(
      Kind::kJsonSchema,
      R"({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "required": ["v"],
          "properties": {"v": {"type": "integer", "minimum": 0, "maximum": 9},
                         "left": {"$ref": "#/$defs/tree"}}, "additionalProperties": false}}})",
      {R"({"v":1})", R"({"v":1,"left":{"v":2,"left":{"v":3}}})"},
      {R"({"v":10})", R"({"left":{"v":2}})", R"({"v":1,"left":3})"});
}

TEST(Grammar, AnyJsonAndAnyObject) {
  expect_language(Kind::kJsonSchema, "{}", {"1", "null", R"(["a",{"b":[]}])", "\"x\""},
                  {"", "x", "[1", "01"});
  expect_language(Kind::kJsonSchema, "true", {"-1.5e3"}, {"+1"});
  expect_language(Kind::kJsonObject, "", {"{}", R"({"a": [1, 2]})"}, {"[]", "1", "{", R"({"a"})"});
}

TEST(Grammar, BlanksInJsonAreBounded) {
  const std::string schema = R"({"type":"array","items":{"type":"integer"}})";
  const std::string most(32, ' ');
  expect_language(Kind::kJsonSchema, schema, {"[1, 2]", "[\n" + most + "1\n]", "[1,2]"},
                  {"[  1]", "[\n\n1]", "[\n" + most + " 1]", "[ \n1]", "\n[1]"});
  // Also where they are a part of another grammar, and where a schema asks for more of them.
  expect_language(Kind::kLark, "start: \"%json\" %json " + schema + " // %json {\n",
                  {"%json[1, 2]"}, {"%json[  1]", "%json[\n\n1]"});
  expect_language(Kind::kJsonSchema, R"({"type":"array","x-guidance":{"whitespace_pattern":" *"}})",
                  {"[ 1]"}, {"[   1]"});
}

TEST(Grammar, RegularExpressionsMatchAsAWhole) {
  expect_language(Kind::kRegex, "[0-9]{2,3}", {"12", "123"}, {"1", "1234", "a12"});
  expect_language(Kind::kRegex, "^(a|b)/c$", {"a/c", "b/c"}, {"a", "^a/c"});
  expect_language(Kind::kRegex, R"(a\$)", {"a$"}, {"a"});
  expect_language(Kind::kRegex, "(ä|日本)+", {"ä", "日本ä"}, {"a", "日"});
}

TEST(Grammar, ChoicesMayBeginOneAnother) {
  expect_language(Kind::kChoice, R"(["yes", "yesterday", "\"q\" \n\u007f", "ja"])",
                  {"yes", "yesterday", "\"q\" \n\x7f", "ja"}, {"y", "yester", "no", ""});
}

TEST(Grammar, Lark) {
  const std::string source = R"lark(
start: expr
expr: term (("+" | "-") term)*
term: NUMBER | "(" expr ")"
NUMBER: /[0-9]+/
)lark";
  expect_language(Kind::kLark, source, {"1", "1+22", "(1-(2+3))"}, {"", "1+", "(1", "1)"});
  const auto grammar = compiled(Kind::kLark, "start: \"a\" <|end|> \"b\"");
  const auto matcher = grammar->matcher();
  EXPECT_TRUE(matcher->advance('a'));
  EXPECT_FALSE(matcher->may_end());
  EXPECT_TRUE(allows(mask_of(*matcher), kEnd));
}

// llama.cpp's own grammar of JSON.
constexpr const char* kJsonGbnf = R"gbnf(
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
)gbnf";

TEST(Grammar, GbnfOfLlamaCpp) {
  expect_language(Kind::kLark, kJsonGbnf,
                  {"{}", R"({"a":1})", "{\n  \"a\": [true, {\"b\\n\": -1.5e3}, \"\\u00e4\"]\n}"},
                  {"[]", "{", R"({"a":})", R"({"a":tru})", R"({a:1})", R"({"a": 01})"});
}

TEST(Grammar, GbnfThatIsRegularIsMatchedAsAWhole) {
  // A lexer that cut it finer would never take "endx" for letters.
  expect_language(Kind::kLark, "root ::= [a-z]* \"end\"", {"end", "endxend", "aend"}, {"en", "x"});
  expect_language(Kind::kLark, "root ::= a | b\na ::= \"x\"{2,3}\nb ::= 'y'+ .?",
                  {"xx", "xxx", "y", "yy", "yyz"}, {"x", "xxxx", ""});
  expect_language(Kind::kLark, "root ::= \"(\" root? \")\" | [\\u00e4-\\u00f6]",
                  {"()", "(())", "(ä)"}, {"(", "a", "(()"});
}

TEST(Grammar, WhatIsWrongIsSaidInWords) {
  expect_refused(Kind::kJsonSchema, "{", "not JSON");
  expect_refused(Kind::kJsonSchema, "3", "not a JSON object");
  expect_refused(Kind::kJsonSchema, "false", "no JSON is valid");
  expect_refused(Kind::kJsonSchema, R"({"type":"array","uniqueItems":true,"items":{}})",
                 "uniqueItems");
  expect_refused(Kind::kJsonSchema, R"({"not":{"type":"string"}})", "not");
  expect_refused(Kind::kJsonSchema, R"({"$ref":"https://example.com/a.json"})", "example.com");
  expect_refused(Kind::kJsonSchema, R"({"type":"string","minLength":5,"maxLength":2})",
                 "minLength");
  expect_refused(Kind::kRegex, "(", "regex");
  expect_refused(Kind::kChoice, "[]", "nothing to choose");
  expect_refused(Kind::kChoice, R"(["a",3])", "array of strings");
  expect_refused(Kind::kLark, "start: other", "other");
  expect_refused(Kind::kLark, "start: %json {", "%json");
  expect_refused(Kind::kLark, "root ::= \"a\" other", "no rule named other");
  expect_refused(Kind::kLark, "start ::= \"a\"", "no rule named root");
  expect_refused(Kind::kLark, "root ::= \"a\n", "line 1");
  expect_refused(Kind::kLark, "root ::= [a-", "a character");
  expect_refused(Kind::kLark, "", "");
}

TEST(Grammar, BombsAreRefusedAtOnce) {
  const auto begin = std::chrono::steady_clock::now();
  const auto repeated = [](const std::string& part, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += part;
    return text;
  };
  for (const char* bracket : {"(", "[", "{"}) {
    expect_refused(Kind::kRegex, repeated(bracket, 30'000), "deep");
    expect_refused(Kind::kLark, "start: " + repeated(bracket, 30'000), "deep");
    expect_refused(Kind::kLark, "root ::= " + repeated(bracket, 30'000), "deep");
    expect_refused(Kind::kJsonSchema, repeated(bracket, 30'000), "deep");
  }
  expect_refused(Kind::kJsonSchema, repeated("{\"items\":", 200) + "{}" + repeated("}", 200),
                 "recursion limit");
  expect_refused(Kind::kRegex, repeated("a", 300'000), "bytes");
  expect_refused(Kind::kRegex, "a" + repeated("?", 30'000), "invalid regex");
  expect_refused(Kind::kLark, "root ::= \"a\"" + repeated("+", 30'000), "Expected value");
  // What looks like one, and is none: states are made where an answer comes to them.
  std::string chain = "start: r0\n";
  for (int i = 0; i < 9'000; ++i) chain += fmt::format("r{}: \"a\" r{}\n", i, i + 1);
  for (const auto& [kind, source] : std::vector<std::pair<Kind, std::string>>{
           {Kind::kRegex, "(((((a{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}b){1000}c"},
           {Kind::kLark, "start: A{1,1000000000}\nA: \"a\" | \"b\""},
           {Kind::kLark, chain + "r9000: \"b\"\n"},
           {Kind::kJsonSchema, R"({"type":"string","minLength":1000000,"maxLength":2000000})"}})
    EXPECT_EQ(refusal(kind, source), "") << source.substr(0, 80);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(took.count(), 60.0);
}

int64_t resident_mib() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE) >> 20;
}

int64_t num_threads() {
  namespace fs = std::filesystem;
  return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator());
}

// Lexers whose states nobody could look through: each is refused by a count, whatever the clock
// says, and nothing of it is left behind, so that the next one is compiled.
TEST(Grammar, LexersOfTooManyStatesEndByThemselves) {
  std::vector<std::pair<Kind, std::string>> nasty = {
      {Kind::kLark, "start: A\nA: /(a{101})+/ & /(a{103})+/ & /(a{107})+/ & /(a{109})+b?/\n"},
      // "y" is one, so that only the step after "x" has to look for long.
      {Kind::kLark, "start: A\nA: /y|x(a{101})+/ & /y|x(a{103})+/ & /y|x(a{107})+/\n"},
      {Kind::kJsonSchema, R"({"type":"string","pattern":"(a|b)*a(a|b){200}c","minLength":500})"},
      {Kind::kJsonSchema, R"({"allOf":[{"type":"integer","multipleOf":9967},
                                       {"type":"integer","multipleOf":9973}]})"},
      {Kind::kJsonSchema, R"({"patternProperties":{"^(a{101})+$":{},"^(a{103})+$":{}}})"}};
  for (int i = 0; i < 8; ++i)
    nasty.emplace_back(Kind::kJsonSchema,
                       fmt::format(R"({{"type":"integer","multipleOf":{}}})", 9'999'991 + 2 * i));
  std::string allof;
  for (int i = 0; i < 12; ++i)
    allof += fmt::format(R"({}{{"anyOf":[{{"minimum":{}}},{{"maximum":{}}},{{"minimum":{}}}]}})",
                         i == 0 ? "" : ",", i, 100 - i, 50 + i);
  nasty.emplace_back(Kind::kJsonSchema, R"({"type":"integer","allOf":[)" + allof + "]}");
  compiled(Kind::kJsonSchema, "{}");
  const int64_t threads = num_threads(), resident = resident_mib();
  for (const auto& [kind, source] : nasty) {
    const std::string said = refusal(kind, source);
    EXPECT_NE(said, "") << source;
    EXPECT_EQ(said.find("too long"), std::string::npos) << source << said;
    EXPECT_EQ(said.find("stuck"), std::string::npos) << source << said;
  }
  EXPECT_LE(num_threads(), threads);  // those of earlier tests may end meanwhile
  EXPECT_LT(resident_mib() - resident, 256);  // each may have had 64
  EXPECT_EQ(refusal(Kind::kJsonSchema, R"({"type":"boolean"})"), "");
}

TEST(Grammar, MultiplesUpToABoundThatIsNamed) {
  expect_refused(Kind::kJsonSchema, R"({"type":"integer","multipleOf":9999991})", "100000");
  expect_refused(Kind::kJsonSchema, R"({"items":[{"multipleOf":604800}]})", "multipleOf 604800");
  expect_refused(Kind::kJsonSchema, R"({"multipleOf":0.0000001})", "6 digits may stand behind");
  expect_refused(Kind::kJsonSchema, R"({"multipleOf":1e300})", "up to 400000000");
  expect_refused(Kind::kLark, R"(start: %json {"multipleOf":4000000001})", "up to 100000");
  // A prime, masks of its answers included; a day's seconds; an hour's; cents.
  expect_language(Kind::kJsonSchema, R"({"type":"integer","multipleOf":9973})",
                  {"0", "9973", "-19946", "99730000", "123126658"}, {"9974", "1"});
  expect_language(Kind::kJsonSchema, R"({"type":"integer","multipleOf":86400})",
                  {"0", "86400", "1764547200"}, {"86401", "43200"});
  expect_language(Kind::kJsonSchema, R"({"type":"integer","multipleOf":3600})",
                  {"3600", "36000000"}, {"600"});
  expect_language(Kind::kJsonSchema, R"({"type":"integer","multipleOf":1000000})", {"17000000"},
                  {"17000001"});
  expect_language(Kind::kJsonSchema, R"({"type":"number","multipleOf":0.01})", {"0.25", "7"},
                  {"0.255"});
  // Values are no schemas.
  expect_language(Kind::kJsonSchema, R"({"const":{"multipleOf":9999991}})",
                  {R"({"multipleOf":9999991})"}, {"1"});
}

TEST(Grammar, TokensAreTakenBack) {
  const auto grammar = compiled(Kind::kJsonSchema, R"({"type":"object","properties":{
      "a":{"type":"boolean"}},"required":["a"],"additionalProperties":false})");
  const auto matcher = grammar->matcher();
  const Mask first = mask_of(*matcher);
  EXPECT_EQ(follow(*matcher, R"({"a)"), 3U);
  const Mask before = mask_of(*matcher);
  EXPECT_TRUE(matcher->advance(257));   // ":
  EXPECT_FALSE(matcher->advance('x'));  // changes nothing
  EXPECT_TRUE(matcher->advance(256));   // true
  EXPECT_TRUE(matcher->advance('}'));
  EXPECT_TRUE(matcher->must_end());
  EXPECT_TRUE(matcher->advance(kEnd));
  EXPECT_FALSE(matcher->advance(kEnd));
  EXPECT_EQ(mask_of(*matcher), Mask(before.size()));
  matcher->take_back(1);
  EXPECT_TRUE(matcher->must_end());
  Mask only_end((kVocabSize + 31) / 32);
  only_end[kEnd / 32] = 1u << (kEnd % 32);
  EXPECT_EQ(mask_of(*matcher), only_end);
  matcher->take_back(3);
  EXPECT_FALSE(matcher->must_end());
  EXPECT_EQ(mask_of(*matcher), before);
  matcher->take_back(3);
  EXPECT_EQ(mask_of(*matcher), first);
}

TEST(Grammar, AnotherOneStandsInAGrammar) {
  const std::string lark = R"lark(start: "<" inner ">" rest
inner: %grammar "start: rest \"!\" %json {\"enum\": [1]}\nrest: \"x\" // }\n"
rest: %grammar "root ::= \"{\" root? \"}\"" // %grammar
)lark";
  expect_language(Kind::kLark, lark, {"<x!1>{}", "<x!1>{{}}"}, {"<x!1>", "<x!2>{}", "<x!1>{}}"});
  expect_refused(Kind::kLark, "start: %grammar {}", "not a string");
  expect_refused(Kind::kLark, "start: %grammar", "nothing follows %grammar");
  expect_refused(Kind::kLark, "start: %grammar \"start: other\"", "other");
  std::string deep;  // which only the string within shows
  for (int i = 0; i < 30'000; ++i) deep += "\\u0028";
  expect_refused(Kind::kLark, "start: %grammar \"root ::= " + deep + "\"", "deep");
  expect_refused(Kind::kLark, "start: %grammar \"start: " + deep + "\"", "deep");
}

// What a model thinks before its answer is free; the answer is not.
TEST(Grammar, AFrameStandsAroundAnyKindOfGrammar) {
  const std::string opened =
      "start: thought BREAKS @answer\nBREAKS: /\\n{0,2}/\n"
      "thought[suffix=\"</t>\"]: /(?s:.*)/\n";
  const std::string perhaps =
      "start: (\"<t>\" thought BREAKS)? @answer\nBREAKS: /\\n{0,2}/\n"
      "thought[suffix=\"</t>\"]: /(?s:.*)/\n";
  const std::vector<std::pair<GrammarSpec, std::string>> specs = {
      {{Kind::kJsonSchema, R"({"type":"array","items":{"type":"integer"}})"}, "[1, 2]"},
      {{Kind::kJsonObject, ""}, R"({"a": [null]})"},
      {{Kind::kRegex, "[ab]+c"}, "abac"},
      {{Kind::kChoice, R"(["yes","no"])"}, "no"},
      {{Kind::kLark, "start: thing \"!\"\nthing: \"x\" | \"y\""}, "y!"},
      {{Kind::kLark, "root ::= \"(\" root? \")\""}, "(())"}};
  for (const auto& [spec, text] : specs) {
    GrammarSpec framed = spec;
    framed.frame = opened;
    const auto must = compiler().compile(framed);
    framed.frame = perhaps;
    const auto may = compiler().compile(framed);
    for (const std::string thought : {"", "I < you\n{\"", "<t>"}) {
      EXPECT_TRUE(matches(*must, thought + "</t>\n\n" + text)) << text;
      EXPECT_TRUE(matches(*may, "<t>" + thought + "</t>" + text)) << text;
    }
    EXPECT_FALSE(matches(*must, text)) << text;
    EXPECT_TRUE(matches(*may, text)) << text;
    EXPECT_FALSE(matches(*must, "a</t>~" + text)) << text;
    EXPECT_FALSE(matches(*may, "a</t>" + text)) << text;
  }
}

TEST(Grammar, GuessesAreTakenBackAcrossTheEndOfAThought) {
  const auto matcher = compiler()
                           .compile({Kind::kRegex, "[0-9]+",
                                     "start: thought @answer\n"
                                     "thought[suffix=\"</t>\"]: /(?s:.*)/\n"})
                           ->matcher();
  EXPECT_EQ(follow(*matcher, "hm</t"), 5U);
  const Mask thinking = mask_of(*matcher);
  EXPECT_EQ(follow(*matcher, ">12"), 3U);
  EXPECT_FALSE(matcher->advance('x'));
  EXPECT_TRUE(matcher->may_end());
  matcher->take_back(3);
  EXPECT_EQ(mask_of(*matcher), thinking);
  EXPECT_EQ(follow(*matcher, "x, no</t>7"), 10U);
  EXPECT_TRUE(matcher->may_end());
}

// Where two ways come to equally many rows and the same state of the lexer, what follows differs.
TEST(Grammar, AMaskIsNotThatOfAWayTakenBack) {
  const auto grammar = compiled(Kind::kLark, R"lark(
start: "x" NUMBER "p" | "y" NUMBER "q"
NUMBER: /[0-9]+/
)lark");
  const auto matcher = grammar->matcher();
  EXPECT_EQ(follow(*matcher, "x1"), 2U);
  EXPECT_TRUE(allows(mask_of(*matcher), 'p'));
  matcher->take_back(2);
  EXPECT_EQ(follow(*matcher, "y1"), 2U);
  EXPECT_FALSE(allows(mask_of(*matcher), 'p'));
  EXPECT_TRUE(allows(mask_of(*matcher), 'q'));
}

int32_t random_id(const Mask& mask, uint32_t& random) {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id <= kEnd; ++id) {
    if (allows(mask, id)) ids.push_back(id);
  }
  random = random * 1664525u + 1013904223u;
  return ids.at((random >> 8) % ids.size());
}

TEST(Grammar, WhatAnswersTeachLaterOnesShowsInNoMask) {
  for (const GrammarSpec& spec :
       {GrammarSpec{Kind::kRegex, "([A-Z][a-z]{1,9} ){3,20}[.]"},
        GrammarSpec{Kind::kJsonSchema, R"({"type": "array", "minItems": 9, "items": {
            "type": "object", "required": ["name"], "properties": {
              "name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}}}})"}}) {
    const auto grammar = compiler().compile(spec);
    EXPECT_EQ(grammar->learned_bytes(), 0);
    for (uint32_t way = 1; way <= 8; ++way) {
      const auto fresh = compiler().compile(spec);
      const auto one = grammar->matcher(), other = fresh->matcher();
      uint32_t random = way;
      for (int i = 0; i < 60 && !one->must_end(); ++i) {
        const Mask mask = mask_of(*one);
        ASSERT_EQ(mask, mask_of(*other)) << spec.source << " way " << way << " token " << i;
        const int32_t id = random_id(mask, random);
        ASSERT_TRUE(one->advance(id));
        ASSERT_TRUE(other->advance(id));
        if (i % 7 != 6) continue;
        one->take_back(3);
        other->take_back(3);
      }
    }
    EXPECT_GT(grammar->learned_bytes(), 0) << spec.source;
    EXPECT_EQ(mask_of(*grammar->matcher()), mask_of(*compiler().compile(spec)->matcher()));
  }
}

TEST(Grammar, CopiesGoTheirOwnWay) {
  const auto grammar = compiled(Kind::kRegex, "ab|ac");
  const auto one = grammar->matcher();
  EXPECT_TRUE(one->advance('a'));
  const auto other = one->clone();
  EXPECT_TRUE(one->advance('b'));
  EXPECT_FALSE(one->advance('c'));
  EXPECT_TRUE(other->advance('c'));
  EXPECT_TRUE(grammar->matcher()->advance('a'));
  EXPECT_GT(grammar->bytes(), 0);
}

TEST(Grammar, IdsOutsideTheVocabularyAreForbidden) {
  const auto matcher = compiled(Kind::kRegex, "(?s:.*)")->matcher();
  const Mask mask = mask_of(*matcher);
  for (int32_t id = kEnd + 1; id < static_cast<int32_t>(mask.size()) * 32; ++id)
    EXPECT_FALSE(allows(mask, id)) << id;
  EXPECT_FALSE(matcher->advance(-1));
  EXPECT_FALSE(matcher->advance(1 << 30));
  EXPECT_FALSE(matcher->advance(0xff));  // no text has this byte
}

TEST(Grammar, ARunawayGrammarEndsItsOwnMatcherAlone) {
  // The lexer has to remember which of the last 24 letters were an a: 2^24 states.
  const auto grammar = compiled(Kind::kRegex, "(a|b)*a(a|b){24}c");
  const auto one = grammar->matcher();
  const auto other = grammar->matcher();
  bool failed = false;
  uint32_t bits = 1;
  try {
    for (int i = 0; i < 200'000 && !failed; ++i) {
      bits = bits * 1664525u + 1013904223u;
      ASSERT_TRUE(one->advance((bits >> 30) & 1 ? 'a' : 'b'));
      static_cast<void>(mask_of(*one));
    }
  } catch (const Error& error) {
    failed = true;
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  }
  EXPECT_TRUE(failed);
  EXPECT_THROW(mask_of(*one), Error);
  EXPECT_EQ(follow(*other, "abab"), 4U);
}

// As many answers as run at a time have a matcher each: together they are bounded, and whoever
// finds no room is told to come again.
TEST(Grammar, MatchersShareABoundOfMemory) {
  constexpr int64_t kMost = 4 << 20;
  const auto few =
      make_grammar_compiler(ByteTokenizer(), kVocabSize, std::vector<int32_t>{kEnd}, kMost);
  const auto grammar = few->compile({Kind::kJsonObject, ""});
  std::vector<std::unique_ptr<GrammarMatcher>> matchers;
  std::optional<Error> refused;
  while (!refused && matchers.size() < 100'000) {
    try {
      matchers.push_back(matchers.size() % 2 == 0 ? grammar->matcher() : matchers[0]->clone());
    } catch (const Error& error) {
      refused = error;
    }
  }
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->kind(), ErrorKind::kBusy);
  EXPECT_NE(std::string(refused->what()).find("4 MiB are shared"), std::string::npos);
  // A matcher takes no less than its mask and no more than its grammar.
  EXPECT_GT(static_cast<int64_t>(matchers.size()), kMost / std::max<int64_t>(1, grammar->bytes()));
  EXPECT_LT(matchers.size(), 100'000u);
  EXPECT_EQ(follow(*matchers[0], R"({"a": 1})"), 8U);  // those that are there go on
  matchers.resize(matchers.size() / 2);
  EXPECT_NE(grammar->matcher(), nullptr);  // and what they took is given back
}

TEST(Grammar, WhoGrowsBeyondTheSharedBoundIsEnded) {
  const auto few = make_grammar_compiler(ByteTokenizer(), kVocabSize, std::vector<int32_t>{kEnd},
                                         /*matcher_bytes=*/6 << 20);
  const auto other = few->compile({Kind::kRegex, "(a|b)*"})->matcher();
  const auto one = few->compile({Kind::kRegex, "(a|b)*a(a|b){24}c"})->matcher();
  std::optional<Error> ended;
  uint32_t bits = 1;
  for (int i = 0; i < 200'000 && !ended; ++i) {
    bits = bits * 1664525u + 1013904223u;
    try {
      ASSERT_TRUE(one->advance((bits >> 30) & 1 ? 'a' : 'b'));
      static_cast<void>(mask_of(*one));
    } catch (const Error& error) {
      ended = error;
    }
  }
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->kind(), ErrorKind::kBusy);
  EXPECT_THROW(mask_of(*one), Error);
  EXPECT_EQ(follow(*other, "abab"), 4U);
}

}  // namespace
}  // namespace weft::text
