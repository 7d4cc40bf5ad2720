#include "serve/structural_tag.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace weft::serve {
namespace {

using nlohmann::json;
using Ordered = nlohmann::ordered_json;

struct Tag {
  std::string begin, end, schema;
};

bool is_special(std::string_view text) {
  return text.size() > 4 && text.starts_with("<|") && text.ends_with("|>") &&
         text.find_first_of(" \"\n") == std::string_view::npos;
}

// A mark in a rule; nothing for an empty one.
std::string mark(const std::string& text) {
  if (is_special(text)) return text;
  return text.empty() ? "" : json(text).dump();
}

// written: the same object, in the order of its author.
std::string schema_of(const Fields& fields, const Ordered& written, const char* name) {
  const json* value = fields.find(name);
  if (value == nullptr || !value->is_object()) fields.refuse(name, "a JSON schema is expected");
  return written.at(name).dump();
}

Tag read_structure(const Fields& fields, const Ordered& written) {
  return {fields.text("begin").value_or(""), fields.text("end").value_or(""),
          schema_of(fields, written, "schema")};
}

Tag read_tag(const Fields& fields, const Ordered& written) {
  const json* content = fields.find("content");
  if (content == nullptr) fields.refuse("content", "an object is expected");
  const Fields inner = fields.inside(*content, "content");
  if (inner.text("type").value_or("") != "json_schema")
    inner.refuse("type", "json_schema is expected");
  return {fields.text("begin").value_or(""), fields.text("end").value_or(""),
          schema_of(inner, written.at("content"), "json_schema")};
}

class Writer {
 public:
  explicit Writer(std::vector<std::string> triggers) : triggers_(std::move(triggers)) {
    bodies_.resize(triggers_.size());
  }

  // False where no trigger begins it.
  bool add(const Tag& tag) {
    for (size_t i = 0; i < triggers_.size(); ++i) {
      if (!tag.begin.starts_with(triggers_[i])) continue;
      rules_ += fmt::format("schema_{}: %json {}\n", num_tags_, tag.schema);
      bodies_[i] +=
          fmt::format("{}{} schema_{} {}", bodies_[i].empty() ? "" : " | ",
                      mark(tag.begin.substr(triggers_[i].size())), num_tags_, mark(tag.end));
      ++num_tags_;
      return true;
    }
    return false;
  }

  std::string source(bool at_least_one, bool stops) const {
    std::string any, rules = rules_;
    for (size_t i = 0; i < triggers_.size(); ++i) {
      if (bodies_[i].empty()) continue;
      any += fmt::format("{}tag_{} ", any.empty() ? "" : "| ", i);
      rules += fmt::format("tag_{0}: head_{0} ({1})\n", i, bodies_[i]);
      rules += is_special(triggers_[i])
                   ? fmt::format("head_{}: /(?s:.*)/ {}\n", i, triggers_[i])
                   : fmt::format("head_{}[suffix={}]: /(?s:.*)/\n", i, json(triggers_[i]).dump());
    }
    if (stops)
      return fmt::format("start: {}\n{}any: {}\n{}", at_least_one ? "any" : "any | tail",
                         at_least_one ? "" : "tail: /(?s:.*)/\n", any, rules);
    return fmt::format("start: ({}){} /(?s:.*)/\n{}", any, at_least_one ? "+" : "*", rules);
  }

 private:
  std::vector<std::string> triggers_, bodies_;  // bodies_: what may follow each
  std::string rules_;
  size_t num_tags_ = 0;
};

text::GrammarSpec read(const Fields& fields, const char* list,
                       Tag (*read_one)(const Fields&, const Ordered&)) {
  const std::vector<std::string> triggers =
      fields.texts("triggers").value_or(std::vector<std::string>());
  const json* tags = fields.find(list);
  if (triggers.empty()) fields.refuse("triggers", "a list of texts is expected");
  if (tags == nullptr || !tags->is_array() || tags->empty())
    fields.refuse(list, "a list of tags is expected");
  if (tags->size() > kMostTags || triggers.size() > kMostTags)
    fields.fail(list, fmt::format("{} tags are given, above {}", tags->size(), kMostTags));
  for (const std::string& trigger : triggers)
    if (trigger.empty()) fields.refuse("triggers", "texts that are not empty are expected");
  Writer writer(triggers);
  const Ordered written = parse_ordered_json(fields.source(list), list);
  for (size_t i = 0; i < tags->size(); ++i) {
    const Fields inner = fields.inside((*tags)[i], fmt::format("{}[{}]", list, i));
    if (!writer.add(read_one(inner, written.at(i))))
      inner.refuse("begin", "a text that begins with a trigger is expected");
  }
  return {text::GrammarSpec::Kind::kLark,
          writer.source(fields.flag("at_least_one").value_or(false),
                        fields.flag("stop_after_first").value_or(false))};
}

}  // namespace

text::GrammarSpec read_structural_tag(const Fields& fields) {
  if (fields.text("type").value_or("structural_tag") != "structural_tag")
    fields.refuse("type", "structural_tag is expected");
  const json* format = fields.find("format");
  if (format == nullptr) return read(fields, "structures", read_structure);
  const Fields inner = fields.inside(*format, "format");
  const std::string type = inner.text("type").value_or("");
  if (type != "triggered_tags")
    inner.fail(
        "type",
        fmt::format("a structural_tag of format '{}' cannot be honoured", type.substr(0, 64)),
        "triggered_tags with schemas can; grammar takes all others");
  return read(inner, "tags", read_tag);
}

}  // namespace weft::serve
