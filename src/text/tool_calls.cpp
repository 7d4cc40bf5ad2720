#include "text/tool_calls.h"

#include <array>
#include <utility>

#include "text/call_machine.h"

namespace weft::text {
namespace {

using Kind = AnswerPart::Kind;

struct FormatRow {
  ToolFormat format;
  std::string_view name, marker;
};
constexpr std::array kFormats = {
    FormatRow{ToolFormat::kHermes, "hermes", "<tool_call>"},
    FormatRow{ToolFormat::kLlama3Json, "llama3_json", "<|python_tag|>"},
    FormatRow{ToolFormat::kMistral, "mistral", "[TOOL_CALLS]"},
    FormatRow{ToolFormat::kMistralNamed, "mistral_named", "[TOOL_CALLS]"},
    FormatRow{ToolFormat::kPythonic, "pythonic", "```tool_code"},
    FormatRow{ToolFormat::kFunctionGemma, "functiongemma", "<start_function_call>"},
};

// vLLM's names of parsers that read what one of these reads.
struct Alias {
  std::string_view name;
  ToolFormat format;
};
constexpr std::array kAliases = {
    Alias{"llama4_json", ToolFormat::kLlama3Json},
    Alias{"llama4_pythonic", ToolFormat::kPythonic},
};

const FormatRow& row_of(ToolFormat format) { return kFormats[static_cast<size_t>(format)]; }

}  // namespace

std::string_view name(ToolFormat format) { return row_of(format).name; }
std::string_view tool_marker(ToolFormat format) { return row_of(format).marker; }

std::optional<ToolFormat> find_tool_format(std::string_view name) {
  for (const FormatRow& row : kFormats)
    if (row.name == name) return row.format;
  for (const Alias& alias : kAliases)
    if (alias.name == name) return alias.format;
  return {};
}

std::vector<std::string> tool_format_names() {
  std::vector<std::string> names;
  for (const FormatRow& row : kFormats) names.emplace_back(row.name);
  for (const Alias& alias : kAliases) names.emplace_back(alias.name);
  return names;
}

std::unique_ptr<ToolCallParser> ToolCallParser::make(ToolFormat format,
                                                     std::vector<std::string> names) {
  const bool literal = format == ToolFormat::kPythonic || format == ToolFormat::kFunctionGemma;
  return literal ? make_literal_calls(format, std::move(names))
                 : make_json_calls(format, std::move(names));
}

ToolAnswer parse_tool_calls(ToolFormat format, std::string_view text,
                            std::vector<std::string> names) {
  const auto parser = ToolCallParser::make(format, std::move(names));
  AnswerParts parts;
  parser->push(text, parts);
  parser->finish(parts);
  ToolAnswer answer;
  ToolCall call;
  uint64_t begin = 0;
  for (const AnswerPart& part : parts) {
    if (part.kind == Kind::kContent) {
      answer.content += part.text;
    } else if (part.kind == Kind::kCallBegin) {
      call = {part.text, {}};
      begin = part.offset;
    } else if (part.kind == Kind::kCallArguments) {
      call.arguments += part.text;
    } else if (part.complete) {
      answer.calls.push_back(call);
    } else {
      answer.content += text.substr(begin, part.offset - begin);
    }
  }
  return answer;
}

}  // namespace weft::text
