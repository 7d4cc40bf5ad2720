#include "serve/tool_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "serve/lark_marks.h"
#include "text/literal_arguments.h"

namespace weft::serve {
namespace {

using json = nlohmann::ordered_json;
using text::ToolFormat;

constexpr size_t kMostOptional = 128;

// A schema that lists properties and says nothing of others wants no others; a model that is held
// to anything would invent them.
json closed(json schema) {
  const bool open = schema.contains("additionalProperties") ||
                    schema.contains("patternProperties") || schema.contains("allOf") ||
                    schema.contains("anyOf") || schema.contains("oneOf") || schema.contains("$ref");
  if (schema.contains("properties") && !open) schema["additionalProperties"] = false;
  return schema;
}

class Writer {
 public:
  Writer(const text::Tokenizer& tokenizer, ToolFormat format)
      : tokenizer_(tokenizer), format_(format) {}

  std::string mark(std::string_view text) const { return lark_mark(tokenizer_, text); }
  bool is_special(std::string_view text) const { return mark(text).starts_with('<'); }

  void rule(const std::string& name, const std::string& body) {
    rules_ += fmt::format("{}: {}\n", name, body);
  }
  void rule_until(std::string_view mark, const std::string& name) {
    rules_ += lark_text_until(tokenizer_, mark, name);
  }
  std::string source(const std::string& start) const {
    return fmt::format("start: {}\n{}", start, rules_);
  }

  // Rules for one call of each tool, without the marks around it; the rule's name.
  std::string call(const std::vector<Tool>& tools) {
    std::string any;
    for (size_t i = 0; i < tools.size(); ++i) {
      const std::string name = fmt::format("call_{}", i);
      rule(name, one_call(tools[i], i));
      any += fmt::format("{}{}", i > 0 ? " | " : "", name);
    }
    rule("call", any);
    return "call";
  }

 private:
  std::string one_call(const Tool& tool, size_t i) {
    const json schema = closed(json::parse(tool.schema));
    if (format_ == ToolFormat::kPythonic) return pythonic(tool, schema, i);
    if (format_ == ToolFormat::kFunctionGemma) return gemma(tool, schema, i);
    const std::string arguments = fmt::format("args_{}", i);
    rule(arguments, fmt::format("%json {}", schema.dump()));
    if (format_ == ToolFormat::kMistralNamed) {
      const std::string args = is_special("[ARGS]") ? mark("[ARGS]") : "";
      return fmt::format("{} {} {}", lark_literal(tool.name), args, arguments);
    }
    const char* key = format_ == ToolFormat::kLlama3Json ? "parameters" : "arguments";
    const std::string head = fmt::format("{{\"name\": \"{}\", \"{}\": ", tool.name, key);
    return fmt::format("{} {} \"}}\"", lark_literal(head), arguments);
  }

  // f(a=1, b=2): the required ones in their order, then what is wanted of the others. A value is
  // JSON, which Python's literals differ from in three words that are read all the same. The rules
  // grow with the square of the optional ones.
  std::string pythonic(const Tool& tool, const json& schema, size_t i) {
    const json properties = schema.value("properties", json::object());
    const json required = schema.value("required", json::array());
    std::unordered_set<std::string> names;
    for (const json& name : required)
      if (name.is_string()) names.insert(name.get<std::string>());
    const auto is_required = [&](const std::string& key) { return names.contains(key); };
    std::vector<std::string> needed, wanted;
    for (const auto& [key, value] : properties.items()) {
      if (!text::can_be_keyword(key))
        throw Error(ErrorKind::kUsage,
                    fmt::format("tools: a parameter of '{}' has a name that no call in the format "
                                "'{}' can have: {}",
                                tool.name, text::name(format_), json(key.substr(0, 64)).dump()));
      (is_required(key) ? needed : wanted).push_back(key);
    }
    if (wanted.size() > kMostOptional)
      throw Error(ErrorKind::kUsage,
                  fmt::format("tools: '{}' has {} optional parameters; a call that has to be made "
                              "takes at most {}",
                              tool.name, wanted.size(), kMostOptional));
    std::string body = lark_literal(tool.name + "(");
    size_t n = 0;
    const auto pair = [&](const std::string& key) {
      const std::string name = fmt::format("arg_{}_{}", i, n++);
      rule(name, fmt::format("{} {}", lark_literal(key + "="),
                             value_rule(schema, properties[key], name)));
      return name;
    };
    for (size_t k = 0; k < needed.size(); ++k)
      body += fmt::format(" {} {}", k > 0 ? "\", \"" : "", pair(needed[k]));
    // Without a required one, the first that is there has no comma before it.
    std::string with_comma, first;
    for (size_t k = wanted.size(); k-- > 0;) {
      const std::string name = pair(wanted[k]);
      const std::string rest = with_comma;
      first = first.empty() ? name + rest : fmt::format("({}{} | {})", name, rest, first);
      with_comma = fmt::format(" (\", \" {})?{}", name, rest);
    }
    if (!needed.empty()) {
      body += with_comma;
    } else if (!first.empty()) {
      body += fmt::format(" {}?", first);
    }
    return body + " \")\"";
  }

