#include "serve/structural_tag.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/lark_pieces.h"
#include "serve/xml_parameters.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using Ordered = nlohmann::ordered_json;
using Piece = LarkPieces::Piece;
using Texts = std::vector<std::string>;

// An object of the request, and the same in the order of its author.
struct Place {
  Fields fields;
  const Ordered* written;

  Place inside(const char* name) const {
    const json* value = fields.find(name);
    if (value == nullptr) fields.refuse(name, "an object is expected");
    return {fields.inside(*value, name), &written->at(name)};
  }
  std::vector<Place> list(const char* name) const {
    const json* values = fields.find(name);
    if (values == nullptr || !values->is_array() || values->empty())
      fields.refuse(name, "a list of objects is expected");
    if (values->size() > kMostTags)
      fields.fail(name,
                  fmt::format("{} has {} entries, above {}", name, values->size(), kMostTags));
    std::vector<Place> places;
    for (size_t i = 0; i < values->size(); ++i)
      places.push_back(
          {fields.inside((*values)[i], fmt::format("{}[{}]", name, i)), &written->at(name).at(i)});
    return places;
  }
};

// What comes behind a format, which free text has to stop at.
struct Tail {
  Piece piece;
  Texts stops;
};

// is_free: it has no end of its own, so the tail is a part of it.
struct Format {
  Piece piece;
  bool is_free = false;
};

Texts texts_of(const Fields& fields, const char* name) {
  Texts texts = fields.texts(name).value_or(Texts());
  if (texts.size() > kMostTags)
    fields.fail(name, fmt::format("{} has {} entries, above {}", name, texts.size(), kMostTags));
  for (const std::string& text : texts)
    if (text.empty()) fields.refuse(name, "texts that are not empty are expected");
  return texts;
}

std::string text_of(const Fields& fields, const char* name) {
  const std::string text = fields.text(name).value_or("");
  if (text.empty()) fields.refuse(name, "a text that is not empty is expected");
  return text;
}

std::string pattern_of(const Fields& fields) {
  const std::string pattern = text_of(fields, "pattern");
  if (!LarkPieces::is_regex(pattern))
    fields.refuse("pattern", "a regular expression is expected, and the last \\ escapes nothing");
  return pattern;
}

Texts joined(Texts texts, const Texts& more) {
  texts.insert(texts.end(), more.begin(), more.end());
  return texts;
}

class Reader {
 public:
  // Of the form with "structures" where there is no format.
  std::string source(const Place& place) {
    if (!place.fields.has("format"))
      return lark_.source(triggered_tags(place, "structures", {}, 1).piece);
    return lark_.source(read(place.inside("format"), {}, kMostFormatDepth).piece);
  }

 private:
  // depth: of formats that may still be inside each other.
  Format read(const Place& place, const Tail& tail, int depth) {
    const Fields& fields = place.fields;
    if (depth == 0)
      fields.fail("type", fmt::format("formats are more than {} deep", kMostFormatDepth));
    const std::string type = fields.text("type").value_or("");
    if (type == "const_string") return {lark_.mark(text_of(fields, "value"))};
    if (type == "json_schema") return {json_schema(place, fields.text("style").value_or("json"))};
    if (type == "qwen_xml_parameter") return {json_schema(place, "qwen_xml")};  // its older name
    if (type == "regex") return {lark_.regex(pattern_of(fields))};
    if (type == "grammar") return {lark_.grammar(text_of(fields, "grammar"))};
    if (type == "any_text") return any_text(fields, tail);
    if (type == "sequence") return sequence(place, tail, depth);
    if (type == "or") return either(place, tail, depth);
    if (type == "optional") return {repeated(place, 0, 1, depth)};
    if (type == "plus") return {repeated(place, 1, std::nullopt, depth)};
    if (type == "star") return {repeated(place, 0, std::nullopt, depth)};
    if (type == "repeat") return {counted(place, depth)};
    if (type == "tag") return {tag(place, depth)};
    if (type == "triggered_tags") return triggered_tags(place, "tags", tail, depth);
    if (type == "dispatch") return dispatch(place, tail, depth);
    if (type == "tags_with_separator") return {separated_tags(place, depth)};
    if (type == "token") return {token(fields)};
    fields.fail(
        "type",
        fmt::format("a structural_tag of format '{}' cannot be honoured", type.substr(0, 64)),
        "const_string, json_schema, regex, grammar, any_text, sequence, or, optional, plus, star, "
        "repeat, tag, triggered_tags, tags_with_separator, dispatch and token can");
  }

  Piece json_schema(const Place& place, const std::string& style) {
    const Fields& fields = place.fields;
    if (style != "json" && !is_xml_style(style))
      fields.fail("style", fmt::format("the style '{}' cannot be honoured", style.substr(0, 64)),
                  "json, qwen_xml, minimax_xml and glm_xml can");
    if (fields.flag("any_order").value_or(false)) fields.refuse_as_missing("any_order");
    if (!texts_of(fields, "excludes").empty()) fields.refuse_as_missing("excludes");
    const Ordered& schema = written_schema(place, "json_schema");
    return style == "json" ? lark_.json(schema.dump())
                           : xml_parameters(style, schema, fields, lark_);
  }

  static const Ordered& written_schema(const Place& place, const char* name) {
    const json* value = place.fields.find(name);
    if (value == nullptr || !(value->is_object() || value->is_boolean()))
      place.fields.refuse(name, "a JSON schema is expected");
    return place.written->at(name);
  }

  Format any_text(const Fields& fields, const Tail& tail) {
    if (fields.has("max_tokens"))
      fields.refuse_as_missing("max_tokens", "max_chars bounds a text, too");
    const Piece text = lark_.free_text(joined(texts_of(fields, "excludes"), tail.stops),
                                       fields.integer("max_chars", 0, kMostFormatRepeats));
    return {LarkPieces::sequence({text, tail.piece}), true};
  }

  Format sequence(const Place& place, const Tail& tail, int depth) {
    const std::vector<Place> elements = place.list("elements");
    Format all;
    for (size_t i = 0; i < elements.size(); ++i) {
      const bool is_last = i + 1 == elements.size();
      const Format one = is_last ? read(elements[i], tail, depth - 1)
                                 : bounded(elements[i], "an element that is not the last", depth);
      all.piece = LarkPieces::sequence({all.piece, one.piece});
      all.is_free = one.is_free;
    }
    return all;
  }

  // Where one of them is free the tail is a part of each.
  Format either(const Place& place, const Tail& tail, int depth) {
    std::vector<Format> formats;
    bool is_free = false;
    for (const Place& element : place.list("elements")) {
      formats.push_back(read(element, tail, depth - 1));
      is_free = is_free || formats.back().is_free;
    }
    std::vector<Piece> pieces;
    for (const Format& format : formats)
      pieces.push_back(is_free && !format.is_free ? LarkPieces::sequence({format.piece, tail.piece})
                                                  : format.piece);
    return {lark_.either(pieces), is_free};
  }

  Format bounded(const Place& place, const char* what, int depth) {
    const Format format = read(place, {}, depth - 1);
    if (format.is_free)
      place.fields.fail("type", fmt::format("{} is free text, which has no end", what),
                        "a tag around it gives it one");
    return format;
  }

  Piece repeated(const Place& place, int64_t least, std::optional<int64_t> most, int depth) {
    const Format content = bounded(place.inside("content"), "what is repeated", depth);
    return lark_.repeat(content.piece, least, most);
  }

  Piece counted(const Place& place, int depth) {
    const Fields& fields = place.fields;
    const std::optional<int64_t> least = fields.integer("min", 0, kMostFormatRepeats),
                                 most = fields.integer("max", -1, kMostFormatRepeats);
    if (!least) fields.refuse("min", "a whole number is expected");
    if (!most) fields.refuse("max", "a whole number is expected, -1 for any");
    if (*most == -1) return repeated(place, *least, std::nullopt, depth);
    if (*most < *least) fields.refuse("max", "no less than min is expected");
    return repeated(place, *least, *most, depth);
  }

  Piece token(const Fields& fields) {
    const json* value = fields.find("token");
    if (value != nullptr && value->is_string()) {
      const auto& name = value->get_ref<const std::string&>();
      if (LarkPieces::is_token_name(name)) return {{name, false}};
    } else if (value != nullptr && value->is_number_integer()) {
      return lark_.token(*fields.integer("token", 0, INT32_MAX));
    }
    fields.refuse("token", "an id or a name of the form <...> is expected");
  }