  // A property by itself keeps what the whole schema defines for its references.
  std::string value_rule(const json& schema, const json& property, const std::string& name) {
    json value = property.is_object() ? property : json::object();
    for (const char* key : {"$defs", "definitions"})
      if (schema.contains(key)) value[key] = schema[key];
    rule(name + "_value", fmt::format("%json {}", value.dump()));
    return name + "_value";
  }

  std::string gemma(const Tool& tool, const json& schema, size_t i) {
    std::string keys;
    const json properties = schema.value("properties", json::object());
    for (const auto& [key, value] : properties.items())
      keys += fmt::format("{}{}", keys.empty() ? "" : " | ", lark_literal(key));
    const std::string open = lark_literal("call:" + tool.name + "{");
    if (keys.empty()) return fmt::format("{} \"}}\"", open);
    if (!std::exchange(has_gemma_values_, true)) add_gemma_values();
    rule(fmt::format("key_{}", i), keys);
    const std::string pair = fmt::format("key_{} \":\" gemma", i);
    const std::string more = fmt::format(" (\",\" {}){{0,{}}}", pair, properties.size() - 1);
    return fmt::format("{} ({}{})? \"}}\"", open, pair, more);
  }

  void add_gemma_values() {
    const std::string escape = mark("<escape>");
    rules_ += fmt::format("gemma: {} GEMMA_TEXT {}", escape, escape) +
              " | GEMMA_NUMBER | \"true\" | \"false\" | \"[\" (gemma (\",\" gemma)*)? \"]\"\n"
              "GEMMA_TEXT: /[^<]*/\nGEMMA_NUMBER: /-?(0|[1-9][0-9]*)(\\.[0-9]+)?/\n";
  }

  const text::Tokenizer& tokenizer_;
  ToolFormat format_;
  std::string rules_;
  bool has_gemma_values_ = false;
};

// All calls of an answer with the marks around them.
std::string calls(Writer& writer, ToolFormat format, const std::vector<Tool>& tools, bool several) {
  const std::string call = writer.call(tools);
  const int more = several ? kMostEnforcedCalls - 1 : 0;
  const auto repeated = [&](const std::string& one, const std::string& separator) {
    return more > 0 ? fmt::format("{} ({}{}){{0,{}}}", one, separator, one, more) : one;
  };
  const std::string marker = writer.mark(text::tool_marker(format));
  switch (format) {
    case ToolFormat::kHermes:
      writer.rule("marked", fmt::format("{} \"\\n\" {} \"\\n\" {}", marker, call,
                                        writer.mark("</tool_call>")));
      return repeated("marked", "\"\\n\" ");
    case ToolFormat::kLlama3Json:  // its template renders one call a message and refuses more
      return call;
    case ToolFormat::kMistral:
      return fmt::format("{} \"[\" {} \"]\"", marker, repeated(call, "\", \" "));
    case ToolFormat::kMistralNamed:
      writer.rule("marked", marker + " " + call);
      return repeated("marked", "");
    case ToolFormat::kPythonic:
      return fmt::format("\"[\" {} \"]\"", repeated(call, "\", \" "));
    case ToolFormat::kFunctionGemma:
      writer.rule("marked",
                  fmt::format("{} {} {}", marker, call, writer.mark("<end_function_call>")));
      return repeated("marked", "");
  }
  return call;
}

// Strict tools that the model may call, or not: what begins like a call has to end as one.
std::optional<text::GrammarSpec> strict_grammar(const ChatTools& tools, ToolFormat format,
                                                Writer& writer) {
  const auto is_strict = [](const Tool& tool) { return tool.strict; };
  const bool marks = format == ToolFormat::kHermes || format == ToolFormat::kMistral ||
                     format == ToolFormat::kMistralNamed;
  if (!marks || std::ranges::none_of(tools.tools, is_strict)) return {};
  const std::string call = writer.call(tools.tools);
  writer.rule_until(text::tool_marker(format), "head");
  std::string body = call;
  if (format == ToolFormat::kHermes)
    body = fmt::format("\"\\n\" {} \"\\n\" {}", call, writer.mark("</tool_call>"));
  if (format == ToolFormat::kMistral)
    body = fmt::format("\"[\" {} (\", \" {}){{0,{}}} \"]\"", call, call, kMostEnforcedCalls - 1);
  const std::string start = fmt::format("(head {}){{0,{}}} /(?s:.*)/", body, kMostEnforcedCalls);
  return text::GrammarSpec{text::GrammarSpec::Kind::kLark, writer.source(start)};
}

}  // namespace

std::optional<text::GrammarSpec> tool_grammar(const ChatTools& tools,
                                              const text::ChatProfile& profile,
                                              const text::Tokenizer& tokenizer) {
  using Choice = ChatTools::Choice;
  if (!tools.may_call() || !profile.tools) return {};
  Writer writer(tokenizer, *profile.tools);
  if (tools.choice == Choice::kAuto) return strict_grammar(tools, *profile.tools, writer);
  std::vector<Tool> callable = tools.tools;
  const bool named = tools.choice == Choice::kNamed;
  if (named) std::erase_if(callable, [&](const Tool& tool) { return tool.name != tools.named; });
  const std::string start = calls(writer, *profile.tools, callable, tools.parallel && !named);
  return text::GrammarSpec{text::GrammarSpec::Kind::kLark, writer.source(start)};
}

}  // namespace weft::serve