  // A text, or an object of a token.
  Piece begin_of(const Place& place) {
    const json* value = place.fields.find("begin");
    if (value != nullptr && value->is_object()) return token(place.inside("begin").fields);
    return lark_.mark(place.fields.text("begin").value_or(""));
  }

  // One of several texts, a special token, or nothing.
  Tail end_of(const Place& place) {
    const Fields& fields = place.fields;
    const json* value = fields.find("end");
    if (value == nullptr) return {};
    if (value->is_object()) return {token(place.inside("end").fields), {}};
    const Texts texts = fields.text_or_texts("end").value_or(Texts());
    if (texts.size() == 1 && texts[0].empty()) return {};
    if (texts.size() == 1 && LarkPieces::is_special(texts[0])) return {lark_.mark(texts[0]), {}};
    if (texts.empty() || texts.size() > kMostTags) fields.refuse("end", "a text is expected");
    std::vector<Piece> pieces;
    for (const std::string& text : texts) {
      if (text.empty() || LarkPieces::is_special(text))
        fields.refuse("end", "texts that are neither empty nor special tokens are expected");
      pieces.push_back(lark_.text(text));
    }
    return {lark_.either(pieces), texts};
  }

  // Behind its begin.
  Piece rest_of_tag(const Place& place, int depth) {
    const Tail end = end_of(place);
    const Place inner = place.inside("content");
    const Format content = read(inner, end, depth - 1);
    if (!content.is_free) return LarkPieces::sequence({content.piece, end.piece});
    if (end.piece.empty()) place.fields.refuse("end", "free text needs an end that is not empty");
    return content.piece;
  }

  Piece tag(const Place& place, int depth) {
    return LarkPieces::sequence({begin_of(place), rest_of_tag(place, depth)});
  }

  // Tags of a list, by what triggers them.
  struct Triggered {
    std::vector<Piece> whole;               // each from its trigger on
    std::vector<std::vector<Piece>> rests;  // [triggers], what may follow each
  };

  Triggered read_triggered(const Place& place, const char* list, const Texts& triggers, int depth) {
    const bool is_older = std::string_view(list) == "structures";
    Triggered tags{{}, std::vector<std::vector<Piece>>(triggers.size())};
    for (const Place& one : place.list(list)) {
      const size_t t = trigger_of(one.fields, triggers);
      const Piece content =
          is_older ? LarkPieces::sequence(
                         {lark_.json(written_schema(one, "schema").dump()), end_of(one).piece})
                   : rest_of_tag(one, depth);
      const std::string begin = text_of(one.fields, "begin");
      const Piece rest =
          LarkPieces::sequence({lark_.text(begin.substr(triggers[t].size())), content});
      tags.whole.push_back(LarkPieces::sequence({lark_.mark(triggers[t]), rest}));
      tags.rests[t].push_back(rest);
    }
    return tags;
  }

  Format triggered_tags(const Place& place, const char* list, const Tail& tail, int depth) {
    const Fields& fields = place.fields;
    const Texts triggers = texts_of(fields, "triggers");
    if (triggers.empty()) fields.refuse("triggers", "a list of texts is expected");
    Texts stops = joined(texts_of(fields, "excludes"), tail.stops);
    for (const std::string& trigger : triggers)
      if (!LarkPieces::is_special(trigger)) stops.push_back(trigger);
    const Triggered tags = read_triggered(place, list, triggers, depth);
    const Piece free = lark_.free_text(stops);
    std::vector<Piece> behind_text;
    for (size_t t = 0; t < triggers.size(); ++t)
      if (!tags.rests[t].empty())
        behind_text.push_back(
            LarkPieces::sequence({free, lark_.mark(triggers[t]), lark_.either(tags.rests[t])}));
    const bool stops_after_first = fields.flag("stop_after_first").value_or(false);
    const bool at_least_one = fields.flag("at_least_one").value_or(false);
    if (at_least_one && stops_after_first) return {lark_.either(tags.whole)};
    const Piece first = at_least_one ? lark_.either(tags.whole) : Piece{};
    const Format rest = amid_text(free, behind_text, tail, stops_after_first);
    return {LarkPieces::sequence({first, rest.piece}), true};
  }

  // Free text with more pieces in it, or one at most, which then ends it. Each begins with `free`.
  Format amid_text(const Piece& free, const std::vector<Piece>& pieces, const Tail& tail,
                   bool one_at_most) {
    const Piece ending = LarkPieces::sequence({free, tail.piece});
    const Piece next = lark_.either(pieces);
    if (one_at_most)
      return {lark_.either({LarkPieces::sequence({next, tail.piece}), ending}), true};
    const Piece more = lark_.repeat(next, 0, std::nullopt, /*as_rule=*/true);
    return {LarkPieces::sequence({more, ending}), true};
  }

  // Its rules are pairs of a text and the format that follows it.
  Format dispatch(const Place& place, const Tail& tail, int depth) {
    const Fields& fields = place.fields;
    const json* rules = fields.find("rules");
    const auto is_rule = [](const json& rule) {
      return rule.is_array() && rule.size() == 2 && rule[0].is_string() && rule[0] != "";
    };
    if (rules == nullptr || !rules->is_array() || rules->empty() || rules->size() > kMostTags ||
        !std::ranges::all_of(*rules, is_rule))
      fields.refuse("rules",
                    fmt::format("up to {} pairs of a text and a format are expected", kMostTags));
    Texts stops = joined(texts_of(fields, "excludes"), tail.stops);
    for (const json& rule : *rules)
      if (!LarkPieces::is_special(rule[0].get<std::string>())) stops.push_back(rule[0]);
    const Piece free = lark_.free_text(stops);
    std::vector<Piece> behind_text;
    for (size_t i = 0; i < rules->size(); ++i) {
      const Place format{fields.inside((*rules)[i][1], fmt::format("rules[{}][1]", i)),
                         &place.written->at("rules").at(i).at(1)};
      const Format content = bounded(format, "what a rule leads to", depth);
      behind_text.push_back(LarkPieces::sequence(
          {free, lark_.mark((*rules)[i][0].get<std::string>()), content.piece}));
    }
    return amid_text(free, behind_text, tail, !fields.flag("loop").value_or(true));
  }

  // Which of them the tag begins with.
  static size_t trigger_of(const Fields& tag, const Texts& triggers) {
    const std::string begin = text_of(tag, "begin");
    size_t found = triggers.size();
    for (size_t t = 0; t < triggers.size(); ++t) {
      if (!begin.starts_with(triggers[t])) continue;
      if (found < triggers.size()) tag.refuse("begin", "it begins with two of the triggers");
      found = t;
    }
    if (found == triggers.size())
      tag.refuse("begin", "a text that begins with a trigger is expected");
    return found;
  }

  Piece separated_tags(const Place& place, int depth) {
    const Fields& fields = place.fields;
    const Piece separator = lark_.mark(fields.text("separator").value_or(""));
    std::vector<Piece> tags;
    for (const Place& one : place.list("tags")) tags.push_back(tag(one, depth));
    const Piece first = lark_.either(tags);
    const Piece more =
        fields.flag("stop_after_first").value_or(false)
            ? Piece{}
            : lark_.repeat(LarkPieces::sequence({separator, first}), 0, std::nullopt);
    const Piece list = LarkPieces::sequence({first, more});
    return fields.flag("at_least_one").value_or(false) ? list : lark_.repeat(list, 0, 1);
  }

  LarkPieces lark_;
};

}  // namespace

text::GrammarSpec read_structural_tag(const Fields& fields) {
  if (fields.text("type").value_or("structural_tag") != "structural_tag")
    fields.refuse("type", "structural_tag is expected");
  const bool is_older =
      !fields.has("format") && (fields.has("structures") || fields.has("triggers"));
  const char* name = is_older ? "structures" : "format";
  if (!fields.has(name))
    fields.refuse(name, is_older ? "a list of objects is expected" : "an object is expected");
  const std::string source = fields.source(name);
  const auto most = static_cast<size_t>(text::GrammarLimits().source_bytes);
  if (source.size() > most)
    fields.fail(name, fmt::format("{} has {} bytes, above {}", name, source.size(), most));
  // Only what is a grammar is parsed again.
  Ordered written = Ordered::object();
  written[name] = parse_ordered_json(source, name);
  return {text::GrammarSpec::Kind::kLark, Reader().source({fields, &written})};
}

}  // namespace weft::serve
